"""The paper's claims: what each status means, that nothing missing passes, and what `make claims` writes."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import PROTOCOL, fake_run

from ppcd import paper, paths, sums
from ppcd.artifacts import claims_table
from ppcd.artifacts.sources import Context
from ppcd.bootstrap import Array, Bootstrap, interval
from ppcd.claims import CLAIMS, STATUSES, Outcome, check_claims, combine, decide, judge, write_claims
from ppcd.claims import __main__ as claims_main
from ppcd.claims.evidence import Evidence, Missing, loss_spread, mask_step
from ppcd.claims.notes import NOTES
from ppcd.claims.predicates import PAPER_ROWS, Claim, Quantity, at, growing_gap, name, ratio, steeper
from ppcd.claims.unchecked import UNCHECKED
from ppcd.errors import PpcdError
from ppcd.generations import SEEDS, samples_per_generation
from ppcd.profiles import PROFILES, get_profile
from ppcd.recipes import get_recipe

SMOKE = Context("smoke", (0,))
BY_ID = {claim.id: claim for claim in CLAIMS}
STATUS = ("reproduced", "not reproduced", "inconclusive", "not run")


class Numbers:
    """Measurements typed in: (recipe, key) -> [seed, generation], or one number for all."""

    def __init__(self, values: Mapping[tuple[str, str], Any], seeds: int = 1, together: bool = True) -> None:
        self.given, self.seeds, self.together = values, seeds, together

    def values(self, quantity: Quantity, side_by_side: bool = True) -> Array:
        if (quantity.recipe, quantity.key) not in self.given:
            raise Missing("run", quantity.recipe)
        value = np.asarray(self.given[quantity.recipe, quantity.key], dtype=float)
        return value if value.ndim == 2 else np.full((self.seeds, 1), float(value))

    def side_by_side(self, recipes: Iterable[str]) -> bool:
        return self.together

    def runs(self, recipes: Iterable[str]) -> list[str]:
        return list(recipes)

    def copies_of_the_backbone(self, recipes: Iterable[str]) -> int:
        return 1


def judged(claim: str, values: Mapping[tuple[str, str], Any], seeds: int = 1) -> Outcome:
    return judge(BY_ID[claim], Numbers(values, seeds), Bootstrap(seeds, resamples=2000))


def around(mean: float, spread: float = 0.01, seeds: int = 1, generations: int = 10) -> Array:
    """Generations about a mean, the same shape for every seed."""
    wave = np.linspace(-spread, spread, generations)
    return np.tile(mean * (1 + wave), (seeds, 1))


# --- The list of claims ---


def test_claims_are_named_placed_and_complete() -> None:
    assert len(BY_ID) == len(CLAIMS) >= 40
    for claim in CLAIMS:
        assert claim.id == claim.id.lower() and " " not in claim.id and len(claim.id) <= 23
        assert claim.sentence.endswith(".") and claim.sentence[0].isupper()
        assert claim.where.startswith(("abstract", "section"))
        assert claim.reading and claim.tolerance and claim.parts and claim.recipes
        for text in (claim.sentence, claim.reading):
            assert "\\" not in text and "  " not in text
    for entry in UNCHECKED:
        assert entry.sentence.endswith(".") and entry.reason and entry.where
        assert entry.sentence not in {claim.sentence for claim in CLAIMS}


def test_every_recipe_is_one_and_every_name_is_short() -> None:
    for claim in CLAIMS:
        for recipe in claim.recipes:
            assert get_recipe(recipe).name == recipe and name(recipe)
    assert name("ppcd-a0.5") == "PPCD-GAN(.5)" and name("l1-sagan") == "l1 SA-GAN"
    assert at("ppcd", 0.7) == "ppcd" and at("ppcd", 0.6) == "ppcd-a0.6"


def test_every_comparison_of_the_issue_is_there() -> None:
    wanted = {
        "outperforms", "comparable-biggan", "diversity-biggan", "smaller", "reduction-factors", "faster-gpu",
        "faster-cpu", "far-worse", "beats-other-methods", "holds-to-07", "fails-at-08", "l1-degrades-earlier",
        "without-cd-worse", "without-pp-better", "without-pp-large", "joint-training", "two-step-gap-grows",
        "two-step-comparable", "two-step-unusable", "less-leakage", "tinygan-poorer", "tinygan-slow-on-cpu",
        "biggan-best",
    }  # fmt: skip
    assert wanted <= set(BY_ID)
    assert BY_ID["outperforms"].recipes == ("ppcd", "sagan", "sngan", "tinygan")
    assert {part.side for part in BY_ID["outperforms"].parts} == {"above", "below"}


def published_numbers() -> dict[tuple[str, str], float]:
    quantities = {quantity for claim in CLAIMS for quantity in claim.quantities}
    found = {(quantity.recipe, quantity.key): quantity.published() for quantity in quantities}
    return {key: value for key, value in found.items() if value is not None}


def test_the_papers_own_numbers_hold_its_claims() -> None:
    """Every part whose numbers the paper prints holds in the paper; with a worse PPCD-GAN many do not."""
    numbers = published_numbers()
    assert numbers["ppcd", "is"] == 83.13 and numbers["distill-only", "gpu"] == 0.46
    checked = [part for claim in CLAIMS for part in claim.parts if part.published() is not None]
    assert len(checked) > 60
    for part in checked:
        value = part.published()
        assert value is not None and (value > part.bound if part.side == "above" else value < part.bound), part.text
    whole = [claim for claim in CLAIMS if all(part.published() is not None for part in claim.parts)]
    assert {judged(claim.id, numbers).status for claim in whole} == {"reproduced"}
    worse = numbers | {("ppcd", "is"): 1.0, ("ppcd", "fd"): 300.0}
    failed = {claim.id for claim in whole if judged(claim.id, worse).status == "not reproduced"}
    assert {"outperforms", "comparable-biggan", "beats-other-methods", "compress-further"} <= failed


def test_paper_rows_exist_and_figure_4_has_no_printed_numbers() -> None:
    for recipe, (table, row) in PAPER_ROWS.items():
        assert paper.published(table, row, "IS").value > 0 and get_recipe(recipe)
    assert Quantity("ppcd", "cpu").published() == 2.05
    assert Quantity("distill-only", "cpu").published() is None
    assert Quantity("l1-sagan", "fd").published() is None and Quantity("ppcd", "leakage").published() is None


# --- Statuses ---


@pytest.mark.parametrize(
    ("low", "high", "side", "expected"),
    [
        (1.1, 1.2, "above", "reproduced"), (0.8, 0.9, "above", "not reproduced"), (0.9, 1.1, "above", "inconclusive"),
        (0.8, 0.9, "below", "reproduced"), (1.1, 1.2, "below", "not reproduced"), (0.9, 1.1, "below", "inconclusive"),
        (1.0, 1.0, "above", "not reproduced"), (1.0, 1.0, "below", "not reproduced"),
        (1.0, 1.1, "above", "inconclusive"), (0.9, 1.0, "below", "inconclusive"),
    ],
)  # fmt: skip
def test_where_an_interval_lies(low: float, high: float, side: str, expected: str) -> None:
    assert decide(low, high, 1.0, side) == expected


def test_a_conjunction_is_as_good_as_its_worst_part() -> None:
    assert combine(["reproduced", "reproduced"]) == "reproduced"
    assert combine(["reproduced", "inconclusive"]) == "inconclusive"
    assert combine(["inconclusive", "not reproduced", "reproduced"]) == "not reproduced"
    assert combine(["reproduced", "not run", "not reproduced"]) == "not run"


QUALITY = {  # ours and the other's, for claims of a single comparison
    "less-leakage": (("ppcd", "leakage", 0.1), ("biggan", "leakage", 0.2)),
    "diversity-biggan": (("ppcd", "diversity", 0.4), ("biggan", "diversity", 0.3)),
    "too-small-at-08": (("ppcd-a0.8", "accuracy", 0.7), ("ppcd", "accuracy", 0.9)),
    "cutting-channels": (("l1-sagan", "fd", 30.0), ("ppcd", "fd", 20.0)),
}


@pytest.mark.parametrize("claim", QUALITY)
def test_every_status_is_reached(claim: str) -> None:
    (first, key, ours), (second, _, theirs) = QUALITY[claim]
    good = {(first, key): around(ours), (second, key): around(theirs)}
    swapped = {(first, key): around(theirs), (second, key): around(ours)}
    equal = {(first, key): around(ours, 0.2), (second, key): around(ours * 1.001, 0.2)}
    assert judged(claim, good).status == "reproduced"
    assert judged(claim, swapped).status == "not reproduced"
    undecided = judged(claim, equal)
    assert undecided.status == "inconclusive"
    low, high = undecided.parts[0].interval
    assert low < 1 < high
    for absent in good:
        outcome = judged(claim, {key: value for key, value in good.items() if key != absent})
        assert outcome.status == "not run" and outcome.parts == () and outcome.measured == f"no run: {absent[0]}"


def scores(**systems: tuple[float, float]) -> dict[tuple[str, str], Array]:
    """IS and FD of systems, `two_step` for `ppcd-two-step`."""
    found: dict[tuple[str, str], Array] = {}
    for system, (inception, distance) in systems.items():
        found[system.replace("_", "-"), "is"], found[system.replace("_", "-"), "fd"] = (
            around(inception), around(distance),
        )  # fmt: skip
    return found


def test_all_parts_must_hold() -> None:
    good = scores(ppcd=(8.0, 10.0), sagan=(7.0, 12.0), sngan=(6.0, 14.0), tinygan=(3.0, 40.0))
    assert judged("outperforms", good).status == "reproduced"
    one = judged("outperforms", good | scores(sngan=(8.5, 14.0)))
    assert one.status == "not reproduced"
    assert [part.status for part in one.parts].count("not reproduced") == 1
    close = judged("outperforms", good | scores(sngan=(8.0, 14.0)))
    assert close.status == "inconclusive"
    del good["tinygan", "fd"]
    assert judged("outperforms", good).status == "not run"


def test_tolerances_have_an_edge() -> None:
    """Within the paper's ratio of BigGAN: 10% worse than 83.13/98.8 and 8.70/12.76 still counts, 12% does not."""
    for slack, expected in ((0.91, "reproduced"), (0.88, "not reproduced")):
        values = scores(biggan=(9.0, 5.0), ppcd=(9.0 * 0.8414 * slack, 5.0 * 1.4667 / slack))
        exact = {key: float(value.mean()) for key, value in values.items()}
        assert judged("comparable-biggan", exact).status == expected
    for factor, expected in ((4.8, "reproduced"), (4.5, "not reproduced")):
        sizes = {("biggan", "params"): factor * 1e4, ("ppcd", "params"): 1e4}
        sizes |= {("biggan", "macs"): 13.3e6, ("ppcd", "macs"): 1e6}
        assert judged("reduction-factors", sizes).status == expected


