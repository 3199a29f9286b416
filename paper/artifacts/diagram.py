"""Boxes and arrows of Figure 2, from traced graphs."""

from collections.abc import Collection, Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from paper.artifacts.figures import STYLE, new_figure
from paper.artifacts.trace import Graph, Node
from ppcd.method.masks import ChannelMask
from ppcd.networks.layers import ClassConditionalBatchNorm, SelfAttention
from ppcd.training.profiles import Profile

Place = tuple[float, float]

RED, INK = "#c1121f", "0.2"
FILLS = {"student": "#dbe9f6", "teacher": "#e8e8e8", "loss": "#fff3d6", "discriminator": "#e3f1df", "": "white"}
FUNCTIONS = {"relu": "ReLU", "tanh": "tanh", "add": "+", "interpolate": "up"}
GROUPS = {
    "generator_hinge": r"$\mathcal{L}_{\rm ADV}$ of G (eq. 7, hinge)",
    "generator_minimax": r"$\mathcal{L}_{\rm ADV}$ of G (eq. 7)",
    "discriminator_hinge": r"$\mathcal{L}_{\rm ADV}$ of D (eq. 7, hinge)",
    "discriminator_minimax": r"$\mathcal{L}_{\rm ADV}$ of D (eq. 7)",
    "class_aware_distillation": r"$\mathcal{L}_{\rm CD}$ (eqs. 4, 6)",
    "progressive_pruning": "$\\mathcal{L}_{\\rm PP}$ of the masks\n(eqs. 2, 5)",
    "total": r"$\mathcal{L}$ (eq. 8)",
}


def label(node: Node) -> str:
    """What stands in the box of a node: its operation and, for a convolution, its channels."""
    last = node.name.split(".")[-1].split("#")[0]
    module = node.module
    if node.kind == "group":
        return normalisation_label(node) if last == "normalise" else GROUPS.get(last, last.replace("_", " "))
    if isinstance(module, nn.Conv2d):
        size = "×".join(map(str, module.kernel_size))
        return f"conv {size}, {module.in_channels}→{module.out_channels}" + NAMED.get(last, "")
    kinds: tuple[tuple[type[nn.Module], str], ...] = (
        (ClassConditionalBatchNorm, "CBN"), (ChannelMask, "mask"), (nn.BatchNorm2d, "BN"), (nn.Linear, "linear"),
        (nn.Embedding, "class embedding"), (SelfAttention, "self-attention"),
    )  # fmt: skip
    for kind, name in kinds:
        if isinstance(module, kind):
            return name
    if module is not None and ".blocks." in node.name:
        return f"block {int(last) + 1}: {shape(node)}"
    if node.kind == "function" and node.factor > 1:
        return f"{FUNCTIONS.get(last, last)} ×{node.factor:g}"
    return FUNCTIONS.get(last, last)


NAMED = {"transition": "\n(transition)", "conv_sc": "\n(skip)"}


def normalisation_label(node: Node) -> str:
    """Which class-conditional normalisation a call was: the CBN of the block that it called, or class statistics."""
    parts = node.inside[0].split(".") if node.inside else []
    if "blocks" in parts:
        return f"class-conditional BN\n(of block {int(parts[parts.index('blocks') + 1]) + 1})"
    return "normalisation by\nclass statistics"


def shape(node: Node) -> str:
    return "×".join(map(str, node.shape))


def inputs(graph: Graph, node: Node) -> list[str]:
    """Noise and classes that enter a node, themselves or as a class embedding."""
    names: list[str] = []
    for name in graph.before(node.name):
        names += inputs(graph, graph[name]) if is_embedding(graph[name]) else [name] * is_input(graph[name])
    return sorted(set(names), reverse=True)


def is_input(node: Node) -> bool:
    """Whether it is a source that is written into the boxes that it enters: noise or classes, not images."""
    return node.kind == "source" and len(node.shape) < 3


def is_embedding(node: Node) -> bool:
    return isinstance(node.module, nn.Embedding)


def draw(profile: Profile, framework: Graph, block: Graph, red: Collection[str], headings: Mapping[str, str]) -> Figure:
    """Both graphs in one figure, the framework left and the block right.

    Args:
        profile: is named below.
        framework, block: the graphs.
        red: the block's nodes that are drawn in red.
        headings: what stands above "student" and "teacher".
    """
    hidden = {node.name for node in framework.nodes if is_input(node) or is_embedding(node)}
    shown = {node.name: label(node) for node in framework.nodes if node.name not in hidden}
    for name in shown:
        given = inputs(framework, framework[name])
        fed = any(before in shown for before in framework.before(name))
        shown[name] += f"\n{'given' if fed else 'of'} {', '.join(given)}" if given else ""
    if "progressive_pruning" in shown and ("progressive_pruning", "total") not in framework.edges:
        shown["total"] += ";\n$\\mathcal{L}_{\\rm PP}$ reaches\nthe masks alone"
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(10.5, 6.6, constrained=False)
        edges = {"left": 0.01, "right": 0.99, "top": 0.94, "bottom": 0.05, "wspace": 0.02}
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (2.1, 1), **edges})
        left.set_title("Framework: one training step", fontsize=9)
        right.set_title("Progressive pruning residual block", fontsize=9)
        draw_graph(left, framework, shown, framework_places(framework, shown), (1.75, 0.74))
        for root, text in headings.items():
            left.text({"student": 0.0, "teacher": 6.6}[root], 0.55, text, ha="center", fontsize=7.5)
        names = {node.name: label(node) for node in block.nodes}
        draw_graph(right, block, names, block_places(block), (1.75, 0.66), red, elbows=True)
        right.text(1, 0, "red: removed after training", color=RED, fontsize=7, ha="right", transform=right.transAxes)
        note = f"profile {profile.name} · traced while the modules compute · boxes of blocks: channels×height×width"
        figure.text(0.99, 0.012, note, fontsize=6, color="0.35", ha="right")
    return figure


