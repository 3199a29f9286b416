"""Figure 2 of the paper, the framework and the PP-Res block, drawn from what the code does when it runs.

Both graphs are traced (see `trace`) through one real training step and one real forward pass of a masked block; what
is removed after training is what `slim` removes from the module tree.
"""

from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from paper.artifacts.diagram import draw
from paper.artifacts.figures import save
from paper.artifacts.trace import Graph, Tracer
from ppcd.data.sets import ImageSet
from ppcd.method import losses
from ppcd.method.slim import slim
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.resampling import straightforward
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import TEACHER, get_recipe
from ppcd.training.trainer import Trainer

RECIPE = "ppcd"
BATCH = 2


class _Traced(Trainer):
    """A trainer whose batch is known, and whose teacher is quick to prepare."""

    batch: tuple[Tensor, Tensor]

    def _make_teacher(self, generator: Generator | None) -> Teacher | None:
        return None if generator is None else Teacher(generator, self.recipe.normalisation, self.seed, 1)

    def draw(self) -> tuple[Tensor, Tensor]:
        return self.batch


def masked_generator(profile: str) -> Generator:
    """The profile's student as it is before training, with masks."""
    budget, recipe = get_profile(profile), get_recipe(RECIPE)
    return build_generator(
        recipe.generator, budget.resolution, budget.num_classes, budget.student_width, True, dim_z=budget.dim_z
    )


def removed_modules(generator: Generator) -> set[str]:
    """Names of the modules that `slim` removes from a generator: those of the masked one that the slim one lacks."""
    masked = build_like(generator)
    for mask in masked.masks().values():
        mask.freeze(torch.ones(mask.channels, dtype=torch.bool))
    after = {name for name, _ in slim(masked).named_modules()}
    return {name for name, _ in masked.named_modules() if name not in after}


def build_like(generator: Generator) -> Generator:
    """Another generator of the same configuration and weights."""
    other = Generator(generator.config)
    other.load_state_dict(generator.state_dict())
    return other


def block_graph(generator: Generator, index: int = 0) -> Graph:
    """One residual block in straightforward form: sources x and y, then its operations in their order."""
    block = generator.residual_blocks()[index]
    tracer = Tracer({"block": block}, {f"block.{name}" for name, _ in block.named_children()})
    height = 4 * 2**index
    x = torch.zeros(BATCH, block.conv_sc.in_channels, height, height)
    y = torch.arange(BATCH) % generator.num_classes
    _, conditions = generator.conditions(torch.zeros(BATCH, generator.dim_z), y)
    tracer.source("x", x)
    tracer.source("y", conditions[index])
    with torch.no_grad(), straightforward(block), tracer:
        block.eval()(x, conditions[index])
    return tracer.graph()


def removed_nodes(generator: Generator, index: int = 0) -> set[str]:
    """Which nodes of `block_graph` are removed after training."""
    prefix = f"blocks.{index}."
    return {"block." + name.removeprefix(prefix) for name in removed_modules(generator) if name.startswith(prefix)}


def framework_graph(profile: str) -> Graph:
    """One training step of PPCD-GAN (the D step, the G step, the masks' step), down to its losses.

    Sources z, y, "real images" and "real y"; the networks' parts are student.*, teacher.*, discriminator; a
    function of `ppcd.method.losses` is a node, and every call of the teacher's normalisation, `normalise#<call>`.
    """
    budget = replace(get_profile(profile), batch_size=BATCH, accumulations=1)
    images = torch.zeros(budget.num_classes, 3, budget.resolution, budget.resolution, dtype=torch.uint8)
    labels = torch.arange(budget.num_classes)
    data = ImageSet(images, labels, tuple(map(str, labels.tolist())), "none", "", "")
    teacher = build_generator(
        get_recipe(TEACHER).generator, budget.resolution, budget.num_classes, budget.teacher_width,
        dim_z=budget.teacher_dim_z,
    )  # fmt: skip
    trainer = _Traced(budget, get_recipe(RECIPE), 0, data, teacher, "cpu")
    trainer.batch = torch.zeros(BATCH, budget.dim_z), labels[:BATCH].clone()
    real = next(trainer.sampler)
    trainer.sampler = iter([real])  # type: ignore[assignment]

    networks: dict[str, nn.Module] = {"student": trainer.generator, "teacher": teacher}
    whole = {f"{root}.{part}" for root, network in networks.items() for part in _parts(network)} | {"discriminator"}
    assert trainer.discriminator is not None and trainer.rule is not None
    tracer = Tracer(networks | {"discriminator": trainer.discriminator}, whole, _our_function)
    for name, tensor in zip(("z", "y"), trainer.batch, strict=True):
        tracer.source(name, tensor)
    for name, tensor in zip(("real images", "real y"), real, strict=True):
        tracer.source(name, tensor)
    with tracer:
        trainer.generator_loss(*trainer.batch)
        trainer.discriminator_step()
        for name, mask in trainer.generator.masks().items():
            tracer.made(mask.weight, {f"student.{name.rsplit('.', 1)[0]}"})
        trainer.rule.backward()
    ends = {node.name for node in tracer.graph().nodes if node.kind == "group"}
    return tracer.graph().towards(ends)


def _parts(network: nn.Module) -> list[str]:
    """Names of a network's direct parts, and of those of its lists."""
    parts = []
    for name, child in network.named_children():
        inside = isinstance(child, nn.ModuleList)
        parts += [f"{name}.{index}" for index in range(len(child))] if inside else [name]  # type: ignore[arg-type]
    return parts


def _our_function(frame: FrameType) -> str | None:
    """The name of a loss, or "normalise#" for the teacher's normalisation, where the frame is of one."""
    name = frame.f_code.co_name
    if frame.f_globals.get("__name__") == losses.__name__ and name in vars(losses):
        return name
    return "normalise#" if frame.f_code.co_qualname == "Teacher._normalise" else None


def fig2(profile: str) -> Figure:
    """Figure 2: the framework (left) and the PP-Res block (right); what is removed after training is red.

    Raises:
        PpcdError: unknown profile.
    """
    budget, student, teacher = get_profile(profile), get_recipe(RECIPE), get_recipe(TEACHER)
    generator = masked_generator(profile)
    headings = {
        "student": f"student: {get_recipe(student.generator).title}, width {budget.student_width}, PP-Res blocks",
        "teacher": f"{teacher.title}, frozen, width {budget.teacher_width}",
    }
    return draw(budget, framework_graph(profile), block_graph(generator), removed_nodes(generator), headings)


def write_fig2(profile: str) -> list[Path]:
    """Write `figures/<profile>/fig2.{png,pdf}`."""
    return save(fig2(profile), profile, "fig2")
