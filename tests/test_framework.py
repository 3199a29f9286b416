"""Figure 2: what is drawn is what the modules do, and another block gives another drawing."""

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from paper.artifacts.diagram import RED, label
from paper.artifacts.framework import (
    block_graph,
    fig2,
    framework_graph,
    masked_generator,
    removed_modules,
    removed_nodes,
    write_fig2,
)
from paper.artifacts.trace import Graph, Tracer
from ppcd.method.masks import ChannelMask
from ppcd.networks.blocks import GeneratorBlock

# Section 3.2 and Figure 2 (right): masks on top of each convolutional layer and before the ReLU, transition on top.
PP_RES = ["x", "CBN", "ReLU", "up ×2", "conv 3×3", "CBN", "mask", "ReLU", "conv 3×3", "mask", "conv 1×1", "+"]


def main_path(graph: Graph) -> list[str]:
    path = graph.longest_path("x", graph.nodes[-1].name)
    return [label(graph[name]).split(",")[0] for name in path]


def boxes(figure: Figure) -> dict[str, FancyBboxPatch]:
    return {
        str(patch.get_gid()): patch
        for axes in figure.axes
        for patch in axes.patches
        if isinstance(patch, FancyBboxPatch)
    }


def red_boxes(figure: Figure) -> set[str]:
    return {name for name, box in boxes(figure).items() if to_hex(box.get_edgecolor()) == RED}


def test_the_traced_order_is_the_papers() -> None:
    graph = block_graph(masked_generator("smoke"))
    assert main_path(graph) == PP_RES
    assert graph.after("x") == ["block.bn1", "block.interpolate#2"]
    assert graph.before("block.conv_sc") == ["block.interpolate#2"]
    assert graph.before("block.add#1") == ["block.transition", "block.conv_sc"]
    assert graph.after("y") == ["block.bn1", "block.bn2"]
    assert graph["block.transition"].shape == graph["block.conv_sc"].shape == (8, 8, 8)
    assert label(graph["block.conv1"]) == "conv 3×3, 8→8"


def test_a_block_without_its_transition_is_drawn_without(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = masked_generator("smoke")
    generator.residual_blocks()[0].transition = None
    graph = block_graph(generator)
    assert main_path(graph) == [name for name in PP_RES if name != "conv 1×1"]
    assert graph.before("block.add#1") == ["block.mask2", "block.conv_sc"]
    monkeypatch.setattr("paper.artifacts.framework.masked_generator", lambda profile: generator)
    monkeypatch.setattr("paper.artifacts.framework.removed_nodes", lambda generator: set())
    changed = fig2("smoke")
    assert "block.transition" not in boxes(changed) and not red_boxes(changed)


def test_a_mask_that_moved_is_drawn_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: GeneratorBlock, x: Tensor, condition: Tensor) -> Tensor:
        h = self.upsample_conv(self.conv1, torch.relu(self.bn1(x, condition)))
        assert self.mask1 is not None
        h = self.conv2(torch.relu(self.bn2(self.mask1(h), condition)))  # before the CBN
        return h + self.upsample_skip(self.conv_sc, x)

    monkeypatch.setattr(GeneratorBlock, "forward", forward)
    graph = block_graph(masked_generator("smoke"))
    assert graph.before("block.mask1") == ["block.conv1"] and graph.after("block.mask1") == ["block.bn2"]
    assert "mask" in main_path(graph) and main_path(graph) != PP_RES


def test_red_is_what_slim_removes_and_that_is_the_masks() -> None:
    generator = masked_generator("smoke")
    assert removed_modules(generator) == set(generator.masks())
    assert removed_nodes(generator) == {"block.mask1", "block.mask2"}
    assert not any(mask.frozen for mask in generator.masks().values())  # asking froze nothing
    assert red_boxes(fig2("smoke")) == removed_nodes(generator)


def test_the_framework_is_that_of_a_training_step() -> None:
    graph = framework_graph("smoke")
    blocks = [f"student.blocks.{index}" for index in range(3)]
    distillation = graph.before("class_aware_distillation")
    assert distillation == [*blocks[1:], "normalise#1", "normalise#2"]  # from the second block on
    assert "teacher.blocks.1" in graph.before("normalise#1") and "teacher.blocks.2" in graph.before("normalise#2")
    assert "teacher.blocks.2.bn1" in graph["normalise#1"].inside and not graph["normalise#2"].inside
    assert graph.before("progressive_pruning") == blocks
    assert graph.before("total") == ["generator_hinge", "class_aware_distillation"]
    assert graph.before("discriminator_hinge") == graph.before("generator_hinge") == ["discriminator"]
    assert set(graph.before("discriminator")) == {"y", "real y", "real images", "student.tanh#1"}
    assert "teacher.output_conv" not in {node.name for node in graph.nodes}  # its images serve nothing
    shown = {str(patch.get_gid()) for patch in fig2("smoke").axes[0].patches}
    assert {node.name for node in graph.nodes} - shown == {"z", "y", "real y", "teacher.shared"}  # written into boxes


def test_the_figure_names_its_profile_and_no_text_leaves_its_box() -> None:
    figure = fig2("smoke")
    assert any("profile smoke" in text.get_text() for text in figure.texts)
    figure.canvas.draw()
    for axes in figure.axes:
        texts = {text.get_position(): text for text in axes.texts}
        for box in axes.patches:
            if not isinstance(box, FancyBboxPatch):
                continue
            x, y = box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2
            text = next(text for place, text in texts.items() if place == pytest.approx((x, y)))
            inner, outer = text.get_window_extent(), box.get_window_extent()
            assert outer.x0 <= inner.x0 and inner.x1 <= outer.x1, text.get_text()
            assert outer.y0 <= inner.y0 and inner.y1 <= outer.y1, text.get_text()


def test_the_figure_is_written_the_same_every_time() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    written = write_fig2("smoke")
    assert [path.name for path in written] == ["fig2.png", "fig2.pdf"]
    assert torch.equal(torch.get_rng_state(), state)
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_fig2("smoke")] == first


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused, self.mask = nn.Linear(2, 2), nn.Linear(2, 2), ChannelMask(2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.unused(h)
        return torch.tanh(h[:, :1]) * 2


def test_a_trace_follows_values_in_place_and_leaves_no_hook_behind() -> None:
    network, x = Small(), torch.ones(1, 2)
    tracer = Tracer({"n": network}, {"n.first", "n.unused"})
    tracer.source("x", x)
    with tracer:
        network(x)
    graph = tracer.graph()
    assert [node.name for node in graph.nodes] == ["x", "n.first", "n.unused", "n.tanh#1", "n.mul#1"]
    assert graph.longest_path("x", "n.mul#1") == ["x", "n.first", "n.tanh#1", "n.mul#1"]
    assert graph.longest_path("n.unused", "n.mul#1") == []
    assert "n.unused" not in {node.name for node in graph.towards(["n.mul#1"]).nodes}
    network(x)  # outside: nothing more is recorded
    with pytest.raises(RuntimeError), tracer:
        network(torch.ones(1, 3))
    assert tracer.graph() == graph and not tracer.stack
