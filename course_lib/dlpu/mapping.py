"""Where each operator of a file runs on a chip: in the DLPU, on the CPU, or unknown.

From published lists and limits, and what users report; nothing was run on a camera.
"""

import math
from collections.abc import Sequence

from course_lib.dlpu import edgetpu
from course_lib.dlpu.limits import Limit, limits
from course_lib.dlpu.parts import parts
from course_lib.dlpu.socs import SOCS, Soc
from course_lib.tflite.reading import Model, Operator, Tensor

REGISTERED = tuple(SOCS["cpu"].custom_operators.value)
_ACCELERATED = ("int8", "uint8")


def targets(model: Model, *, soc: Soc) -> tuple[str, ...]:
    """Tell where each operator of the main graph runs.

    Args:
        model: The file.
        soc: The chip.

    Returns:
        "dlpu", "cpu" or "unknown" for each operator, in the file's order. For
        ARTPEC-7 it is what the Edge TPU compiler is predicted to do; for ARTPEC-8 and
        -9 what published lists and limits say; for CV25 and CV75, whose compiler is
        closed and has no published list, always "unknown".

    Introduced in notebook 11.
    """
    if soc.id == "artpec7":
        return tuple(
            "dlpu" if entry.on_tpu else "cpu" for entry in edgetpu.predict(model)
        )
    if soc.id == "cpu":
        return tuple(
            "unknown" if is_unregistered(operator) else "cpu"
            for operator in model.operators
        )
    if soc.operators is None:
        return ("unknown",) * len(model.operators)
    broken: dict[int, list[Limit]] = {}
    for limit in limits(model, soc=soc):
        broken.setdefault(limit.operator.index, []).append(limit)
    known = published(soc)
    rank = soc.max_rank.value if soc.max_rank else math.inf
    return tuple(
        "cpu"
        if any(len(tensor.shape) > rank for tensor in model.tensors_of(operator))
        else _target(model, operator, known, broken.get(operator.index, ()))
        for operator in model.operators
    )


def partitions(model: Model, *, targets: Sequence[str]) -> int:
    """Estimate into how many parts the graph falls, in the DLPU and on the CPU.

    "unknown" counts as "dlpu". See `course_lib.dlpu.parts`.

    Introduced in notebook 11.
    """
    return len(
        parts(model, accelerated=lambda operator: targets[operator.index] != "cpu")
    )


def published(soc: Soc) -> frozenset[str]:
    """Return the operators on a chip's published list, as far as it could be read."""
    claims = (soc.operators, soc.more_operators)
    return frozenset(name for claim in claims if claim for name in claim.value)


def is_unregistered(operator: Operator) -> bool:
    """Return whether a stock TFLite runtime lacks a custom operator's code."""
    return operator.is_custom and operator.name not in REGISTERED


def is_accelerated(model: Model, operator: Operator) -> bool:
    """Return whether all its data is int8 or uint8, with int32 for bias and indexes."""
    return all(
        tensor.dtype in _ACCELERATED
        or (tensor.dtype in ("int32", "int64", "bool") and not _is_activation(tensor))
        for tensor in model.tensors_of(operator)
    )


def _is_activation(tensor: Tensor) -> bool:
    return bool(tensor.scales) and not tensor.is_constant


def _target(
    model: Model, operator: Operator, known: frozenset[str], broken: Sequence[Limit]
) -> str:
    if operator.is_custom or not is_accelerated(model, operator):
        return "cpu"
    if operator.name not in known:
        return "unknown"
    if any(limit.fact.confidence == "stated by Axis" for limit in broken):
        return "cpu"
    return "unknown" if broken else "dlpu"
