"""What the scripts of lesson 10 left is what versions.json and their page say."""

import ast
import hashlib
import json
import re

from course_lib.dlpu import cvflow, onnx_file, rules
from course_lib.tflite import inference, reading
from course_lib.vision import datasets, models

import numpy as np
import onnx
import onnxruntime
import pytest
from lessons import LESSONS, NOTEBOOKS

HERE = NOTEBOOKS / "10_frameworks"
ARTEFACTS = HERE / "artefacts"
ROUTES = ("onnx2tf", "litert_torch")
RUNS = json.loads((ARTEFACTS / "versions.json").read_text("utf-8"))
FILES = sorted(path for path in ARTEFACTS.iterdir() if path.name != "versions.json")
TFLITE = [path for path in FILES if path.suffix == ".tflite"]


@pytest.fixture(scope="module")
def digits():
    images, labels = (of[datasets.DIGITS_TEST] for of in datasets.handwritten_digits())
    return np.repeat(images, 3, axis=3), labels


@pytest.fixture(scope="module")
def in_torch():
    with np.load(ARTEFACTS / "expected.npz") as stored:
        return stored["torch"]


def run_onnx(content, planes):
    session = onnxruntime.InferenceSession(content)
    inputs = planes.astype(np.float32)
    return np.concatenate([session.run(None, {"pixels": i[None]})[0] for i in inputs])


def pinned(path):
    """Return the versions that a requirements file asks for."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", path.read_text("utf-8"), re.M))


def test_each_file_is_the_one_of_the_run():
    recorded = {name: of for run in RUNS.values() for name, of in run["files"].items()}
    assert sorted(recorded) == [path.name for path in FILES]
    for path in FILES:
        content = path.read_bytes()
        assert recorded[path.name] == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        # A stack trace inside a file would name the computer that made it.
        assert not re.search(rb"/(home|root|work|tmp|Users)/", content), path.name
    assert sum(path.stat().st_size for path in ARTEFACTS.iterdir()) < 250_000


@pytest.mark.parametrize("route", ROUTES)
def test_the_pins_are_the_versions_that_ran(route):
    run = RUNS[route]
    assert re.fullmatch(r"2026-\d\d-\d\d", run["date"])
    constraints = pinned(HERE / route / "constraints.txt")
    asked = pinned(HERE / route / "requirements.txt")
    assert asked.items() <= constraints.items()
    packages = {n.replace("_", "-"): v for n, v in run["packages"].items()}
    assert packages.items() <= constraints.items()


@pytest.mark.parametrize("path", [HERE / "reader.py", *HERE.glob("*/convert.py")])
def test_the_scripts_are_python_of_the_oldest_route(path):
    tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 11))
    assert ast.get_docstring(tree)


def test_the_page_lists_every_file_and_both_runs():
    page = (HERE / "README.md").read_text("utf-8")
    for path in FILES:
        assert f"`{path.name}`" in page
    for route, run in RUNS.items():
        assert f"`{route}`" in page
        assert run["date"] in page


def test_the_lesson_needs_neither_framework():
    (book,) = [book for book in LESSONS if book.number == 10]
    roots = {
        module.split(".")[0]
        for cell in book.code
        for node in ast.walk(ast.parse(cell.source))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert roots.isdisjoint({"torch", "tensorflow", "keras", "onnx2tf", "litert_torch"})


def test_pytorch_is_as_good_as_the_course_says(digits, in_torch):
    assert in_torch.shape == (len(digits[1]), 10)
    assert np.allclose(in_torch.sum(1), 1, atol=1e-5)
    assert np.sum(in_torch.argmax(1) == digits[1]) == 585


def test_keras_and_onnx_agree_with_pytorch(digits, in_torch):
    grey = digits[0][..., :1]
    in_keras = inference.predict(
        models.DATA / "puzzles" / "reader_float.tflite",
        models.DIGIT_INPUT.normalise(grey),
    )
    content = (ARTEFACTS / "reader.onnx").read_bytes()
    for found in (in_keras, run_onnx(content, cvflow.planar(digits[0]))):
        assert np.abs(found - in_torch).max() < 1e-5


@pytest.mark.parametrize("path", TFLITE, ids=lambda path: path.stem)
def test_each_file_agrees_with_pytorch(path, digits, in_torch):
    entry = reading.read(path).inputs[0]
    planar = entry.layout.startswith("planar")
    pixels = cvflow.planar(digits[0]) if planar else digits[0]
    found = inference.predict(path, pixels.astype(np.float32))
    difference = np.abs(found - in_torch)
    assert difference.max() < (1e-5 if entry.is_float else 0.4)
    assert difference.mean() < (1e-6 if entry.is_float else 0.005)


@pytest.mark.parametrize(
    ("name", "dtype", "granularity", "left"),
    [
        ("litert_torch_planar", "float32", None, "PAD TRANSPOSE TRANSPOSE MEAN"),
        ("litert_torch_interleaved", "int8", "per-channel", "TRANSPOSE MEAN"),
        ("litert_torch_per_channel", "int8", "per-channel", "MEAN"),
        ("litert_torch_per_tensor", "int8", "per-tensor", "MEAN"),
        ("onnx2tf_float", "float32", None, "MEAN"),
        ("onnx2tf_per_channel", "uint8", "per-channel", "QUANTIZE MEAN"),
        ("onnx2tf_per_tensor", "uint8", "per-tensor", "QUANTIZE MEAN"),
    ],
)
def test_each_file_is_what_its_name_says(name, dtype, granularity, left):
    model = reading.read(ARTEFACTS / f"{name}.tflite")
    assert model.inputs[0].dtype == model.outputs[0].dtype == dtype
    assert model.granularity == granularity
    assert model.is_full_integer == (granularity is not None)
    names = [operator.name for operator in model.operators]
    before = names[: names.index("FULLY_CONNECTED")]
    assert " ".join(n for n in before if "CONV" not in n) == left
    moves = [
        finding
        for finding in rules.lint(model, soc="artpec9").findings
        if finding.rule == "transposes"
    ]
    assert len(moves) == names.count("TRANSPOSE")


def test_the_onnx_file_fits_its_compiler_but_for_the_width():
    model = onnx_file.read(ARTEFACTS / "reader.onnx")
    assert model.opset == 17
    for soc in ("cv25", "cv75"):
        told = {finding.rule for finding in rules.lint(model, soc=soc).findings}
        assert told == {"row-width"}


def test_the_other_padding_does_here_what_it_did_in_pytorch(digits):
    network = onnx.load(ARTEFACTS / "reader.onnx")
    changed = 0
    for node in network.graph.node:
        for attribute in node.attribute:
            if attribute.name == "pads" and list(attribute.ints) == [0, 0, 1, 1]:
                attribute.ints[:] = [1, 1, 1, 1]
                changed += 1
    assert changed == 2
    found = run_onnx(network.SerializeToString(), cvflow.planar(digits[0]))
    tried = RUNS["onnx2tf"]["tried"]
    right = np.sum(found.argmax(1) == digits[1])
    assert right == tried["padding_of_torch"]["right"] < 300
    for run in RUNS.values():
        assert run["tried"]["operators_with_padding_of_torch"].count("PAD") == changed
    assert 0 < tried["epsilon_of_torch"]["changed"] < 20
    assert tried["opset_of_the_newer_exporter"] > 17
