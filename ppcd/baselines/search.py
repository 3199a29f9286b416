"""The search for a sub-network that meets a budget of MACs with the best Fréchet distance.

Evolution as the authors' `evolution_search.py`: the best of a generation are the parents of the next, which are
mutated or crossed; whatever is beyond the budget is drawn again.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ppcd.base import PpcdError, named_generator
from ppcd.baselines.supernet import Widths, count_macs, draw_widths, extract, search_space
from ppcd.data.sets import ImageSet
from ppcd.method.ema import recompute_batch_statistics
from ppcd.metrics.complexity import complexity
from ppcd.metrics.sampling import generate
from ppcd.networks.generators import Generator, GeneratorConfig
from ppcd.training.methods import DistillNas
from ppcd.training.profiles import Profile
from ppcd.training.pruning import pruned_widths

ATTEMPTS = 200  # draws before a sub-network beyond the budget is narrowed, or a known one accepted


@dataclass(frozen=True)
class Candidate:
    """A sub-network that was scored."""

    generation: int
    widths: Widths
    macs: int
    distance: float


def macs_budget(config: GeneratorConfig, alpha: float) -> int:
    """MACs of the slim network that PPCD-GAN of the same width has at alpha."""
    hidden = pruned_widths(config.resolution, config.width, alpha)
    slim = replace(config, masked=False, transition=True, hidden=hidden, spectral_norm=False)
    return complexity(Generator(slim)).macs


def check_budget(config: GeneratorConfig, settings: DistillNas, budget: int) -> None:
    """Refuse a budget that no sub-network can meet."""
    smallest = count_macs(config, tuple(options[0] for options in search_space(config, settings.fractions)))
    if smallest > budget:
        raise PpcdError(
            f"no sub-network meets the budget of {budget} MACs: the smallest has {smallest}; "
            "take a smaller alpha or smaller fractions"
        )


def search(
    config: GeneratorConfig,
    settings: DistillNas,
    budget: int,
    score: Callable[[Widths], float],
    generator: torch.Generator,
) -> list[Candidate]:
    """All sub-networks that were scored, in that order. A space no larger than their number is searched whole.

    Args:
        budget: in MACs, which some sub-network meets (`check_budget`).
        score: the Fréchet distance of a sub-network; called once for each.
        generator: of all random choices.
    """
    space = search_space(config, settings.fractions)
    found: dict[Widths, Candidate] = {}

    def evaluate(generation: int, children: Sequence[Widths]) -> None:
        for widths in children:
            if widths not in found:
                found[widths] = Candidate(generation, widths, count_macs(config, widths), score(widths))

    if math.prod(len(options) for options in space) <= settings.population * settings.generations:
        evaluate(0, [each for each in itertools.product(*space) if count_macs(config, each) <= budget])
        return list(found.values())

    breeder = _Breeder(config, space, budget, settings.mutation, generator, found)
    evaluate(0, breeder.several(settings.population, breeder.random))
    mutated = round(settings.mutations * settings.population)
    parents = max(2, round(settings.parents * settings.population))
    for generation in range(1, settings.generations):
        breeder.parents = [each.widths for each in ranking(list(found.values()))[:parents]]
        children = breeder.several(mutated, breeder.mutated)
        evaluate(generation, breeder.several(settings.population - mutated, breeder.crossed, children))
    return list(found.values())


def ranking(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Best first: by Fréchet distance, then by MACs, then by widths."""
    return sorted(candidates, key=lambda each: (each.distance, each.macs, each.widths))


@dataclass
class _Breeder:
    """Draws sub-networks within the budget, new ones as long as there are some to be had."""

    config: GeneratorConfig
    space: Sequence[Widths]
    budget: int
    mutation: float
    generator: torch.Generator
    known: dict[Widths, Candidate]
    parents: Sequence[Widths] = ()

    def several(self, count: int, draw: Callable[[], Widths], others: Sequence[Widths] = ()) -> list[Widths]:
        """So many children, after these others; where no new one comes of `draw`, a random one."""
        children = list(others)
        for _ in range(count):
            for attempt in range(ATTEMPTS):
                child = self._within(draw if attempt < ATTEMPTS // 2 else self.random)
                if child not in self.known and child not in children:
                    break
            children.append(child)
        return children

    def random(self) -> Widths:
        return draw_widths(self.space, self.generator)

    def mutated(self) -> Widths:
        """A parent, each layer redrawn with the probability of a mutation."""
        changed = torch.rand(len(self.space), generator=self.generator) < self.mutation
        fresh = self.random()
        pairs = zip(changed.tolist(), fresh, self._parent(), strict=True)
        return tuple(new if change else old for change, new, old in pairs)

    def crossed(self) -> Widths:
        """Each layer from one of two parents."""
        first = torch.rand(len(self.space), generator=self.generator) < 0.5
        pairs = zip(first.tolist(), self._parent(), self._parent(), strict=True)
        return tuple(one if take else other for take, one, other in pairs)

    def _parent(self) -> Widths:
        return self.parents[int(torch.randint(len(self.parents), (), generator=self.generator))]

    def _within(self, draw: Callable[[], Widths]) -> Widths:
        """Draw until the budget is met; where that is hopeless, narrow random layers of the last draw."""
        for _ in range(ATTEMPTS):
            widths = draw()
            if count_macs(self.config, widths) <= self.budget:
                return widths
        while count_macs(self.config, widths) > self.budget:
            layer = int(torch.randint(len(widths), (), generator=self.generator))
            position = max(0, self.space[layer].index(widths[layer]) - 1)
            widths = (*widths[:layer], self.space[layer][position], *widths[layer + 1 :])
        return widths


def frechet_score(
    whole: Generator, data: ImageSet, profile: Profile, settings: DistillNas, seed: int
) -> Callable[[Widths], float]:
    """The Fréchet distance of sub-networks of a generator in the profile's backbone, on a small sample.

    The same backbone measures the run, which favours this method: at `mnist` the other one would take longer than the
    training. Every candidate sees the same noise, which is not that of the evaluation.
    """
    from ppcd.metrics.features import get_backbone  # which need the extra `metrics`; other trainings do without
    from ppcd.metrics.fidelity import frechet_distance, reference_statistics
    from ppcd.metrics.moments import statistics

    device = next(whole.parameters()).device
    backbone = get_backbone(profile.backbone, data, classifier_epochs=profile.classifier_epochs, device=device)
    real = reference_statistics(data, backbone)
    count = min(settings.samples, profile.evaluation_samples)
    noise = torch.randn(count, whole.dim_z, generator=named_generator(seed, "search samples"))
    labels = torch.arange(count) % whole.num_classes

    @torch.no_grad()
    def score(widths: Widths) -> float:
        generator = extract(whole, widths)
        recompute_batch_statistics(generator, named_generator(seed, "search calibration"), settings.calibration)
        images = generate(generator, noise, labels, device=device)
        return frechet_distance(statistics(backbone.extract(images).features), real)

    return score


def rows(candidates: Sequence[Candidate], budget: int) -> list[dict[str, Any]]:
    """The search as plain values: one row for each sub-network, in the order of scoring."""
    chosen = ranking(candidates)[0]
    return [
        {
            "generation": each.generation,
            "widths": " ".join(map(str, each.widths)),
            "macs": each.macs,
            "budget": budget,
            "fd": each.distance,
            "chosen": each == chosen,
        }
        for each in candidates
    ]
