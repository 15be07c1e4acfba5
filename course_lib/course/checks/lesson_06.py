"""Checks of lesson 06, and the compiler reports that it reads.

The reports were posted by others, compiled from their models: nothing here was compiled
by the course. They are shortened, never changed.
"""

from dataclasses import dataclass

from course_lib.course.checks import judge
from course_lib.dlpu import edgetpu, rules
from course_lib.tflite import reading


@dataclass(frozen=True)
class Recorded:
    """A report of edgetpu_compiler that somebody posted.

    Attributes:
        model: What was compiled.
        url: Where it was posted.
        text: What the compiler printed.

    Introduced in notebook 06.
    """

    model: str
    url: str
    text: str


TRANSPOSES = Recorded(
    "a network with 70 transposes",
    "https://github.com/google-coral/edgetpu/issues/342",
    """\
Number of operations that will run on Edge TPU: 2
Number of operations that will run on CPU: 153

Operator                       Count      Status

TRANSPOSE                      70         Operation not supported
FULLY_CONNECTED                1          More than one subgraph is not supported
PAD                            1          Mapped to Edge TPU
PAD                            17         More than one subgraph is not supported
ADD                            10         More than one subgraph is not supported
MEAN                           2          More than one subgraph is not supported
CONV_2D                        35         More than one subgraph is not supported
QUANTIZE                       1          Mapped to Edge TPU
QUANTIZE                       1          Operation is otherwise supported, but not \
mapped due to some unspecified limitation
DEPTHWISE_CONV_2D              17         More than one subgraph is not supported
""",
)
# On how much of the accelerator's memory a model takes.
MEMORY = (
    Recorded(
        "SSD MobileNetV2 FPNLite",
        "https://github.com/AxisCommunications/acap3-examples/issues/47",
        """\
Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 998 ms.

Input model: model.tflite
Input size: 3.72MiB
Output model: model_edgetpu.tflite
Output size: 4.16MiB
On-chip memory used for caching model parameters: 3.42MiB
On-chip memory remaining for caching model parameters: 4.31MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 167
Operation log: model_edgetpu.log
Number of operations that will run on Edge TPU: 118
Number of operations that will run on CPU: 49
See the operation log file for individual operation details.
""",
    ),
    Recorded(
        "SSD MobileNetV2",
        "https://github.com/AxisCommunications/acap3-examples/issues/47",
        """\
Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 1342 ms.

Input model: model.tflite
Input size: 6.57MiB
Output model: model_edgetpu.tflite
Output size: 6.70MiB
On-chip memory used for caching model parameters: 6.52MiB
On-chip memory remaining for caching model parameters: 1.20MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 113
Operation log: model_edgetpu.log
Number of operations that will run on Edge TPU: 110
Number of operations that will run on CPU: 3
""",
    ),
    Recorded(
        "MobileNetV3 Small",
        "https://github.com/google-coral/edgetpu/issues/572",
        """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 542 ms.

Input model: quantized_model.tflite
Input size: 4.04MiB
Output model: quantized_model_edgetpu.tflite
Output size: 4.13MiB
On-chip memory used for caching model parameters: 604.50KiB
On-chip memory remaining for caching model parameters: 511.50KiB
Off-chip memory used for streaming uncached model parameters: 3.45MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 50
Operation log: quantized_model_edgetpu.log
See the operation log file for individual operation details.
Compilation child process completed within timeout period.
Compilation succeeded!
""",
    ),
)
# The log file of exercise 6.1; issue 187 of google-coral/edgetpu is about it.
TINY_YOLO = Recorded(
    "a small YOLO",
    "https://raw.githubusercontent.com/rajansaini691/retinanet-model-tflite/master/"
    "tiny_yolo_edgetpu.log",
    """\
Edge TPU Compiler version 14.1.317412892
Input: tiny_yolo.tflite
Output: tiny_yolo_edgetpu.tflite

Operator                       Count      Status

CONCATENATION                  1          More than one subgraph is not supported
MAX_POOL_2D                    6          Mapped to Edge TPU
RESIZE_NEAREST_NEIGHBOR        1          Operation version not supported
CONV_2D                        11         Mapped to Edge TPU
CONV_2D                        2          More than one subgraph is not supported
QUANTIZE                       1          Operation is otherwise supported, but not \
mapped due to some unspecified limitation
QUANTIZE                       1          More than one subgraph is not supported
QUANTIZE                       2          Mapped to Edge TPU
""",
)

