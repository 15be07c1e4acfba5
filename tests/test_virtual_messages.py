"""From a mistake on the virtual camera to its text, and from there to its explanation.

What a camera prints is typed here as its source has it; where no source has a text, the
explanation says that it is the virtual camera's.
"""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys

from course_lib.camera import client, errors, virtual
from course_lib.camera.virtual import Faults, shell

import pytest
import tiny_models
from lessons import ROOT

DATA, CASES = ROOT / "data", ROOT / "tests" / "lint_cases"
FLOAT = DATA / "scene_classifier_float_256.tflite"
INT8 = DATA / "scene_classifier_qat.tflite"
EDGE_TPU = CASES / "edge-tpu-compiled.fail.tflite"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
A8, A9, CV25 = "axis-a8-dlpu-tflite", "a9-dlpu-tflite", "ambarella-cvflow"
# larod-client's line before liblarod's text: acap-computer-vision-sdk-examples 160.
LOAD = "ERROR: When loading model synchronously ({}): Could not load model: "
# The same for a job is inferred from it; liblarod's text follows.
JOB = "ERROR: When running job synchronously (-1): Could not run job: "


@contextlib.contextmanager
def logged_in(soc="artpec8", **more):
    """Log in to a virtual camera; yield it and the client."""
    faults = Faults(**more.pop("faults", {}))
    with (
        virtual.start(soc, compile_seconds=0, faults=faults, **more) as camera,
        camera.connect() as connected,
    ):
        yield camera, connected


def put(camera, **files):
    for name, content in files.items():
        content = content if isinstance(content, bytes) else content.read_bytes()
        (camera.root / "tmp" / name).write_bytes(content)


def printed(connected, line, *, status=1):
    """Run a line, as a person types it, and return all that it prints."""
    reply = connected.execute(line)
    assert reply.status == status
    return reply.stdout + reply.stderr


def first(text):
    return errors.explain(text)[0]


