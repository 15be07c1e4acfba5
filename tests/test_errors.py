"""Messages and their meaning: every known one is explained, others are not guessed."""

import re
import subprocess
import sys

from course_lib.camera import errors
from course_lib.cli import dlpu
from course_lib.dlpu import socs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import ROOT

# As they were printed, from the threads and pages; not taken from errors.toml.
PRINTED = [
    (
        "too-many-partitions",
        "Could not load model: Model contains too many graph partitions (137 > 16) and"
        " 68"
        " of the graph partitions can't be run on the device. Consider redesigning the"
        " model to better utilize the device. (Is it fully integer quantized? Is it"
        " using"
        " non-supported operations?)",
    ),
    (
        "connection-closed",
        "Could not load model: Asynchronous connection has been closed",
    ),
    (
        "connection-closed",
        "2023-10-03T14:47:13.382 ERROR: When loading model synchronously (-6): Could"
        " not"
        " load model: Asynchronous connection has been closed",
    ),
    ("double-free", "double free or corruption (out)"),
    ("double-free", "sh[4012]: double free or corruption (out)"),
    ("fatal-signal", "larod: singleprocq: potentially unexpected fatal signal 6"),
    ("fatal-signal", "potentially unexpected fatal signal 6"),
    (
        "no-session",
        "Could not connect to larod: Could not create session: Message recipient"
        " disconnected from message bus without replying",
    ),
    ("operator-falls-back", "WARNING: Fallback unsupported op 32 to TfLite"),
    (
        "device-not-found",
        'Could not find device name "axis-a8-dlpu-tflite" and instance 0',
    ),
    ("chip-not-found", "Could not select chip 4: Could not find chip 4"),
    (
        "input-too-short",
        "Could not run job: Could only read 196608 out of 786432 bytes from file"
        " descriptor",
    ),
    ("no-tensors", "Could not allocate tensors"),
    (
        "no-interpreter",
        "Could not load model: Could not build an interpreter of the model",
    ),
    ("reshape-input", "Input array not provided for operation 'reshape'"),
    (
        "inference-server-unavailable",
        "StatusCode.UNAVAILABLE … failed to connect to all addresses",
    ),
    (
        "larod-format",
        "Failed model format type check, expected a TFLite model converted to .larod"
        " format",
    ),
    ("larod-format", "expected a TFLite model converted to .larod"),
    ("power", "LAROD_ERROR_POWER_NOT_AVAILABLE (-15)"),
    (
        "overall-scale",
        "Overall scale (of the input * weights / output) should be in range"
        " [2.328306e-10, 1)",
    ),
    ("tensorflow-1-only", "ARTPEC-8 cameras only support Tensorflow 1"),
    (
        "constant-output",
        "outputted model just gave me the same value no matter what my input was",
    ),
    (
        "tfmot-keras-3",
        "ValueError: 'to_quantize' can only either be a keras Sequential or Functional"
        " model.",
    ),
    (
        "get-save-spec",
        "AttributeError: 'Sequential' object has no attribute '_get_save_spec'",
    ),
    (
        "input-type",
        "ValueError: Cannot set tensor: Got value of type FLOAT32 but expected type"
        " INT8 …",
    ),
    ("edgetpu-not-quantized", "Invalid model: … Model not quantized"),
    ("set-shape", "'KerasTensor' object has no attribute 'set_shape'"),
    (
        "operator-version",
        "Didn't find op for builtin opcode 'CONV_2D' version '6'",
    ),
    ("operator-unknown", "Op builtin_code out of range: 151"),
    (
        "dynamic-tensors",
        "Attempting to use a delegate that only supports static-sized tensors with a"
        " graph"
        " that has dynamic-sized tensors",
    ),
    ("edgetpu-one-part", "More than one subgraph is not supported"),
    ("edgetpu-data-type", "Operation is working on an unsupported data type"),
    ("edgetpu-internal", "Internal compiler error. Aborting!"),
    ("edgetpu-internal", 'edgetpu_compiler "Internal compiler error"'),
    (
        "interpreter-deprecated",
        "tf.lite.Interpreter is deprecated and is scheduled for deletion in TF 2.20",
    ),
    ("debug-mode", "Please check if the quantized model is in debug mode"),
    ("tensorflow-chatter", "Traceback: mismatch 'stderr'"),
    ("tensorflow-chatter", "Saved artifact at '/tmp/tmp…'"),
    ("tensorflow-chatter", "Assets written to: /tmp/tmpXXXX/assets"),
    (
        "tensorflow-chatter",
        "Saved artifact at '/tmp/tmpab12'. The following endpoints are available:",
    ),
    (
        "tensorflow-chatter",
        "Captures:\n  139744053345232: TensorSpec(shape=(), dtype=tf.resource)",
    ),
    ("nbval-timeout", "Timeout of 5 seconds exceeded waiting for output."),
    ("nbval-streams", "stream != streamstream"),
    (
        "tensor-null",
        "Failed creating inference request: Input tensors are invalid: Tensor 1 is"
        " null",
    ),
    (
        "tfmot-clone",
        "ValueError: Unable to clone model. This generally happens if you used custom"
        " Keras layers or objects in your model. Please specify them via"
        " `quantize_scope`",
    ),
]

