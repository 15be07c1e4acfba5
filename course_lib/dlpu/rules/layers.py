"""Layers: filters, kernels, strides, activations, and operators to avoid."""

import math
import re
from collections.abc import Iterator

from course_lib.dlpu.rules.case import CONVERSIONS, Case, Found, looks_for
from course_lib.dlpu.socs import Fact
from course_lib.tflite.reading import CHANNEL_AXIS, Operator, Tensor

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
# Activations that never, or not for negative numbers, give exact zeros.
_NOT_ZERO = ("LEAKY_RELU", "PRELU", "ELU", "GELU", "HARD_SWISH", "TANH")
_RELUS = ("NONE", "RELU6")
_ON_IMAGES = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D"),
    *("MAX_POOL_2D", "PAD", "PADV2", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
    *("QUANTIZE", "DEQUANTIZE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"),
)
_ORDERS = ((0, 2, 3, 1), (0, 3, 1, 2))  # planar to interleaved, and back


@looks_for("channels-multiple")
def channels_multiple(case: Case, fact: Fact) -> Iterator[Found]:
    """Find convolutions whose filters are no multiple of the lanes.

    A head has as many as its task asks for: 255 in YOLOv5's, for three anchors with 4
    sides, 1 likelihood and 80 classes each.
    """
    heads = _heads(case)
    for operator, tensor in case.weights(*_CONVOLUTIONS):
        if operator.index in heads:
            continue
        axis = CHANNEL_AXIS[operator.name]
        filters = tensor.shape[axis] if len(tensor.shape) == 4 else 0
        channels = case.model.inputs_of(operator)[0].shape[-1:]
        if operator.name == "DEPTHWISE_CONV_2D" and channels == (filters,):
            continue  # its number follows from the layer before
        if filters % fact.value:
            up = filters + -filters % fact.value
            yield Found(
                f"{filters} filters, wanted a multiple of {fact.value}, such as {up}",
                operator,
                tensor,
                fill={"number": fact.value},
            )


def _heads(case: Case) -> set[int]:
    """Return the layers with weights that lead to no other such layer."""
    layers = {o.index for o, _ in case.weights(*_CONVOLUTIONS, "FULLY_CONNECTED")}
    heads: set[int] = set()
    leading: set[int] = set()  # tensors from which a layer follows
    for operator in reversed(case.model.operators):
        followed = not leading.isdisjoint(operator.outputs)
        if operator.index in layers and not followed:
            heads.add(operator.index)
        if operator.index in layers or followed:
            leading.update(operator.inputs)
    return heads


@looks_for("kernel-size")
def kernel_size(case: Case, fact: Fact) -> Iterator[Found]:
    """Find kernels of other sizes than the chip's."""
    if case.soc.limits:
        yield from _limits(case, "kernel")
        return
    seen = {size for other in fact.others for size in other.value}
    for operator, tensor in case.weights(*_CONVOLUTIONS):
        size = tensor.shape[1:3]
        if len(tensor.shape) == 4 and not set(size) <= set(fact.value):
            wanted = ", ".join(f"{n}x{n}" for n in fact.value)
            also = "; a published model has it, and runs" if set(size) <= seen else ""
            yield Found(
                f"a {size[0]}x{size[1]} kernel, best {wanted}{also}", operator, tensor
            )


@looks_for("stride")
def stride(case: Case, fact: Fact) -> Iterator[Found]:
    """Find strides that the engine lacks; stride 1 is no stride."""
    if case.soc.limits:
        yield from _limits(case, "stride")
        return
    for operator, tensor in case.weights(*_CONVOLUTIONS):
        steps = [operator.options.get(key, 1) for key in ("stride_h", "stride_w")]
        if steps[0] != steps[1] or steps[0] not in (1, *fact.value):
            wanted = " or ".join(map(str, (1, *fact.value)))
            yield Found(
                f"stride {steps[0]}x{steps[1]}, wanted {wanted}", operator, tensor
            )


