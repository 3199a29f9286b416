"""Small tables of the notebooks and the report: scores, layers, headline numbers, provenance, deviations."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from paper import numbers
from paper.artifacts.curves import RULES
from paper.artifacts.render import Html, runs_anchor, write_number
from paper.artifacts.rows import kept_channels, score_names
from paper.study import NOT_RUN, Record, Study, data_note, read_csv, second_half
from ppcd import paths
from ppcd.method.earlier_rules import Schedule
from ppcd.method.masks import ChannelMask
from ppcd.networks.generators import CHANNELS
from ppcd.training.recipes import OPTIMISATION, TEACHER, get_recipe

HEADLINE_RECIPES = (TEACHER, "ppcd-a0.5", "ppcd")
HEADLINE_COLUMNS = (
    "conditional accuracy", "FD", "#Par.", "residual blocks left", "channels kept", "last layer frozen at",
)  # fmt: skip
RULE_COLUMNS = ("layers frozen", "last at", "channels kept", "forced", "spared", "rescued", "conditional accuracy")
STANDSTILL = 0.5  # of the second half


def when_run(record: Record | None, make: Callable[[Record], Any]) -> Any:
    """What `make` makes of a run, or a line that says that it is not run."""
    return make(record) if record is not None else f"**{NOT_RUN}**"


def when_masked(record: Record | None, make: Callable[..., Any], *arguments: Any) -> Any:
    """The same for what only a pruned run has; `make` gets the arguments too."""
    if record is not None and not record["masks"]:
        return f"Nothing was pruned: {record['title']} has no masks."
    return when_run(record, lambda run: make(run, *arguments))


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%"


def scores(record: Record) -> pd.DataFrame:
    """The scores of a run, one row for the EMA weights and one for the raw ones."""
    protocol = record["metrics"]["protocol"]
    names = score_names(protocol["backbone"])
    names["diversity"] = f"diversity ({protocol.get('diversity', protocol['backbone'])})"
    rows = []
    for weights in ("ema", "raw"):
        measured = record["metrics"][weights]
        shown = {names["is"]: "not measured"} if measured is None else {
            names.get(key, key): "n/a" if score is None else f"{score:.4g}"
            for key, score in measured.items() if not key.endswith("_std")
        }  # fmt: skip
        rows.append({"weights": weights} | shown)
    return _noted_frame(pd.DataFrame(rows).fillna("–"), [record])


def _noted_frame(frame: pd.DataFrame, records: Sequence[Record | None]) -> pd.DataFrame:
    """With a column for the note on the data (`JPEG source`), where there is one."""
    note = data_note(record for record in records if record is not None)
    return frame.assign(data=note) if note else frame


def layers(record: Record) -> pd.DataFrame:
    """What the masks of a run removed, layer by layer.

    `forced` counts channels that were ranked by w because training alone had not pruned them, `spared` those
    that had closed beyond what alpha asks for and were kept, `rescued` those that were kept because their layer
    would have lost all.
    """
    iterations = record["training"]["iterations"]
    return pd.DataFrame(
        {
            "layer": mask["layer"],
            "channels": mask["channels"],
            "kept": mask["kept"],
            "pruned": _percent(mask["channels"] - mask["kept"], mask["channels"]),
            "frozen at iteration": "never" if mask["frozen_at"] is None else str(mask["frozen_at"]),
            "of the training": "–" if mask["frozen_at"] is None else _percent(mask["frozen_at"], iterations),
            "forced": mask["forced"],
            "spared": mask.get("spared", 0),
            "rescued": mask["rescued"],
        }
        for mask in record["masks"]
    )


def channels(records: Mapping[str, Record | None]) -> pd.DataFrame:
    """Kept channels of every masked layer, one row per system of `records`."""
    rows = []
    for name, record in records.items():
        masks = record["masks"] if record else []
        kept = "{} of {}".format(*kept_channels(record)) if record and masks else "all" if record else NOT_RUN
        layers = {mask["layer"]: f"{mask['kept']}/{mask['channels']}" for mask in masks}
        rows.append({"system": get_recipe(name).title, "kept": kept, **layers})
    return pd.DataFrame(rows).fillna("–")


def size(record: Record) -> pd.DataFrame:
    """Parameters and MACs of the slim generator and of the same network before pruning."""
    kinds = {"parameters": "params", "of them in residual blocks": "block_params", "MACs of one image": "macs"}
    rows = []
    for title, key in kinds.items():
        slim, dense = record["complexity"][key], record["complexity"][f"{key}_dense"]
        shown = {"slim": write_number(slim, "count"), "before pruning": write_number(dense, "count")}
        rows.append({"size": title, **shown, "left": _percent(slim, dense)})
    return pd.DataFrame(rows)


def _headline_row(record: Record) -> dict[str, str]:
    """The numbers that say whether a training worked; when its last layer froze is a share of the training."""
    measured, complexity = record["metrics"]["ema"], record["complexity"]
    frozen = [mask["frozen_at"] for mask in record["masks"]]
    last = "–" if not frozen else "never" if None in frozen else (
        f"{_percent(max(frozen), record['training']['iterations'])} of the training"
    )  # fmt: skip
    accuracy, distance = measured["accuracy"], measured["fd"]
    return {
        "conditional accuracy": "n/a" if accuracy is None else write_number(accuracy, "percent"),
        "FD": "n/a" if distance is None else write_number(distance, "number"),
        "#Par.": write_number(complexity["params"], "count"),
        "residual blocks left": _percent(complexity["block_params"], complexity["block_params_dense"]),
        "channels kept": "{}/{}".format(*kept_channels(record)) if record["masks"] else "all",
        "last layer frozen at": last,
    }


def headline(study: Study) -> pd.DataFrame:
    """The teacher and PPCD-GAN at alpha 0.5 and 0.7, seed by seed: the numbers that say whether it worked."""
    rows: list[dict[str, Any]] = []
    records = []
    for recipe, seed in product(map(get_recipe, HEADLINE_RECIPES), study.seeds):
        record = replace(study, seeds=(seed,)).record(recipe.name)
        row = {"run": f"{recipe.name}, seed {seed}" if record is None else record["id"]}
        rows.append(row | ({} if record is None else _headline_row(record)))
        records.append(record)
    frame = pd.DataFrame(rows, columns=["run", *HEADLINE_COLUMNS]).fillna(NOT_RUN)
    frame = frame.rename(columns={"FD": score_names(study.profile.backbone)["fd"]})
    return _noted_frame(frame, records)


def rules(records: Mapping[str, Record | None]) -> pd.DataFrame:
    """What each rule for the masks came to: one row per recipe of `records`."""
    rows = []
    for name, record in records.items():
        row: dict[str, Any] = {"rule": RULES.get(name, get_recipe(name).title)}
        if record is not None:
            masks, short = record["masks"], _headline_row(record)
            row["layers frozen"] = f"{sum(mask['frozen_at'] is not None for mask in masks)}/{len(masks)}"
            row |= {"last at": short["last layer frozen at"]} | short
            row |= {key: sum(mask.get(key, 0) for mask in masks) for key in ("forced", "spared", "rescued")}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=["rule", *RULE_COLUMNS], dtype=object).fillna(NOT_RUN)
    return _noted_frame(frame, list(records.values()))


def settings(study: Study) -> pd.DataFrame:
    """The settings of the paper's section 4.2 and those of PPCD-GAN at this profile, side by side."""
    config = study.config("ppcd", study.seeds[0])
    budget, recipe, mask = config.profile, config.recipe, ChannelMask(1)
    optimisation = OPTIMISATION[recipe.generator]
    gradual = config.mask_rule == "gradual"
    blocks = len(CHANNELS[budget.resolution]) - 1
    record = study.record("ppcd")
    ours = {
        "epochs": f"{budget.iterations} iterations (teacher: {budget.teacher_iterations})",
        "optimizer": f"Adam; {'the gradual rule' if gradual else 'SGD'} for the masks",
        "learning rate": f"G {budget.lr_g_scale * optimisation.lr_g:g}, D {budget.lr_d_scale * optimisation.lr_d:g}, "
        + ("masks by their schedule" if gradual else f"masks {Schedule().learning_rate(budget.iterations):g}"),
        "batch": f"{budget.batch_size} x {budget.accumulations} accumulations",
        "delta": f"{mask.delta:g}",
        "alpha": f"{recipe.alpha:g}",
        "pivot": f"{mask.pivot:g}",
        "weight of L_PP": "between the gradients of the channels that go and that stay, in each layer" if gradual
        else f"{recipe.lambda_pp:g} at the start, then by the schedule of each layer",
        "weight of L_CD": f"{recipe.lambda_cd:g}",
        "PP-Res blocks": f"{blocks}",
        "distilled blocks": f"{blocks - 1}, all but the first",
        "adversarial loss": recipe.adversarial,
        "data": f"{config.data_identity}, {budget.num_classes} classes, "
        f"{budget.resolution}x{budget.resolution}" + _noted(record),
        "hardware": NOT_RUN if record is None
        else f"{record['provenance']['device']}, {record['training']['seconds'] / 60:.1f} minutes",
    }  # fmt: skip
    return pd.DataFrame(
        {"setting": entry.name, "paper": entry.value, "where": entry.where, "here": ours[entry.name]}
        for entry in numbers.SETTINGS
    )