# The same with other numbers, names, paths and lengths.
CHANGED = [
    (
        "too-many-partitions",
        "Model contains too many graph partitions (17 > 16) and 2 of the graph"
        " partitions"
        " can't be run on the device.",
    ),
    (
        "fatal-signal",
        "kernel: larod: worker-3: potentially unexpected fatal signal 11.",
    ),
    ("operator-falls-back", "WARNING: Fallback unsupported op 117 to TfLite"),
    (
        "device-not-found",
        "Could not find device name 'my odd/name' and instance 3",
    ),
    ("chip-not-found", "Could not find chip 12\n2025-05-22T11:46:03.326 next line"),
    (
        "input-too-short",
        "larod: Session 7: Could not run job: Could only read 1 out of 150528 bytes"
        " from"
        " file descriptor",
    ),
    ("reshape-input", "ValueError: Input array not provided for operation `reshape`."),
    ("larod-code", "ERROR: When running job (-12): something new"),
    ("larod-code", "ERROR: When opening FILE.bin for output (13): something new"),
    ("larod-code-name", "larodRunJob failed: LAROD_ERROR_TENSOR_MISMATCH"),
    (
        "edgetpu-not-quantized",
        "Invalid model: /home/a b/models/x.tflite\nModel not quantized\n",
    ),
    (
        "operator-version",
        "ERROR: Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'. An"
        " older",
    ),
    ("operator-unknown", "Op builtin_code out of range: 130. are you using old TFLite"),
    (
        "input-type",
        "Cannot set tensor: Got value of type UINT8 but expected type FLOAT32 for"
        " input 3",
    ),
    (
        "input-shape",
        "Cannot set tensor: Dimension mismatch. Got 3 but expected 4 for input 0.",
    ),
    ("get-save-spec", "'Functional' object has no attribute '_get_save_spec'"),
    ("not-quantizable", "RuntimeError: Quantization not yet supported for op: 'DIV'."),
    (
        "onnx-operator",
        "tf2onnx could not convert the model: No Op registered for Erfc with"
        " domain_version of 17",
    ),
    (
        "custom-op",
        "Encountered unresolved custom op: Foo.\nSee instructions: https://x",
    ),
    ("power", "No power available when running larod job, try nbr 49"),
    ("nbval-timeout", "Cell 12: Timeout of 10 seconds exceeded waiting for output."),
    ("output-not-writable", "ERROR: Could not open file x.out0: Permission denied"),
    ("ssh-refused", "ssh: connect to host cam.local port 2222: Connection refused"),
    ("ssh-root", "root@camera: Permission denied (password)."),
]

