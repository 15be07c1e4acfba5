"""From a Keras model or a SavedModel to float, full-integer and planar ONNX files.

Every function fixes the batch at 1, is silent, and checks the file that it made.
TensorFlow is imported when a function first needs it.
"""

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quantization.calibration import RepresentativeDataset
from course_lib.quiet import quiet
from course_lib.tflite import reading

import numpy as np

GRANULARITIES = ("per-tensor", "per-channel")
IO_TYPES = ("uint8", "int8")


@dataclass(frozen=True)
class FixedModel:
    """A float model with one image input of fixed shape, ready for every conversion.

    Attributes:
        function: TensorFlow concrete function without variables.
        input_name: Name of the input.
        input_shape: (1, height, width, channels).
        normalises: Name of a layer of the model that scales pixels; None when none is
            seen, as in a SavedModel.
    """

    function: Any
    input_name: str
    input_shape: tuple[int, int, int, int]
    normalises: str | None = None


def fix_batch(
    model: Any,
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> FixedModel:
    """Load a model and fix its batch at 1.

    Args:
        model: A Keras model (Keras 3 or tf_keras), the path of a `.keras` file, or the
            path of a SavedModel folder with a `serving_default` signature.
        mean: Built into the graph together with `std` when given, so that pixels 0..255
            enter; one value, or one a channel. A full-integer file with one mean and
            std does not need this: its input scale and zero point carry them.
        std: See `mean`.

    Raises:
        UnusableInput: When the model cannot be read, has several inputs, an input that
            is not a float image, or a height or width that is not fixed.

    Introduced in notebook 04.
    """
    with quiet():
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        if isinstance(model, (str, Path)):
            model = read_model(model)
        if hasattr(model, "signatures"):
            call, name, shape = _of_saved_model(model)
        else:
            call, name, shape = _of_keras(model)
        shape = _image_shape(name, shape)
        normalise = _normalisation(mean, std, channels=shape[3])
        with _one_line("TensorFlow could not run the model on one image"):
            function = tf.function(
                lambda image: call(normalise(image))
            ).get_concrete_function(tf.TensorSpec(shape, tf.float32, name=name))
        # The converter writes what it gets as a SavedModel and reads it again. Without
        # variables that takes half the time.
        function = convert_variables_to_constants_v2(function)
    own = (
        layer.name
        for layer in getattr(model, "layers", ())
        if type(layer).__name__ in ("Rescaling", "Normalization")
    )
    return FixedModel(function, name, shape, normalises=next(own, None))


def convert_float(model: Any, *, float16: bool = False) -> bytes:
    """Convert to a float `.tflite` file.

    Args:
        model: As `fix_batch` takes it, or what it returned.
        float16: Store the weights in 16 bits; the arithmetic stays float32.

    Introduced in notebook 04.
    """
    import tensorflow as tf

    converter = converter_of(model)
    if float16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return run(converter)


def convert_full_integer(
    model: Any,
    dataset: RepresentativeDataset,
    *,
    granularity: str = "per-channel",
    io: str = "uint8",
    dense_per_channel: bool = False,
) -> bytes:
    """Convert to a full-integer `.tflite` file and check that it is what was asked for.

    Args:
        model: As `fix_batch` takes it, or what it returned.
        dataset: Function that yields [float32 [1, height, width, channels]].
        granularity: "per-channel", one weight scale for each output channel of a
            convolution; or "per-tensor", one scale for each weight tensor.
        io: Type of input and output, "uint8" or "int8".
        dense_per_channel: Per-channel weights for FULLY_CONNECTED too, the converter's
            own default since 2024; some runtimes reject such files (tflite-micro#2602,
            LiteRT#3596).

    Returns:
        The file's bytes.

    Raises:
        UnusableInput: When the model cannot be converted, or the file is not
            full-integer with the granularity, types and batch that were asked for.

    Introduced in notebook 04.
    """
    check_form(granularity=granularity, io=io)
    import tensorflow as tf

    converter = converter_of(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
    converter._experimental_disable_per_channel = granularity == "per-tensor"
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not dense_per_channel
    )
    content = run(converter)
    verify_full_integer(content, granularity=granularity, io=io)
    return content


def verify_full_integer(content: bytes, *, granularity: str, io: str) -> None:
    """Check that a file is full-integer as asked; return nothing when it is.

    Args:
        content: The bytes of a `.tflite` file.
        granularity: "per-channel": every convolution with more than one output channel
            has one scale for each; "per-tensor": no tensor has more than one scale.
        io: Type that inputs and outputs must have.

    Raises:
        UnusableInput: Naming the first tensor or operator that is not as asked.
    """
    model = reading.parse(content)
    for tensor in (*model.inputs, *model.outputs):
        if tensor.dtype != io:
            raise UnusableInput(
                f"{tensor.name}: is {tensor.dtype}, not the {io} that was asked for"
            )
        if tensor.is_dynamic:
            raise UnusableInput(
                f"{tensor.name}: shape {tensor.shape_signature} is dynamic: build the "
                "model with fixed sizes"
            )
    if any(tensor.shape[:1] != (1,) for tensor in model.inputs):
        raise UnusableInput(
            f"input has shape {model.inputs[0].shape}: expected batch 1"
        )
    if model.float_operators:
        names = ", ".join(f"{n} {name}" for name, n in model.float_operators.items())
        raise UnusableInput(
            f"not full-integer: {names} stayed in float; replace these layers"
        )
    for tensor in model.tensors if granularity == "per-tensor" else ():
        if len(tensor.scales) > 1:
            raise UnusableInput(
                f"{tensor.name}: has {len(tensor.scales)} scales although per-tensor "
                "was asked for (a model from quantization-aware training keeps its own)"
            )
    for operator, kernel in reading.weights(model):
        channels = kernel.shape[reading.CHANNEL_AXIS[operator.name]]
        if (
            granularity == "per-channel"
            and operator.name != "FULLY_CONNECTED"
            and len(kernel.scales) != channels
        ):
            raise UnusableInput(
                f"{kernel.name}: has {len(kernel.scales)} scales for {channels} "
                "channels although per-channel was asked for"
            )


def convert_planar_onnx(model: Any, *, opset: int = 17) -> bytes:
    """Convert to a float ONNX file that takes RGB planar input, [1, channels, H, W].

    The weights of the first convolution are laid out for planar input; no Transpose
    stands in front of it.

    Args:
        model: As `fix_batch` takes it, or what it returned.
        opset: ONNX operator set; Axis's guides use 17.

    Raises:
        UnusableInput: When tf2onnx cannot convert, or a Transpose is left at the input.
    """
    fixed = _fixed(model)
    with quiet():
        import onnx
        import tensorflow as tf
        import tf2onnx

        with _one_line("tf2onnx could not convert the model"):
            proto, _ = tf2onnx.convert.from_function(
                tf.function(fixed.function),
                [tf.TensorSpec(fixed.input_shape, tf.float32, name=fixed.input_name)],
                opset=opset,
                inputs_as_nchw=[fixed.input_name],
            )
            # A parser's command line has a colon of its own meaning: "Identity:0" is
            # renamed to "Identity".
            names = {o.name: o.name.removesuffix(":0") for o in proto.graph.output}
            _rename(proto.graph, names)
            onnx.checker.check_model(proto)
    entry = proto.graph.input[0]
    height, width, channels = fixed.input_shape[1:]
    shape = tuple(d.dim_value for d in entry.type.tensor_type.shape.dim)
    if shape != (1, channels, height, width):
        raise UnusableInput(f"ONNX input has shape {shape}: expected planar input")
    readers = [node.op_type for node in proto.graph.node if entry.name in node.input]
    if "Transpose" in readers:
        raise UnusableInput("a Transpose stands between the planar input and the model")
    return proto.SerializeToString()


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename tensors of an ONNX graph."""
    for entry in graph.output:
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]


def onnx_contract(content: bytes) -> tuple[list[dict], list[dict]]:
    """Return what an ONNX file takes and gives.

    Args:
        content: The bytes of the file.

    Returns:
        Inputs and outputs, each with "name", "shape", "dtype", "bytes" and "layout"
        ("planar (NCHW)" for [1, 3, height, width], else None), as the graph lists them.
    """
    import onnx

    graph = onnx.load_from_string(content).graph
    return [_tensor(t) for t in graph.input], [_tensor(t) for t in graph.output]


def _tensor(entry: Any) -> dict[str, Any]:
    import onnx

    kind = entry.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    shape = [d.dim_value for d in kind.shape.dim]
    planar = len(shape) == 4 and shape[1] == 3
    return {
        "name": entry.name,
        "shape": shape,
        "dtype": str(dtype),
        "bytes": int(np.prod(shape)) * dtype.itemsize,
        "layout": "planar (NCHW)" if planar else None,
    }


def _fixed(model: Any) -> FixedModel:
    return model if isinstance(model, FixedModel) else fix_batch(model)


def check_form(*, granularity: str, io: str = IO_TYPES[0]) -> None:
    """Refuse a granularity, or a type of input and output, that is none."""
    if granularity not in GRANULARITIES:
        raise UnusableInput(f"granularity {granularity!r}: expected {GRANULARITIES}")
    if io not in IO_TYPES:
        raise UnusableInput(f"input and output type {io!r}: expected {IO_TYPES}")


def converter_of(model: Any) -> Any:
    """Return TensorFlow's converter for a model; nothing is set on it yet."""
    import tensorflow as tf

    function = _fixed(model).function
    _refuse_loops(function)
    # The second argument owns the variables, of which none are left.
    return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())


