"""When does the distillation help? The questions, what counts as an effect, and what paired runs answer.

The questions and the criterion were committed before the runs that answer them:

- A question compares two settings that differ in one thing, at the same profile, with the same seeds. Runs of one seed
  start from the same weights and see the same data and noise in the same order, so each seed gives one difference.
- Its score is the Fréchet distance of the averaged generator at the end of the training, as every table has it.
  Accuracy, diversity and how the student's maps follow the teacher's are shown with it and decide nothing.

The criterion was changed after all of these runs had been seen. Before, an *effect* asked for differences of one sign,
the 95% t interval of their mean without 0, and a mean of at least `LEAST` of the control's; a *hint* for the same
without the interval, which two equal settings pass in up to a quarter of all cases; nothing was corrected for the
number of questions. All are judged again by the rule of the claims (`paper.intervals`):

- *Hint*: at least `FEWEST` seeds, the 95% t interval of the mean difference without 0, and the mean at least `LEAST` of
  the control's. One question in twenty of those with no effect is a hint by chance.
- *Effect*: a hint of one of the primary questions that stays one after Holm's correction for their number. They were
  named with the new rule; no verdict of the first three seeds hangs on the choice, since no interval leaves 0 out.
- *None seen*: the rest, which with so few seeds does not say that there is none.

Three seeds left the questions of `Inquiry.extended` open: one recipe differs between seeds by as much as settings do.
They are asked again of two more seeds, `MORE_SEEDS`. This was written down before any run of those: all settings of
these questions get both seeds; the verdict of the first three seeds stays, and a second one is by the same criterion on
all five, corrected for the number of these questions; the mean of the two new seeds, which had no part in choosing the
questions, is shown too.

Profile `cifar10-long` has questions of its own: what the student's form, the choice of channels and the distillation
are worth, whether one training is better than two steps, and what all of it does for the trained teacher. They, their
seeds (`ALL_SEEDS`) and the criterion above, with four primary questions, were committed before any of its runs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from paper.attention_agreement import ensure_agreement
from paper.claims.predicates import Quantity
from paper.claims.scores import Measurements
from paper.intervals import LEVEL, Contrast, holm
from paper.study import Study, of_another_teacher
from ppcd.base import PpcdError
from ppcd.records import Record
from ppcd.training.config import RunConfig
from ppcd.training.recipes import TEACHER

FEWEST = 3  # seeds
LEAST = 0.05  # of the control's mean
EFFECT, HINT, NONE, FEW, OPEN = "effect", "hint", "none seen", "too few seeds", "not run"
SMALL_NOISE = "-z24"  # suffix of a profile that is the same but for 24 noise entries


@dataclass(frozen=True)
class Question:
    """One thing that may matter.

    Attributes:
        name: short, for files.
        asks: for people.
        treatment, control: recipes that differ in it.
        small_noise: whether both are of the profile with few noise entries.
        score: "fd", or "leakage" where the question is one of class leakage.
    """

    name: str
    asks: str
    treatment: str
    control: str
    small_noise: bool = False
    score: str = "fd"

    def profile(self, study: Study) -> str:
        """The name of the profile of its runs."""
        return study.name + SMALL_NOISE if self.small_noise else study.name


@dataclass(frozen=True)
class Inquiry:
    """The questions that are asked at a profile.

    Attributes:
        questions: all of them.
        primary: names of those that can come to an effect, corrected for their number.
        weights: of L_CD -> the recipe that has it, for the figure.
        extended: names of those that are asked again of `MORE_SEEDS`.
    """

    questions: tuple[Question, ...]
    primary: tuple[str, ...]
    weights: Mapping[float, str]
    extended: tuple[str, ...] = ()

    @property
    def leakage(self) -> set[str]:
        """The recipes whose class leakage is compared."""
        asked = [each for each in self.questions if each.score == "leakage"]
        return {name for each in asked for name in (each.treatment, each.control)}


# "Conditioned as BigGAN is" changes four things: noise enters every block, the first linear gets a part of it alone,
# all norms share one embedding of the class, and linears under spectral norm make gain and bias of it.
LITE = Inquiry(
    questions=(
        Question("weight-1", "L_CD at the paper's weight of 1, with pruning", "ppcd", "ppcd-no-cd"),
        Question("weight-3", "L_CD at weight 3", "ppcd-cd3", "ppcd-no-cd"),
        Question("weight-10", "L_CD at weight 10", "ppcd-cd10", "ppcd-no-cd"),
        Question("weight-30", "L_CD at weight 30", "ppcd-cd30", "ppcd-no-cd"),
        Question("unpruned", "L_CD at weight 1, without pruning", "ppcd-no-pp", "sagan"),
        Question("small-noise-1", "L_CD at weight 1, 24 noise entries", "ppcd", "ppcd-no-cd", small_noise=True),
        Question("small-noise-10", "L_CD at weight 10, 24 noise entries", "ppcd-cd10", "ppcd-no-cd", small_noise=True),
        Question("block-noise", "conditioned as BigGAN is, without L_CD", "ppcd-hier-no-cd", "ppcd-no-cd"),
        Question("block-noise-10", "L_CD at weight 10, conditioned as BigGAN is", "ppcd-hier-cd10", "ppcd-hier-no-cd"),
        Question("masks-apart", "L_CD at weight 10 kept from the masks", "ppcd-cd10-apart", "ppcd-cd10"),
        Question("normalised-1", "class-conditional normalisation, weight 1", "ppcd", "ppcd-raw"),
        Question("normalised-10", "class-conditional normalisation, weight 10", "ppcd-cd10", "ppcd-cd10-raw"),
        Question("leakage-1", "class leakage with the normalisation, weight 1", "ppcd", "ppcd-raw", score="leakage"),
        Question("leakage-10", "class leakage with it, weight 10", "ppcd-cd10", "ppcd-cd10-raw", score="leakage"),
        Question("joint-0.7", "one training instead of two steps, alpha 0.7", "ppcd", "ppcd-two-step"),
        Question("joint-0.8", "one training instead of two steps, alpha 0.8", "ppcd-a0.8", "ppcd-two-step-a0.8"),
        Question("l1-0.5", "PPCD-GAN instead of l1 pruning, alpha 0.5", "ppcd-a0.5", "l1-sagan-a0.5"),
        Question("l1-0.6", "PPCD-GAN instead of l1 pruning, alpha 0.6", "ppcd-a0.6", "l1-sagan-a0.6"),
        Question("l1-0.7", "PPCD-GAN instead of l1 pruning, alpha 0.7", "ppcd", "l1-sagan"),
        Question("l1-0.8", "PPCD-GAN instead of l1 pruning, alpha 0.8", "ppcd-a0.8", "l1-sagan-a0.8"),
    ),
    # The paper's claims at its own settings: the distillation, its normalisation, one training, and masks against l1.
    primary=("weight-1", "normalised-1", "leakage-1", "joint-0.7", "l1-0.7"),
    weights={0.0: "ppcd-no-cd", 1.0: "ppcd", 3.0: "ppcd-cd3", 10.0: "ppcd-cd10", 30.0: "ppcd-cd30"},
    # The distillation itself, at the paper's weight and at the one where maps follow; and what stood out most.
    extended=("weight-1", "weight-10", "block-noise"),
)
# Layers freeze at the same times. At alpha 0.7 where nothing else is said, or not pruned.
LONG = Inquiry(
    questions=(
        Question("form-shared", "one class embedding for all norms, not pruned", "sagan-shared", "sagan"),
        Question("form-noise", "noise in every block besides, not pruned", "sagan-hier", "sagan-shared"),
        Question("form-biggan", "the teacher's form and training besides, not pruned", "biggan-small", "sagan-hier"),
        Question("random", "learned instead of random channels", "ppcd-hier-no-cd", "ppcd-hier-random-no-cd"),
        Question("l1", "learned channels instead of l1's", "ppcd-hier-no-cd", "ppcd-hier-l1-no-cd"),
        Question("narrow", "pruned instead of narrow from the start", "ppcd-hier-no-cd", "ppcd-hier-narrow-no-cd"),
        Question("weight-1", "L_CD at the paper's weight of 1", "ppcd-hier", "ppcd-hier-no-cd"),
        Question("weight-10", "L_CD at weight 10", "ppcd-hier-cd10", "ppcd-hier-no-cd"),
        Question("pixels", "the teacher's pixels", "ppcd-hier-pixels", "ppcd-hier-no-cd"),
        Question("both", "L_CD beside the teacher's pixels", "ppcd-hier-cd-pixels", "ppcd-hier-pixels"),
        Question("weight-1-random", "L_CD at weight 1, random channels", "ppcd-hier-random", "ppcd-hier-random-no-cd"),
        Question("joint", "one training instead of two steps", "ppcd-hier", "ppcd-hier-two-step"),
        *(
            Question(
                f"teacher-{name}", f"{asks}, from the trained teacher, alpha 0.8", f"{arm}-a0.8", f"{control}-a0.8"
            )
            for name, asks, arm, control in (
                ("best", "learned channels with L_CD instead of l1's", "ppcd-teacher", "ppcd-teacher-l1"),
                ("random", "learned instead of random channels", "ppcd-teacher-no-cd", "ppcd-teacher-random"),
                ("l1", "learned channels instead of l1's", "ppcd-teacher-no-cd", "ppcd-teacher-l1"),
                ("weight-1", "L_CD at weight 1", "ppcd-teacher", "ppcd-teacher-no-cd"),
            )
        ),
    ),
    primary=("random", "weight-1", "joint", "teacher-best"),
    weights={0.0: "ppcd-hier-no-cd", 1.0: "ppcd-hier", 10.0: "ppcd-hier-cd10"},
)
INQUIRIES = {"cifar10-lite": LITE, "cifar10-long": LONG}
PROFILES_OF_EVIDENCE = tuple(INQUIRIES)
NOTHING = Inquiry((), (), {})  # what is asked at the other profiles

FIRST_SEEDS, MORE_SEEDS = (0, 1, 2), (3, 4)
ALL_SEEDS = (*FIRST_SEEDS, *MORE_SEEDS)


def inquiry(study: Study) -> Inquiry:
    """The questions at the profile of a study."""
    return INQUIRIES.get(study.name, NOTHING)


def recipes(study: Study, questions: Iterable[Question]) -> list[tuple[str, str]]:
    """Profile and recipe of every run that these questions compare, each once.

    Teachers are not among them: students bring theirs with them (`ppcd.runs.pool.run_all`).
    """
    arms = [
        (question.profile(study), name) for question in questions for name in (question.treatment, question.control)
    ]
    return list(dict.fromkeys(arms))


def asked(study: Study) -> Study:
    """The study; instead of the smoke profile, which says nothing about quality, that of a profile with questions."""
    if study.name != "smoke":
        return study
    print(f"no questions are asked at profile smoke; these are those of {PROFILES_OF_EVIDENCE[0]}")
    return study.at(PROFILES_OF_EVIDENCE[0])


def run_configs(study: Study) -> list[RunConfig]:
    """The runs that the questions at this profile need, seed by seed; none for profiles without questions."""
    return _runs(study, inquiry(study).questions)


def _runs(study: Study, questions: Iterable[Question]) -> list[RunConfig]:
    arms = recipes(study, questions)
    return [study.at(where).config(name, seed) for seed in study.seeds for where, name in arms]


def extended(study: Study) -> list[Question]:
    """The questions that are asked of more seeds."""
    asked = inquiry(study)
    return [question for question in asked.questions if question.name in asked.extended]


def extension(study: Study) -> list[RunConfig]:
    """The runs of the extension, where a plan of these seeds has the first three; others are not asked for it."""
    if not set(FIRST_SEEDS) <= set(study.seeds):
        return []
    return _runs(replace(study, seeds=MORE_SEEDS), extended(study))


def measure(study: Study, configs: Iterable[RunConfig]) -> None:
    """Measure how the attention maps of those of these runs that are complete follow their teacher's."""
    by_profile: dict[str, list[Record]] = {}
    for record in study.complete(configs):
        by_profile.setdefault(record["profile"], []).append(record)
    for name, records in by_profile.items():
        ensure_agreement(study.at(name), records)


