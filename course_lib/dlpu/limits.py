"""The limits that a chip's page sets to an operator: kernel sizes, strides, and so on.

The numbers stand in socs.toml; here is how a file is held against them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from course_lib.dlpu.socs import Fact, Soc
from course_lib.tflite.reading import Model, Operator, Tensor


@dataclass(frozen=True)
class Limit:
    """A published limit that an operator does not keep.

    Attributes:
        operator: The operator.
        tensor: The tensor that shows it.
        kind: "kernel", "stride", "pooling", "resize" or "operator".
        found: What the file has.
        wanted: What the limit asks for.
        fact: The limit, with source and confidence.
    """

    operator: Operator
    tensor: Tensor
    kind: str
    found: str
    wanted: str
    fact: Fact


def limits(model: Model, *, soc: Soc) -> Iterator[Limit]:
    """Yield the published limits of a chip that the file's operators do not keep.

    Only ARTPEC-9 has such limits published; other chips yield nothing.

    Args:
        model: The file; its main graph is looked at.
        soc: The chip.

    Introduced in notebook 11.
    """
    if not soc.limits:
        return
    for operator in model.operators:
        inputs = model.inputs_of(operator)
        outputs = model.outputs_of(operator)
        values = outputs and outputs[0].dtype not in ("int32", "int64", "bool")
        if operator.name in _CHECKS and inputs and values:  # else it computes places
            check = _CHECKS[operator.name]
            for broken in check(operator, inputs, outputs, soc):
                kind, tensor, found, wanted, fact = broken
                yield Limit(operator, tensor, kind, found, wanted, fact)


# What a check yields: kind, tensor, found, wanted, fact.
_Broken = tuple[str, Tensor, str, str, Fact]


def _convolution(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    transposed = operator.name == "TRANSPOSE_CONV"  # its inputs: shape, weights, image
    if len(inputs) < 2 + transposed or len(inputs[1].shape) != 4:
        return
    image, weights = inputs[2 if transposed else 0], inputs[1]
    height, width = weights.shape[1:3]
    stride = (operator.options.get("stride_h", 1), operator.options.get("stride_w", 1))
    sizes = soc.kernels.value
    if height not in sizes or width not in sizes:
        wanted = f"a height and a width of {_or(sizes)}"
        yield "kernel", weights, f"a {height}x{width} kernel", wanted, soc.kernels
    fact = soc.limits["transpose_stride"] if transposed else soc.strides
    allowed = [fact.value] if transposed else fact.value
    if stride[0] != stride[1] or stride[0] not in allowed:
        wanted = f"{_or(allowed)}, the same in both directions"
        yield "stride", weights, f"stride {stride[0]}x{stride[1]}", wanted, fact
    fact = soc.limits["stride_1_above_kernel"]
    if max(height, width) > fact.value and max(stride) > 1:
        found = f"a {height}x{width} kernel with stride {max(stride)}"
        wanted = f"stride 1 for kernels above {fact.value}"
        yield "stride", weights, found, wanted, fact
    if operator.name == "DEPTHWISE_CONV_2D" and image.shape and image.shape[-1]:
        fact = soc.limits["depth_multiplier"]
        multiplier = weights.shape[3] // image.shape[-1]
        if multiplier != fact.value:
            found = f"depth multiplier {multiplier}"
            yield "operator", weights, found, f"depth multiplier {fact.value}", fact
    fact = soc.limits["convolution_rescale"]
    if len(image.scales) == len(outputs[0].scales) == 1 and outputs[0].scale > 0:
        rescale = image.scale * max(weights.scales, default=0.0) / outputs[0].scale
        if rescale >= fact.value:
            found = f"input scale times weight scale / output scale = {rescale:.4g}"
            yield "operator", outputs[0], found, f"below {fact.value}", fact


def _pool(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    shape = inputs[0].shape
    if len(shape) != 4:
        return
    options = operator.options
    kernel = (options.get("filter_height", 0), options.get("filter_width", 0))
    stride = (options.get("stride_h", 0), options.get("stride_w", 0))
    padding = options.get("padding", "")
    found = f"{kernel[0]}x{kernel[1]} stride {stride[0]}x{stride[1]} {padding}"
    square = kernel[0] == kernel[1] and stride[0] == stride[1]
    if operator.name == "AVERAGE_POOL_2D":
        fact, whole = soc.limits["average_pool"], soc.limits["mean_sizes"]
        rule = fact.value
        small = (kernel[0], stride[0], padding) == (
            rule["kernel"],
            rule["stride"],
            rule["padding"],
        )
        entire = kernel == shape[1:3] and kernel[0] in whole.value
        if not square or not (small or entire):
            wanted = (
                f"{rule['kernel']}x{rule['kernel']} stride {rule['stride']} "
                f"{rule['padding']}, or a whole map of "
                + _or(f"{size}x{size}" for size in whole.value)
            )
            yield "pooling", inputs[0], f"{found} on {_size(shape)}", wanted, fact
        return
    fact, ones = soc.limits["max_pool"], soc.limits["max_pool_stride_1"]
    parity = {"VALID": 0, "SAME": 1}.get(padding)
    fits = square and any(
        (kernel[0], stride[0]) == (rule["kernel"], rule["stride"])
        and shape[2] <= rule.get("width", shape[2])
        and (rule["kernel"] == 1 or all(size % 2 == parity for size in shape[1:3]))
        for rule in fact.value
    )
    fits |= square and stride[0] == 1 and kernel[0] <= ones.value.get(padding, 0)
    if not fits:
        wanted = (
            _or(f"{r['kernel']}x{r['kernel']} stride {r['stride']}" for r in fact.value)
            + " (VALID with even, SAME with odd sizes), or stride 1"
        )
        yield "pooling", inputs[0], f"{found} on {_size(shape)}", wanted, fact


def _mean(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    shape, fact = inputs[0].shape, soc.limits["mean_sizes"]
    if len(inputs) < 2 or not inputs[1].is_constant or len(shape) != 4:
        return
    axes = {axis % 4 for axis in inputs[1].integers()}
    whole = axes == {1, 2} and shape[1] == shape[2] and shape[1] in fact.value
    if not whole:
        found = f"a mean over axes {sorted(axes)} of {_size(shape)}"
        wanted = "height and width of " + _or(f"{n}x{n}" for n in fact.value)
        yield "pooling", inputs[0], found, wanted, fact


def _resize(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    before, after, fact = inputs[0].shape, outputs[0].shape, soc.limits["resize_factor"]
    if len(before) != 4 or len(after) != 4:
        return
    factor = fact.value
    if any(
        b not in (factor * a, factor * a - 1)
        for a, b in zip(before[1:3], after[1:3], strict=True)
    ):
        found = f"{_size(before)} to {_size(after)}"
        wanted = f"exactly {factor}n or {factor}n-1"
        yield "resize", outputs[0], found, wanted, fact


def _concatenation(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits["concat_multiple"]
    rank = len(outputs[0].shape)
    if rank == 4 and operator.options.get("axis", 0) % rank == rank - 1:
        for tensor in inputs:
            if tensor.shape and tensor.shape[-1] % fact.value:
                found = f"{tensor.shape[-1]} channels joined with others"
                yield "operator", tensor, found, f"a multiple of {fact.value}", fact
                break
    fact = soc.limits["concat_scale"]
    for tensor in inputs:
        if len(tensor.scales) == len(outputs[0].scales) == 1:
            least = tensor.scale / fact.value
            if outputs[0].scale < least:
                found = f"output scale {outputs[0].scale:.4g}"
                yield "operator", tensor, found, f"at least {least:.4g}", fact
                break


def _split(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits["split_multiple"]
    rank = len(outputs[0].shape)
    channels = inputs[-1].shape[-1] if inputs[-1].shape else 0
    for tensor in outputs:
        if rank == 4 and tensor.shape[-1] != channels and tensor.shape[-1] % fact.value:
            found = f"a part of {tensor.shape[-1]} channels"
            yield "operator", tensor, found, f"a multiple of {fact.value}", fact
            break


def _depth_to_space(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits["block_size"]
    size = operator.options.get("block_size", 0)
    if size != fact.value:
        wanted = f"block size {fact.value}"
        yield "operator", inputs[0], f"block size {size}", wanted, fact


def _pad(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits["pad_most"]
    if len(inputs) < 2 or not inputs[1].is_constant:
        return
    flat = inputs[1].integers()
    pads = [flat[n : n + 2] for n in range(0, len(flat), 2)]
    rank = len(inputs[0].shape)
    outside = any(any(pad) for axis, pad in enumerate(pads) if axis not in (1, 2))
    if rank == 4 and (outside or max(flat, default=0) > fact.value):
        wanted = f"at most {fact.value} a side, of height and width alone"
        yield "operator", inputs[0], f"padding {pads}", wanted, fact


def _fixed_scale(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits[operator.name.lower() + "_scale"]
    (scale,) = outputs[0].scales if len(outputs[0].scales) == 1 else (None,)
    if scale is not None and abs(scale * fact.value - 1) > 1e-3:
        found, wanted = f"output scale {scale:.4g}", f"1/{fact.value}"
        yield "operator", outputs[0], found, wanted, fact


def _leaky_relu(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits["leaky_relu_alpha"]
    low, high = fact.value
    alpha = operator.options.get("alpha", 0.0)
    if not low < alpha < high:
        wanted = f"between {low} and {high}"
        yield "operator", inputs[0], f"alpha {alpha:.4g}", wanted, fact


def _mul(
    operator: Operator, inputs: list[Tensor], outputs: list[Tensor], soc: Soc
) -> Iterator[_Broken]:
    fact = soc.limits["mul_constant"]
    if not any(tensor.is_constant for tensor in inputs):
        yield "operator", inputs[-1], "2 operands that vary", fact.value, fact


_CHECKS: dict[str, Callable[..., Iterator[_Broken]]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _convolution,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "CONCATENATION": _concatenation,
    "SPLIT": _split,
    "DEPTH_TO_SPACE": _depth_to_space,
    "PAD": _pad,
    "LOGISTIC": _fixed_scale,
    "TANH": _fixed_scale,
    "LEAKY_RELU": _leaky_relu,
    "MUL": _mul,
}


def _or(words: Iterable[object]) -> str:
    *others, last = map(str, words)
    return f"{', '.join(others)} or {last}" if others else last


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:3]))