_COMPILED, _PLAIN = "lite0_edgetpu.tflite", "lite0.tflite"
_DEVICES = {
    "A": (_COMPILED, "google-edge-tpu-tflite"),
    "B": (_PLAIN, "axis-a7-gpu-tflite"),
    "C": (_PLAIN, "cpu-tflite"),
}
# Height, width and channels of the person detector's input.
_PERSON = (96, 96, 3)


def end_of_the_tpu(share: float, operator: str) -> None:
    """Check exercise 6.1: the CPU's share of a report, and what ended the TPU part.

    The share may be off by 0.01; the operator's name is exact.

    Introduced in notebook 06.
    """
    report = edgetpu.read_report(TINY_YOLO.text)
    right, total = report.share_on_cpu, report.on_tpu + report.on_cpu
    after = sum(row.count for row in report.rows if row.status == edgetpu.AFTER_THE_END)
    rows = sum(not row.on_tpu for row in report.rows)
    culprit = report.culprits[0].operator

    def close(value: float, expected: float) -> bool:
        return abs(float(value) - expected) < 0.01

    judge(
        "6.1",
        (share, operator),
        is_right=lambda a: close(a[0], right) and a[1] == culprit,
        hints=[
            (
                lambda a: close(a[0], report.on_tpu / total),
                "That is the share that runs on the Edge TPU.",
            ),
            (
                lambda a: close(a[0], after / total),
                "You counted what comes after the end. The operator that ended it runs "
                "on the CPU too, and so does one that has a reason of its own.",
            ),
            (
                lambda a: close(a[0], rows / len(report.rows)),
                "You counted rows. A row stands for as many operators as its count "
                "says.",
            ),
            (
                lambda a: close(a[0], report.on_cpu) or close(a[0], right * 100),
                "Give a share between 0 and 1, of all operators.",
            ),
            (
                lambda a: not close(a[0], right),
                "The share is that of the operators without «Mapped to Edge TPU»; add "
                "up the counts.",
            ),
            (
                lambda a: a[1] == "QUANTIZE",
                "Two other QUANTIZE are mapped, and one more could be: a QUANTIZE "
                "behind the end has this status too. Which operator was refused for "
                "what it is?",
            ),
            (
                lambda a: a[1] in ("CONCATENATION", "CONV_2D"),
                "«More than one subgraph» means that it comes after the end; it could "
                "have been mapped before.",
            ),
            (
                lambda a: a[1] == "MAX_POOL_2D",
                "All of these are mapped.",
            ),
        ],
        otherwise="Give the share as a number and the operator's name as in the table.",
    )


def file_and_device(answer: dict[str, tuple[str, str]]) -> None:
    """Check exercise 6.3: which file goes to which larod device; exact.

    Introduced in notebook 06.
    """
    parts = list(answer.values()) if isinstance(answer, dict) else []
    pairs = [part for part in parts if isinstance(part, (tuple, list))]
    if any(word is ... for words in (parts, *pairs) for word in words):
        answer = ...

    devices = [device for _, device in _DEVICES.values()]

    def given(a: dict, name: str) -> tuple[str, str]:
        file, device = a[name]
        return file, device

    def swapped(a: dict) -> bool:
        return any(given(a, n)[0] not in (_COMPILED, _PLAIN) for n in _DEVICES)

    judge(
        "6.3",
        answer,
        is_right=lambda a: all(given(a, n) == w for n, w in _DEVICES.items()),
        hints=[
            (
                swapped,
                f"Give pairs: the file, {_COMPILED} or {_PLAIN}, then the device.",
            ),
            (
                lambda a: any(given(a, n)[1] not in devices for n in _DEVICES),
                "Give the whole name of one of the three devices: larod takes no "
                "shorter one.",
            ),
            (
                lambda a: any(
                    given(a, n)[0] == _COMPILED and given(a, n)[1] != _DEVICES["A"][1]
                    for n in _DEVICES
                ),
                "A compiled file holds edgetpu-custom-op, which no other device can "
                "run: it answers «Could not allocate tensors» or refuses to load.",
            ),
            (
                lambda a: given(a, "A") == (_PLAIN, _DEVICES["A"][1]),
                "A: the Edge TPU runs only what its compiler has made.",
            ),
            (
                lambda a: given(a, "A")[1] != _DEVICES["A"][1],
                "A: this camera has an Edge TPU, and that is its fastest device.",
            ),
            (
                lambda a: given(a, "B")[1] == _DEVICES["A"][1],
                "B: this camera has no Edge TPU, so larod would not find the device.",
            ),
            (
                lambda a: given(a, "B")[1] != _DEVICES["B"][1],
                "B: one device of this camera is faster than its CPU.",
            ),
            (
                lambda a: given(a, "C")[1] != _DEVICES["C"][1],
                "C: a reference must not depend on an accelerator.",
            ),
        ],
        otherwise="Give a pair of file and device for each of A, B and C.",
    )


