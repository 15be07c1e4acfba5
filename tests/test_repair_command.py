"""`dlpu convert --repair` cures, tells how, and refuses what it cannot see."""

import json

from course_lib.cli import dlpu
from course_lib.course import laboratory
from course_lib.quantization import conversion
from course_lib.quiet import quiet
from course_lib.tflite import inference
from course_lib.vision import datasets, models

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

IMAGES, LABELS = datasets.handwritten_digits()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a broken digit reader and forty of its pictures."""
    folder = tmp_path_factory.mktemp("repair")
    (folder / "images").mkdir()
    for number, picture in enumerate(IMAGES[datasets.DIGITS_TRAINING][:40]):
        Image.fromarray(picture[..., 0]).save(folder / "images" / f"{number:02}.png")
    with quiet():
        broken = laboratory.plant_dead_channels(models.digit_reader(), seed=1)
        broken.save(folder / "broken.keras")
        broken.export(folder / "saved", verbose=False)
    return folder


def run(place, *options, name="broken.keras", output="out.tflite"):
    where = ("--images", str(place / "images"), "-o", str(place / output))
    return CliRunner().invoke(
        dlpu, ["convert", str(place / name), "--repair", *where, *options]
    )


def right(content):
    unseen, truth = IMAGES[datasets.DIGITS_TEST], LABELS[datasets.DIGITS_TEST]
    return np.mean(inference.predict(content, unseen).argmax(1) == truth)


def test_the_table_tells_what_was_kept(place):
    result = run(place, "--soc", "artpec8")
    assert result.exit_code == 0, result.output
    content = (place / "out.tflite").read_bytes()
    conversion.verify_full_integer(content, granularity="per-tensor", io="uint8")
    assert right(content) > 0.9
    assert "repair   judged by 10 of the images" in result.stdout
    first, *_, last = [row for row in result.stdout.splitlines() if "dead" in row]
    assert first.endswith("layers: kept")
    assert last.strip().startswith("in the file: dead channels removed")
    assert "trying   dead channels removed" in result.stderr


def test_json_has_every_attempt(place):
    result = run(place, "--soc", "artpec8", "--json")
    told = json.loads(result.stdout)["repair"]
    assert told["judges"] == 20
    assert [attempt["cure"] for attempt in told["attempts"]] == [
        "none",
        "dead channels removed",
        "channels equalized",
        "biases corrected",
        "weights rounded",
    ]
    dead = told["attempts"][1]
    assert dead["kept"]
    assert {"layer", "what"} == set(dead["changed"][0])
    assert dead["error"] < told["attempts"][0]["error"]


@pytest.mark.parametrize(
    ("options", "name", "output", "message"),
    [
        (("--soc", "artpec8"), "saved", "new.tflite", "cannot see the layers"),
        (("--soc", "cv25"), "broken.keras", "new.onnx", "a planar ONNX file is made"),
        (("--soc", "cpu", "--float"), "broken.keras", "new.tflite", "a float file"),
    ],
)
def test_what_cannot_be_repaired_gets_one_line(place, options, name, output, message):
    before = sorted(place.rglob("*"))
    result = run(place, *options, name=name, output=output)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(place.rglob("*")) == before