def run(converter: Any) -> bytes:
    """Convert without chatter, and refuse in one line what the converter refuses."""
    with quiet(), _one_line("the TFLite converter refused the model"):
        return converter.convert()


@quiet()
def read_model(path: Path | str) -> Any:
    """Load a `.keras` file or a SavedModel folder.

    Returns:
        A Keras model, or what `tf.saved_model.load` returns.

    Raises:
        UnusableInput: When there is none at the path, or it cannot be read.
    """
    import tensorflow as tf

    path = Path(path)
    wanted = "expected a SavedModel folder or a .keras file"
    if not path.exists():
        raise UnusableInput(f"{path}: no such file or folder: {wanted}")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise UnusableInput(f"{path}: no saved_model.pb in this folder: {wanted}")
        with _one_line(f"{path}: not a readable SavedModel"):
            return tf.saved_model.load(str(path))
    if path.suffix.lower() == ".onnx":
        raise UnusableInput(
            f"{path}: {wanted}; an .onnx file is not read here: give the SavedModel "
            "that onnx2tf makes of it (lesson 10)"
        )
    if path.suffix != ".keras":
        raise UnusableInput(
            f"{path}: {wanted}; save the model again with model.save('name.keras')"
        )
    if not zipfile.is_zipfile(path):
        raise UnusableInput(
            f"{path}: damaged, or not a .keras file: save or copy the model again"
        )
    try:
        with _one_line(f"{path}: not a readable .keras file"):
            return tf.keras.models.load_model(path, compile=False)
    except UnusableInput:
        if not _is_of_keras2(path):
            raise
    # Keras 3 refuses batch normalization and depthwise convolutions of Keras 2.
    from course_lib.quantization import qat

    tf_keras = qat.require_keras2()
    with _one_line(f"{path}: not a readable .keras file of Keras 2"):
        return qat.from_keras2(tf_keras.models.load_model(path, compile=False))


