"""When the distillation helps: the criterion, the questions, and what is shown of paired runs."""

import math

import pandas as pd
import pytest
from fake_runs import fake_run

from paper import attention_agreement, questions, reproduce
from paper.artifacts import evidence
from paper.intervals import t_interval
from paper.questions import EFFECT, FEW, HINT, NONE, OPEN, Answer, Answers, answer, corrected
from paper.study import Study
from ppcd.base import PpcdError
from ppcd.records import Record
from ppcd.training.recipes import get_recipe

PROFILE = "cifar10-lite"
FIRST = questions.FIRST_SEEDS
ONE_THING = {
    "narrow": {"masked", "narrow"},
    "form-biggan": {"generator", "size", "budget"},
    "teacher-best": {"select", "distil"},
}


def lite(*seeds: int) -> Study:
    return Study.of(PROFILE, seeds)


def judged(*pairs: tuple[float, float]) -> Answer:
    return answer(pd.DataFrame(pairs, columns=["treatment", "control"], dtype=float))


def test_a_hint_needs_an_interval_without_zero_and_a_twentieth() -> None:
    assert judged((8.0, 10.0), (8.1, 10.0), (7.9, 10.1)).verdict == HINT
    assert judged((12.0, 10.0), (12.1, 10.0), (11.9, 10.1)).verdict == HINT, "for the worse"
    assert judged((9.9, 10.0), (7.0, 10.0), (5.0, 10.0)).verdict == NONE, "one sign, but the interval has 0 in it"
    assert judged((8.0, 10.0), (8.1, 10.0), (10.1, 10.0)).verdict == NONE, "one seed disagrees"
    assert judged((9.9, 10.0), (9.91, 10.0), (9.9, 10.0)).verdict == NONE, "a hundredth"
    assert judged((8.0, 10.0), (8.1, 10.0)).verdict == FEW, "two seeds"
    assert judged((8.0, 10.0)).verdict == FEW and judged().verdict == OPEN and math.isnan(judged().share)


CLEAR = ((8.0, 10.0), (8.1, 10.0), (7.9, 10.1))
CLOSE = ((8.0, 10.0), (8.7, 10.0), (8.5, 10.0))  # p = .017: a hint, alone or of two, but not of five


def test_an_effect_stays_when_the_number_of_questions_is_corrected_for() -> None:
    found = {"a": judged(*CLEAR), "b": judged(*CLOSE), "c": judged((9.0, 10.0), (10.5, 10.0), (10.0, 10.1))}
    assert [one.verdict for one in found.values()] == [HINT, HINT, NONE]
    alone = corrected(found, ["a"])
    assert [one.verdict for one in alone.values()] == [EFFECT, HINT, NONE] and math.isnan(alone["b"].corrected)
    both = corrected(found, ["a", "b"])
    assert both["b"].verdict == EFFECT and both["a"].corrected == pytest.approx(2 * both["a"].difference.p)
    few = {name: judged((8.0, 10.0)) for name in "xyz"}
    many = corrected(found | few, ["a", "b", *few])
    assert many["b"].verdict == HINT and many["b"].corrected > 0.05, "a question that is still to be run counts"
    assert many["x"].verdict == FEW and math.isnan(many["x"].corrected)


@pytest.mark.parametrize("asked", questions.INQUIRIES.values(), ids=questions.INQUIRIES)
def test_questions_differ_in_one_thing(asked: questions.Inquiry) -> None:
    """Of the method's own recipes; l1 pruning is another method, at the same alpha."""
    for question in asked.questions:
        treatment, control = get_recipe(question.treatment), get_recipe(question.control)
        if control.baseline is not None:
            assert treatment.alpha == control.alpha is not None and question.name.endswith(f"{control.alpha:g}")
            continue
        names = set(vars(treatment)) - {"name", "title", "lambda_cd"}
        different = {name for name in names if getattr(treatment, name) != getattr(control, name)}
        assert different == ONE_THING.get(question.name, different) and (
            len(different) == 1 or question.name in ONE_THING
        )
    named = [question.name for question in asked.questions]
    assert len(set(named)) == len(named) and {*asked.primary, *asked.extended} <= set(named)