def standstills(study: Study) -> pd.DataFrame | str:
    """Runs whose discriminator had won: its hinge loss is exactly 0 in most logged steps of the second half.

    Every real image is then scored above 1 and every generated one below -1, so D has no gradient and learns
    nothing more; G still has one, from a D that stands still.
    """
    rows = []
    for record in study.runs():
        method = record["config"]["recipe"].get("baseline") or {}
        if record["seed"] not in study.seeds or method.get("kind") == "output":  # which has no D
            continue
        second = second_half(read_csv(record, "history.csv"))["loss_d"]
        share = float((second == 0).mean()) if len(second) else 0.0
        if share > STANDSTILL:
            row = {"run": record["id"], "steps of the second half with loss_d = 0": _percent(share, 1.0)}
            rows.append(row | {"conditional accuracy": _headline_row(record)["conditional accuracy"]})
    return pd.DataFrame(rows) if rows else "In no run had the discriminator won for good."


def noticed(*records: Record) -> pd.DataFrame | str:
    """What went wrong while these runs were trained (`ppcd.runs.health`), or a line that says that nothing did.

    `until` is the iteration where it was found to be over, which not everything can be.
    """
    warned = [(record["id"], warning) for record in records for warning in record.get("warnings", [])]
    if warned:
        keys = {"iteration": "iteration", "until": "until", "what": "text"}
        return pd.DataFrame(
            {"run": run} | {name: warning.get(key, "–") for name, key in keys.items()} for run, warning in warned
        )
    if watched := [record["id"] for record in records if "warnings" in record]:
        return f"Nothing went wrong in the training of {', '.join(watched)}."
    unknown = "Whether something went wrong in training is not known: it was trained before trainings were watched."
    return unknown if records else f"**{NOT_RUN}**"


