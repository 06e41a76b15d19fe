"""summarize() beside counts of keras.applications, published multiply-adds and receptive fields."""

from __future__ import annotations

import keras
import pytest

from garden import architectures
from garden.summary import summarize

LENET_TABLE = """\
layer    kind              output    parameters  multiply-adds  sees  stride
───────  ────────────────  ────────  ──────────  ─────────────  ────  ──────
pixels   InputLayer        32×32×1                                 1       1
c1       Conv2D            28×28×6          156        117,600     5       1
c1_tanh  Activation        28×28×6                                 5       1
s2       AveragePooling2D  14×14×6                                 6       2
c3       Conv2D            10×10×16       2,416        240,000    14       2
c3_tanh  Activation        10×10×16                               14       2
s4       AveragePooling2D  5×5×16                                 16       4
c5       Conv2D            1×1×120       48,120         48,000    32       4
c5_tanh  Activation        1×1×120                                32       4
flatten  Flatten           120                                   all
f6       Dense             84            10,164         10,080   all
f6_tanh  Activation        84                                    all
dropout  Dropout           84                                    all
logits   Dense             10               850            840   all

61,706 parameters, 61,706 of them trainable; 416,520 multiply-adds"""


def test_the_table_of_lenet():
    assert str(summarize(architectures.build("lenet5"))) == LENET_TABLE


GIANTS = [
    pytest.param("VGG16", 212, 32, 15_470_264_320, id="VGG16", marks=pytest.mark.slow),
    pytest.param("MobileNet", 315, 32, 568_740_352, id="MobileNet"),
    pytest.param("MobileNetV2", 491, 32, 300_774_272, id="MobileNetV2"),
    pytest.param("ResNet50", 483, 32, None, id="ResNet50"),
    pytest.param("InceptionV3", 1311, 32, None, id="InceptionV3"),
]


@pytest.mark.parametrize(("name", "receptive_field", "stride", "macs"), GIANTS)
def test_knows_the_published_figures_of(name, receptive_field, stride, macs):
    model = getattr(keras.applications, name)(weights=None)
    summary = summarize(model)
    assert summary.parameters == model.count_params()
    assert summary.trainable_parameters == sum(weight.numpy().size for weight in model.trainable_weights)
    assert summary.receptive_field == (receptive_field, receptive_field)
    assert summary.stride == (stride, stride)
    assert macs is None or summary.macs == macs


@pytest.mark.slow
def test_vgg16_convolutions_alone_cost_15_35_g():
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    assert summarize(model).macs == 15_346_630_656


def one_layer(layer, shape):
    image = keras.Input(shape)
    return summarize(keras.Model(image, layer(image))).rows[1]


@pytest.mark.parametrize(
    ("layer", "shape", "macs", "sees", "stride"),
    [
        (keras.layers.Conv2D(8, (3, 5)), (9, 9, 4), 7 * 5 * 3 * 5 * 4 * 8, (3, 5), (1, 1)),
        (keras.layers.Conv2D(8, 3, groups=2), (9, 9, 4), 7 * 7 * 3 * 3 * 2 * 8, (3, 3), (1, 1)),
        (keras.layers.Conv2D(8, 3, dilation_rate=2), (9, 9, 4), 5 * 5 * 3 * 3 * 4 * 8, (5, 5), (1, 1)),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2), (9, 9, 4), 4 * 4 * 9 * 8, (3, 3), (2, 2)),
        (keras.layers.SeparableConv2D(6, 3), (9, 9, 4), 7 * 7 * (9 * 4 + 4 * 6), (3, 3), (1, 1)),
        (keras.layers.Conv2DTranspose(5, 4, strides=2), (9, 9, 4), 9 * 9 * 16 * 4 * 5, (2, 2), (0.5, 0.5)),
        (keras.layers.Conv1D(5, 3, padding="causal"), (9, 4), 9 * 3 * 4 * 5, (3,), (1,)),
        (keras.layers.Conv3D(5, 2), (4, 4, 4, 3), 27 * 8 * 3 * 5, (2, 2, 2), (1, 1, 1)),
        (keras.layers.MaxPooling2D(3, strides=2), (9, 9, 4), 0, (3, 3), (2, 2)),
        (keras.layers.UpSampling2D((2, 3)), (9, 9, 4), 0, (1, 1), (1 / 2, pytest.approx(1 / 3))),
        (keras.layers.ZeroPadding2D(2), (9, 9, 4), 0, (1, 1), (1, 1)),
        (keras.layers.Dense(5), (9, 9, 4), 9 * 9 * 4 * 5, (1, 1), (1, 1)),
        (keras.layers.GlobalAveragePooling2D(keepdims=True), (9, 9, 4), 0, None, None),
        (keras.layers.GlobalAveragePooling2D(), (9, 9, 4), 0, None, None),
        (keras.layers.Conv2D(8, 3), (None, 9, 4), None, (3, 3), (1, 1)),
    ],
)
def test_one_layer(layer, shape, macs, sees, stride):
    row = one_layer(layer, shape)
    assert (row.macs, row.receptive_field, row.stride) == (macs, sees, stride)
    assert row.parameters == layer.count_params()


def test_a_branch_that_saw_everything_makes_the_sum_see_everything():
    image = keras.Input((8, 8, 3))
    everything = keras.layers.GlobalAveragePooling2D(keepdims=True)(image)
    scaled = keras.layers.Multiply(name="scaled")([image, everything])
    assert summarize(keras.Model(image, scaled)).row("scaled").receptive_field is None


def test_a_shared_layer_has_its_parameters_once_and_its_cost_twice():
    image = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", use_bias=False)
    summary = summarize(keras.Model(image, shared(shared(image))))
    assert summary.parameters == 81
    assert summary.macs == 2 * 64 * 81
    assert [row.receptive_field for row in summary.rows] == [(1, 1), (3, 3), (5, 5)]


def test_frozen_weights_are_not_trainable():
    model = architectures.build("lenet5")
    model.get_layer("c1").trainable = False
    assert summarize(model).trainable_parameters == 61_706 - 156


def test_models_inside_models_and_other_models_are_refused():
    image = keras.Input((32, 32, 1))
    with pytest.raises(ValueError, match="must hold no model inside. Received: the inner model 'lenet5'"):
        summarize(keras.Model(image, architectures.build("lenet5")(image)))
    with pytest.raises(ValueError, match="`model` must be a functional keras.Model. Received: model=3"):
        summarize(3)
    with pytest.raises(KeyError, match="nowhere"):
        summarize(architectures.build("lenet5")).row("nowhere")
