"""`dlpu test` on the virtual camera, and what it refuses in one line."""

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

from course_lib.cli import connecting, dlpu, labels, pictures
from course_lib.cli import test as command
from course_lib.dlpu import rules, socs
from course_lib.errors import UnusableInput
from course_lib.tflite import inference

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

for package in ("asyncssh", "httpx", "cryptography", "matplotlib"):
    pytest.importorskip(package)

DATA = Path(__file__).parents[1] / "data"
PERSON = DATA / "person_per_channel.tflite"
SCENE = DATA / "scene_classifier_qat.tflite"


@pytest.fixture(autouse=True)
def no_camera(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AXIS_CAMERA")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures in folders that are called as LiteRT names them, and one that is not."""
    folder = tmp_path_factory.mktemp("test")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 6, 6, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    answers = inference.predict(SCENE, images, raw=True).argmax(1)
    answers[0] = (answers[0] + 1) % 4
    for number, (image, answer) in enumerate(zip(images, answers, strict=True)):
        of = folder / "pictures" / str(answer)
        of.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(of / f"{number}.png")
    (folder / "loose").mkdir()
    Image.fromarray(images[0]).save(folder / "loose" / "one.png")
    (folder / "empty").mkdir()
    (folder / "classes.txt").write_text("zero\none\ntwo\nthree\n")
    return folder


def run(place, model, *options, images="pictures"):
    words = ["test", str(model), "--images", str(place / images), *map(str, options)]
    return CliRunner().invoke(dlpu, words)


# On the virtual camera


def test_artpec8_gives_what_litert_gives(place):
    report = place / "report.html"
    result = run(
        place,
        *(SCENE, "--virtual", "artpec8", "--labels", "--rounds", "20"),
        *("--report", report),
    )
    assert result.exit_code == 0, result.output + result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("scene_classifier_qat.tflite on ")
    assert lines[1].startswith("warning: SIMULATION: the times are no camera's")
    assert "labels            1 is class 1, 2 is class 2, 3 is class 3" in lines
    assert any(
        line.startswith("camera top-1") and "0.88, 7 of 8" in line for line in lines
    )
    assert any(
        line.startswith("computer top-1") and "0.88, 7 of 8" in line for line in lines
    )
    assert lines[-1] == "no finding; 3 warnings above"
    assert result.stderr == ""  # no progress bar where nobody looks
    page = report.read_text("utf-8")
    assert "SIMULATION: the times are no camera" in page
    assert "data:image/svg+xml;base64," in page
    assert "<script" not in page
    words = ["dlpu", "test", str(SCENE), "--virtual", "artpec8", "--images"]
    words += [str(place / "pictures"), "--labels", "--rounds", "20"]
    words += ["--report", str(report)]
    assert f">{shlex.join(words)}</pre>" in page
    assert hashlib.sha256(SCENE.read_bytes()).hexdigest() in page
    assert "<p>No finding; 3 warnings above.</p>" in page
    assert "Nothing wrong" not in page
    assert "<p>No value of any picture differs.</p>" in page
    assert "1 of 8 pictures</caption>" in page  # the one whose label is another


def test_artpec9_in_json_has_the_keys_that_help_tells(place):
    result = run(
        place,
        *(PERSON, "--virtual", "ARTPEC-9", "--rounds", "10", "--limit", "2", "--json"),
    )
    assert result.exit_code == 0, result.output + result.stderr
    told = json.loads(result.stdout)
    said = CliRunner().invoke(dlpu, ["test", "--help"]).output
    for table in (told, *(v for v in told.values() if isinstance(v, dict))):
        for key in table:
            assert key in said, key
    for table in (told["outputs"][0], told["pictures"][0]):
        for key in table:
            assert key in said, key
    assert told["camera"]["device"] == "a9-dlpu-tflite"
    assert told["load"]["simulated"].startswith("simulation")
    assert told["load"]["first_seconds"] > told["load"]["later_seconds"]
    assert len(told["timing"]["batch_means"]) == 10
    assert len(told["pictures"]) == 2
    assert told["accuracy"] is None
    assert told["computer"] == "LiteRT, default kernels"
    assert told["outputs"][0]["verdict"] == "identical"
    assert told["camera"]["virtual"] is True
    assert told["folders"] is None
    assert told["problems"] == []


def test_cv25_runs_the_planar_onnx_as_a_stand_in(place):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = place / "planar.onnx"
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    kernel = np.random.default_rng(1).normal(0, 0.01, (3 * 6 * 10, 4))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "kernel"], ["scores"]),
        ],
        "g",
        [helper.make_tensor_value_info("image", kind, (1, 3, 6, 10))],
        [helper.make_tensor_value_info("scores", kind, (1, 4))],
        [onnx.numpy_helper.from_array(kernel.astype(np.float32), "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 7
    onnx.save(model, file)
    options = ["--virtual", "cv25", "--rounds", "10", "--json"]
    result = run(place, file, *options, "--mean", "127.5", "--std", "127.5")
    assert result.exit_code == 0, result.output + result.stderr
    told = json.loads(result.stdout)
    assert told["input"]["row_pitch"] == 32
    assert told["input"]["bytes"] == 3 * 6 * 32
    assert told["agreement"] == 1
    assert told["outputs"][0]["largest"] <= 1e-3
    assert "CVflow" in told["timing"]["simulated"]
    assert any("--mean and --std were not used" in text for text in told["warnings"])


def test_a_tflite_file_goes_to_the_cpu_of_cv25_alone(place):
    refused = run(place, SCENE, "--virtual", "cv25")
    assert_refused(refused, "--device cpu-tflite")
    result = run(
        place,
        *(SCENE, "--virtual", "cv25", "--device", "cpu-tflite"),
        *("--rounds", "10", "--limit", "2"),
    )
    assert result.exit_code == 0, result.output + result.stderr
    assert "nothing here tells about its DLPU" in result.stdout


def test_a_host_is_tested_as_the_virtual_one_is(place, tmp_path, monkeypatch):
    from course_lib.camera import virtual

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with virtual.start("artpec8") as camera:
        options = ["--camera", camera.host, "--user", camera.user]
        options += ["--port", camera.port, "--https-port", camera.https_port]
        options += ["--rounds", "10", "--limit", "2"]
        monkeypatch.setenv("AXIS_CAMERA_PASSWORD", camera.password)
        unknown = run(place, SCENE, *options)
        result = run(place, SCENE, *options, "--trust-new")
        folders = [path.name for path in (camera.root / "tmp").iterdir()]
        password = camera.password
    assert_refused(unknown, "host key")
    assert result.exit_code == 0, result.output + result.stderr
    assert "(SIMULATION)" in result.stdout
    assert not [name for name in folders if name.startswith("dlpu-")]
    assert password not in result.output + unknown.output


def test_a_model_that_the_camera_refuses_ends_in_one_line(place, monkeypatch):
    from course_lib.camera import virtual

    def broken(soc):
        return virtual_start(soc, faults=virtual.Faults(out_of_memory=True))

    virtual_start = virtual.start
    monkeypatch.setattr(virtual, "start", broken)
    result = run(place, SCENE, "--virtual", "artpec8")
    assert_refused(result, "Asynchronous connection has been closed")


# Pictures and labels


def labelled(place, *, images="pictures", classes=None, limit=None):
    from course_lib.vision import datasets

    folder = place / images
    paths = labels.limited(datasets.image_files(folder), limit)
    options = {"labelled": True, "classes": classes}
    names, _, numbers = labels.of_folders(folder, paths, options)
    return names, numbers


def test_subfolders_are_numbers_or_names_or_sorted(tmp_path):
    def make(*names):
        folder = tmp_path / "-".join(names)
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "0.png").touch()
        return folder.name

    assert labelled(tmp_path, images=make("7", "12"))[1] == [12, 7]
    assert labelled(tmp_path, images=make("cat", "dog")) == (("cat", "dog"), [0, 1])
    file = tmp_path / "classes.txt"
    file.write_text("dog\ncat\n12\n")
    named = labelled(tmp_path, images="cat-dog", classes=file)
    assert named == (("dog", "cat", "12"), [1, 0])
    with pytest.raises(UnusableInput, match="subfolder owl: not in --classes"):
        labelled(tmp_path, images=make("cat", "owl"), classes=file)


def test_names_are_as_many_as_the_classes(place, tmp_path):
    """Otherwise their sorted places are no class numbers of the model."""
    picture = place / "loose" / "one.png"

    def make(*names):
        folder = tmp_path / "-".join(names)
        for name in names:
            (folder / name).mkdir(parents=True)
        shutil.copy(picture, folder / names[0] / "one.png")
        return folder

    few, four = make("cat", "dog"), make("a", "b", "c", "d")
    options = (SCENE, "--virtual", "artpec8", "--labels", "--rounds", "10")
    assert_refused(
        run(tmp_path, *options, images=few),
        "2 subfolders, the model has 4 classes: give --classes FILE, or name the "
        "folders by class number",
    )
    result = run(tmp_path, *options, images=four)  # an empty one is a class too
    assert result.exit_code == 0, result.output
    assert "a is class 0, b is class 1, c is class 2, d is class 3" in result.stdout
    file = tmp_path / "classes.txt"
    file.write_text("cat\ndog\nowl\n")
    assert_refused(
        run(tmp_path, *options, "--classes", file, images=few),
        "3 names for 4 classes: expected one for each, in the model's order",
    )
    file.write_text("owl\ncat\nfox\ndog\n")
    named = run(tmp_path, *options, "--classes", file, "--json", images=few)
    told = json.loads(named.stdout)
    assert told["folders"] == {"cat": 1, "dog": 3}
    assert told["pictures"][0]["label"] == 1


def test_a_limit_takes_pictures_of_every_folder():
    paths = [Path(f"{n // 5}/{n}.png") for n in range(20)]
    some = labels.limited(paths, 4)
    assert [path.parent.name for path in some] == ["0", "1", "2", "3"]
    assert labels.limited(paths, 30) == labels.limited(paths, None) == paths


def test_a_bar_shows_where_somebody_looks(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown, hidden = Terminal(), io.StringIO()
    for stream in (shown, hidden):
        monkeypatch.setattr(sys, "stderr", stream)
        with command._progress(3) as progress:
            for _ in range(3):
                progress()
    assert "100%" in shown.getvalue()
    assert hidden.getvalue() == ""


# What is refused


def assert_refused(result, words):
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "no camera: give --camera HOST, or --virtual SOC"),
        (("--virtual", "artpec8", "--camera", "a"), "one of them, not both"),
        (("--camera", "192.0.2.1"), "no user: give --user, or set AXIS_CAMERA_USER"),
        (("--virtual", "artpec10"), "--virtual artpec10: no such chip, expected one"),
        (("--virtual", "cpu"), "on a camera's CPU add --device cpu-tflite"),
        (("--virtual", "artpec8", "--output", "1"), "the model has outputs 0 to 0"),
        (("--virtual", "artpec8", "--compiled", "none.bin"), "none.bin: no such file"),
        (("--virtual", "artpec8", "--report", "a.pdf"), "a name that ends in .html"),
        (("--virtual", "artpec8", "--report", "no/a.html"), "no such folder to write"),
        (("--virtual", "artpec8", "--std", "0"), "expected numbers above 0"),
        (("--virtual", "artpec8", "--classes", "none.txt"), "none.txt: no such file"),
    ],
)
def test_mistakes_end_in_one_line(place, options, words):
    assert_refused(run(place, SCENE, *options), words)


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        ("empty", (), "holds no picture"),
        ("nowhere", (), "no such folder"),
        ("loose", ("--labels",), "one.png is in none"),
    ],
)
def test_folders_that_cannot_be_used(place, images, options, words):
    result = run(place, SCENE, "--virtual", "artpec8", *options, images=images)
    assert_refused(result, words)


