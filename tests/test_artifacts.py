"""Tables, figures and the report are build products of run directories."""

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from fake_runs import fake_run, smoke
from matplotlib.figure import Figure
from matplotlib.text import Text

from paper.artifacts import claims_table, curves, figures, report, summary, tables
from paper.study import Study
from ppcd.base import PpcdError


def ablation() -> None:
    """All five runs of Table 3."""
    for recipe in ("biggan", "ppcd-a0.5", "ppcd-no-pp", "ppcd-no-cd-a0.5", "ppcd-two-step-a0.5"):
        fake_run(recipe, **{"is": 7.0 if recipe == "ppcd-a0.5" else 8.5})


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_figure_5_has_the_teacher_first_and_says_what_is_missing() -> None:
    ablation()
    whole = figures.fig5(smoke())
    assert len(whole.axes) == 5 and "not run" not in texts(whole)
    assert whole.axes[0].get_yticklabels()[0].get_text() == "Big-GAN\n(teacher)"
    assert "profile smoke · seed 0 · backbone classifier · alpha 0.5" in texts(whole)
    assert texts(figures.fig5(smoke(), alpha=0.6)).count("not run") == 3
    assert [path.name for path in figures.write_fig5(smoke(), alpha=0.6)] == ["fig5-a0.6.png", "fig5-a0.6.pdf"]


def test_masks_figure_marks_alpha_the_freeze_and_two_thirds() -> None:
    figure = curves.masks_figure(fake_run("ppcd", frozen_at=13))
    ratio, dashed, freeze, dotted = figure.axes[6].lines
    assert list(ratio.get_ydata()[[0, -1]]) == [0.0, 0.625] and list(dashed.get_ydata()) == [0.7, 0.7]
    assert (list(freeze.get_xdata()), list(freeze.get_ydata())) == ([13], [0.625])
    assert list(dotted.get_xdata()) == [pytest.approx(16.0)] * 2
    never = curves.masks_figure(fake_run("ppcd-literal-sgd", kept=8, frozen_at=None))
    assert len(never.axes[6].lines) == 3, "no mark"
    runs = {"ppcd": fake_run("ppcd"), "ppcd-literal-adam": None}
    assert texts(curves.mask_rules(runs)).count("not run") == 2
    assert summary.rules(runs)["layers frozen"].tolist() == ["6/6", "not run"]


def test_curves_show_the_losses_that_a_recipe_has() -> None:
    names = list(curves.LOSSES.values())
    for recipe, expected in (("biggan", names[:2]), ("ppcd-no-pp", names[:3]), ("ppcd-two-step", names)):
        figure = curves.curves_figure(fake_run(recipe))
        assert [axes.get_title() for axes in figure.axes] == expected
    phases = [line for line in figure.axes[0].lines if line.get_linestyle() == "-."]
    assert [line.get_xdata()[0] for line in phases] == [13], "where the second step begins"


def test_masks_are_written_under_the_recipes_name() -> None:
    for recipe, name in (("ppcd", "masks"), ("ppcd-no-cd", "masks-ppcd-no-cd")):
        written = curves.write_masks(fake_run(recipe), smoke().figures)
        assert [path.name for path in written] == [f"{name}.png", f"{name}.pdf"]
    with pytest.raises(PpcdError, match=r"has no masks\.csv"):
        curves.write_masks(fake_run("ppcd-no-pp"), smoke().figures)


def test_headline_numbers() -> None:
    fake_run("biggan", accuracy=0.987)
    fake_run("ppcd-a0.5", frozen_at=None)
    frame = summary.headline(smoke())
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
    assert summary.when_run(None, summary.scores) == "**not run**"
    assert "Nothing was pruned" in summary.when_masked(fake_run("biggan"), summary.layers)
    assert len(summary.when_masked(record, summary.layers)) == 6


def test_settings_and_provenance_stand_beside_the_papers() -> None:
    frame = summary.settings(smoke()).set_index("setting")
    assert frame.loc["alpha", ["paper", "here"]].tolist() == ["0.7", "0.7"]
    assert frame.loc[["hardware", "epochs"], "here"].tolist() == ["not run", "24 iterations (teacher: 12)"]
    record = fake_run("ppcd")
    row = summary.provenance(smoke()).iloc[0]
    assert (row["run"], row["commit"], row["torch"]) == (record["id"], "0123456789", "2.14.1")


def test_standstills_are_runs_whose_discriminator_had_won() -> None:
    fake_run("sagan")
    assert isinstance(summary.standstills(smoke()), str)
    stood = fake_run("l1-sagan", won=True)
    fake_run("distill-only", won=True)  # has no discriminator
    assert list(summary.standstills(smoke())["run"]) == [stood["id"]]