def curve(recipe: str, values: Sequence[float]) -> dict[tuple[str, str], float]:
    return {(at(recipe, alpha), "fd"): value for alpha, value in zip((0.5, 0.6, 0.7, 0.8), values, strict=True)}


def test_figure_4() -> None:
    like_the_paper = curve("ppcd", (14, 13.5, 13, 40)) | curve("ppcd-two-step", (15.5, 20, 45, 140))
    like_the_paper |= curve("l1-biggan", (30, 50, 90, 150)) | curve("l1-sagan", (40, 60, 100, 160))
    about_curves = (
        "holds-to-07", "fails-at-08", "l1-degrades", "l1-degrades-earlier", "better-capability", "joint-training",
        "two-step-gap-grows", "two-step-degrades", "two-step-unusable",
    )  # fmt: skip
    assert {judged(claim, like_the_paper).status for claim in about_curves} == {"reproduced"}
    flat = curve("ppcd", (14, 14, 14, 14)) | curve("l1-biggan", (14, 14, 14, 14))
    flat |= curve("l1-sagan", (14, 14, 14, 14)) | curve("ppcd-two-step", (14, 14, 14, 14))
    failed = {claim for claim in about_curves if judged(claim, flat).status == "not reproduced"}
    assert failed == set(about_curves) - {"holds-to-07"}
    steep = curve("ppcd", (14, 20, 30, 40))
    assert judged("holds-to-07", steep).status == "not reproduced"


