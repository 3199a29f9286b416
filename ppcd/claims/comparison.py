"""The paper's claims up to Table 1: abstract, introduction, related work, method, and the systems it competes with.

Sentences are the paper's own, whole, with its symbols as plain text (L_PP, alpha, ×). Readings that are weaker or
narrower than the words say so.
"""

from paper.claims.predicates import (
    DRASTIC,
    MUCH,
    TOLERANCE,
    Claim,
    Part,
    Quantity,
    better,
    comparable,
    less,
    level,
    more,
    much_better,
    papers_ratio,
    ratio,
)

WITHIN = f"{TOLERANCE:.0%} below the paper's factor"
COMPARABLE = f"the paper's own ratio, {TOLERANCE:.0%} worse at most"
INTERVAL = "none beyond the interval"
POORER = f"'much' is at least {1 - MUCH:.0%}"

OUTPERFORMS = (
    "We see that PPCD-GAN significantly outperforms SA-GAN [2], SN-GAN [3], and Tiny-GAN [7] on IS and FID while "
    "achieving comparable levels with Big-GAN [1]."
)
DIVERSITY = (
    "Moreover, PPCD-GAN, SA-GAN [2], and SN-GAN [3] are all able to achieve diversity (see LPIPS scores; we report "
    "the average over all the classes) whereas Big-GAN [1] and Tiny-GAN [7] do less diversity."
)
FASTER = "Indeed, the fourth block in Table 1 confirms that PPCD-GAN is (almost) faster than the other models."


def _reduction(key: str) -> tuple[Part, ...]:
    """BigGAN's size over PPCD-GAN's is at least the paper's factor."""
    return more(key, "biggan", "ppcd", by=papers_ratio(key, "biggan", "ppcd", 1 - TOLERANCE))


INTRODUCTION = (
    Claim(
        "abstract-reduction",
        "We comprehensively illustrate, on ImageNet 128×128 dataset, PPCD-GAN reduces up to 5.2× (81%) parameters "
        "against state-of-the-arts while keeping better performance.",
        "abstract",
        "BigGAN has the factor more parameters, and PPCD-GAN the better IS and FD than SA-GAN, SN-GAN and Tiny-GAN "
        "(not than BigGAN: there the paper's Table 1 says otherwise)",
        WITHIN,
        _reduction("params") + better("ppcd", "sagan", "sngan", "tinygan"),
    ),
    Claim(
        "lighter-and-retains",
        "After training, all redundant parameters as well as the mask layers are discarded, yielding a lighter "
        "network while retaining the performance.",
        "abstract",
        "fewer parameters than before pruning, and IS and FD no worse than those of the unpruned network that was "
        "distilled alike (PPCD-GAN w/o L_PP)",
        f"IS and FD up to {TOLERANCE:.0%} worse count as retained",
        (
            Part("#Par. PPCD-GAN after / before", less("params", "ppcd", "ppcd")[0].quantities[:1]
                 + level("params_dense", "ppcd", 0)[0].quantities, lambda after, before: after / before, 1.0, "below",
                 logs=True),
            *more("is", "ppcd", "ppcd-no-pp", by=1 - TOLERANCE),
            *less("fd", "ppcd", "ppcd-no-pp", by=1 / (1 - TOLERANCE)),
        ),
    ),
    Claim(
        "stabilises",
        "The class-aware distillation, on the other hand, enhances the stability of training by transferring immense "
        "knowledge from a well-trained teacher model through instructive attention maps.",
        "abstract; sections 1, 3.3, 5",
        "stability is read as a discriminator's loss that varies less: its standard deviation in each tenth of the "
        "second half of the training, at alpha 0.5, is lower on average with L_CD than without",
        INTERVAL,
        less("loss_spread", "ppcd-a0.5", "ppcd-no-cd-a0.5"),
    ),
    Claim(
        "figure1",
        "PPCD-GAN is smaller than the others while achieving comparable IS and FID.",
        "section 1, Figure 1",
        "fewer parameters than BigGAN, SA-GAN and SN-GAN (not than Tiny-GAN: there the paper's Table 1 says "
        "otherwise), IS and FD comparable with the best, BigGAN",
        COMPARABLE,
        less("params", "ppcd", "biggan", "sagan", "sngan") + comparable("ppcd", "biggan"),
    ),
    Claim(
        "preset-criteria",
        "As a result, the GANs model is vulnerable to pre-set criteria, leading to drastically dropping its "
        "performance as addressed in [5, 16].",
        "section 1",
        "the pre-set criterion is the l1 norm: at alpha 0.7 FD is much larger than that of the network before pruning",
        f"'drastically' is a factor of at least {DRASTIC:g}",
        more("fd", "l1-biggan", "biggan", by=DRASTIC) + more("fd", "l1-sagan", "sagan", by=DRASTIC),
    ),
    Claim(
        "teacher-leaks",
        "As Big-GAN [1] suffers from class leakage, we employ the class conditional normalization before computing "
        "the attention maps.",
        "section 1; section 3.3",
        "leakage is the mean of 1 - p(y|x) by a classifier; it is larger for BigGAN's images than for real ones "
        "that were held out from the classifier's training",
        INTERVAL,
        (
            Part("leakage BigGAN / real images", (Quantity("biggan", "leakage"), Quantity("biggan", "real_leakage")),
                 ratio, 1.0, logs=True),
        ),
    ),
    Claim(
        "biggan-largest",
        "For instance, SN-GAN [3] and SA-GAN [2] models need ∼40M parameters whereas Big-GAN [1] requires even more "
        "(∼70M).",
        "section 2",
        "BigGAN has more parameters than SN-GAN and SA-GAN; the widths are the profile's",
        INTERVAL,
        more("params", "biggan", "sngan", "sagan"),
    ),
    Claim(
        "biggan-best",
        "Here, as an example, we choose SA-GAN [2] as our student model whereas Big-GAN [1] as the teacher model "
        "because Big-GAN [1] is an extension of SA-GAN [2] and achieves leader-board IS and FID.",
        "section 3.1; Table 1",
        "BigGAN has the best IS and FD of Table 1",
        INTERVAL,
        better("biggan", "sagan", "sngan", "tinygan", "ppcd"),
    ),
    Claim(
        "cutting-channels",
        "Needless to say, directly cutting off several output channels is not effective [5, 6].",
        "section 3.1",
        "SA-GAN whose channels are cut by their l1 norm has the larger FD than PPCD-GAN, both at alpha 0.7",
        INTERVAL,
        more("fd", "l1-sagan", "ppcd"),
    ),
    Claim(
        "masks-gradual",
        "As training proceeds, the values of the mask gradually become zeros, meaning that the gradient to its "
        "corresponding convolutional layer decreases to zeros.",
        "section 3.2",
        "all masks freeze, and no layer closes more than half of its channels that go within 1% of the training "
        "(the gradients are not logged)",
        INTERVAL,
        level("frozen", "ppcd", 0.999) + level("mask_step", "ppcd", 0.5, "below"),
    ),
    Claim(
        "transition-small",
        "Second, its number of parameters is small enough not to cause the explosion of the network parameters.",
        "section 3.2",
        "SA-GAN with PP-Res blocks has, before anything is pruned, hardly more parameters than SA-GAN",
        f"'small enough' is at most {TOLERANCE:.0%} more",
        (
            Part("#Par. with transitions / SA-GAN", level("params_dense", "ppcd", 0)[0].quantities
                 + level("params", "sagan", 0)[0].quantities, lambda ours, plain: ours / plain, 1 + TOLERANCE, "below",
                 logs=True),
        ),
    ),
)  # fmt: skip

