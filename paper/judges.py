"""Judging single images: the Inception score of one image, and the best of ten (Figure 3)."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from paper.study import Study
from ppcd.data.sets import ImageSet
from ppcd.metrics.evaluators import Evaluators, get_evaluators
from ppcd.metrics.features import Backbone
from ppcd.metrics.sampling import sample_images
from ppcd.runs.evaluate import find_kept
from ppcd.training.recipes import TEACHER

TIMES = 10  # "We thus run each method 10 times for a fair comparison" (section 4.3)


def get_judges(study: Study, device: str = "cpu", kept: bool = False) -> tuple[ImageSet, Evaluators]:
    """The real images of a profile and what its runs were evaluated with; from the cache where they are there.

    Args:
        kept: take what the repository keeps of the images, a `Reference`, where they are not here.

    Raises:
        PpcdError: its data or its backbone is not to be had.
    """
    config = study.config(TEACHER, 0)
    budget = config.profile
    reference = find_kept(budget, source=study.images) if kept else None
    data = config.load_data(study.images) if reference is None else reference
    return data, get_evaluators(data, budget.backbone, budget.classifier_epochs, device, judge=budget.judge)


def image_scores(logits: Float[Tensor, "n klass"]) -> Float[Tensor, " n"]:
    """The Inception score of each image: exp KL(p(y|x) || p(y)), p(y) the mean of p(y|x) over all n images.

    IS is exp of the mean over images of this divergence, so an image's score is its own factor of it: high
    where the network is sure of a class that is rare among the n images.

    Returns:
        scores in [1, 1 / min p(y)], in float64.
    """
    log_p = torch.log_softmax(logits.double(), dim=1)
    log_marginal = torch.logsumexp(log_p, dim=0) - torch.log(torch.tensor(float(len(logits)), dtype=torch.float64))
    return (log_p.exp() * (log_p - log_marginal)).sum(1).exp()


def best_of(generator: nn.Module, backbone: Backbone, seed: int) -> UInt8[Tensor, "klass 3 height width"]:
    """Generate every class ten times and keep, of each class, the image with the highest Inception score.

    The scores' p(y) is that of all these images, in which the classes have equal shares. Images are those of
    `sample_images` for the seed: the first ones of the run's own evaluation where it is the run's seed. Of
    equal scores the first wins.
    """
    classes = int(generator.num_classes)  # type: ignore[arg-type]
    images, _ = sample_images(generator, TIMES * classes, seed)  # sample i is of class i mod classes
    scores = image_scores(backbone.extract(images).logits).unflatten(0, (TIMES, classes))
    return images.unflatten(0, (TIMES, classes))[scores.argmax(0), torch.arange(classes)]
