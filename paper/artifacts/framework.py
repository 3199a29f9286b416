"""Figure 2 of the paper: the framework (left) and the PP-Res block (right).

Drawn by hand. That the parts of the block stand in the order in which the block calls them is tested.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.artifacts.figures import STYLE, new_figure
from ppcd.networks.generators import CHANNELS
from ppcd.training.profiles import Profile

Bend = tuple[str, str, str]  # from, to, and how the arrow turns

OUT, IN = "angle,angleA=0,angleB=90,rad=4", "angle,angleA=90,angleB=0,rad=4"  # sideways first; up or down first
INK, RED = "0.2", "#c1121f"
STUDENT, TEACHER, LOSS, PLAIN = "#dbe9f6", "#e8e8e8", "#fff3d6", "white"


@dataclass(frozen=True)
class Box:
    """A box of the drawing, its text, and its centre; y grows downwards."""

    name: str  # unique in its panel; of a part of the block, its module or function, before any "#"
    text: str
    x: float
    y: float
    fill: str = PLAIN
    ink: str = INK


# The parts of a PP-Res block, first to last: the module of the block or the function of torch, and its label.
MAIN = (
    ("bn1", "CBN"),
    ("relu#1", "ReLU"),
    ("interpolate#1", "up ×2"),
    ("conv1", "conv 3×3"),
    ("bn2", "CBN"),
    ("mask1", "mask"),
    ("relu#2", "ReLU"),
    ("conv2", "conv 3×3"),
    ("mask2", "mask"),
    ("transition", "conv 1×1\n(transition)"),
)
SKIP = (("interpolate#2", "up ×2"), ("conv_sc", "conv 1×1\n(skip)"))
REMOVED = ("mask1", "mask2")  # after training

FRAMEWORK = (
    Box("student linear", "linear\nof z", 2.2, 0.0, STUDENT),
    Box("student block 1", "PP-Res block 1\ngiven y", 2.2, 1.2, STUDENT),
    Box("student blocks", "PP-Res blocks 2 to L\ngiven y", 2.2, 2.4, STUDENT),
    Box("student output", "BN, ReLU,\nconv 3×3, tanh", 2.2, 3.6, STUDENT),
    Box("discriminator", "discriminator D\ngiven y", 2.2, 4.8, "#e3f1df"),
    Box("real images", "real images", 0.0, 4.8),
    Box("teacher linear", "linear\nof z", 8.8, 0.0, TEACHER),
    Box("teacher block 1", "block 1\ngiven z, y", 8.8, 1.2, TEACHER),
    Box("teacher blocks", "blocks 2 to L\ngiven z, y", 8.8, 2.4, TEACHER),
    Box("normalisation", "class-conditional BN\nof the next block; last:\nby class statistics", 6.6, 2.4, TEACHER),
    Box("student maps", "attention maps", 4.4, 2.4),
    Box("teacher maps", "attention maps", 6.6, 3.6),
    Box("distillation", r"$\mathcal{L}_{\rm CD}$ (eqs. 4, 6)", 4.4, 3.6, LOSS),
    Box("pruning", "$\\mathcal{L}_{\\rm PP}$ of the masks\n(eqs. 2, 5)", 0.0, 1.8, LOSS),
    Box("loss of G", "$\\mathcal{L}_{\\rm ADV}$ of G\n(eq. 7, hinge)", 4.4, 4.8, LOSS),
    Box("loss of D", "$\\mathcal{L}_{\\rm ADV}$ of D\n(eq. 7, hinge)", 2.2, 6.0, LOSS),
)
FRAMEWORK_ARROWS = (
    ("student linear", "student block 1", "student blocks", "student output", "discriminator", "loss of D"),
    ("real images", "discriminator", "loss of G"),
    ("student block 1", "pruning"),
    ("student blocks", "pruning"),
    ("student blocks", "student maps", "distillation"),
    ("teacher linear", "teacher block 1", "teacher blocks", "normalisation", "teacher maps", "distillation"),
)
EQUATION_8 = (
    "Student and masks minimise\n"
    r"$\mathcal{L} = \mathcal{L}_{\rm ADV} + \lambda_{\rm CD}\,\mathcal{L}_{\rm CD}"
    r" + \lambda_{\rm PP}\,\mathcal{L}_{\rm PP}$ (eq. 8);"
    "\nD minimises its own; the teacher is frozen."
)


def draw(axes: Axes, boxes: Collection[Box], chains: Collection[Sequence[str]], bends: Collection[Bend] = ()) -> None:
    """Boxes with their texts, straight arrows from each box of a chain to the next, and arrows with one corner."""
    drawn = {}
    for box in boxes:
        frame = {"boxstyle": "round", "facecolor": box.fill, "edgecolor": box.ink}
        drawn[box.name] = axes.text(
            box.x, box.y, box.text, ha="center", va="center", fontsize=7.5, color=box.ink, bbox=frame, gid=box.name
        )
    straight = [(*pair, "arc3") for chain in chains for pair in pairwise(chain)]
    for start, end, way in (*straight, *bends):
        arrow = {"arrowstyle": "-|>", "connectionstyle": way, "facecolor": INK, "shrinkA": 0, "shrinkB": 1}
        arrow |= {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        axes.annotate("", drawn[end].get_position(), drawn[start].get_position(), arrowprops=arrow)
    axes.set_axis_off()
    axes.set_xlim(min(box.x for box in boxes) - 1, max(box.x for box in boxes) + 1)
    axes.set_ylim(max(box.y for box in boxes) + 0.6, min(box.y for box in boxes) - 0.6)


def draw_block(axes: Axes) -> None:
    """The PP-Res block: the main path down the middle, the skip right of it, the class left of it."""
    end = len(MAIN) + 1.0
    boxes = [Box("x", "x", 0.0, 0.0), Box("+", "+", 0.0, end)]
    boxes += [Box("y", "y", -1.9, 3.0)]
    for row, (name, text) in enumerate(MAIN, 1):
        boxes.append(Box(name, text, 0.0, row, ink=RED if name in REMOVED else INK))
    boxes += [Box(name, text, 2.2, row) for row, (name, text) in zip((4.0, 7.0), SKIP, strict=True)]
    main, skip = [name for name, _ in MAIN], [name for name, _ in SKIP]
    bends = [("x", skip[0], OUT), (skip[-1], "+", IN), ("y", "bn1", IN), ("y", "bn2", IN)]
    draw(axes, boxes, [["x", *main, "+"], skip], bends)


def fig2(profile: Profile) -> Figure:
    """Figure 2: the framework (left) and the PP-Res block (right); what is removed after training is red."""
    blocks = len(CHANNELS[profile.resolution]) - 1
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(10.5, 6.2, constrained=False)
        edges = {"left": 0.01, "right": 0.99, "top": 0.94, "bottom": 0.05, "wspace": 0.04}
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (2.3, 1), **edges})
        left.set_title("Framework: one training step", fontsize=9)
        right.set_title("Progressive pruning residual block", fontsize=9)
        draw(left, FRAMEWORK, FRAMEWORK_ARROWS)
        draw_block(right)
        for text, x in ((f"student: SA-GAN, width {profile.student_width}", 2.2),
                        (f"teacher: Big-GAN, frozen, width {profile.teacher_width}", 8.8)):  # fmt: skip
            left.text(x, -0.48, text, ha="center", fontsize=7.5)
        left.text(7.7, 5.4, EQUATION_8, ha="center", va="center", fontsize=7.5, linespacing=1.5)
        right.text(1, 0, "red: removed after training", color=RED, fontsize=7, ha="right", transform=right.transAxes)
        note = f"profile {profile.name}: L = {blocks} blocks, {profile.resolution} pixels"
        figure.text(0.99, 0.012, note, fontsize=6, color="0.35", ha="right")
    return figure
