"""What the paper says that can be true or false but is no predicate over runs: why, and where it can be seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unchecked:
    """A sentence that can be true or false, but not of runs."""

    sentence: str
    where: str
    reason: str


UNCHECKED: tuple[Unchecked, ...] = (
    Unchecked(
        "Therefore, we can safely remove unnecessary weights when testing without any risk.",
        "section 3.2",
        "a run keeps the slim generator only; that slimming leaves the images as they are is tested in "
        "tests/test_slim.py",
    ),
    Unchecked(
        "We note that the above pivot can be any sufficiently small value between 0 and 1 which is independent of "
        "training settings.",
        "section 3.2",
        "no run has another pivot",
    ),
    Unchecked(
        "We set an empirically determined small hyperparameter for L_PP to prevent quick convergence of mask layers.",
        "section 3.4",
        "seen in the report's section on the rule for the masks, where the paper's settings stand beside the rule here",
    ),
    Unchecked(
        "Despite such efforts, Tiny-GAN works properly only on a small sub-set of the large-scale ImageNet.",
        "section 2",
        "no profile has ImageNet or a homogeneous subset of its classes",
    ),
    Unchecked(
        "The usage of NAS, however, requires a high computational cost due to a large search space.",
        "section 1",
        "every method gets the same iterations here; the search comes on top, and its cost is not compared",
    ),
    Unchecked(
        "We attribute this advance to our usage of the class conditional normalization in the distillation process.",
        "section 4.3",
        "needs PPCD-GAN distilled without that normalisation; no recipe of the plan is",
    ),
    Unchecked(
        "The generated images by SN-GAN [3] regarding natural scenes are reasonable (see the 7th and 8th columns).",
        "section 4.3, Figure 3",
        "about single pictures of ImageNet classes",
    ),
    Unchecked(
        "This less diversity comes from their usage of a “truncation trick” which aims at the trade-off between "
        "variety and fidelity.",
        "section 4.3",
        "noise is never truncated here, for any system",
    ),
    Unchecked(
        "We note that training the two processes reversely is not applicable because pruning a trained model is risky "
        "as aforementioned.",
        "section 4.4",
        "no recipe distils first and prunes then; l1-norm pruning of a trained network is in Figure 4",
    ),
    Unchecked(
        "We observe that the viewpoint semantics are maintained consistently regardless of class.",
        "section 4.4, Figure 6",
        "about what is seen in Figure 6",
    ),
    Unchecked(
        "These observations suggest that PPCD-GAN preserves the generalization ability even it is smaller in size.",
        "section 4.4, Figures 6 and 7",
        "about what is seen in Figures 6 and 7",
    ),
    Unchecked(
        "Note that we observe that such failed images are rare.",
        "section 4.4, Figure 8",
        "found by a rule and counted in 07_failure_cases, not in the runs",
    ),
)
