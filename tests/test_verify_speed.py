"""`make verify` of what `make bench` keeps: times, what follows from them, figures, summary, README.md."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from fake_bench import fake_bench
from matplotlib.figure import Figure

from paper import sums
from paper.artifacts import figures as drawing
from paper.artifacts import plotted
from paper.artifacts import speed as shown
from paper.artifacts import speed_figures as figures
from paper.bench import latency, results
from paper.verify.__main__ import main
from paper.verify.speed import adopt_speed, verify_speed
from ppcd.base import PpcdError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench, its figures and its summary."""
    root = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        patch.setattr(latency, "BATCHES", {"mnist": (64,)})
        content = fake_bench(patch)
        shown.write_summary(content)
        figures.write_share(content)
    return root


DRAWN: dict[tuple[str, str], bytes] = {}
DRAW = {"png": drawing.png, "pdf": drawing.pdf}


def drawn(kind: str, figure: Figure) -> bytes:
    """As `paper.artifacts.figures` draws it; what shows the same is drawn once."""
    key = kind, plotted.to_json(plotted.describe(figure))
    if key not in DRAWN:
        DRAWN[key] = DRAW[kind](figure)
    return DRAWN[key]


@pytest.fixture
def copied(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PPCD_RESULTS and PPCD_FIGURES of each test are."""
    for kind in DRAW:
        monkeypatch.setattr(drawing, kind, partial(drawn, kind))
    for part in ("results", "figures"):
        shutil.copytree(built / part, tmp_path / part)
    return tmp_path


def found() -> list[str]:
    return [str(finding) for finding in verify_speed().findings]


def test_what_was_measured_passes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, "a bench that is there is verified with everything else"
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "4 figures and summaries" in out and "bench: " in out
    assert out.endswith("everything as the runs say\n")
    for name in ("results/bench.json", "results/bench/summary.md", "figures/bench/share.json"):
        assert Path(name).name in sums.read((copied / name).parent)


# file, what it has, what it has then, what is said of it
DIGITS = [
    ("results/bench.json", r'("seconds": \[\s+2\.\d\d)\d', r"\g<1>X", "not the bytes that were written (SHA256SUMS)"),
    ("results/bench.json", r'("peak": \d+)\d', r"\g<1>X", "not the bytes that were written (SHA256SUMS)"),
    ("results/bench.json", r'("cpu": ".*)[a-zA-Z]', r"\g<1>7", "not the bytes that were written (SHA256SUMS)"),
    ("results/bench/summary.md", r"2( times)", r"3\1", "column at least: says 3 times, the runs say 2 times"),
    ("figures/bench/share.json", r"(\d\.\d\d)\d", r"\g<1>X", "says "),
    ("figures/bench/share.png", r"", "", "not the bytes that were written (SHA256SUMS)"),
]


@pytest.mark.parametrize(("file", "old", "new", "said"), DIGITS, ids=[f"{each[0]}-{each[3]}" for each in DIGITS])
def test_a_single_changed_digit_is_found(
    copied: Path, file: str, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / file
    if old:
        text = path.read_text()
        match = re.search(old, text)
        assert match is not None
        digit = str((int(match[0][-1]) + 1) % 10) if new.endswith("X") else ""
        changed = text[: match.start()] + match.expand(new.removesuffix("X")) + digit + text[match.end() :]
        assert len(changed) == len(text) and changed != text
        path.write_text(changed)
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert main(["--profile", "bench"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(file) and said in line for line in lines), "\n".join(lines)


def test_what_is_missing_or_too_much_is_named(copied: Path) -> None:
    (copied / "figures" / "bench" / "share.pdf").unlink()
    (copied / "figures" / "bench" / "extra.json").write_text("{}")
    (copied / "results" / "bench" / "notes.md").write_text("of somebody\n")
    lines = "\n".join(found())
    assert "figures/bench/share.pdf: is missing; notebook 10 makes it" in lines
    assert "figures/bench/extra.json: nothing that this version knows makes it" in lines
    assert "results/bench/notes.md: nothing that this version knows makes it" in lines


def test_a_bench_without_sums_can_be_adopted(copied: Path) -> None:
    for folder in (copied / "results", copied / "results" / "bench", copied / "figures" / "bench"):
        (folder / sums.FILE).unlink()
    assert any(line.startswith("results/bench.json: not in SHA256SUMS") for line in found())
    adopt_speed()
    assert found() == []


def test_a_run_in_bf16_that_was_changed_is_named(copied: Path) -> None:
    root = Path(__file__).resolve().parent.parent / "results" / "bench" / "quality" / "mnist" / "runs"
    run = next(iter(sorted(root.glob("biggan-s0-*"))))
    there = copied / "results" / shown.HALF_FOLDER / "mnist" / "runs" / run.name
    shutil.copytree(run, there)
    assert found() == []
    record = json.loads((there / "run.json").read_text())
    record["metrics"]["ema"]["fd"] += 1
    (there / "run.json").write_text(json.dumps(record))
    (line,) = found()
    assert line.startswith(f"results/bench/quality/mnist/runs/{run.name}/run.json: ")


def test_without_a_bench_there_is_nothing_to_verify() -> None:
    with pytest.raises(PpcdError, match=r"^speed was not measured: there is no .*bench\.json; make bench measures it$"):
        verify_speed()


def test_a_damaged_bench_takes_one_line(copied: Path) -> None:
    (copied / "results" / results.FILE).write_text("{")
    assert any("bench.json" in line and "cannot be read" in line for line in found())