def noticed_in(study: Study) -> pd.DataFrame | str:
    """As `noticed`, of all runs of a study."""
    return noticed(*(record for record in study.runs() if record["seed"] in study.seeds))


def provenance(study: Study) -> pd.DataFrame | str:
    """Every complete run of a profile: what made it, on what, from which data, and how long it took."""
    rows = []
    for record in study.runs():
        made = record["provenance"]
        rows.append({
            "run": record["id"],
            "commit": str(made["commit"])[:10] + (" with changes" if made["dirty"] else ""),
            "ppcd": made["ppcd"],
            "torch": made["libraries"].get("torch", "unknown"),
            "device": f"{made['device']}, {made['threads']} threads",
            "data": f"{record['data']['identity']} ({record['data']['images']} images{_noted(record)})",
            "teacher": record["teacher"]["id"] if record["teacher"] else "–",
            "started": made["started"],
            "minutes": f"{record['training']['seconds'] / 60:.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows) if rows else f"Runs of profile {study.name}: **{NOT_RUN}**"


def runs(study: Study) -> Html | str:
    """`provenance` for the report: each run leads to its run.json; what all of them share stands in a line below."""
    frame = provenance(study)
    if isinstance(frame, str):
        return frame
    shared = {name: frame[name].iloc[0] for name in frame.columns[1:] if frame[name].nunique() == 1}
    shown, groups = frame.drop(columns=list(shared)), []
    for anchor, some in shown.groupby(shown["run"].map(runs_anchor), sort=False):
        lines = ""
        for run, *cells in some.itertuples(index=False):
            path = os.path.relpath(study.source / "runs" / run / "run.json", study.results)
            link = f'<th scope="row"><a href="{path}">{run}</a></th>'
            lines += f'<tr id="run-{run}">{link}{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
        groups.append(f'<tbody id="{anchor}">{lines}</tbody>')
    head = "".join(f'<th scope="col">{name}</th>' for name in shown)
    note = "; ".join(f"{name} {value}" for name, value in shared.items())
    table = f'<table class="runs"><thead><tr>{head}</tr></thead>\n{"".join(groups)}</table>'
    return Html(f'{table}\n<p class="note">All {len(frame)} runs: {note}.</p>')


def _noted(record: Record | None) -> str:
    """The note on the data of a run: ", JPEG source"; "" where there is none."""
    note = "" if record is None else data_note([record])
    return f", {note}" if note else ""


def deviations() -> str:
    """What docs/deviations.md says, in Markdown, without its heading: written once, shown twice."""
    page = paths.repository() / "docs" / "deviations.md"
    if not page.is_file():
        return f"There is no {page.name} in docs/."
    return page.read_text(encoding="utf-8").split("\n", 1)[1].strip()
