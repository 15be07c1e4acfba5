"""Conversions make the file that was asked for, or refuse in one line."""

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion
from course_lib.tflite import inference, reading

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
SIZE = 32
MEAN, STD = 127.5, 127.5


def images(count: int = 20) -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


def small_model(shape=(SIZE, SIZE, 3), inputs: int = 1):
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    entries = [tf.keras.Input(shape, name=f"image{index}") for index in range(inputs)]
    x = entries[0] if inputs == 1 else layers.Add()(entries)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(5, activation="softmax")(x)
    return tf.keras.Model(entries, x)


@pytest.fixture(scope="module")
def keras_model():
    return small_model()


@pytest.fixture(scope="module")
def fixed(keras_model):
    return conversion.fix_batch(keras_model)


@pytest.fixture(scope="module")
def dataset():
    return calibration.representative_dataset(images(), mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def full_integer(fixed, dataset):
    return {
        granularity: conversion.convert_full_integer(
            fixed, dataset, granularity=granularity
        )
        for granularity in conversion.GRANULARITIES
    }


def normalised(pixels: np.ndarray) -> np.ndarray:
    return ((pixels.astype(np.float32) - MEAN) / STD).astype(np.float32)


def weight_scales(content: bytes) -> dict[str, int]:
    return {
        operator.name: len(kernel.scales)
        for operator, kernel in reading.weights(reading.parse(content))
    }


def test_per_channel_gives_each_convolution_its_scales_and_dense_one(full_integer):
    assert weight_scales(full_integer["per-channel"]) == {
        "CONV_2D": 8,
        "DEPTHWISE_CONV_2D": 8,
        "FULLY_CONNECTED": 1,
    }


def test_per_tensor_gives_every_tensor_one_scale(full_integer):
    model = reading.parse(full_integer["per-tensor"])
    assert {len(tensor.scales) for tensor in model.tensors} <= {0, 1}


def test_dense_per_channel_on_request(fixed, dataset):
    content = conversion.convert_full_integer(fixed, dataset, dense_per_channel=True)
    assert weight_scales(content)["FULLY_CONNECTED"] == 5


@pytest.mark.parametrize("granularity", conversion.GRANULARITIES)
def test_pixels_enter_as_they_are(full_integer, granularity):
    (entry,) = reading.parse(full_integer[granularity]).inputs
    assert entry.dtype == "uint8"
    assert entry.shape == (1, SIZE, SIZE, 3)
    assert entry.scale == pytest.approx(1 / STD, rel=1e-6)
    assert abs(entry.zero_point - MEAN) <= 0.5


def test_int8_input_and_output(fixed, dataset):
    model = reading.parse(conversion.convert_full_integer(fixed, dataset, io="int8"))
    assert [t.dtype for t in (*model.inputs, *model.outputs)] == ["int8", "int8"]


def test_the_integer_file_answers_like_the_float_file(fixed, full_integer):
    pixels = images()
    expected = inference.predict(conversion.convert_float(fixed), normalised(pixels))
    found = inference.predict(full_integer["per-channel"], pixels)
    # Two steps of the softmax output, whose scale is 1/256.
    assert np.abs(found - expected).max() <= 2 / 256


def test_float16_halves_the_weights(fixed):
    dtypes = {
        tensor.dtype
        for tensor in reading.parse(
            conversion.convert_float(fixed, float16=True)
        ).tensors
    }
    assert "float16" in dtypes


def test_normalisation_built_into_the_graph(keras_model, dataset):
    mean, std = (123.0, 116.0, 103.0), (58.0, 57.0, 57.5)
    raw = conversion.fix_batch(keras_model, mean=mean, std=std)
    pixels = images()
    expected = keras_model.predict((pixels - np.array(mean)) / np.array(std), verbose=0)
    found = inference.predict(conversion.convert_float(raw), pixels.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_planar_onnx_equals_keras_and_has_no_transpose(fixed, keras_model):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    content = conversion.convert_planar_onnx(fixed)
    proto = onnx.load_from_string(content)
    assert proto.opset_import[0].version == 17
    assert "Transpose" not in {node.op_type for node in proto.graph.node[:3]}
    session = onnxruntime.InferenceSession(content)
    (entry,) = session.get_inputs()
    assert entry.shape == [1, 3, SIZE, SIZE]
    batch = normalised(images(4))
    found = [
        session.run(None, {entry.name: image.transpose(2, 0, 1)[None]})[0][0]
        for image in batch
    ]
    expected = keras_model.predict(batch, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_source_gives_the_same_network(
    keras_model, full_integer, dataset, tmp_path
):
    keras_model.export(tmp_path / "saved", verbose=False)
    keras_model.save(tmp_path / "model.keras")
    expected = inference.predict(full_integer["per-channel"], images(), raw=True)
    for path in (tmp_path / "saved", str(tmp_path / "model.keras")):
        content = conversion.convert_full_integer(path, dataset)
        found = inference.predict(content, images(), raw=True)
        np.testing.assert_array_equal(found, expected)


def test_conversion_is_silent(fixed, dataset, capfd):
    conversion.convert_full_integer(fixed, dataset)
    conversion.fix_batch(small_model())
    assert capfd.readouterr() == ("", "")


def test_verification_refuses_what_was_not_asked_for(fixed, full_integer):
    per_channel = full_integer["per-channel"]
    for content, wanted, message in (
        (conversion.convert_float(fixed), ("per-tensor", "uint8"), "is float32"),
        (per_channel, ("per-tensor", "uint8"), "has 8 scales although per-tensor"),
        (per_channel, ("per-channel", "int8"), "is uint8, not the int8"),
        (full_integer["per-tensor"], ("per-channel", "uint8"), "1 scales for 8"),
    ):
        with pytest.raises(UnusableInput, match=message):
            conversion.verify_full_integer(content, granularity=wanted[0], io=wanted[1])


def test_two_inputs_are_refused_by_name():
    with pytest.raises(UnusableInput, match=r"2 inputs .*image0.*image1"):
        conversion.fix_batch(small_model(inputs=2))


def test_an_open_height_is_refused():
    with pytest.raises(UnusableInput, match=r"None, None.*fixed height and width"):
        conversion.fix_batch(small_model(shape=(None, None, 3)))


def test_mixed_precision_is_refused_by_layer():
    layers = tf.keras.layers
    half = layers.Conv2D(2, 3, dtype="mixed_float16", name="half")
    model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), half, layers.Flatten()])
    with pytest.raises(UnusableInput, match="layer half computes in float16"):
        conversion.fix_batch(model)


