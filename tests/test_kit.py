"""`dlpu kit`: a folder for a camera, and the judgement of what comes back."""

import asyncio
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

from course_lib.camera import judgement, virtual
from course_lib.camera import kit as kits
from course_lib.camera.virtual import larod_client, runtime
from course_lib.cli import dlpu
from course_lib.cli import kit as command  # noqa: F401  (adds `dlpu kit`)
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput
from course_lib.tflite import reading
from course_lib.vision import datasets

import asyncssh
import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from lessons import ROOT
from PIL import Image

FLOAT = ROOT / "data/scene_classifier_float_256.tflite"
PERSON = ROOT / "data/person_per_channel.tflite"
SCENE = ROOT / "data/scene_classifier_qat.tflite"
ONNX = ROOT / "tests/lint_cases/row-width.cv.pass.onnx"
DLPU = "a9-dlpu-tflite"


def run(*arguments):
    return CliRunner().invoke(dlpu, ["kit", *map(str, arguments)])


def on_camera(folder, soc="artpec9"):
    """Do what run.sh says, on the virtual camera's larod-client."""
    camera = runtime.Device(socs.find(soc), compile_seconds=0)
    said = []
    for line in (folder / "run.sh").read_text().splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["touch"]:
            for name in words[1:]:
                (folder / name).touch()
        elif words:
            larod_client.run(
                words,
                camera=camera,
                root=folder,
                cwd=PurePosixPath("/"),
                write=said.append,
            )
    return "".join(said)


def compared(folder):
    done = run("--compare", folder, "--json")
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.output), done.exit_code


def verdicts(told, **wanted):
    return [
        entry["verdict"]
        for entry in told["results"]
        if all(entry[key] == value for key, value in wanted.items())
    ]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    photos, _ = datasets.labelled_photographs()
    for number, photo in enumerate(photos[:3]):
        Image.fromarray(photo).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory, photographs):
    """Return a kit whose script has run."""
    folder = tmp_path_factory.mktemp("kits") / "kit"
    done = run(SCENE, "--soc", "artpec9", "-o", folder, "--images", photographs)
    assert done.exit_code == 0, done.output
    assert "ERROR" not in on_camera(folder)
    return folder


def test_pictures_are_spread_over_the_folders(tmp_path):
    for number, name in enumerate("abcd"):
        for place in range(3):
            picture = np.full((8, 8, 3), 40 * number, np.uint8)
            path = tmp_path / "pictures" / name / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    folder = tmp_path / "kit"
    images = ("--images", tmp_path / "pictures")
    done = run(PERSON, "--soc", "artpec9", "-o", folder, *images)
    assert done.exit_code == 0, done.output
    inputs = {path.read_bytes()[0] for path in (folder / "in").rglob("*.bin")}
    assert inputs == {0, 40, 80, 120}


@pytest.fixture
def kit(original, tmp_path):
    return shutil.copytree(original, tmp_path / "kit")


def dumps(folder, device=DLPU, variant="model", output=0):
    return sorted((folder / "out" / device / variant).glob(f"*.{output}.bin"))


def change(paths, how):
    for path in paths:
        values = np.frombuffer(path.read_bytes(), np.uint8)
        path.write_bytes(how(values).astype(np.uint8).tobytes())


def test_what_is_in_a_kit(original):
    told = json.loads((original / "kit.json").read_text())
    assert told["soc"] == "artpec9"
    assert told["model"] == SCENE.name
    assert (original / "model.tflite").read_bytes() == SCENE.read_bytes()
    for name, of in told["files"].items():
        block = (original / name).read_bytes()
        assert len(block) == of["bytes"]
        assert hashlib.sha256(block).hexdigest() == of["sha256"]
    (entry,) = told["inputs"]
    model = reading.read(SCENE)
    assert entry["name"] == model.inputs[0].name
    assert entry["bytes"] == model.inputs[0].nbytes
    sizes = {path.stat().st_size for path in (original / "in").iterdir()}
    assert sizes == {entry["bytes"]}
    assert told["outputs"]["model"][0]["scale"] == model.outputs[0].scale
    exposed = [of["kind"] for of in told["outputs"]["exposed"] if of["exposed"]]
    assert exposed == ["ADD"] * 5
    assert not list(original.parent.glob(".kit*"))