# What is typed, what the camera prints behind the last time stamp, and its meaning.
SITUATIONS = {
    # acap-computer-vision-sdk-examples issue 15, 2022-03-08.
    "quarter of the bytes": (
        "artpec8",
        {"m": FLOAT, "image": bytes(196608)},
        f"-g m -c {A8} -i image",
        JOB + "Could only read 196608 out of 786432 bytes from file descriptor",
        "input-too-short",
        "4 times as many bytes are wanted as came: the model's input is float32",
    ),
    "some bytes missing": (
        "artpec9",
        {"m": INT8, "image": bytes(27000)},
        f"-g m -c {A9} -i image",
        JOB + "Could only read 27000 out of 27648 bytes from file descriptor",
        "input-too-short",
        "bytes are missing",
    ),
    # detectx issue 2.
    "name of another chip": (
        "artpec9",
        {"m": INT8},
        f"-g m -c {A8} -i ''",
        'ERROR: Could not find device name "axis-a8-dlpu-tflite" and instance 0',
        "device-not-found",
        "axis-a8-dlpu-tflite is a device of ARTPEC-8",
    ),
    # acap3-examples issue 57, with this number.
    "number of old larod": (
        "artpec8",
        {"m": INT8},
        "-g m -c 4 -i ''",
        "ERROR: Could not select chip 4: Could not find chip 4",
        "chip-not-found",
        "chip 4 is the Edge TPU",
    ),
    # acap-computer-vision-sdk-examples issue 141, there with 137 and 68.
    "too many parts": (
        "artpec8",
        {"m": CASES / "partitions.fail.tflite"},
        f"-g m -c {A8} -i ''",
        LOAD.format(-2) + "Model contains too many graph partitions (17 > 16) and 8 of "
        "the graph partitions can't be run on the device. Consider redesigning the "
        "model to better utilize the device. (Is it fully integer quantized? Is it "
        "using non-supported operations?)",
        "too-many-partitions",
        "17 parts, and 16 are allowed; 8 of them",
    ),
    # acap-native-sdk-examples issue 61.
    "no interpreter": (
        "artpec8",
        {"m": CASES / "unregistered-operator.fail.tflite"},
        f"-g m -c {A8} -i ''",
        LOAD.format(-2) + "Could not build an interpreter of the model",
        "no-interpreter",
        "",
    ),
    # acap3-examples issue 120.
    "no tensors": (
        "artpec8",
        {"m": EDGE_TPU},
        "-g m -c cpu-tflite -i ''",
        LOAD.format(-2) + "Could not allocate tensors",
        "no-tensors",
        "",
    ),
    # larod.h has the code; the words behind it are not published.
    "tensor mismatch": (
        "artpec8",
        {"m": INT8},
        f"-g m -c {A8} -i '' -i ''",
        JOB.replace("-1", "-12") + "2 input files for 1 input tensors",
        "file-count",
        "-12 is LAROD_ERROR_TENSOR_MISMATCH",
    ),
    # No source quotes the text of this one and the next.
    "output that nobody made": (
        "artpec9",
        {"m": INT8},
        f"-g m -c {A9} -i '' -o out.bin",
        "ERROR: Could not open file out.bin: Permission denied",
        "output-not-writable",
        "",
    ),
    "disk full": (
        "artpec8",
        {"m": INT8},
        f"-g m -c {A8} -i '' --random-seed 5",
        "ERROR: Could not write file 5.out0: No space left on device",
        "output-disk-full",
        "",
    ),
    # What only the simulation says.
    "Edge TPU": (
        "artpec7",
        {"m": EDGE_TPU},
        "-g m -c google-edge-tpu-tflite -i ''",
        LOAD.format(-2) + "simulation: this file is compiled for the Edge TPU, which a "
        "computer cannot execute: upload the file from before edgetpu_compiler",
        "virtual-camera-cannot",
        "",
    ),
    "cavalry binary": (
        "cv25",
        {"m": b"\x12\x34" * 999},
        f"-g m -c {CV25} -i ''",
        LOAD.format(-2) + "simulation: neither .onnx nor .tflite; if this is a cavalry "
        "binary, a computer cannot execute it: upload the .onnx file that it was made "
        "from",
        "virtual-camera-cannot",
        "",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_mistake_gives_its_text_and_the_text_its_cause(name):
    soc, files, line, text, explained, decoded = SITUATIONS[name]
    disk = INT8.stat().st_size + 3 if name == "disk full" else virtual.DISK
    with logged_in(soc, disk=disk) as (camera, connected):
        put(camera, **files)
        told = printed(connected, f"larod-client {line}")
    assert re.fullmatch(f"{STAMP} {re.escape(text)}", told.splitlines()[-1])
    assert first(told).id == explained
    assert any(decoded in one.decoded for one in errors.explain(told))
    # People give the last line alone, and logs quote it.
    assert first(text).id == explained
    assert first(f"Nov 21 12:00:00 axis-b8a44f495376 sh[1841]: {text}").id == explained


def test_a_connection_that_larod_closed_and_its_system_log():
    # acap-computer-vision-sdk-examples issue 160.
    closed = LOAD.format(-6) + "Asynchronous connection has been closed"
    with logged_in(faults={"out_of_memory": True}) as (camera, connected):
        put(camera, m=INT8)
        told = printed(connected, f"larod-client -g m -c {A8} -i ''")
        journal, system_log = connected.log(), camera.system_log
    assert re.fullmatch(f"{STAMP} {re.escape(closed)}", told.splitlines()[-1])
    assert [one.id for one in errors.explain(told)] == [
        "connection-closed",
        "larod-code",
    ]
    # The kernel's line is in the system log alone: `-u larod` leaves it out.
    assert journal.endswith(": double free or corruption (out)\n")
    assert first(journal).id == "double-free"
    assert re.search(
        r" \[ ERR     \] kernel: \[ *\d+\.\d{6}\]\[ T\d+\] larod: singleprocq: "
        r"potentially unexpected fatal signal 6\.\n$",
        system_log,
    )
    found = errors.explain(system_log)
    assert [one.id for one in found] == ["fatal-signal", "double-free"]
    assert found[0].decoded.startswith("signal 6 is SIGABRT")


def test_power_that_is_missing():
    # larod.h has the name and the number.
    with logged_in(faults={"power_failures": 1}) as (camera, connected):
        put(camera, m=INT8)
        told = printed(connected, f"larod-client -g m -c {A8} -i ''")
        again = printed(connected, f"larod-client -g m -c {A8} -i ''", status=0)
    assert told.endswith("LAROD_ERROR_POWER_NOT_AVAILABLE\n")
    assert "(-15)" in told
    assert first(told).id == "power"
    assert [one.id for one in errors.explain(again)] == ["virtual-camera"]


@pytest.mark.parametrize(
    ("model", "number", "name"),
    [
        (CASES / "custom-operator.fail.tflite", 32, "CUSTOM"),
        (FLOAT, 3, "CONV_2D"),
    ],
)
def test_an_operator_that_falls_back_is_in_the_journal(model, number, name):
    # acap-native-sdk-examples issue 185.
    with logged_in() as (camera, connected):
        put(camera, m=model)
        printed(connected, f"larod-client -g m -c {A8}", status=0)
        told = printed(connected, "journalctl -u larod --no-pager", status=0)
    assert f": WARNING: Fallback unsupported op {number} to TfLite\n" in told
    found = next(one for one in errors.explain(told) if str(number) in one.decoded)
    assert found.id == "operator-falls-back"
    assert found.note
    assert name in found.decoded


def test_a_camera_without_larod_client(monkeypatch):
    # What a shell prints; acap-computer-vision-sdk-examples issue 178 has another's.
    monkeypatch.delitem(shell._COMMANDS, "larod-client")
    with logged_in() as (_, connected):
        told = printed(connected, "larod-client -a", status=127)
        with pytest.raises(client.CameraError) as failure:
            connected.devices()
    assert told == "sh: larod-client: not found\n"
    assert first(told).id == "larod-client-missing"
    assert "is it a camera with larod?" in str(failure.value)


@pytest.mark.skipif(not shutil.which("ssh"), reason="Debian's package: openssh-client")
def test_a_changed_host_key_as_openssh_prints_it(tmp_path):
    faults = Faults(new_host_key=True)
    with virtual.start("artpec8", faults=faults, restart_seconds=0.1) as camera:
        camera.reboot(wait=True)
        options = ["-F", "none", "-o", "BatchMode=yes"]
        done = subprocess.run(
            [*camera.ssh_command, *options, "larod-client", "-a"],
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
    assert done.returncode == 255
    assert "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!" in done.stderr
    assert first(done.stderr).id == "ssh-host-key"


def test_the_client_s_line_names_the_cause_and_keeps_the_whole_output():
    with logged_in() as (_, connected), connected.load(FLOAT) as loaded:
        with pytest.raises(client.CameraError) as failure:
            loaded.run([bytes(196608)], output_sizes=[16])
        line, output = str(failure.value), failure.value.output
    assert "Could only read 196608 out of 786432 bytes from file descriptor" in line
    assert f"most likely: {first(output).title}" in line
    assert first(output).id == first(line).id == "input-too-short"


def test_dlpu_explain_reads_what_was_printed():
    with logged_in() as (camera, connected):
        put(camera, m=FLOAT, image=bytes(196608))
        told = printed(connected, f"larod-client -g m -c {A8} -i image")
        told += printed(connected, "journalctl -u larod", status=0)
    words = [sys.executable, "-m", "course_lib.cli", "explain", "--json"]
    done = subprocess.run(
        words, input=told, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0
    found = json.loads(done.stdout)["explanations"]
    assert found[0]["id"] == "input-too-short"
    assert {one["id"] for one in found[1:]} >= {"larod-code", "operator-falls-back"}


# Every line in which the simulation speaks for itself.
OWN = [
    ("artpec7", {"m": INT8}, "-g m -c google-edge-tpu-tflite", "virtual-camera"),
    (
        "artpec7",
        {"m": tiny_models.two_outputs()},
        "-g m -c google-edge-tpu-tflite",
        "virtual-camera-cannot",
    ),
    ("artpec8", {"m": INT8}, f"-g m -c {A8} -d -q -i ''", "virtual-camera"),
    (
        "artpec8",
        {"m": INT8},
        "-g m -c axis-a8-dlpu-native",
        "virtual-camera-cannot",
    ),
    ("artpec8", {"m": INT8}, "-g m -c axis-a8-dlpu-proc", "virtual-camera-cannot"),
    ("artpec8", {"m": INT8}, f"-g m -c {A8} -b a:1", "virtual-camera-cannot"),
    ("cv25", {"m": INT8}, f"-g m -c {CV25}", "virtual-camera-cannot"),
    (
        "cv75",
        {"m": DATA / "scene_classifier.onnx"},
        "-g m -c cv75-dlpu-native -i ''",
        "virtual-camera",
    ),
]


@pytest.mark.parametrize(("soc", "files", "line", "explained"), OWN)
def test_the_simulation_s_own_lines_are_explained_as_such(soc, files, line, explained):
    with logged_in(soc) as (camera, connected):
        put(camera, **files)
        reply = connected.execute(["larod-client", *shlex.split(line)])
    told = reply.stdout + reply.stderr
    assert reply.status == (explained == "virtual-camera-cannot")
    own = [text for text in told.splitlines() if "simulation: " in text]
    assert own
    for text in own:
        assert first(text).id == explained, text
    assert first(told).id == explained
    assert "no camera printed it" in first(told).title


def test_a_shortened_compilation_and_a_missing_shell_are_explained_too():
    with virtual.start("artpec8", compile_seconds=0.01) as camera:
        put(camera, m=INT8)
        with camera.connect() as connected:
            printed(connected, f"larod-client -g m -c {A8}", status=0)
            log = next(
                line for line in connected.log().splitlines() if "simulation" in line
            )
            told = printed(connected, "ls | cat", status=2)
    assert first(log).id == "virtual-camera"
    assert first(told).id == "virtual-camera-cannot"
