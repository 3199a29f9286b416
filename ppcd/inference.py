"""The inference form of a generator: the same images from fewer and larger operations, without gradients.

Done once, when it is made (exact algebra; vectors and norms in double precision, see `ppcd.export.folding`):

- The spectral norm is folded into the weights.
- A class-conditional batch norm is one scale and one shift per channel: rows of a table of the classes (SA-GAN,
  SN-GAN), or a linear layer of the block's condition (BigGAN, Tiny-GAN).
- The bias of a convolution in front of a batch norm goes into its shift, the biases of skip and branch are one, the
  output batch norm goes into the last block's weights, attention's gamma into its last convolution.
- A transition becomes one convolution with conv2 where that takes fewer products.

Done in every pass:

- Nearest x2 upsampling, then a 3x3 convolution, is one 2x2 convolution that gives all four pixels which a window of
  the small image decides: 16 products for each of its pixels instead of 36. The second norm is applied while they
  are put in their places.
- The output convolution has three channels, too few for a vector unit: with stride 2 it gives 2x2 pixels at once.
- The skip runs at the small size, and the branch beside it is added within its last convolution.
- Attention takes some of its rows at a time, so that its weights stay in the cache.
- On a CPU a batch passes in parts whose feature maps stay in the cache, and weights lie in oneDNN's own layout.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.export.fixed_layers import FixedConv, FixedLinear
from ppcd.export.folding import (
    Affine,
    bias_before_second_norm,
    branch_kernels,
    conditional,
    filled,
    four_pixels,
    four_windows,
    kernel,
    next_multiple,
    unconditional,
    with_skip,
)
from ppcd.method.slim import slim
from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.generators import BASE, Generator
from ppcd.networks.layers import SelfAttention, effective_weight
from ppcd.networks.separable import SeparableBlock, upsample

PART_BYTES = 8 << 20  # of the largest feature map of the images that pass together on a CPU
ROWS_BYTES = 1 << 20  # of the attention weights that are there together on a CPU


def for_inference(generator: Generator, *, multiple: int = 4, release: bool = False) -> "InferenceGenerator":
    """The inference form of a generator; the images are equal to 1e-10 in float64 and 1e-4 in float32.

    Args:
        generator: any, masked ones only if every mask has frozen; it is not changed, and its training mode does not
            matter: the running statistics count.
        multiple: numbers of channels are filled up to a multiple of it, with zeros. At 1, 4, 8 and 16 the inference
            form was 2.2, 2.2, 2.2 and 2.1 times faster than the slim network as it is (128 px, kept .17, batch 8),
            2.7, 2.8, 2.5 and 2.5 times (32 px, width 8, kept .3, batch 64), 2.8, 2.9, 2.7 and 2.5 times (32 px,
            width 32, kept .3, batch 64); medians in turns, one thread of an AMD EPYC with AVX-512.
        release: take the generator's weights away from it, block by block, so that the two are never in memory
            together; it cannot be used afterwards.

    Returns:
        an InferenceGenerator on the device and in the type of the given one.

    Raises:
        PpcdError: a mask has not frozen, `multiple` is not a positive integer, or a block is of an unknown kind.
    """
    if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
        raise PpcdError(f"multiple must be a positive integer, for example 4; got {multiple!r}")
    undecided = [name for name, mask in generator.masks().items() if not mask.frozen]
    if undecided:
        raise PpcdError(f"{undecided[0]} has not frozen: decide the masks (train on, or mask.freeze), then ppcd.slim")
    with torch.no_grad():
        masked = generator.config.masked
        form = InferenceGenerator(slim(generator) if masked else generator, multiple, release or masked).eval()
        if release:
            _release(generator, True)
        return form


def _release(module: nn.Module, released: bool) -> None:
    """Free the weights of what is not needed any more."""
    if released:
        for parameter in module.parameters():
            parameter.data = parameter.data.new_empty(0)


class InferenceGenerator(nn.Module):
    """G(z, y) in its inference form, made by `for_inference`. It has no parameters: its state is buffers.

    Attributes:
        dim_z, num_classes, resolution: of the noise, the labels and the images.
    """

    output_bias: Tensor
    output_norm: Tensor | None

    def __init__(self, generator: Generator, multiple: int, release: bool = False) -> None:
        super().__init__()
        self.dim_z, self.num_classes, self.resolution = generator.dim_z, generator.num_classes, generator.resolution
        dtype, attention = next(generator.parameters()).dtype, generator.attention
        sources = [_known(block) for block in generator.blocks]
        norm = unconditional(generator.output_norm)
        folded = generator.attention_after != len(sources) - 1  # else attention needs what the norm would change
        norms = [None] * (len(sources) - 1) + [norm if folded else None]
        self.entry = _Entry(generator, sources, multiple)
        self.blocks = nn.ModuleList()
        for source, behind in zip(sources, norms, strict=True):
            kind = _SeparableBlock if isinstance(source, SeparableBlock) else _Block
            self.blocks.append(kind(source, multiple, behind))  # type: ignore[arg-type]
            _release(source, release)
        self.attention_after = generator.attention_after
        self.attention = None if attention is None else _Attention(attention, multiple)
        after = None if folded else torch.stack([filled(each, multiple, 0) for each in norm]).to(dtype)
        self.register_buffer("output_norm", after)
        weight, bias = kernel(generator.output_conv)
        self.output_conv = FixedConv(four_pixels(filled(weight, multiple, 1)), None, dtype, stride=2, padding=1)
        self.register_buffer("output_bias", bias.to(dtype).clone()[:, None, None])
        sizes = [2 * BASE << index for index in range(len(sources))]
        widths = [next_multiple(source.conv_sc.out_channels, multiple) for source in sources]
        largest = max(width * size**2 for width, size in zip(widths, sizes, strict=True))
        self.part = max(1, PART_BYTES // (largest * dtype.itemsize))

    @torch.no_grad()
    def forward(
        self, z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 3 resolution resolution"]:
        """Images [batch, 3, R, R] in [-1, 1].

        Raises:
            PpcdError: z has not dim_z entries a row, or y is not one label for each row.
        """
        if z.dim() != 2 or z.shape[1] != self.dim_z or y.shape != z.shape[:1]:
            raise PpcdError(
                f"this generator takes z [batch, {self.dim_z}] and y [batch]; got {list(z.shape)} and {list(y.shape)}"
            )
        with torch.autocast(z.device.type, enabled=False):
            return self._images(z, y)

    def _images(self, z: Tensor, y: Tensor) -> Tensor:
        """In parts, on a CPU."""
        h, affines = self.entry(z, y)
        images = h.new_empty(len(z), 3, self.resolution, self.resolution)
        part = self.part if h.device.type == "cpu" else max(1, len(z))
        for start in range(0, len(z), part):
            chosen = slice(start, start + part)
            self._draw(h[chosen], [[each[chosen] for each in block] for block in affines], images[chosen])
        return images

    def _draw(self, h: Tensor, affines: list[list[Tensor]], images: Tensor) -> None:
        """From the first feature map [batch, 4, 4, channel] to the images, which are written in their place."""
        for index, (block, affine) in enumerate(zip(self.blocks, affines, strict=True)):
            h = block(h, *affine)
            if self.attention is not None and index == self.attention_after:
                h = self.attention(h)
        if self.output_norm is not None:
            h = torch.addcmul(self.output_norm[1], h, self.output_norm[0]).relu_()
        pixels = F.pixel_shuffle(self.output_conv(h).permute(0, 3, 1, 2), 2)
        torch.tanh(pixels + self.output_bias, out=images)


class _Entry(nn.Module):
    """The first feature map, and the scales and shifts of all class-conditional batch norms.

    Of a generator whose norms have embeddings: rows of one table of the classes. Of one whose norms have linear
    layers: one linear layer for each block, whose input is the shared class embedding (and a chunk of the noise).
    """

    table: Tensor

    def __init__(self, generator: Generator, blocks: list[GeneratorBlock | SeparableBlock], multiple: int) -> None:
        super().__init__()
        dtype, first = next(generator.parameters()).dtype, generator.linear
        self.chunk = generator.chunk
        weight, bias = (
            filled(each.unflatten(0, (-1, BASE**2)), multiple, 0)
            for each in (effective_weight(first), first.bias.detach())
        )
        self.first = FixedLinear(weight.transpose(0, 1).flatten(0, 1), bias.t().flatten(), dtype)  # pixel by pixel

        merged = []  # of each block, as columns: scale and shift of the first norm, scale and shift of the second
        self.sizes: list[list[int]] = []
        for block in blocks:
            norms = (
                conditional(block.bn1, None, multiple),
                conditional(block.bn2, bias_before_second_norm(block), multiple),
            )
            merged.append([torch.cat(parts, -1) for parts in zip(*norms, strict=True)])
            self.sizes.append([norm.constant.numel() // 2 for norm in norms for _ in range(2)])
        if generator.shared is None:
            table = torch.cat([matrix + constant for matrix, constant in merged], 1)
            self.layers = None
        else:
            table = generator.shared.weight.detach().clone()
            self.layers = nn.ModuleList(FixedLinear(matrix.t(), constant, dtype) for matrix, constant in merged)
        self.register_buffer("table", table.to(dtype))

    def forward(self, z: Tensor, y: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        first, *chunks = z.split(self.chunk, 1)
        row = F.embedding(y, self.table)
        if self.layers is None:
            affines = row.split([sum(sizes) for sizes in self.sizes], 1)
        else:
            conditions = [torch.cat([row, chunk], 1) for chunk in chunks] or [row] * len(self.layers)
            affines = tuple(layer(condition) for layer, condition in zip(self.layers, conditions, strict=True))
        each = [list(a[:, None, None].split(sizes, -1)) for a, sizes in zip(affines, self.sizes, strict=True)]
        return self.first(first).unflatten(1, (BASE, BASE, -1)), each


def _known(block: nn.Module) -> GeneratorBlock | SeparableBlock:
    if isinstance(block, GeneratorBlock | SeparableBlock):
        return block
    raise PpcdError(f"a block of the kind {type(block).__name__} has no inference form; generators of ppcd have")


class _UpsamplingConv(nn.Module):
    """relu(scale * conv3x3(up(x)) + shift), up being nearest x2."""

    def __init__(self, weight: Float[Tensor, "out inner 3 3"], dtype: torch.dtype) -> None:
        super().__init__()
        self.channels = len(weight)
        self.conv = FixedConv(four_windows(weight), None, dtype, padding=1, owned=True)

    def forward(self, x: Float[Tensor, "batch height width channel"], scale: Tensor, shift: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        windows = self.conv(x).unflatten(3, (2, 2, self.channels))  # [B, H + 1, W + 1, 2, 2, C]
        h = x.new_empty(batch, 2 * height, 2 * width, self.channels)
        for row in range(2):
            for column in range(2):
                pixels = windows[:, row : row + height, column : column + width, row, column]
                torch.addcmul(shift, pixels, scale, out=h[:, row::2, column::2])
        return h.relu_()


def _convolution(weight: Tensor, bias: Tensor | None, multiple: int, dtype: torch.dtype) -> FixedConv:
    """A 'same' convolution, its channels filled up."""
    bias = None if bias is None else filled(bias, multiple, 0)
    return FixedConv(filled(weight, multiple, 0, 1), bias, dtype, padding=weight.shape[-1] // 2)


class _Block(nn.Module):
    """A residual block. `norm`: that of the output, which the last block takes in, with the ReLU behind it."""

    def __init__(self, block: GeneratorBlock, multiple: int, norm: Affine | None) -> None:
        super().__init__()
        dtype, self.relu = block.conv1.weight.dtype, norm is not None
        skip, branch = with_skip(kernel(block.conv_sc), branch_kernels(block, multiple), norm)
        self.conv1 = _UpsamplingConv(filled(effective_weight(block.conv1), multiple, 0, 1), dtype)
        self.skip = _convolution(skip, None, multiple, dtype)
        *before, last = (_convolution(*each, multiple, dtype) for each in branch)
        self.before, self.last = nn.Sequential(*before), last

    def forward(
        self,
        x: Float[Tensor, "batch height width channel"],
        scale1: Tensor,
        shift1: Tensor,
        scale2: Tensor,
        shift2: Tensor,
    ) -> Tensor:
        h = self.conv1(torch.addcmul(shift1, x, scale1).relu_(), scale2, shift2)
        batch, height, width, _ = h.shape
        skip = self.skip(x)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
        return self.last.add_to(skip.reshape(batch, height, width, -1), self.before(h), self.relu)


class _SeparableBlock(nn.Module):
    """A block of Tiny-GAN; `norm` as in `_Block`."""

    def __init__(self, block: SeparableBlock, multiple: int, norm: Affine | None) -> None:
        super().__init__()
        dtype, self.relu = block.conv_sc.weight.dtype, norm is not None
        skip, branch = with_skip(kernel(block.conv_sc), branch_kernels(block, multiple), norm)
        self.depthwise1, self.depthwise2 = (
            FixedConv(filled(weight, multiple, 0), None, dtype, padding=1, groups=next_multiple(len(weight), multiple))
            for weight in (block.depthwise1.weight.detach(), block.depthwise2.weight.detach())
        )
        self.pointwise1 = _convolution(block.pointwise1.weight.detach(), None, multiple, dtype)
        self.skip = _convolution(skip, None, multiple, dtype)
        self.pointwise2 = _convolution(*branch[0], multiple, dtype)

    def forward(
        self,
        x: Float[Tensor, "batch height width channel"],
        scale1: Tensor,
        shift1: Tensor,
        scale2: Tensor,
        shift2: Tensor,
    ) -> Tensor:
        h = self._upsampled(torch.addcmul(shift1, x, scale1).relu_())
        h = self.pointwise1(self.depthwise1(h))
        h = torch.addcmul(shift2, h, scale2, out=h).relu_()
        return self.pointwise2.add_to(self._upsampled(self.skip(x)), self.depthwise2(h), self.relu)

    @staticmethod
    def _upsampled(x: Tensor) -> Tensor:
        return upsample(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


class _Attention(nn.Module):
    """Self-attention."""

    def __init__(self, attention: SelfAttention, multiple: int) -> None:
        super().__init__()
        dtype = attention.theta.weight.dtype
        convs = (attention.theta, attention.phi, attention.g, attention.o)
        theta, phi, g, o = (effective_weight(conv) for conv in convs)
        self.inner = len(phi)
        self.queries = FixedConv(filled(theta, multiple, 1), None, dtype)
        self.keys_and_values = FixedConv(filled(torch.cat([phi, g]), multiple, 1), None, dtype)
        self.output = FixedConv(filled(o * attention.gamma.detach(), multiple, 0), None, dtype)

    def forward(self, x: Float[Tensor, "batch height width channel"]) -> Tensor:
        """x + gamma * attention(x); what is given as x is lost."""
        batch, height, width, _ = x.shape
        queries = self.queries(x).flatten(1, 2)  # [B, HW, C/8]
        pooled = F.max_pool2d(self.keys_and_values(x).permute(0, 3, 1, 2), 2).flatten(2)  # [B, C/8 + C/2, HW/4]
        keys, values = pooled[:, : self.inner], pooled[:, self.inner :].transpose(1, 2)
        found = x.new_empty(batch, height * width, values.shape[2])
        rows = height * width
        if x.device.type == "cpu":
            rows = max(1, ROWS_BYTES // (batch * keys.shape[2] * x.element_size()))
        for start in range(0, height * width, rows):
            some = slice(start, start + rows)
            weights = queries[:, some] @ keys
            found[:, some] = torch.softmax(weights, -1, out=weights) @ values
        return self.output.add_to(x, found.unflatten(1, (height, width)))
