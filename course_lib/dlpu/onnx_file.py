"""An .onnx file, seen as a `reading.Model`, so that the same rules can look at it.

It is parsed with onnx, never run; weights in other files are not opened.
"""

from pathlib import Path
from typing import Any

from course_lib.dlpu.socs import Soc
from course_lib.errors import UnusableInput
from course_lib.tflite import reading
from course_lib.tflite.reading import Model, Operator, Tensor

_MOST = 100 * 2**20  # bytes: a model for a camera has some megabytes
_TYPES = {"float": "float32", "double": "float64"}


def read(path: Path | str) -> Model:
    """Read an .onnx file.

    Needs the package onnx: `pip install dlpu-course[convert]`.

    Args:
        path: The file.

    Returns:
        Its main graph: operators with ONNX's names ("Conv"), tensors with names, shapes
        and dtypes where the file tells them; a size that is not fixed is -1. Tensors
        that the file does not describe have no shape and the dtype "unknown".

    Raises:
        UnusableInput: When there is no such file, or it is not a sound .onnx file.

    Introduced in notebook 09.
    """
    path = Path(path)
    try:
        import onnx
    except ImportError as error:
        raise UnusableInput(
            f"{path}: reading .onnx needs the package onnx: run "
            "`pip install dlpu-course[convert]`"
        ) from error
    try:
        size = path.stat().st_size
        if size > _MOST:
            raise UnusableInput(f"{path}: has {size} bytes, expected at most {_MOST}")
        proto = onnx.ModelProto()
        proto.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise UnusableInput(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise UnusableInput(
            f"{path}: could not be read ({error.strerror}): check the path"
        ) from None
    except UnusableInput:
        raise
    except Exception as error:  # protobuf's own error, whichever its implementation
        raise UnusableInput(
            f"{path}: not a sound .onnx file ({type(error).__name__}): export or copy "
            "it again"
        ) from None
    if not proto.graph.node:
        raise UnusableInput(f"{path}: not an .onnx model: its graph has no operator")
    return _model(proto, size, onnx)


def read_either(path: Path | str, *, soc: Soc) -> Model:
    """Read the file that a chip takes, .onnx or .tflite by its name.

    Raises:
        UnusableInput: When the chip takes no .onnx, or the file is not sound.

    Introduced in notebook 11.
    """
    if Path(path).suffix.lower() != ".onnx":
        return reading.read(path)
    if not soc.takes_onnx:
        raise UnusableInput(
            f"{path}: {soc.name} takes .tflite files: convert the model first"
        )
    return read(path)


def _model(proto: Any, size: int, onnx: Any) -> Model:
    graph = proto.graph
    tensors: list[Tensor] = []
    places: dict[str, int] = {}

    def place(name: str) -> int:
        """Return a tensor's index; an empty name is an input that is left out."""
        if name and name not in places:
            _add(Tensor(len(tensors), name, (), (), "unknown"))
        return places.get(name, -1)

    def _add(tensor: Tensor) -> None:
        places[tensor.name] = tensor.index
        tensors.append(tensor)

    def dtype(number: int) -> str:
        try:
            name = onnx.TensorProto.DataType.Name(number).lower()
        except ValueError:
            return "unknown"
        return _TYPES.get(name, name)

    def text(name: Any) -> str:
        """Return a name; one that is not UTF-8 comes as bytes from a damaged file."""
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else name

    for entry in graph.initializer:
        if text(entry.name) not in places:
            shape = tuple(max(int(d), 0) for d in entry.dims)
            data = memoryview(entry.raw_data or b"\0")
            _add(
                Tensor(
                    *(
                        len(tensors),
                        text(entry.name),
                        shape,
                        shape,
                        dtype(entry.data_type),
                    ),
                    data=data,
                )
            )
    for entry in (*graph.input, *graph.output, *graph.value_info):
        if text(entry.name) in places:
            continue
        kind = entry.type.tensor_type
        sizes = [
            int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else -1
            for d in kind.shape.dim
        ]
        shape = tuple(1 if d == -1 else d for d in sizes)
        form = dtype(kind.elem_type)
        _add(Tensor(len(tensors), text(entry.name), shape, tuple(sizes), form))
    operators = tuple(
        Operator(
            index=index,
            name=text(node.op_type),
            version=0,
            inputs=tuple(place(text(name)) for name in node.input),
            outputs=tuple(place(text(name)) for name in node.output),
            is_custom=node.domain not in ("", "ai.onnx"),
        )
        for index, node in enumerate(graph.node)
    )
    constants = {entry.name for entry in graph.initializer}
    opsets = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    inputs, outputs = (
        tuple(tensors[places[text(e.name)]] for e in ends if text(e.name) in places)
        for ends in (
            [entry for entry in graph.input if entry.name not in constants],
            graph.output,
        )
    )
    main = {
        "name": text(graph.name),
        "tensors": tuple(tensors),
        "operators": operators,
        "inputs": inputs,
        "outputs": outputs,
    }
    return Model(
        **main,
        size=size,
        description=text(proto.producer_name),
        subgraphs=(),
        metadata={},
        signatures=(),
        format="onnx",
        opset=opsets[0] if opsets else None,
    )
