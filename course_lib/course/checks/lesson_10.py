"""Checks of lesson 10. They run the files that the scripts of 10_frameworks made."""

from collections.abc import Callable
from functools import cache
from numbers import Real
from typing import Any
from unittest.mock import patch

from course_lib.course.checks import judge
from course_lib.dlpu import cvflow, onnx_file, rules, socs
from course_lib.tflite import inference
from course_lib.vision import datasets, models

import numpy as np

ARTEFACTS = models.DATA.parent / "notebooks" / "10_frameworks" / "artefacts"
_KERAS_EPSILON, _TORCH_EPSILON = 1e-3, 1e-5
_TOLERANCE = 0.004  # two decimals are enough
_FILE = "litert_torch_per_channel.tflite"
_DIGITS = 60
_PIXEL = 200
# What a chip cannot take, though the linter may only warn of it.
_WRONG = {"planar-input", "transposes", "per-channel-weights", "tflite-input"}


def epsilon(answer: float) -> None:
    """Check exercise 10.1: the largest growth by a smaller epsilon; to 0.004.

    Introduced in notebook 10.
    """

    def near(value: float) -> Callable[[Any], bool]:
        return lambda a: abs(float(a) - value) <= _TOLERANCE

    growth = _growth("stem")
    judge(
        "10.1",
        answer,
        is_right=near(growth.max()),
        hints=[
            (
                near((growth**2).max()),
                "That is the quotient of the variances. Which function stands around "
                "variance + epsilon?",
            ),
            (
                near(1 / growth.max()),
                "It is turned round: a smaller epsilon makes the denominator smaller.",
            ),
            (
                lambda a: near(growth.mean())(a) or near(np.median(growth))(a),
                "That is a typical channel. Take the one that changes most.",
            ),
            (
                near(growth.min()),
                "That channel changes least: its variance is large. Take the other "
                "end.",
            ),
            (
                lambda a: (
                    near(growth.max() - 1)(a) or near(100 * growth.max() - 100)(a)
                ),
                "That is by how much it grows. Give the factor.",
            ),
            (
                lambda a: any(
                    near(_growth(layer).max())(a)
                    for layer in ("block0_depthwise", "block1_depthwise")
                ),
                'That is another layer. Take "stem_bn/variance".',
            ),
        ],
        otherwise="Divide the two values of 1 / √(variance + epsilon), channel by "
        "channel. Gamma cancels.",
    )


def repaired(answer: Callable[[np.ndarray], np.ndarray]) -> None:
    """Check exercise 10.2: a function that feeds an int8 file what it takes.

    It is tried on 60 digits; a probability may be off by two of the file's steps.

    Introduced in notebook 10.
    """
    pictures, wanted = _digits(), _wanted()
    given, failure, sent = answer, "", []

    def watched(model: Any, inputs: np.ndarray, **options: Any) -> Any:
        sent.append(np.asarray(inputs).dtype.kind)
        return predict(model, inputs, **options)

    predict = inference.predict
    if callable(answer):
        try:
            with patch.object(inference, "predict", watched):
                answer = given(pictures.copy())
        except Exception as error:  # a learner's function may do anything
            failure = " ".join(f"{type(error).__name__}: {error}".split())

    def equals(other: np.ndarray) -> Callable[[Any], bool]:
        return lambda a: a.shape == other.shape and np.abs(a - other).max() <= 2.5 / 256

    def fed(inputs: np.ndarray) -> np.ndarray:
        return inference.predict(ARTEFACTS / _FILE, inputs)

    planes = cvflow.planar(pictures).reshape(pictures.shape)
    judge(
        "10.2",
        answer,
        is_right=lambda a: (
            callable(given) and not failure and "f" not in sent and equals(wanted)(a)
        ),
        hints=[
            (
                lambda a: failure,
                f"The function failed: {failure[:120]}",
            ),
            (
                lambda a: not callable(given),
                "Give the function itself, without calling it.",
            ),
            (
                lambda a: a is None,
                "It returns nothing. Is there a `return`?",
            ),
            (
                lambda a: "f" in sent and equals(wanted)(a),
                "The answers are right, but floats were sent, and `predict` made the "
                "integers. A camera does not: make them yourself.",
            ),
            (
                equals(fed(planes.view(np.int8))),
                "Both steps only silence an error. Which layout and which numbers does "
                "the file's input ask for? See `reading.read(...).inputs[0]`.",
            ),
            (
                equals(fed(_signed(planes))),
                "The numbers are right now, their places are not: `reshape` renames "
                "axes and moves no byte.",
            ),
            (
                equals(fed(pictures.view(np.int8))),
                "The layout is right now. `view` calls a byte of 200 something else: "
                "what does the file's zero point ask for?",
            ),
            (
                lambda a: a.shape == (_DIGITS,),
                "Return all ten probabilities of each picture.",
            ),
            (
                lambda a: equals(fed(np.float32(pictures) / 255))(a),
                "Pixels were divided by 255. Real 255 is 255 in this file: the "
                "division stands in its first kernel.",
            ),
            (
                lambda a: any(
                    equals(inference.predict(ARTEFACTS / f"{name}.tflite", pictures))(a)
                    for name in ("onnx2tf_per_channel", "onnx2tf_per_tensor")
                ),
                "These are another file's answers. Keep the file and mend what it is "
                "given.",
            ),
            (
                lambda a: (
                    a.argmax(1).shape == (_DIGITS,)
                    and np.mean(a.argmax(1) == wanted.argmax(1)) > 0.9
                ),
                "Near, but some pixels do not arrive as they were sent. Is a number "
                "clipped or cut on the way?",
            ),
        ],
        otherwise="The input is interleaved, and real pixel 0 is the integer of its "
        "zero point.",
    )