def test_the_gap_and_the_steepness_are_what_they_say() -> None:
    (gap,) = growing_gap("fd", "ppcd-two-step", "ppcd")
    alphas = np.array([0.5, 0.6, 0.7, 0.8])
    first, second = np.exp(3 * alphas + 1), np.exp(0.5 * alphas)
    assert float(gap.statistic(*first, *second)) == pytest.approx(2.5)
    assert float(gap.statistic(*second, *first)) == pytest.approx(-2.5)
    assert gap.quantities[0] == Quantity("ppcd-two-step-a0.5", "fd") and gap.quantities[6].recipe == "ppcd"
    (steep,) = steeper("fd", "l1-sagan", "ppcd", 0.5, 0.7)
    at_07, at_05, ours_07, ours_05 = 40.0, 10.0, 30.0, 15.0
    assert float(steep.statistic(at_07, at_05, ours_07, ours_05)) == pytest.approx(2.0)
    assert [quantity.recipe for quantity in steep.quantities] == ["l1-sagan", "l1-sagan-a0.5", "ppcd", "ppcd-a0.5"]


def test_no_diversity_at_all_is_a_number() -> None:
    assert ratio(np.array([0.4]), np.array([0.0]))[0] > 1e6 and ratio(np.zeros(1), np.zeros(1))[0] == 1
    outcome = judged("diversity-biggan", {("ppcd", "diversity"): 0.0, ("biggan", "diversity"): 0.3})
    assert outcome.status == "not reproduced"