def _is_of_keras2(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return False
    return str(version).startswith("2.")


def _refuse_loops(function: Any) -> None:
    """Refuse a loop: the converter of TensorFlow 2.21 crashes on it without a word."""
    for operation in function.graph.get_operations():
        if operation.type in ("LoopCond", "While", "StatelessWhile"):
            raise UnusableInput(
                f"the model has a loop ({operation.name}), as recurrent layers have: "
                "expected none; give LSTM and GRU unroll=True"
            )


def _of_keras(model: Any) -> tuple[Callable, str, list]:
    """Return how to call a Keras model, and its input's name and shape."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise UnusableInput(
            "the Keras model has no declared input: begin it with "
            "keras.Input((height, width, 3))"
        )
    names = [tensor.name for tensor in inputs]
    _only_one(names)
    _only_float(names[0], inputs[0].dtype)
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "compute_dtype", "") in ("float16", "bfloat16"):
            raise UnusableInput(
                f"layer {layer.name} computes in {layer.compute_dtype}, as mixed "
                "precision does: expected float32; build the model without that "
                "policy and copy the weights with set_weights"
            )
        if any(w.dtype.kind == "f" and np.isnan(w).any() for w in layer.get_weights()):
            raise UnusableInput(
                f"layer {layer.name} has weights that are NaN, as after a training "
                "that diverged: expected numbers; train again with a smaller rate"
            )
    shape = list(inputs[0].shape)
    return partial(model, training=False), names[0], shape


def _of_saved_model(model: Any) -> tuple[Callable, str, list]:
    """Return how to call a loaded SavedModel, and its input's name and shape."""
    signatures = dict(model.signatures)
    if "serving_default" not in signatures:
        raise UnusableInput(
            f"the SavedModel has the signatures {sorted(signatures)}: expected "
            "serving_default; export it again with model.export(folder)"
        )
    signature = signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    _only_one(sorted(inputs))
    ((name, spec),) = inputs.items()
    _only_float(name, spec.dtype.name)
    shape = spec.shape.as_list() if spec.shape.rank is not None else []
    return lambda image: signature(**{name: image}), name, shape


def _only_one(names: list[str]) -> None:
    if len(names) != 1:
        raise UnusableInput(
            f"the model has {len(names)} inputs ({', '.join(names)}): expected one "
            "image"
        )


def _only_float(name: str, dtype: Any) -> None:
    dtype = getattr(dtype, "name", dtype)
    if dtype != "float32":
        raise UnusableInput(
            f"input {name} is {dtype}: expected a float32 image; convert the float "
            "model, the converter makes the integer input"
        )


def _image_shape(name: str, shape: list) -> tuple[int, int, int, int]:
    """Return an image's shape with the batch fixed at 1."""
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise UnusableInput(
            f"input {name} has shape {shape}: expected an image [1, height, width, 3]"
        )
    if None in shape[1:] or shape[0] not in (None, 1):
        raise UnusableInput(
            f"input {name} has shape {shape}: only an open batch can be fixed; build "
            "the model with a fixed height and width and batch 1"
        )
    return (1, *shape[1:])


def per_channel(
    mean: float | Sequence[float], std: float | Sequence[float], *, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std with one value a channel, float32.

    Raises:
        UnusableInput: When there are neither one nor so many.
    """
    if any(np.size(value) not in (1, channels) for value in (mean, std)):
        wanted = "1" if channels == 1 else f"1 or {channels}"
        raise UnusableInput(
            f"mean and std have {np.size(mean)} and {np.size(std)} values: expected "
            f"{wanted} for images of {channels} channel{'s'[: channels > 1]}"
        )
    return tuple(np.broadcast_to(np.float32(v), channels) for v in (mean, std))


def _normalisation(mean: Any, std: Any, *, channels: int) -> Any:
    """Return a function that normalises an image inside the graph."""
    import tensorflow as tf

    mean, std = per_channel(mean, std, channels=channels)
    if np.all(mean == 0) and np.all(std == 1):
        return lambda image: image
    # As a 1×1 depthwise convolution it is one operator that every DLPU has.
    kernel = (1 / std).reshape(1, 1, channels, 1)
    return lambda image: tf.nn.bias_add(
        tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "VALID"), -mean / std
    )


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn a library's long error into one line."""
    try:
        yield
    except UnusableInput:
        raise
    except MemoryError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise UnusableInput(f"{what}: {reason[:300]}") from error
