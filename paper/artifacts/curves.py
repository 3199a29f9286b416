"""How a training went: the masks' parameters, the pruned fraction of every layer, the losses."""

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.sources import Record, Study, alpha_of, read_csv
from ppcd.training.recipes import RECIPES

FREEZE_BY = 2 / 3  # of the training: when every masked layer should have frozen
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LOSSES = {
    "loss_d": "discriminator",
    "loss_adv": r"$\mathcal{L}_{\rm ADV}$ of the generator (eq. 7)",
    "loss_cd": r"$\mathcal{L}_{\rm CD}$ (eq. 6)",
    "loss_pp": r"$\mathcal{L}_{\rm PP}$ (eq. 5)",
}
LEGEND = (
    "w: median, quartiles, extremes; dashed: alpha; dotted: two thirds of the training; large marker: frozen (eq. 3)"
)
LEGEND_OF_CHANNELS = (
    "a line for each channel, until it closes; dashed: alpha; "
    "dotted: two thirds of the training; diamond: frozen (eq. 3)"
)
RULES = {
    "ppcd": "the default rule",
    "ppcd-literal-adam": "the paper's words: Adam at 0.1",
    "ppcd-literal-sgd": "the same with SGD at 0.1",
}


def _context(record: Record) -> Study:
    return Study(record["profile"], (record["seed"],), alpha_of(record))


def _mark_two_thirds(axes: Axes, iterations: int) -> None:
    axes.axvline(FREEZE_BY * iterations, color="0.3", linestyle=":", linewidth=1)


def _last_iteration(record: Record) -> int:
    return int(record["training"]["iterations"])


