"""More outputs for a .tflite file: the same numbers, and nothing moved."""

import os
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.tflite import exposing, inference, reading

import numpy as np
import pytest
import tiny_models
from ai_edge_litert.interpreter import Interpreter
from lessons import ROOT

SCENE = ROOT / "data/scene_classifier_qat.tflite"
REAL = Path(os.environ.get("COURSE_REAL_MODELS", "/nonexistent"))


def computed(model):
    return [
        operator.outputs[0]
        for operator in model.operators
        if model.tensors[operator.outputs[0]].nbytes
    ]


def check(content):
    """Run a file with all its tensors as outputs, and compare each of them."""
    model = reading.parse(content)
    tensors = computed(model)
    exposed = exposing.expose(content, tensors)
    more = reading.parse(exposed)
    before = [tensor.index for tensor in model.outputs]
    after = [tensor.index for tensor in more.outputs]
    assert after == before + [n for n in tensors if n not in before]
    (entry,) = model.inputs
    generator = np.random.default_rng(0)
    sample = (generator.random(entry.shape) * 200).astype(entry.dtype)
    expected = inference.intermediates(content, sample, reference=True)
    interpreter = inference.load(exposed, reference=True)
    interpreter.set_tensor(entry.index, sample)
    interpreter.invoke()
    for tensor in more.outputs:
        np.testing.assert_array_equal(
            interpreter.get_tensor(tensor.index), expected[tensor.index]
        )
    return model, exposed, sample, expected


@pytest.mark.parametrize("name", ["scene_classifier_qat", "person_per_channel"])
def test_every_tensor_is_what_it_was_inside(name):
    content = (ROOT / f"data/{name}.tflite").read_bytes()
    model, exposed, sample, expected = check(content)
    # The signature names them too, beside the old outputs.
    (signature,) = reading.parse(exposed).signatures
    assert set(model.signatures[0].outputs) < set(signature.outputs)
    with quiet():
        runner = Interpreter(model_content=exposed).get_signature_runner()
    answers = runner(**{next(iter(signature.inputs)): sample})
    assert len(answers) == len(computed(model))
    # The signature's runner takes the default kernels: near, and of the same form.
    for told, tensor in signature.outputs.items():
        assert answers[told].shape == expected[tensor.index].shape


@pytest.mark.skipif(not REAL.is_dir(), reason="COURSE_REAL_MODELS names no folder")
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v1_0.25_128_quant",
        "mobilenet_v2_1.0_224_quant",
        "deeplabv3_mnv2_dm05_pascal_quant",
        "keras_lstm_mnist_ptq",
    ],
)
def test_files_of_others(name):
    check((REAL / f"{name}.tflite").read_bytes())


def test_nothing_moves():
    content = SCENE.read_bytes()
    model = reading.parse(content)
    exposed = exposing.expose(content, computed(model)[:3])
    # One pointer of the graph and one of its signature: at most 4 bytes each.
    changed = sum(a != b for a, b in zip(content, exposed, strict=False))
    assert 0 < changed <= 8
    assert len(exposed) - len(content) < 300
    for ours, theirs in zip(model.tensors, reading.parse(exposed).tensors, strict=True):
        assert ours == theirs
        assert ours.data == theirs.data


def test_order_and_repeats():
    content = SCENE.read_bytes()
    model = reading.parse(content)
    first, second = computed(model)[:2]
    last = model.outputs[0].index
    exposed = exposing.expose(content, [second, last, first, second])
    found = [tensor.index for tensor in reading.parse(exposed).outputs]
    assert found == [last, second, first]
    # An exposed file can be exposed again.
    third = computed(model)[2]
    again = reading.parse(exposing.expose(exposed, [first, third]))
    assert [tensor.index for tensor in again.outputs] == [last, second, first, third]
    assert set(again.signatures[0].outputs) >= {
        f"exposed_{n}" for n in (second, first, third)
    }


def test_nothing_to_expose():
    content = SCENE.read_bytes()
    model = reading.parse(content)
    assert exposing.expose(content, [model.outputs[0].index]) == content
    assert exposing.expose(content, []) == content


def test_file_without_signature():
    add = tiny_models.schema.AddOptionsT()
    code = tiny_models.schema.BuiltinOperator.ADD
    tensors = [tiny_models.tensor([1, 2], "float32", name=name) for name in "xyz"]
    operators = [
        tiny_models.operator(code, [n, n], [n + 1], add, version=1) for n in (0, 1)
    ]
    content = tiny_models.build((tensors, operators, [0], [2]))
    assert not reading.parse(content).signatures
    exposed = exposing.expose(content, [1])
    interpreter = inference.load(exposed)
    interpreter.set_tensor(0, np.float32([[1, 10]]))
    interpreter.invoke()
    outputs = [t.index for t in reading.parse(exposed).outputs]
    assert [interpreter.get_tensor(n).tolist() for n in outputs] == [
        [[4, 40]],
        [[2, 20]],
    ]


@pytest.mark.parametrize("which", ["input", "weights", "beyond", "negative"])
def test_refusals(which):
    content = SCENE.read_bytes()
    model = reading.parse(content)
    index = {
        "input": model.inputs[0].index,
        "weights": model.weights()[0][1].index,
        "beyond": len(model.tensors),
        "negative": -1,
    }[which]
    with pytest.raises(UnusableInput, match=rf"^tensor {index}: no operator .* it"):
        exposing.expose(content, [index])


def test_damaged_file():
    with pytest.raises(UnusableInput):
        exposing.expose(SCENE.read_bytes()[:1000], [1])