# --- The bootstrap ---


def test_the_same_seeds_are_drawn_for_all_systems() -> None:
    """A difference that holds within every seed is seen, though the seeds differ by far more."""
    base = np.array([[5.0], [10.0], [20.0]])
    bootstrap = Bootstrap(3)
    paired = bootstrap.means("ppcd", base * 1.02) / bootstrap.means("sagan", base)
    assert np.allclose(paired, 1.02)
    unpaired = Bootstrap(3, seed=1).means("ppcd", base * 1.02) / bootstrap.means("sagan", base)
    low, high = interval(unpaired)
    assert low < 1 < high


def test_the_bootstrap_is_deterministic_and_generations_are_each_systems_own() -> None:
    values = np.arange(30.0).reshape(3, 10)
    first = Bootstrap(3).means("ppcd", values)
    other = Bootstrap(3)
    other.means("sagan", values)  # what was asked before changes nothing
    assert np.array_equal(first, other.means("ppcd", values))
    assert not np.array_equal(first, other.means("sagan", values))
    assert not np.array_equal(first, Bootstrap(3, seed=7).means("ppcd", values))


def test_intervals_are_as_wide_as_theory_says() -> None:
    """One seed: the standard error of the mean of its generations. Several: between the lowest and highest seed."""
    sample = np.random.default_rng(0).normal(10, 1, size=(1, 10))
    low, high = interval(Bootstrap(1).means("ppcd", sample))
    expected = 2 * 1.96 * sample.std() / np.sqrt(10)
    assert high - low == pytest.approx(expected, rel=0.1)
    assert interval(Bootstrap(1).means("ppcd", np.array([[3.0]]))) == (3.0, 3.0)
    three = np.array([[1.0], [2.0], [6.0]])
    assert interval(Bootstrap(3).means("ppcd", three)) == (1.0, 6.0)
    both = np.random.default_rng(1).normal(0, 1, size=(5, 10)) + np.arange(5)[:, None]
    alone = interval(Bootstrap(5).means("ppcd", np.repeat(both.mean(1, keepdims=True), 10, axis=1)))
    whole = interval(Bootstrap(5).means("ppcd", both))
    assert whole[1] - whole[0] > alone[1] - alone[0]