def choice(answer: dict[str, tuple[str, int]]) -> None:
    """Check exercise 10.3: a file for each of three chips, and how it stores 200.

    Every file passes that the linter does not fault on that chip.

    Introduced in notebook 10.
    """
    wanted = ("artpec7", "artpec8", "cv75")
    pairs = answer if isinstance(answer, dict) else {}
    flat = [part for pair in pairs.values() if isinstance(pair, tuple) for part in pair]
    if any(part is ... for part in flat):
        answer = ...
    told = ""
    if set(pairs) == set(wanted) and answer is not ...:
        told = next(filter(None, (_fault(chip, pairs[chip]) for chip in wanted)), "")
    judge(
        "10.3",
        answer,
        is_right=lambda a: set(a) == set(wanted) and not told,
        hints=[
            (
                lambda a: not isinstance(a, dict) or set(a) != set(wanted),
                "Give a dictionary with one pair for each of artpec7, artpec8, cv75.",
            ),
            (lambda a: told, told),
        ],
        otherwise="Give a file name and an integer for each chip.",
    )


def _fault(chip: str, pair: Any) -> str:
    """Tell what is wrong with one choice; nothing if it is right."""
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        return f"{chip}: give a pair, a file's name and an integer."
    name, stored = pair
    if not isinstance(stored, Real):
        return f"{chip}: the second of the pair is an integer."
    if name not in {path.name for path in ARTEFACTS.iterdir()}:
        return f"{chip}: there is no such file in 10_frameworks/artefacts."
    soc = socs.SOCS[chip]
    if not name.endswith((".tflite", ".onnx")):
        return f"{chip}: that file is no model."
    if name.endswith(".onnx") and not soc.takes_onnx:
        return f"{chip}: {soc.name} takes .tflite files."
    model = onnx_file.read_either(ARTEFACTS / name, soc=soc)
    told = {
        finding.rule
        for finding in rules.lint(model, soc=soc).findings
        if finding.severity == "error" or finding.rule in _WRONG
    }
    if told:
        return f"{chip}: the linter says {', '.join(sorted(told))} of that file."
    signed = not soc.takes_onnx and model.inputs[0].dtype == "int8"
    if signed and stored == _PIXEL:
        return f"{chip}: that file's input is int8, which ends at 127."
    if signed and stored == _PIXEL - 256:
        return f"{chip}: that is the byte of 200 read as int8. What does 0 become?"
    if not signed and stored in (_PIXEL - 128, _PIXEL - 256):
        return f"{chip}: the input there is uint8, the camera's bytes as they are."
    if stored != _PIXEL - 128 * signed:
        return f"{chip}: look at the input's scale and zero point once more."
    return ""


def _growth(layer: str) -> np.ndarray:
    """Return the factor by which each channel grows, [channels]."""
    variance = models.weights("digit_reader_depthwise")[f"{layer}_bn/variance"]
    return np.sqrt((variance + _KERAS_EPSILON) / (variance + _TORCH_EPSILON))


def _signed(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.int16) - 128).astype(np.int8)


@cache
def _digits() -> np.ndarray:
    """Return uint8 [60, 16, 16, 3]."""
    images = datasets.handwritten_digits()[0][datasets.DIGITS_TEST][:_DIGITS]
    return np.repeat(images, 3, axis=3)


@cache
def _wanted() -> np.ndarray:
    return inference.predict(ARTEFACTS / _FILE, _signed(_digits()))
