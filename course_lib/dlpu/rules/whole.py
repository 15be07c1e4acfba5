"""The file as a whole: operators that nobody knows, parts, memory, versions."""

from collections import Counter
from collections.abc import Iterator

from course_lib.dlpu import edgetpu, mapping
from course_lib.dlpu.rules.case import CONVERSIONS, Case, Found, looks_for
from course_lib.dlpu.socs import Fact
from course_lib.tflite.reading import EDGE_TPU, Model, weights

_MEBIBYTE = 2**20


@looks_for("custom-operator")
def custom_operator(case: Case, fact: Fact) -> Iterator[Found]:
    """Find custom operators that every TFLite brings."""
    for operator in case.model.operators:
        if operator.is_custom and operator.name in mapping.REGISTERED:
            output = case.output(operator)
            readers = {
                reader.index
                for index in operator.outputs
                for reader in case.model.consumers.get(index, ())
            }
            yield Found(
                f"runs on the device's CPU; operators that read its outputs: "
                f"{len(readers)}, wanted 0",
                operator,
                output,
            )


@looks_for("unregistered-operator")
def unregistered_operator(case: Case, fact: Fact) -> Iterator[Found]:
    """Find custom and Flex operators whose code no camera has."""
    for operator in case.model.operators:
        if mapping.is_unregistered(operator) and operator.name != EDGE_TPU:
            kind = "Flex" if operator.name.startswith("Flex") else "custom"
            output = case.output(operator)
            known = ", ".join(mapping.REGISTERED)
            yield Found(
                f"is a {kind} operator, wanted 0 such operators besides {known}",
                operator,
                output,
            )


@looks_for("edge-tpu-compiled")
def edge_tpu_compiled(case: Case, fact: Fact) -> Iterator[Found]:
    """Find what edgetpu_compiler has made."""
    for operator in case.model.operators:
        if operator.name == EDGE_TPU:
            tensor = case.output(operator)
            yield Found(
                f"is code for an Edge TPU; wanted 0 such operators on {case.soc.name}",
                operator,
                tensor,
            )


@looks_for("several-subgraphs")
def several_subgraphs(case: Case, fact: Fact) -> Iterator[Found]:
    """Find loops and conditions."""
    count = len(case.model.subgraphs)
    if count > 1:
        callers = ("WHILE", "IF", "CALL_ONCE", "CALL")
        caller = next((o for o in case.model.operators if o.name in callers), None)
        caller = caller or next(iter(case.model.operators), None)
        tensor = case.output(caller) if caller else None
        yield Found(f"the file has {count} subgraphs, wanted 1", caller, tensor)


@looks_for("partitions")
def partitions(case: Case, fact: Fact) -> Iterator[Found]:
    """Find a graph that falls into more parts than the camera loads."""
    if case.partitions > fact.value:
        on_cpu = [o for o in case.model.operators if case.targets[o.index] == "cpu"]
        # The conversions around a float layer go when it goes.
        layers = [o for o in on_cpu if o.name not in CONVERSIONS] or on_cpu
        names = Counter(operator.name for operator in layers)
        told = ", ".join(f"{count} {name}" for name, count in names.most_common(4))
        yield Found(
            f"about {case.partitions} parts, wanted {fact.value} or fewer; on the CPU "
            f"are {told}, this one is the first",
            layers[0],
            case.output(layers[0]),
        )


@looks_for("unlisted-operator")
def unlisted_operator(case: Case, fact: Fact) -> Iterator[Found]:
    """Find operators that no list of the chip has."""
    listed = mapping.published(case.soc)
    others = case.soc.operators.others
    seen = {name for other in others for name in other.value}
    for operator in case.model.operators:
        integer = mapping.is_accelerated(case.model, operator)
        if operator.name in listed or operator.is_custom or not integer:
            continue
        if not any(tensor.scales for tensor in case.model.tensors_of(operator)):
            continue  # it computes sizes or places, not values
        known = operator.name in seen
        also = "; a published model has it, and runs" if known else ""
        yield Found(
            f"is not on the list, wanted one of its {len(listed)} operators{also}",
            operator,
            case.output(operator),
            # From uint8 ends to int8 inside: the file that the chip's page asks for.
            severity="note" if known and case.converts_an_end(operator) else None,
        )


@looks_for("operator-version")
def operator_version(case: Case, fact: Fact) -> Iterator[Found]:
    """Find operators that are newer than the compiler."""
    highest = {
        name: int(number) for number, names in fact.value.items() for name in names
    }
    for operator in case.model.operators:
        if operator.is_custom:
            continue
        most = highest.get(operator.name, 0)
        if operator.version > most:
            tensor = case.output(operator)
            wanted = f"{most} or lower" if most else "an operator that it knows"
            yield Found(
                f"version {operator.version}, wanted {wanted}", operator, tensor
            )