def block_places(graph: Graph) -> dict[str, Place]:
    """The longest way from the first source down the middle, what bypasses it to the right, other sources left."""
    names = [node.name for node in graph.nodes]
    main = graph.longest_path(names[0], names[-1])
    places = {name: (0.0, -float(row)) for row, name in enumerate(main)}
    side = [node.name for node in graph.nodes if node.name not in places and node.kind != "source"]
    for row, name in enumerate(side):
        places[name] = (2.2, -(len(main) - 1) * (row + 1) / (len(side) + 1))
    for node in graph.nodes:
        if node.name not in places:
            rows = [places[name][1] for name in graph.after(node.name)]
            places[node.name] = (-1.9, sum(rows) / len(rows))
    return places


def framework_places(graph: Graph, shown: Collection[str]) -> dict[str, Place]:
    """Student left and teacher right, from top to bottom; between and below them what compares their results."""
    places: dict[str, Place] = {}
    for root, x in {"student": 0.0, "teacher": 6.6}.items():
        parts = [node.name for node in graph.nodes if node.name.startswith(root) and node.name in shown]
        for row, name in enumerate(parts):
            places[name] = (x, -1.05 * row)
    bottom = min(y for _, y in places.values()) - 1.25
    fixed = {
        "discriminator": (0.0, bottom), "real images": (-2.2, bottom), "discriminator_hinge": (0.0, bottom - 1.25),
        "generator_hinge": (2.2, bottom), "total": (4.4, bottom),
    }  # fmt: skip
    fixed |= {name.replace("hinge", "minimax"): place for name, place in fixed.items()}
    spare = 0
    for name in [node.name for node in graph.nodes if node.name in shown and node.name not in places]:
        rows = [places[before][1] for before in graph.before(name) if before in places]
        middle = sum(rows) / len(rows) if rows else 0.0
        if name in fixed:
            places[name] = fixed[name]
        elif name.startswith("normalise"):
            places[name] = (4.4, middle)
        elif name == "class_aware_distillation":
            places[name] = (2.2, middle)
        elif name == "progressive_pruning":
            places[name] = (-2.2, middle)
        else:  # a part that this drawing does not know: beside the others, never left out
            spare += 1
            places[name] = (6.6, bottom + 1.25 - 1.05 * spare)
    return places


def draw_graph(
    axes: Axes,
    graph: Graph,
    shown: Mapping[str, str],
    places: Mapping[str, Place],
    size: Place,
    red: Collection[str] = (),
    elbows: bool = False,
) -> None:
    """Boxes with these texts at these places, and an arrow for each edge between two of them.

    Elbows: arrows between columns leave the first column sideways and others up or down, and turn once.
    """
    axes.set_axis_off()
    width, height = size
    boxes = {}
    for name, text in shown.items():
        x, y = places[name]
        colour = RED if name in red else INK
        wide = width if len(text) > 1 else height
        boxes[name] = FancyBboxPatch(
            (x - wide / 2, y - height / 2), wide, height, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=fill(graph[name]), edgecolor=colour, linewidth=1.4 if name in red else 0.8, gid=name,
        )  # fmt: skip
        axes.add_patch(boxes[name])
        axes.text(x, y, text, ha="center", va="center", fontsize=6.5, color=colour, linespacing=1.15)
    for start, end in sorted(graph.edges):
        if start in boxes and end in boxes:
            ends: dict[str, Any] = {
                "posA": places[start],
                "posB": places[end],
                "patchA": boxes[start],
                "patchB": boxes[end],
            }
            style: dict[str, Any] = {
                "arrowstyle": "-|>",
                "mutation_scale": 8,
                "linewidth": 0.8,
                "color": INK,
                "zorder": 0.5,
            }
            if elbows and places[start][0] != places[end][0]:
                first, last = (0, 90) if places[start][0] == 0 else (90, 0)
                style["connectionstyle"] = f"angle,angleA={first},angleB={last},rad=4"
            axes.add_patch(FancyArrowPatch(**ends, shrinkA=0, shrinkB=1, **style))
    xs, ys = [x for x, _ in places.values()], [y for _, y in places.values()]
    axes.set_xlim(min(xs) - width * 0.58, max(xs) + width * 0.58)
    axes.set_ylim(min(ys) - height, max(ys) + height)


def fill(node: Node) -> str:
    """A colour for each network and for the losses."""
    root = node.name.split(".")[0]
    return FILLS["loss" if node.kind == "group" and "normalise" not in root else root if root in FILLS else ""]
