"""The stand-in larod-client: its texts, its bytes, and what it refuses."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

from course_lib.camera import larod
from course_lib.camera.virtual import compiled, larod_client, runtime
from course_lib.dlpu import cvflow, onnx_file
from course_lib.dlpu.socs import SOCS
from course_lib.tflite import inference, reading

import numpy as np
import pytest
import tiny_models
from lessons import ROOT

DATA = ROOT / "data"
CASES = ROOT / "tests/lint_cases"
PERSON = DATA / "person_per_channel.tflite"
LITE0 = DATA / "efficientnet_lite0_per_channel.tflite"
REAL = sorted(Path(os.environ.get("COURSE_REAL_MODELS", "absent")).glob("*.tflite"))
COMPILED = [path for path in REAL if path.stem.endswith("_edgetpu")]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
A8, A9 = "axis-a8-dlpu-tflite", "a9-dlpu-tflite"
LOAD = "When loading model synchronously ({}): Could not load model: "
JOB = "When running job synchronously ({}): Could not run job: "


class Camera:
    """A file tree with a larod, and a larod-client that is called with a line."""

    def __init__(self, folder, soc, **more):
        self.root = folder / "camera"
        self.tmp = self.root / "tmp"
        self.tmp.mkdir(parents=True, exist_ok=True)
        more = {"compile_seconds": 0, **more}
        self.device = runtime.Device(SOCS[soc], **more)

    def put(self, name, content):
        content = content.read_bytes() if isinstance(content, Path) else content
        (self.tmp / name).write_bytes(content)

    def go(self, *words, stopped=lambda: False):
        """Run a line, or words; return exit status and output."""
        if len(words) == 1:
            words = shlex.split(words[0])
        told = []
        status = larod_client.run(
            words,
            camera=self.device,
            root=self.root,
            cwd=PurePosixPath("/tmp"),
            write=told.append,
            stopped=stopped,
        )
        return status, "".join(told)

    def error(self, *words):
        """Run a line that fails and return what stands behind ERROR."""
        status, text = self.go(*words)
        assert status == 1
        line = text.splitlines()[-1]
        assert re.match(rf"{STAMP} ERROR: ", line)
        return line.partition("ERROR: ")[2]

    @property
    def log(self):
        return [line.text for line in self.device.journal]


@pytest.fixture
def camera(tmp_path):
    return lambda soc="artpec8", **more: Camera(tmp_path, soc, **more)


def float_input() -> bytes:
    """Return a model of 256 by 256 pixels that takes float32, and gives them back."""
    graph = tiny_models.Graph()
    image = graph.input((1, 256, 256, 3), "float32")
    graph.add("RELU", [image], (1, 256, 256, 3), dtype="float32")
    return graph.file()


# What it prints


def test_a_benchmark_prints_the_lines_of_the_page(camera):
    a8 = camera()
    a8.put("person.tflite", PERSON)
    status, text = a8.go(f"-g ./person.tflite -c {A8} -R 3 -w 2 -i ''")
    expected = [
        "Connecting to larod...",
        "Connected",
        "Model person.tflite loaded",
        r"Setting up randomly generated input tensors using random seed (\d+)",
        r"Running job for 3 round\(s\)...",
        "Output written to:",
        r"\1.out0",
        r"Mean execution time for job: \d+\.\d\d ms \(simulation: LiteRT on this "
        "computer's CPU\\)",
    ]
    pattern = "".join(f"{STAMP} {line}\n" for line in expected)
    assert status == 0
    assert re.fullmatch(pattern, text)
    told = larod.parse(text)
    assert told.model == "person.tflite"
    assert told.rounds == 3
    assert told.simulated == "simulation: LiteRT on this computer's CPU"
    assert (a8.tmp / told.outputs[0]).is_file()


@pytest.mark.parametrize("soc", [name for name in SOCS if SOCS[name].listed_devices])
def test_devices_are_listed_as_a_camera_does(camera, soc):
    status, text = camera(soc).go("-a")
    assert status == 0
    assert larod.devices(text) == tuple(SOCS[soc].listed_devices.value)
    lines = text.splitlines()[2:]
    assert lines[0].endswith(" Devices:")
    assert lines[1] == lines[-1] == "_" * 43
    assert lines[2] == " Name                             Instance"
    assert lines[3] == "‾" * 43
    assert lines[4] == " cpu-tflite                       0"


def test_a_model_without_input_is_loaded_and_no_job_runs(camera):
    a8 = camera()
    a8.put("person.tflite", PERSON)
    status, text = a8.go(f"-g person.tflite -c {A8}")
    assert status == 0
    assert text.endswith("Model person.tflite loaded\n")
    assert [path.name for path in a8.tmp.iterdir()] == ["person.tflite"]


def test_debug_tells_what_the_simulation_does(camera):
    a8 = camera()
    a8.put("person.tflite", PERSON)
    _, text = a8.go(f"-d -q -p -X -Y -I larod-dma -O x -g person.tflite -c {A8} -i ''")
    assert "inputs of 27648 bytes of uint8" in text
    assert "NumPy's generator, not from larod's" in text
    assert "-q runs the jobs one after another" in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-z", "invalid option -- 'z'"),
        ("-g", "option requires an argument -- 'g'"),
        ("--nope", "unrecognized option '--nope'"),
        ("--random-seed", "option '--random-seed' requires an argument"),
        ("-g m -c cpu-tflite -R x", "-R 'x': expected a whole number"),
        ("-g m -c cpu-tflite -w -1", "-w '-1': expected a whole number"),
        ("-r", "built without readline, so there is no interactive mode"),
        ("-g m", "no device: give -c DEVICE; -a lists them"),
        ("", "nothing to do: give -a, or -g MODEL and -c DEVICE; see --help"),
        ("-a more", "unexpected argument 'more': see --help"),
        (
            "-c cpu-proc -b image.input.size:224,224 -i a -o b",
            "simulation: preprocessing jobs are not simulated: prepare the input on "
            "the computer",
        ),
    ],
)
def test_arguments_that_are_not_understood_end_in_one_line(camera, line, told):
    assert camera().go(*shlex.split(line)) == (1, f"larod-client: {told}\n")


def test_help_and_version_say_that_it_is_a_simulation(camera):
    assert "FILE must exist: `touch FILE`" in camera().go("--help")[1]
    for flag in ("--help", "--version"):
        status, text = camera().go(flag)
        assert status == 0
        assert "SIMULATION" in text


def test_its_own_name_may_stand_before_the_arguments(camera):
    status, text = camera().go("larod-client", "-a")
    assert status == 0
    assert "cpu-tflite" in text


# Bytes


@pytest.mark.parametrize(
    ("soc", "device"),
    [("artpec8", A8), ("artpec9", A9), ("artpec9", "cpu-tflite")],
)
@pytest.mark.parametrize("file", [LITE0, DATA / "scene_classifier_qat.tflite"])
def test_outputs_are_those_of_the_computer_bit_for_bit(camera, soc, device, file):
    board = camera(soc)
    shape = reading.read(file).inputs[0].shape
    images = np.random.default_rng(0).integers(0, 256, (3, *shape[1:]), np.uint8)
    expected = inference.predict(file, images, raw=True)
    board.put("m.tflite", file)
    for number, image in enumerate(images):
        board.put("image.bin", image.tobytes())
        status, text = board.go(f"-g m.tflite -c {device} -i image.bin")
        assert status == 0, text
        assert larod.parse(text).outputs == ("image.bin.out0",)
        assert (board.tmp / "image.bin.out0").read_bytes() == expected[number].tobytes()


def test_several_outputs_come_in_the_files_order(camera):
    board = camera("artpec9", os="11.11")
    board.put("m.tflite", tiny_models.two_outputs())
    board.put("x.bin", np.float32([3, 4]).tobytes())
    status, _ = board.go("-g m.tflite -c cpu-tflite -i x.bin -o a -o b")
    assert status == 0
    assert np.frombuffer((board.tmp / "a").read_bytes(), "f4").tolist() == [9, 16]
    assert np.frombuffer((board.tmp / "b").read_bytes(), "f4").tolist() == [6, 8]


@pytest.mark.parametrize("case", ["row-width.cv.fail", "interleaved-input.cv.fail"])
@pytest.mark.parametrize(
    ("soc", "device", "stride"),
    [("cv25", "ambarella-cvflow", 32), ("cv75", "cv75-dlpu-native", 4)],
)
def test_cvflow_takes_padded_planes_and_gives_padded_values(
    camera, case, soc, device, stride
):
    import onnxruntime

    file = CASES / f"{case}.onnx"
    board = camera(soc)
    session = onnxruntime.InferenceSession(file)
    (entry,) = session.get_inputs()
    interleaved = entry.shape[3] == 3
    height, width = entry.shape[1:3] if interleaved else entry.shape[2:]
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    planes = cvflow.planar(picture[None])[0]
    fed = (picture if interleaved else planes)[None].astype(np.float32)
    (expected,) = session.run(None, {entry.name: fed})

    board.put("m.onnx", file)
    board.put("image.bin", cvflow.pad_rows(planes).tobytes())
    status, text = board.go(f"-g m.onnx -c {device} -i image.bin")
    assert status == 0, text
    assert "(simulation: ONNX Runtime on this computer's CPU stands in for CVf" in text
    data = (board.tmp / "image.bin.out0").read_bytes()
    got = cvflow.read_output(data, expected.size, stride=stride)
    assert np.array_equal(got, expected.ravel())
    assert len(data) == expected.size * stride


def test_rows_without_padding_are_too_few_bytes_for_cvflow(camera):
    board = camera("cv25")
    board.put("m.onnx", CASES / "row-width.cv.fail.onnx")
    board.put("image.bin", bytes(3 * 240 * 300))
    assert board.error("-g m.onnx -c ambarella-cvflow -i image.bin") == (
        JOB.format(-1)
        + "Could only read 216000 out of 230400 bytes from file descriptor"
    )


def test_pixels_for_a_float_input_are_a_quarter_of_its_bytes(camera):
    a8 = camera()
    a8.put("m.tflite", float_input())
    a8.put("image.bin", bytes(256 * 256 * 3))
    assert a8.error(f"-g m.tflite -c {A8} -i image.bin") == (
        JOB.format(-1)
        + "Could only read 196608 out of 786432 bytes from file descriptor"
    )


def test_bytes_behind_the_tensor_are_not_read(camera):
    a8 = camera()
    a8.put("m.tflite", PERSON)
    a8.put("a.bin", bytes(range(256)) * 108)
    a8.put("b.bin", bytes(range(256)) * 108 + b"more")
    for name in ("a.bin", "b.bin"):
        assert a8.go(f"-g m.tflite -c {A8} -i {name}")[0] == 0
    results = [(a8.tmp / f"{name}.bin.out0").read_bytes() for name in "ab"]
    assert results[0] == results[1]


def test_number_of_files_must_be_that_of_the_tensors(camera):
    board = camera(os="11.11")
    board.put("m.tflite", tiny_models.two_outputs())
    run = "-g m.tflite -c cpu-tflite"
    text = board.error(f"{run} -i '' -i ''")
    assert text == JOB.format(-12) + "2 input files for 1 input tensors"
    text = board.error(f"{run} -i '' -o a")
    assert text == JOB.format(-12) + "1 output files for 2 output tensors"


def test_a_seed_makes_the_same_input_again(camera):
    a8 = camera()
    a8.put("m.tflite", LITE0)
    outputs = []
    for seed in (1, 1, 2):
        _, text = a8.go(f"-g m.tflite -c {A8} -i '' --random-seed {seed}")
        assert larod.parse(text).seed == seed
        assert larod.parse(text).outputs == (f"{seed}.out0",)
        outputs.append((a8.tmp / f"{seed}.out0").read_bytes())
    assert outputs[0] == outputs[1] != outputs[2]


def test_random_floats_are_numbers(camera):
    board = camera()
    board.put("m.tflite", float_input())
    board.go("-g m.tflite -c cpu-tflite -i '' --random-seed 1")
    values = np.frombuffer((board.tmp / "1.out0").read_bytes(), "f4")
    assert np.isfinite(values).all()
    assert np.ptp(values) > 0


# What does not load


def unknown_version() -> bytes:
    graph = tiny_models.Graph()
    image = graph.input((1, 4), "float32")
    graph.add("RELU", [image], (1, 4), dtype="float32", version=99)
    return graph.file()


EDGE_TPU = CASES / "edge-tpu-compiled.fail.tflite"
ONNX = CASES / "batch.cv.pass.onnx"
CUSTOM = CASES / "unregistered-operator.fail.tflite"
NO_INTERPRETER = LOAD.format(-2) + "Could not build an interpreter of the model"
NOT_ALLOCATED = LOAD.format(-2) + "Could not allocate tensors"
MANY = (
    LOAD.format(-2) + "Model contains too many graph partitions (17 > 16) and 8 of the "
    "graph partitions can't be run on the device. Consider redesigning the model to "
    "better utilize the device. (Is it fully integer quantized? Is it using "
    "non-supported operations?)"
)


@pytest.mark.parametrize(
    ("soc", "device", "file", "told"),
    [
        ("artpec8", A8, CASES / "partitions.fail.tflite", MANY),
        ("artpec8", A8, EDGE_TPU, NO_INTERPRETER),
        ("artpec8", A8, CUSTOM, NO_INTERPRETER),
        ("artpec8", A8, unknown_version(), NO_INTERPRETER),
        ("artpec8", A8, ONNX, NO_INTERPRETER),
        ("artpec8", A8, b"", NO_INTERPRETER),
        ("artpec8", A8, LITE0.read_bytes()[:99], NO_INTERPRETER),
        ("artpec9", A9, EDGE_TPU, NO_INTERPRETER),
        ("artpec8", "cpu-tflite", EDGE_TPU, NOT_ALLOCATED),
        ("artpec9", "armnn-cpu-tflite", EDGE_TPU, NOT_ALLOCATED),
        ("artpec8", "cpu-tflite", ONNX, NO_INTERPRETER),
        ("artpec7", "axis-a7-gpu-tflite", EDGE_TPU, NO_INTERPRETER),
    ],
)
def test_a_model_is_refused_in_the_words_of_a_camera(camera, soc, device, file, told):
    board = camera(soc)
    board.put("m", file)
    assert board.error(f"-g m -c {device} -i ''") == told


@pytest.mark.parametrize(
    ("soc", "device", "file", "told"),
    [
        ("artpec7", "google-edge-tpu-tflite", EDGE_TPU, "before edgetpu_compiler"),
        (
            "artpec7",
            "google-edge-tpu-tflite",
            tiny_models.two_outputs(),
            "quantize it to int8",
        ),
        ("cv25", "ambarella-cvflow", b"\x12\x34" * 999, "cavalry binary"),
        ("cv75", "cv75-dlpu-native", b"\x12\x34" * 999, "cavalry binary"),
        ("cv25", "ambarella-cvflow", PERSON, "upload the .onnx file"),
        ("artpec8", "axis-a8-dlpu-native", PERSON, f"use {A8}"),
    ],
)
def test_what_a_computer_cannot_execute_is_answered_with_one_line(
    camera, soc, device, file, told
):
    board = camera(soc)
    board.put("m", file)
    text = board.error(f"-g m -c {device} -i ''")
    assert text.startswith(LOAD.format(-2) + "simulation: ")
    assert told in text


@pytest.mark.skipif(not COMPILED, reason="COURSE_REAL_MODELS names no compiled files")
@pytest.mark.parametrize("file", COMPILED, ids=lambda path: path.stem)
def test_real_compiled_files_are_recognised(camera, file):
    for soc, device, told in (
        ("artpec7", "google-edge-tpu-tflite", "before edgetpu_compiler"),
        ("artpec7", "cpu-tflite", "Could not allocate tensors"),
        ("artpec8", A8, "Could not build an interpreter of the model"),
    ):
        board = camera(soc)
        board.put("m.tflite", file)
        assert told in board.error(f"-g m.tflite -c {device} -i ''")


@pytest.mark.parametrize(
    ("device", "told"),
    [
        (
            "axis-a9-dlpu-tflite",
            'Could not find device name "axis-a9-dlpu-tflite" and instance 0',
        ),
        ("4", "Could not select chip 4: Could not find chip 4"),
        ("a;reboot", 'Could not find device name "a;reboot" and instance 0'),
    ],
)
def test_a_device_that_the_camera_lacks(camera, device, told):
    assert camera("artpec9").error("-g", "m", "-c", device) == told


def test_operators_that_fall_back_are_in_the_log(camera):
    a8 = camera()
    a8.put("m.tflite", CASES / "custom-operator.fail.tflite")
    assert a8.go(f"-g m.tflite -c {A8}")[0] == 0
    # The camera prints one line an operator; how many they are is our own remark.
    summed = "simulation: 1 of 1 operators on the CPU"
    assert a8.log == ["WARNING: Fallback unsupported op 32 to TfLite", summed]
    a8.put("float.tflite", float_input())
    a8.go(f"-g float.tflite -c {A8}")
    assert a8.log[2:] == ["WARNING: Fallback unsupported op 19 to TfLite", summed]


@pytest.mark.parametrize(
    "more",
    [
        {"memory": 100_000},
        {"faults": SimpleNamespace(power_failures=0, out_of_memory=True)},
    ],
)
def test_too_little_memory_ends_larod(camera, more):
    a8 = camera(**more)
    a8.put("m.tflite", PERSON)
    told = a8.error(f"-g m.tflite -c {A8} -i ''")
    assert told == LOAD.format(-6) + "Asynchronous connection has been closed"
    assert a8.log[-2] == "double free or corruption (out)"
    last = a8.device.journal[-1]
    assert last.process == "kernel"
    assert last.text.endswith(
        "larod: singleprocq: potentially unexpected fatal signal 6."
    )


def test_too_little_memory_on_the_cpu_allocates_no_tensors(camera):
    a8 = camera(memory=100_000)
    a8.put("m.tflite", PERSON)
    assert a8.error("-g m.tflite -c cpu-tflite -i ''") == NOT_ALLOCATED
    assert a8.log == []


def test_log_lines_have_the_form_of_journalctl(camera):
    a8 = camera(host="axis-b8a44f495376")
    a8.device.log("a text")
    (line,) = a8.device.journal
    written = f"{line.time} {line.host} {line.process}[{line.pid}]: {line.text}"
    (read,) = larod.log(written)
    assert (read.time, read.host, read.pid) == (line.time, line.host, line.pid)


# Power, time, several at once


def test_power_comes_back_after_some_jobs(camera):
    a8 = camera(faults=SimpleNamespace(power_failures=2, out_of_memory=False))
    a8.put("m.tflite", PERSON)
    told = JOB.format(-15) + "LAROD_ERROR_POWER_NOT_AVAILABLE"
    assert [a8.error(f"-g m.tflite -c {A8} -i ''") for _ in range(2)] == [told] * 2
    assert a8.go(f"-g m.tflite -c {A8} -i ''")[0] == 0


def test_rounds_and_warm_up_are_jobs_and_warm_up_is_not_timed(camera, monkeypatch):
    a8 = camera()
    a8.put("m.tflite", PERSON)
    clock = iter(range(100))  # each look at the clock is a second later
    monkeypatch.setattr(larod_client.time, "perf_counter", lambda: next(clock))
    jobs = []
    run = a8.device.run
    monkeypatch.setattr(a8.device, "run", lambda *of: jobs.append(1) or run(*of))
    _, text = a8.go(f"-g m.tflite -c {A8} -R 4 -w 3 -i ''")
    assert len(jobs) == 7
    assert larod.parse(text).mean_milliseconds == 1000
    assert next(clock) == 8


def test_endless_rounds_end_when_stopped(camera):
    a8 = camera()
    a8.put("m.tflite", PERSON)
    looks = iter([False] * 20 + [True])
    status, text = a8.go(f"-g m.tflite -c {A8} -R 0 -i ''", stopped=lambda: next(looks))
    assert status == 130
    assert text.endswith("Running job for 0 round(s)...\n")
    assert [path.name for path in a8.tmp.iterdir()] == ["m.tflite"]


def test_two_sessions_take_turns_on_the_device(camera):
    a8 = camera()
    a8.put("m.tflite", LITE0)
    order, both, results = [], threading.Barrier(2), {}

    def write(text):
        if "Running job" in text:
            both.wait(10)

    def session(seed):
        results[seed] = larod_client.run(
            shlex.split(f"-g m.tflite -c {A8} -R 100 -i '' --random-seed {seed}"),
            camera=a8.device,
            root=a8.root,
            cwd=PurePosixPath("/tmp"),
            write=write,
            stopped=lambda: order.append(seed),  # asked before each job
        )

    threads = [threading.Thread(target=session, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {1: 0, 2: 0}
    assert sorted(order) == [1] * 100 + [2] * 100
    # When one has done all its jobs, the other has done many of its own.
    first = 3 - order[-1]
    until = len(order) - order[::-1].index(first)
    assert order[:until].count(order[-1]) > 20
    for seed in (1, 2):  # neither got what belongs to the other
        alone = a8.tmp / f"{seed}.out0"
        shared = alone.read_bytes()
        a8.go(f"-g m.tflite -c {A8} -i '' --random-seed {seed}")
        assert alone.read_bytes() == shared


# First load and cache


def test_a_model_stays_in_memory_from_one_call_to_the_next(camera, monkeypatch):
    a8 = camera()
    loads, load = [], runtime.load
    monkeypatch.setattr(
        runtime, "load", lambda *of, **more: loads.append(1) or load(*of, **more)
    )

    def run(name, device=A8):
        before = len(loads)
        assert a8.go(f"-g {name} -c {device} -i ''")[0] == 0
        return len(loads) - before

    for number in range(5):  # five different files: what is behind a file is not read
        a8.put(f"{number}.tflite", PERSON.read_bytes() + bytes(number))
    assert [run("0.tflite"), run("0.tflite")] == [1, 0]
    assert run("0.tflite", "cpu-tflite") == 1
    assert [run(f"{number}.tflite") for number in range(1, 5)] == [1] * 4
    assert [run("4.tflite"), run("0.tflite")] == [0, 1]
    a8.put("4.tflite", LITE0)
    assert run("4.tflite") == 1


STATEFUL = [
    path
    for path in REAL
    if any(tensor.is_variable for tensor in reading.read(path).tensors)
    and path not in COMPILED
]


@pytest.mark.skipif(not STATEFUL, reason="COURSE_REAL_MODELS names no such file")
@pytest.mark.parametrize("file", STATEFUL, ids=lambda path: path.stem)
def test_a_model_forgets_from_one_call_to_the_next(camera, file):
    board = camera()
    entry = reading.read(file).inputs[0]
    values = np.random.default_rng(0).random(entry.shape).astype(entry.dtype)
    expected = inference.predict(file, values, raw=True).tobytes()
    board.put("m.tflite", file)
    board.put("x", values.tobytes())
    for _ in range(2):
        board.go("-g m.tflite -c cpu-tflite -i x")
        assert (board.tmp / "x.out0").read_bytes() == expected


def test_a_first_load_is_compiled_and_a_second_is_not(camera, tmp_path):
    a8 = camera(compile_seconds=0.01)
    a8.put("m.tflite", PERSON)
    for _ in range(2):
        assert a8.go(f"-g m.tflite -c {A8}")[0] == 0
    (line,) = a8.log
    begin = (
        "simulation: m.tflite would be compiled now; for scale, a published sample: "
    )
    assert line.startswith(f"{begin}25 s on a camera (MobileNetV2 ")
    assert line.endswith("shortened to 0.01 s")
    folder = a8.root / "var/lib/larod/nbg-cache"
    assert len(list(folder.iterdir())) == 1
    again = camera(compile_seconds=0.01)  # after a restart: the same files, a new larod
    assert again.go(f"-g m.tflite -c {A8}")[0] == 0
    assert again.go("-g m.tflite -c cpu-tflite")[0] == 0
    assert again.log == []
    again.put("m.tflite", LITE0)
    again.go(f"-g m.tflite -c {A8}")
    assert len(again.log) == 1


def test_a_load_is_stopped_while_it_compiles(camera):
    a9 = camera("artpec9", compile_seconds=600)
    a9.put("m.tflite", PERSON)
    looks = iter([False, True])
    status, text = a9.go(f"-g m.tflite -c {A9} -i ''", stopped=lambda: next(looks))
    assert status == 130
    assert "loaded" not in text
    assert not (a9.root / "var").exists()


def test_the_cache_drops_what_was_used_longest_ago(tmp_path):
    cache = compiled.Cache(tmp_path / "cache", SOCS["artpec8"].cache.value)
    for number in range(16):
        cache.add(str(number), size=2**20)
    assert cache.take("0")
    cache.add("16", size=2**20)
    assert cache.take("0")
    assert not cache.take("1")
    assert cache.take("2")
    cache.add("large", size=60 * 2**20)
    assert sum(cache.take(str(number)) for number in range(17)) == 4
    cache.add("too large", size=65 * 2**20)
    assert not cache.take("too large")
    assert cache.take("large")


def test_a_cache_without_limits_keeps_all(tmp_path):
    cache = compiled.Cache(tmp_path, {})
    for number in range(20):
        cache.add(str(number), size=2**30)
    assert all(cache.take(str(number)) for number in range(20))


def test_the_edge_tpu_and_the_gpu_are_stood_in_for_by_name(camera):
    a7 = camera("artpec7", compile_seconds=600)  # nothing is compiled on ARTPEC-7
    a7.put("m.tflite", PERSON)
    for device, name in (
        ("google-edge-tpu-tflite", "the Edge TPU"),
        ("axis-a7-gpu-tflite", "the ARTPEC-7 GPU"),
    ):
        status, text = a7.go(f"-g m.tflite -c {device} -i ''")
        assert status == 0
        assert larod.parse(text).simulated == (
            f"simulation: LiteRT on this computer's CPU stands in for {name}"
        )


# Files


def test_output_files_must_exist_since_axis_os_12(camera):
    a8 = camera(os="12.0.91")
    a8.put("m.tflite", PERSON)
    run = f"-g m.tflite -c {A8} -i '' -o out.bin"
    assert a8.error(run) == "Could not open file out.bin: Permission denied"
    a8.put("out.bin", b"")
    assert a8.go(run)[0] == 0
    assert (a8.tmp / "out.bin").stat().st_size == 2
    older = camera(os="11.11.94")
    (a8.tmp / "out.bin").unlink()
    assert older.go(run)[0] == 0


def test_what_must_not_be_written_is_told_in_one_line(camera):
    def refuse(place, size):
        raise OSError(28, "No space left on device")

    a8 = camera(may_write=refuse)
    a8.put("m.tflite", PERSON)
    text = a8.error(f"-g m.tflite -c {A8} -i '' --random-seed 5")
    assert text == "Could not write file 5.out0: No space left on device"
    assert not (a8.tmp / "5.out0").exists()


HOSTILE = [
    "../../../../../../etc/passwd",
    "/etc/passwd",
    ";rm -rf /",
    "$(reboot)",
    "`reboot`",
    "a'b\"c",
    "line\nbreak",
    "zero\0byte",
    "\x1b[2J",
    "n" * 300,
    "\udcff",
    ".",
    "-",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_stay_inside_the_cameras_tree(camera, tmp_path, name):
    a8 = camera(os="11.11")
    a8.put("m.tflite", PERSON)
    for words in (
        ("-g", name, "-c", "cpu-tflite"),
        ("-g", "m.tflite", "-c", "cpu-tflite", "-i", name),
    ):
        status, text = a8.go(*words)
        assert status == 1
        assert "Could not open file" in text
        assert text.count("\n") == len(re.findall(STAMP, text))
        assert text.replace("\n", "").isprintable()
    status, text = a8.go("-g", "m.tflite", "-c", "cpu-tflite", "-i", "", "-o", name)
    assert text.replace("\n", "").isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["camera"]


def test_links_that_lead_out_are_not_followed(camera, tmp_path):
    a8 = camera(os="11.11")
    a8.put("m.tflite", PERSON)
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(27648))
    (a8.tmp / "link").symlink_to(outside)
    (a8.tmp / "folder").symlink_to(tmp_path)
    (a8.tmp / "circle").symlink_to("circle")
    run = "-g m.tflite -c cpu-tflite -i"
    for name in ("link", "folder/outside.bin"):
        assert a8.error(f"{run} {name}").endswith(": Permission denied")
        assert a8.error(f"{run} '' -o {name}").endswith(": Permission denied")
    assert a8.go(f"{run} circle")[0] == 1
    assert outside.read_bytes() == bytes(27648)


def test_only_plain_files_are_opened(camera):
    a8 = camera(os="11.11")
    a8.put("m.tflite", PERSON)
    os.mkfifo(a8.tmp / "pipe")
    (a8.tmp / "folder").mkdir()
    for name in ("pipe", "folder"):
        for words in (f"-i {name}", f"-i '' -o {name}"):
            text = a8.error(f"-g m.tflite -c cpu-tflite {words}")
            assert text == f"Could not open file {name}: Not a regular file"


def test_it_runs_on_this_computers_files(tmp_path):
    shutil.copy(PERSON, tmp_path / "m.tflite")
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    (tmp_path / "image.bin").write_bytes(image.tobytes())
    program = [sys.executable, "-m", "course_lib.camera.virtual.larod_client"]
    words = ["--soc", "artpec9", "-g", "m.tflite", "-c", A9, "-i", "image.bin"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*program, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = inference.predict(PERSON, image, raw=True)
    assert (tmp_path / "image.bin.out0").read_bytes() == expected.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.bin",
        "image.bin.out0",
        "m.tflite",
    ]


def test_the_chip_must_be_named_on_this_computer(capsys):
    assert larod_client.main(["-a"]) == 2
    assert larod_client.main(["--soc", "artpec10", "-a"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "expected --soc SOC" in lines[0]
    assert "artpec10" in lines[1]


def test_onnx_needs_its_package(camera, monkeypatch):
    def read(path):
        raise onnx_file.UnusableInput(f"{path}: install onnx") from ImportError("onnx")

    monkeypatch.setattr(runtime.onnx_file, "read", read)
    board = camera("cv25")
    board.put("m.onnx", CASES / "batch.cv.pass.onnx")
    assert board.error("-g m.onnx -c ambarella-cvflow").endswith("install onnx")