def test_a_missing_model_and_a_missing_package(place, monkeypatch):
    assert_refused(run(place, "no.tflite", "--virtual", "artpec8"), "no such file")
    real = pictures.find_spec
    monkeypatch.setattr(
        pictures, "find_spec", lambda name: None if name == "httpx" else real(name)
    )
    result = run(place, SCENE, "--virtual", "artpec8")
    assert_refused(result, "`pip install '.[camera]'`")


def test_nothing_heavy_is_imported_for_help():
    import subprocess

    code = (
        "import sys; from course_lib.cli import test\n"
        "heavy = {'numpy', 'asyncssh', 'httpx', 'tensorflow', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_what_can_be_seen_here_is_refused_before_a_camera_is_asked(place, monkeypatch):
    monkeypatch.setattr(connecting, "camera", None)
    text, onnx = place / "text.tflite", place / "text.onnx"
    for file in (text, onnx):
        file.write_text("no model")
    for file in (text, onnx, place / "none.tflite"):
        for camera in (("--virtual", "artpec8"), ("--camera", "a", "--user", "b")):
            assert_refused(run(place, file, *camera), file.name)
    assert "cpu," not in run(place, SCENE, "--virtual", "x").stderr


@pytest.fixture
def fake(monkeypatch):
    """Answer as the camera that is called for, with what `change` makes of outputs."""
    from test_camera_evaluation import Camera

    def use(*arguments, **options):
        camera = Camera(*arguments, **options)
        one = contextmanager(lambda told: iter([camera]))
        monkeypatch.setattr(connecting, "camera", one)
        return camera

    return use


def test_errors_of_the_linter_end_it_unless_forced(place, fake):
    camera = fake("artpec9")
    file = Path(__file__).parent / "lint_cases" / "tflite-input.cv.fail.tflite"
    options = (file, "--virtual", "artpec9", "--limit", "2")
    result = run(place, *options, "--json")
    assert result.exit_code == 1, result.output
    found = camera_lint(file)
    assert f"error {found.rule}: {rules.RULES[found.rule].title}" in result.stderr
    assert found.message in result.stderr
    assert rules.RULES[found.rule].why_on(socs.SOCS["artpec9"]) in result.stderr
    assert "--force tests the file as it is" in result.stderr
    assert camera.calls == []
    told = json.loads(result.stdout)
    (problem,) = told["problems"]
    assert found.rule in problem
    assert told["findings"][0]["rule"] == found.rule
    assert told["findings"][0]["severity"] == "error"
    assert told["timing"] is told["outputs"] is told["accuracy"] is None
    forced = run(place, *options, "--force", "--json")
    assert forced.exit_code == 1, forced.output + forced.stderr
    again = json.loads(forced.stdout)
    assert again["problems"][0] == problem
    assert set(again) == set(told)
    assert len(camera.inputs) == 2
    never = run(place, *options, "--force", "--fail-on", "never")
    assert never.exit_code == 0, never.output


def camera_lint(file):
    from course_lib.dlpu import contract

    model = contract.read(file, soc="artpec9")
    report = rules.lint(model, soc="artpec9", os="12.2.41")
    return report.at_least("error")[0]


def test_what_makes_the_exit_status(place, fake):
    fake()
    options = (SCENE, "--virtual", "artpec8", "--limit", "2")
    for told, status in (((), 0), (("warning",), 1), (("never",), 0)):
        chosen = ["--fail-on", *told] if told else []
        assert run(place, *options, *chosen).exit_code == status
    fake(change=lambda values: values[:, ::-1])
    assert run(place, *options).exit_code == 1
    assert run(place, *options, "--fail-on", "never").exit_code == 0


def test_a_report_names_the_pictures_that_went_wrong(place, fake):
    fake(change=lambda values: np.roll(values, 1, axis=-1))
    file = place / "bad.html"
    result = run(
        place,
        *(SCENE, "--camera", "192.0.2.1", "--user", "root", "--labels"),
        *("--classes", place / "classes.txt", "--report", file),
    )
    assert result.exit_code == 1, result.output + result.stderr
    page = file.read_text("utf-8")
    assert "Finding: output 0 is wrong" in page
    assert re.search(r"<p>\d findings; 1 warning above\.</p>", page)
    assert "8 of 8 pictures</caption>" in page
    assert '<td class="number">' not in page
    numbers = [path.parent.name for path in sorted(place.glob("pictures/*/*.png"))]
    for number in set(numbers):
        name = ("zero", "one", "two", "three")[int(number)]
        assert page.count(f"<td>{number} {name}</td>") >= numbers.count(number)
    assert "No value of any picture differs" not in page


@pytest.mark.filterwarnings("error")  # such as that the axes have no room
@pytest.mark.parametrize(("apart", "plots"), [(0, 1), (1, 2), (255, 2)])
def test_no_plot_of_nothing_and_no_legend_on_data(
    place, fake, monkeypatch, apart, plots
):
    from course_lib.course import report

    figures = []

    def drawn(figure):
        figure.canvas.draw()
        figures.append(figure)
        boxes = [(a.get_window_extent(), a.get_legend()) for a in figure.axes]
        figures.extend(
            legend.get_window_extent().overlaps(box) for box, legend in boxes
        )
        return b"<svg/>"

    monkeypatch.setattr(report, "drawn", drawn)
    fake(change=lambda values: values ^ np.uint8(apart))
    run(place, SCENE, "--virtual", "artpec8", "--report", place / "legend.html")
    figure, *overlaps = figures
    assert len(figure.axes) == plots
    assert overlaps == [False] * plots


def test_more_names_than_classes_are_doubted(place, fake):
    fake()
    wrong = place / "three.txt"
    wrong.write_text("a\nb\nc\n")
    result = run(place, SCENE, "--virtual", "artpec8", "--classes", wrong)
    assert "3 names for 4 classes" in result.stdout
    fake()
    right = run(
        place, SCENE, "--virtual", "artpec8", "--classes", place / "classes.txt"
    )
    assert "names for" not in right.stdout
