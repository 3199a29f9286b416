"""The paper's claims from Table 2 on: other ways of compressing GANs, Figure 4, the ablation, the conclusion."""

from paper.claims.comparison import COMPARABLE, INTERVAL, POORER
from paper.claims.predicates import (
    ALPHAS,
    DRASTIC,
    MUCH,
    TOLERANCE,
    Claim,
    at,
    better,
    comparable,
    growing_gap,
    less,
    more,
    much_better,
    not_dominated,
    papers_ratio,
    steeper,
)

REASONABLE = 0.5  # of the share of the teacher's images that a classifier recognises as their class
AS_DRASTIC = f"'fails' and 'drastically' are a factor of at least {DRASTIC:g} in FD"

DISTILL_ONLY = "Distill only [34] is faster than ours, but its quality and diversity are worst."
SUSTAINS = (
    "In contrast, we see that PPCD-GAN sustainably generates high-quality images up to alpha=0.7 even under different "
    "compression ratios while it fails in the case of alpha=0.8."
)
L1_DEGRADES = (
    "We see that increasing the compression ratio leads to quickly degrading FIDs on Big-GAN [1] and SA-GAN [2]."
)
TRADE_OFF = (
    "In particular, PPCD-GAN w/o L_PP generates images with better IS and FID while PPCD-GAN w/o L_CD is better in "
    "size of the model."
)
TWO_STEP = (
    "We see that although PPCD-GAN* (with alpha=0.5) achieves comparable results with PPCD-GAN (complete), alpha=0.7 "
    "cannot be used for PPCD-GAN* (see the ablation study above)."
)
TWO_STEP_DEGRADES = (
    "We see that different from PPCD-GAN (complete), PPCD-GAN* degrades FIDs quickly and drastically as alpha "
    "increases."
)