@pytest.mark.parametrize("shape", [(2, 10), (3,), (3, 0)])
def test_the_bootstrap_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected values"):
        Bootstrap(3).means("ppcd", np.zeros(shape))
    with pytest.raises(ValueError, match="needs seeds"):
        Bootstrap(0)


def test_seeds_that_disagree_are_inconclusive() -> None:
    agree = {("ppcd", "leakage"): around(0.1, seeds=3), ("biggan", "leakage"): around(0.2, seeds=3)}
    assert judged("less-leakage", agree, seeds=3).status == "reproduced"
    one_against = agree["ppcd", "leakage"].copy()
    one_against[2] *= 4
    mixed = agree | {("ppcd", "leakage"): one_against}
    assert judged("less-leakage", mixed, seeds=3).status == "inconclusive"


# --- Runs ---


def write_generations(record: dict[str, Any], protocol: dict[str, Any] | None = None, **means: float) -> Path:
    """`generations.json` beside a fake run, its scores about these means."""
    scores = {"is": 5.0, "fd": 12.0, "diversity": 0.3, "accuracy": 0.9, "leakage": 0.1} | means
    profile = get_profile(record["profile"])
    whole = {
        "schema": 1,
        "run": record["id"],
        "generator_sha256": record["files"]["generator.safetensors"],
        "protocol": {
            "version": 1, "backbone": profile.backbone, "backbone_sha256": "0" * 64,
            "samples": samples_per_generation(profile.evaluation_samples, profile.num_classes),
            "seeds": list(SEEDS), "reference": record["data"]["identity"], "reference_sha256": "0" * 64,
            "classifier_epochs": profile.classifier_epochs, "diversity": PROTOCOL["diversity"],
        } | (protocol or {}),
        "generations": [
            {"seed": seed, **{key: mean * (1 + 0.01 * (index - 4.5) / 4.5) for key, mean in scores.items()}}
            for index, seed in enumerate(SEEDS)
        ],
        "provenance": {},
    }  # fmt: skip
    path = paths.results(record["profile"]) / "runs" / record["id"] / "generations.json"
    path.write_text(json.dumps(whole))
    return path


def status(claim: str, seeds: Sequence[int] = (0,)) -> str:
    return {outcome.claim.id: outcome.status for outcome in check_claims("smoke", seeds)}[claim]


def test_without_runs_nothing_is_claimed() -> None:
    outcomes = check_claims("smoke", [0, 1, 2])
    assert [outcome.claim for outcome in outcomes] == list(CLAIMS)
    assert {outcome.status for outcome in outcomes} == {"not run"}
    assert claims_table.counts(outcomes) == {
        "reproduced": 0, "not reproduced": 0, "inconclusive": 0, "not run": len(CLAIMS),
    }  # fmt: skip


def test_claims_read_the_generations_and_not_the_evaluation() -> None:
    teacher, student = fake_run("biggan", **{"is": 9.0}), fake_run("ppcd", **{"is": 1.0})
    assert status("less-leakage") == "not run"
    write_generations(teacher, leakage=0.2)
    assert status("less-leakage") == "not run"
    path = write_generations(student, leakage=0.1)
    assert status("less-leakage") == "reproduced"
    write_generations(student, leakage=0.3)
    assert status("less-leakage") == "not reproduced"
    path.unlink()
    assert status("less-leakage") == "not run"