@dataclass(frozen=True)
class Answer:
    """What the runs say to a question.

    Attributes:
        scores: a row for each seed with which both settings were trained, columns `treatment` and `control`.
        verdict: EFFECT, HINT, NONE, FEW or OPEN.
        corrected: the p value after the correction for the number of questions; NaN where there is none.
    """

    scores: pd.DataFrame
    verdict: str
    corrected: float = math.nan

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.scores.index)

    @cached_property
    def difference(self) -> Contrast:
        """Treatment less control, by seed; below 0 the treatment is better."""
        return Contrast(tuple((self.scores["treatment"] - self.scores["control"]).tolist()))

    @property
    def share(self) -> float:
        """The mean difference as a share of the control's mean; NaN without any seed."""
        return self.difference.mean / float(self.scores["control"].mean())

    @property
    def open(self) -> bool:
        """Whether there are enough seeds to judge, and 0 is in their interval."""
        low, high = self.difference.interval()
        return self.verdict == NONE and low <= 0 <= high

    @property
    def needed(self) -> int | None:
        """How many seeds would decide an open question."""
        return self.difference.seeds_to_decide() if self.open else None


def answer(scores: pd.DataFrame) -> Answer:
    """Judge paired scores by themselves; only `corrected` tells an effect from a hint."""
    found = Answer(scores, OPEN if scores.empty else FEW)
    if len(scores) < FEWEST:
        return found
    low, high = found.difference.interval()
    large = abs(found.difference.mean) >= LEAST * float(scores["control"].mean())
    return replace(found, verdict=HINT if large and not low <= 0 <= high else NONE)


