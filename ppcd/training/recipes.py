"""Recipes: every compared system of the paper, as a declaration of which parts of the method it uses."""

import re
from dataclasses import dataclass, replace
from typing import Any

from ppcd.base import PpcdError
from ppcd.method.losses import ADVERSARIAL
from ppcd.method.teacher import NORMS
from ppcd.training import toml
from ppcd.training.fields import check_fields
from ppcd.training.methods import Baseline, DistillNas, L1Pruning, OutputDistillation, TinyGan
from ppcd.training.profiles import MASK_RULES, check_name


def check_alpha(alpha: float) -> float:
    """Alpha of eq. 3 as a float; refuses all but numbers in (0, 1) of at most six digits."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise PpcdError(f"alpha must be a number in (0, 1), for example 0.7; got {alpha!r}")
    if float(f"{alpha:g}") != alpha:
        raise PpcdError(f"alpha must have at most six digits, so that a run's name can say it; got {alpha!r}")
    return float(alpha)


@dataclass(frozen=True)
class Recipe:
    """One system. The fields follow the paper: section 3 for the method, section 4.4 for its ablations."""

    name: str
    title: str  # as the paper's tables call it
    generator: str  # "biggan", "sagan", "sagan-hier", "sngan" or "tinygan"
    masked: bool = False  # PP-Res blocks with masks (L_PP)
    distil: bool = False  # class-aware distillation (L_CD) from the teacher
    two_step: bool = False  # first prune without L_CD, then slim and distil (PPCD-GAN*)
    alpha: float | None = None  # compression ratio threshold of eq. 3; of l1 pruning and NAS the same for theirs
    mask_rule: str | None = None  # None: the profile's; or the literal readings "paper-adam", "paper-sgd"
    adversarial: str = "hinge"  # "hinge" (the reference code) or "minimax" (eq. 7)
    lambda_pp: float = 0.01  # weight of L_PP in eq. 8
    lambda_cd: float = 1.0  # weight of L_CD in eq. 8
    normalisation: str = "teacher"  # class-conditional normalisation of the teacher's features, or "none"
    masks_distil: bool | None = None  # False: the gradient of L_CD does not reach the masks; None: it does (eq. 8)
    baseline: Baseline | None = None  # a compared compression method, instead of the paper's
    # Controls and variants. None: what the paper does, or nothing
    start: str | None = None  # "teacher": the trained teacher's last weights, its discriminator going on; None: scratch
    select: str | None = None  # which channels go: "l1", "random", or None: what the masks have learnt
    narrow: bool | None = None  # no masks: from the start, the network that masks would leave at this alpha
    lambda_pixel: float | None = None  # weight of the L1 distance to the teacher's image for the same noise and class
    lambda_teacher_d: float | None = None  # weight of what the teacher's frozen discriminator says (DGL-GAN)
    size: str | None = None  # of the networks: "teacher" or "student"; None: the teacher's for its architecture
    budget: str | None = None  # of iterations: likewise; None: that of the size

    def __post_init__(self) -> None:
        check_name(self.name, "a recipe")
        check_fields(self, CHOICES)
        if self.alpha is not None:
            check_alpha(self.alpha)
        elif self.masked or (self.baseline is not None and self.baseline.prunes):
            raise PpcdError(f"recipe {self.name!r} prunes and needs an alpha, for example {ALPHA}")
        if self.two_step and not (self.masked and self.distil):
            raise PpcdError(f"recipe {self.name!r} has two steps: masked for the first, distil for the second")
        own = ("masked", "distil", "two_step", "narrow", "start", "lambda_pixel", "lambda_teacher_d")
        if self.baseline is not None and (both := [name for name in own if getattr(self, name) not in (None, False)]):
            raise PpcdError(f"recipe {self.name!r} has a baseline, whose losses are its own, and {', '.join(both)}")
        if self.generator == "tinygan" and not isinstance(self.baseline, TinyGan | OutputDistillation):
            raise PpcdError("generator tinygan has no discriminator and no pruning; its baseline is tinygan or output")
        if self.start == "teacher" and (self.generator, self.teacher_size) != (TEACHER, True):
            raise PpcdError(
                f"a recipe that starts from the teacher has its network, {TEACHER!r}; got {self.generator!r}"
            )
        if self.select is not None and not self.masked:
            raise PpcdError(f"recipe {self.name!r} selects channels by {self.select!r} but has no masks")
        if self.narrow and (self.masked or self.start or self.alpha is None):
            raise PpcdError("a network that is narrow from the start has an alpha, no masks, and starts from scratch")

    @property
    def needs_teacher(self) -> bool:
        guided = self.distil or self.lambda_pixel is not None or self.needs_training_state
        return guided or (self.baseline is not None and self.baseline.needs_teacher)

    @property
    def needs_training_state(self) -> bool:
        """Whether it needs the teacher's discriminator, or the weights with which its training ended."""
        return self.start == "teacher" or self.lambda_teacher_d is not None

    @property
    def prunes(self) -> bool:
        """Whether alpha says something of it."""
        return self.masked or bool(self.narrow) or self.baseline is not None

    @property
    def two_phase(self) -> bool:
        """Whether the second half of the training goes on with another, smaller network."""
        return self.two_step or (self.baseline is not None and self.baseline.two_phase)

    @property
    def teacher_size(self) -> bool:
        """Whether its networks have the teacher's width and noise."""
        return self.generator == TEACHER if self.size is None else self.size == "teacher"

    @property
    def teacher_budget(self) -> bool:
        """Whether it trains for as long as the teacher: a network of its size that starts from scratch."""
        if self.budget is not None:
            return self.budget == "teacher"
        return self.teacher_size and self.start is None


