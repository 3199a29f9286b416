"""The paper's losses (eqs. 2 and 4-8) as pure functions, in its symbols. See `masks` for eqs. 1 and 3.

`^T` is the teacher (BigGAN), `^S` the student (PPCD-GAN).
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ppcd.base import PpcdError, full
from ppcd.method.masks import ChannelMask


def attention_map(
    features: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "batch height width"]:
    """F = sum_i |O(i, :, :)|^2 over the channels (section 3.3; Zagoruyko and Komodakis 2017)."""
    return full(features).square().sum(dim=1)


def normalized_map(
    features: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "batch pixels"]:
    """F / ||F||_2, flattened. A map of zeros stays zero (the norm is bounded by 1e-12 from below)."""
    return F.normalize(attention_map(features).flatten(1), dim=1)


def class_aware_distillation(teacher_features: Sequence[Tensor], student_features: Sequence[Tensor]) -> Tensor:
    """L_CD = 1/L sum_k || F^T_k / ||F^T_k||_2 - F^S_k / ||F^S_k||_2 ||_2 (eqs. 4 and 6), mean over the batch.

    Args:
        teacher_features: L tensors [batch, C^T, H, W], (class-conditionally normalised) teacher features.
        student_features: L tensors [batch, C^S, H, W]; H and W equal the teacher's, the channels need not.

    Returns:
        A scalar in [0, sqrt(2)]: the maps have no negative entries.

    Raises:
        PpcdError: no features, lists of different lengths, or maps of different sizes.
    """
    if not teacher_features or len(teacher_features) != len(student_features):
        raise PpcdError(
            "class-aware distillation needs as many teacher as student features, at least one; "
            f"got {len(teacher_features)} and {len(student_features)}"
        )
    for k, (o_t, o_s) in enumerate(zip(teacher_features, student_features, strict=True)):
        if o_t.shape[0] != o_s.shape[0] or o_t.shape[2:] != o_s.shape[2:]:
            raise PpcdError(f"features {k} differ in batch or size: {tuple(o_t.shape)} and {tuple(o_s.shape)}")
    return distance_of_maps(map(normalized_map, teacher_features), map(normalized_map, student_features))


def distance_of_maps(teacher_maps: Iterable[Tensor], student_maps: Iterable[Tensor]) -> Tensor:
    """L_CD (eqs. 4 and 6) of L normalised maps [batch, pixels] each."""
    pairs = zip(teacher_maps, student_maps, strict=True)
    distances = [torch.linalg.vector_norm(f_t - f_s, dim=1).mean() for f_t, f_s in pairs]  # eq. 4
    return torch.stack(distances).mean()  # eq. 6


def progressive_pruning(masks: Sequence[ChannelMask], weights: Sequence[float] | None = None) -> Tensor:
    """L_PP = 1/(2N) sum_k l_PP_k over the 2N masks (eqs. 2 and 5).

    Args:
        masks: the 2N mask layers, frozen ones included: they are constants.
        weights: one factor for each l_PP_k; None is the paper's form, 1 for all.

    Raises:
        PpcdError: no masks.
    """
    if not masks:
        raise PpcdError("the progressive pruning loss needs at least one mask; this generator has none")
    terms = [mask.sparsity() for mask in masks]  # eq. 2
    if weights is not None:
        terms = [weight * term for weight, term in zip(weights, terms, strict=True)]
    return torch.stack(terms).sum() / len(masks)  # eq. 5


def discriminator_hinge(real: Float[Tensor, " batch"], fake: Float[Tensor, " fake_batch"]) -> Float[Tensor, ""]:
    """E[max(0, 1 - D(I))] + E[max(0, 1 + D(G(z)))]: the loss of the reference implementations."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_hinge(fake: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """-E[D(G(z))]."""
    return -fake.mean()


def discriminator_minimax(real: Float[Tensor, " batch"], fake: Float[Tensor, " fake_batch"]) -> Float[Tensor, ""]:
    """-(E[log D(I)] + E[log(1 - D(G(z)))]) (eq. 7), with D = sigmoid of the scores given here."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_minimax(fake: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """E[log(1 - D(G(z)))] (eq. 7), to be minimised by G: the saturating form, as printed."""
    return -F.softplus(fake).mean()


ADVERSARIAL = {
    "hinge": (discriminator_hinge, generator_hinge),
    "minimax": (discriminator_minimax, generator_minimax),
}


def total(l_adv: Tensor, l_cd: Tensor | float, l_pp: Tensor | float, lambda_cd: float, lambda_pp: float) -> Tensor:
    """L = lambda_pp L_PP + lambda_cd L_CD + L_ADV (eq. 8: lambda_pp = 0.01, lambda_cd = 1)."""
    return l_adv + lambda_cd * l_cd + lambda_pp * l_pp