def test_every_seed_that_was_asked_for_must_be_there() -> None:
    for seed in (0, 1):
        for recipe, leak in (("biggan", 0.2), ("ppcd", 0.1)):
            write_generations(fake_run(recipe, seed), leakage=leak)
    assert status("less-leakage", (0, 1)) == "reproduced"
    outcomes = {outcome.claim.id: outcome for outcome in check_claims("smoke", (0, 1, 2))}
    assert outcomes["less-leakage"].status == "not run"
    assert outcomes["less-leakage"].measured == "no run: ppcd (seed 2), biggan (seed 2)"
    assert len(outcomes["less-leakage"].runs) == 4


def test_sizes_need_no_generations() -> None:
    fake_run("ppcd-no-pp")
    fake_run("ppcd-a0.5")
    assert status("without-pp-large") == "reproduced"  # 80,000 to 50,000 in fake runs
    outcome = next(entry for entry in check_claims("smoke", (0,)) if entry.claim.id == "without-pp-large")
    assert outcome.parts[0].value == pytest.approx(1.6) and outcome.parts[0].interval == (1.6, 1.6)


def test_scores_of_other_protocols_do_not_meet() -> None:
    write_generations(fake_run("biggan"))
    write_generations(fake_run("ppcd"), protocol={"diversity": "lpips-inception"})
    with pytest.raises(PpcdError, match="measured with diversity 'lpips-inception'"):
        check_claims("smoke", [0])


def test_runs_of_another_backbone_do_not_meet() -> None:
    fake_run("biggan")
    fake_run("ppcd", protocol={"backbone": "inception"})
    with pytest.raises(PpcdError, match="measured with backbone 'inception'"):
        check_claims("smoke", [0])


def test_copies_of_the_backbone_are_told() -> None:
    write_generations(fake_run("biggan"), leakage=0.2)
    write_generations(fake_run("ppcd"), leakage=0.1, protocol={"backbone_sha256": "1" * 64})
    outcomes = {outcome.claim.id: outcome for outcome in check_claims("smoke", (0,))}
    assert "2 separately trained copies" in outcomes["less-leakage"].measured


def test_times_side_by_side_and_alone_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [fake_run(recipe) for recipe in ("biggan", "ppcd")]
    timed: dict[str, Any] = {records[0]["id"]: {"cpu": 0.5, "gpu": None}, records[1]["id"]: None}
    monkeypatch.setattr("ppcd.claims.evidence.read_runtime", lambda record: timed[record["id"]])

    def evidence() -> Evidence:
        found = Evidence("smoke", (0,))
        found.read(["biggan", "ppcd"])
        return found

    alone = evidence()
    assert not alone.side_by_side(["biggan", "ppcd"]) and alone.side_by_side(["biggan"])
    assert alone.values(Quantity("biggan", "cpu"), False).tolist() == [[0.1]]
    with pytest.raises(Missing, match="no GPU time: biggan"):
        alone.values(Quantity("biggan", "gpu"), False)
    timed[records[1]["id"]] = {"cpu": 0.2, "gpu": 0.01}
    together = evidence()
    assert together.side_by_side(["biggan", "ppcd"])
    assert together.values(Quantity("biggan", "cpu"), True).tolist() == [[0.5]]
    claim = Claim("faster", "It is.", "section 4", "r", "t", BY_ID["faster-cpu"].parts[:1])
    assert judge(claim, together, Bootstrap(1)).measured == "CPU time PPCD-GAN / BigGAN 0.4 < 1"
    timed[records[1]["id"]] = None
    apart = judge(claim, evidence(), Bootstrap(1))
    assert apart.status == "not reproduced" and "not side by side" in apart.measured


