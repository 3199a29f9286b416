"""Spectral norm, class-conditional batch norm and self-attention against loops over their definitions."""

import pytest
import reference
import torch
import torch.nn.functional as F
from reference import largest_difference
from torch import Tensor, nn

from ppcd.networks.layers import (
    ClassConditionalBatchNorm,
    LayerMaker,
    SelfAttention,
    SNConv2d,
    SNEmbedding,
    SNLinear,
    power_iteration,
)

SHAPES = [(4, 3, 3, 3), (5, 7), (6, 2), (1, 4)]  # a convolution, linear layers or embeddings


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sn_layer(kind: str, eps: float = 1e-8, seed: int = 1) -> SNConv2d | SNLinear | SNEmbedding:
    layer = {
        "conv": lambda: SNConv2d(3, 4, 3, True, eps),
        "conv 1x1": lambda: SNConv2d(3, 4, 1, False, eps),
        "linear": lambda: SNLinear(6, 5, True, eps),
        "embedding": lambda: SNEmbedding(5, 4, eps),
    }[kind]()
    return reference.randomise(layer.double(), seed)


KINDS = ["conv", "conv 1x1", "linear", "embedding"]


def layer_input(kind: str) -> Tensor:
    return {
        "conv": random((2, 3, 4, 4), 9),
        "conv 1x1": random((2, 3, 4, 4), 9),
        "linear": random((2, 6), 9),
        "embedding": torch.tensor([3, 0, 3]),
    }[kind]


