"""PP-Res blocks in a trained network: masks and transitions inserted, the images unchanged (section 3.2)."""

from dataclasses import replace

import torch

from ppcd.base import PpcdError, named_generator
from ppcd.networks.generators import Generator


def insert_pp_res(generator: Generator) -> Generator:
    """A copy with a mask after each convolution of its residual blocks and a 1x1 transition before their sums.

    The masks are open (m = 0.999994) and the transitions the identity, also under spectral norm, since the largest
    singular value of the identity is 1: the images agree to 1e-4.

    Raises:
        PpcdError: it has PP-Res blocks already, or no residual blocks.
    """
    config = generator.config
    if config.transition or not generator.residual_blocks():
        raise PpcdError("PP-Res blocks take the place of plain residual blocks; this generator has others")
    result = Generator(replace(config, masked=True, transition=True)).to(next(generator.parameters()))
    missing, unexpected = result.load_state_dict(generator.state_dict(), strict=False)
    new = (".mask1.", ".mask2.", ".transition.")
    if unexpected or not all(any(part in name for part in new) for name in missing):
        raise ValueError(f"the blocks do not correspond: {unexpected} {missing}")
    with torch.no_grad():
        for index, block in enumerate(result.residual_blocks()):
            transition = block.transition
            if transition is None:
                raise ValueError("a PP-Res block has a transition")
            torch.nn.init.dirac_(transition.weight)
            if transition.bias is not None:
                transition.bias.zero_()
            u = transition.get_buffer("u") if config.spectral_norm else None
            if u is not None:
                u.copy_(torch.randn(u.shape, generator=named_generator(0, f"transition {index}")))
                u.div_(u.norm())
    return result