UNRELATED = [
    "hello",
    "-6",
    "error: expected ';' before 'return'",
    "main.c:12:5: error: 'x' undeclared (first use in this function)",
    "/usr/bin/ld: cannot find -lfoo: No such file or directory",
    "gcc: internal compiler error: Segmentation fault signal terminated program cc1",
    "Captures: 12 frames",
    "Segmentation fault (core dumped)",
    "Out of memory: Killed process 4242 (chrome) total-vm:8123456kB",
    "kernel: usb 1-1: new high-speed USB device number 4 using xhci_hcd",
    "bash: foo: command not found",
    "No space left on device",
    "rm: cannot remove 'x': Permission denied",
    "Could not open file x.txt: Permission denied",
    "ModuleNotFoundError: No module named 'tensorflow'",
    "ValueError: operands could not be broadcast together with shapes (3,) (4,)",
    "AttributeError: 'NoneType' object has no attribute 'shape'",
    "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    "KeyError: 'serving_default'",
    "CUDA error: out of memory",
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)",
    "ImportError: libGL.so.1: cannot open shared object file",
    "curl: (6) Could not resolve host: camera",
    "Connection closed by remote host",
    "curl: (28) Failed to connect to 10.0.0.1 port 80: Connection timed out",
    "ping: connect: No route to host",
    "sftp> put model.tflite: Permission denied",
    "su: Permission denied",
    "xroot@192.168.0.90 is an address",
    "curl: (7) Failed to connect to 10.0.0.1 port 80: Connection refused",
    "curl: (60) SSL certificate problem: self-signed certificate",
    "HTTP/1.1 401 Unauthorized",
    "502 Bad Gateway",
    "fatal: not a git repository (or any of the parent directories): .git",
    "error: failed to push some refs to 'origin'",
    "npm ERR! code ERESOLVE",
    "Error response from daemon: No such container: abc",
    "pip: ERROR: No matching distribution found for tensorflow==1.15",
    "E: Unable to locate package edgetpu-compiler",
    # Near misses: words of the real ones, from other software or in plain sentences.
    "ERROR Failed to load model: could not load model file 'model.gguf'",
    "Could not load model bert-base: connection error",
    "Could not load model",
    "GDBus.Error: Message recipient disconnected from message bus without replying",
    "tritonclient: failed to connect to all addresses",
    "The model was not quantized.",
    "Failed to allocate memory for tensors",
    "Could not find device",
    "Could not find device named 'eth0'",
    "blkid: could not find device name for /dev/sdb",
    "Could only read 3 out of 10 records of the table",
    "disk: could only read 12 out of 512 bytes, giving up",
    "Is your model not quantized? Then read on.",
    "Invalid model: expected a dictionary",
    "the double free or corruption that version 4.1 had",
    "chrome.service: Main process exited, code=dumped, status=6/ABRT",
    "nginx.service: Main process exited, code=killed, status=9/KILL",
    "chrome invoked oom-killer: gfp_mask=0x100cca",
    "Out of memory: Killed process 4242 (larodesque) total-vm:8123456kB",
    "simulation: step 12 of 100",
    "a model with edgetpu-custom-op as its one operator",
    "Could not select chip on the timeline",
    "ERROR: Could not open file notes.txt: No such file or directory",
    "The connection was closed by port security",
    "TypeERROR: When reading (5): x",
    "free(): invalid pointer",
    "There is more than one subgraph in this figure",
    "larod is a service that runs models on the accelerators of a camera.",
    "larod-client -g model.tflite -c axis-a8-dlpu-tflite -R 100 -i ''",
    "Mean execution time for job: 5.60 ms",
    "The DLPU can be used by several models, one after the other.",
    "Per-tensor quantization uses one scale for each tensor of weights.",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor",
    "",
    " \n\t\x00\x1b[0m",
]

LOG = [
    "2023-10-03T14:47:12.902+08:00 axis-b8a44f495376 [ INFO    ] sh[1841]: WARNING:"
    " Fallback unsupported op 32 to TfLite",
    "2023-10-03T14:47:13.325+08:00 axis-b8a44f495376 [ INFO    ] sh[1841]: double free"
    " or corruption (out)",
    "2023-10-03T14:47:13.327+08:00 axis-b8a44f495376 [ ERR     ] kernel: [  225.208127]"
    "[ T1845] larod: singleprocq: potentially unexpected fatal signal 6.",
]


