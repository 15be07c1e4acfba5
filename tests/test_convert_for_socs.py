"""`dlpu convert --soc` makes what each chip wants, judged by reading the files."""

import json
import os
import stat
import sys
from pathlib import Path

from course_lib.cli import dlpu
from course_lib.dlpu import cvflow, socs
from course_lib.quantization import conversion
from course_lib.tflite import reading
from course_lib.vision import datasets, models

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

tf = pytest.importorskip("tensorflow")
onnxruntime = pytest.importorskip("onnxruntime")

FULL_INTEGER = ("cpu", "artpec7", "artpec8", "artpec9")
AMBARELLA = ("cv25", "cv75")


def suffix(soc):
    return ".onnx" if soc in AMBARELLA else ".tflite"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of two outputs' worth of layers, and images."""
    folder = tmp_path_factory.mktemp("socs")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (5, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    for name, shape in (
        ("wide", (32, 64, 3)),
        ("odd", (30, 60, 3)),
        ("grey", (8, 32, 1)),
    ):
        image = tf.keras.Input(shape, name="image")
        x = layers.Conv2D(8, 3, padding="same", activation="relu6")(image)
        x = layers.DepthwiseConv2D(3, activation="relu6")(x)
        x = layers.Dense(4)(layers.GlobalMaxPooling2D()(x))
        tf.keras.Model(image, x).save(folder / f"{name}.keras")
    return folder


def run(place, soc, *options, model="wide", images=True, out=None):
    target = place / (out or f"{soc}{suffix(soc)}")
    words = ["convert", str(place / f"{model}.keras"), "--soc", soc, "-o", str(target)]
    words += ["--images", str(place / "images")] if images else []
    words += ["--mean", "127.5", "--std", "127.5", *options]
    return CliRunner().invoke(dlpu, words), target


@pytest.mark.parametrize("soc", FULL_INTEGER)
def test_the_file_has_the_granularity_and_types_that_the_chip_wants(place, soc):
    result, target = run(place, soc)
    assert result.exit_code == 0, result.output
    made = reading.read(target)
    assert made.is_full_integer
    assert {tensor.dtype for tensor in (*made.inputs, *made.outputs)} == {"uint8"}
    if soc == "artpec8":
        assert all(len(tensor.scales) <= 1 for tensor in made.tensors)
    else:
        for operator, kernel in reading.weights(made):
            dense = operator.name == "FULLY_CONNECTED"
            assert (len(kernel.scales) == 1) == dense
    assert f"device {socs.SOCS[soc].device}" in result.output
    assert "larod-client -g" in result.output


def test_it_says_what_the_chip_wants_and_who_says_so(place):
    result, _ = run(place, "ARTPEC-8")
    fact = socs.SOCS["artpec8"].granularity
    assert "wants per-tensor" in result.output
    assert f"{fact.source.title}, {fact.source.date}" in result.output


def test_artpec9_lets_one_choose(place):
    result, target = run(place, "artpec9", "--granularity", "per-tensor")
    assert result.exit_code == 0
    assert reading.read(target).granularity == "per-tensor"
    assert "ARTPEC-9 wants" not in result.output


def test_per_channel_for_artpec8_is_made_with_a_warning(place):
    result, target = run(place, "artpec8", "--granularity", "per-channel")
    assert result.exit_code == 0
    assert reading.read(target).granularity == "per-channel"
    (line,) = [e for e in result.output.splitlines() if "ARTPEC-8 wants" in e]
    assert line.startswith("warning")


def test_a_float_file_for_the_cpu_takes_pixels_and_needs_no_images(place):
    result, target = run(place, "cpu", "--float", images=False)
    assert result.exit_code == 0, result.output
    made = reading.read(target)
    assert made.inputs[0].dtype == "float32"
    assert "as floats 0..255" in result.output


@pytest.mark.parametrize("soc", AMBARELLA)
def test_planar_onnx_with_calibration_images_beside_it(place, soc):
    result, target = run(place, soc, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["input"]["shape"] == [1, 3, 32, 64]
    assert report["input"]["layout"] == "planar (NCHW)"
    beside = target.with_name(f"{soc}_float.tflite")
    assert beside.exists() == (soc == "cv25")
    folder = place / f"{soc}_calibration"
    names = (folder / cvflow.LIST).read_text("utf-8").split()
    assert len(names) == 4
    pixels = datasets.read_image(place / "images" / "0.png", channels=3)
    first = np.frombuffer((place / names[0]).read_bytes(), np.uint8)
    expected = cvflow.planar(datasets.centre_crop(pixels, size=(32, 64))[None])
    assert np.array_equal(first, expected.ravel())
    assert any(line.startswith("onnxparser.py ") for line in report["commands"])
    (place / "images" / "0.png").rename(place / "0.png")
    again, _ = run(place, soc)
    (place / "0.png").rename(place / "images" / "0.png")
    assert again.exit_code == 0, again.output
    assert len((folder / cvflow.LIST).read_text("utf-8").split()) == 3
    assert len(list(folder.iterdir())) == 4
    assert "(pixel - 127.5) / 127.5 is part of the graph" in again.output
    assert "not run here" in again.output


def test_the_normalisation_is_in_the_planar_graph(place):
    _, target = run(place, "cv25")
    pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 64, 3), np.uint8)
    session = onnxruntime.InferenceSession(target)
    (entry,) = session.get_inputs()
    planar = cvflow.planar(pixels).astype(np.float32)
    (found,) = session.run(None, {entry.name: planar})
    model = tf.keras.models.load_model(place / "wide.keras")
    expected = model.predict((pixels - 127.5) / 127.5, verbose=0)
    assert np.abs(found - expected).max() < 1e-4
    assert all(":" not in output.name for output in session.get_outputs())