@looks_for("depthwise-share")
def depthwise_share(case: Case, fact: Fact) -> Iterator[Found]:
    """Find depthwise convolutions, and tell their share of the work, once a file."""
    counts = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0}
    work = dict(counts)
    first: tuple[Operator, Tensor] | None = None
    for operator, tensor in case.weights(*counts):
        output = case.output(operator)
        if len(tensor.shape) != 4 or output is None or len(output.shape) != 4:
            continue
        counts[operator.name] += 1
        pixels = math.prod(output.shape[1:3])
        work[operator.name] += pixels * math.prod(tensor.shape)
        if operator.name == "DEPTHWISE_CONV_2D" and first is None:
            first = operator, tensor
    if first:
        share = work["DEPTHWISE_CONV_2D"] / max(sum(work.values()), 1)
        yield Found(
            f"{counts['DEPTHWISE_CONV_2D']} of {sum(counts.values())} convolutions are "
            f"depthwise, with {share:.0%} of the multiplications; wanted fewer",
            *first,
        )


@looks_for("activation")
def activation(case: Case, fact: Fact) -> Iterator[Found]:
    """Find activations without exact zeros (ARTPEC-8), or other than ReLU6."""
    wanted = " or ".join(fact.value)
    fill = {"activation": fact.value[0].lower()}
    for operator in case.model.operators:
        output = case.output(operator)
        if operator.name in _NOT_ZERO:
            what = f"gives other values than 0 below 0, wanted {wanted}"
            yield Found(what, operator, output, fill=fill)
        elif operator.name == "LOGISTIC" and _is_silu(case, operator):
            yield Found(
                f"is half of a SiLU (x times sigmoid, not 0 below 0), wanted {wanted}",
                operator,
                output,
                fill=fill,
            )
        elif wanted != "ReLU":
            fused = operator.options.get("fused_activation_function", "NONE")
            fused = (
                operator.name if operator.name in ("RELU", "RELU_N1_TO_1") else fused
            )
            if fused not in _RELUS:
                what = f"activation {fused}, best {wanted}"
                yield Found(what, operator, output, fill=fill)


def _is_silu(case: Case, operator: Operator) -> bool:
    """Return whether the product of a LOGISTIC and its own input follows."""
    for output in operator.outputs:
        for reader in case.model.consumers.get(output, ()):
            if reader.name == "MUL" and set(reader.inputs) & set(operator.inputs):
                return True
    return False


@looks_for("rank")
def rank(case: Case, fact: Fact) -> Iterator[Found]:
    """Find tensors of more dimensions than the chip computes with."""
    innermost = case.soc.id == "artpec7"  # there the sizes count, not the dimensions
    for operator in case.model.operators:
        for tensor in (
            *case.model.outputs_of(operator),
            *case.model.inputs_of(operator),
        ):
            if operator.is_custom or (tensor.is_constant and innermost):
                continue
            outer = tensor.shape[: -fact.value] if innermost else ()
            many = math.prod(outer) > 1 if innermost else len(tensor.shape) > fact.value
            if many:
                wanted = (
                    f"sizes above 1 in the innermost {fact.value} alone"
                    if innermost
                    else f"{fact.value} dimensions at most"
                )
                shape = "x".join(map(str, tensor.shape))
                yield Found(
                    f"{len(tensor.shape)} dimensions [{shape}], wanted {wanted}",
                    operator,
                    tensor,
                )
                break


@looks_for("explicit-pad")
def explicit_pad(case: Case, fact: Fact) -> Iterator[Found]:
    """Find padding operators."""
    for operator in case.model.operators:
        if operator.name in fact.value or operator.name in ("PADV2", "MIRROR_PAD"):
            yield Found(
                "pads on its own, wanted 0 such operators",
                operator,
                case.output(operator),
            )


@looks_for("pooling-limits")
def pooling_limits(case: Case, fact: Fact) -> Iterator[Found]:
    """Find pooling and means of other sizes than the published."""
    yield from _limits(case, "pooling")


@looks_for("resize-limits")
def resize_limits(case: Case, fact: Fact) -> Iterator[Found]:
    """Find a resize by another factor than the published."""
    yield from _limits(case, "resize")


