"""What is computed once is read back whole, or computed again."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ppcd.base import PpcdError
from ppcd.metrics.cache import Entry, Key, cached

KEY: Key = {"data": "abc", "version": 1}


class Counting:
    """Computes an entry and counts how often."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls, self.seconds = 0, seconds

    def __call__(self) -> Entry:
        self.calls += 1
        time.sleep(self.seconds)
        return Entry({"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(7)}, {"accuracy": "0.5"})


def flip_a_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_second_call_reads_and_another_key_computes(fresh_cache: Path) -> None:
    compute = Counting()
    first, second = cached("things", KEY, compute), cached("things", KEY, compute)
    assert compute.calls == 1
    assert second.notes == first.notes == {"accuracy": "0.5"}
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in ("a", "n"))
    cached("things", {**KEY, "version": 2}, compute)
    assert compute.calls == 2


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lambda content: content[:40], lambda content: b"", lambda content: b"{}" + content]
)
def test_damaged_file_is_computed_again(fresh_cache: Path, damage: Callable[[bytes], bytes]) -> None:
    compute = Counting()
    cached("things", KEY, compute)
    (path,) = fresh_cache.rglob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        assert torch.equal(cached("things", KEY, compute).tensors["a"], torch.arange(6.0).view(2, 3))
        assert compute.calls == 2  # mended


def test_what_came_with_the_repository_is_not_computed(fresh_cache: Path, tmp_path: Path) -> None:
    compute, brought = Counting(), tmp_path / "brought"
    cached("things", KEY, compute, brought)  # nothing there yet
    (path,) = fresh_cache.rglob("*.safetensors")
    brought.mkdir()
    path = path.rename(brought / path.name)
    assert cached("things", KEY, compute, brought).notes == {"accuracy": "0.5"} and compute.calls == 1
    path.write_bytes(flip_a_bit(path.read_bytes()))
    assert torch.equal(cached("things", KEY, compute, brought).tensors["n"], torch.tensor(7))
    assert compute.calls == 2  # a damaged one is not taken


def test_two_at_once_compute_once(fresh_cache: Path) -> None:
    compute = Counting(seconds=0.3)
    threads = [threading.Thread(target=cached, args=("things", KEY, compute)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compute.calls == 1


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(PpcdError, match="PPCD_CACHE"):
        cached("things", KEY, Counting())