@dataclass(frozen=True)
class Optimisation:
    """Reference settings of a network's training (BigGAN-PyTorch's launch scripts; Tiny-GAN's own code)."""

    lr_g: float
    lr_d: float
    betas: tuple[float, float]
    eps: float
    discriminator_steps: int = 1  # for each step of G
    averaged: bool = True  # whether an average of G's weights is the result, where the profile declares none


SAGAN = Optimisation(1e-4, 4e-4, (0.0, 0.999), 1e-8)
OPTIMISATION = {
    "biggan": Optimisation(1e-4, 4e-4, (0.0, 0.999), 1e-6),
    "sagan": SAGAN,
    "sagan-hier": SAGAN,
    "sagan-shared": SAGAN,
    "sngan": Optimisation(2e-4, 2e-4, (0.0, 0.9), 1e-8, discriminator_steps=5, averaged=False),
    "tinygan": Optimisation(2e-4, 2e-4, (0.0, 0.9), 1e-8, averaged=False),
}

TEACHER = "biggan"
CHOICES = {
    "start": ("teacher",),
    "select": ("l1", "random"),
    "size": ("teacher", "student"),
    "budget": ("teacher", "student"),
    "mask_rule": MASK_RULES,
    "generator": tuple(OPTIMISATION),
    "adversarial": tuple(ADVERSARIAL),
    "normalisation": tuple(NORMS),
}
ALPHA = 0.7  # the paper's default (section 4.2)


def _ppcd(name: str, title: str, generator: str = "sagan", *, distil: bool = True, **changes: Any) -> Recipe:
    return Recipe(name, title, generator, masked=True, distil=distil, alpha=ALPHA, **changes)


def _of_hier(name: str, title: str, *, masked: bool = True, distil: bool = True, **changes: Any) -> Recipe:
    title += ", noise in every block"
    return Recipe(name, title, "sagan-hier", masked=masked, distil=distil, alpha=ALPHA, **changes)


