"""Why a claim of the paper does not hold at a profile: what was found out, with the evidence, written by hand.

A note is shown under the table of claims, and only while its claim is `not reproduced` or `inconclusive`.
"""

# (profile, id of the claim) -> why, in Markdown. For example:
# ("mnist", "outperforms"): "Unpruned SA-GAN is ... (see `04_comparison`, Table 1).",
NOTES: dict[tuple[str, str], str] = {}
