"""ZFNet: AlexNet with a finer first layer, which pictures of its features had asked for.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2013,
https://arxiv.org/abs/1311.2901; "zfnet512" is the network of that name among Caffe2's models.

The paper normalizes after each pool; here, as in Caffe2 and pytorchcv, AlexNet's normalization stands between ReLU
and pool. Its constants are by default those of AlexNet's paper, which are Caffe2's, too; for weights of pytorchcv
build with `local_response="pytorch"`.
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

# The paper's figure 3; the same with 512, 1024, 512 filters (table 2's larger network); and Caffe2's, which pads
# nothing and pools 2×2 at the end.
VARIANTS = {
    "zfnet": FiveConvolutions(
        conv1=FirstConvolution(96, 7, 2, 1),
        conv2=FirstConvolution(256, 5, 2, 0),
        filters=(384, 384, 256),
        towers=1,
        normalizes=True,
        pool5_size=3,
        units=(4096, 4096),
        image_spec=PYTORCH_PIXELS,
        minimum_size=47,
        num_parameters=62_357_608,
        macs=1_168_032_896,
        top1_error=38.4,
    ),
    "zfnet_b": FiveConvolutions(
        conv1=FirstConvolution(96, 7, 2, 1),
        conv2=FirstConvolution(256, 5, 2, 0),
        filters=(512, 1024, 512),
        towers=1,
        normalizes=True,
        pool5_size=3,
        units=(4096, 4096),
        image_spec=PYTORCH_PIXELS,
        minimum_size=47,
        num_parameters=107_627_624,
        macs=2_476_704_896,
        top1_error=37.5,
    ),
    "zfnet512": FiveConvolutions(
        conv1=FirstConvolution(96, 7, 2, 0),
        conv2=FirstConvolution(256, 5, 2, 0),
        filters=(512, 512, 512),
        towers=1,
        normalizes=True,
        pool5_size=2,
        units=(4096, 1024),
        image_spec=dataclasses.replace(CAFFE_PIXELS, height=224, width=224),
        minimum_size=33,
        num_parameters=87_250_536,
        macs=1_481_727_008,
        top1_error=None,
    ),
}


def _foreign_names(variant: FiveConvolutions) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of pytorchcv, which has no zfnet512."""
    return pytorchcv_names() if variant.pool5_size == 3 else {}


def _published_error(variant: FiveConvolutions) -> PublishedError | None:
    if variant.top1_error is None:
        return None
    return PublishedError(variant.top1_error, "table 2, 1 convnet", "top-1, ImageNet validation, ten crops")


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1311.2901",
    year=2013,
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
def zfnet(
    variant: FiveConvolutions,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    local_response: str,
) -> keras.KerasTensor:
    """Five convolutions, three pools, three dense layers."""
    return five_convolutions(
        variant, pixels, num_classes=num_classes, dropout_rate=dropout_rate, local_response=local_response
    )