def accepted_file(answer: bytes) -> None:
    """Check exercise 6.2: a file without float and without a dynamic size.

    It must be the person detector's, with a batch of 1 and full-integer; input and
    output must be uint8, the scale of the input within 0.1 of 1, and the linter must
    have no error for ARTPEC-7.

    Introduced in notebook 06.
    """

    def is_dynamic(content: bytes) -> bool:
        return any(tensor.is_dynamic for tensor in reading.parse(content).tensors)

    def dtypes(content: bytes) -> set[str]:
        model = reading.parse(content)
        return {tensor.dtype for tensor in (*model.inputs, *model.outputs)}

    def is_person(content: bytes) -> bool:
        return reading.parse(content).inputs[0].shape[1:] == _PERSON

    def takes_pixels(content: bytes) -> bool:
        return abs(reading.parse(content).inputs[0].scale - 1) < 0.1

    def errors(content: bytes) -> set[str]:
        report = rules.lint(reading.parse(content), soc="artpec7")
        return {finding.rule for finding in report.at_least("error")}

    judge(
        "6.2",
        answer,
        is_right=lambda a: (
            reading.parse(a).is_full_integer
            and not is_dynamic(a)
            and dtypes(a) == {"uint8"}
            and reading.parse(a).inputs[0].shape[:1] == (1,)
            and is_person(a)
            and takes_pixels(a)
            and not errors(a)
        ),
        hints=[
            (
                lambda a: not is_person(a),
                "This is another model: the exercise is about the person detector.",
            ),
            (
                lambda a: reading.parse(a).quantization == "float",
                "Nothing was quantized: set converter.optimizations.",
            ),
            (
                lambda a: reading.parse(a).quantization == "dynamic-range",
                "The weights alone are integers: the converter needs the "
                "representative dataset.",
            ),
            (
                is_dynamic,
                "A size of the file is dynamic, −1 in its signature. The compiler "
                "«only supports static-sized tensors»: fix the batch before the "
                "conversion.",
            ),
            (
                lambda a: "float32" in dtypes(a),
                "Input or output is float32: its QUANTIZE or DEQUANTIZE would stay on "
                "the CPU, «working on an unsupported data type».",
            ),
            (
                lambda a: dtypes(a) != {"uint8"},
                "Input or output is int8: the camera delivers uint8.",
            ),
            (
                lambda a: reading.parse(a).inputs[0].shape[:1] != (1,),
                "The batch is fixed, but not at 1: a camera asks about one image.",
            ),
            (
                lambda a: not takes_pixels(a),
                "The input's scale does not fit pixels from 0 to 255: which images has "
                "the representative dataset?",
            ),
            (
                lambda a: "dense-per-channel" in errors(a),
                "The dense layer has one scale for each channel; the linter calls that "
                "an error on ARTPEC-7. Lesson 04 has the setting against it.",
            ),
            (errors, "The linter still has an error against the file for ARTPEC-7."),
        ],
        otherwise="Give the bytes that converter.convert() returned.",
    )