# What people paste: the middle of a message, its first words, or one without its line.
PARTS = [
    ("too-many-partitions", "too many graph partitions"),
    ("device-not-found", "Could not find device name"),
    ("device-not-found", "ERROR: Could not find device name."),
    ("device-not-found", 'Could not find device name "axis-a8-dlpu-tflite"'),
    ("input-too-short", "Could only read 110592 out of 27648"),
    ("input-too-short", "Could only read 27648 out of 110592 bytes"),
    ("input-too-short", "Could only read ... out of ..."),
    ("edgetpu-not-quantized", "Model not quantized"),
    ("edgetpu-not-quantized", "model not quantized!"),
    ("edgetpu-invalid-model", "Invalid model: m.tflite"),
    ("needs-flex", "Some ops are not supported by the native TFLite runtime"),
    ("needs-flex", "TF Select ops:"),
    ("needs-flex", "TF Select ops: Conv2D, Erf"),
    ("not-quantizable", "Quantization not yet supported for op: 'CUSTOM'"),
    ("not-quantizable", "Quantization not yet supported for op: 'CUSTOM'."),
    ("no-interpreter", "Could not build an interpreter"),
    ("no-session", "Could not connect to larod"),
    ("double-free", "double free or corruption"),
    ("power", "No power available when running larod job"),
    ("operator-falls-back", "Fallback unsupported op 3"),
    ("edgetpu-large-activations", "due to large activation tensors"),
    ("edgetpu-data-type", "working on an unsupported data type"),
    ("edgetpu-limitation", "not mapped due to some unspecified limitation"),
    ("edgetpu-custom-op", "Encountered unresolved custom op: edgetpu-custom-op"),
    ("custom-op", "Encountered unresolved custom op: TFLite_Detection_PostProcess"),
    ("operator-version", "Didn't find op for builtin opcode 'CONV_2D'"),
    ("operator-unknown", "Op builtin_code out of range"),
    ("tfmot-keras-3", "`to_quantize` can only either be"),
    ("tfmot-clone", "Unable to clone model. This generally happens"),
    ("get-save-spec", "no attribute '_get_save_spec'"),
    ("no-representative-dataset", "representative_dataset is required"),
    ("flex-op", "Make sure you apply/link the Flex delegate before inference"),
    ("input-type", "Got value of type FLOAT32 but expected type INT8 for input 0"),
    ("input-shape", "Dimension mismatch. Got 224 but expected 96 for dimension 1"),
    ("not-flatbuffer", "not a valid Flatbuffer"),
    ("dynamic-tensors", "only supports static-sized tensors"),
    ("interpreter-deprecated", "tf.lite.Interpreter is deprecated"),
    ("larod-client-missing", "larod-client: No such file or directory"),
    ("larod-client-missing", "'larod-client' is not recognized as an internal or"),
    ("file-count", "1 output files for 2 output tensors"),
    ("file-count", "2 input files for 1 input tensors"),
    ("virtual-camera-cannot", "ambarella-cvflow takes a cavalry binary\u2026"),
    (
        "virtual-camera-cannot",
        "ambarella-cvflow takes a cavalry binary, not a .tflite file",
    ),
    ("virtual-camera-cannot", "Could not run job: simulation: something new"),
    ("service-died", "code=dumped, status=6/ABRT"),
    ("ssh-unreachable", "No route to host"),
    ("ssh-hostname", "Could not resolve hostname"),
    (
        "virtual-camera-cannot",
        "axis-a8-dlpu-native is not simulated, as a computer cannot run a model of it",
    ),
    ("device-not-found", "Could not get device axis-a8-dlpu-tflite"),
    ("chip-not-found", "Could not select chip"),
    ("input-too-short", "bytes from file descriptor"),
    ("tensor-null", "Input tensors are invalid"),
    ("tensor-null", "Tensor 1 is null"),
    ("power", "POWER_NOT_AVAILABLE"),
    ("fatal-signal", "fatal signal 6"),
    ("operator-falls-back", "WARNING: Fallback unsupported op"),
    ("edgetpu-limitation", "unspecified limitation"),
    ("edgetpu-one-part", "More than one subgraph"),
    ("edgetpu-custom-op", "edgetpu-custom-op"),
    ("custom-op", "unresolved custom op"),
    ("custom-op", "Some ops in the model are custom ops, See instructions"),
    ("get-save-spec", "_get_save_spec"),
    (
        "float-io-only",
        "inference_input_type and inference_output_type must be tf.float32",
    ),
    ("file-missing", "ERROR: Could not open file m.tflite: No such file or directory"),
]

