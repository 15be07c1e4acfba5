"""`dlpu inspect`: what a .tflite file takes, gives and is made of."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, printable

import click


@dlpu.command(short_help="Tell what a .tflite file takes, gives and is made of.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--operators", is_flag=True, help="List every operator, one a line.")
def inspect(file: Path, as_json: bool, operators: bool) -> None:
    """Tell what a .tflite FILE takes, gives and is made of, without running it.

    \b
    Example:
      dlpu inspect my_model.tflite
      dlpu inspect my_model.tflite --json | jq .quantization.granularity

    \b
    Keys of the JSON object:
      file, size, description, converter_version, min_runtime_version, metadata
      quantization: kind, granularity, full_integer, edge_tpu_compiled,
        weights {operator: {granularity: count}}, weight_types {dtype: count},
        symmetric (true, false, or null), float_operators {operator: count}
      inputs, outputs: name, shape, shape_signature, dynamic, dtype, bytes, layout,
        scale, zero_point, real_range [of the smallest, of the largest integer]
      operators {name: count}, custom_operators, subgraphs, signatures
      operator_list, with --operators: index, name, version, inputs, outputs
    """  # noqa: D301  (click needs the control character)
    from course_lib.tflite import reading

    model = reading.read(file)
    facts = _facts(file, model)
    if operators:
        facts["operator_list"] = _operator_list(model)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        for line in _lines(facts):
            click.echo(printable(line))


def _facts(file: Path, model: Any) -> dict[str, Any]:
    """Collect what `dlpu inspect` prints."""
    from course_lib.tflite import reading

    weights = [tensor for _, tensor in reading.weights(model) if tensor.scales]
    middle = {"uint8": 128}
    symmetric = all(
        zero_point == middle.get(tensor.dtype, 0)
        for tensor in weights
        for zero_point in tensor.zero_points
    )
    return {
        "file": str(file),
        "size": model.size,
        "description": model.description,
        "converter_version": model.converter_version,
        "min_runtime_version": model.min_runtime_version,
        "metadata": list(model.metadata),
        "quantization": {
            "kind": model.quantization,
            "granularity": model.granularity,
            "full_integer": model.is_full_integer,
            "edge_tpu_compiled": model.is_edge_tpu_compiled,
            "weights": model.weight_counts,
            "weight_types": Counter(tensor.dtype for tensor in weights),
            "symmetric": symmetric if weights else None,
            "float_operators": model.float_operators,
        },
        "inputs": [contract(tensor) for tensor in model.inputs],
        "outputs": [contract(tensor) for tensor in model.outputs],
        "operators": Counter(operator.name for operator in model.operators),
        "custom_operators": model.custom_operators,
        "subgraphs": [
            {
                "name": graph.name,
                "operators": Counter(operator.name for operator in graph.operators),
            }
            for graph in model.subgraphs
        ],
        "signatures": [
            {
                "name": signature.name,
                "inputs": {n: t.name for n, t in signature.inputs.items()},
                "outputs": {n: t.name for n, t in signature.outputs.items()},
            }
            for signature in model.signatures
        ],
    }


def contract(tensor: Any) -> dict[str, Any]:
    """Collect what a caller must know of an input or output."""
    one = len(tensor.scales) == 1
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "shape_signature": tensor.shape_signature,
        "dynamic": tensor.is_dynamic,
        "dtype": tensor.dtype,
        "bytes": tensor.nbytes,
        "layout": tensor.layout,
        "scale": tensor.scale if one else None,
        "zero_point": tensor.zero_point if one else None,
        "real_range": tensor.real_range,
    }


def _operator_list(model: Any) -> list[dict[str, Any]]:
    """Collect every operator of every subgraph."""

    def tensors(graph: Any, indexes: tuple[int, ...]) -> list[dict[str, Any] | None]:
        return [
            {
                "index": index,
                "dtype": graph.tensors[index].dtype,
                "shape": graph.tensors[index].shape_signature,
                "scales": len(graph.tensors[index].scales),
            }
            if index >= 0
            else None
            for index in indexes
        ]

    return [
        {
            "subgraph": number,
            "index": operator.index,
            "name": operator.name,
            "version": operator.version,
            "inputs": tensors(graph, operator.inputs),
            "outputs": tensors(graph, operator.outputs),
        }
        for number, graph in enumerate(model.subgraphs)
        for operator in graph.operators
    ]


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Lay out the facts for a person: a label, then what belongs to it."""
    label = None
    for name, text in _entries(facts):
        yield f"{'' if name == label else name:<15} {text}"
        label = name