def test_reproduce_trains_what_the_questions_need() -> None:
    """At profiles of natural images; at others the plan is what it was."""
    planned = {config.id for config in reproduce.plan(lite(0, 1))}
    assert {config.id for config in questions.run_configs(lite(0, 1))} <= planned
    assert {config.seed for config in reproduce.plan(lite(*FIRST))} == {*FIRST, *questions.MORE_SEEDS}
    assert {config.profile.name for config in reproduce.plan(lite(0))} == {PROFILE, f"{PROFILE}-z24"}
    mnist = Study.of("mnist")
    assert questions.run_configs(mnist) == [] and len(reproduce.plan(mnist)) == len(reproduce.RECIPES)
    long = Study.of("cifar10-long", questions.ALL_SEEDS)
    assert {config.seed for config in reproduce.plan(long)} == set(questions.ALL_SEEDS)
    assert "12_when_distillation_helps" in dict(reproduce.notebooks(lite(0)))
    assert "12_when_distillation_helps" not in dict(reproduce.notebooks(mnist))


@pytest.fixture
def runs() -> list[Record]:
    """Three seeds of the weights 0 and 10, two of 30; and their teachers."""
    found = [fake_run("ppcd-cd30", seed, PROFILE, fd=9.0) for seed in (0, 1)]
    for seed in range(3):
        found.append(fake_run("biggan", seed, PROFILE, fd=3.0))
        found.append(fake_run("ppcd-no-cd", seed, PROFILE, fd=10.0 + seed))
        found.append(fake_run("ppcd-cd10", seed, PROFILE, fd=8.0 + seed, raw_fd=13.0 + seed))
    for record in found:
        curve = pd.DataFrame({"iteration": [10, 20], "fd": [30.0, 20.0]})
        if record["seed"] == 1:  # a run that keeps several averages: the declared one is shown
            others = curve.assign(average="1%", fd=[300.0, 200.0])
            curve = pd.concat([curve.assign(average="ema"), others]).sort_values("iteration")
        curve.to_csv(record.directory / "quality.csv", index=False)
    return found


def test_answers_are_of_the_runs(runs: list[Record]) -> None:
    answers = Answers(lite(*FIRST))
    found = answers.first
    assert found["weight-10"].verdict == HINT and found["weight-10"].difference.values == (-2.0, -2.0, -2.0)
    assert found["weight-30"].verdict == FEW and found["weight-30"].seeds == (0, 1)
    assert found["weight-1"].seeds == ()
    table = evidence.answers_table(answers)
    row = table.loc[2]
    assert row["question"] == "L_CD at weight 10" and row["mean difference"] == "-2 (-18%)"
    assert (row["#Par., MACs"], row["channels kept"], row["seeds to decide"]) == ("50k, 500k", "18/48", "–")
    assert list(table["verdict"]) == [found[question.name].verdict for question in answers.inquiry.questions]
    assert "8.00 ↔ 10.00 · 9.00 ↔ 11.00" in table["by seed"][2] and table["by seed"][0] == "not run"
    fake_run("ppcd-cd10", 1, PROFILE, frozen_at=None)
    arms = evidence.arms_table(Answers(lite(*FIRST))).set_index("setting")
    frozen = arms["layers frozen at (first to last, by seed)"]
    assert frozen["PPCD-GAN, 10 L_CD"] == "12 to 12; never; 12 to 12" and frozen["PPCD-GAN, 3 L_CD"] == "–"


def test_runs_of_two_copies_of_a_teacher_are_no_pair(runs: list[Record]) -> None:
    """Of `ppcd-cd10` against `ppcd-cd10-raw`, both of which have a teacher."""
    copies = [fake_run("biggan", 0, PROFILE, weights=weights) for weights in (7, 0)]
    for seed in range(3):
        fake_run("ppcd-cd10", seed, PROFILE, teacher=copies[1])
        fake_run("ppcd-cd10-raw", seed, PROFILE, teacher=copies[seed == 1])
    found = Answers(lite(*FIRST)).first
    assert found["normalised-10"].seeds == (1,) and found["weight-10"].seeds == (0, 1, 2)


