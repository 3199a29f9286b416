"""The frozen teacher and the class-conditional normalisation of its features."""

import copy

import pytest
import torch
from reference import batch_norm, largest_difference, noise_and_labels, randomise, refused
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ppcd.method.distillation import Distillation
from ppcd.method.features import BlockFeatures
from ppcd.method.teacher import NORMALISATIONS, Teacher
from ppcd.networks.generators import Generator, build_generator

CLASSES = 3


def generator(arch: str = "biggan", dim_z: int = 8, resolution: int = 32, seed: int = 0) -> Generator:
    """Random everywhere, running statistics included, and every parameter learning."""
    network = build_generator(arch, resolution, CLASSES, width=2, dim_z=dim_z, seed=seed)
    randomise(network, seed)
    return network.train()


def block_outputs(network: Generator, z: Tensor, y: Tensor) -> list[Tensor]:
    """What each block puts out at evaluation."""
    with torch.no_grad():
        return network.eval()(z, y, return_features=True)[1]


# ------------------------------------------------------------ which features


@pytest.mark.parametrize("arch", ["biggan", "sagan"])
def test_none_gives_the_features_of_the_second_to_the_last_block(arch: str) -> None:
    network = generator(arch)
    z, y = noise_and_labels(4, 8, CLASSES, seed=3)
    expected = block_outputs(network, z, y)
    features = Teacher(network, "none").features(z, y)
    assert [tuple(each.shape) for each in features] == [(4, 8, 16, 16), (4, 8, 32, 32)]
    for found, right in zip(features, expected[1:], strict=True):
        assert torch.equal(found, right)
    assert largest_difference(features[0], features[1][:, :, ::2, ::2]) > 0.1  # the blocks do differ


def test_the_teacher_takes_the_first_entries_of_a_longer_noise() -> None:
    teacher = Teacher(generator(dim_z=8))
    assert teacher.dim_z == 8
    z, y = noise_and_labels(4, 12, CLASSES, seed=4)
    expected = teacher.features(z[:, :8], y)
    for found, right in zip(teacher.features(z, y), expected, strict=True):
        assert torch.equal(found, right)
    others = teacher.features(z[:, 4:], y)  # the broken case: other entries
    assert largest_difference(others[0], expected[0]) > 0.1


# ------------------------------------------------------------ normalisation


@pytest.mark.parametrize("arch", ["biggan", "sagan"])
def test_the_next_cbn_normalises(arch: str) -> None:
    """gain(c) (O - running mean) / sqrt(running var + eps) + bias(c), of the next block's first CBN."""
    network = generator(arch)
    z, y = noise_and_labels(4, 8, CLASSES, seed=5)
    outputs = block_outputs(network, z, y)
    norm = network.get_submodule("blocks.2.bn1")
    with torch.no_grad():
        # BigGAN: cat[class embedding, third chunk of the noise, after the first layer's]; SA-GAN: the label
        condition = torch.cat([network.shared(y), z[:, 6:8]], 1) if arch == "biggan" else y
        gain, bias = 1 + norm.gain(condition), norm.bias(condition)
    right = batch_norm(outputs[1], gain, bias, norm.running_mean, norm.running_var)
    found = Teacher(network, "teacher").features(z, y)[0]
    assert largest_difference(found, right) < 1e-4 * right.abs().max()
    assert largest_difference(found, outputs[1]) > 0.1  # the broken case: not normalised
    other = network.get_submodule("blocks.1.bn1")
    wrong = batch_norm(outputs[1], gain, bias, other.running_mean, other.running_var)
    assert largest_difference(found, wrong) > 0.1  # the broken case: the statistics of another block


