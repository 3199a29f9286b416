"""The classifier: accurate, made once, the same whatever the global state is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet, load_data
from ppcd.metrics import classifier as module
from ppcd.metrics.classifier import Classifier, agreement, classifier_logits, split, train_or_load_classifier


@pytest.mark.slow
def test_above_98_percent_on_mnist() -> None:
    data = load_data("mnist", 32)
    classifier = train_or_load_classifier(data, epochs=8)
    assert classifier.accuracy > 0.98
    held_out, _ = split(data.labels, 10, torch.Generator().manual_seed(0))
    logits = classifier_logits(classifier, data.images[held_out])
    assert agreement(logits, data.labels[held_out]) == pytest.approx(classifier.accuracy)
    # Asked for another class than the one shown, it does not agree.
    assert agreement(logits, (data.labels[held_out] + 1) % 10) < 0.02
    # With nothing to learn from it stays near chance: the bar is not reached by leaking labels.
    shuffled = data.labels[torch.randperm(len(data), generator=torch.Generator().manual_seed(1))]
    unlearnable = replace(data, labels=shuffled, sha256="shuffled")
    assert train_or_load_classifier(unlearnable, epochs=1).accuracy < 0.2


def test_the_one_that_measured_the_committed_digits_came_with_them(
    few: ImageSet, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the machine, and with an empty cache, it is not trained."""
    runs = (paths.repository() / "results/mnist/runs").glob("*/run.json")
    protocols = [json.loads(path.read_text())["metrics"]["protocol"] for path in runs]
    names = ("reference_sha256", "classifier_epochs", "backbone_sha256", "accuracy_classifier")
    ((data, epochs, backbone, accuracy),) = {tuple(each[name] for name in names) for each in protocols}
    monkeypatch.setattr(module, "_train", lambda *_, **__: pytest.fail("it came with the runs"))
    found = train_or_load_classifier(replace(few, sha256=data), epochs=epochs)
    assert found.sha256 == backbone and found.accuracy == accuracy


def test_trained_once_for_each_setting_and_read_back(
    few: ImageSet, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_or_load_classifier(few, epochs=1)
    train_or_load_classifier(few, epochs=2)
    train_or_load_classifier(few, epochs=1, seed=1)
    train_or_load_classifier(replace(few, sha256="another"), epochs=1)
    assert len(list((fresh_cache / "classifiers").glob("*.safetensors"))) == 4
    monkeypatch.setattr(module, "_train", lambda *_, **__: pytest.fail("trained again"))
    second = train_or_load_classifier(few, epochs=1)
    assert (first.sha256, first.accuracy) == (second.sha256, second.accuracy)
    assert torch.equal(first(few.images), second(few.images))
    assert not second.training and not any(each.requires_grad for each in second.parameters())


def test_global_state_changes_nothing(few: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for index, threads in enumerate((1, 2)):
        monkeypatch.setenv("PPCD_CACHE", str(tmp_path / str(index)))
        torch.manual_seed(index)
        torch.set_num_threads(threads)
        state = torch.get_rng_state()
        found.append(train_or_load_classifier(few, epochs=2).sha256)
        assert torch.equal(state, torch.get_rng_state())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert found[0] == found[1]
    assert found[0] != train_or_load_classifier(few, epochs=2, seed=1).sha256


def test_mistakes(few: ImageSet) -> None:
    with pytest.raises(PpcdError, match="one epoch"):
        train_or_load_classifier(few, epochs=0)
    with pytest.raises(PpcdError, match="class 9 has 1 images"):
        split(torch.tensor([*range(10), *range(9)]), 10, torch.Generator())
    with pytest.raises(PpcdError, match="8 divides"):
        Classifier(10, 30)