def _of_teacher(name: str, title: str, **changes: Any) -> Recipe:
    return _ppcd(name, title, TEACHER, mask_rule="gradual", start="teacher", **changes)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("biggan", "Big-GAN (teacher)", "biggan"),
        Recipe("sagan", "SA-GAN", "sagan"),
        _ppcd("ppcd", "PPCD-GAN"),
        Recipe("ppcd-no-pp", "PPCD-GAN w/o L_PP", "sagan", distil=True),
        _ppcd("ppcd-no-cd", "PPCD-GAN w/o L_CD", distil=False),
        _ppcd("ppcd-two-step", "PPCD-GAN*", two_step=True),
        _ppcd("ppcd-literal-adam", "PPCD-GAN, masks by Adam at 0.1", mask_rule="paper-adam"),
        _ppcd("ppcd-literal-sgd", "PPCD-GAN, masks by SGD at 0.1", mask_rule="paper-sgd"),
        # What else may decide whether the distillation helps (12_when_distillation_helps)
        _ppcd("ppcd-cd3", "PPCD-GAN, 3 L_CD", lambda_cd=3.0),
        _ppcd("ppcd-cd10", "PPCD-GAN, 10 L_CD", lambda_cd=10.0),
        _ppcd("ppcd-cd30", "PPCD-GAN, 30 L_CD", lambda_cd=30.0),
        _ppcd("ppcd-raw", "PPCD-GAN, features as they are", normalisation="none"),
        _ppcd("ppcd-cd10-raw", "PPCD-GAN, 10 L_CD, features as they are", lambda_cd=10.0, normalisation="none"),
        _ppcd("ppcd-cd10-apart", "PPCD-GAN, 10 L_CD, not on masks", lambda_cd=10.0, masks_distil=False),
        _ppcd("ppcd-both", "PPCD-GAN, both sides normalised", normalisation="both"),
        _ppcd("ppcd-cd10-both", "PPCD-GAN, 10 L_CD, both sides normalised", lambda_cd=10.0, normalisation="both"),
        # The student conditioned as BigGAN is: noise in every block
        _of_hier("ppcd-hier", "PPCD-GAN"),
        _of_hier("ppcd-hier-no-cd", "PPCD-GAN w/o L_CD", distil=False),
        _of_hier("ppcd-hier-cd10", "PPCD-GAN, 10 L_CD", lambda_cd=10.0),
        _of_hier("ppcd-hier-pixels", "PPCD-GAN, the teacher's pixels instead of L_CD", distil=False, lambda_pixel=10.0),
        _of_hier("ppcd-hier-cd-pixels", "PPCD-GAN, the teacher's pixels and L_CD", lambda_pixel=10.0),
        _of_hier("ppcd-hier-two-step", "PPCD-GAN*", two_step=True),
        _of_hier("ppcd-hier-random", "PPCD-GAN, random channels", select="random"),
        _of_hier("ppcd-hier-random-no-cd", "PPCD-GAN w/o L_CD, random channels", distil=False, select="random"),
        _of_hier("ppcd-hier-l1-no-cd", "PPCD-GAN w/o L_CD, channels by l1 norm", distil=False, select="l1"),
        _of_hier("ppcd-hier-narrow-no-cd", "Narrow from the start", distil=False, masked=False, narrow=True),
        # The gradual rule where a profile's own runs are of another
        _ppcd("ppcd-gradual", "PPCD-GAN, gradual masks", mask_rule="gradual"),
        _ppcd("ppcd-gradual-no-cd", "PPCD-GAN w/o L_CD, gradual masks", distil=False, mask_rule="gradual"),
        # Controls of the choice of channels: the same PP-Res blocks, counts and times
        _ppcd("ppcd-random", "PPCD-GAN, random channels", select="random"),
        _ppcd("ppcd-l1", "PPCD-GAN, channels by l1 norm", select="l1"),
        Recipe("ppcd-narrow", "PPCD-GAN, narrow from the start", "sagan", narrow=True, distil=True, alpha=ALPHA),
        # What noise in every block is made of, and the teacher's form at the student's size
        Recipe("sagan-shared", "SA-GAN, one class embedding", "sagan-shared"),
        Recipe("sagan-hier", "SA-GAN, noise in every block", "sagan-hier"),
        Recipe("biggan-small", "Big-GAN of the student's size", "biggan", size="student", budget="student"),
        # The trained teacher itself, compressed; and trained on for as long
        _of_teacher("ppcd-teacher", "PPCD-GAN from the trained teacher"),
        _of_teacher("ppcd-teacher-no-cd", "PPCD-GAN from the trained teacher, w/o L_CD", distil=False),
        _of_teacher("ppcd-teacher-l1", "Big-GAN in PP-Res blocks, channels by l1 norm", distil=False, select="l1"),
        _of_teacher("ppcd-teacher-random", "Big-GAN in PP-Res blocks, random channels", distil=False, select="random"),
        Recipe("biggan-on", "Big-GAN, trained on", "biggan", start="teacher"),
        _ppcd("ppcd-pixels", "PPCD-GAN, the teacher's pixels instead of L_CD", distil=False, lambda_pixel=10.0),
        _ppcd("ppcd-teacher-d", "PPCD-GAN, the teacher's discriminator besides", lambda_teacher_d=0.1),
        Recipe("sngan", "SN-GAN", "sngan"),
        Recipe("tinygan", "Tiny-GAN", "tinygan", baseline=TinyGan()),
        Recipe("distill-only", "Distill only", "sagan", baseline=OutputDistillation()),
        Recipe("distill-nas", "Distill + NAS", "sagan", baseline=DistillNas(), alpha=ALPHA),
        Recipe("l1-biggan", "Big-GAN, l1-norm pruning", "biggan", baseline=L1Pruning(), alpha=ALPHA),
        Recipe("l1-sagan", "SA-GAN, l1-norm pruning", "sagan", baseline=L1Pruning(), alpha=ALPHA),
    )
}
BUILT_IN = frozenset(RECIPES)


