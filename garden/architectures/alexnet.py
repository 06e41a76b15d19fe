"""AlexNet: the network that won ImageNet's challenge of 2012.

Sources: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks; for
"alexnet_one_weird_trick" Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014,
https://arxiv.org/abs/1404.5997

The paper says 224×224 and a first map of 55×55, which an 11×11 window in steps of 4 finds in 227×227; `alexnet` takes
227, as Caffe does. The order is the paper's: ReLU, normalization, pool. The normalization's constants are the paper's,
too; for weights of Caffe or PyTorch build with `local_response="caffe"` or `"pytorch"`.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.dense_head import FEATURES_LAYER, HEAD_LAYERS
from garden.architectures.five_convolutions import (
    CAFFE_PIXELS,
    PYTORCH_PIXELS,
    FirstConvolution,
    FiveConvolutions,
    endpoints,
    five_convolutions,
    options,
    pytorchcv_names,
)
from garden.architectures.registry import PublishedError, architecture

# Two towers of 48, 128, 192, 192 and 128 filters on two GPUs, which exchange their maps once, before conv3; the same
# without the wall between them; and the narrower single tower of 2014, without normalization as in torchvision.
VARIANTS = {
    "alexnet": FiveConvolutions(
        conv1=FirstConvolution(96, 11, 4, 0),
        conv2=FirstConvolution(256, 5, 1, 2),
        filters=(384, 384, 256),
        towers=2,
        normalizes=True,
        pool5_size=3,
        units=(4096, 4096),
        image_spec=CAFFE_PIXELS,
        minimum_size=39,
        num_parameters=60_965_224,
        macs=724_406_816,
        top1_error=40.7,
    ),
    "alexnet_single_tower": FiveConvolutions(
        conv1=FirstConvolution(96, 11, 4, 0),
        conv2=FirstConvolution(256, 5, 1, 2),
        filters=(384, 384, 256),
        towers=1,
        normalizes=True,
        pool5_size=3,
        units=(4096, 4096),
        image_spec=dataclasses.replace(PYTORCH_PIXELS, height=227, width=227),
        minimum_size=39,
        num_parameters=62_378_344,
        macs=1_135_256_096,
        top1_error=None,
    ),
    "alexnet_one_weird_trick": FiveConvolutions(
        conv1=FirstConvolution(64, 11, 4, 2),
        conv2=FirstConvolution(192, 5, 1, 2),
        filters=(384, 256, 256),
        towers=1,
        normalizes=False,
        pool5_size=3,
        units=(4096, 4096),
        image_spec=PYTORCH_PIXELS,
        minimum_size=35,
        num_parameters=61_100_840,
        macs=714_188_480,
        top1_error=None,
    ),
}


def _foreign_names(variant: FiveConvolutions) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of Caffe (two towers), torchvision (one weird trick) and pytorchcv."""
    if variant.towers == 2:
        return {"logits": ("fc8",)}
    names = pytorchcv_names()
    if not variant.normalizes:
        places = (0, 3, 6, 8, 10)
        theirs = [f"features.{place}" for place in places] + [f"classifier.{place}" for place in (1, 4, 6)]
        names = {ours: (*others, name) for (ours, others), name in zip(names.items(), theirs, strict=True)}
    return names


def _published_error(variant: FiveConvolutions) -> PublishedError | None:
    if variant.top1_error is None:
        return None
    return PublishedError(variant.top1_error, "table 2, 1 CNN", "top-1, ImageNet validation, ten crops")


@architecture(
    VARIANTS,
    source="https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
    year=lambda variant: 2012 if variant.normalizes else 2014,
    published_error=_published_error,
    image_spec=lambda variant: variant.image_spec,
    endpoints=endpoints,
    features_layer=FEATURES_LAYER,
    head_layers=HEAD_LAYERS,
    minimum_size=lambda variant: variant.minimum_size,
    options=options,
    dropout_rate=0.5,
    foreign_names=_foreign_names,
)
def alexnet(
    variant: FiveConvolutions,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    local_response: str | None = None,
) -> keras.KerasTensor:
    """Five convolutions, three pools, three dense layers."""
    return five_convolutions(
        variant, pixels, num_classes=num_classes, dropout_rate=dropout_rate, local_response=local_response
    )
