import keras
import numpy as np

from garden.inspection import InspectionSession, codes


def test_a_map_is_averaged_and_a_vector_is_as_it_is(network_of, make_gallery):
    network = network_of(
        (9, 7, 3),
        keras.layers.Conv2D(5, 3, activation="relu", name="conv"),
        keras.layers.GlobalMaxPooling2D(name="pool"),
        keras.layers.Dense(4, name="scores"),
    )
    images = np.random.default_rng(0).integers(0, 256, (70, 9, 7, 3))
    prepared = images.astype(np.float32)
    outputs = network.outputs(prepared, ["conv", "pool"])
    np.testing.assert_allclose(codes.codes_of(network, prepared), outputs["pool"], rtol=1e-5)
    by_map = codes.codes_of(network, prepared, path="conv")
    np.testing.assert_allclose(by_map, outputs["conv"].mean(axis=(1, 2)), rtol=1e-4)
    gallery = make_gallery(images)
    session = InspectionSession(network, gallery=gallery, layer="conv")
    for _ in range(2):
        np.testing.assert_allclose(codes.of_gallery(session, gallery), by_map, rtol=1e-5)
    assert gallery.read == 70, "codes are computed once"
    assert max(network.trace_counts().values()) == 1