def test_rows_that_are_no_multiple_of_32_bytes_are_told(place):
    result, _ = run(place, "cv25", model="odd", out="odd.onnx")
    assert result.exit_code == 0
    assert "rows of 60 bytes: CV25 wants multiples of 32; the camera's pixels need" in (
        result.output
    )


@pytest.mark.parametrize(
    ("soc", "options", "change", "message"),
    [
        ("artpec10", (), {}, "expected one of cpu, artpec7, artpec8, artpec9, cv25"),
        ("cv25", (), {"out": "x.tflite"}, "expected the name of a .onnx file"),
        ("artpec8", (), {"out": "x.onnx"}, "expected the name of a .tflite file"),
        ("cv25", ("--granularity", "per-tensor"), {}, "its compiler quantizes"),
        ("cv75", ("--io", "int8"), {}, "its compiler quantizes"),
        ("artpec8", ("--float",), {}, "--float: expected with --soc cpu"),
        ("cpu", ("--float", "--io", "int8"), {}, "without --granularity and --io"),
        ("artpec8", (), {"images": False}, "--images is missing"),
        ("cv25", (), {"images": False}, "--images is missing"),
        ("cv25", (), {"model": "grey", "out": "grey.onnx"}, "images of 1 channel:"),
    ],
)
def test_unusable_wishes_get_one_line_and_leave_nothing(
    place, soc, options, change, message
):
    before = sorted(place.rglob("*"))
    result, _ = run(place, soc, *options, **change)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(place.rglob("*")) == before


def test_without_a_chip_or_a_granularity_one_line_tells_the_way():
    words = ["convert", "model.keras", "--images", "images", "-o", "model.tflite"]
    result = CliRunner().invoke(dlpu, words)
    assert result.exit_code == 2
    assert "expected --soc, such as --soc artpec8, or --granularity" in result.stderr


def test_a_strange_file_among_the_calibration_images_is_kept(place):
    folder = place / "mine_calibration"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    result, target = run(place, "cv25", out="mine.onnx")
    assert result.exit_code == 2
    assert "notes.txt" in result.stderr
    assert not target.exists()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


FAKE = f"""#!{sys.executable}
import pathlib, sys
out, model = sys.argv[sys.argv.index("-o") + 1], pathlib.Path(sys.argv[-1])
made = pathlib.Path(out) / (model.stem + "_edgetpu.tflite")
made.write_bytes(b"compiled")
print("Edge TPU Compiler version 16.0.384591198")
print("Number of operations that will run on Edge TPU: 7")
print("Number of operations that will run on CPU: 2")
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script")
def test_the_edge_tpu_compiler_runs_where_it_is(place, tmp_path, monkeypatch):
    result, _ = run(place, "artpec7", "--json")
    (command,) = json.loads(result.stdout)["commands"]
    assert command.startswith("edgetpu_compiler -s -o ")
    script = tmp_path / "edgetpu_compiler"
    script.write_text(FAKE, "utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    result, target = run(place, "artpec7")
    assert result.exit_code == 0, result.output
    assert "7 operators to the Edge TPU, 2 to the CPU" in result.output
    assert target.with_name("artpec7_edgetpu.tflite").read_bytes() == b"compiled"
    report = json.loads(run(place, "artpec7", "--json")[0].stdout)
    assert report["commands"] == []
    assert (report["edge_tpu"]["on_tpu"], report["edge_tpu"]["on_cpu"]) == (7, 2)


def test_efficientnet_lite0_for_cv25_equals_keras_on_photographs(tmp_path):
    (tmp_path / "images").mkdir()
    photos, _ = datasets.labelled_photographs()
    pixels = np.stack([datasets.centre_crop(photo, size=224) for photo in photos])
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "images" / f"{number:02}.png")
    keras = models.efficientnet_lite0()
    keras.save(tmp_path / "lite0.keras")
    normalisation = ("--mean", "127", "--std", "128")
    result, target = run(tmp_path, "cv25", *normalisation, model="lite0")
    assert result.exit_code == 0, result.output
    (entry, *_), _ = conversion.onnx_contract(Path(target).read_bytes())
    assert entry["shape"] == [1, 3, 224, 224]
    session = onnxruntime.InferenceSession(target)
    planar = cvflow.planar(pixels).astype(np.float32)
    found = np.concatenate(
        [session.run(None, {entry["name"]: image[None]})[0] for image in planar]
    )
    normalised = models.EFFICIENTNET_LITE0_INPUT.normalise(pixels)
    expected = keras.predict(normalised, verbose=0)
    assert len(found) == 20
    assert np.abs(found - expected).max() < 1e-4
