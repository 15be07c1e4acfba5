"""Running .tflite files with LiteRT."""

import os
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.tflite import inference, reading

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

REAL = Path(os.environ.get("COURSE_REAL_MODELS", "absent"))
SAMPLES = np.random.default_rng(0).uniform(-4, 4, (5, 4, 4, 3)).astype(np.float32)


def expected(values: np.ndarray, scales, scale=0.5) -> np.ndarray:
    """Compute the tiny convolution: kernel 1..6, bias 0 and 1, ReLU6, int8 output.

    The scales are such that nothing lies halfway, where kernels round differently.
    """
    steps = np.sign(values) * np.floor(np.abs(values / scale) + 0.5)
    real = np.clip(steps, -128, 127) * scale
    kernel = np.arange(1, 7).reshape(2, 3) * np.reshape(scales, (-1, 1))
    bias = np.arange(2) * scale * np.asarray(scales)
    out = np.clip(real @ kernel.T + bias, 0, 6) / scale
    return np.floor(out + 0.5) * scale


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("scales", [(0.313, 0.171), (0.171,)])
def test_predict_equals_the_arithmetic(scales, reference):
    content = tiny_models.conv(scales=scales)
    found = inference.predict(content, SAMPLES, reference=reference)
    assert found.dtype == np.float32
    # The reference kernels round twice, so that they may be one step off.
    tolerance = 0.5 if reference else 1e-6
    np.testing.assert_allclose(found, expected(SAMPLES, scales), atol=tolerance)


def test_what_has_the_files_dtype_passes_as_it_is():
    content = tiny_models.conv()
    steps = np.clip(np.floor(np.abs(SAMPLES / 0.5) + 0.5) * np.sign(SAMPLES), -128, 127)
    integers = steps.astype(np.int8)
    raw = inference.predict(content, integers, raw=True)
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(raw, inference.predict(content, SAMPLES, raw=True))
    np.testing.assert_array_equal(raw * 0.5, inference.predict(content, integers))


def test_float_inputs_saturate_and_halves_go_away_from_zero():
    content = tiny_models.conv(dtype="uint8", scales=(0.5,), zero_point=3)
    sample = np.array([-9.0, -0.25, 0.25, 0.75, 200.0, 0, 0.2499999], np.float32)
    sample = np.resize(sample, (1, 4, 4, 3))
    stored = inference.intermediates(content, sample)[0]
    assert stored.ravel()[:7].tolist() == [0, 2, 4, 5, 255, 3, 3]


