"""`dlpu report` writes one page whose commands repeat each step, or nothing at all."""

import html
import json
import os
import re
import shlex
from contextlib import contextmanager
from pathlib import Path

from course_lib.cli import connecting, dlpu, pictures
from course_lib.course import laboratory
from course_lib.quiet import quiet
from course_lib.vision import datasets, models

import pytest
from click.testing import CliRunner
from PIL import Image
from test_journey import COLOURS, colour_pictures, colour_reader, text_of

STEPS = ("--mean", "127.5", "--std", "127.5")


@pytest.fixture(autouse=True)
def no_camera(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AXIS_CAMERA")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models, and pictures in folders that are called as their classes."""
    folder = tmp_path_factory.mktemp("report")
    found = colour_pictures(36)
    for image, name, label in zip(found.images, found.names, found.labels, strict=True):
        of = folder / "pictures" / COLOURS[label]
        of.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(of / name)
    for image, name in zip(found.images, found.names, strict=True):
        (folder / "loose").mkdir(exist_ok=True)
        Image.fromarray(image ^ 1).save(folder / "loose" / name)
    (folder / "many").mkdir()
    many = colour_pictures(60)
    for image, name in zip(many.images, many.names, strict=True):
        Image.fromarray(image).save(folder / "many" / name)
    (folder / "empty").mkdir()
    (folder / "classes.txt").write_text("\n".join(COLOURS))
    (folder / "two.txt").write_text("cherry\ngrass")
    (folder / "text.keras").write_text("not a model")
    with quiet():
        colour_reader().save(folder / "colours.keras")
        colour_reader().export(folder / "saved", verbose=False)
    return folder


def run(place, *options, name="colours.keras", images="pictures", page="page.html"):
    where = ("--images", str(place / images), "-o", str(place / page))
    words = ["report", str(place / name), *where, *map(str, options)]
    return CliRunner().invoke(dlpu, words)


def assert_refused(result, *words):
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) >= 1
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


