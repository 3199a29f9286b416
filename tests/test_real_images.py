"""Real images measured against other real images: which, how, kept once, and the row of the tables."""

import json
from typing import Any

import pandas as pd
import pytest
import torch
from fake_runs import PROTOCOL, fake_run, smoke
from reference import refused

from paper import real_images as floor
from paper import sums
from paper.artifacts import tables
from paper.judges import get_judges
from paper.measurements import SCHEMA
from paper.real_images import draw, ensure_real_images, measure_real_images, read_real_images
from paper.verify.scores import real_problems
from ppcd import paths
from ppcd.base import seeded
from ppcd.data.sets import ImageSet
from ppcd.metrics.classifier import split
from ppcd.metrics.fidelity import frechet_distance, precision_recall, reference_order
from ppcd.metrics.moments import statistics

SCORES = {"is": 9.5, "is_std": 0.1, "fd": 0.1, "kid": 0.0, "kid_std": 0.01, "precision": 0.9, "recall": 0.8}
SCORES |= {"diversity": 0.7, "accuracy": 0.99, "leakage": 0.02}


def labelled(*counts: int) -> ImageSet:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    return ImageSet(images, labels, tuple(map(str, range(len(counts)))), "made-up", "0" * 64, "")


def write(profile: str = "smoke", scores: dict[str, float] | None = None, **other: Any) -> None:
    protocol = {**PROTOCOL, "seed": None, "samples": 80, "reference_images": 120} | other
    content = {"schema": SCHEMA, "protocol": protocol, "scores": scores or SCORES}
    sums.write(paths.results(profile), floor.FILE, json.dumps(content))


def test_which_images_are_drawn() -> None:
    """The last of each class in turns, half of the smallest at most: the first stay to be compared with."""
    data = labelled(9, 7, 20)
    places = draw(data, 1000)
    labels = data.labels[reference_order(len(data))]
    assert labels[places].tolist() == [0, 1, 2] * 3 and len(places.unique()) == 9
    for label in range(3):
        assert places[label::3].tolist() == torch.nonzero(labels == label).flatten()[-3:].tolist()
    assert len(draw(data, 7)) == 6, "as many of each class, and not more than a generator makes"
    with refused("too few images to compare real ones with others"):
        draw(labelled(3, 50), 100)


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    data, evaluators = get_judges(smoke())
    return measure_real_images(data, evaluators, 100, 2)


def test_scores_are_those_of_the_drawn_against_the_others(measured: dict[str, dict[str, Any]]) -> None:
    data, evaluators = get_judges(smoke())
    order, scores = reference_order(len(data)), measured["scores"]
    drawn = order[draw(data, 100)]
    others = order[~torch.isin(order, drawn)]
    assert (measured["protocol"]["samples"], measured["protocol"]["reference_images"]) == (100, 100)
    one, other = (evaluators.network.extract(data.images[some]).features for some in (drawn, others))
    assert scores["fd"] == pytest.approx(frechet_distance(statistics(one), statistics(other)), rel=1e-4)
    assert (scores["precision"], scores["recall"]) == pytest.approx(precision_recall(one, other))
    assert scores["accuracy"] == evaluators.accuracy, "on images that did not train the judge"
    held_out, _ = split(data.labels, len(data.classes), seeded(0))
    p = torch.softmax(evaluators.judge.extract(data.images[held_out]).logits.double(), dim=1)
    asked = p[torch.arange(len(held_out)), data.labels[held_out]]
    assert scores["leakage"] == pytest.approx((1 - asked).mean().item()), "on the same"


def test_it_is_measured_once_and_again_where_it_no_longer_fits(
    measured: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(floor, "measure_real_images", lambda *_: calls.append(1) or measured)
    first = ensure_real_images(smoke())
    assert ensure_real_images(smoke()) == first == read_real_images(smoke().source) and len(calls) == 1
    assert floor.FILE in sums.read(paths.results("smoke"))
    write(backbone_sha256="another")
    assert ensure_real_images(smoke()) == measured and len(calls) == 2
    (paths.results("smoke") / floor.FILE).write_text("{")
    assert read_real_images(smoke().source) is None
    assert ensure_real_images(smoke()) == measured and len(calls) == 3


def test_verify_measures_it_again(measured: dict[str, dict[str, Any]]) -> None:
    data, evaluators = get_judges(smoke())
    assert list(real_problems(smoke(), data, evaluators)) == [], "not there"
    write()  # with invented scores
    cells = [problem.split(":")[0] for problem in real_problems(smoke(), data, evaluators)]
    assert {"scores.fd", "scores.is"} <= set(cells)
    write(scores=measured["scores"])
    assert list(real_problems(smoke(), data, evaluators)) == []


def test_tables_end_with_real_images_which_are_not_ranked() -> None:
    fake_run("ppcd")
    fake_run("ppcd-a0.5")
    write()
    for table in (tables.table1, tables.table2, tables.table3):
        frame = table(smoke())
        text = tables.markdown(frame)
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
        (row,) = (row for row in rows if row[0] == "Real images (reference)")
        shown = dict(zip(rows[0], row, strict=True))
        assert frame.iloc[-1]["model"] == "Real images"
        found = shown["FD (classifier) ↓"], shown["recall ↑"], shown["conditional accuracy ↑"]
        assert found == ("0.100", "0.800", "99.0%")
        assert shown["seeds"] == shown["#Par. ↓"] == "–" and "not run" not in row
        assert "Real images: 80 of them measured as a generator's are, against the 120 others." in text
    read = pd.read_csv(tables.write(tables.table1(smoke()), smoke())[0], keep_default_na=False)
    assert not (read == "").any().any() and set(read["paper table"].astype(str)) == {"1"}
    write(backbone="inception")
    assert "Real images" not in tables.markdown(tables.table1(smoke())), "measured in another way"