COMPARISON = (
    Claim(
        "visual-quality",
        "We see that the visual impressions of generated images by our method are on a par with those by Big-GAN [1], "
        "and much better than those by the other methods (SA-GAN [2], SN-GAN [3], and Tiny-GAN [7]).",
        "section 4.3, Figure 3",
        "what the eye sees is read as the share of images that a classifier recognises as their class: at most 5 "
        "points below BigGAN's, and above those of the others",
        "5 points of accuracy against BigGAN; 'much' is not asked, since accuracy ends at 100%",
        (
            Part("accuracy PPCD-GAN - BigGAN", level("accuracy", "ppcd", 0)[0].quantities
                 + level("accuracy", "biggan", 0)[0].quantities, lambda ours, theirs: ours - theirs, -0.05),
            *more("accuracy", "ppcd", "sagan", "sngan", "tinygan"),
        ),
    ),
    Claim(
        "tinygan-miserable",
        "For Tiny-GAN [23], the generated images are incredibly miserable.",
        "section 4.3, Figure 3",
        "Tiny-GAN's FD is at least twice that of every other system of Table 1",
        "'incredibly' is a factor of at least 2 (the paper: 2.8)",
        more("fd", "tinygan", "biggan", "sagan", "sngan", "ppcd", by=2.0),
    ),
    Claim(
        "less-leakage",
        "Interestingly, we visually observe that Big-GAN [1] generates images with class leakage (see the images in "
        "the 6th and 8th columns) while PPCD-GAN is not the case.",
        "section 4.3, Figure 3",
        "leakage, the mean of 1 - p(y|x) by a classifier, is lower for PPCD-GAN than for its teacher",
        INTERVAL,
        less("leakage", "ppcd", "biggan"),
    ),
    Claim(
        "outperforms",
        OUTPERFORMS,
        "section 4.3, Table 1",
        "the first half: better IS and FD than SA-GAN, SN-GAN and Tiny-GAN",
        INTERVAL,
        better("ppcd", "sagan", "sngan", "tinygan"),
    ),
    Claim(
        "comparable-biggan",
        OUTPERFORMS,
        "section 4.3, Table 1",
        "the second half: IS and FD within the paper's ratio of BigGAN's (83.13/98.8 and 12.76/8.70)",
        COMPARABLE,
        comparable("ppcd", "biggan"),
    ),
    Claim(
        "thanks-to-distillation",
        "This is because PPCD-GAN learns the immense knowledge from Big-GAN [1] thanks to our class-aware "
        "distillation.",
        "section 4.3, Table 3",
        "IS and FD are better with L_CD than without; both at alpha 0.5, as in Table 3",
        INTERVAL,
        better("ppcd-a0.5", "ppcd-no-cd-a0.5"),
    ),
    Claim(
        "diversity-biggan",
        DIVERSITY,
        "section 4.3, Table 1",
        "of PPCD-GAN alone: its diversity is at least BigGAN's",
        INTERVAL,
        more("diversity", "ppcd", "biggan"),
    ),
    Claim(
        "diversity-groups",
        DIVERSITY,
        "section 4.3, Table 1",
        "each of PPCD-GAN, SA-GAN and SN-GAN is more diverse than each of BigGAN and Tiny-GAN",
        INTERVAL,
        tuple(part for first in ("ppcd", "sagan", "sngan") for part in more("diversity", first, "biggan", "tinygan")),
    ),
    Claim(
        "perceptive-and-diverse",
        "We may conclude that PPCD-GAN is more effective in perceptive visuals and diversity than the others.",
        "section 4.3, Table 1",
        "IS above those of SA-GAN, SN-GAN and Tiny-GAN, diversity not below any other's (the paper's own is below "
        "SA-GAN's, 0.62 to 0.63, and its IS below BigGAN's)",
        f"{TOLERANCE:.0%} of diversity",
        more("is", "ppcd", "sagan", "sngan", "tinygan")
        + more("diversity", "ppcd", "biggan", "sagan", "sngan", "tinygan", by=1 - TOLERANCE),
    ),
    Claim(
        "smaller",
        "We observe that PPCD-GAN significantly reduces the complexity.",
        "section 4.3, Table 1",
        "fewer parameters and MACs than BigGAN, SA-GAN and SN-GAN",
        INTERVAL,
        less("params", "ppcd", "biggan", "sagan", "sngan") + less("macs", "ppcd", "biggan", "sagan", "sngan"),
    ),
    Claim(
        "reduction-factors",
        "More precisely, when compared with Big-GAN [1], SA-GAN [2], and SN-GAN [3], PPCD-GAN reduces up to 5.2× "
        "(81%) parameters (#Par.) and 13.3× (92%) MACs.",
        "section 4.3, Table 1",
        "BigGAN has 5.2 times the parameters and 13.3 times the MACs",
        WITHIN,
        _reduction("params") + _reduction("macs"),
    ),
    Claim(
        "tinygan-poorer",
        "Although Tiny-GAN [7] is more compact than our model, its IS, FID, and LPIPS are much poorer as seen above.",
        "section 4.3, Table 1",
        "Tiny-GAN has fewer parameters and MACs, and much poorer IS, FD and diversity",
        POORER,
        less("params", "tinygan", "ppcd")
        + less("macs", "tinygan", "ppcd")
        + much_better("ppcd", "tinygan")
        + more("diversity", "ppcd", "tinygan", by=1 / MUCH),
    ),
    Claim(
        "faster-gpu",
        FASTER,
        "section 4.3, Table 1",
        "on a GPU: less time per batch of 64 than all but Tiny-GAN",
        INTERVAL,
        less("gpu", "ppcd", "biggan", "sagan", "sngan"),
    ),
    Claim(
        "faster-cpu",
        FASTER,
        "section 4.3, Table 1",
        "on a CPU: less time per batch of 64 than BigGAN, SA-GAN, SN-GAN and Tiny-GAN",
        INTERVAL,
        less("cpu", "ppcd", "biggan", "sagan", "sngan", "tinygan"),
    ),
    Claim(
        "tinygan-slow-on-cpu",
        "We see that Tiny-GAN [7] does not work properly on the CPU mode because it employs the depth-wise separable "
        "convolution, which is not optimized on CPU.",
        "section 4.3, Table 1",
        "on a CPU Tiny-GAN takes more time than SA-GAN, SN-GAN and PPCD-GAN, though it has the fewest MACs",
        INTERVAL,
        more("cpu", "tinygan", "sagan", "sngan", "ppcd") + less("macs", "tinygan", "sagan", "sngan", "ppcd"),
    ),
)  # fmt: skip