# Of ssh: a camera's, or of any computer.
SSH = [
    ("ssh-root", "root@192.168.0.90: Permission denied (publickey,password)."),
    ("ssh-acap", "acap-root@cam: Permission denied (publickey)."),
    ("ssh-acap", "acap-myapp@192.168.0.90: Permission denied (publickey,password)."),
    ("ssh-denied", "my-root@cam: Permission denied (publickey)."),
    ("ssh-denied", "git@github.com: Permission denied (publickey)."),
    ("ssh-denied", "Permission denied, please try again."),
    ("ssh-host-key-unknown", "Host key verification failed."),
    ("ssh-host-key", "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!"),
    (
        "ssh-host-key",
        "Host key for cam has changed and you have requested strict checking",
    ),
    ("ssh-host-key-unknown", "Host key is not trusted for host 192.168.0.90"),
    ("ssh-denied", "Permission denied for user me on host 192.168.0.90"),
    (
        "ssh-host-key-type",
        "Unable to negotiate with cam port 22: no matching host key type found."
        " Their offer: ssh-rsa",
    ),
    ("ssh-negotiate", "no matching cipher found. Their offer: aes128-cbc"),
    (
        "ssh-unreachable",
        "ssh: connect to host 192.168.0.90 port 22: Connection timed out",
    ),
    ("ssh-unreachable", "ssh: connect to host cam port 22: No route to host"),
    (
        "ssh-hostname",
        "ssh: Could not resolve hostname camera: Name or service not known",
    ),
    ("ssh-kex", "kex_exchange_identification: Connection closed by remote host"),
    ("ssh-kex", "ssh_exchange_identification: Connection closed by remote host"),
    ("ssh-key-permissions", "@   WARNING: UNPROTECTED PRIVATE KEY FILE!    @"),
    ("ssh-hostname", "Could not resolve hostname camera: Name or service not known"),
    ("ssh-kex", "Connection closed by 192.168.0.90 port 22"),
    ("ssh-too-many", "Received disconnect from cam: Too many authentication failures"),
    ("ssh-subsystem", "subsystem request failed on channel 0"),
]

# As the kernel and systemd put them into the log.
DIED = [
    (
        "out-of-memory",
        "kernel: Out of memory: Killed process 812 (larod) total-vm:412304kB",
    ),
    ("out-of-memory", "Memory cgroup out of memory: Killed process 7 (larod)"),
    (
        "larod-died",
        "systemd[1]: larod.service: Main process exited, code=dumped, status=6/ABRT",
    ),
    ("larod-died", "systemd[1]: larod.service: Failed with result 'core-dump'."),
    ("out-of-memory", "systemd[1]: larod.service: Failed with result 'oom-kill'."),
]


def first(text):
    found = errors.explain(text)
    return found[0].id if found else None


@pytest.mark.parametrize(("name", "text"), PRINTED + CHANGED + PARTS + SSH + DIED)
def test_is_explained(name, text):
    assert first(text) == name


