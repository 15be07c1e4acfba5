"""`dlpu convert` makes what was asked for, or says in one line why not."""

import errno
import json
import os
import subprocess
import sys

from course_lib.cli import dlpu
from course_lib.quantization import conversion
from course_lib.tflite import inference, reading
from course_lib.vision import datasets

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

tf = pytest.importorskip("tensorflow")


def model(shape=(32, 32, 3), *, inputs: int = 1, free: bool = False):
    """A small network with one branch for each input; `free` leaves the size open."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    shape = (None, None, shape[2]) if free else shape
    entries = [tf.keras.Input(shape, name=f"camera{n}") for n in range(inputs)]
    x = entries[0] if inputs == 1 else layers.Add()(entries)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    return tf.keras.Model(entries, layers.Dense(4)(layers.GlobalMaxPooling2D()(x)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models, good images, and images of which one is corrupt."""
    folder = tmp_path_factory.mktemp("convert")
    rng = np.random.default_rng(0)
    for name in ("images", "corrupt", "empty"):
        (folder / name).mkdir()
    for number in range(6):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        for name in ("images", "corrupt"):
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    (folder / "corrupt" / "3.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    model().save(folder / "good.keras")
    model().export(folder / "saved", verbose=False)
    model((24, 40, 1)).save(folder / "grey.keras")
    model(inputs=2).save(folder / "two.keras")
    model(free=True).save(folder / "free.keras")
    (folder / "text.keras").write_text("not a model")
    (folder / "weights.h5").write_bytes(b"\x89HDF")
    return folder


def run(place, name="good.keras", images="images", output="out.tflite", options=()):
    granularity = () if "--granularity" in options else ("--granularity", "per-tensor")
    where = ("--images", str(place / images), "-o", str(place / output))
    arguments = ["convert", str(place / name), *granularity, *where, *options]
    return CliRunner().invoke(dlpu, arguments)


@pytest.mark.parametrize("name", ["good.keras", "saved"])
@pytest.mark.parametrize("granularity", conversion.GRANULARITIES)
def test_it_makes_what_was_asked_for(place, name, granularity):
    options = ("--granularity", granularity, "--mean", "127.5", "--std", "127.5")
    result = run(place, name, options=options)
    assert result.exit_code == 0, result.output
    conversion.verify_full_integer(
        (place / "out.tflite").read_bytes(), granularity=granularity, io="uint8"
    )
    (entry,) = reading.read(place / "out.tflite").inputs
    assert entry.shape == (1, 32, 32, 3)
    assert entry.scale == pytest.approx(1 / 127.5, rel=1e-6)
    assert abs(entry.zero_point - 127.5) <= 0.5
    assert granularity in result.output
    assert "warning  6 of the 100 to 200 images" in result.output
    assert "are missing" not in result.output


def test_json_tells_the_contract(place):
    result = run(place, options=("--json", "--io", "int8"))
    report = json.loads(result.stdout)
    entry = report["input"]
    assert (entry["dtype"], entry["bytes"], entry["zero_point"]) == ("int8", 3072, -128)
    assert report["size"] == (place / "out.tflite").stat().st_size
    assert any("--mean and --std are missing" in told for told in report["warnings"])
    half = run(place, options=("--granularity", "per-channel", "--mean", "127.5"))
    assert "warning  --std is missing: 255 taken; give both" in half.output


def test_three_means_are_built_into_the_file(place):
    mean, std = (124.0, 116.0, 104.0), (58.0, 57.0, 57.5)
    texts = [",".join(map(str, values)) for values in (mean, std)]
    options = ("--granularity", "per-channel", "--mean", texts[0], "--std", texts[1])
    result = run(place, options=options)
    assert result.exit_code == 0, result.output
    (entry,) = reading.read(place / "out.tflite").inputs
    assert (entry.scale, entry.zero_point) == (1.0, 0)
    pictures = map(datasets.read_image, datasets.image_files(place / "images"))
    pixels = np.stack([datasets.centre_crop(p, size=32) for p in pictures])
    expected = model().predict((pixels - np.array(mean)) / np.array(std), verbose=0)
    found = inference.predict(place / "out.tflite", pixels)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.995


def test_bgr_is_told(place):
    result = run(place, options=("--channels", "bgr"))
    assert "swap red and blue" in result.output


def test_grey_images_that_are_not_square(place):
    result = run(place, "grey.keras")
    assert result.exit_code == 0, result.output
    assert reading.read(place / "out.tflite").inputs[0].shape == (1, 24, 40, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "missing.keras"}, "no such file or folder"),
        ({"name": "text.keras"}, "damaged, or not a .keras file"),
        ({"name": "weights.h5"}, "expected a SavedModel folder or a .keras file"),
        ({"name": "images"}, "no saved_model.pb in this folder"),
        ({"name": "two.keras"}, "2 inputs (camera0, camera1)"),
        ({"name": "free.keras"}, "fixed height and width"),
        ({"images": "nowhere"}, "no such folder"),
        ({"images": "good.keras"}, "is a file"),
        ({"images": "empty"}, "holds no picture"),
        ({"images": "corrupt"}, "3.jpg: not a readable picture"),
        ({"output": "nowhere/out.tflite"}, "no such folder to write to"),
        ({"output": "out.bin"}, "expected the name of a .tflite file"),
        ({"options": ("--std", "0")}, "expected numbers above 0"),
        (
            {"name": "grey.keras", "options": ("--mean", "1,2,3")},
            "mean and std have 3 and 1 values: expected 1 for images of 1 channel",
        ),
    ],
)
def test_unusable_input_is_told_in_one_line(place, change, message):
    (place / "out.tflite").unlink(missing_ok=True)
    before = sorted(place.rglob("*"))
    result = run(place, **change)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(place.rglob("*")) == before


def test_a_full_disk_loses_nothing(place, monkeypatch):
    (place / "out.tflite").write_bytes(b"the file of yesterday")
    before = sorted(place.iterdir())

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = run(place)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert (place / "out.tflite").read_bytes() == b"the file of yesterday"
    assert sorted(place.iterdir()) == before


def test_a_process_of_its_own_prints_no_chatter(place):
    command = [sys.executable, "-m", "course_lib.cli", "convert", place / "good.keras"]
    command += ["--granularity", "per-channel", "--images", place / "images"]
    done = subprocess.run(
        [*map(str, command), "-o", str(place / "own.tflite")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("made ")


def test_a_loop_gets_one_line_where_the_converter_would_crash(place):
    layers = tf.keras.layers
    image = tf.keras.Input((8, 8, 3))
    rows = layers.LSTM(4)(layers.Reshape((8, 24))(image))
    tf.keras.Model(image, rows).save(place / "lstm.keras")
    done = run(place, "lstm.keras")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "unroll=True" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "scales pixels too: give --mean 0 --std 1"),
        (("--mean", "0", "--std", "1"), None),
        (("--mean", "0.5", "--std", "0.5"), "multiply mean and std by 255"),
    ],
)
def test_pixels_that_are_scaled_twice_are_doubted(place, options, told):
    layers = tf.keras.layers
    image = tf.keras.Input((8, 8, 3))
    scaled = layers.Conv2D(2, 3)(layers.Rescaling(1 / 127.5, offset=-1)(image))
    tf.keras.Model(image, layers.Flatten()(scaled)).save(place / "scales.keras")
    done = run(place, "scales.keras", options=options)
    assert done.exit_code == 0, done.output
    doubts = [line for line in done.output.splitlines() if "scales pixels" in line]
    assert bool(doubts) == bool(told)
    assert told is None or told in done.output