OTHER_METHODS = (
    Claim(
        "far-worse",
        "Table 2 shows that other GANs compression methods [6, 34] perform far worse than our method in both overall "
        "quality and diversity of generated images.",
        "section 4.3, Table 2",
        "IS, FD and diversity of Distill+NAS and of Distill only are far worse than PPCD-GAN's",
        POORER,
        much_better("ppcd", "distill-nas", "distill-only")
        + more("diversity", "ppcd", "distill-nas", "distill-only", by=1 / MUCH),
    ),
    Claim(
        "beats-other-methods",
        "In contrast, our method successfully completes the task thanks to the proposal of simultaneously pruning and "
        "distillation.",
        "section 4.3, Table 2",
        "better IS, FD and diversity than Distill+NAS and Distill only, by however little",
        INTERVAL,
        better("ppcd", "distill-nas", "distill-only") + more("diversity", "ppcd", "distill-nas", "distill-only"),
    ),
    Claim(
        "distill-only-faster-gpu",
        DISTILL_ONLY,
        "section 4.3, Table 2",
        "on a GPU, as in Table 2: less time per batch of 64",
        INTERVAL,
        less("gpu", "distill-only", "ppcd"),
    ),
    Claim(
        "distill-only-faster-cpu",
        DISTILL_ONLY,
        "section 4.3, Table 2",
        "on a CPU: less time per batch of 64 (Table 2 has the GPU's only)",
        INTERVAL,
        less("cpu", "distill-only", "ppcd"),
    ),
    Claim(
        "distill-only-worst",
        DISTILL_ONLY,
        "section 4.3, Table 2",
        "IS, FD and diversity of Distill only are worse than those of Distill+NAS and PPCD-GAN",
        INTERVAL,
        better("distill-nas", "distill-only")
        + better("ppcd", "distill-only")
        + less("diversity", "distill-only", "distill-nas", "ppcd"),
    ),
    Claim(
        "no-reasonable-results",
        "Since Distill + NAS and Distill cannot produce reasonable results, we show their generated images in the "
        "supplementary.",
        "section 4.3, Table 2",
        "a classifier recognises less than half as many of their images as of the teacher's (which at "
        "a small profile may themselves be few)",
        f"'reasonable' is {REASONABLE:.0%} of BigGAN's accuracy",
        less("accuracy", "distill-nas", "biggan", by=REASONABLE)
        + less("accuracy", "distill-only", "biggan", by=REASONABLE),
    ),
    Claim(
        "l1-degrades",
        L1_DEGRADES,
        "section 4.3, Figure 4",
        "from alpha 0.5 to 0.8 the FD of both l1-pruned networks grows drastically, and it has grown at 0.7 already",
        f"'quickly' is a factor of at least {DRASTIC:g} in FD from 0.5 to 0.8",
        tuple(
            part
            for base in ("l1-biggan", "l1-sagan")
            for part in (
                *more("fd", at(base, 0.7), at(base, 0.5)),
                *more("fd", at(base, 0.8), at(base, 0.5), by=DRASTIC),
            )
        ),
    ),
    Claim(
        "l1-degrades-earlier",
        L1_DEGRADES,
        "section 4.3, Figure 4",
        "from alpha 0.5 to 0.7, where PPCD-GAN still holds, the FD of both l1-pruned networks grows by more than what "
        "counts as sustained, and by a larger factor than PPCD-GAN's",
        f"FD up to {1 / MUCH - 1:.0%} larger counts as sustained, as in holds-to-07",
        tuple(
            part
            for base in ("l1-biggan", "l1-sagan")
            for part in (
                *more("fd", base, at(base, 0.5), by=1 / MUCH),
                *steeper("fd", base, "ppcd", 0.5, 0.7),
            )
        ),
    ),
    Claim(
        "holds-to-07",
        SUSTAINS,
        "section 4.3, Figure 4",
        "the first half: FD at alpha 0.6 and at 0.7 is not much larger than at 0.5",
        f"FD up to {1 / MUCH - 1:.0%} larger counts as sustained",
        less("fd", "ppcd-a0.6", "ppcd-a0.5", by=1 / MUCH) + less("fd", "ppcd", "ppcd-a0.5", by=1 / MUCH),
    ),
    Claim(
        "fails-at-08",
        SUSTAINS,
        "section 4.3, Figure 4",
        "the second half: FD at alpha 0.8 is far larger than at 0.7",
        AS_DRASTIC,
        more("fd", "ppcd-a0.8", "ppcd", by=DRASTIC),
    ),
    Claim(
        "too-small-at-08",
        "It is obvious that the compression ratio of 0.8 makes the model size too small to handle a huge of classes "
        "properly.",
        "section 4.3, Figure 4",
        "at alpha 0.8 a classifier recognises fewer images as their class than at 0.7 (of the profile's few classes)",
        INTERVAL,
        less("accuracy", "ppcd-a0.8", "ppcd"),
    ),
    Claim(
        "better-capability",
        "These observations confirm much better compression capability of PPCD-GAN than the typical CNNs compression "
        "methods for GANs compression.",
        "section 4.3, Figure 4",
        "at each alpha to 0.7, FD is lower than that of l1-pruned BigGAN and SA-GAN ('much' is not asked)",
        INTERVAL,
        tuple(
            part
            for alpha in ALPHAS[:3]
            for part in less("fd", at("ppcd", alpha), at("l1-biggan", alpha), at("l1-sagan", alpha))
        ),
    ),
    Claim(
        "superior",
        "Through these various quantitative comparisons, we conclude that PPCD-GAN is superior to the others in both "
        "quality of generated images and complexity of the model.",
        "section 4.3, Tables 1 and 2",
        "no other system is at once better in FD and smaller (word for word it fails in the paper: BigGAN has the "
        "better scores, Tiny-GAN the fewer parameters)",
        INTERVAL,
        not_dominated("ppcd", "biggan", "sagan", "sngan", "tinygan", "distill-nas", "distill-only"),
    ),
)