def test_path_and_bytes_and_float64(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(tiny_models.conv(dtype="float32"))
    found = inference.predict(path, SAMPLES.astype(np.float64))
    same = inference.predict(str(path), SAMPLES)
    np.testing.assert_array_equal(found, same)
    np.testing.assert_array_equal(found, inference.predict(path.read_bytes(), SAMPLES))
    kernel = np.arange(1, 7).reshape(2, 3)
    real = np.clip(SAMPLES @ kernel.T + np.arange(2), 0, 6)
    np.testing.assert_allclose(found, real, rtol=1e-5, atol=1e-5)


def test_several_outputs_come_in_the_files_order():
    found = inference.predict(tiny_models.two_outputs(), np.float32([[1, 2], [3, 4]]))
    assert [output.tolist() for output in found] == [
        [[1, 4], [9, 16]],
        [[2, 4], [6, 8]],
    ]


def test_dynamic_sizes():
    content = tiny_models.conv(dtype="float32", signature=[1, -1, -1, 3])
    assert inference.predict(content, np.ones((2, 6, 5, 3), "f")).shape == (2, 6, 5, 2)
    content = tiny_models.conv(dtype="float32", signature=[-1, 4, 4, 3])
    assert inference.predict(content, SAMPLES).shape == (5, 4, 4, 2)


@pytest.mark.parametrize("reference", [False, True])
def test_intermediates(reference):
    found = inference.intermediates(
        tiny_models.conv(scales=(0.313, 0.171)), SAMPLES[:1], reference=reference
    )
    assert sorted(found) == [0, 3]  # the kernel and the bias are in the file
    assert found[0].dtype == found[3].dtype == np.int8
    want = expected(SAMPLES[:1], (0.313, 0.171))
    np.testing.assert_allclose(found[3] * 0.5, want, atol=0.5 if reference else 0)


@pytest.mark.parametrize(
    ("content", "inputs", "message"),
    [
        (
            tiny_models.conv(),
            np.zeros((1, 4, 3, 3), "f"),
            r"\(1, 4, 3, 3\).*N, 4, 4, 3",
        ),
        (tiny_models.conv(), np.zeros((4, 4, 3), "f"), r"\(4, 4, 3\).*N, 4, 4, 3"),
        (tiny_models.conv(), np.zeros((0, 4, 4, 3), "f"), "no samples"),
        (tiny_models.conv(), np.zeros((1, 4, 4, 3), "u1"), "uint8.*takes int8"),
        (tiny_models.conv(), np.full((1, 4, 4, 3), np.nan, "f"), "NaN"),
        (
            tiny_models.conv(dtype="float32"),
            np.zeros((1, 4, 4, 3), "u1"),
            "uint8.*takes float32",
        ),
        (tiny_models.conv(batch=2), np.zeros((2, 4, 4, 3), "f"), "batch of 1"),
        (
            tiny_models.custom("edgetpu-custom-op"),
            np.zeros((1, 3, 8, 8), "u1"),
            "edgetpu-custom-op",
        ),
        (b"no model", np.zeros((1, 1), "f"), "not a .tflite file"),
    ],
)
def test_unusable(content, inputs, message):
    with pytest.raises(UnusableInput, match=message) as caught:
        inference.predict(content, inputs)
    assert "\n" not in str(caught.value)


def test_operator_that_litert_does_not_know():
    tensor = tiny_models.tensor([1, 1], "float32")
    content = tiny_models.build(
        ([tensor, tensor], [tiny_models.operator(999, [0], [1])], [0], [1])
    )
    with pytest.raises(UnusableInput, match="LiteRT cannot run this file"):
        inference.load(content)


def test_two_inputs_are_left_to_load():
    tensor = tiny_models.tensor([1, 1], "float32")
    content = tiny_models.build(
        (
            [tensor] * 3,
            [
                tiny_models.operator(
                    schema.BuiltinOperator.ADD,
                    [0, 1],
                    [2],
                    schema.AddOptionsT(),
                    version=1,
                )
            ],
            [0, 1],
            [2],
        )
    )
    with pytest.raises(UnusableInput, match="2 inputs"):
        inference.predict(content, np.zeros((1, 1), "f"))
    assert len(inference.load(content).get_input_details()) == 2


def test_nothing_is_printed(capfd):
    inference.predict(tiny_models.conv(dtype="float32"), SAMPLES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not REAL.is_dir(), reason="COURSE_REAL_MODELS names no folder")
def test_real_file():
    path = REAL / "mobilenet_v1_0.25_128_quant.tflite"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
    raw = inference.predict(path, images, raw=True)
    assert (raw.shape, raw.dtype) == ((2, 1001), np.uint8)
    real = (images.astype(np.float32) - 128) / 128
    np.testing.assert_array_equal(inference.predict(path, real, raw=True), raw)
    tensors = inference.intermediates(path, images[:1])
    slow = inference.intermediates(path, images[:1], reference=True)
    model = reading.read(path)
    first = model.operators[0].outputs[0]
    assert np.abs(tensors[first].astype(int) - slow[first]).max() <= 1
    assert len(tensors) == len(model.operators) + 1
    for index, values in tensors.items():
        assert values.shape == model.tensors[index].shape
        assert values.dtype == model.tensors[index].dtype