@looks_for("edge-tpu-mapping")
def edge_tpu_mapping(case: Case, fact: Fact) -> Iterator[Found]:
    """Find operators that the Edge TPU compiler is predicted to leave on the CPU."""
    if case.model.is_edge_tpu_compiled:
        outside = [o for o in case.model.operators if o.name != EDGE_TPU]
        for operator in outside:
            if not operator.is_custom:
                yield Found(
                    f"is one of {len(outside)} operators outside the compiled part: on "
                    "the CPU, wanted on the Edge TPU",
                    operator,
                    case.output(operator),
                )
        return
    predictions = edgetpu.predict(case.model)
    left = sum(not entry.on_tpu for entry in predictions)
    # What merely comes after it is not told one by one. Custom operators, and what
    # converts a float input or output, have rules of their own.
    found = [
        (entry.reason, operator)
        for entry, operator in zip(predictions, case.model.operators, strict=True)
        if not (entry.on_tpu or entry.status == edgetpu.AFTER_THE_END)
        and not (operator.is_custom or case.converts_an_end(operator))
    ]
    layers = [entry for entry in found if entry[1].name not in CONVERSIONS]
    for reason, operator in layers or found:
        yield Found(
            f"{reason}; predicted: one of {left} operators on the CPU with what "
            "depends on them, wanted 0",
            operator,
            case.output(operator),
        )


@looks_for("edge-tpu-memory")
def edge_tpu_memory(case: Case, fact: Fact) -> Iterator[Found]:
    """Find more weights than the accelerator keeps."""
    found = weights(case.model)
    total = sum(tensor.nbytes for _, tensor in found)
    if total > fact.value * _MEBIBYTE:
        operator, tensor = max(found, key=lambda entry: entry[1].nbytes)
        yield Found(
            f"{total / _MEBIBYTE:.1f} MiB of weights, wanted less than about "
            f"{fact.value}; {tensor.nbytes / _MEBIBYTE:.1f} MiB of these are here",
            operator,
            tensor,
        )


@looks_for("memory")
def memory(case: Case, fact: Fact) -> Iterator[Found]:
    """Find a file that exceeds the whole memory of a known camera."""
    known = [product for product in case.soc.products if product.memory_gigabytes]
    if not known or not case.model.operators:
        return
    smallest = min(known, key=lambda product: product.memory_gigabytes)
    constants = sum(
        tensor.nbytes for tensor in case.model.tensors if tensor.is_constant
    )
    activations, index = peak_activations(case.model)
    total = constants + activations
    if total > smallest.memory_gigabytes * 1e9:
        operator = case.model.operators[index]
        yield Found(
            f"{total / 1e9:.1f} GB, most of it here, wanted less than the "
            f"{smallest.memory_gigabytes} GB of {smallest.name}",
            operator,
            case.output(operator),
        )


def peak_activations(model: Model) -> tuple[int, int]:
    """Return the most bytes of activations that exist at once, and at which operator.

    An activation exists from the operator that writes it to the last that reads it, in
    the file's order.
    """
    last = {i: len(model.operators) for i in (t.index for t in model.outputs)}
    for operator in model.operators:
        for index in operator.inputs:
            last[index] = max(last.get(index, 0), operator.index)
    alive = sum(tensor.nbytes for tensor in model.inputs)
    peak, where = alive, 0
    ends: dict[int, int] = {}
    for operator in model.operators:
        for index in dict.fromkeys(operator.outputs):
            if index >= 0:
                size = model.tensors[index].nbytes
                alive += size
                end = max(last.get(index, operator.index), operator.index)
                ends[end] = ends.get(end, 0) + size
        if alive > peak:
            peak, where = alive, operator.index
        alive -= ends.pop(operator.index, 0)
    return peak, where


@looks_for("tflite-input")
def tflite_input(case: Case, fact: Fact) -> Iterator[Found]:
    """Find a .tflite file where the compiler reads .onnx."""
    if case.model.format == "tflite" and not case.model.is_edge_tpu_compiled:
        tensor = next(iter(case.model.inputs), None)
        operator = case.reader(tensor) if tensor else None
        opset = f" (opset {case.soc.onnx_opset.value})" if case.soc.onnx_opset else ""
        yield Found(f"a .tflite file, wanted .onnx{opset}", operator, tensor)


@looks_for("onnx-opset")
def onnx_opset(case: Case, fact: Fact) -> Iterator[Found]:
    """Find another ONNX opset than that of the guides."""
    opset = case.model.opset
    if opset is not None and opset != fact.value:
        tensor = next(iter(case.model.inputs), None)
        operator = case.reader(tensor) if tensor else None
        yield Found(f"opset {opset}, wanted {fact.value}", operator, tensor)