def _entries(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "file", facts["file"]
    yield "size", f"{facts['size']} bytes"
    if facts["description"]:
        yield "origin", facts["description"]
    if facts["converter_version"]:
        yield "origin", f"converted with TensorFlow {facts['converter_version']}"
    if facts["min_runtime_version"]:
        yield "origin", f"runs from TensorFlow Lite {facts['min_runtime_version']} on"

    quantization = facts["quantization"]
    kind, granularity = quantization["kind"], quantization["granularity"]
    yield "quantization", f"{kind}, {granularity}" if granularity else kind
    if quantization["edge_tpu_compiled"]:
        yield (
            "quantization",
            "compiled for the Edge TPU: what is inside cannot be seen, and only a "
            "machine with an Edge TPU runs it",
        )
    if quantization["float_operators"]:
        yield "in float", _counts(quantization["float_operators"])
    for operator, counts in quantization["weights"].items():
        yield "weights", f"{operator}: {_counts(counts)}"
    if quantization["weight_types"]:
        kind = "symmetric" if quantization["symmetric"] else "asymmetric"
        yield "weights", f"{', '.join(quantization['weight_types'])}, {kind}"

    for name in ("input", "output"):
        for number, tensor in enumerate(facts[name + "s"]):
            numbered = name if len(facts[name + "s"]) == 1 else f"{name} {number}"
            for text in _contract_texts(tensor, is_input=name == "input"):
                yield numbered, text

    for number, graph in enumerate(facts["subgraphs"]):
        label = "operators" if len(facts["subgraphs"]) == 1 else f"subgraph {number}"
        total = sum(graph["operators"].values())
        yield label, f"{total}: {_counts(graph['operators'])}" if total else "none"
    custom = [name for name in facts["custom_operators"] if name != "edgetpu-custom-op"]
    if custom:
        yield "custom", f"{', '.join(custom)}: not part of LiteRT"
    for signature in facts["signatures"]:
        inputs, outputs = (", ".join(signature[end]) for end in ("inputs", "outputs"))
        yield "signature", f"{signature['name']}({inputs}) -> {outputs}"

    for operator in facts.get("operator_list", ()):
        inputs, outputs = (
            " ".join(_tensor_text(tensor) for tensor in operator[end])
            for end in ("inputs", "outputs")
        )
        number = f"{operator['subgraph']}.{operator['index']}"
        name = f"{operator['name']} v{operator['version']}"
        yield number, f"{name}: {inputs} -> {outputs}"


def _contract_texts(tensor: dict[str, Any], *, is_input: bool) -> Iterator[str]:
    yield tensor["name"]
    layout = f", {tensor['layout']}" if is_input and tensor["layout"] else ""
    yield (
        f"{tensor['dtype']} {_shape(tensor['shape_signature'])}, "
        f"{tensor['bytes']} bytes{layout}"
        if tensor["shape"]
        else f"{tensor['dtype']}, a scalar or known only when it runs"
    )
    if tensor["dynamic"]:
        yield "dynamic: the bytes count a size of -1 as 1"
    if tensor["scale"] is not None:
        yield f"scale {tensor['scale']:.9g}, zero point {tensor['zero_point']}"
    if tensor["real_range"]:
        ends = {"uint8": (0, 255), "int8": (-128, 127)}.get(tensor["dtype"])
        if ends:
            low, high = tensor["real_range"]
            yield f"{ends[0]} stands for {low:.3f}, {ends[1]} for {high:.3f}"


def _counts(counts: dict[str, int]) -> str:
    """Return "36 CONV_2D, 17 DEPTHWISE_CONV_2D", the largest number first."""
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{count} {name}" for name, count in ordered)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _tensor_text(tensor: dict[str, Any] | None) -> str:
    return f"{tensor['dtype']}[{_shape(tensor['shape'])}]" if tensor else "-"
