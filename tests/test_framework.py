"""Figure 2: the parts of a block stand in the order in which the block calls them, red where `slim` removes them."""

from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch.overrides import TorchFunctionMode

from paper.artifacts.framework import RED, fig2
from ppcd.method.slim import slim
from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.resampling import straightforward
from ppcd.training.profiles import get_profile


def masked_generator() -> Generator:
    return build_generator("sagan", resolution=32, num_classes=2, width=2, masked=True)


def called(block: GeneratorBlock) -> list[str]:
    """Names of the block's modules, and of the functions for ReLU and upsampling, in the order of their calls."""
    names: list[str] = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.__name__ in ("relu", "interpolate"):
                names.append(function.__name__)
            return function(*args, **(kwargs or {}))

    for name, module in block.named_children():
        module.register_forward_hook(lambda *_, name=name: names.append(name))
    x = torch.zeros(2, block.conv_sc.in_channels, 4, 4)
    with torch.no_grad(), straightforward(block), Functions():
        block(x, torch.arange(2))
    return names


def boxes(figure: Figure) -> list[Text]:
    return [text for text in figure.axes[1].texts if text.get_bbox_patch()]


def test_the_drawn_order_is_the_order_of_the_calls() -> None:
    """Down the main path, then down the skip."""
    parts = [box for box in boxes(fig2(get_profile("smoke"))) if box.get_gid() not in ("x", "y", "+")]
    columns = sorted(parts, key=lambda box: box.get_position())
    drawn = [str(box.get_gid()).split("#")[0] for box in columns]
    assert drawn == called(masked_generator().residual_blocks()[0])


def test_red_is_what_slim_removes() -> None:
    generator = masked_generator()
    before = {name for name, _ in generator.residual_blocks()[0].named_children()}
    for mask in generator.masks().values():
        mask.freeze(torch.ones(mask.channels, dtype=torch.bool))
    after = {name for name, _ in slim(generator).residual_blocks()[0].named_children()}
    figure = fig2(get_profile("smoke"))
    red = {box.get_gid() for box in boxes(figure) if box.get_color() == RED}
    assert red == before - after == {"mask1", "mask2"}
    assert any("profile smoke" in text.get_text() for text in figure.texts)