ABLATION = (
    Claim(
        "without-pp-better",
        TRADE_OFF,
        "section 4.4, Table 3",
        "without L_PP IS and FD are better, and only a little better (a quarter at most; the paper: 1% and 9%)",
        "'a little' is at most 25%",
        better("ppcd-no-pp", "ppcd-a0.5")
        + less("is", "ppcd-no-pp", "ppcd-a0.5", by=1 / MUCH)
        + more("fd", "ppcd-no-pp", "ppcd-a0.5", by=MUCH),
    ),
    Claim(
        "without-pp-large",
        TRADE_OFF,
        "section 4.4, Table 3",
        "without L_PP the model stays large: the paper's 42M to 25M parameters",
        f"{TOLERANCE:.0%} below the paper's ratio",
        more("params", "ppcd-no-pp", "ppcd-a0.5",
             by=papers_ratio("params", "ppcd-no-pp", "ppcd-a0.5", 1 - TOLERANCE)),
    ),
    Claim(
        "without-cd-smaller",
        TRADE_OFF,
        "section 4.4, Table 3",
        "without L_CD the model is smaller than without L_PP",
        INTERVAL,
        less("params", "ppcd-no-cd-a0.5", "ppcd-no-pp"),
    ),
    Claim(
        "without-cd-worse",
        "We conclude that the PP-Res and the class-aware distillation together bring gain the performance of our "
        "complete model.",
        "section 4.4, Table 3",
        "the complete model has better IS and FD than without L_CD, and fewer parameters than without L_PP",
        INTERVAL,
        better("ppcd-a0.5", "ppcd-no-cd-a0.5") + less("params", "ppcd-a0.5", "ppcd-no-pp"),
    ),
    Claim(
        "without-cd-only-05",
        "All the ablation models in this experiment are trained with alpha=0.5 for fair comparison since the model not "
        "using class-aware distillation (i.e., PPCD-GAN w/o L_CD) does not work precisely with other compression "
        "ratios.",
        "section 4.4",
        "without L_CD, FD at alpha 0.7 is far larger than at 0.5",
        AS_DRASTIC,
        more("fd", "ppcd-no-cd", "ppcd-no-cd-a0.5", by=DRASTIC),
    ),
    Claim(
        "compress-further",
        "Indeed, we can further compress PPCD-GAN (complete) (up to alpha=0.7, Table 1).",
        "section 4.4, Tables 1 and 3",
        "at alpha 0.7 there are fewer parameters than at 0.5, and IS and FD are not much worse",
        f"IS and FD up to {1 - MUCH:.0%} worse",
        less("params", "ppcd", "ppcd-a0.5")
        + more("is", "ppcd", "ppcd-a0.5", by=MUCH)
        + less("fd", "ppcd", "ppcd-a0.5", by=1 / MUCH),
    ),
    Claim(
        "ablations-plausible",
        "It is worth noting that all the ablation models generated plausible images (Fig. 5).",
        "section 4.4, Figure 5",
        "a classifier recognises more than half as many images of each of the four models as of the teacher's",
        f"'plausible' is {REASONABLE:.0%} of BigGAN's accuracy",
        tuple(
            part
            for recipe in ("ppcd-a0.5", "ppcd-no-pp", "ppcd-no-cd-a0.5", "ppcd-two-step-a0.5")
            for part in more("accuracy", recipe, "biggan", by=REASONABLE)
        ),
    ),
    Claim(
        "two-step-comparable",
        TWO_STEP,
        "section 4.4, Table 3",
        "the first half: at alpha 0.5 IS and FD of the two-step variant are within the paper's ratio of PPCD-GAN's",
        COMPARABLE,
        comparable("ppcd-two-step-a0.5", "ppcd-a0.5"),
    ),
    Claim(
        "two-step-unusable",
        TWO_STEP,
        "section 4.4, Figure 4",
        "the second half: at alpha 0.7 FD of the two-step variant is far larger than PPCD-GAN's",
        AS_DRASTIC,
        more("fd", "ppcd-two-step", "ppcd", by=DRASTIC),
    ),
    Claim(
        "two-step-degrades",
        TWO_STEP_DEGRADES,
        "section 4.4, Figure 4",
        "FD of the two-step variant grows drastically from alpha 0.5 to 0.8, and more than PPCD-GAN's to 0.7",
        AS_DRASTIC,
        more("fd", "ppcd-two-step-a0.8", "ppcd-two-step-a0.5", by=DRASTIC)
        + steeper("fd", "ppcd-two-step", "ppcd", 0.5, 0.7),
    ),
    Claim(
        "two-step-gap-grows",
        TWO_STEP_DEGRADES,
        "section 4.4, Figure 4",
        "PPCD-GAN's lead grows with alpha: the slope of the logarithm of the ratio of the two FDs is positive",
        INTERVAL,
        growing_gap("fd", "ppcd-two-step", "ppcd"),
    ),
    Claim(
        "joint-training",
        "We thus conclude that training both the processes jointly is plausible.",
        "section 4.4, Figure 4",
        "FD is lower than that of the two-step variant at each alpha",
        INTERVAL,
        tuple(part for alpha in ALPHAS for part in less("fd", at("ppcd", alpha), at("ppcd-two-step", alpha))),
    ),
    Claim(
        "conclusion",
        "Our experiments on ImageNet show that PPCD-GAN is notably efficient in both parameter reduction and speed "
        "while achieving comparable image quality against state-of-the-arts.",
        "section 5",
        "fewer parameters and less time on a CPU than BigGAN, SA-GAN and SN-GAN, IS and FD comparable with BigGAN's",
        COMPARABLE,
        less("params", "ppcd", "biggan", "sagan", "sngan")
        + less("cpu", "ppcd", "biggan", "sagan", "sngan")
        + comparable("ppcd", "biggan"),
    ),
)  # fmt: skip
