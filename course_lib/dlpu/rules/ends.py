"""Inputs and outputs: type, scale, layout, size, order."""

import re
from collections.abc import Iterator

from course_lib.dlpu.rules.case import Case, Found, looks_for
from course_lib.dlpu.socs import Fact
from course_lib.tflite.reading import Tensor

# The real size of one step of a pixel, for the usual preprocessings: 0..1, -1..1,
# 0..255, and less mean over standard deviation as ImageNet's (-2.12..2.64).
_STEPS = (1 / 255, 2 / 255, 1.0, 4.76 / 255)
_BATCH = " (the batch, for which the runtime takes 1)"
_TOLERANCE = 0.15  # calibration images do not reach both ends exactly


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


@looks_for("input-type")
def input_type(case: Case, fact: Fact) -> Iterator[Found]:
    """Find inputs that take something else than the camera's bytes."""
    for tensor in case.model.inputs:
        if tensor.dtype == fact.value:
            continue
        what = f"{tensor.dtype} [{_size(tensor.shape)}], wanted {fact.value}"
        if tensor.dtype == "float32":
            what += f": {tensor.nbytes} bytes where a picture has {tensor.nbytes // 4}"
        severity = "note" if tensor.dtype == "int8" else None
        yield Found(what, case.reader(tensor), tensor, severity=severity)


@looks_for("output-type")
def output_type(case: Case, fact: Fact) -> Iterator[Found]:
    """Find outputs that are float or signed; a custom operator's are its own affair."""
    for tensor in case.model.outputs:
        operator = case.writer(tensor)
        known = tensor.is_float or tensor.dtype == "int8"
        if known and not (operator and operator.is_custom):
            yield Found(f"{tensor.dtype}, wanted {fact.value}", operator, tensor)


@looks_for("input-scale")
def input_scale(case: Case, fact: Fact) -> Iterator[Found]:
    """Find an image input whose scale is that of no usual preprocessing."""
    for tensor in case.model.inputs:
        if len(tensor.shape) != 4 or not tensor.real_range:
            continue
        low, high = tensor.real_range
        usual = any(abs(tensor.scale / step - 1) <= _TOLERANCE for step in _STEPS)
        if not usual:
            yield Found(
                f"scale {tensor.scale:.4g}: pixels stand for {low:.4g}..{high:.4g}, "
                f"wanted 0..1 (scale 1/255 = {1 / 255:.4g}), -1..1 ({2 / 255:.4g}), "
                f"0..255 (1) or mean and deviation ({_STEPS[3]:.4g})",
                case.reader(tensor),
                tensor,
            )


@looks_for("planar-input")
def planar_input(case: Case, fact: Fact) -> Iterator[Found]:
    """Find channels first where the camera's pixels are interleaved."""
    yield from _other_layout(case, "planar (NCHW)", fact)


@looks_for("interleaved-input")
def interleaved_input(case: Case, fact: Fact) -> Iterator[Found]:
    """Find channels last where the application gets planes."""
    yield from _other_layout(case, "interleaved (NHWC)", fact)


def _other_layout(case: Case, layout: str, fact: Fact) -> Iterator[Found]:
    for tensor in case.model.inputs:
        if tensor.layout != layout:
            continue
        # The bytes of a gray image are the same in both layouts.
        if tensor.shape[1 if layout.startswith("planar") else 3] > 1:
            yield Found(
                f"[{_size(tensor.shape)}], {layout}; wanted {fact.value}",
                case.reader(tensor),
                tensor,
            )


@looks_for("row-width")
def row_width(case: Case, fact: Fact) -> Iterator[Found]:
    """Find an image whose width is no multiple of what a row must be."""
    for tensor in case.model.inputs:
        axis = {"planar (NCHW)": 3, "interleaved (NHWC)": 2}.get(tensor.layout)
        if axis and tensor.shape[axis] % fact.value:
            width = tensor.shape[axis]
            more = -width % fact.value
            yield Found(
                f"width {width}, wanted a multiple of {fact.value}: each row needs "
                f"{more} bytes of padding, to {width + more}",
                case.reader(tensor),
                tensor,
            )


@looks_for("dynamic-shape")
def dynamic_shape(case: Case, fact: Fact) -> Iterator[Found]:
    """Find tensors with a size that is not fixed.

    When an input is dynamic, what follows from it is not told again.
    """
    inputs = [tensor for tensor in case.model.inputs if tensor.is_dynamic]
    for tensor in inputs or case.model.tensors:
        operator = case.reader(tensor) or case.writer(tensor)
        if tensor.is_dynamic and operator:
            axes = [n for n, size in enumerate(tensor.shape_signature) if size == -1]
            batch = axes == [0] and case.soc.id != "artpec7"
            yield Found(
                f"shape [{_size(tensor.shape_signature)}], wanted a fixed size for "
                f"axis {', '.join(map(str, axes))}"
                + (_BATCH if batch and case.model.format == "tflite" else ""),
                operator,
                tensor,
                severity="warning" if batch else None,
            )


@looks_for("batch")
def batch(case: Case, fact: Fact) -> Iterator[Found]:
    """Find inputs that take several images."""
    for tensor in case.model.inputs:
        fixed = tensor.shape and tensor.shape_signature[0] != -1
        if fixed and len(tensor.shape) == 4 and tensor.shape[0] != fact.value:
            yield Found(
                f"batch {tensor.shape[0]} in [{_size(tensor.shape)}], wanted "
                f"{fact.value}",
                case.reader(tensor),
                tensor,
            )


@looks_for("output-order")
def output_order(case: Case, fact: Fact) -> Iterator[Found]:
    """Find outputs whose names count in another order than the file lists them."""
    outputs = case.model.outputs
    for names in (_signature_names(case), [tensor.name for tensor in outputs]):
        numbers = [_number(name) for name in names]
        stems = {re.sub(r"[:_]?\d{0,9}$", "", name) for name in names}
        if len(names) > 1 and len(stems) == 1 and numbers != sorted(numbers):
            first: Tensor = outputs[0]
            yield Found(
                f"output 0 of the file is {names[0]!r}; the order is "
                f"{', '.join(names)}, wanted {', '.join(sorted(names, key=_number))}",
                case.writer(first),
                first,
            )
            return


def _number(name: str) -> int:
    """Return the number at a name's end; a name without one comes first."""
    digits = re.search(r"[:_](\d{1,9})$", name)
    return int(digits[1]) if digits else -1


def _signature_names(case: Case) -> list[str]:
    """Return the names that a signature gives the outputs, in the file's order."""
    for signature in case.model.signatures:
        by_index = {t.index: name for name, t in signature.outputs.items()}
        if signature.subgraph == 0 and len(by_index) > 1:
            return [by_index.get(t.index, "") for t in case.model.outputs]
    return []
