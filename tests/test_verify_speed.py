"""`make verify` of what `make bench` writes: times, what follows from them, figures, and the summary."""

import json
import re
import shutil
from pathlib import Path

import pytest
from fake_bench import fake_bench
from matplotlib.figure import Figure

from paper.artifacts import figures as drawing
from paper.artifacts import plotted
from paper.artifacts import speed as shown
from paper.artifacts import speed_figures as figures
from paper.bench import latency, results
from paper.verify import verify
from paper.verify.__main__ import main


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
ENCODED = drawing.encoded


def drawn(figure: Figure, kind: str = "png") -> bytes:
    """As `paper.artifacts.figures` draws it; what shows the same is drawn once."""
    key = kind, plotted.to_json(plotted.describe(figure))
    if key not in DRAWN:
        DRAWN[key] = ENCODED(figure, kind)
    return DRAWN[key]


@pytest.fixture
def copied(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PPCD_RESULTS and PPCD_FIGURES of each test are."""
    monkeypatch.setattr(drawing, "encoded", drawn)
    for part in ("results", "figures"):
        shutil.copytree(built / part, tmp_path / part)
    return tmp_path


def found() -> list[str]:
    return [str(finding) for finding in verify("bench")]


def test_what_was_measured_passes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, "a bench that is there is verified with everything else"
    assert capsys.readouterr().out == "bench: everything as the runs say\n"


# file, what it has before a digit that becomes another one, what is said of it
DIGITS = [
    ("results/bench.json", r'"seconds": \[\s+2\.\d\d', "not the bytes that were written (SHA256SUMS)"),
    ("results/bench.json", r'"peak": \d+', "not the bytes that were written (SHA256SUMS)"),
    ("results/bench/summary.md", r"\| (?=2 times)", "3 times"),
    ("figures/bench/share.json", r"\d\.\d\d", " instead of "),
]


@pytest.mark.parametrize(("file", "before", "said"), DIGITS, ids=[f"{file}-{said}" for file, _, said in DIGITS])
def test_a_single_changed_digit_is_found(copied: Path, file: str, before: str, said: str) -> None:
    text = (copied / file).read_text()
    match = re.search(rf"{before}(\d)", text)
    assert match is not None
    place = match.end() - 1
    (copied / file).write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    lines = found()
    assert any(line.startswith(file) and said in line for line in lines), "\n".join(lines)


def test_a_changed_picture_and_what_is_missing_or_too_much_is_named(copied: Path) -> None:
    picture = copied / "figures" / "bench" / "share.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    (copied / "figures" / "bench" / "share.pdf").unlink()
    (copied / "figures" / "bench" / "extra.json").write_text("{}")
    (copied / "results" / "bench" / "notes.md").write_text("of somebody\n")
    assert found() == [
        "figures/bench/extra.json: nothing makes it of what is there",
        "figures/bench/share.pdf: is missing; it is made of what is there",
        "results/bench/notes.md: nothing makes it of what is there",
        "figures/bench/share.png: not the bytes that were written (SHA256SUMS)",
    ]


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


def test_a_damaged_bench_takes_one_line(copied: Path) -> None:
    (copied / "results" / results.FILE).write_text("{")
    (line,) = found()
    assert "bench.json" in line and "cannot be read" in line
