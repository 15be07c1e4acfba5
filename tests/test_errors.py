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
    "ssh: Could not resolve hostname camera: Name or service not known",
    "ssh_exchange_identification: Connection closed by remote host",
    "kex_exchange_identification: read: Connection reset by peer",
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


def first(text):
    found = errors.explain(text)
    return found[0].id if found else None


@pytest.mark.parametrize(("name", "text"), PRINTED + CHANGED)
def test_is_explained(name, text):
    assert first(text) == name


@pytest.mark.parametrize(("name", "text"), PRINTED + CHANGED)
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
    for pattern, letters in message.patterns:
        assert letters >= 12, "short ones match by accident"
        assert re.match(r"[\w(@'#]", pattern.pattern.replace("\\", "")), pattern.pattern
        assert not pattern.pattern.startswith("(?P")
        literal = re.sub(r"\\.", "", pattern.pattern)
        assert "*" not in literal
        assert "+" not in literal
        names = set(re.findall(r"\{(\w+)\}", message.command))
        assert names <= set(pattern.groupindex)


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
    many = "".join(line.format(number) for number in range(2000))
    assert 1 < len(errors.explain(many)) <= 20


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