@looks_for("operator-limits")
def operator_limits(case: Case, fact: Fact) -> Iterator[Found]:
    """Find what breaks any other published limit."""
    yield from _limits(case, "operator")


def _limits(case: Case, kind: str) -> Iterator[Found]:
    for limit in case.limits:
        if limit.kind == kind:
            yield Found(
                f"{limit.found}, wanted {limit.wanted}",
                limit.operator,
                limit.tensor,
                fact=limit.fact,
            )


@looks_for("residual-add")
def residual_add(case: Case, fact: Fact) -> Iterator[Found]:
    """Find an ADD of two branches whose sum a CONV_2D reads, as in an open report."""
    oldest, newest = case.soc.open_report_os.value
    if case.os and case.os < version(oldest)[: len(case.os)]:
        return
    later = case.os is not None and case.os[: len(version(newest))] > version(newest)
    for operator in case.model.operators:
        if operator.name != "ADD" or not case.model.outputs_of(operator):
            continue
        if any(tensor.is_constant for tensor in case.model.inputs_of(operator)):
            continue
        output = case.model.outputs_of(operator)[0]
        readers = case.model.consumers.get(output.index, [])
        ends = {output.index}
        for reader in readers:
            if reader.name in CONVERSIONS:
                ends.update(reader.outputs)
        if ends.intersection(entry.index for entry in case.model.outputs):
            continue  # the report's way around
        fed = next((r for r in readers if r.name == "CONV_2D"), None)
        if fed:
            yield Found(
                f"its sum goes into CONV_2D {fed.index}; reported for AXIS OS {oldest} "
                f"to {newest} ({fact.source.date}), wanted another version or a check",
                operator,
                output,
                severity="note" if later else None,
            )


def version(text: str) -> tuple[int, ...]:
    """Return an AXIS OS version as numbers, such as (12, 11, 77)."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


@looks_for("transposes")
def transposes(case: Case, fact: Fact) -> Iterator[Found]:
    """Find operators that change images between channels first and last."""
    for operator in case.model.operators:
        inputs = case.model.inputs_of(operator)
        if operator.name == "TRANSPOSE" and len(inputs) > 1 and inputs[1].is_constant:
            order = tuple(inputs[1].integers()[:8])
            if order in _ORDERS and _is_at_an_image(case, operator):
                yield Found(
                    f"reorders {list(order)}, wanted 0 such operators",
                    operator,
                    case.output(operator),
                )


def _is_at_an_image(case: Case, operator: Operator) -> bool:
    """Return whether an end of the graph or a layer for images is beside it."""
    beside = [case.model.producers.get(index) for index in operator.inputs]
    for index in operator.outputs:
        beside += case.model.consumers.get(index, [])
    return bool(case.ends.intersection((*operator.inputs, *operator.outputs))) or any(
        other.name in _ON_IMAGES for other in beside if other
    )


@looks_for("attention")
def attention(case: Case, fact: Fact) -> Iterator[Found]:
    """Find matrix products of two activations."""
    for operator in case.model.operators:
        inputs = case.model.inputs_of(operator)[:2]
        matrices = operator.name in ("BATCH_MATMUL", "FULLY_CONNECTED")
        if matrices and len(inputs) == 2 and not any(t.is_constant for t in inputs):
            yield Found(
                "multiplies 2 activations, wanted 1 and constant weights",
                operator,
                inputs[1],
            )


@looks_for("gathered-pixels")
def gathered_pixels(case: Case, fact: Fact) -> Iterator[Found]:
    """Find values fetched at places that the model computes."""
    for operator in case.model.operators:
        inputs = case.model.inputs_of(operator)[:2]
        gathers = operator.name in ("GATHER", "GATHER_ND") and len(inputs) == 2
        if gathers and not inputs[1].is_constant:
            # The last axis of GATHER_ND's places holds the indexes of one place.
            shape = inputs[1].shape
            places = math.prod(shape[:-1] if operator.name == "GATHER_ND" else shape)
            yield Found(
                f"fetches values at {places} computed places, wanted constant ones",
                operator,
                inputs[1],
            )