def test_spread_of_the_loss_and_steps_of_the_masks() -> None:
    history = pd.DataFrame({"iteration": range(1, 41), "loss_d": [9.0] * 20 + [1.0, 2.0] * 10})
    spreads = loss_spread(history)
    assert spreads == pytest.approx([np.sqrt(0.5)] * 10)
    assert loss_spread(history.assign(loss_d=1.0)) == [0.0] * 10
    assert loss_spread(history.head(2)) == []
    at_once, never = fake_run("ppcd", kept=2, frozen_at=12), fake_run("ppcd-no-pp")
    assert mask_step(at_once) == 1.0 and mask_step(never) is None
    masks = paths.results("smoke") / "runs" / at_once["id"] / "masks.csv"
    table = pd.read_csv(masks)
    table["ratio"] = np.minimum(0.75, 0.75 * table["iteration"] / 12)
    masks.write_text(table.to_csv(index=False))
    assert mask_step(at_once) == pytest.approx(1 / 12)
    assert judged("masks-gradual", {("ppcd", "frozen"): 1.0, ("ppcd", "mask_step"): 1.0}).status == "not reproduced"
    assert judged("masks-gradual", {("ppcd", "frozen"): 1.0, ("ppcd", "mask_step"): 0.1}).status == "reproduced"


# --- What comes out ---


def some_outcomes() -> list[Outcome]:
    """All four statuses among all claims."""
    values = published_numbers() | {("biggan", "leakage"): 0.1, ("ppcd", "leakage"): 0.2}
    values |= {("ppcd-a0.8", "accuracy"): around(0.8, 0.3), ("ppcd", "accuracy"): around(0.8, 0.3)}  # type: ignore[dict-item]
    return [judge(claim, Numbers(values), Bootstrap(1, resamples=500)) for claim in CLAIMS]


def test_all_four_statuses_are_counted() -> None:
    outcomes = some_outcomes()
    counted = claims_table.counts(outcomes)
    assert sum(counted.values()) == len(CLAIMS) and all(counted.values())
    assert tuple(counted) == tuple(STATUSES) == STATUS


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in JSON")


def test_claims_json_has_its_schema() -> None:
    outcomes = some_outcomes()
    path = write_claims(outcomes, SMOKE)
    assert path == paths.results("smoke") / "claims.json"
    entries = json.loads(path.read_text(), parse_constant=refuse)
    assert [entry["id"] for entry in entries] == list(BY_ID)
    for entry, outcome in zip(entries, outcomes, strict=True):
        assert {"id", "sentence", "where", "status", "measured", "runs"} <= set(entry)
        assert entry["status"] in STATUS and entry["measured"] and isinstance(entry["runs"], list)
        assert (entry["profile"], entry["seeds"], entry["backbone"]) == ("smoke", [0], "classifier")
        assert "the spread between seeds is not in the interval" in entry["interval_over"]
        assert len(entry["parts"]) == len(outcome.claim.parts)
        for part in entry["parts"]:
            assert (part["interval"] is None) == (entry["status"] == "not run") == (part["status"] == "not run")
            if part["interval"]:
                low, high = part["interval"]
                assert low <= high
    assert {each.name for each in path.parent.iterdir()} - {sums.LOCK} == {path.name, sums.FILE}


def test_the_terminal_table_fits_and_names_everything() -> None:
    outcomes = some_outcomes()
    shown = claims_table.text(outcomes, SMOKE)
    assert max(map(len, shown.splitlines())) <= 120
    for outcome in outcomes:
        assert any(
            line.startswith(outcome.status.ljust(16) + outcome.claim.id.ljust(25).rstrip())
            for line in shown.splitlines()
        )
    assert "profile smoke · seed 0 · backbone classifier" in shown
    assert "spread between seeds is not in the interval" in shown
    assert claims_table.counted(outcomes) in shown
    several = claims_table.text([], Context("smoke", (0, 1)))
    assert "seeds 0, 1 and the generations of each run" in several and "not in the interval" not in several


