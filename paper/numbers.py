"""What the paper says, as data: its numbers and its settings, each with its place.

Vo, Sugimoto and Nakayama, "PPCD-GAN: Progressive Pruning and Class-Aware Distillation for Large-Scale
Conditional GANs Compression", WACV 2022, arXiv 2203.08456. All numbers are for ImageNet at 128x128 with
the Inception network; they stand next to ours to be compared in direction, never in size.
"""

import re
from dataclasses import dataclass

from ppcd.base import PpcdError

SETTING = "ImageNet 128x128, Inception features"


@dataclass(frozen=True)
class Published:
    """One cell of one of the paper's tables."""

    text: str  # as printed, "70.4M (1.0x)"
    value: float  # in units: parameters, multiply-accumulates, seconds per batch of 64
    factor: float | None  # the reduction against Big-GAN that is printed with it


@dataclass(frozen=True)
class Setting:
    """One setting of the paper's experiments, and its place."""

    name: str
    value: str
    where: str


_UNITS = {"M": 1e6, "B": 1e9, "": 1.0}


def _cell(text: str) -> Published:
    match = re.fullmatch(r"([0-9.]+)([MB]?)(?: \(([0-9.]+)x\))?", text)
    assert match is not None, text
    factor = float(match[3]) if match[3] else None
    return Published(text, round(float(match[1]) * _UNITS[match[2]], 6), factor)


def _table(columns: tuple[str, ...], rows: dict[str, tuple[str, ...]]) -> dict[str, dict[str, Published]]:
    return {row: dict(zip(columns, map(_cell, texts), strict=True)) for row, texts in rows.items()}


# FID of Table 1's baselines by others, on ImageNet 128x128 with networks of the same parameter counts: the logs that
# StudioGAN publishes (github.com/POSTECH-CVLab/PyTorch-StudioGAN; Kang et al., TPAMI 2023, arXiv 2206.09479).
REPRODUCED_FID = {"Big-GAN": "7.78", "SA-GAN": "34.73", "SN-GAN": "26.79"}
REPRODUCED = (
    "Others' FID: StudioGAN's logs of the same networks on ImageNet 128x128 (arXiv 2206.09479), by a protocol of its "
    "own (batches, length of training, reference images, port of Inception): close comparisons mean nothing, and it "
    "was not verified here."
)

TABLES: dict[int, dict[str, dict[str, Published]]] = {
    # SN-GAN's MACs are printed as 2.2x, yet 21.3B / 9.1B is 2.3; kept as printed.
    1: _table(
        ("IS", "FID", "LPIPS", "#Par.", "MACs", "GPU", "CPU"),
        {
            "Big-GAN": ("98.8", "8.70", "0.58", "70.4M (1.0x)", "21.3B (1.0x)", "2.42", "4.59"),
            "SA-GAN": ("52.52", "18.65", "0.63", "42M (1.7x)", "9.6B (2.2x)", "1.63", "2.65"),
            "SN-GAN": ("36.80", "27.62", "0.62", "42M (1.7x)", "9.1B (2.2x)", "1.47", "2.35"),
            "Tiny-GAN": ("15.66", "76.74", "0.40", "3.1M (22.7x)", "0.44B (48.4x)", "0.45", "3.62"),
            "PPCD-GAN (alpha=0.7)": ("83.13", "12.76", "0.62", "13.6M (5.2x)", "1.6B (13.3x)", "1.19", "2.05"),
        },
    ),
    2: _table(
        ("IS", "FID", "LPIPS", "#Par.", "GPU"),
        {
            "Distill + NAS": ("6.98", "217", "0.13", "37M", "1.41"),
            "Distill only": ("3.34", "272", "0.09", "3.5M", "0.46"),
            "PPCD-GAN (alpha=0.7)": ("83.13", "12.76", "0.62", "13.6M", "1.19"),
        },
    ),
    3: _table(
        ("IS", "FID", "#Par."),
        {
            "PPCD-GAN (complete)": ("81.47", "14.26", "25M"),
            "PPCD-GAN w/o L_PP": ("82.29", "13.02", "42M"),
            "PPCD-GAN w/o L_CD": ("53.75", "18.23", "25M"),
            "PPCD-GAN*": ("78.65", "15.76", "25M"),
        },
    ),
}