def get_recipe(name: str, alpha: float | None = None) -> Recipe:
    """The recipe of that name, `ppcd-a0.5` being `ppcd` at alpha 0.5; or that in a TOML file, which this process then
    knows by its name.

    Args:
        alpha: the same, as a number; ignored by recipes that prune nothing.

    Raises:
        PpcdError: unknown recipe, a file that holds none, or an impossible alpha.
    """
    text = name if isinstance(name, str) else ""
    if toml.is_file(text):
        own = toml.read(text, Recipe, get_recipe, "title")
        if _base(own.name) in BUILT_IN:
            raise PpcdError(f"{name}: {own.name!r} is a recipe of this project; give yours another name")
        RECIPES[own.name] = own
        name = text = own.name
    base = text if text in RECIPES else _base(text)
    if base not in RECIPES:
        known = f"{', '.join(RECIPES)} (-a<alpha> where masked)"
        raise PpcdError(f"unknown recipe {name!r}; expected one of: {known}; or a file, *{toml.SUFFIX}")
    recipe, written = RECIPES[base], text[len(base) :].removeprefix("-a")
    if written:
        if recipe.alpha is None:
            raise PpcdError(f"recipe {base!r} prunes nothing and takes no alpha; ask for {base!r}")
        try:
            named = float(written)
        except ValueError:
            raise PpcdError(f"alpha must be a number in (0, 1), for example 0.7; got {written!r}") from None
        if alpha not in (None, named):
            raise PpcdError(f"recipe {name!r} says alpha {named:g}, but alpha {alpha!r} was given beside it")
        alpha = named
    if alpha is None:
        return recipe
    alpha = check_alpha(alpha)
    if recipe.alpha is None:
        return recipe
    suffix = "" if alpha == recipe.alpha else f"-a{alpha:g}"
    return replace(recipe, name=base + suffix, alpha=alpha)


def _base(name: str) -> str:
    return re.sub(r"-a[0-9.]+$", "", name)


def asked(recipe: Recipe) -> str:
    """What another process is asked for with, to get this recipe."""
    return recipe.name if _base(recipe.name) in BUILT_IN else toml.hand_over(recipe)