def test_the_script_is_plain(original):
    lines = (original / "run.sh").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"#", "touch", "larod-client"}
    # Names of the kit's own alone: nothing that a shell would expand or run.
    told = " ".join(line for line in lines if not line.startswith("#"))
    assert set(told) <= set("abcdefghijklmnopqrstuvwxyzR0123456789 ./-_")
    assert "/tmp" not in told
    readme = (original / "README.md").read_text()
    assert readme.count("\n") < 15
    assert readme.count("In this folder, on your computer") == 2
    assert "`dlpu camera --soc artpec9`" in readme
    assert "`scp -P PORT`" in readme


def test_the_pictures_are_what_the_device_takes(original, photographs):
    model = reading.read(SCENE)
    size = model.inputs[0].shape[1:3]
    path = datasets.image_files(photographs)[0]
    pixels = datasets.centre_crop(datasets.read_image(path), size=size)
    if model.inputs[0].dtype == "int8":
        pixels = (pixels.astype(int) - 128).astype(np.int8)
    assert (original / "in/000.0.bin").read_bytes() == pixels.tobytes()


def test_what_the_virtual_camera_gives_is_identical(original):
    """Its larod-client runs LiteRT's default kernels: one of the two expectations."""
    told, status = compared(original)
    assert status == 0
    assert verdicts(told) == ["identical"] * (3 * 1 + 3 * 6)
    assert {entry["kernels"] for entry in told["results"]} == {"default", None}
    done = run("--compare", original)
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == "nothing wrong"
    assert " of 3 inputs" not in done.output
    for word in ("a step is 1 of an integer output", "dB; ", "reference (plain)"):
        assert done.output.count(word) == 1
    assert "float output" not in done.output


def test_reference_kernels_are_not_the_default_ones(original):
    """The two right answers differ: 12 values, so the share is coarse."""
    told = json.loads((original / "kit.json").read_text())
    (spread,) = told["spread"]
    assert spread["identical"] < 1
    assert spread["unit"] == "steps"
    assert (
        f"{spread['identical']:.2%} identical" in (original / "README.md").read_text()
    )