def test_what_went_wrong_in_a_training_is_shown() -> None:
    assert summary.noticed_in(smoke()) == "**not run**"
    record = fake_run("ppcd")
    unwatched = {name: value for name, value in record.items() if name != "warnings"}
    assert "not known: it was trained before trainings were watched" in str(summary.noticed(unwatched))
    assert "Nothing went wrong" in str(summary.noticed(unwatched, record | {"warnings": []}))
    one = {"iteration": 60, "kind": "alpha", "text": "2 of 6 mask layers have not reached alpha 0.7"}
    shown = summary.noticed(unwatched, record | {"warnings": [one]})
    assert isinstance(shown, pd.DataFrame)
    assert shown.to_numpy().tolist() == [[record["id"], 60, "–", one["text"]]]


def executed(tmp_path: Path, source: str = "# Report of it", **code: Any) -> Path:
    """A notebook as papermill leaves it, with a picture and a table."""
    buffer = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(buffer, format="png")
    shown = {
        "image/png": base64.b64encode(buffer.getvalue()).decode(),
        "text/html": tables.html(tables.table3(smoke())),
    }
    outputs = [nbformat.v4.new_output("display_data", {kind: content}) for kind, content in shown.items()]
    cell = nbformat.v4.new_code_cell("secret_code = 1", **{"execution_count": 1, "outputs": outputs, "id": "b"} | code)
    path = tmp_path / "09_report.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source, id="a"), cell]), path)
    return path


def test_report_is_one_file_without_code_that_loads_nothing(tmp_path: Path) -> None:
    ablation()
    source = "# Report of it\n\n[next](02_evaluate.ipynb)"
    path = report.build_report(executed(tmp_path, source), smoke())
    page = path.read_text()
    assert 'href="notebooks/02_evaluate.html"' in page
    assert path == tmp_path / "results" / "smoke" / "report.html" and "Report of it" in page
    assert "<strong>8.50</strong>" in page and "<ins>7.00</ins>" in page and "data:image/webp;base64," in page
    assert not [each for each in ("secret_code", "http://", "https://", "<script") if each in page]
    assert report.build_report(executed(tmp_path, source), smoke()).read_text() == page


FAILED = nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"execution_count": None}, "not executed"),
        ({"outputs": [FAILED]}, "a cell that failed"),
        ({"source": '<img src="https://example.org/picture.png">'}, "would load"),
    ],
)
def test_a_report_is_made_of_whole_notebooks_only(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    good = report.build_report(executed(tmp_path), smoke())
    before = good.read_bytes()
    with pytest.raises(PpcdError, match=said):
        report.build_report(executed(tmp_path, **change), smoke())
    assert good.read_bytes() == before
    with pytest.raises(PpcdError, match="no executed notebook"):
        report.build_report(tmp_path / "absent.ipynb", smoke())


def test_every_table_of_scores_and_every_figure_says_where_images_came_from_jpeg() -> None:
    for recipe in ("biggan", "ppcd", "ppcd-a0.5"):
        fake_run(recipe, note="JPEG source")
    record = smoke().record("ppcd")
    assert record is not None
    for frame in (summary.scores(record), summary.headline(smoke()), summary.rules({"ppcd": record})):
        assert set(frame["data"]) == {"JPEG source"}
    made = [table(smoke()) for table in (tables.table1, tables.table2, tables.table3)]
    shown = [tables.caption(table) for table in made] + [smoke().with_alpha(0.5).line]
    shown += [str(summary.settings(smoke())["here"].tolist()), claims_table.text([], smoke())]
    assert [said for said in shown if "JPEG source" not in said] == []
    fake_run("ppcd")
    record = smoke().record("ppcd")
    assert record is not None and "data" not in summary.scores(record)
    assert Study.of("mnist").line.count("data") == 0


def test_a_table_of_students_of_several_copies_of_a_teacher_says_which() -> None:
    """One copy came with the repository, one was trained here. The right case: students of one copy, and no teacher."""
    brought = fake_run("biggan")
    for recipe in ("ppcd-a0.5", "ppcd-no-pp"):
        fake_run(recipe, teacher=brought)
    assert "another copy" not in tables.caption(tables.table3(smoke()))
    trained_here = fake_run("biggan", weights=7)
    assert "another copy" not in tables.caption(tables.table2(smoke()))
    fake_run("ppcd-no-pp", teacher=trained_here)
    caption = tables.caption(tables.table3(smoke()))
    for said in (caption, smoke().line, texts(figures.fig5(smoke()))):
        assert "another copy of the teacher taught ppcd-a0.5 (seed 0)" in said, said
    assert "ppcd-no-pp (seed" not in caption
