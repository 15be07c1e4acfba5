"""How the numbers are stored: full-integer, granularity, scales that are shared."""

from collections.abc import Iterator

from course_lib.dlpu.rules.case import CONVERSIONS, Case, Found, looks_for
from course_lib.dlpu.socs import Fact
from course_lib.tflite.reading import Operator, Tensor

# Operators that move values without changing what they mean.
_PASSING = (
    *("RESHAPE", "QUANTIZE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"),
    *("STRIDED_SLICE", "SLICE", "SPLIT", "SPLIT_V"),
)
# What they make of values between 0 and 1 lies there too.
_JOINING = ("CONCATENATION", "MUL")
# Their values lie between 0 and 1.
_SCORES = ("LOGISTIC", "SOFTMAX")
# Tensors from a join back to its scores. A file may lead in circles, or join thousands.
_FOLLOWED = 32
_QUANTIZED_ONNX = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
)


@looks_for("not-full-integer")
def not_full_integer(case: Case, fact: Fact) -> Iterator[Found]:
    """Find a file that has no quantized activations at all."""
    model = case.model
    first = next(_float_operators(case), None)  # None: custom operators alone
    if not case.is_integer and first:
        operator, tensor = first
        count = sum(model.float_operators.values())
        yield Found(
            f"{tensor.dtype} where int8 or uint8 is wanted; the file is "
            f"{model.quantization}, {count} of {len(model.operators)} operators work "
            "in float",
            operator,
            tensor,
        )


@looks_for("float-operator")
def float_operator(case: Case, fact: Fact) -> Iterator[Found]:
    """Find float operators inside a quantized graph."""
    if case.is_integer:
        found = list(_float_operators(case))
        # The conversions around a float layer go when it goes.
        layers = [entry for entry in found if entry[0].name not in CONVERSIONS]
        for operator, tensor in layers or found:
            yield Found(
                f"computes in {tensor.dtype} where int8 or uint8 is wanted",
                operator,
                tensor,
            )


def _float_operators(case: Case) -> Iterator[tuple[Operator, Tensor]]:
    """Yield operators with float data, except at the ends of the graph.

    A QUANTIZE that reads a float input and a DEQUANTIZE that writes a float output
    are the business of `input-type` and `output-type`.
    """
    for operator in case.model.operators:
        for tensor in (
            *case.model.outputs_of(operator),
            *case.model.inputs_of(operator),
        ):
            border = operator.name in CONVERSIONS
            if tensor.is_float and not operator.is_custom:
                if case.is_integer and border and tensor.index in case.ends:
                    continue
                if case.is_integer and _is_custom_end(case, tensor):
                    continue
                yield operator, tensor
                break


def _is_custom_end(case: Case, tensor: Tensor) -> bool:
    """Return whether a custom operator alone asks for this float tensor."""
    readers = case.model.consumers.get(tensor.index, [])
    return bool(readers) and all(reader.is_custom for reader in readers)


@looks_for("integer-type")
def integer_type(case: Case, fact: Fact) -> Iterator[Found]:
    """Find quantized data of another width than eight bits."""
    for operator in case.model.operators:
        for tensor in case.model.tensors_of(operator):
            bias = tensor.dtype in ("int32", "int64") and tensor.is_constant
            if (
                tensor.scales
                and not bias
                and not tensor.is_float
                and tensor.dtype not in fact.value
            ):
                wanted = " or ".join(fact.value)
                yield Found(f"{tensor.dtype}, wanted {wanted}", operator, tensor)
                break


@looks_for("per-channel-weights")
def per_channel_weights(case: Case, fact: Fact) -> Iterator[Found]:
    """Find several weight scales where the chip wants one.

    FULLY_CONNECTED has a rule of its own.
    """
    allowed = fact.value if isinstance(fact.value, list) else ()
    for operator in case.model.operators:
        if operator.name in allowed or operator.name == "FULLY_CONNECTED":
            continue
        for tensor in case.model.tensors_of(operator):
            if len(tensor.scales) > 1 and tensor.dtype != "int32":
                yield Found(f"{len(tensor.scales)} scales, wanted 1", operator, tensor)
                break


@looks_for("dense-per-channel")
def dense_per_channel(case: Case, fact: Fact) -> Iterator[Found]:
    """Find a FULLY_CONNECTED with several weight scales, whatever its version."""
    for operator, tensor in case.weights("FULLY_CONNECTED"):
        if len(tensor.scales) > 1:
            yield Found(
                f"{len(tensor.scales)} weight scales, wanted 1 (operator version "
                f"{operator.version})",
                operator,
                tensor,
            )


@looks_for("already-quantized")
def already_quantized(case: Case, fact: Fact) -> Iterator[Found]:
    """Find quantized weights or activations in what a compiler shall quantize."""
    for operator in case.model.operators:
        onnx = operator.name in _QUANTIZED_ONNX
        scaled = [t for t in case.model.tensors_of(operator) if t.scales]
        if onnx or scaled:
            tensor = scaled[0] if scaled else case.output(operator)
            found = f"{tensor.dtype} with a scale" if scaled else "quantized data"
            yield Found(f"{found}, wanted float32 alone", operator, tensor)
            return


@looks_for("shared-scale")
def shared_scale(case: Case, fact: Fact) -> Iterator[Found]:
    """Find scores of 0..1 that are joined with larger values under one scale."""
    for operator in case.model.operators:
        output = case.output(operator)
        if operator.name != "CONCATENATION" or output is None:
            continue
        if len(output.scales) != 1 or output.dtype not in ("int8", "uint8"):
            continue
        steps = 1 / output.scale if output.scale > 0 else 0.0
        for tensor in case.model.inputs_of(operator):
            # Eight bits of a score are 255 steps; a quarter of them still ranks scores.
            if steps < 64 and _is_score(case, tensor):
                left = f"{steps:.3g}" if steps >= 1 else "less than 1"
                yield Found(
                    f"scores of 0..1 are joined under the scale {output.scale:.4g}: "
                    f"{left} of the 255 steps are left for them, wanted 64 or more",
                    operator,
                    tensor,
                    severity=None if steps < 2 else "warning",
                )
                break


def _is_score(case: Case, tensor: Tensor) -> bool:
    """Return whether all that a tensor is made of are scores.

    YOLOv5 takes its scores as a slice of a LOGISTIC's output, whose other slices become
    the boxes.
    """
    waiting, followed, scored = [tensor], set(), False
    while waiting and len(followed) < _FOLLOWED:
        tensor = waiting.pop()
        followed.add(tensor.index)
        operator = case.writer(tensor)
        if operator is None or len(operator.inputs) > _FOLLOWED:
            return False
        if operator.name in _SCORES:
            scored = True
            continue
        inputs = case.model.inputs_of(operator)
        if operator.name in _PASSING:
            # SPLIT has its axis first, the others their data.
            inputs = [entry for entry in inputs if not entry.is_constant][:1]
        elif operator.name not in _JOINING:
            return False
        if not inputs:
            return False
        waiting += [entry for entry in inputs if entry.index not in followed]
    return scored and not waiting
