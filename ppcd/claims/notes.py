"""Why a claim of the paper does not hold at a profile: what was found out, with the evidence, written by hand.

A note is shown under the table of claims, and only while its claim is `not reproduced` or `inconclusive`.
"""

SPREAD = "the seeds disagree by more than the systems do, after a training as short as this"
COLLAPSE = (
    "one of three runs without masks did not recover once D had won (the table of standstills below), and decides the "
    "mean"
)
DIVERSE = (
    "pruning and distillation each cost diversity in this short training: PPCD-GAN w/o L_PP (Table 3, distilled, not "
    "pruned) and w/o L_CD (pruned, not distilled) are both less diverse than plain SA-GAN (Table 1), and "
    "Figure 7 shows "
    "that the noise changes little. The paper explains BigGAN's lower diversity by truncated noise; "
    "nothing is truncated "
    "here, so what should lower it is absent"
)
EASY = (
    "ten digits at 32 px are too easy for capacity to decide: PPCD-GAN and PPCD-GAN* draw recognisable digits with the "
    "few channels that are left at alpha 0.8. That l1-pruned networks of as many channels a layer break down there "
    "(Figure 4) shows that it is the abrupt cut that hurts, not the size"
)

# (profile, id of the claim) -> why, in Markdown.
NOTES: dict[tuple[str, str], str] = {
    ("mnist", "diversity-biggan"): DIVERSE + ".",
    ("mnist", "diversity-groups"): DIVERSE + ". SN-GAN, which is neither, is the most diverse.",
    ("mnist", "perceptive-and-diverse"): DIVERSE + ".",
    ("mnist", "tinygan-poorer"): (
        "the part that fails is #Par.: at this width most of Tiny-GAN's parameters are its class embedding of 128 "
        "entries and the linear layers behind it, whose size does not shrink with the width. Its MACs are "
        "fewer and its "
        "IS and FD much poorer, as in the paper; at the paper's scale it has the published size (README)."
    ),
    ("mnist", "faster-cpu"): (
        "PPCD-GAN is faster than BigGAN, SA-GAN and SN-GAN; Tiny-GAN is faster still, because the CPU code of today's "
        "PyTorch runs depthwise convolutions well (see tinygan-slow-on-cpu)."
    ),
    ("mnist", "tinygan-slow-on-cpu"): (
        "a finding about the software of 2021: in the version of PyTorch used here depthwise convolutions on the CPU "
        "cost about what their few MACs suggest. Images of 32 px and few channels may add to that."
    ),
    ("mnist", "without-cd-only-05"): EASY + ". The rule for the masks, which follows a schedule, helps as well.",
    ("mnist", "two-step-degrades"): EASY + ".",
    ("mnist", "two-step-unusable"): EASY + ".",
    ("mnist", "fails-at-08"): EASY + ". On one seed FD at 0.8 is far above that at 0.7, on the others it is not.",
    ("mnist", "holds-to-07"): (
        "on one of three seeds FD at alpha 0.6 is far above that at 0.5 and at 0.7: " + SPREAD + "."
    ),
    ("mnist", "outperforms"): (
        "Tiny-GAN is beaten on every seed. Against SA-GAN and SN-GAN "
        + SPREAD
        + ". SN-GAN, whose settings ask for five steps of D for each of G, has seen five times the real images."
    ),
    ("mnist", "abstract-reduction"): "the reduction is there; of the scores, " + SPREAD + ".",
    ("mnist", "without-pp-better"): COLLAPSE + ".",
    ("mnist", "far-worse"): (
        "Distill only is far worse on every seed (blurred silhouettes, the mean that the squared error asks for). "
        "Distill + NAS, whose search keeps the MACs of PPCD-GAN here, draws good digits on two seeds; on the "
        "third they "
        "are legible but coloured, which D tells from the grey real ones at once and the classifier has never seen."
    ),
    ("mnist", "beats-other-methods"): (
        "as far-worse: Distill only is beaten on every seed, Distill + NAS on two of three."
    ),
    ("mnist", "no-reasonable-results"): (
        "Distill + NAS does produce reasonable images here, with the budget and the care that every method gets; the "
        "paper's had hardly been compressed (37M of 42M parameters) and does not say how it was trained."
    ),
    ("mnist", "comparable-biggan"): (
        "IS is within the paper's ratio; of FD the mean is, and the interval is wider: " + SPREAD + "."
    ),
    ("mnist", "less-leakage"): (
        "on one seed PPCD-GAN leaks less than its teacher, on the others more. The teacher hardly leaks on digits, so "
        "there is little to improve; the paper's observation is by eye, on two pictures."
    ),
    ("mnist", "joint-training"): ("at alpha 0.5 joint training is better on every seed; at the others " + SPREAD + "."),
    ("mnist", "two-step-gap-grows"): "there is no trend to be seen: " + SPREAD + ".",
}
