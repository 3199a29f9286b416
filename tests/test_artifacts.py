"""Tables, figures and the report are build products of run directories."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import fake_runs
import nbformat
import pandas as pd
import pytest
from fake_runs import LAYERS, fake_run
from matplotlib.figure import Figure
from matplotlib.text import Text

from paper.artifacts import claims_table, curves, figures, report, sources, summary, tables
from ppcd.base import PpcdError
from ppcd.training.recipes import Recipe


def ablation(seed: int = 0) -> None:
    """All five runs of Table 3."""
    for recipe in ("biggan", "ppcd-a0.5", "ppcd-no-pp", "ppcd-no-cd-a0.5", "ppcd-two-step-a0.5"):
        fake_run(recipe, seed, **{"is": 7.0 + seed if recipe == "ppcd-a0.5" else 8.5})


# --- Figures ---


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_figure_5_has_the_teacher_first_and_says_what_is_missing() -> None:
    ablation()
    whole = figures.fig5("smoke")
    assert len(whole.axes) == 5 and "not run" not in texts(whole)
    assert [label.get_text() for label in whole.axes[0].get_xticklabels()] == ["0", "2", "3", "5", "7", "8"]
    labels = [axes.get_yticklabels()[0].get_text() for axes in whole.axes]
    assert labels[0] == "Big-GAN\n(teacher)" and labels[4] == "PPCD-GAN*"
    assert "profile smoke · seed 0 · backbone classifier · alpha 0.5" in texts(whole)
    assert texts(figures.fig5("smoke", alpha=0.6)).count("not run") == 3
    assert [path.name for path in figures.write_fig5("smoke", alpha=0.6)] == ["fig5-a0.6.png", "fig5-a0.6.pdf"]


def test_masks_figure_marks_alpha_the_freeze_and_two_thirds() -> None:
    record = fake_run("ppcd", frozen_at=13)
    figure = curves.masks_figure(record)
    assert len(figure.axes) == 2 * len(LAYERS)
    assert [axes.get_title() for axes in figure.axes[:6]] == list(LAYERS)
    lower = figure.axes[6]
    ratio, dashed, freeze, dotted = lower.lines
    assert list(ratio.get_ydata()[[0, -1]]) == [0.0, 0.625]
    assert list(dashed.get_ydata()) == [0.7, 0.7] and dashed.get_linestyle() == "--"
    assert (list(freeze.get_xdata()), list(freeze.get_ydata())) == ([13], [0.625])
    assert list(dotted.get_xdata()) == [pytest.approx(16.0)] * 2
    assert "profile smoke · seed 0 · backbone classifier · alpha 0.7" in texts(figure)
    never = curves.masks_figure(fake_run("ppcd-literal-sgd", kept=8, frozen_at=None))
    assert len(never.axes[6].lines) == 3, "no mark"


def test_mask_rules_side_by_side_with_one_missing() -> None:
    runs = {"ppcd": fake_run("ppcd"), "ppcd-literal-adam": None}
    runs |= {"ppcd-literal-sgd": fake_run("ppcd-literal-sgd")}
    figure = curves.mask_rules(runs)
    assert [axes.get_title() for axes in figure.axes[:3]] == list(curves.RULES.values())
    assert texts(figure).count("not run") == 2
    assert texts(curves.mask_rules(dict.fromkeys(runs))).count("not run") == 6
    assert summary.rules(runs)["layers frozen"].tolist() == ["6/6", "not run", "6/6"]


def test_curves_show_the_losses_that_a_recipe_has() -> None:
    shown: dict[str, list[str]] = {}
    for recipe in ("biggan", "ppcd-no-pp", "ppcd", "ppcd-two-step"):
        figure = curves.curves_figure(fake_run(recipe))
        shown[recipe] = [axes.get_title() for axes in figure.axes]
    names = list(curves.LOSSES.values())
    assert shown == {
        "biggan": names[:2], "ppcd-no-pp": names[:3], "ppcd": names, "ppcd-two-step": names,
    }  # fmt: skip
    phases = [line for line in figure.axes[0].lines if line.get_linestyle() == "-."]
    assert [line.get_xdata()[0] for line in phases] == [13]


def test_masks_are_written_under_the_recipes_name() -> None:
    assert [path.name for path in curves.write_masks(fake_run("ppcd"))] == ["masks.png", "masks.pdf"]
    names = [path.name for path in curves.write_masks(fake_run("ppcd-no-cd"))]
    assert names == ["masks-ppcd-no-cd.png", "masks-ppcd-no-cd.pdf"]
    with pytest.raises(PpcdError, match=r"has no masks\.csv"):
        curves.write_masks(fake_run("ppcd-no-pp"))


# --- Small tables ---


def test_headline_numbers() -> None:
    fake_run("biggan", accuracy=0.987)
    fake_run("ppcd-a0.5", frozen_at=None)
    frame = summary.headline("smoke", [0])
    assert list(frame["conditional accuracy"]) == ["98.7%", "90.0%", "not run"]
    assert list(frame["last layer frozen at"]) == ["–", "never", "not run"]
    assert list(frame["residual blocks left"]) == ["100.0%", "62.5%", "not run"]
    assert "FD (classifier)" in frame


def test_layers_and_size_and_scores() -> None:
    record = fake_run("ppcd", kept=2, frozen_at=6)
    layers = summary.layers(record)
    assert layers.loc[0, ["kept", "pruned", "of the training"]].tolist() == [2, "75.0%", "25.0%"]
    assert summary.size(record)["left"].tolist() == ["62.5%"] * 3
    assert summary.scores(record)["weights"].tolist() == ["ema", "raw"]
    biggan = fake_run("biggan")
    assert summary.scores(biggan).iloc[1, 1] == "not measured"
    assert summary.when_run(None, summary.scores) == "**not run**"
    assert "Nothing was pruned" in summary.when_masked(biggan, summary.layers)
    assert len(summary.when_masked(record, summary.layers)) == 6


def test_the_papers_settings_stand_beside_ours() -> None:
    frame = summary.settings("smoke", 0).set_index("setting")
    assert frame.loc["alpha", ["paper", "here"]].tolist() == ["0.7", "0.7"]
    assert frame.loc["pivot", "here"] == "0.005" and frame.loc["delta", "here"] == "1000"
    assert frame.loc["hardware", "here"] == "not run"
    assert frame.loc["epochs", "here"] == "24 iterations (teacher: 12)"


def test_standstills_are_runs_whose_discriminator_had_won(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_run("sagan")
    assert isinstance(summary.standstills("smoke", [0]), str)
    logged = fake_runs._history

    def won(total: int, recipe: Recipe) -> str:
        history = pd.read_csv(io.StringIO(logged(total, recipe)))
        history.loc[history["iteration"] > total / 4, "loss_d"] = 0.0
        return history.to_csv(index=False)

    monkeypatch.setattr(fake_runs, "_history", won)
    stood, other = fake_run("l1-sagan"), fake_run("ppcd", seed=1)
    fake_run("distill-only")  # has no discriminator
    assert list(summary.standstills("smoke", [0])["run"]) == [stood["id"]]
    assert set(summary.standstills("smoke", [0, 1])["run"]) == {stood["id"], other["id"]}


def test_what_went_wrong_in_a_training_is_shown() -> None:
    assert summary.noticed_in("smoke", [0]) == "**not run**"
    record = fake_run("ppcd")
    unwatched = {name: value for name, value in record.items() if name != "warnings"}
    assert "not known: it was trained before trainings were watched" in str(summary.noticed(unwatched))
    assert summary.noticed(unwatched, record | {"warnings": []}) == (
        f"Nothing went wrong in the training of {record['id']}."
    )
    first = {"iteration": 30, "kind": "discriminator", "text": "the discriminator has won", "until": 40}
    second = {"iteration": 60, "kind": "alpha", "text": "2 of 6 mask layers have not reached alpha 0.7"}
    shown = summary.noticed(unwatched, record | {"warnings": [first, second]})
    assert isinstance(shown, pd.DataFrame)
    assert shown.to_numpy().tolist() == [
        [record["id"], 30, 40, first["text"]],
        [record["id"], 60, "–", second["text"]],
    ]


def test_provenance_of_every_run() -> None:
    assert summary.provenance("smoke") == "Runs of profile smoke: **not run**"
    fake_run("ppcd")
    fake_run("biggan")
    frame = summary.provenance("smoke")
    assert [run.split("-s0-")[0] for run in frame["run"]] == ["biggan", "ppcd"]
    assert frame["commit"].tolist() == ["0123456789"] * 2 and frame["torch"].tolist() == ["2.14.1"] * 2


# --- Report ---


def executed(tmp_path: Path, change: Callable[[nbformat.NotebookNode], None] | None = None) -> Path:
    """A notebook as papermill leaves it, with a picture, a table and a line of text."""
    buffer = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(buffer, format="png")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    picture = nbformat.v4.new_output("display_data", {"image/png": encoded})
    table = nbformat.v4.new_output("display_data", {"text/html": tables.html(tables.table3("smoke", [0]))})
    cell = nbformat.v4.new_code_cell("secret_code = 1", execution_count=1, outputs=[picture, table], id="b")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Report of it", id="a"), cell])
    if change:
        change(notebook)
    path = tmp_path / "09_report.ipynb"
    nbformat.write(notebook, path)
    return path


def test_report_is_one_file_without_code_that_loads_nothing(tmp_path: Path) -> None:
    ablation()
    path = report.build_report(executed(tmp_path), "smoke")
    page = path.read_text()
    assert path.parts[-2:] == ("smoke", "report.html") and path.parent.parent == tmp_path / "results"
    assert "Report of it" in page
    assert "<strong>8.50</strong>" in page and "<ins>7.00</ins>" in page
    assert "data:image/png;base64," in page
    assert "secret_code" not in page and "http://" not in page and "https://" not in page
    assert "<script" not in page
    assert report.build_report(executed(tmp_path), "smoke").read_text() == page


def unexecuted(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[1].execution_count = None


def failed(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[1].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[]))


def external(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[0].source = '<img src="https://example.org/picture.png">'


@pytest.mark.parametrize(
    ("change", "said"),
    [(unexecuted, "not executed"), (failed, "a cell that failed"), (external, "would load")],
)
def test_a_report_is_made_of_whole_notebooks_only(
    tmp_path: Path, change: Callable[[nbformat.NotebookNode], None], said: str
) -> None:
    good = report.build_report(executed(tmp_path), "smoke")
    before = good.read_bytes()
    with pytest.raises(PpcdError, match=said):
        report.build_report(executed(tmp_path, change), "smoke")
    assert good.read_bytes() == before
    with pytest.raises(PpcdError, match="no executed notebook"):
        report.build_report(tmp_path / "absent.ipynb", "smoke")


def test_every_table_of_scores_and_every_figure_says_where_images_came_from_jpeg() -> None:
    for recipe in ("biggan", "ppcd", "ppcd-a0.5"):
        fake_run(recipe, note="JPEG source")
    record = sources.find_record("smoke", "ppcd", 0)
    assert record is not None
    for frame in (summary.scores(record), summary.headline("smoke", [0]), summary.rules({"ppcd": record})):
        assert set(frame["data"]) == {"JPEG source"}
    made = summary.provenance("smoke")
    assert isinstance(made, pd.DataFrame)
    for said in (
        " ".join(made["data"]),
        sources.Study("smoke", (0,), 0.5).line,
        tables.caption(tables.table3("smoke", [0])),
        tables.caption(tables.table1("smoke", [0])),
        tables.caption(tables.table2("smoke", [0])),
        str(summary.settings("smoke", 0)["here"].tolist()),
        claims_table.text([], sources.Study("smoke", (0,))),
    ):
        assert "JPEG source" in said, said
    fake_run("ppcd")
    record = sources.find_record("smoke", "ppcd", 0)
    assert record is not None and "data" not in summary.scores(record)
    assert sources.Study("mnist", (0,)).line.count("data") == 0


def test_a_table_of_students_of_several_copies_of_a_teacher_says_which() -> None:
    """One copy came with the repository, one was trained here. The right case: students of one copy, and no teacher."""
    brought = fake_run("biggan")
    for recipe in ("ppcd-a0.5", "ppcd-no-pp"):
        fake_run(recipe, teacher=brought)
    captions = [tables.caption(tables.table3("smoke", [0]))]
    trained_here = fake_run("biggan", weights=7)
    captions += [tables.caption(tables.table2("smoke", [0]))]
    assert not any("another copy" in caption for caption in captions)
    fake_run("ppcd-no-pp", teacher=trained_here)
    for said in (
        tables.caption(tables.table3("smoke", [0])),
        sources.Study("smoke", (0,)).line,
        texts(figures.fig5("smoke")),
    ):
        assert "another copy of the teacher taught ppcd-a0.5 (seed 0)" in said, said
    assert "ppcd-no-pp (seed" not in tables.caption(tables.table3("smoke", [0]))