def test_tables_and_figures_say_what_is_not_run(runs: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_agreement, "SAMPLES", 40)
    answers = Answers(lite(*FIRST))
    text = evidence.verdict(answers)
    assert "**Hints** (1 of" in text and "L_CD at weight 10 (-18%, better)" in text and "**Not run**" in text
    assert "**Too few seeds yet** (1 of" in text and "L_CD at weight 30" in text
    axes = evidence.answers_figure(answers).axes[0]
    unasked = sum(not each.seeds for each in (*answers.first.values(), *answers.more.values()))
    assert sum(text.get_text().strip() == "not run" for text in axes.texts) == unasked > 10
    left, right = evidence.curves_figure(answers).axes
    assert len(left.lines) == 8 + 3 and {tuple(line.get_ydata()) for line in left.lines} == {(30.0, 20.0)}
    assert [text.get_text() for text in right.texts] == ["not run"]
    questions.measure(lite(0), questions.run_configs(lite(*FIRST)))
    arms = evidence.arms_table(Answers(lite(*FIRST))).set_index("setting")
    assert -1 <= float(arms.loc["PPCD-GAN, 10 L_CD", "maps follow within classes"].split()[0]) <= 1
    last = arms["FD of the last weights"]
    assert last["PPCD-GAN, 10 L_CD"] == "14.00 ± 1.00" and last["PPCD-GAN, 3 L_CD"] == "–"


def test_without_runs_everything_says_not_run() -> None:
    assert set(evidence.answers_table(Answers(lite(0)))["verdict"]) == {OPEN}
    assert {"evidence.md", "evidence.png"} <= {path.name for path in evidence.write(lite(0))}


@pytest.mark.parametrize("profile", ["mnist", f"{PROFILE}-z24"])
def test_a_profile_without_questions_says_where_they_are_asked(profile: str) -> None:
    """The line names the profile that was asked for, whatever it is called inside."""
    with pytest.raises(
        PpcdError, match=f"^no questions are asked at profile {profile}, .* take {PROFILE} or cifar10-long$"
    ):
        Answers(Study.of(profile, FIRST))


def more_runs(*seeds: int) -> None:
    """Both settings of weight 10; the new seeds come out the other way."""
    for seed in seeds:
        difference = -2.0 if seed in questions.FIRST_SEEDS else 1.0
        fake_run("ppcd-no-cd", seed, PROFILE, fd=10.0 + seed)
        fake_run("ppcd-cd10", seed, PROFILE, fd=10.0 + seed + difference)


def test_five_seeds_have_a_verdict_of_their_own_and_leave_that_of_the_first_three() -> None:
    more_runs(0, 1, 2, 3, 4)
    answers = Answers(lite(*FIRST))
    row = evidence.more_table(answers).set_index("question").loc["L_CD at weight 10"]
    assert row["seeds"] == "0, 1, 2, 3, 4" and row["verdict"] == NONE and row["first verdict"] == HINT
    low, high = t_interval([-2.0] * 3 + [1.0] * 2)
    assert row["mean difference"].startswith("-0.8 ") and row["95% interval"] == f"{low:+.3g} to {high:+.3g}"
    assert row["first seeds, new seeds"] == "-2, +1" and float(row["p, corrected"]) > 0.05
    assert answers.first["weight-10"].verdict == HINT, "the first table stays what it was"
    assert not any(path.stem == "evidence_more" for path in evidence.write(lite(0)))
    (written,) = (path for path in evidence.write(lite(0, 1, 2)) if path.stem == "evidence_more")
    assert "seeds 0, 1, 2, 3, 4" in written.read_text()


def test_more_seeds_are_not_judged_half_way() -> None:
    """Four seeds of one sign would be an effect: who looks while the fifth trains is told that it is missing."""
    more_runs(0, 1, 2)
    fake_run("ppcd-no-cd", 3, PROFILE, fd=13.0)
    fake_run("ppcd-cd10", 3, PROFILE, fd=11.0)
    row = evidence.more_table(Answers(lite(*FIRST))).set_index("question").loc["L_CD at weight 10"]
    assert row["seeds"] == "0, 1, 2, 3" and row["verdict"] == FEW and row["first verdict"] == HINT