@pytest.mark.parametrize(("name", "text"), PRINTED + CHANGED + SSH + DIED)
def test_is_explained_however_it_looks(name, text):
    wide = re.sub(r"(?<!\d) +(?!\d)", "   ", text)
    assert first(wide) == name
    assert first(text.upper()) == name
    assert first(text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")) == name
    assert first(f"\x1b[1;31m{text}\x1b[0m\x00") == name
    assert first(f"Oct 03 14:47:13 axis sh[12]: {text}\n12:00 next: fine\n") == name
    for width in (7, 40):  # a terminal breaks lines anywhere, but here not in a number
        lines = re.findall(rf".{{1,{width}}}\d*", text, flags=re.DOTALL)
        assert first("\n".join(lines)) == name
        assert first("\r\n".join(lines)) == name


@pytest.mark.parametrize(("name", "text"), PARTS)
def test_a_part_is_explained_however_it_looks(name, text):
    assert first(text.upper()) == name
    assert first(f" \x1b[1;31m{text}\x1b[0m\n") == name
    assert first(f"'{text}'") == name


def test_what_ssh_says_of_any_computer_is_no_fault_of_a_camera():
    for text in ("git@github.com: Permission denied (publickey).", "No route to host"):
        found = errors.explain(text)[0]
        assert "camera" not in found.title + found.cause.lower()
    for name in ("ssh-denied", "ssh-host-key-unknown", "ssh-host-key-type", "ssh-kex"):
        assert "SSH in general" in errors.MESSAGES[name].cause
        assert errors.MESSAGES[name].confidence != "stated by Axis"
    user = errors.explain("acap-root@cam: Permission denied (publickey).")
    assert [one.id for one in user] == ["ssh-acap"]
    assert user[0].command == "ssh acap-root@cam"


def test_the_most_telling_of_a_dialogue_with_ssh_comes_first():
    text = "Permission denied, please try again.\n" * 2
    text += "root@192.168.0.90: Permission denied (publickey,password)."
    assert [one.id for one in errors.explain(text)] == ["ssh-root", "ssh-denied"]
    text = (
        "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key for cam has changed"
    )
    text += " and you have requested strict checking.\nHost key verification failed."
    assert first(text) == "ssh-host-key"


def test_a_pattern_begins_where_a_word_begins():
    assert first("(Could not allocate tensors") == "no-tensors"
    assert first("step:Could not allocate tensors") == "no-tensors"
    assert first("- Could not allocate tensors") == "no-tensors"
    assert first("-Could not allocate tensors") == "no-tensors"
    assert first("[31mCould not allocate tensors[0m") == "no-tensors"  # escapes lost
    for before in ("x", "x-", "x_", "7"):
        assert errors.explain(f"{before}Could not allocate tensors") == ()


def test_lines_that_look_like_errors_and_are_not_known():
    log = [
        "12:00 larod: Could not allocate tensors",
        "12:01 app: ERROR: something new",
        "12:02 app: 3 passed, 0 failed",
        "12:03 app: reading failed",
        "12:04 axis [ ERR     ] app: gone",
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in <module>',
        "KeyError: 'a'",
        "Traceback (most recent call last):",
        "KeyboardInterrupt",
        "Traceback (most recent call last):",
        "ValueError: The model is not a valid Flatbuffer buffer",
        "all is well",
    ]
    found = errors.read("\r\n".join(log))
    assert [one.id for one in found.explanations] == ["not-flatbuffer", "no-tensors"]
    assert found.unknown == (log[1], log[3], log[4], log[7], log[8])
    assert errors.read(log[0]).unknown == ()


@pytest.mark.parametrize("message", errors.MESSAGES.values(), ids=list(errors.MESSAGES))
def test_a_command_is_complete_and_names_no_chip_of_its_own(message):
    if message.command.startswith("dlpu convert "):
        assert " --mean MEAN --std STD " in message.command
    told = message.example + message.title
    if "Edge TPU" not in told and "overall scale" not in told.lower():
        for chip in re.findall(r"artpec\d|cv\d\d|a\d-dlpu", message.command):
            assert chip in told.lower().replace("-", "")


def test_a_line_may_break_within_a_number():
    found = errors.explain(
        "could only read 1966\n08 out of 7864\n32 bytes from file descriptor"
    )
    assert found[0].decoded.startswith("4 times")


@pytest.mark.parametrize("text", UNRELATED)
def test_is_not_guessed(text):
    assert errors.explain(text) == ()


def test_unrelated_lines_do_not_add_up():
    assert errors.explain("\n".join(UNRELATED)) == ()


@pytest.mark.parametrize("message", errors.MESSAGES.values(), ids=list(errors.MESSAGES))
def test_an_entry(message):
    assert first(message.example) == message.id
    assert message.confidence in socs.CONFIDENCES
    lessons = {path.name[:2] for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert message.lesson in lessons | {"10", "13", "14"}
    assert message.sources
    for source in message.sources:
        assert source.url.startswith("https://")
        assert re.fullmatch(r"20\d\d(-\d\d){0,2}", source.date)
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", source.read)
    for told in (message.title, message.cause, message.next):
        assert told == told.strip()
        assert "\n" not in told
    assert message.cause.endswith(".")
    assert message.next.endswith(".")
    found = errors.explain(message.example)[0]
    assert found.source == (message.sources[0].title, message.sources[0].url)
    assert found.read == message.sources[0].read


@pytest.mark.parametrize("message", errors.MESSAGES.values(), ids=list(errors.MESSAGES))
def test_a_pattern_is_long_bounded_and_begins_with_a_word(message):
    known = set()
    for template in message.patterns:
        pattern = template.expression.pattern
        known |= set(template.expression.groupindex)
        if not template.alone:
            assert template.letters >= 12, "short ones match by accident"
            own = re.sub(r"^\(\?P<got>.*?\)(?=\w)", "", pattern).replace("\\", "")
            assert re.match(r"[\w(@'#]", own), pattern
            assert not own.startswith("(?P")
        literal = re.sub(r"\\.", "", pattern)
        assert "*" not in literal
        assert "+" not in literal
    assert set(re.findall(r"\{(\w+)\}", message.command)) <= known


@pytest.mark.parametrize("message", errors.MESSAGES.values(), ids=list(errors.MESSAGES))
def test_a_command_of_ours_exists(message):
    words = message.command.split()
    if words[:1] == ["dlpu"]:
        options = {
            name for each in dlpu.commands[words[1]].params for name in each.opts
        }
        assert {word for word in words if word.startswith("-")} <= options


def test_devices_are_those_of_the_chips():
    known = {
        name
        for soc in socs.SOCS.values()
        for fact in (soc.devices, soc.preprocessing_devices)
        if fact
        for name in fact.value
    }
    told = [errors.explain(f"Could not find chip {n}")[0].decoded for n in range(14)]
    for message in errors.MESSAGES.values():
        told += [message.cause, message.next, message.command]
    device = r"\b[a-z]\w*-(?:[\w-]*-)?(?:tflite|native|proc|cvflow)\b"
    names = set(re.findall(device, " ".join(told)))
    assert len(names) > 5
    assert names <= known


def test_sources_are_all_used():
    used = {
        source.key for entry in errors.MESSAGES.values() for source in entry.sources
    }
    own = set(errors.SOURCES) - set(socs.SOURCES)
    assert own <= used


@pytest.mark.parametrize(
    ("got", "wanted", "told"),
    [
        (196608, 786432, "float32"),
        (196608, 786432, "512×512"),
        (50176, 150528, "three colours and one came"),
        (75264, 150528, "NV12"),
        (50176, 602112, "float32 in three colours"),
        (270000, 288000, "rows of 300 bytes came, and rows of 320 are wanted"),
        (150528, 196608, "224×224 pixels of RGB came, 256×256 are wanted"),
        (0, 150528, "nothing came"),
        (100, 150528, "bytes are missing"),
        (150528, 150528, "do not fit"),
        (110592, 27648, "these numbers do not fit the message; the other way round: 4"),
        (7, 70, "10 times"),
    ],
)
def test_bytes(got, wanted, told):
    text = f"Could only read {got} out of {wanted} bytes from file descriptor"
    assert told in errors.explain(text)[0].decoded


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Fallback unsupported op 32 to TfLite", "CUSTOM"),
        ("Fallback unsupported op 54 to TfLite", "operator 54 is PRELU"),
        ("Fallback unsupported op 9999 to TfLite", "unknown"),
        ("ERROR: When running job (-15):", "LAROD_ERROR_POWER_NOT_AVAILABLE"),
        ("ERROR: When running job (-99):", "not known"),
        ("ERROR: When running job (12):", "ENOMEM"),
        ("LAROD_ERROR_ALLOC", "-14 is LAROD_ERROR_ALLOC, memory could not be had"),
        ("potentially unexpected fatal signal 9", "SIGKILL"),
        ("Could not find chip 12", "ARTPEC-8"),
        ("Could not find device name 'a9-dlpu-tflite' and instance 0", "ARTPEC-9"),
        ("Could not find device name 'x' and instance 0", "no chip"),
        (
            "Didn't find op for builtin opcode 'CONV_2D' version '6'",
            "CONV_2D in version 6; edgetpu_compiler 16 knows up to 5 (inferred)",
        ),
        (
            "Cannot set tensor: Got value of type UINT8 but expected type INT8 for"
            " input 0",
            "int8 is uint8 minus 128",
        ),
        (
            "Cannot set tensor: Dimension mismatch. Got 3 but expected 96 for"
            " dimension 1"
            " of input 0.",
            "NCHW",
        ),
        (
            "Model contains too many graph partitions (137 > 16) and 68 of the graph"
            " partitions can't be run on the device",
            "137 parts, and 16 are allowed; 68 of them",
        ),
    ],
)
def test_what_numbers_and_names_tell(text, told):
    assert told in errors.explain(text)[0].decoded


