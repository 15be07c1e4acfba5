"""Checks of lesson 04, and what its exercises hand over."""

from collections.abc import Callable, Iterator

from course_lib.course.checks import judge
from course_lib.tflite import reading

import numpy as np

# What is wrong with each of the datasets that `suspects` makes.
_FAULTS = {"A": "scale", "B": "none", "C": "alike", "D": "range"}
_TOLD = {
    "A": "Print the smallest and the largest value of set A.",
    "B": "Set B: is there really something wrong with it?",
    "C": "Look at ten images of set C side by side.",
    "D": "What are pixels 0 and 255 for this model, and does set D reach both?",
}


def suspects(images: np.ndarray) -> dict[str, Callable[[], Iterator]]:
    """Return four representative datasets for a model that expects −1..1.

    Args:
        images: uint8 [N, height, width, 3], varied.

    Introduced in notebook 04.
    """

    def dataset(values: np.ndarray) -> Callable[[], Iterator]:
        return lambda: ([value[None].astype(np.float32)] for value in values)

    pixels = images.astype(np.float32)
    brightness = np.linspace(0.97, 1.03, len(pixels))[:, None, None, None]
    one_scene = np.clip(pixels[:1] * brightness, 0, 255)
    one_scene[0, 0, 0], one_scene[0, 0, 1] = 0, 255
    return {
        "A": dataset(pixels),
        "B": dataset(pixels / 127.5 - 1),
        "C": dataset(one_scene / 127.5 - 1),
        "D": dataset(pixels / 255),
    }


def faults(answer: dict[str, str]) -> None:
    """Check exercise 4.3: the fault of each of the four suspects; exact.

    Introduced in notebook 04.
    """
    if isinstance(answer, dict) and any(fault is ... for fault in answer.values()):
        answer = ...
    wrong = [
        name
        for name, fault in _FAULTS.items()
        if not isinstance(answer, dict) or answer.get(name) != fault
    ]
    judge(
        "4.3",
        answer,
        is_right=lambda a: not wrong,
        hints=[
            (
                lambda a: set(a.values()) - set(_FAULTS.values()),
                "Use the words scale, range, alike and none.",
            ),
            (
                lambda a: a["A"] == "range" and a["D"] == "scale",
                "A and D are swapped: which one exceeds the range, and which one "
                "fills only half of it?",
            ),
            (lambda a: True, _TOLD[wrong[0]] if wrong else ""),
        ],
        otherwise="Give one word for each of A, B, C and D.",
    )


def int8_pixel(answer: int) -> None:
    """Check exercise 4.1: pixel 200 for an int8 input, scale 1/128, zero point −1.

    The model takes (pixel − 127) / 128; the answer is exact.

    Introduced in notebook 04.
    """
    real = (200 - 127) / 128
    value = round(real * 128) + -1
    judge(
        "4.1",
        answer,
        is_right=lambda a: a == value,
        hints=[
            (
                lambda a: a == 200,
                "200 does not fit into int8, whose largest value is 127.",
            ),
            (
                lambda a: a == 200 - 256,
                "That is the byte 200 read as a signed number. The image would come "
                "out with dark and bright swapped.",
            ),
            (
                lambda a: a == value + 1,
                "You have the real value times 128. Add the zero point.",
            ),
            (
                lambda a: a == value + 2,
                "The zero point is −1 and is added: real = scale × (q − zero point).",
            ),
            (
                lambda a: a == 127,
                "It does not saturate once the pixel is normalised: (200 − 127) / 128 "
                "comes first.",
            ),
        ],
        otherwise="Normalise the pixel, divide by the scale, add the zero point.",
    )


def repaired_file(answer: bytes) -> None:
    """Check exercise 4.2: a full-integer person model with uint8 input and output.

    The input scale must be 1 within 1 %: pixels 0..255 enter as they are. No dense
    layer may have several scales.

    Introduced in notebook 04.
    """

    def kind(content: bytes) -> str:
        return reading.parse(content).quantization

    def dtypes(content: bytes) -> set[str]:
        model = reading.parse(content)
        return {tensor.dtype for tensor in (*model.inputs, *model.outputs)}

    def scale(content: bytes) -> float:
        return reading.parse(content).inputs[0].scale

    def has_many_dense_scales(content: bytes) -> bool:
        dense = reading.parse(content).weight_counts.get("FULLY_CONNECTED", {})
        return "per-channel" in dense

    judge(
        "4.2",
        answer,
        is_right=lambda a: (
            dtypes(a) == {"uint8"}
            and abs(scale(a) - 1) < 0.01
            and not has_many_dense_scales(a)
        ),
        hints=[
            (
                lambda a: kind(a) == "float",
                "The weights are still float32: nothing was quantized. Set "
                "converter.optimizations.",
            ),
            (
                lambda a: kind(a) == "dynamic-range",
                "The weights are int8, the activations are float32: that is dynamic "
                "range quantization. Give the converter a representative dataset.",
            ),
            (
                lambda a: "float32" in dtypes(a),
                "Inside it is integer, but input or output is still float32: the "
                "camera's bytes would not fit.",
            ),
            (
                lambda a: dtypes(a) != {"uint8"},
                "Input or output is int8: the camera delivers uint8.",
            ),
            (
                lambda a: scale(a) < 0.5,
                "One step of the input is 1/255: the ranges were set with images of "
                "0..1, but this model was trained on pixels of 0..255.",
            ),
            (
                has_many_dense_scales,
                "The dense layer has one scale for each channel, which some runtimes "
                "reject. Which setting of this lesson gives it one?",
            ),
        ],
        otherwise="Give the bytes that converter.convert() returned.",
    )