def test_weights_that_are_nan_are_refused_by_layer():
    layers = tf.keras.layers
    bad = layers.Conv2D(
        2,
        3,
        kernel_initializer=lambda shape, dtype=None: tf.fill(shape, np.float32(np.nan)),
        name="bad",
    )
    model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), bad, layers.Flatten()])
    with pytest.raises(UnusableInput, match="layer bad has weights that are NaN"):
        conversion.fix_batch(model)


def test_a_vector_is_not_an_image():
    model = tf.keras.Sequential([tf.keras.Input((10,)), tf.keras.layers.Dense(2)])
    with pytest.raises(UnusableInput, match="expected an image"):
        conversion.fix_batch(model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.keras", "no such file"),
        ("text.keras", "damaged, or not a .keras file"),
        ("weights.h5", "expected a SavedModel folder or a .keras file"),
        ("folder", "no saved_model.pb"),
    ],
)
def test_unreadable_models_are_refused(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.keras").write_text("not a model")
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF")
    with pytest.raises(UnusableInput, match=message) as caught:
        conversion.fix_batch(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_unknown_choices_are_refused(fixed, dataset):
    with pytest.raises(UnusableInput, match="granularity 'per-layer'"):
        conversion.convert_full_integer(fixed, dataset, granularity="per-layer")
    with pytest.raises(UnusableInput, match="'float32'"):
        conversion.convert_full_integer(fixed, dataset, io="float32")
