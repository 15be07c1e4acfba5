"""`dlpu compare` names what broke a file, or says in one line what it cannot use."""

import json
import shutil
import subprocess
import sys

from course_lib.cli import dlpu
from course_lib.quantization import conversion
from course_lib.vision import datasets, models

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with files of the person detector, and pictures in two subfolders."""
    folder = tmp_path_factory.mktemp("compare")
    fixed = conversion.fix_batch(models.person_detector())
    size, _, depth = fixed.input_shape[1:]
    pictures = datasets.calibration_images(size)
    if depth == 1:
        pictures = np.rint(pictures.mean(3, keepdims=True)).astype(np.uint8)

    def integers(values):
        return conversion.convert_full_integer(
            fixed,
            lambda: ([v[None].astype(np.float32)] for v in values),
            granularity="per-tensor",
        )

    (folder / "float.tflite").write_bytes(conversion.convert_float(fixed))
    # Made as `dlpu convert --float` does it when it is told mean and std.
    other = conversion.fix_batch(models.person_detector(), mean=0.0, std=1.0)
    (folder / "same.tflite").write_bytes(conversion.convert_float(other))
    (folder / "good.tflite").write_bytes(integers(pictures[:60]))
    (folder / "narrow.tflite").write_bytes(integers(pictures[:60] // 8))
    for number, picture in enumerate(pictures[60:80]):
        sub = folder / "pictures" / ("0_person" if number % 2 else "1_none")
        sub.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.squeeze()).save(sub / f"{number}.png")
    (folder / "empty").mkdir()
    (folder / "text.tflite").write_text("not a model")
    return folder


def run(place, *names, images="pictures", options=("--std", "1")):
    paths = [str(place / name) for name in names]
    return CliRunner().invoke(
        dlpu, ["compare", *paths, "--images", str(place / images), *options]
    )


def test_a_good_file_exits_with_0(place):
    result = run(place, "float.tflite", "good.tflite")
    assert result.exit_code == 0, result.output
    assert "on 20 pictures: the largest of 2 probabilities" in result.output
    assert result.output.endswith("nothing wrong\n")
    assert "warning" not in result.output


def test_a_broken_file_exits_with_1_and_tells_the_cure(place):
    result = run(place, "float.tflite", "narrow.tflite", options=("--std", "1"))
    assert result.exit_code == 1, result.output
    assert "1. calibration: The calibrated ranges are too narrow" in result.output
    assert "lesson 04" in result.output


def test_json_has_the_keys_that_help_tells(place):
    result = run(
        place, "float.tflite", "narrow.tflite", options=("--std", "1", "--json")
    )
    assert result.exit_code == 1
    told = json.loads(result.output)
    said = CliRunner().invoke(dlpu, ["compare", "--help"]).output
    for key in told:
        assert key in said, key
    for table in (told["layers"][0], told["causes"][0], told["float"]):
        for key in table:
            assert key in said, key
    assert told["layers"][0]["operator"] == "INPUT"
    assert told["causes"][0]["id"] == "calibration"
    assert told["worst"] in {layer["name"] for layer in told["layers"]}


def test_labels_are_the_sorted_subfolders(place):
    result = run(
        place,
        "float.tflite",
        "good.tflite",
        options=("--std", "1", "--labels", "--json"),
    )
    told = json.loads(result.output)
    assert 0 <= told["float"]["accuracy"] <= 1
    (warning,) = told["warnings"]  # the labels are halves and no people
    assert "numbered by their sorted names" in warning
    (place / "pictures" / "2_else").mkdir()
    more = run(
        place,
        "float.tflite",
        "good.tflite",
        options=("--std", "1", "--labels"),
    )
    (place / "pictures" / "2_else").rmdir()
    assert more.exit_code == 2
    assert "3 subfolders, the model has 2 classes: give --classes" in more.stderr
    loose = run(
        place,
        "float.tflite",
        "good.tflite",
        images="pictures/1_none",
        options=("--labels",),
    )
    assert loose.exit_code == 2
    assert "expected every picture in a subfolder" in loose.stderr


def test_labels_are_numbers_or_stand_in_a_list(place, tmp_path):
    """As in `dlpu test`: 10 comes after 9, and a list tells another order."""
    shutil.copytree(place / "pictures", tmp_path / "named")
    next(
        (tmp_path / "named/1_none").iterdir()
    ).unlink()  # 19 are left: no half is right
    for name, number in (("0_person", 0), ("1_none", 1)):
        for folder in (f"numbered/{number}", f"strange/{number + 9}"):
            shutil.copytree(tmp_path / "named" / name, tmp_path / folder)
    (tmp_path / "swapped.txt").write_text("1_none\n0_person\n")

    def accuracy(images, *more):
        options = ("--std", "1", "--labels", "--json", *more)
        result = run(
            place, "float.tflite", "good.tflite", images=images, options=options
        )
        return json.loads(result.output)["float"]["accuracy"]

    plain = accuracy(tmp_path / "named")
    assert accuracy(tmp_path / "numbered") == plain
    swapped = accuracy(tmp_path / "named", "--classes", str(tmp_path / "swapped.txt"))
    assert swapped == pytest.approx(1 - plain) != plain
    told = run(place, "float.tflite", "good.tflite", options=("--std", "1", "--labels"))
    assert "labels     0_person is class 0, 1_none is class 1" in told.output
    assert "if the model has another order, that is why; give --classes" in told.output
    alone = run(place, "float.tflite", "good.tflite", options=("--classes", "x.txt"))
    assert alone.exit_code == 2
    assert "expected --labels beside it" in alone.stderr
    options = ("--std", "1", "--labels")
    images = tmp_path / "strange"
    result = run(place, "float.tflite", "good.tflite", images=images, options=options)
    assert result.exit_code == 2
    assert "labels reach 9..10" in result.stderr


def test_so_many_layers_as_asked(place):
    for count in (0, 3):
        options = ("--std", "1", "--layers", str(count))
        result = run(place, "float.tflite", "good.tflite", options=options)
        rows = [line for line in result.output.splitlines() if "CONV_2D" in line]
        assert len(rows) == count


def test_the_plot_is_a_picture(place):
    options = ("--std", "1", "--plot", str(place / "plot.png"))
    result = run(place, "float.tflite", "good.tflite", options=options)
    assert result.exit_code == 0, result.output
    with Image.open(place / "plot.png") as picture:
        assert min(picture.size) > 300
        assert np.asarray(picture.convert("L")).std() > 5


def test_a_wrong_mean_is_doubted(place):
    options = ("--mean", "127", "--std", "128")
    result = run(place, "float.tflite", "good.tflite", options=options)
    assert "INT8's input says mean 0 and std 1, not 127 and 128" in result.output


def test_files_that_see_other_pictures_are_not_judged(place):
    result = run(place, "float.tflite", "good.tflite", options=("--std", "255"))
    assert result.exit_code == 2, result.output
    assert "warning    the files do not see the same pictures" in result.output
    assert result.output.endswith(
        "not judged: the files do not see the same pictures\n"
    )


def test_a_mean_beside_the_one_in_the_graph_is_doubted(place):
    other = conversion.fix_batch(models.person_detector(), mean=1.0, std=1.0)
    (place / "inside.tflite").write_bytes(conversion.convert_float(other))
    result = run(place, "inside.tflite", "good.tflite", options=())
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    result = run(place, "inside.tflite", "good.tflite", options=("--mean", "-0.5"))
    assert "FLOAT normalises by itself" in result.output
    # Far enough from INT8's input to be a mistake: no verdict on anything.
    result = run(place, "inside.tflite", "good.tflite", options=("--mean", "127"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "inside.tflite normalises by itself" in result.stderr


def test_another_normalisation_in_the_graph_than_in_the_input_is_doubted(place):
    other = conversion.fix_batch(models.person_detector(), mean=127.0, std=128.0)
    (place / "other.tflite").write_bytes(conversion.convert_float(other))
    result = run(place, "other.tflite", "good.tflite", options=())
    assert "INT8's input says mean 0 and std 1, not 127 and 128" in result.output


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("good.tflite", "good.tflite"), (), "--soc cpu --float -o float.tflite"),
        (("float.tflite", "float.tflite"), (), "expected an int8 .tflite file"),
        (("none.tflite", "good.tflite"), (), "no such file"),
        (("text.tflite", "good.tflite"), (), "not a .tflite file"),
        (("float.tflite", "good.tflite"), ("--plot", "plot.gif"), "ends in .png"),
        (("float.tflite", "good.tflite"), ("--plot", "no/p.png"), "no such folder"),
        (("float.tflite", "good.tflite"), ("--std", "0"), "above 0"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(place, names, options, words):
    result = run(place, *names, options=options)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_without_pictures_is_refused(place):
    result = run(place, "float.tflite", "good.tflite", images="empty")
    assert result.exit_code == 2
    assert "holds no picture" in result.stderr


def test_it_never_imports_tensorflow(place):
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from course_lib.cli import dlpu\n"
        "result = CliRunner().invoke(dlpu, ['compare', *sys.argv[1:]])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    paths = [str(place / name) for name in ("float.tflite", "good.tflite")]
    images = str(place / "pictures")
    subprocess.run(
        [sys.executable, "-c", code, *paths, "--images", images, "--std", "1"],
        check=True,
    )
