"""What the measurement protocols of two runs must share for their scores to stand side by side."""

FREE = ("seed", "accuracy_classifier")  # the seed of the noise, and how good the judge of this machine is


def is_free(key: str) -> bool:
    """Whether an entry of a protocol may differ between scores that are compared.

    So may the weights of networks that were trained for measuring (`*_sha256`), on another machine for example; the
    real images may not.
    """
    return key in FREE or (key.endswith("_sha256") and key != "reference_sha256")