@pytest.mark.skipif(os.name == "nt", reason="needs sh")
def test_sh_runs_the_script(tmp_path):
    folder = tmp_path / "kit"
    done = run(PERSON, "--soc", "artpec9", "-o", folder, "--count", 1)
    assert done.exit_code == 0, done.output
    assert "hides a wrong layout" in done.output  # random input
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/larod-client"
    words = [sys.executable, "-m", "course_lib.camera.virtual.larod_client"]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} --soc artpec9 "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        ),
    }
    done = subprocess.run(
        ["sh", "run.sh"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "simulation" in done.stdout
    told, status = compared(folder)
    assert (verdicts(told), status) == (["identical"] * 3, 0)


def test_a_virtual_camera_runs_the_script_over_ssh(tmp_path):
    folder = tmp_path / "kit"
    assert run(SCENE, "--soc", "artpec8", "-o", folder, "--count", 1).exit_code == 0

    async def visit(camera):
        async with asyncssh.connect(
            camera.host,
            camera.port,
            username=camera.user,
            password=camera.password,
            known_hosts=asyncssh.import_known_hosts(camera.host_key),
            config=None,
            client_keys=None,
        ) as connection:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(folder), "/tmp/kit", recurse=True)
                done = await connection.run("cd /tmp/kit && sh run.sh")
                await sftp.get("/tmp/kit/out", str(folder), recurse=True)
            return done

    with virtual.start("artpec8", compile_seconds=0) as camera:
        done = asyncio.run(visit(camera))
    assert done.exit_status == 0, done.stdout + done.stderr
    told, status = compared(folder)
    assert set(verdicts(told)) == {"identical"}
    assert status == 0
    assert {entry["device"] for entry in told["results"]} == {
        "axis-a8-dlpu-tflite",
        "cpu-tflite",
    }


def test_one_bit(kit):
    path = dumps(kit, variant="exposed", output=2)[1]
    change([path], lambda values: values ^ (np.arange(values.size) == 7))
    told, status = compared(kit)
    assert status == 0  # one step in a tensor of thousands is closer than published
    near = [of for of in told["results"] if of["verdict"] != "identical"]
    assert [of["against"] for of in near] == ["computer", "cpu-tflite"]
    for found in near:
        assert found["verdict"] == "as close as published"
        assert (found["device"], found["output"], found["largest"]) == (DLPU, 2, 1)
        assert found["values"] * (1 - found["identical"]) == pytest.approx(1)
    # The measurements that it was judged by: the DLPU's, against each of the two.
    assert [entry["largest"] for entry in told["published"]] == [221, 219]
    text = run("--compare", kit).output
    assert "as close as the one published measurement" in text
    assert "close to it does not mean right" in text


def test_the_first_wrong_tensor_is_named(kit):
    """The sign of issue 508: from one ADD on, everything is wrong."""
    generator = np.random.default_rng(0)
    for output in (0, 4, 5):
        change(
            dumps(kit, variant="exposed", output=output),
            lambda values: generator.integers(0, 256, values.size),
        )
    told, status = compared(kit)
    assert status == 1
    names = [
        entry["name"]
        for entry in json.loads((kit / "kit.json").read_text())["outputs"]["exposed"]
    ]
    first, *_ = told["findings"]
    assert first.startswith(f"{DLPU}, with exposed tensors, against computer: wrong")
    assert "3 of 6 tensors" in first
    assert f"output 4, {names[4]} (operator " in first  # not output 0, the last one
    assert verdicts(told, variant="model") == ["identical"] * 3
    assert any("five layers" in remark for remark in told["remarks"])


def test_exposing_as_the_way_around(kit):
    """The plain file is wrong, the exposed one right: what issue 508 reports."""
    change(dumps(kit), lambda values: np.roll(values, 1))
    told, status = compared(kit)
    assert status == 1
    assert any(
        "right with exposed tensors, and not without" in r for r in told["remarks"]
    )


def test_the_camera_s_own_cpu_is_the_cross_check(kit):
    """Both devices wrong in the same way: the input or the file, not the DLPU."""
    for device in (DLPU, "cpu-tflite"):
        change(dumps(kit, device=device), lambda values: values[::-1])
    told, _ = compared(kit)
    assert verdicts(told, variant="model", against="cpu-tflite") == ["identical"]
    assert verdicts(told, variant="model", against="computer") == ["wrong", "wrong"]


def test_swapped_outputs(kit):
    outputs = json.loads((kit / "kit.json").read_text())["outputs"]["exposed"]
    one, other = next(
        (a, b)
        for a in range(1, 6)
        for b in range(a + 1, 6)
        if outputs[a]["shape"] == outputs[b]["shape"]
    )
    for first, second in zip(
        dumps(kit, variant="exposed", output=one),
        dumps(kit, variant="exposed", output=other),
        strict=True,
    ):
        blocks = first.read_bytes(), second.read_bytes()
        second.write_bytes(blocks[0])
        first.write_bytes(blocks[1])
    told, status = compared(kit)
    assert status == 1
    notes = {
        entry["output"]: entry["note"]
        for entry in told["results"]
        if entry["verdict"] == "wrong" and entry["against"] == "computer"
    }
    assert notes[one].startswith(f"it is output {other}")
    assert notes[other].startswith(f"it is output {one}")


def test_swapped_outputs_of_different_sizes(kit):
    first, second = (dumps(kit, variant="exposed", output=n)[0] for n in (0, 1))
    blocks = first.read_bytes(), second.read_bytes()
    second.write_bytes(blocks[0])
    first.write_bytes(blocks[1])
    told, status = compared(kit)
    assert status == 1
    assert "that is the size of output 1: are outputs swapped?" in told["problems"][0]


def test_off_by_128(kit):
    change(dumps(kit), lambda values: values ^ 128)
    told, status = compared(kit)
    assert status == 1
    assert "off by 128: int8 is read as uint8" in told["findings"][0]


def test_planar_instead_of_interleaved(kit):
    """A wrong layout of the input is told apart as wrong, from pictures."""
    for path in (kit / "in").iterdir():
        values = np.frombuffer(path.read_bytes(), np.uint8)
        path.write_bytes(values.reshape(-1, 3).T.tobytes())
    on_camera(kit)
    for path in (kit / "in").iterdir():  # as they were: the dumps alone are wrong
        values = np.frombuffer(path.read_bytes(), np.uint8)
        path.write_bytes(values.reshape(3, -1).T.tobytes())
    told, status = compared(kit)
    assert status == 1
    assert "wrong" in verdicts(told, variant="model", against="computer")
    assert verdicts(told, against="cpu-tflite") == ["identical"] * 7


def test_same_answer_for_every_input(kit):
    first, *others = dumps(kit)
    for path in others:
        path.write_bytes(first.read_bytes())
    told, status = compared(kit)
    assert status == 1
    assert "the same answer for every sample" in told["findings"][0]


def test_truncated_missing_and_empty_dumps(kit):
    first, second, third = dumps(kit, variant="exposed", output=1)
    size = first.stat().st_size
    first.write_bytes(first.read_bytes()[:-5])
    second.unlink()
    third.write_bytes(b"")
    dumps(kit, variant="exposed", output=2)[0].write_bytes(bytes(size * 100))
    told, status = compared(kit)
    assert status == 1
    missing, cut = told["problems"]
    assert "2 of 18 dumps missing or empty, the first out/" in missing
    assert f"has {size - 5:,} bytes, expected {size:,}: it is cut off" in cut
    assert "(2 of 18 such dumps)" in cut
    # The rest is judged, and what cannot be is left out.
    found = {
        entry["output"]: entry["samples"]
        for entry in told["results"]
        if (entry["device"], entry["variant"]) == (DLPU, "exposed")
    }
    assert found == {0: 3, 2: 2, 3: 3, 4: 3, 5: 3}
    assert ", 2 of 3 inputs\n" in run("--compare", kit).output


def test_a_device_that_refused(kit):
    shutil.rmtree(kit / "out" / DLPU / "exposed")
    told, status = compared(kit)
    assert status == 1
    (problem,) = told["problems"]
    assert problem.startswith(f"{DLPU}, with exposed tensors: none of 18 dumps")


def test_before_the_camera(kit):
    shutil.rmtree(kit / "out")
    done = run("--compare", kit)
    assert done.exit_code == 2
    assert "no output of a camera" in done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize("name", ["expected/reference/model/001.0.bin", "in/000.0.bin"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_kit_that_changed_is_refused(kit, name, how):
    if how == "gone":
        (kit / name).unlink()
    else:
        change([kit / name], lambda values: values + 1)
    done = run("--compare", kit)
    assert done.exit_code == 2
    assert name in done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.clear(),
        lambda told: told.update(format=2),
        lambda told: told.update(soc="../../etc"),
        lambda told: told.update(count=10**9),
        lambda told: told.update(count=-1),
        lambda told: told.update(inputs=[1]),
        lambda told: told.update(files=[]),
        lambda told: told["outputs"]["model"][0].update(shape=[10**12]),
        lambda told: told["outputs"]["model"][0].update(shape=[0]),
        lambda told: told["outputs"]["model"][0].update(shape=[1, 2]),
        lambda told: told["outputs"]["model"][0].update(dtype="object"),
        lambda told: told["outputs"]["model"][0].update(strides=["x"]),
    ],
)
def test_a_hostile_kit_json(kit, spoil):
    told = json.loads((kit / "kit.json").read_text())
    spoil(told)
    (kit / "kit.json").write_text(json.dumps(told))
    done = run("--compare", kit)
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1


def test_no_kit(tmp_path):
    for text in (None, "{", "[]", "\0"):
        if text is not None:
            (tmp_path / "kit.json").write_text(text)
        done = run("--compare", tmp_path)
        assert done.exit_code == 2
        assert len(done.output.splitlines()) == 1


def test_expose_all_and_none(tmp_path):
    for which, tensors in (("all", 31), ("none", None), ("adds", None)):
        folder = tmp_path / which
        made = kits.make(PERSON, folder, soc="artpec9", count=1, expose=which)
        exposed = made.outputs.get("exposed")
        assert (len(exposed) - 1 if exposed else None) == tensors
        assert (folder / "exposed.tflite").exists() == bool(tensors)
    on_camera(tmp_path / "all")
    found = judgement.judge(kits.read(tmp_path / "all"))
    assert {entry.difference.verdict for entry in found.results} == {"identical"}
    assert len(found.results) == 3 * (1 + 32)
    done = run("--compare", tmp_path / "all")
    assert "100.00%  31 of the exposed tensors: identical" in done.output


def test_cv25(tmp_path):
    """The device takes planar, padded rows and gives padded floats."""
    folder = tmp_path / "kit"
    done = run(ONNX, "--soc", "cv25", "-o", folder, "--count", 2)
    assert done.exit_code == 0, done.output
    assert (
        "compile    model.onnx yourself, and put it there as model.bin" in done.output
    )
    readme = (folder / "README.md").read_text()
    assert "put the result here as `model.bin`" in readme
    assert "for it alone, copy `model.onnx` to `model.bin`" in readme
    assert (folder / "in/000.0.bin").stat().st_size == 3 * 240 * 320
    assert "cpu-tflite" not in (folder / "run.sh").read_text()
    assert run("--compare", folder).exit_code == 2  # no dump yet
    shutil.copy(folder / "model.onnx", folder / "model.bin")  # the virtual camera's
    on_camera(folder, "cv25")
    told, status = compared(folder)
    assert verdicts(told) == ["identical"]
    assert status == 0
    assert any(r.endswith("one value every 32: padded") for r in told["remarks"])
    # Axis's other example reads the outputs without padding.
    for path in dumps(folder, device="ambarella-cvflow"):
        values = np.frombuffer(path.read_bytes(), "<f4").reshape(-1, 8)[:, 0]
        path.write_bytes(values.tobytes())
    told, _ = compared(folder)
    assert verdicts(told) == ["identical"]
    assert any(r.endswith("one value every 4: no padding") for r in told["remarks"])
    # Nobody has published how far CV25 is from the .onnx file.
    for path in dumps(folder, device="ambarella-cvflow"):
        values = np.frombuffer(path.read_bytes(), "<f4")
        path.write_bytes((values * np.float32(1.001)).tobytes())
    told, status = compared(folder)
    assert (verdicts(told), status) == (["not judged"], 0)
    assert told["results"][0]["unit"] == "units"


def test_rows_are_padded(tmp_path):
    onnx = pytest.importorskip("onnx")
    make = onnx.helper.make_tensor_value_info
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["image"], ["out"])],
        "tiny",
        [make("image", float32, [1, 3, 4, 20])],
        [make("out", float32, [1, 3, 4, 20])],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    kits.make(path, tmp_path / "kit", soc="cv25", count=1)
    sent = np.frombuffer((tmp_path / "kit/in/000.0.bin").read_bytes(), np.uint8)
    rows = sent.reshape(3, 4, 32)
    expected = np.frombuffer(
        (tmp_path / "kit/expected/onnxruntime/model/000.0.bin").read_bytes(), "<f4"
    )
    assert not rows[..., 20:].any()
    np.testing.assert_array_equal(rows[..., :20].ravel(), expected)