def plain_output(kind: str, layer: nn.Module, weight: Tensor) -> Tensor:
    x = layer_input(kind)
    if kind == "embedding":
        return weight[x]
    if kind == "linear":
        return x @ weight.T + layer.bias
    return F.conv2d(x, weight, layer.bias, padding=weight.shape[2] // 2)


# ------------------------------------------------------------ spectral norm


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [1.0, 0.01, 25.0])
def test_power_iteration_is_that_of_the_reference_code(shape: tuple[int, ...], length: float) -> None:
    """One iteration from u, whose length must not matter (an average of unit vectors is shorter)."""
    weight, u = random(shape, 0), random((1, shape[0]), 1)
    u = length * u / u.norm()
    sigma, u_next = power_iteration(weight, u, 1e-8)
    expected, expected_u, _ = reference.spectral_norm(weight, u, 1e-8)
    assert sigma.item() == pytest.approx(expected, abs=1e-12)
    assert u_next.shape == u.shape
    assert u_next.flatten().tolist() == pytest.approx(expected_u, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_sigma_is_not_that_of_another_rule(shape: tuple[int, ...]) -> None:
    """No iteration at all (torch's own rule at evaluation), two, the exact value, and Frobenius' norm."""
    weight, u = random(shape, 0), random((1, shape[0]), 1)
    sigma, u_next = power_iteration(weight, u, 1e-8)
    matrix = weight.flatten(1)
    v = F.normalize(u @ matrix)
    none = (u / u.norm() @ matrix @ v.T).item()
    two, _ = power_iteration(weight, u_next, 1e-8)
    exact = torch.linalg.svdvals(matrix)[0].item()
    for wrong in (none, two.item(), exact, matrix.norm().item()):
        assert abs(sigma.item() - wrong) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_layer_has_spectral_norm_one(kind: str) -> None:
    layer = sn_layer(kind)
    for _ in range(400):
        layer(layer_input(kind))
    largest = torch.linalg.svdvals(layer.normalized_weight().flatten(1))[0].item()
    assert largest == pytest.approx(1, rel=1e-10)
    assert abs(torch.linalg.svdvals(layer.weight.flatten(1))[0].item() - 1) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_layers_use_the_weight_divided_by_sigma(kind: str, training: bool) -> None:
    layer = sn_layer(kind).train(training)
    sigma, _, _ = reference.spectral_norm(layer.weight, layer.u, 1e-8)
    expected = plain_output(kind, layer, layer.weight / sigma)
    output = layer(layer_input(kind))
    assert largest_difference(output, expected) < 1e-12
    assert largest_difference(output, plain_output(kind, layer, layer.weight)) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_writes_nothing_back(kind: str) -> None:
    layer = sn_layer(kind).eval()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    first = layer(layer_input(kind))
    assert torch.equal(layer(layer_input(kind)), first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_u_by_one_iteration(kind: str) -> None:
    layer = sn_layer(kind)
    weight = layer.weight.detach().clone()
    for _ in range(2):
        _, expected, _ = reference.spectral_norm(layer.weight, layer.u, 1e-8)
        layer(layer_input(kind))
        assert layer.u.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize("eps", [1e-6, 1e-8])
def test_eps_bounds_the_lengths_from_below(eps: float) -> None:
    """A weight so small that both normalisations are cut off: sigma depends on eps."""
    weight, u = eps / 10 * random((4, 3, 3, 3), 0), random((1, 4), 1)
    u = u / u.norm()
    sigma, u_next = power_iteration(weight, u, eps)
    expected, expected_u, _ = reference.spectral_norm(weight, u, eps)
    assert sigma.item() == pytest.approx(expected, rel=1e-10)
    assert u_next.norm().item() < 0.99
    assert u_next.flatten().tolist() == pytest.approx(expected_u, rel=1e-10)
    for other in (eps / 100, eps * 100):
        wrong, _, _ = reference.spectral_norm(weight, u, other)
        assert abs(sigma.item() / wrong - 1) > 0.1


@pytest.mark.parametrize("training", [False, True])
def test_gradient_goes_through_sigma_with_constant_vectors(training: bool) -> None:
    """dL/dW = (P - <P, W / sigma> u' v^T) / sigma, for P = dL/d(W / sigma)."""
    layer = sn_layer("linear").train(training)
    sigma, u_next, v = reference.spectral_norm(layer.weight, layer.u, 1e-8)
    p = random(tuple(layer.weight.shape), 3)
    (layer.normalized_weight() * p).sum().backward()
    w = layer.weight.detach()
    outer = torch.outer(*(torch.tensor(vector, dtype=torch.float64) for vector in (u_next, v)))
    expected = (p - (p * w / sigma).sum() * outer) / sigma
    assert largest_difference(layer.weight.grad, expected) < 1e-12
    assert largest_difference(layer.weight.grad, p / sigma) > 1e-2  # sigma taken as a constant


@pytest.mark.parametrize("kind", KINDS)
def test_scale_multiplies_the_normalised_weight(kind: str) -> None:
    layer = sn_layer(kind).eval()
    weight = layer.normalized_weight()
    layer.scale.fill_(0.3)
    assert largest_difference(layer.normalized_weight(), 0.3 * weight) < 1e-15


# ------------------------------------------------------------ class-conditional batch norm


def embedding_norm(channels: int = 3, classes: int = 4, seed: int = 0) -> ClassConditionalBatchNorm:
    norm = ClassConditionalBatchNorm(channels, *(nn.Embedding(classes, channels) for _ in range(2)))
    return reference.randomise(norm.double(), seed)


def linear_norm(channels: int = 3, condition: int = 5, seed: int = 0) -> ClassConditionalBatchNorm:
    norm = ClassConditionalBatchNorm(channels, *(nn.Linear(condition, channels, bias=False) for _ in range(2)))
    return reference.randomise(norm.double(), seed)


def norm_and_condition(kind: str) -> tuple[ClassConditionalBatchNorm, Tensor, Tensor, Tensor]:
    """A norm, a batch of conditions, and what its layers say of them."""
    if kind == "embedding":
        norm, condition = embedding_norm(), torch.tensor([3, 0, 3, 1])
        return norm, condition, norm.gain.weight[condition], norm.bias.weight[condition]
    norm, condition = linear_norm(), random((4, 5), 8)
    return norm, condition, condition @ norm.gain.weight.T, condition @ norm.bias.weight.T


@pytest.mark.parametrize("kind", ["embedding", "linear"])
def test_norm_at_evaluation(kind: str) -> None:
    norm, condition, gain, bias = norm_and_condition(kind)
    norm.eval()
    x = random((4, 3, 2, 2), 5)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    output = norm(x, condition)
    expected = reference.batch_norm(x, 1 + gain, bias, norm.running_mean, norm.running_var)
    assert largest_difference(output, expected) < 1e-12
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    without_one = reference.batch_norm(x, gain, bias, norm.running_mean, norm.running_var)
    assert largest_difference(output, without_one) > 1e-2
    swapped = reference.batch_norm(x, 1 + bias, gain, norm.running_mean, norm.running_var)
    assert largest_difference(output, swapped) > 1e-2


@pytest.mark.parametrize("kind", ["embedding", "linear"])
def test_norm_in_training(kind: str) -> None:
    """Normalised with the batch's own statistics over all classes; running ones move by a tenth."""
    norm, condition, gain, bias = norm_and_condition(kind)
    x = 2 * random((4, 3, 2, 2), 5) + 1
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
    running_mean = 0.9 * norm.running_mean + 0.1 * mean
    running_var = 0.9 * norm.running_var + 0.1 * x.var(dim=(0, 2, 3), unbiased=True)
    output = norm(x, condition)
    assert largest_difference(output, reference.batch_norm(x, 1 + gain, bias, mean, var)) < 1e-12
    assert largest_difference(norm.running_mean, running_mean) < 1e-12
    assert largest_difference(norm.running_var, running_var) < 1e-12
    assert largest_difference(norm.running_var, 0.9 * running_var + 0.1 * var) > 1e-3


def test_eps_of_the_norm() -> None:
    norm = embedding_norm().eval()
    with torch.no_grad():
        norm.running_var.fill_(1e-5)
        norm.running_mean.zero_()
        norm.gain.weight.zero_()
        norm.bias.weight.zero_()
    x = torch.full((1, 3, 1, 1), 1.0, dtype=torch.float64)
    assert norm(x, torch.tensor([0])).flatten().tolist() == pytest.approx([(2e-5) ** -0.5] * 3, rel=1e-9)


# ------------------------------------------------------------ self-attention


def test_fresh_self_attention_is_the_identity_and_can_learn() -> None:
    layer = SelfAttention(8, LayerMaker(True, 1e-8))
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(x), x)
    (layer(x) * x).sum().backward()
    assert layer.gamma.grad.abs().item() > 1e-3