TABLE1_ALPHA = TABLE2_ALPHA = 0.7  # "PPCD-GAN (alpha=0.7)" in both
TABLE1_ROWS: dict[str, str] = {  # recipe -> row, in the paper's order
    "biggan": "Big-GAN",
    "sagan": "SA-GAN",
    "sngan": "SN-GAN",
    "tinygan": "Tiny-GAN",
    "ppcd": "PPCD-GAN (alpha=0.7)",
}
TABLE2_ROWS: dict[str, str] = {
    "distill-nas": "Distill + NAS",
    "distill-only": "Distill only",
    "ppcd": "PPCD-GAN (alpha=0.7)",
}
RUNTIME_SETTING = "GPU NVIDIA GTX3090, CPU AMD Ryzen 9 3900X, batch of 64"  # section 4.1
TABLE3_ALPHA = 0.5  # "We used alpha=0.5 for all the models except for PPCD-GAN w/o L_PP" (Table 3)
TABLE3_ROWS: dict[str, str] = {  # recipe -> row, in the paper's order
    "ppcd": "PPCD-GAN (complete)",
    "ppcd-no-pp": "PPCD-GAN w/o L_PP",
    "ppcd-no-cd": "PPCD-GAN w/o L_CD",
    "ppcd-two-step": "PPCD-GAN*",
}
FIGURE4_ALPHAS = (0.5, 0.6, 0.7, 0.8)
FIGURE4_ROWS: dict[str, str] = {  # recipe -> method, in the order of our legend
    "ppcd": "PPCD-GAN",
    "ppcd-two-step": "PPCD-GAN*",
    "l1-biggan": "Big-GAN, l1 pruning",
    "l1-sagan": "SA-GAN, l1 pruning",
}
# The paper draws Figure 4 and prints no numbers of it; these stand in its tables. (recipe, alpha) -> table, row
FIGURE4_PRINTED: dict[tuple[str, float], tuple[int, str]] = {
    ("ppcd", 0.5): (3, "PPCD-GAN (complete)"),
    ("ppcd", 0.7): (1, "PPCD-GAN (alpha=0.7)"),
    ("ppcd-two-step", 0.5): (3, "PPCD-GAN*"),
}

SETTINGS: tuple[Setting, ...] = (
    Setting("epochs", "100", "section 4.2"),
    Setting("optimizer", "Adam", "section 4.2"),
    Setting("learning rate", "0.1, divided by 10 at epochs 30, 60 and 90", "section 4.2"),
    Setting("batch", "128 x 2 accumulations", "section 4.2"),
    Setting("delta", "1000", "section 4.2, eq. 1"),
    Setting("alpha", "0.7", "section 4.2, eq. 3"),
    Setting("pivot", "0.005", "section 3.2, eq. 3"),
    Setting("weight of L_PP", "0.01", "section 3.4, eq. 8"),
    Setting("weight of L_CD", "1", "section 3.4, eq. 8"),
    Setting("PP-Res blocks", "5", "section 3.4, eq. 5"),
    Setting("distilled blocks", "4, the second to the fifth", "section 3.4, eq. 6"),
    Setting("adversarial loss", "minimax", "section 3.4, eq. 7"),
    Setting("data", "ImageNet, 1,000 classes, 128x128", "section 4.1"),
    Setting("hardware", "two GTX 3090, about 10 days a model", "section 4.2"),
)


def published(table: int, row: str, column: str) -> Published:
    """The paper's cell at that place.

    Raises:
        PpcdError: the paper has no such table, row or column.
    """
    try:
        return TABLES[table][row][column]
    except KeyError:
        raise PpcdError(f"the paper has no table {table}, row {row!r}, column {column!r}") from None


def setting(name: str) -> Setting:
    """The paper's setting of that name."""
    return next(each for each in SETTINGS if each.name == name)