def test_a_log_has_several_and_what_harms_nothing_comes_last():
    found = errors.explain("\n".join(LOG))
    assert [one.id for one in found] == [
        "fatal-signal",
        "double-free",
        "operator-falls-back",
    ]
    assert [one.note for one in found] == [False, False, True]
    assert found[0].matched == (
        "larod: singleprocq: potentially unexpected fatal signal 6"
    )


def test_the_same_message_is_told_once_and_other_numbers_apart():
    line = "WARNING: Fallback unsupported op {} to TfLite\n"
    assert len(errors.explain(line.format(32) * 50)) == 1
    assert len(errors.explain(line.format(32) + line.format(54))) == 2
    many = "".join(f"Could not find chip {number}\n" for number in range(2000))
    assert len(errors.explain(many)) == 20


def test_many_operators_that_fall_back_are_one_explanation():
    numbers = [3] * 17 + [4] * 8 + [0] * 5 + [32]
    lines = [
        f"sh[1841]: WARNING: Fallback unsupported op {n} to TfLite" for n in numbers
    ]
    left, custom = errors.explain("\n".join(lines))
    assert left.count == 30
    assert left.decoded == (
        "operator 3 is CONV_2D (17 times); operator 4 is DEPTHWISE_CONV_2D (8 times);"
        " operator 0 is ADD (5 times)"
    )
    assert "left the DLPU" in left.title
    assert "slow" in left.cause
    assert "nothing is broken" not in left.cause.lower()
    assert left.confidence == "inferred"
    assert left.command.startswith("dlpu lint ")
    assert custom.count == 1
    assert "nothing is broken" in custom.cause
    assert custom.confidence == "stated by Axis"
    assert left.id == custom.id == "operator-falls-back"
    everything = "".join(
        f"Fallback unsupported op {n} to TfLite\n" for n in range(2000)
    )
    left, custom = errors.explain(everything)
    assert left.count == 1999
    assert left.decoded.endswith("; 1979 more")