def test_what_was_made_is_told(tmp_path, photographs):
    """Nothing is silently less than what was asked for."""
    done = run(
        *(PERSON, "--soc", "artpec9", "-o", tmp_path / "few", "--images", photographs),
        *("--count", 50),
    )
    assert "inputs     3, pictures (--count 50: there are no more)\n" in done.output
    assert "exposed    none: no ADD feeds a CONV_2D" in done.output
    assert "warning" not in done.output
    done = run(
        *(PERSON, "--soc", "artpec9", "-o", tmp_path / "asked", "--expose", "none"),
        *("--count", 1, "--json"),
    )
    assert json.loads(done.output)["warnings"] == []
    assert "exposed" not in done.output


def test_the_cpu_needs_no_exposed_tensors_unless_asked(tmp_path):
    told = (PERSON, "--soc", "cpu", "--count", 1, "-o")
    assert "exposed    " not in run(*told, tmp_path / "plain").output
    assert not (tmp_path / "plain" / "exposed.tflite").exists()
    asked = run(*told, tmp_path / "asked", "--expose", "all")
    assert "exposed    31 tensors" in asked.output


def test_what_the_linter_calls_an_error_is_a_warning(tmp_path):
    done = run(FLOAT, "--soc", "artpec8", "-o", tmp_path / "kit", "--count", 1)
    assert done.exit_code == 0
    assert "warning    lint error not-full-integer: CONV_2D 0" in done.output
    done = run(
        *(FLOAT, "--soc", "artpec8", "-o", tmp_path / "other", "--count", 1, "--json")
    )
    (warning,) = json.loads(done.output)["warnings"]
    assert warning.startswith("not-full-integer: ")


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        (("--mean", "127.5", "--std", "127.5"), 127.5, 127.5),
        (("--std", "58,57,56"), 0, (58, 57, 56)),
    ],
)
def test_pictures_for_a_float_input(tmp_path, photographs, options, mean, std):
    folder = tmp_path / "kit"
    done = run(
        *(FLOAT, "--soc", "artpec8", "-o", folder, "--images", photographs, *options),
        *("--count", 1, "--expose", "none"),
    )
    assert done.exit_code == 0, done.output
    size = reading.read(FLOAT).inputs[0].shape[1:3]
    path = datasets.image_files(photographs)[0]
    pixels = datasets.centre_crop(datasets.read_image(path), size=size)
    sent = np.frombuffer((folder / "in/000.0.bin").read_bytes(), "<f4")
    expected = (pixels - np.array(mean, float)) / np.array(std, float)
    np.testing.assert_array_equal(sent, expected.astype(np.float32).ravel())
    assert "A value is (pixel - mean) / std" in (folder / "README.md").read_text()
    assert "ERROR" not in on_camera(folder, "artpec8")
    assert set(verdicts(compared(folder)[0])) == {"identical"}
    done = run("--compare", folder)
    assert "difference of the float values" in done.output
    assert "a step is" not in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((FLOAT, "--soc", "artpec8"), "give --mean and --std, or leave --images out"),
        ((FLOAT, "--soc", "artpec8", "--mean", "1,2,3", "--std", "0"), "above 0"),
        ((SCENE, "--soc", "artpec8", "--std", "255"), "takes pixels as they are"),
        ((ONNX, "--soc", "cv25", "--mean", "0"), "takes pixels as they are"),
    ],
)
def test_mean_and_std_are_for_float_inputs(tmp_path, photographs, words, told):
    done = run(*words, "--images", photographs, "-o", tmp_path / "kit")
    assert done.exit_code == 2
    assert told in done.output
    assert len(done.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_artpec7_wants_a_compiled_file(tmp_path):
    folder = tmp_path / "kit"
    made = kits.make(PERSON, folder, soc="artpec7", count=1, expose="none")
    assert made.to_compile == {"model.tflite": "model_edgetpu.tflite"}
    lines = (folder / "run.sh").read_text()
    assert "-g model_edgetpu.tflite -c google-edge-tpu-tflite" in lines
    assert "-g model.tflite -c cpu-tflite" in lines
    readme = (folder / "README.md").read_text()
    assert "for it alone, copy `model.tflite` to `model_edgetpu.tflite`" in readme
    shutil.copy(folder / "model.tflite", folder / "model_edgetpu.tflite")
    on_camera(folder, "artpec7")
    assert compared(folder)[1] == 0


def test_one_device_on_a_chip_without_dlpu(tmp_path):
    made = kits.make(PERSON, tmp_path / "kit", soc="cpu", count=1)
    assert [of.device for of in made.runs] == ["cpu-tflite"]


def test_random_input_is_seeded(tmp_path):
    blocks = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        kits.make(PERSON, folder, soc="artpec8", count=2, seed=seed, expose="none")
        blocks.append([(folder / f"in/00{n}.0.bin").read_bytes() for n in range(2)])
    assert blocks[0] == blocks[1]
    assert blocks[0] != blocks[2]
    assert blocks[0][0] != blocks[0][1]


def test_hostile_names_stay_out_of_the_script(tmp_path):
    path = tmp_path / "a b;$(rm -rf x)'.tflite"
    shutil.copy(PERSON, path)
    folder = tmp_path / "kit;`x` '"
    done = run(path, "--soc", "artpec9", "-o", folder, "--count", 1)
    assert done.exit_code == 0, done.output
    for name in ("run.sh", "README.md"):
        assert "rm -rf" not in (folder / name).read_text()
    on_camera(folder)
    assert compared(folder)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "MODEL: missing"),
        ((PERSON,), "--soc: missing"),
        ((PERSON, "--soc", "artpec9"), "--output: missing"),
        ((PERSON, "--soc", "artpec5", "-o", "{new}"), "artpec5"),
        (("no.tflite", "--soc", "artpec9", "-o", "{new}"), "no such file"),
        ((PERSON, "--soc", "artpec9", "-o", "{old}"), "is there already"),
        ((PERSON, "--soc", "artpec9", "-o", "{new}/a/b"), "could not be written"),
        ((PERSON, "--soc", "cv25", "-o", "{new}"), r".onnx"),
        ((ONNX, "--soc", "artpec9", "-o", "{new}"), "takes .tflite files"),
        ((ONNX, "--soc", "cv25", "-o", "{new}", "--expose", "all"), "no exposed"),
        (
            (PERSON, "--soc", "artpec9", "-o", "{new}", "--images", "{old}"),
            "no picture",
        ),
        ((PERSON, "--soc", "artpec9", "-o", "{new}", "--count", "1000"), "1 to 999"),
        ((PERSON, "--compare", "{old}"), "takes the kit's folder alone"),
        (("--std", "2", "--compare", "{old}"), "takes the kit's folder alone"),
        ((FLOAT, "--soc", "artpec8", "-o", "{new}", "--mean", "0"), "add --images DIR"),
    ],
)
def test_refusals(tmp_path, arguments, words):
    (tmp_path / "old").mkdir()
    places = {"new": tmp_path / "new", "old": tmp_path / "old"}
    done = run(*(str(word).format(**places) for word in arguments))
    assert done.exit_code == 2
    assert words in done.output
    assert len(done.output.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_files_that_cannot_run_here(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.custom("edgetpu-custom-op"))
    with pytest.raises(UnusableInput, match="run the file it was made from"):
        kits.make(path, tmp_path / "kit", soc="artpec7", expose="none")
    assert not (tmp_path / "kit").exists()


def test_pictures_for_a_model_that_takes_none(tmp_path, photographs):
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.two_outputs())
    done = run(path, "--soc", "cpu", "-o", tmp_path / "kit", "--images", photographs)
    assert done.exit_code == 2
    assert "does not take one picture" in done.output
    made = kits.make(path, tmp_path / "kit", soc="cpu", count=2)
    assert [of.dtype for of in made.outputs["model"]] == ["float32", "float32"]
    on_camera(tmp_path / "kit", "cpu")
    found = judgement.judge(kits.read(tmp_path / "kit"))
    assert [of.difference.verdict for of in found.results] == ["identical"] * 2


def test_nothing_is_left_behind_when_the_disk_is_full(tmp_path, monkeypatch):
    real, written = Path.write_bytes, []

    def full(path, block):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return real(path, block)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnusableInput, match="No space left on device"):
        kits.make(PERSON, tmp_path / "kit", soc="artpec9", count=1)
    assert list(tmp_path.iterdir()) == []