def test_the_commands_of_the_page_repeat_each_step(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(
        place,
        *("--soc", "artpec8", "--labels", "--classes", place / "classes.txt"),
        *("--virtual", "--limit", 12, *STEPS, "--keep", "kept"),
    )
    assert result.exit_code == 0, result.output + result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first == (
        "colours.tflite for ARTPEC-8: nothing found against the file; right for 1.00 "
        "of the labels; a virtual camera ran it, which is a SIMULATION"
    )
    assert last == f"page: {place / 'page.html'}"
    page = (place / "page.html").read_text("utf-8")
    assert "<script" not in page
    assert 'src="http' not in page
    assert "Verdict: nothing found against the file" in page
    lines = [line for line in text_of(page).splitlines() if line.startswith("dlpu ")]
    assert lines[0] == shlex.join(
        [
            *("dlpu", "report", str(place / "colours.keras"), "--soc", "artpec8"),
            *("--images", str(place / "pictures"), "--labels"),
            *("--classes", str(place / "classes.txt"), *STEPS, "--virtual"),
            *("--limit", "12", "-d", "kept", "-o", str(place / "page.html")),
        ]
    )
    assert [line.split()[1] for line in lines[1:]] == [
        *("convert", "convert", "compare", "lint", "card", "test")
    ]
    kept = {file: file.read_bytes() for file in (tmp_path / "kept").glob("*.tflite")}
    assert [file.name for file in sorted(kept)] == [
        *("colours.tflite", "colours_float.tflite")
    ]
    for line in lines[1:]:
        again = CliRunner().invoke(dlpu, shlex.split(line)[1:])
        assert again.exit_code == 0, line + again.output + again.stderr
        if " test " in line:
            assert "1.00, 12 of 12; 95 % interval" in again.stdout
        if " compare " in line:
            assert "accuracy   FLOAT 1.00, INT8 1.00" in again.stdout
    for file, content in kept.items():
        assert file.read_bytes() == content, f"{file} was made anew, otherwise"


def test_fewer_pictures_are_the_same_ones_again(place, tmp_path, monkeypatch):
    """Also where the model's order of the classes is not that of their names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "order.txt").write_text("sky\ncherry\ngrass")
    wanted = ("--soc", "artpec9", "--labels", "--classes", tmp_path / "order.txt")
    result = run(
        place, *wanted, "--virtual", "--limit", 7, *STEPS, "-d", "kept", "--json"
    )
    assert result.exit_code == 1  # the classes are in another order than the model's
    told = json.loads(result.stdout)
    (found,) = [text for text in told["problems"] if "in another order" in text]
    assert found.endswith("0 sky, 1 cherry, 2 grass were given")
    page = text_of((place / "page.html").read_text("utf-8"))
    assert "0 sky, 1 cherry, 2 grass (by --classes)" in page
    assert "It made the folder kept and wants a new one" in page
    (line,) = re.findall(r"dlpu (test .*)", page)
    again = CliRunner().invoke(dlpu, [*shlex.split(line), "--json"])
    keys = ("label", "camera", "computer", "largest")
    first, second = (
        [[of[key] for key in keys] for of in pictures]
        for pictures in (
            told["camera"]["pictures"],
            json.loads(again.stdout)["pictures"],
        )
    )
    assert len(first) == 7
    assert first == second
    names = [Path(of["name"]).name for of in told["camera"]["pictures"]]
    kept = [of["name"] for of in json.loads(again.stdout)["pictures"]]
    for name, copy in zip(names, kept, strict=True):
        (original,) = (place / "pictures").rglob(name)
        copied = tmp_path / "kept" / "judges" / copy
        assert Image.open(original).tobytes() == Image.open(copied).tobytes()


def test_too_few_judges_are_no_verdict(place, tmp_path):
    for name in (1, 2):
        Image.new("RGB", (32, 16), (name, 9, 9)).save(tmp_path / f"{name}.png")
    result = run(place, "--soc", "artpec9", *STEPS, images=tmp_path)
    assert result.exit_code == 1, result.output + result.stderr
    assert "ARTPEC-9: not judged: 1 picture, expected 16 or more" in result.stdout


def test_compare_takes_a_model_that_scales_too(place, tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    image = tf.keras.Input((16, 32, 3), name="image")
    scaled = tf.keras.layers.Rescaling(127.5, offset=127.5, name="back")(image)
    with quiet():
        tf.keras.Model(image, colour_reader()(scaled)).save(tmp_path / "back.keras")
    result = run(
        place,
        *("--soc", "artpec8", "--labels", *STEPS, "--keep", "kept"),
        name=tmp_path / "back.keras",
    )
    assert result.exit_code == 0, result.output + result.stderr
    page = text_of((place / "page.html").read_text("utf-8"))
    assert "The model's layer 'back' scales pixels too" in page
    for line in re.findall(r"dlpu ((?:convert|compare) .*)", page):
        again = CliRunner().invoke(dlpu, shlex.split(line))
        assert again.exit_code == 0, line + again.output + again.stderr
    assert "nothing wrong" in again.stdout


def test_json_has_the_keys_that_help_tells(place):
    result = run(place, "--soc", "artpec9", "--labels", "--virtual", "--json", *STEPS)
    assert result.exit_code == 0, result.output + result.stderr
    told = json.loads(result.stdout)
    said = CliRunner().invoke(dlpu, ["report", "--help"]).output
    for key in told:
        assert re.search(rf"\b{key}\b", said), key
    assert told["accuracy"]["float"]["share"] == 1.0
    assert told["agreement"]["made"]["of"] == 18
    assert told["accuracy"]["unrepaired"] is None
    assert told["camera"]["file"] == "colours.tflite"
    assert told["camera"]["timing"]["simulated"].startswith("simulation")
    assert told["card"]["inputs"][0]["bytes"] == 16 * 32 * 3
    assert told["page"] == str(place / "page.html")
    assert told["kept"] is None
    assert "tensorflow" in told["versions"]


def test_the_page_has_the_command_as_it_was_typed(place, tmp_path):
    page = tmp_path / "page.html"
    cured = run(place, "--soc", "artpec9", "--repair", page=page, images="many")
    assert cured.exit_code == 0, cured.output + cured.stderr
    assert "cures kept" in cured.stdout
    text = text_of(page.read_text("utf-8"))
    assert f"{place / 'many'} --repair -o {page}\n" in text
    assert "dlpu convert" in text
    assert "--images DIR/calibration --mean 0 --std 255 --repair -o DIR/" in text


def test_a_saved_model_and_pictures_of_its_own_for_calibration(place):
    inside = place / "inside"
    result = run(
        place,
        *("--soc", "cv25", "--labels", "--calibration", place / "loose", *STEPS),
        *("-d", inside),
        name="saved",
        page="inside/page.html",
    )
    assert result.exit_code == 0, result.output + result.stderr
    assert "calibrated by                                36 pictures" in result.stdout
    assert "judged by                                    36 other pictures" in (
        result.stdout
    )
    assert "every second picture" not in result.stdout
    assert "not run: the compiler of CV25" in result.stdout
    assert "not run: the file, on a camera" in result.stdout
    names = {path.name for path in inside.iterdir()}
    assert names == {
        *("saved.onnx", "saved_float.tflite", "saved_calibration"),
        *("calibration", "judges", "classes.txt", "page.html"),
    }


def test_findings_are_a_page_and_status_1(place, tmp_path):
    images, labels = datasets.handwritten_digits()
    for number in range(60):
        of = tmp_path / "digits" / str(labels[number])
        of.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number, ..., 0]).save(of / f"{number}.png")
    with quiet():
        broken = laboratory.plant_dead_channels(models.digit_reader(), seed=1)
        broken.save(tmp_path / "broken.keras")
    result = run(
        tmp_path,
        *("--soc", "artpec8", "--labels", "--virtual"),
        name="broken.keras",
        images="digits",
    )
    assert result.exit_code == 1, result.output + result.stderr
    assert "broken.tflite for ARTPEC-8: not ready: " in result.stdout
    assert "the accuracy falls from" in result.stdout
    page = text_of((tmp_path / "page.html").read_text("utf-8"))
    assert "Verdict: not ready: " in page
    assert "Where it was lost" in page
    assert "The files were not kept: with --keep DIR they are" in page


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        (("--soc", "artpec10"), {}, "not known, expected one of"),
        ((), {"name": "no.keras"}, "no such file or folder"),
        ((), {"name": "text.keras"}, "damaged, or not a .keras file"),
        ((), {"images": "nowhere"}, "no such folder"),
        ((), {"images": "empty"}, "holds no picture"),
        ((), {"page": "page.txt"}, "expected a name that ends in .html"),
        ((), {"page": "none/page.html"}, "no such folder to write to"),
        (("--std", "0"), {}, "expected numbers above 0"),
        (("--labels",), {"images": "loose"}, "is in none"),
        (("--labels", "--classes", "{}/two.txt"), {}, "subfolder sky"),
        (("--labels", "--classes", "{}/none.txt"), {}, "no such file"),
        (("--calibration", "{}/pictures"), {}, "calibrated it too"),
        (("--calibration", "{}/empty"), {}, "holds no picture"),
        (("--keep", "{}/empty"), {}, "exists, expected a new folder"),
        (("--virtual", "--camera", "192.0.2.1"), {}, "expected one of them"),
        (("--camera", "192.0.2.1"), {}, "no user: give --user"),
        (("--soc", "cv25", "--camera", "192.0.2.1"), {}, "expected --compiled"),
        (("--compiled", "{}/none.bin"), {}, "none.bin: no such file"),
        (("--soc", "cv25", "--repair"), {}, "a planar ONNX file is made here"),
        (("--repair",), {"name": "saved"}, "layers of a SavedModel"),
        (("--repair",), {}, "expected 20 or more to repair with"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_no_page(place, options, change, words):
    options = [text.format(place) for text in options]
    if "--soc" not in options:
        options += ["--soc", "artpec9"]
    page = place / change.get("page", "new.html")
    assert_refused(run(place, *options, **{"page": "new.html", **change}), words)
    assert not page.exists()


def test_a_list_of_another_length_is_refused_before_the_work(place, tmp_path):
    for name in ("cherry", "grass"):
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.new("RGB", (32, 16)).save(tmp_path / "few" / name / "a.png")
    result = CliRunner().invoke(
        dlpu,
        [
            *("report", str(place / "colours.keras"), "--soc", "artpec9", "--labels"),
            *("--images", str(tmp_path / "few"), "-o", str(tmp_path / "page.html")),
        ],
    )
    assert_refused(result, "2 subfolders, the model has 3 classes")
    assert "converting" not in result.stderr


def test_a_full_disk_leaves_the_old_page(place, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("old")
    before = os.fsync

    def full(descriptor):
        if page.name in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")
        before(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    monkeypatch.setattr(os, "fsync", full)
    result = run(place, "--soc", "artpec9", page=page)
    assert_refused(result, "No space left on device", "nothing was left behind")
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_missing_extra_is_named(place, monkeypatch):
    real = pictures.find_spec
    monkeypatch.setattr(
        pictures, "find_spec", lambda name: None if name == "asyncssh" else real(name)
    )
    assert_refused(run(place, "--soc", "artpec9"), "`pip install '.[camera]'`")


def test_a_real_camera_is_looked_at_first(place, monkeypatch):
    from test_camera_evaluation import Camera

    asked = []

    @contextmanager
    def camera(options):
        asked.append(options["host"])
        yield Camera("artpec9")

    monkeypatch.setattr(connecting, "camera", camera)
    real = ("--camera", "192.0.2.1", "--user", "root")
    result = run(place, "--soc", "artpec8", *real)
    assert_refused(result, "AXIS T1: has ARTPEC-9", "expected --soc artpec9")
    assert "converting" not in result.stderr
    result = run(place, "--soc", "artpec9", "--labels", *real, *STEPS)
    assert result.exit_code == 0, result.output + result.stderr
    assert asked == ["192.0.2.1"] * 3
    assert "; AXIS T1 ran it" in result.stdout
    page = html.unescape((place / "page.html").read_text("utf-8"))
    assert "SIMULATION" not in page
    assert "--camera 192.0.2.1 --user root --images DIR/judges --labels" in page


def test_nothing_heavy_is_imported_for_help():
    import subprocess
    import sys

    code = (
        "import sys; from course_lib.cli import report\n"
        "heavy = {'numpy', 'asyncssh', 'httpx', 'tensorflow', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"