def test_lines_are_counted():
    line = "Could not allocate tensors"
    assert errors.explain(line)[0].count == 1
    assert errors.explain(f"{line}\n12:00 else\n{line} {line}\n")[0].count == 2


def test_a_strangers_text_becomes_no_command():
    text = "ssh: connect to host {} port 22: Connection refused"
    harmless = errors.explain(text.format("10.0.0.1"))[0].command
    assert "https://10.0.0.1/" in harmless
    for host in ("$(reboot)", "a;b", 'x";rm -rf ~;"', "-oProxyCommand=id", "a\nb|c"):
        assert "https://HOST/" in errors.explain(text.format(host))[0].command


def test_matched_is_the_text_itself():
    text = 'x\x1b[31m Could  NOT\nfind device name \N{LEFT DOUBLE QUOTATION MARK}A9"'
    text += " and instance 0 tail"
    matched = errors.explain(text)[0].matched
    assert (
        matched
        == 'Could NOT find device name \N{LEFT DOUBLE QUOTATION MARK}A9" and instance 0'
    )


def test_matched_keeps_the_closing_quotation_mark():
    for mark in "\"'`":
        message = f"Could not find device name {mark}axis-a8-dlpu-tflite{mark}"
        assert errors.explain(message)[0].matched == message
        assert errors.explain(f"{mark}{message[:-1]}")[0].matched == message[:-1]


def test_matched_steers_no_terminal():
    text = "Could not find\x1b[2J device\x00 name '\x1b]0;x\x07A9\u202e' and instance 0"
    assert errors.explain(text)[0].matched == (
        "Could not find device name 'A9' and instance 0"
    )


def test_neither_numpy_nor_tensorflow_is_imported():
    code = (
        "import sys; from course_lib.camera.errors import explain;"
        "explain('Could not allocate tensors');"
        "print({'numpy', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


FRAGMENTS = sorted(
    {
        part
        for message in errors.MESSAGES.values()
        for word in (message.example, message.title)
        for part in re.findall(r"\S{1,20}\s?", word)
    }
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(FRAGMENTS),
            st.text(max_size=20),
            st.sampled_from(["\x1b[", "\x1b]", "\x00", "1", "'", "\n", "\ud800", "²"]),
        ),
        max_size=60,
    ).map("".join)
)
def test_any_text_is_answered(text):
    for found in errors.explain(text):
        assert found.id in errors.MESSAGES
        assert found.matched
        assert "\n" not in found.matched


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(PRINTED),
    st.text(st.characters(exclude_characters="\x1b"), max_size=40),
    st.text(st.characters(exclude_characters="\x1b"), max_size=40),
)
def test_a_message_is_found_within_any_text(printed, before, after):
    name, text = printed
    found = {one.id for one in errors.explain(f"{before}\n{text}\n{after}")}
    assert name in found
