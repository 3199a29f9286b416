"""How a student's attention maps follow the teacher's: beyond what the class explains, and kept beside the runs."""

import pytest
import torch
from fake_runs import fake_run, smoke

from paper import attention_agreement as following
from paper.attention_agreement import correlations, ensure_agreement, measure_agreement, read_agreement
from ppcd import paths
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import build_generator
from ppcd.records import Record

CLASSES, EACH, PIXELS = 5, 40, 16


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.arange(CLASSES * EACH) % CLASSES


def test_a_student_that_learnt_the_class_average_follows_between_classes_and_not_within(labels: torch.Tensor) -> None:
    """What the small trial found: a small loss, and nothing of the image at hand."""
    of_class = 10 * drawn(0, CLASSES, PIXELS)
    teacher = of_class[labels] + drawn(1, len(labels), PIXELS)
    student = of_class[labels] + 0.01 * drawn(2, len(labels), PIXELS)
    within, between = correlations(teacher, student, labels)
    assert abs(within) < 0.1 and between > 0.99
    assert correlations(teacher, -teacher, labels) == pytest.approx((-1, -1))
    flat = torch.ones(len(labels), PIXELS)
    assert correlations(flat, teacher, labels) == (0.0, 0.0), "flat maps follow nothing"


def test_within_is_the_correlation_coefficient_of_residuals(labels: torch.Tensor) -> None:
    """Against the textbook's formula, class by class."""
    a, b = drawn(3, len(labels), PIXELS), drawn(4, len(labels), PIXELS)
    b = b + 0.5 * a
    rest = [torch.cat([maps[labels == c] - maps[labels == c].mean(0) for c in range(CLASSES)]) for maps in (a, b)]
    expected = torch.corrcoef(torch.stack([each.flatten() for each in rest]))[0, 1]  # their means are 0
    assert correlations(a, b, labels)[0] == pytest.approx(expected.item(), abs=1e-12)


def test_a_teacher_follows_itself() -> None:
    """The same generator under no normalisation: every block within 1; another one near 0."""
    generator = build_generator("biggan", 32, 4, 2, dim_z=8, seed=0).eval()
    itself = measure_agreement(generator, Teacher(generator, "none"), samples=40)
    assert [each["block"] for each in itself] == [1, 2] and [each["pixels"] for each in itself] == [16, 32]
    assert all(each["within"] == pytest.approx(1) and each["between"] == pytest.approx(1) for each in itself)
    student = build_generator("sagan", 32, 4, 2, dim_z=8, seed=3).eval()
    other = measure_agreement(student, Teacher(generator), samples=40)
    assert abs(sum(each["within"] for each in other) / len(other)) < 0.7


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all runs of a profile that are not teachers; not read with other weights, or from a damaged file."""
    monkeypatch.setattr(following, "SAMPLES", 40)
    for recipe in ("biggan", "ppcd", "sagan", "tinygan"):
        fake_run(recipe)
    fake_run("ppcd", seed=1)  # whose teacher is not there
    records = {(record["recipe"], record["seed"]): record for record in smoke().runs()}
    found = ensure_agreement(smoke(), list(records.values()))
    assert set(found) == {records["ppcd", 0]["id"], records["sagan", 0]["id"]}
    monkeypatch.setattr(following, "measure_agreement", lambda *_: pytest.fail("it is known"))
    assert ensure_agreement(smoke(), list(records.values())) == found
    assert [each["block"] for each in read_agreement(records["ppcd", 0]) or []] == [1, 2]
    other = Record(records["ppcd", 0] | {"files": {"generator.safetensors": "0" * 64}}, records["ppcd", 0].directory)
    assert read_agreement(other) is None, "other weights"
    (paths.results("smoke") / following.FILE).write_text('{"schema": 99, "runs": {}}')
    assert read_agreement(records["ppcd", 0]) is None
