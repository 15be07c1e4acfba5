"""Checks of lesson 07, and what its exercises hand over."""

from typing import Any

from course_lib.course import compiled, laboratory
from course_lib.course.checks import judge
from course_lib.quantization import conversion
from course_lib.quantization.calibration import RepresentativeDataset
from course_lib.quiet import quiet
from course_lib.tflite import reading

_KINDS = {"A": "float", "B": "per-channel", "C": "fits", "D": "compiled"}
_CAUSES = {"A": "unequal ranges", "B": "nothing", "C": "dead channels"}
# Other channels and factors than in the lesson.
_SEED = 7


def candidates(
    model: conversion.FixedModel,
    dataset: RepresentativeDataset,
    per_channel: bytes,
    per_tensor: bytes,
) -> dict[str, bytes]:
    """Return the four files of exercise 7.2.

    Args:
        model: What `fix_batch` returned.
        dataset: Its representative dataset.
        per_channel: Its full-integer file, one scale a channel.
        per_tensor: Its full-integer file, one scale a tensor.

    Introduced in notebook 07.
    """
    return {
        "A": _float_ends(model, dataset),
        "B": per_channel,
        "C": per_tensor,
        "D": compiled.stand_in(),
    }


def kinds_of_files(answer: dict[str, str]) -> None:
    """Check exercise 7.2: what each of four files is; exact.

    Introduced in notebook 07.
    """
    if isinstance(answer, dict) and any(word is ... for word in answer.values()):
        answer = ...

    def takes(name: str, word: str) -> Any:
        return lambda a: a[name] == word

    judge(
        "7.2",
        answer,
        is_right=lambda a: all(a[name] == word for name, word in _KINDS.items()),
        hints=[
            (
                lambda a: set(a) != set(_KINDS),
                "Give one word for each of A, B, C and D.",
            ),
            (
                lambda a: any(word not in _KINDS.values() for word in a.values()),
                'Use the words "fits", "per-channel", "compiled" and "float".',
            ),
            (
                takes("A", "fits"),
                "A: one scale for each tensor is not all. Which types do its inputs "
                "and outputs have, which operators stand at its ends?",
            ),
            (
                takes("D", "fits"),
                "D: it has no tensor with several scales because it has hardly any "
                "tensor. Print its operators.",
            ),
            (
                takes("B", "fits"),
                "B: it is full-integer, but count the scales of its weights.",
            ),
            (
                lambda a: "per-channel" in (a["A"], a["C"], a["D"]),
                "One that you call per-channel has no tensor with more than one scale.",
            ),
            (
                lambda a: "compiled" in (a["A"], a["B"], a["C"]),
                "A compiled file holds a custom operator; the one that you name has "
                "none.",
            ),
            (
                lambda a: "float" in (a["B"], a["C"], a["D"]),
                "One that you call float has no tensor in float.",
            ),
        ],
        otherwise="Look at tensors, operators and scales with reading.parse.",
    )


def patients(reader: Any) -> dict[str, Any]:
    """Return the three Keras models of exercise 7.3.

    Args:
        reader: The healthy digit reader.

    Introduced in notebook 07.
    """
    plants = {
        "unequal ranges": laboratory.plant_unequal_ranges,
        "dead channels": laboratory.plant_dead_channels,
    }
    return {
        name: plants[cause](reader, seed=_SEED) if cause in plants else reader
        for name, cause in _CAUSES.items()
    }


def causes_of_patients(answer: dict[str, str]) -> None:
    """Check exercise 7.3: what was planted into each of three models; exact.

    Introduced in notebook 07.
    """
    if isinstance(answer, dict) and any(word is ... for word in answer.values()):
        answer = ...

    def takes(cause: str, word: str) -> Any:
        (name,) = (name for name, of in _CAUSES.items() if of == cause)
        return lambda a: a[name] == word

    judge(
        "7.3",
        answer,
        is_right=lambda a: all(a[name] == word for name, word in _CAUSES.items()),
        hints=[
            (
                lambda a: set(a) != set(_CAUSES),
                "Give one word for each of A, B and C.",
            ),
            (
                lambda a: any(word not in _CAUSES.values() for word in a.values()),
                'Use the words "nothing", "dead channels" and "unequal ranges".',
            ),
            (
                lambda a: (
                    takes("nothing", "dead channels")(a)
                    or takes("nothing", "unequal ranges")(a)
                ),
                "One that you call broken has a per-tensor file as good as its float "
                "file. Judge all three.",
            ),
            (
                lambda a: (
                    takes("dead channels", "nothing")(a)
                    or takes("unequal ranges", "nothing")(a)
                ),
                "One that you call healthy is healthy in float only. Judge its "
                "per-tensor file.",
            ),
            (
                takes("unequal ranges", "dead channels"),
                "One that you say has dead channels is bad per-channel too. Dead "
                "channels do no harm there.",
            ),
            (
                takes("dead channels", "unequal ranges"),
                "One that you say has unequal ranges is fine per-channel, where "
                "unequal activations would do harm as well.",
            ),
        ],
        otherwise="Judge each model, then compare its two files with diagnosis.",
    )


def per_tensor_file(answer: bytes) -> None:
    """Check exercise 7.1: a full-integer uint8 file without a second scale anywhere.

    Introduced in notebook 07.
    """

    def several(content: bytes) -> int:
        return sum(len(tensor.scales) > 1 for tensor in reading.parse(content).tensors)

    def only_dense(content: bytes) -> bool:
        counts = reading.parse(content).weight_counts
        return any(n["per-channel"] for name, n in counts.items()) and not counts.get(
            "FULLY_CONNECTED", {}
        ).get("per-channel")

    def dtypes(content: bytes) -> set[str]:
        model = reading.parse(content)
        return {tensor.dtype for tensor in (*model.inputs, *model.outputs)}

    judge(
        "7.1",
        answer,
        is_right=lambda a: (
            reading.parse(a).is_full_integer
            and not several(a)
            and dtypes(a) == {"uint8"}
        ),
        hints=[
            (
                lambda a: reading.parse(a).quantization == "float",
                "Nothing was quantized: set converter.optimizations.",
            ),
            (
                lambda a: (
                    not reading.parse(a).is_full_integer
                    and reading.parse(a).float_operators
                ),
                "Some operators compute in float. Keep the representative dataset, "
                "the set of operators and the two types.",
            ),
            (
                lambda a: several(a) and only_dense(a),
                "The convolutions still have one scale a channel; only the dense "
                "layer has a single one. That attribute is for dense layers alone.",
            ),
            (
                several,
                "Tensors with more than one scale are left. Python sets an attribute "
                "of any name, and the converter reads its own: is the name right to "
                "the letter?",
            ),
            (
                lambda a: dtypes(a) != {"uint8"},
                "Input or output is not uint8, which the camera delivers.",
            ),
        ],
        otherwise="Give the bytes that converter.convert() returned.",
    )


def _float_ends(model: conversion.FixedModel, dataset: RepresentativeDataset) -> bytes:
    """Return a per-tensor file whose input and output stayed float32."""
    with quiet():
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_concrete_functions([model.function])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = dataset
        converter._experimental_disable_per_channel = True
        return converter.convert()