def masks_figure(record: Record) -> Figure:
    """Every masked layer of a run: its channels, each until it closes, above; its pruned fraction below.

    Above stand quantiles of w where the run does not say which channel closed when (another rule than "gradual").
    The dotted vertical line is two thirds of the training, the dashed horizontal one is alpha, the diamond
    marks where the layer froze (eq. 3).

    Raises:
        PpcdError: the run was not masked.
    """
    history, alpha, last = read_csv(record, "masks.csv"), alpha_of(record), _last_iteration(record)
    frozen_at = {mask["layer"]: mask["frozen_at"] for mask in record["masks"]}
    layers = list(dict.fromkeys(history["layer"]))
    channels = {mask["layer"]: mask["channels"] for mask in record["masks"]}
    single = "closed" in history and history["closed"].notna().any()
    columns = len(layers) if len(layers) <= 6 else math.ceil(len(layers) / 2)
    bands = math.ceil(len(layers) / columns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(1.6 * columns + 0.4, 3.0 * bands + 0.3)
        grid = figure.subplots(2 * bands, columns, squeeze=False, sharex=True, sharey="row")
        for axes in grid[-2:, len(layers) - (bands - 1) * columns :].flat:
            axes.set_visible(False)
        for index, layer in enumerate(layers):
            upper, lower = grid[2 * (index // columns) : 2 * (index // columns) + 2, index % columns]
            rows = history[history["layer"] == layer]
            if single:
                _channels(upper, rows, channels[layer], last)
            else:
                _weights(upper, rows)
            lower.plot(rows["iteration"], rows["ratio"], color=PALETTE[1])
            _alpha_and_freeze(lower, rows, alpha, frozen_at.get(layer), PALETTE[1], "D")
            upper.set_title(layer)
            lower.set(ylim=(-0.03, 1.03), xlim=(0, last))
            for axes in (upper, lower):
                _mark_two_thirds(axes, last)
            if index % columns == 0:
                upper.set_ylabel("channels" if single else r"$w$")
                lower.set_ylabel("pruned fraction")
        for axes in grid[-1]:
            axes.set_xlabel("iteration")
        figure.suptitle(f"{record['title']}: the masks", fontsize=9)
        sign(figure, _context(record), LEGEND_OF_CHANNELS if single else LEGEND)
    return figure


def closing_times(rows: pd.DataFrame) -> list[int]:
    """The logged iterations by which the channels of a layer had closed, first to last.

    Args:
        rows: of one layer of masks.csv; a cell of `closed` lists the channels that closed since the row before.
    """
    listed = rows.dropna(subset="closed")
    return [at for at, cell in zip(listed["iteration"], listed["closed"], strict=True) for _ in str(cell).split()]


def _channels(axes: Axes, rows: pd.DataFrame, channels: int, last: int) -> None:
    ends = closing_times(rows)
    axes.hlines(range(channels), 0, [*ends, *[last] * (channels - len(ends))], color=PALETTE[0], linewidth=1)
    axes.plot(ends, range(len(ends)), "|", color=PALETTE[0], markersize=4)
    axes.set_yticks([])


def _weights(axes: Axes, rows: pd.DataFrame) -> None:
    for low, high, opacity in (("w_min", "w_max", 0.15), ("w_q25", "w_q75", 0.35)):
        axes.fill_between(rows["iteration"], rows[low], rows[high], color=PALETTE[0], alpha=opacity, linewidth=0)
    axes.plot(rows["iteration"], rows["w_median"], color=PALETTE[0])
    axes.axhline(0, color="0.3", linewidth=0.5)


def _alpha_and_freeze(
    axes: Axes, rows: pd.DataFrame, alpha: float | None, frozen_at: int | None, colour: str, marker: str
) -> None:
    if alpha is not None:
        axes.axhline(alpha, color="0.3", linestyle="--", linewidth=1)
    if frozen_at is not None:
        axes.plot([frozen_at], [rows["ratio"].iloc[-1]], marker, color=colour, markersize=5, clip_on=False)


def mask_rules_figure(records: Mapping[str, Record | None]) -> Figure:
    """Rules for the masks side by side: median and middle half of w above, pruned fractions below.

    One column per rule, one colour and marker per layer; a rule without a run is drawn as not run.

    Args:
        records: title of the rule -> the run, or None where there is none.

    Raises:
        PpcdError: a run was not masked.
    """
    present = [record for record in records.values() if record is not None]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.1 * len(records) + 1.4, 4.6)
        grid = figure.subplots(2, len(records), squeeze=False)
        for (title, record), (upper, lower) in zip(records.items(), grid.T, strict=True):
            upper.set_title(title)
            if record is None:
                not_run(upper)
                not_run(lower)
                continue
            _rule(upper, lower, record)
        grid[0][0].set_ylabel(r"$w$")
        grid[1][0].set_ylabel("pruned fraction")
        if present:
            handles, labels = next(axes for axes in grid[1] if axes.lines).get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside right center", fontsize=7)
            sign(figure, _context(present[0]), LEGEND)
    return figure


def _rule(upper: Axes, lower: Axes, record: Record) -> None:
    history, last = read_csv(record, "masks.csv"), _last_iteration(record)
    frozen_at = {mask["layer"]: mask["frozen_at"] for mask in record["masks"]}
    for index, layer in enumerate(dict.fromkeys(history["layer"])):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        rows = history[history["layer"] == layer]
        upper.fill_between(rows["iteration"], rows["w_q25"], rows["w_q75"], color=colour, alpha=0.15, linewidth=0)
        upper.plot(rows["iteration"], rows["w_median"], color=colour)
        lower.plot(rows["iteration"], rows["ratio"], color=colour, label=layer, marker=marker, markersize=3,
                   markevery=max(1, len(rows) // 8))  # fmt: skip
        _alpha_and_freeze(lower, rows, alpha_of(record), frozen_at.get(layer), colour, marker)
    upper.axhline(0, color="0.3", linewidth=0.5)
    lower.set(ylim=(-0.03, 1.03), xlabel="iteration")
    for axes in (upper, lower):
        axes.set_xlim(0, last)
        _mark_two_thirds(axes, last)


def curves_figure(record: Record) -> Figure:
    """The losses of a run over its iterations: every logged value thin, the running median thick."""
    history, last = read_csv(record, "history.csv"), _last_iteration(record)
    shown = [name for name in LOSSES if (history[name].fillna(0) != 0).any()]  # 0: the recipe lacks it
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.4 * len(shown) + 0.4, 2.2)
        for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            rows = history[history[name].notna()]
            if name == "loss_cd" and "distil" in set(history["phase"]):
                rows = rows[rows["phase"] == "distil"]
            smooth = rows[name].rolling(max(1, len(rows) // 20), min_periods=1, center=True).median()
            axes.plot(rows["iteration"], rows[name], color=PALETTE[0], alpha=0.35, linewidth=0.6)
            axes.plot(rows["iteration"], smooth, color=PALETTE[0])
            for start in _phase_starts(history):
                axes.axvline(start, color="0.3", linestyle="-.", linewidth=1)
            axes.set(title=LOSSES[name], xlabel="iteration", xlim=(0, last))
        figure.suptitle(f"{record['title']}: the losses", fontsize=9)
        sign(figure, _context(record))
    return figure


def _phase_starts(history: pd.DataFrame) -> list[int]:
    """Where a phase of the training begins, the first one left out (the two-step recipe has two)."""
    changed = history["phase"] != history["phase"].shift()
    return [int(iteration) for iteration in history.loc[changed, "iteration"][1:]]


def mask_rules(records: Mapping[str, Record | None]) -> Figure:
    """`mask_rules_figure` of recipe -> run, with the rules' titles."""
    titles = {name: RULES.get(name, RECIPES[name].title) for name in records}
    return mask_rules_figure({titles[name]: record for name, record in records.items()})


def write_masks(record: Record) -> list[Path]:
    """Write `figures/<profile>/masks.{png,pdf}` of a run; `masks-<recipe>` where it is not `ppcd`.

    Raises:
        PpcdError: the run was not masked.
    """
    name = "masks" if record["recipe"] == "ppcd" else f"masks-{record['recipe']}"
    return save(masks_figure(record), record["profile"], name)