@pytest.mark.parametrize(("normalisation", "blocks"), [("teacher", [2]), ("statistics", [1, 2])])
def test_each_class_has_its_own_statistics(
    normalisation: str, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the very samples that the teacher measured, and what is made of them."""
    network = generator()
    seen: list[tuple[Tensor, Tensor]] = []
    forward = Generator.forward

    def listen(self: Generator, z: Tensor, y: Tensor, return_features: bool = False) -> object:
        seen.append((z, y))
        return forward(self, z, y, return_features)

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "forward", listen)
        teacher = Teacher(network, normalisation, samples_per_class=5)
        teacher.features(*noise_and_labels(CLASSES, 8, CLASSES, seed=5))
    measurements = seen[1 : 1 + CLASSES]  # after the features that were asked for
    z, y = torch.cat([z for z, _ in measurements]), torch.cat([y for _, y in measurements])
    assert y.bincount().tolist() == [5] * CLASSES
    assert len(z.unique(dim=0)) == 5 * CLASSES
    measured = block_outputs(network, z, y)
    asked_z, asked_y = noise_and_labels(4, 8, CLASSES, seed=6)
    outputs, features = block_outputs(network, asked_z, asked_y), teacher.features(asked_z, asked_y)
    for block in blocks:
        found = features[block - 1]
        for image, label in enumerate(asked_y.tolist()):
            chosen = measured[block][y == label].double()
            mean, var = chosen.mean((0, 2, 3), keepdim=True)[0], chosen.var((0, 2, 3), correction=0, keepdim=True)[0]
            right = (outputs[block][image] - mean) / (var + 1e-5).sqrt()
            assert largest_difference(found[image], right) < 1e-3 * right.abs().max()
        pooled = (outputs[block] - outputs[block].mean()) / outputs[block].std()
        assert largest_difference(found, pooled) > 0.1  # the broken case: one statistic for all classes


def test_the_statistics_do_not_depend_on_which_class_comes_first() -> None:
    """At a thousand classes no training waits for all of them: each is measured when it first occurs."""
    network = generator()
    one_by_one, at_once = Teacher(network), Teacher(network)
    for labels in ([2, 2], [1, 2], [0, 1]):
        one_by_one.features(noise_and_labels(2, 8, CLASSES, seed=3)[0], torch.tensor(labels))
    several = noise_and_labels(6, 8, CLASSES, seed=4)
    for mine, other in zip(one_by_one.features(*several), at_once.features(*several), strict=True):
        assert torch.equal(mine, other)


# ------------------------------------------------------------ randomness and errors


def test_the_statistics_depend_on_their_seed_alone() -> None:
    z, y = noise_and_labels(4, 8, CLASSES, seed=9)

    def last(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        features = Teacher(generator(), "teacher", seed=seed).features(z, y)
        assert torch.equal(torch.get_rng_state(), before)
        return features[-1]

    assert torch.equal(last(0, 1), last(0, 2))
    assert not torch.equal(last(0, 1), last(1, 1))


def test_what_cannot_be_is_refused() -> None:
    with refused("unknown normalisation 'batch'", *NORMALISATIONS):
        Teacher(generator(), "batch")
    one = generator()
    one.blocks = one.blocks[:1]
    with refused("starts at the second block"):
        Teacher(one)
    teacher = Teacher(generator(dim_z=8))
    with refused("z [batch, 8]", "[4, 6]"):
        teacher.features(*noise_and_labels(4, 6, CLASSES, seed=0))


# ------------------------------------------------------------ both sides alike


def distance(network: Generator, normalisation: str, student: Generator | None = None) -> float:
    """L_CD of a student for a teacher; the teacher itself where no student is given."""
    student = copy.deepcopy(network) if student is None else student
    teacher = Teacher(copy.deepcopy(network), normalisation)
    z, y = noise_and_labels(6, network.dim_z, CLASSES, seed=2)
    return Distillation(student.eval(), teacher, teacher.blocks)(z, y).item()


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("arch", ["biggan", "sagan", "sagan-hier"])
def test_a_student_equal_to_its_teacher_has_no_distance(arch: str, resolution: int) -> None:
    network = generator(arch, dim_z=20 if resolution == 64 else 8, resolution=resolution)
    assert distance(network, "both") < 1e-6
    assert distance(network, "none") < 1e-6
    assert distance(network, "teacher") > 0.01  # one side alone: not 0 at best
    assert distance(network, "both", generator(arch, network.dim_z, resolution, seed=1)) > 0.01


def under_its_norms(student: Generator) -> dict[str, torch.Tensor]:
    """A student's features of the second and the last block, as the reading "both" compares them."""
    found: dict[str, torch.Tensor] = {}
    watched = BlockFeatures(student, ["blocks.1", "blocks.2"], found.__setitem__, "any")
    watched.begin()
    student(*noise_and_labels(6, 8, CLASSES, seed=2))
    assert watched.end() == []
    return found


def test_the_students_norms_are_constants_of_the_distance() -> None:
    """In training mode too: no gradient reaches the norm that normalises."""
    student = generator(seed=1).train()
    under_its_norms(student)["blocks.1"].square().sum().backward()
    reached = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert "blocks.1.conv2.weight" in reached and not any(name.startswith("blocks.2.") for name in reached)
    assert all(module.training for module in student.modules())


def test_the_constant_norm_is_the_norm_at_evaluation() -> None:
    student = generator("sagan", seed=1).eval()
    z, y = noise_and_labels(6, 8, CLASSES, seed=2)
    found = under_its_norms(student)
    with torch.no_grad():
        _, features = student(z, y, return_features=True)
        assert largest_difference(found["blocks.1"], student.blocks[2].bn1(features[1], y)) < 1e-4
        assert largest_difference(found["blocks.2"], student.output_norm(features[2])) < 1e-4


def test_a_spectral_norm_is_no_norm_of_features() -> None:
    """torch's parametrisation holds vectors as a batch norm does, and may be between a block and its norm."""
    block, skip, norm = nn.Conv2d(4, 8, 3), spectral_norm(nn.Conv2d(8, 8, 1)), nn.BatchNorm2d(8)
    network, found = nn.Sequential(block, skip, norm).eval(), dict[str, Tensor]()
    watched = BlockFeatures(network, ["0"], found.__setitem__, "any")
    watched.begin()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    network(x)
    assert watched.end() == [] and torch.equal(found["0"], norm(block(x)))
