import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import InspectionSession, receptive_field, top_patches

SIDE = 20
PLANTED = {1: (4, 9), 3: (12, 0), 6: (0, 13)}  # Top left corner of the cross, by picture.
CROSS = np.zeros((5, 5))
CROSS[2], CROSS[:, 2] = 1, 1


def build(network_of, activation="relu"):
    network = network_of(
        (SIDE, SIDE, 3),
        keras.layers.Conv2D(3, 5, padding="same", activation=activation, name="conv"),
        keras.layers.GlobalMaxPooling2D(name="pool"),
        keras.layers.Dense(2, name="scores"),
    )
    kernel = np.zeros((5, 5, 3, 3), np.float32)
    kernel[..., 0] = np.where(CROSS, 1 / 9, -1 / 16)[..., None] / 3  # Finds crosses.
    kernel[..., 1] = -1.0  # Finds darkness: silent.
    kernel[2, 2, 0, 2] = 1.0  # Copies red.
    network.operation_of("conv").set_weights([kernel, np.array([0, -1, 0], np.float32)])
    return network


@pytest.fixture(scope="module")
def network(network_of):
    return build(network_of)


@pytest.fixture(scope="module")
def gallery(make_gallery):
    images = np.random.default_rng(0).integers(60, 110, (8, SIDE, SIDE, 3))
    for place, (picture, (top, left)) in enumerate(PLANTED.items()):
        images[picture, top : top + 5, left : left + 5] = (CROSS * (255 - 20 * place))[..., None]
    return make_gallery(images)


def test_the_patches_of_a_unit_contain_what_it_looks_for(network, gallery):
    top = top_patches.find_patches(InspectionSession(network, gallery=gallery), "conv", channels=[0], count=3)
    assert top.pictures.tolist() == [[1, 3, 6]], "the brightest cross first"
    assert [box[:2] for box in top.boxes[0].tolist()] == [list(corner) for corner in PLANTED.values()]
    for place, patch in enumerate(top.patches[0]):
        np.testing.assert_array_equal(
            patch, (CROSS * (255 - 20 * place)).astype(np.uint8)[..., None].repeat(3, axis=-1)
        )


def test_windows_of_a_layer_have_one_size_and_hold_what_is_read(network_of):
    network = network_of(
        (21, 26, 3),
        keras.layers.Conv2D(2, 5, strides=2, padding="same", name="conv1"),
        keras.layers.MaxPooling2D(3, strides=2, name="pool"),
        keras.layers.Conv2D(2, 3, padding="same", name="conv2"),
    )
    for path in ("conv1", "pool", "conv2"):
        field = receptive_field.field_of(network, path)
        for row in range(field.map_size[0]):
            for column in range(field.map_size[1]):
                top, left, bottom, right = top_patches.window_of(field, row, column)
                assert (bottom - top, right - left) == tuple(
                    min(size, limit) for size, limit in zip(field.size, (21, 26), strict=True)
                )
                read = field.box_of(row, column)
                assert top <= read[0] and left <= read[1] and bottom >= read[2] and right >= read[3]
                assert top >= 0 and left >= 0 and bottom <= 21 and right <= 26


def test_panels_show_patches_beside_their_projections(network, gallery):
    session = InspectionSession(network, gallery=gallery, channels=(0, 1), layer="conv")
    (panel,) = top_patches.panels(session)
    assert panel.note == top_patches.WITHOUT_SWITCHES and panel.layer == "conv" and panel.unit == "chosen channels"
    assert panel.values["projections"].shape == (2, 8, 56, 56, 3)
    assert "5×5 pixels" in panel.caption and "of 8 pictures" in panel.caption
    first = panel.values["projections"][0, 0]
    # DeconvNet of one convolution is its kernel, here positive on the cross and negative beside it.
    assert first[28, 28].min() > 0 > first[5, 5].max()
    assert not panel.values["projections"][1].any(), "a silent unit has no projection"
    assert panel.values["pictures"][0, :3].tolist() == [1, 3, 6]


def test_all_layers_take_one_pass_and_units_that_stand_out_are_chosen(network, gallery):
    before = gallery.read
    found = list(top_patches.panels(InspectionSession(network, gallery=gallery)))
    assert [panel.layer for panel in found] == ["conv"]
    assert found[0].values["channels"].tolist()[-1] == 1, "the silent unit is the last"
    assert gallery.read > before


def test_outputs_that_are_all_alike_are_told(network_of, gallery):
    """A cap that everything reaches: the order of patches says nothing, and the layer before it does."""
    network = network_of(
        (SIDE, SIDE, 3),
        keras.layers.Conv2D(2, 1, activation="relu", name="conv"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Conv2D(1, 1, name="sum"),
        keras.layers.ReLU(6.0, name="relu6"),
        keras.layers.GlobalAveragePooling2D(name="mean"),
        keras.layers.Dense(2, name="scores"),
    )
    network.operation_of("conv").set_weights([np.ones((1, 1, 3, 2)), np.zeros(2)])
    network.operation_of("sum").set_weights([np.ones((1, 1, 2, 1)), np.zeros(1)])
    (panel,) = top_patches.panels(InspectionSession(network, gallery=gallery, layer="relu6"))
    assert panel.note == (
        "1 of these units answer to all of their patches alike, so that others may do as well. "
        "Layer sum tells them apart."
    )
    chosen = [panel.layer for panel in top_patches.panels(InspectionSession(network, gallery=gallery))]
    assert chosen == ["conv", "sum"]


def test_without_relu_there_are_patches_and_the_reason_for_no_more(network_of, gallery):
    network = build(network_of, activation="gelu")
    session = InspectionSession(network, gallery=gallery, layer="conv", channels=(0,))
    (panel,) = top_patches.panels(session)
    assert panel.note.startswith("Patches only, without their projections. DeconvNet ")
    assert panel.note.endswith(".") and "projections" not in panel.values
    assert panel.values["pictures"][0, :3].tolist() == [1, 3, 6]


def test_a_unit_that_does_not_exist_is_told(network, gallery):
    session = InspectionSession(network, gallery=gallery, layer="conv", channels=(3,))
    with pytest.raises(InspectionError) as told:
        list(top_patches.panels(session))
    assert str(told.value) == ("There is no channel 3 in 'conv': there are 3, counted from 0. Choose one within 0..2.")


def test_a_layer_of_one_vector_shows_whole_pictures(network, gallery):
    (panel,) = top_patches.panels(InspectionSession(network, gallery=gallery, layer="pool", channels=(0,)))
    assert panel.values["boxes"].reshape(-1, 4).tolist() == [[0, 0, SIDE, SIDE]] * 8
    assert panel.values["pictures"][0, :3].tolist() == [1, 3, 6]