def corrected(answers: Mapping[str, Answer], family: Sequence[str]) -> dict[str, Answer]:
    """The answers, those of a family of questions corrected for its number (Holm): what stays a hint is an effect.

    A question of the family that has too few seeds counts in its number.
    """
    judged = {name: answers[name] for name in family if answers[name].verdict in (HINT, NONE)}
    p_values = holm({name: judged[name].difference.p if name in judged else 1.0 for name in family})
    found = dict(answers)
    for name, one in judged.items():
        stays = one.verdict == HINT and p_values[name] <= 1 - LEVEL
        found[name] = replace(one, corrected=p_values[name], verdict=EFFECT if stays else one.verdict)
    return found


class Answers:
    """What the complete runs of a study say to its questions; the runs are read once.

    Raises:
        PpcdError: no questions are asked at this profile, or its runs were measured in different ways.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.seeds, self.inquiry = study, study.seeds, inquiry(study)
        if not (arms := recipes(study, self.inquiry.questions)):
            raise PpcdError(
                f"no questions are asked at profile {study.name}, and it has no runs for them; take "
                f"{' or '.join(PROFILES_OF_EVIDENCE)}"
            )
        self.has_more = bool(extension(study))
        study = replace(study, seeds=tuple(sorted({*self.seeds, *(ALL_SEEDS if self.has_more else ())})))
        self.settings = [*((where, TEACHER) for where in dict.fromkeys(where for where, _ in arms)), *arms]
        self.runs = {
            where: Measurements(study.at(where), [name for of, name in self.settings if of == where])
            for where in dict.fromkeys(where for where, _ in arms)
        }

    def pairs(self, question: Question, seeds: Sequence[int]) -> list[tuple[Record, Record]]:
        """The records of treatment and control, of the seeds with which both are complete and learned from the same
        copy of a teacher."""
        runs = self.runs[question.profile(self.study)]
        treated, control = (
            {record["seed"]: record for record in runs.records(name, seeds=seeds)}
            for name in (question.treatment, question.control)
        )
        both = [(treated[seed], control[seed]) for seed in seeds if seed in treated and seed in control]
        return [pair for pair in both if not of_another_teacher(pair)]

    def answer(self, question: Question, seeds: Sequence[int], weights: str = "ema") -> Answer:
        """What the runs of these seeds say; "raw": by their last weights, by which nothing is decided."""
        arms = [Quantity(name, question.score) for name in (question.treatment, question.control)]
        paired = [record["seed"] for record, _ in self.pairs(question, seeds)]
        scores = self.runs[question.profile(self.study)].table(arms, weights).loc[paired]
        return answer(scores.set_axis(["treatment", "control"], axis="columns").dropna())

    def of(self, seeds: Sequence[int]) -> dict[str, Answer]:
        """By the questions' names, of the runs of these seeds, the primary ones corrected for their number."""
        found = {question.name: self.answer(question, seeds) for question in self.inquiry.questions}
        return corrected(found, self.inquiry.primary)

    @cached_property
    def first(self) -> dict[str, Answer]:
        """Of the seeds that were asked for."""
        return self.of(self.seeds)

    @cached_property
    def more(self) -> dict[str, Answer]:
        """Of all five seeds, by the names of the questions that are asked of them, corrected for their number; nothing
        is judged half-way."""
        found = {question.name: self.answer(question, ALL_SEEDS) for question in extended(self.study)}
        whole = {
            name: one if one.seeds in ((), ALL_SEEDS) else replace(one, verdict=FEW) for name, one in found.items()
        }
        return corrected(whole, self.inquiry.extended)
