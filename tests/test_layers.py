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
    power_iteration,
)


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


KINDS = ["conv", "conv 1x1", "linear", "embedding"]


def sn_layer(kind: str) -> tuple[nn.Module, Tensor]:
    """A random layer under spectral norm, and an input of it."""
    make = LayerMaker(True, 1e-8)
    layer, x = {
        "conv": lambda: (make.conv(3, 4, 3), random((2, 3, 4, 4), 9)),
        "conv 1x1": lambda: (make.conv(3, 4, 1, bias=False), random((2, 3, 4, 4), 9)),
        "linear": lambda: (make.linear(6, 5), random((2, 6), 9)),
        "embedding": lambda: (make.embedding(5, 4), torch.tensor([3, 0, 3])),
    }[kind]()
    return reference.randomise(layer.double(), 1), x


def plain_output(kind: str, layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    if kind == "embedding":
        return weight[x]
    if kind == "linear":
        return x @ weight.T + layer.bias
    return F.conv2d(x, weight, layer.bias, padding=weight.shape[2] // 2)


# ------------------------------------------------------------ spectral norm


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_layer_has_spectral_norm_one(kind: str) -> None:
    layer, x = sn_layer(kind)
    for _ in range(400):
        layer(x)
    largest = torch.linalg.svdvals(layer.normalized_weight().flatten(1))[0].item()
    assert largest == pytest.approx(1, rel=1e-10)
    assert abs(torch.linalg.svdvals(layer.weight.flatten(1))[0].item() - 1) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_layers_use_the_weight_divided_by_sigma(kind: str, training: bool) -> None:
    """One power iteration from u of any length, as in the reference code; kept in training, not at evaluation."""
    layer, x = sn_layer(kind)
    weight, u = layer.train(training).weight.detach().clone(), layer.u.clone()
    sigma, _, _ = reference.spectral_norm(weight, u, 1e-8)
    none = (u / u.norm() @ weight.flatten(1)).norm().item()  # torch's own rule at evaluation
    for wrong in (1.0, none, torch.linalg.svdvals(weight.flatten(1))[0].item()):
        assert abs(sigma - wrong) > 1e-3
    for _ in range(2):
        u = layer.u[0].clone()
        sigma, u_next, _ = reference.spectral_norm(weight, layer.u, 1e-8)
        output = layer(x)
        assert largest_difference(output, plain_output(kind, layer, weight / sigma, x)) < 1e-12
        assert layer.u.flatten().tolist() == pytest.approx((u_next if training else u).tolist(), abs=1e-12)
    assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize("eps", [1e-6, 1e-8])
def test_eps_bounds_the_lengths_from_below(eps: float) -> None:
    """A weight so small that both normalisations are cut off: sigma depends on eps."""
    weight, u = eps / 10 * random((4, 3, 3, 3), 0), random((1, 4), 1)
    u = u / u.norm()
    sigma, u_next = power_iteration(weight, u, eps)
    expected, expected_u, _ = reference.spectral_norm(weight, u, eps)
    assert sigma.item() == pytest.approx(expected.item(), rel=1e-10)
    assert u_next.norm().item() < 0.99
    assert u_next.flatten().tolist() == pytest.approx(expected_u.tolist(), rel=1e-10)
    for other in (eps / 100, eps * 100):
        wrong, _, _ = reference.spectral_norm(weight, u, other)
        assert abs(sigma / wrong - 1) > 0.1


@pytest.mark.parametrize("training", [False, True])
def test_gradient_goes_through_sigma_with_constant_vectors(training: bool) -> None:
    """dL/dW = (P - <P, W / sigma> u' v^T) / sigma, for P = dL/d(W / sigma)."""
    layer, _ = sn_layer("linear")
    sigma, u_next, v = reference.spectral_norm(layer.train(training).weight, layer.u, 1e-8)
    p = random(tuple(layer.weight.shape), 3)
    (layer.normalized_weight() * p).sum().backward()
    w = layer.weight.detach()
    expected = (p - (p * w / sigma).sum() * torch.outer(u_next, v)) / sigma
    assert largest_difference(layer.weight.grad, expected) < 1e-12
    assert largest_difference(layer.weight.grad, p / sigma) > 1e-2  # sigma taken as a constant


@pytest.mark.parametrize("kind", KINDS)
def test_scale_multiplies_the_normalised_weight(kind: str) -> None:
    layer = sn_layer(kind)[0].eval()
    weight = layer.normalized_weight()
    layer.scale.fill_(0.3)
    assert largest_difference(layer.normalized_weight(), 0.3 * weight) < 1e-15


# ------------------------------------------------------------ class-conditional batch norm


def norm_and_condition(kind: str) -> tuple[ClassConditionalBatchNorm, Tensor, Tensor, Tensor]:
    """A random norm of three channels, a batch of conditions, and what its layers say of them."""
    if kind == "embedding":
        layers, condition = [nn.Embedding(4, 3) for _ in range(2)], torch.tensor([3, 0, 3, 1])
    else:
        layers, condition = [nn.Linear(5, 3, bias=False) for _ in range(2)], random((4, 5), 8)
    norm = reference.randomise(ClassConditionalBatchNorm(3, *layers).double(), 0)
    gain, bias = (layer(condition).detach() for layer in (norm.gain, norm.bias))
    return norm, condition, gain, bias


@pytest.mark.parametrize("kind", ["embedding", "linear"])
def test_norm(kind: str) -> None:
    """At evaluation by the running statistics; in training by those of the batch, towards which these move a tenth."""
    norm, condition, gain, bias = norm_and_condition(kind)
    x = 2 * random((4, 3, 2, 2), 5) + 1
    running = norm.running_mean.clone(), norm.running_var.clone()
    output = norm.eval()(x, condition)
    assert largest_difference(output, reference.batch_norm(x, 1 + gain, bias, *running)) < 1e-12
    assert largest_difference(output, reference.batch_norm(x, 1 + bias, gain, *running)) > 1e-2
    assert torch.equal(norm.running_mean, running[0]) and torch.equal(norm.running_var, running[1])
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
    output = norm.train()(x, condition)
    assert largest_difference(output, reference.batch_norm(x, 1 + gain, bias, mean, var)) < 1e-12
    assert largest_difference(norm.running_mean, 0.9 * running[0] + 0.1 * mean) < 1e-12
    expected = 0.9 * running[1] + 0.1 * x.var(dim=(0, 2, 3), unbiased=True)
    assert largest_difference(norm.running_var, expected) < 1e-12
    assert largest_difference(norm.running_var, 0.9 * running[1] + 0.1 * var) > 1e-3


# ------------------------------------------------------------ self-attention


def test_fresh_self_attention_is_the_identity_and_can_learn() -> None:
    layer = SelfAttention(8, LayerMaker(True, 1e-8))
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(x), x)
    (layer(x) * x).sum().backward()
    assert layer.gamma.grad.abs().item() > 1e-3