def test_the_report_has_the_legend_the_context_and_every_claim() -> None:
    outcomes = some_outcomes()
    table, legend = claims_table.html(outcomes, SMOKE), claims_table.summary(outcomes, SMOKE)
    for status_, meaning in STATUSES.items():
        assert f">{status_}</strong>" in legend and meaning in legend
    for shown in (table, legend):
        assert "profile smoke · seed 0 · backbone classifier" in shown
    assert table.count("<tr>") == len(CLAIMS) + 1
    assert table.count("✓") and table.count("✗")
    missing = next(outcome for outcome in outcomes if outcome.status == "not run")
    row = claims_table.html([missing], SMOKE)
    assert "✓" not in row and "no run: " in row and claims_table.COLOURS["reproduced"] not in row
    assert claims_table.unchecked().count("<tr>") == len(UNCHECKED) + 1
    frame = claims_table.frame(outcomes, SMOKE)
    assert list(frame["claim"]) == list(BY_ID) and not frame.isna().any().any()
    assert set(frame["status"]) == set(STATUS) and set(frame["backbone"]) == {"classifier"}


def test_reasons_are_shown_while_they_are_needed() -> None:
    by_status = {outcome.status: outcome for outcome in some_outcomes()}
    notes = {("smoke", outcome.claim.id): f"because of {outcome.claim.id}." for outcome in by_status.values()}
    shown = claims_table.explanations(list(by_status.values()), SMOKE, notes)
    for status_, outcome in by_status.items():
        expected = status_ in ("not reproduced", "inconclusive")
        assert (f"because of {outcome.claim.id}." in shown) == expected
    failed = by_status["not reproduced"]
    assert "no reason has been found yet" in claims_table.explanations([failed], SMOKE, {})
    assert "because" not in claims_table.explanations([failed], Context("mnist", (0,)), notes)
    assert claims_table.explanations([by_status["reproduced"]], SMOKE, notes) == "Nothing that was run failed."


def test_reasons_are_of_claims_and_profiles_that_there_are() -> None:
    for profile, claim in NOTES:
        assert profile in PROFILES and claim in BY_ID
    assert all(note.strip() for note in NOTES.values())


def test_the_command_line_prints_and_writes(capsys: pytest.CaptureFixture[str]) -> None:
    write_generations(fake_run("biggan"), leakage=0.1)
    write_generations(fake_run("ppcd"), leakage=0.2)
    assert claims_main.main(["--profile", "smoke", "--seeds", "0"]) == 0
    said = capsys.readouterr().out
    assert "not reproduced  less-leakage" in said and "claims.json" in said
    entries = {entry["id"]: entry for entry in json.loads((paths.results("smoke") / "claims.json").read_text())}
    assert entries["less-leakage"]["status"] == "not reproduced" and len(entries["less-leakage"]["runs"]) == 2
    assert entries["outperforms"]["status"] == "not run"
    short = (paths.results("smoke") / "tables" / "claims.md").read_text()
    rows = {cells[1]: cells[2:4] for cells in (re.split(r" ?\| ?", line) for line in short.splitlines()) if cells[1:]}
    for status in STATUSES:
        ids = [key for key, entry in entries.items() if entry["status"] == status]
        assert rows[status] == [str(len(ids)), ", ".join(ids) or "–"]
    first = (paths.results("smoke") / "claims.json").read_bytes()
    assert claims_main.main(["--profile", "smoke", "--seeds", "0"]) == 0
    assert (paths.results("smoke") / "claims.json").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "imagenet"], "imagenet"),
        (["--profile", "smoke", "--seeds", "zero"], "seeds must be different whole numbers"),
        (["--profile", "smoke", "--seeds", ""], "seeds must be different whole numbers"),
        (["--profile", "smoke", "--seeds", "1 1"], "seeds must be different whole numbers"),
    ],
)
def test_mistakes_of_use_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert claims_main.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("ppcd: ")
    assert not (paths.results("smoke") / "claims.json").exists()


def test_no_seeds_are_refused() -> None:
    with pytest.raises(PpcdError, match="at least one seed"):
        check_claims("smoke", [])
