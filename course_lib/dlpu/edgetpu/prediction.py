"""Predict which operators the Edge TPU compiler maps, and where its part ends.

The compiler is closed. The rules are its vendor's table of operators with their
limitations, what its reports say of refused operators, and what compiled files show.
Source: Coral, "TensorFlow models on the Edge TPU", https://coral.ai/docs/edgetpu/
models-intro/#supported-operations; Axis, ARTPEC-7, supported operators. Both read on
2026-11-21, for compiler 16 and runtime 14.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from course_lib.dlpu.parts import parts
from course_lib.dlpu.socs import SOCS
from course_lib.tflite.reading import EDGE_TPU, Model, Operator, Tensor

# What the compiler writes into its report.
MAPPED = "Mapped to Edge TPU"
AFTER_THE_END = "More than one subgraph is not supported"
NOT_SUPPORTED = "Operation not supported"
DATA_TYPE = "Operation is working on an unsupported data type"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
LIMITATION = (
    "Operation is otherwise supported, but not mapped due to some unspecified "
    "limitation"
)
DYNAMIC = "Operation is working on a tensor of dynamic size"

_LISTED = frozenset(SOCS["artpec7"].operators.value)
_SOFTMAX_MOST = 16_000  # elements
_MEAN_DEPTH = 4  # of which the depth is a multiple when the mean goes over it
# Bounds that nobody publishes lie between what was seen mapped and what was not.
# edgetpu issue 461: a mean over 64x128 pixels is mapped, over 128x256 it is not.
_MEAN_MOST = 128 * 128
# The vendor in issue 31: "compiler rejects mapping if loss of precision is higher than
# threshold". Resizes by 2 are mapped in many reports; in DeepLab v3 one from 1x1 to
# 33x33 is not. Where the bound lies between, is a guess.
_RESIZE_MOST = 8
# The same issue: an output of 0.5 MiB is mapped, one of 8 MiB is not.
_RESIZE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Prediction:
    """What the compiler is predicted to do with one operator.

    Attributes:
        operator_index: Its place in the main graph.
        operator: Its name.
        status: As the compiler's report would say it.
        reason: Why it is not mapped, in words; "" if it is.

    Introduced in notebook 06.
    """

    operator_index: int
    operator: str
    status: str
    reason: str = ""

    @property
    def on_tpu(self) -> bool:
        """Whether it runs on the Edge TPU."""
        return self.status == MAPPED


def predict(model: Model) -> tuple[Prediction, ...]:
    """Predict, operator by operator, what the Edge TPU compiler maps.

    There is one part for the Edge TPU: the first, as TFLite divides a graph. An
    operator that the compiler cannot take ends it, and what depends on that operator
    stays on the CPU too. One at the very start, such as the QUANTIZE of a float input,
    does not. Of a file that is compiled already, it tells what is outside that part.

    Args:
        model: A full-integer file, before the compiler or after it.

    Returns:
        One entry for each operator of the main graph, in the file's order.

    Introduced in notebook 06.
    """
    verdicts = [_judge(model, operator) for operator in model.operators]
    divided = parts(model, accelerated=lambda o: verdicts[o.index][0] == MAPPED)
    first = next((part.operators for part in divided if part.accelerated), frozenset())
    entries = []
    for operator, (status, reason) in zip(model.operators, verdicts, strict=True):
        if status == MAPPED and operator.index not in first:
            status, reason = AFTER_THE_END, "depends on an operator that is not mapped"
        entries.append(Prediction(operator.index, operator.name, status, reason))
    return tuple(entries)


def mapped(model: Model, *, compiled: Model) -> tuple[bool, ...]:
    """Read off a compiled file which operators of the original are on the Edge TPU.

    What is left outside the compiled part keeps the names of its outputs.

    Args:
        model: The file before the compiler.
        compiled: `<name>_edgetpu.tflite`.

    Returns:
        One entry for each operator of the original's main graph.

    Introduced in notebook 06.
    """
    left = {
        (operator.name, compiled.tensors[index].name)
        for operator in compiled.operators
        if operator.name != EDGE_TPU
        for index in operator.outputs
        if index >= 0
    }
    return tuple(
        not any(
            (operator.name, model.tensors[index].name) in left
            for index in operator.outputs
            if index >= 0
        )
        for operator in model.operators
    )


_Verdict = tuple[str, str]  # status, reason
_FINE: _Verdict = (MAPPED, "")


def _judge(model: Model, operator: Operator) -> _Verdict:
    """Judge an operator by itself, whatever comes before it."""
    if operator.name == EDGE_TPU:
        return _FINE
    if operator.name not in _LISTED or operator.is_custom:
        return NOT_SUPPORTED, "the Edge TPU has no such operator"
    inputs = model.inputs_of(operator)
    outputs = model.outputs_of(operator)
    if not inputs or not outputs:
        return LIMITATION, "it has no input or no output"
    for tensor in (*inputs, *outputs):
        if _is_data(tensor):
            if not tensor.scales or tensor.dtype not in ("int8", "uint8", "int16"):
                return DATA_TYPE, f"{tensor.dtype} data, wanted int8 or uint8"
            if -1 in tensor.shape_signature[1:]:
                return DYNAMIC, f"a dynamic size in {list(tensor.shape_signature)}"
            if math.prod(tensor.shape[:-3]) > 1:
                shape = "x".join(map(str, tensor.shape))
                return RANK, f"[{shape}] has a size above 1 outside the innermost three"
    check = _CHECKS.get(operator.name)
    reason = check(operator, inputs, outputs) if check else None
    return (LIMITATION, reason) if reason else _FINE


def _is_data(tensor: Tensor) -> bool:
    """Return whether it holds activations, not weights, sizes or axes."""
    return not tensor.is_constant


# Each check returns why the operator is not mapped, or None.
_Check = Callable[[Operator, list[Tensor], list[Tensor]], str | None]


def _no_activation(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    fused = operator.options.get("fused_activation_function", "NONE")
    return None if fused == "NONE" else f"a fused activation, {fused}"


def _concatenation(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    constants = [tensor for tensor in inputs if tensor.is_constant]
    if constants and (len(inputs) != 2 or _nonzero(constants[0])):
        return "a constant input that is not zeros, or with more than one other input"
    return _no_activation(operator, inputs, outputs) or _axis(operator, outputs[0])


def _nonzero(tensor: Tensor) -> bool:
    if tensor.dtype not in ("int8", "uint8"):
        return True
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    return bool((tensor.values() != zero).any())


def _axis(operator: Operator, tensor: Tensor) -> str | None:
    """Return what is wrong when an operator works along the batch."""
    rank = max(len(tensor.shape), 1)
    axis = operator.options.get("axis", rank - 1)
    batch = rank > 1 and axis % rank == 0 and tensor.shape[0] > 1
    return "it works along the batch" if batch else None


def _dilation(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    across, down = (operator.options.get(f"dilation_{d}_factor", 1) for d in "wh")
    return None if across == down else f"dilation {down}x{across}, wanted equal ones"


def _fully_connected(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    if operator.options.get("weights_format", 0) != 0:
        return "shuffled weights, wanted the default format"
    if len(inputs) > 1 and not inputs[1].is_constant:
        return "weights that are not constant"
    rows = math.prod(outputs[0].shape[:-1])
    return None if rows == 1 else f"an output of {rows} rows, wanted 1"


def _reduction(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    axes = _axes(inputs)
    if axes is None:
        return "axes that are not constant"
    rank = len(inputs[0].shape)
    if 0 in axes and rank > 1 and inputs[0].shape[0] > 1:
        return "it works along the batch"
    pixels = math.prod(inputs[0].shape[axis] for axis in axes if axis < rank)
    if operator.name == "MEAN" and pixels > _MEAN_MOST:
        return f"a mean over {pixels} values, wanted at most {_MEAN_MOST}"
    depth = inputs[0].shape[-1] if rank else 0
    if operator.name == "MEAN" and rank - 1 in axes and depth % _MEAN_DEPTH:
        return f"a mean over {depth} channels, wanted a multiple of {_MEAN_DEPTH}"
    return None


def _axes(inputs: list[Tensor]) -> set[int] | None:
    if len(inputs) < 2 or not inputs[1].is_constant:
        return None
    rank = max(len(inputs[0].shape), 1)
    return {axis % rank for axis in inputs[1].integers()}


def _along(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    return _axis(operator, outputs[0])


def _pad(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> str | None:
    if len(inputs) < 2 or not inputs[1].is_constant:
        return "paddings that are not constant"
    batch = inputs[1].integers()[:2]
    return "it pads the batch" if len(inputs[0].shape) > 3 and any(batch) else None


def _prelu(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    alpha = inputs[1].shape if len(inputs) > 1 else ()
    many = math.prod(alpha[:-1]) > 1
    return "an alpha for each pixel, wanted one for each channel" if many else None


def _resize(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    before, after = inputs[0].shape[1:3], outputs[0].shape[1:3]
    sizes = "x".join(map(str, before)) + " to " + "x".join(map(str, after))
    if any(b > _RESIZE_MOST * max(a, 1) for a, b in zip(before, after, strict=False)):
        return f"a resize from {sizes}, wanted at most {_RESIZE_MOST} times as large"
    if outputs[0].nbytes >= _RESIZE_BYTES:
        return f"a resize from {sizes}, {outputs[0].nbytes} bytes, wanted under 8 MiB"
    return None


def _softmax(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    # The table says "1-D input", but in a report on YOLOv9 softmax over many rows is
    # mapped (dbro/frigate-detector-edgetpu-yolo9): only the number of elements counts.
    depth = inputs[0].shape[-1] if inputs[0].shape else 1
    if depth > _SOFTMAX_MOST:
        return f"{depth} elements, wanted at most {_SOFTMAX_MOST}"
    return None


def _split(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    # SPLIT has the axis as its first input, SPLIT_V as its third.
    axis = inputs[0] if operator.name == "SPLIT" else inputs[-1]
    data = inputs[1] if operator.name == "SPLIT" and len(inputs) > 1 else inputs[0]
    if not axis.is_constant:
        return "an axis that is not constant"
    rank = max(len(data.shape), 1)
    along = {value % rank for value in axis.integers()[:1]}
    return "it splits the batch" if along == {0} and rank > 1 else None


def _strided_slice(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor]
) -> str | None:
    if len(inputs) < 4 or not inputs[3].is_constant:
        return "strides that are not constant"
    if set(inputs[3].integers()) != {1}:
        return "strides other than 1"
    masks = ("ellipsis_mask", "new_axis_mask")
    told = [mask for mask in masks if operator.options.get(mask, 0)]
    return f"it uses {told[0]}" if told else None


# What limits an operator of the list.
_CHECKS: dict[str, _Check] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _dilation,
    "DEPTHWISE_CONV_2D": _dilation,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _reduction,
    "PACK": _along,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
}
