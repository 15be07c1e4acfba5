"""Quantization-aware training that ends in the file that a DLPU takes.

tensorflow-model-optimization (tfmot) speaks Keras 2 only, and its own scheme trains one
weight scale a channel. Here a model of either Keras is folded, carried over into
`tf_keras` and given fake quantization with one scale per tensor, so that the converter
finds a scale for everything and leaves nothing in float.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion, folding
from course_lib.quiet import quiet
from course_lib.tflite import reading

import numpy as np

_VARIABLE = "TF_USE_LEGACY_KERAS"
# What is carried over, and the settings that a layer's function depends on.
_CONVOLUTION = ("kernel_size", "strides", "padding", "dilation_rate", "use_bias")
_POOLING = ("pool_size", "strides", "padding")
_SETTINGS = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": _POOLING,
    "Concatenate": ("axis",),
    "Conv2D": ("filters", "groups", *_CONVOLUTION),
    "Cropping2D": ("cropping",),
    "Dense": ("units", "use_bias"),
    "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling2D": ("keepdims",),
    "MaxPooling2D": _POOLING,
    "Multiply": (),
    "Permute": ("dims",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Reshape": ("target_shape",),
    "Softmax": ("axis",),
    "Subtract": (),
    "UpSampling2D": ("size", "interpolation"),
    "ZeroPadding2D": ("padding",),
}
# Their integers mean the same before and after: what they give has the scale of what
# they take.
_SAME_SCALE = (
    "AveragePooling2D",
    "Cropping2D",
    "Flatten",
    "GlobalMaxPooling2D",
    "MaxPooling2D",
    "Permute",
    "Reshape",
    "UpSampling2D",
    "ZeroPadding2D",
)
# The converter fuses a ReLU into these.
_TAKE_RELU = (*folding.WEIGHTED, "Add", "Multiply", "Subtract")
_RELUS = ("relu", "relu6")
# The quantization specification fixes the scale of what these give.
_FIXED_SCALE = ("sigmoid", "softmax", "tanh")
# Values of each result by which its range is chosen.
_SAMPLES = 100_000
# What TensorFlow calls the operators that have a kernel.
_OPERATIONS = ("Conv2D", "depthwise", "MatMul")


@dataclass(frozen=True, eq=False)
class _Node:
    """One layer of the student.

    Attributes:
        name: Of the layer.
        kind: Class of `tf_keras.layers`.
        settings: What its constructor takes.
        inputs: Keys of the tensors that enter.
        output: Key of the tensor that leaves.
        weights: Kernel and bias, or nothing.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    inputs: tuple[Any, ...]
    output: Any
    weights: list[np.ndarray] = field(default_factory=list)

    @property
    def activation(self) -> str:
        """Name of the activation that this layer is; empty for any other layer."""
        if self.kind == "ReLU":
            slope, bound = self.settings["negative_slope"], self.settings["max_value"]
            return "relu" if not slope and bound in (None, 6) else "other"
        if self.kind == "Softmax":
            return "softmax"
        return self.settings["activation"] if self.kind == "Activation" else ""


def from_keras2(model: Any) -> Any:
    """Return a Keras 3 model with the layers and weights of a `tf_keras` model.

    Loading its `.keras` file in Keras 3 fails on batch normalization and on depthwise
    convolutions (Keras 3.15).

    Args:
        model: Sequential or functional `tf_keras` model.

    Raises:
        UnusableInput: When it is subclassed, or has a layer that Keras 3 lacks.

    Introduced in notebook 05.
    """
    tf_keras = require_keras2()
    with quiet():
        import keras
    if not getattr(model, "_is_graph_network", False):
        raise UnusableInput(
            f"{type(model).__name__} is no Sequential or functional tf_keras model "
            "with a declared input: expected one, whose layers can be seen"
        )
    sequential = isinstance(model, tf_keras.Sequential)
    kind = keras.Sequential if sequential else keras.Model
    try:
        made = kind.from_config(_as_keras3(model.get_config()))
        made.set_weights(model.get_weights())
    except Exception as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UnusableInput(
            f"the tf_keras model {getattr(model, 'name', '')!r} cannot be carried over "
            f"to Keras 3: {reason[0][:300]}: expected a Sequential or functional "
            "model of layers that both have"
        ) from error
    return made


def prepare(
    model: Any,
    inputs: np.ndarray,
    *,
    granularity: str = "per-tensor",
    mean: float = 0.0,
    std: float = 255.0,
) -> Any:
    """Return a student: the same model with fake quantization, ready for training.

    Batch normalization is folded and ReLU fused first, as in a `.tflite` file. Every
    kernel, and every result that the file will hold, then passes through a rounding to
    256 steps; the rounding's gradient is taken as 1 (straight-through estimator).

    Args:
        model: Sequential or functional model of Keras 3 or `tf_keras`; it stays as it
            is. It takes one image and gives one or several outputs.
        inputs: float32 [N, height, width, channels], as the model takes them. The
            activations' ranges are chosen on these and stay.
        granularity: "per-tensor": one weight scale for each kernel; "per-channel": one
            for each output channel of a convolution.
        mean: The model's inputs are (pixel − mean) / std. The file's input gets the
            scale 1 / std and the zero point mean, so that pixels enter as they are.
        std: See `mean`.

    Returns:
        `tf_keras` model with the same inputs and outputs.

    Raises:
        UnusableInput: When `tf_keras` or tfmot is missing, the model has a layer that
            is not supported, or the inputs do not fit mean and std.

    Source: Jacob and others, "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference", 2018, section 3; `QuantizeConfig`
    of tensorflow-model-optimization.

    Introduced in notebook 05.
    """
    conversion.check_form(granularity=granularity)
    tf_keras, quantization = require_keras2(), _quantization()
    if isinstance(model, tf_keras.Model):
        model = from_keras2(model)
    folded = folding.fold(model)
    inputs = _checked(inputs, folded, mean=mean, std=std)
    with quiet():
        nodes = list(_nodes(folded))
        outputs = folding.output_keys(folded)
        quantized = _quantized(nodes, outputs)
        plain = _assemble(nodes, outputs, name=folded.name)
        ranges = _ranges(plain, [n.name for n in nodes if n in quantized], inputs)
        # The converter's own rounding of a mean such as 127.5.
        zero_point = math.ceil(mean - 0.5)
        entry = calibration.input_range(mean=zero_point, std=std)

        def wrap(node: _Node, layer: Any) -> Any:
            if node.kind == "InputLayer":
                result = quantization.Fixed(*entry)
            elif node in quantized:
                result = quantization.Activation(*ranges[node.name])
            elif node.weights:
                result = None
            else:
                return layer
            config = quantization.Config(
                kernel=_kernel_name(node) if node.weights else None,
                per_axis=granularity == "per-channel" and node.kind != "Dense",
                result=result,
            )
            return quantization.Wrapper(layer, config)

        return _assemble(nodes, outputs, name=folded.name, wrap=wrap)


def distil(
    student: Any,
    teacher: Any,
    inputs: np.ndarray,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    temperature: float = 1.0,
) -> list[float]:
    """Train a student to answer as its teacher does; no labels are needed.

    Where the model ends in a softmax, the loss is the Kullback-Leibler divergence of
    the probabilities, else the mean squared error. Adam's learning rate falls to 0 on a
    cosine. From here on, the process is deterministic.

    Args:
        student: What `prepare` returned; it is changed.
        teacher: The float model, of either Keras.
        inputs: float32 [N, height, width, channels], as both take them; of many kinds,
            since the student learns the teacher's answers only where it is asked.
        epochs: Passes over the inputs.
        seed: Decides their order.
        batch_size: Inputs a step.
        learning_rate: At the first step.
        temperature: Divides the logits of both; above 1, small probabilities count
            more.

    Returns:
        The mean loss of each epoch.

    Raises:
        UnusableInput: When the student's outputs are not the teacher's in number and
            shape.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
    2015; Mishra and Marr, "Apprentice", 2017, for a quantized student.

    Introduced in notebook 05.
    """
    import tensorflow as tf

    tf_keras = require_keras2()
    with quiet():
        answers = teacher.predict(inputs, batch_size=batch_size, verbose=0)
        targets = tf.nest.flatten(answers)  # a dict in the order of its keys, as Keras
        shapes = [tuple(target.shape[1:]) for target in targets]
        found = [tuple(tensor.shape[1:]) for tensor in student.outputs]
        if shapes != found:
            raise UnusableInput(
                f"the teacher gives {shapes}, the student {found}: expected the float "
                "model that the student was prepared from"
            )
        logits = [_logits(student, index) for index in range(len(targets))]
        losses = [
            _mean_squared if logit is None else _divergence(temperature)
            for logit in logits
        ]
        ends = [
            given if logit is None else logit
            for given, logit in zip(student.outputs, logits, strict=True)
        ]
        trained = tf_keras.Model(student.inputs, ends)
        steps = epochs * math.ceil(len(inputs) / batch_size)
        rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        tf_keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        trained.compile(tf_keras.optimizers.Adam(rate), losses)
        fitted = trained.fit(
            inputs, targets, epochs=epochs, batch_size=batch_size, verbose=0
        )
    return [float(loss) for loss in fitted.history["loss"]]


def convert(
    student: Any, *, granularity: str = "per-tensor", io: str = "uint8"
) -> bytes:
    """Convert a model with fake quantization and check that the file is full-integer.

    Scales come from the model: there is no representative dataset.

    Args:
        student: What `prepare` returned, or a model of tfmot's own `quantize_model`.
        granularity: As in `prepare`. tfmot's own are "per-channel".
        io: Type of input and output, "uint8" or "int8".

    Returns:
        The file's bytes.

    Raises:
        UnusableInput: Naming the layer that stayed in float, or that has other scales
            than `granularity` says, and why.

    Introduced in notebook 05.
    """
    conversion.check_form(granularity=granularity, io=io)
    import tensorflow as tf

    with quiet():
        converter = conversion.converter_of(student)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    content = conversion.run(converter)
    verify(content, granularity=granularity, io=io)
    return content


def verify(content: bytes, *, granularity: str, io: str) -> None:
    """Check a file from quantization-aware training; return nothing when it is right.

    Args:
        content: The bytes of a `.tflite` file.
        granularity: "per-tensor" or "per-channel", of the convolutions' kernels.
        io: Type that inputs and outputs must have.

    Raises:
        UnusableInput: Naming the first layer that is not as asked, and why.

    Introduced in notebook 05.
    """
    model = reading.parse(content)
    remedy = "prepare the model with qat.prepare"
    for operator, kernel in reading.weights(model):
        if kernel.dtype != "int8":
            raise UnusableInput(
                f"layer {_layer(kernel)}: its {operator.name} stayed in "
                f"{kernel.dtype}, because its kernel, input or result has no fake "
                f"quantization, or batch normalization is not folded; {remedy}"
            )
        if granularity == "per-tensor" and len(kernel.scales) > 1:
            raise UnusableInput(
                f"layer {_layer(kernel)}: its kernel has {len(kernel.scales)} scales, "
                "because it was trained per channel or without fake quantization, and "
                f"the converter does not merge them; {remedy}"
            )
    for operator in model.operators:
        tensors = model.tensors_of(operator)
        moves = operator.name in ("QUANTIZE", "DEQUANTIZE")
        if not moves and any(tensor.is_float for tensor in tensors):
            raise UnusableInput(
                f"layer {_layer(model.outputs_of(operator)[0])}: its {operator.name} "
                "stayed in float, because its input or its result has no fake "
                f"quantization; {remedy}"
            )
    conversion.verify_full_integer(content, granularity=granularity, io=io)


def to_keras3(student: Any, model: Any) -> Any:
    """Return a Keras 3 model with the student's weights, rounded to the int8 grid.

    Args:
        student: What `prepare` returned, trained or not.
        model: The model that it was prepared from.

    Raises:
        UnusableInput: When the model has a Rescaling layer, which became a convolution
            and was trained as one.

    Introduced in notebook 05.
    """
    tf_keras = require_keras2()
    if isinstance(model, tf_keras.Model):
        model = from_keras2(model)
    folded = folding.fold(model)
    for layer in student.layers:
        if not getattr(layer, "_weight_vars", None):
            continue
        inner, ((kernel, quantizer, variables),) = layer.layer, layer._weight_vars
        if not folded.get_layer(inner.name).weights:
            raise UnusableInput(
                f"layer {inner.name} became a convolution that was trained: expected "
                "no Rescaling; leave it out and normalise the inputs"
            )
        rounded = quantizer(kernel, False, weights=variables)
        folded.get_layer(inner.name).set_weights([rounded.numpy(), inner.bias.numpy()])
    return folded


# --------------------------------------------------------- Keras 2 and tfmot


def require_keras2() -> Any:
    """Return the module `tf_keras`, or say in one line what is missing.

    `tf.keras` stays what it is: Keras 3, or Keras 2 where TF_USE_LEGACY_KERAS=1 was set
    before TensorFlow was imported.

    Raises:
        UnusableInput: When it cannot be imported.

    Introduced in notebook 05.
    """
    with quiet(), _needed("tf_keras", "tf-keras"):
        import tensorflow as tf

        # tf.keras becomes Keras 2 or 3 when it is first used. That has to happen
        # before tfmot sets the variable.
        tf.keras.Model  # noqa: B018
        import tf_keras
    return tf_keras


def require_tfmot() -> Any:
    """Return the module `tensorflow_model_optimization`, for models of `tf_keras`.

    Imported plainly, it sets TF_USE_LEGACY_KERAS and thereby turns `tf.keras` into
    Keras 2 where nobody used it before. Imported here, it does neither.

    Raises:
        UnusableInput: When it, or `tf_keras`, cannot be imported.

    Introduced in notebook 05.
    """
    require_keras2()
    name = "tensorflow_model_optimization"
    with quiet(), _unchanged(_VARIABLE), _needed(name, name.replace("_", "-")):
        import tensorflow_model_optimization
    return tensorflow_model_optimization


@cache
def _quantization() -> SimpleNamespace:
    """Return tfmot's wrapper and, made from its classes, a `QuantizeConfig`."""
    import tensorflow as tf

    tfmot = require_tfmot().quantization.keras

    class Kernel(tfmot.quantizers.LastValueQuantizer):
        """The range that a kernel has now."""

        def __init__(self, kernel: np.ndarray, *, per_axis: bool, depthwise: bool):
            super().__init__(8, per_axis=per_axis, symmetric=True, narrow_range=True)
            self.start, self.depthwise = self._laid_out(kernel, depthwise), depthwise

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            made = super().build(self.start.shape, name, layer)
            axes = tuple(range(self.start.ndim - 1)) if self.per_axis else None
            most = np.abs(self.start).max(axes)
            made["min_var"].assign(-most)
            made["max_var"].assign(most)
            return made

        def __call__(
            self, inputs: Any, training: bool, weights: dict[str, Any], **more: Any
        ) -> Any:
            kernel = self._laid_out(inputs, self.depthwise)
            rounded = super().__call__(kernel, training, weights, **more)
            return tf.reshape(rounded, inputs.shape)

        @staticmethod
        def _laid_out(kernel: Any, depthwise: bool) -> Any:
            """Return a kernel with its output channels last, as the file has them."""
            if not depthwise:
                return kernel
            height, width, channels, multiplier = kernel.shape
            shape = (1, height, width, channels * multiplier)
            if isinstance(kernel, np.ndarray):
                return kernel.reshape(shape)
            return tf.reshape(kernel, shape)

    class Activation(tfmot.quantizers.MovingAverageQuantizer):
        """A range that was measured; training would move it back to the extremes."""

        def __init__(self, low: float, high: float):
            super().__init__(8, per_axis=False, symmetric=False, narrow_range=False)
            self.start = (low, high)

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            made = super().build(tensor_shape, name, layer)
            made["min_var"].assign(self.start[0])
            made["max_var"].assign(self.start[1])
            return made

        def __call__(
            self, inputs: Any, training: bool, weights: dict[str, Any], **more: Any
        ) -> Any:
            return super().__call__(inputs, False, weights, **more)

    class Config(tfmot.QuantizeConfig):
        """How a layer's kernel and its result, after the activation, are rounded."""

        def __init__(self, *, kernel: str | None, per_axis: bool, result: Any):
            self.kernel, self.per_axis, self.result = kernel, per_axis, result

        def get_weights_and_quantizers(self, layer: Any) -> list:
            if self.kernel is None:
                return []
            kernel = getattr(layer, self.kernel)
            quantizer = Kernel(
                kernel.numpy(),
                per_axis=self.per_axis,
                depthwise=self.kernel == "depthwise_kernel",
            )
            return [(kernel, quantizer)]

        def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
            for weight in quantize_weights:
                setattr(layer, self.kernel, weight)

        # tfmot rounds some activations itself, but not ReLU6. As a layer's output,
        # every one is rounded alike.
        def get_activations_and_quantizers(self, layer: Any) -> list:
            return []

        def set_quantize_activations(
            self, layer: Any, quantize_activations: list
        ) -> None:
            pass

        def get_output_quantizers(self, layer: Any) -> list:
            return [] if self.result is None else [self.result]

        def get_config(self) -> dict[str, Any]:
            names = ("kernel", "per_axis", "result")
            return {name: getattr(self, name) for name in names}

    return SimpleNamespace(
        Activation=Activation,
        Config=Config,
        Fixed=partial(tfmot.quantizers.FixedQuantizer, 8, narrow_range=False),
        Wrapper=tfmot.QuantizeWrapperV2,
    )


@contextmanager
def _needed(module: str, package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UnusableInput(
            f"{module} cannot be imported ({error}): quantization-aware training needs "
            f"it; run `pip install {package}`"
        ) from error


@contextmanager
def _unchanged(variable: str) -> Iterator[None]:
    """Give an environment variable its old value back."""
    old = os.environ.get(variable)
    try:
        yield
    finally:
        if old is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = old


def _as_keras3(config: Any) -> Any:
    """Rewrite a configuration of Keras 2 where Keras 3 no longer reads it."""
    if isinstance(config, list | tuple):
        return type(config)(_as_keras3(value) for value in config)
    if not isinstance(config, dict):
        return config
    config = {key: _as_keras3(value) for key, value in config.items()}
    settings = config.get("config", {})
    if config.get("class_name") == "BatchNormalization":
        axis = settings["axis"]
        settings["axis"] = axis[0] if isinstance(axis, list | tuple) else axis
    if config.get("class_name") == "DepthwiseConv2D":
        settings.pop("groups", None)
    return config


# ------------------------------------------------------------- the student


def _checked(inputs: np.ndarray, model: Any, *, mean: float, std: float) -> np.ndarray:
    """Return inputs as float32, or refuse what the model does not take."""
    if len(model.inputs) != 1:
        raise UnusableInput(
            f"the model has {len(model.inputs)} inputs: expected one image"
        )
    if np.ndim(mean) or np.ndim(std):
        raise UnusableInput(
            "mean and std: expected one number each, which the input's scale holds; "
            "put three into the model, as its first layer"
        )
    inputs = np.asarray(inputs, np.float32)
    shape = tuple(model.inputs[0].shape[1:])
    if not len(inputs) or inputs.shape[1:] != shape:
        raise UnusableInput(
            f"inputs have shape {inputs.shape}: expected one or more of {shape}, as "
            "the model takes them"
        )
    low, high = calibration.input_range(mean=mean, std=std)
    reach = float(inputs.min()), float(inputs.max())
    slack = (high - low) / 255
    outside = reach[0] < low - slack or reach[1] > high + slack
    if outside or reach[1] - reach[0] < (high - low) / 10:
        raise UnusableInput(
            f"inputs reach {reach[0]:.4g}..{reach[1]:.4g}, but mean {mean:g} and std "
            f"{std:g} make pixels {low:.4g}..{high:.4g}: normalise the inputs, and "
            "give the mean and std that the model was trained with"
        )
    return inputs


def _nodes(folded: Any) -> Iterator[_Node]:
    """Yield the layers of a folded model as the student has them."""
    import keras

    for call in folding.calls(folded):
        layer = call.layer
        node = _Node(layer.name, call.kind, {}, call.inputs, call.outputs[0])
        if call.kind == "InputLayer":
            shape = call.node.output_tensors[0].shape
            yield replace(node, settings={"batch_shape": shape})
            continue
        config = layer.get_config() if isinstance(layer, keras.layers.Layer) else {}
        if config.get("data_format") == "channels_first":
            raise UnusableInput(
                f"layer {layer.name} is channels_first: expected channels_last"
            )
        if call.kind == "Rescaling":
            yield _rescaling(call)
            continue
        tensors = [tensor.shape for tensor in call.node.input_tensors]
        joins = call.kind in ("Add", "Concatenate", "Multiply", "Subtract")
        if call.kind not in _SETTINGS or (joins and len(tensors) < 2):
            raise UnusableInput(
                f"layer {layer.name} is a {call.kind}, for which there is no fake "
                f"quantization: expected {', '.join(sorted(_SETTINGS))} or Rescaling"
            )
        settings = {k: config[k] for k in _SETTINGS[call.kind] if k in config}
        if call.kind in folding.WEIGHTED:
            weights = layer.get_weights()
            yield from _weighted(
                replace(node, settings=settings, weights=weights),
                layer.activation.__name__,
            )
        elif call.kind == "Activation":
            yield from _activation(node, layer.activation.__name__)
        else:
            yield replace(node, settings=settings)


def _weighted(node: _Node, activation: str) -> Iterator[_Node]:
    """Yield a layer with ReLU inside, or any other activation behind it."""
    if activation in ("linear", *_RELUS):
        yield replace(node, settings=node.settings | {"activation": activation})
        return
    key = (node.output, "before")
    yield replace(node, output=key)
    behind = _Node(f"{node.name}_{activation}", "Activation", {}, (key,), node.output)
    yield from _activation(behind, activation)


def _activation(node: _Node, name: str) -> Iterator[_Node]:
    """Yield an activation as operators of a `.tflite` file."""
    if name == "linear":
        name = "identity"
    if name in ("silu", "swish"):
        gate = (node.output, "gate")
        settings = {"activation": "sigmoid"}
        yield _Node(f"{node.name}_gate", "Activation", settings, node.inputs, gate)
        yield _Node(node.name, "Multiply", {}, (*node.inputs, gate), node.output)
    elif name in (*_RELUS, *_FIXED_SCALE):
        yield replace(node, kind="Activation", settings={"activation": name})
    else:
        raise UnusableInput(
            f"layer {node.name} has the activation {name}, for which there is no fake "
            f"quantization: expected silu, {', '.join((*_RELUS, *_FIXED_SCALE))}"
        )


def _rescaling(call: folding.Call) -> _Node:
    """Return `Rescaling` as a 1×1 depthwise convolution.

    On pixels it changes no integer: the result's scale takes it all.
    """
    channels = call.node.input_tensors[0].shape[-1]
    scale, offset = (
        np.broadcast_to(np.float32(value), channels)
        for value in (call.layer.scale, call.layer.offset)
    )
    return _Node(
        call.layer.name,
        "DepthwiseConv2D",
        {"kernel_size": 1, "activation": "linear"},
        call.inputs,
        call.outputs[0],
        [scale.reshape(1, 1, channels, 1), np.array(offset)],
    )


def _quantized(nodes: list[_Node], outputs: list[Any]) -> set[_Node]:
    """Return the layers whose result gets a scale of its own."""
    readers: dict[Any, list[_Node]] = {}
    for node in nodes:
        for key in node.inputs:
            readers.setdefault(key, []).append(node)

    def has_own_scale(node: _Node) -> bool:
        if node.kind in ("InputLayer", *_SAME_SCALE):
            return False
        if node.activation in _FIXED_SCALE:
            return False
        following = readers.get(node.output, [])
        if len(following) != 1 or node.output in outputs:
            return True
        (reader,) = following
        # A concatenation has one scale for what it takes and gives: given here, the
        # converter passes it on and inserts no operator.
        if reader.kind == "Concatenate":
            return False
        return node.kind not in _TAKE_RELU or reader.activation not in _RELUS

    return {node for node in nodes if has_own_scale(node)}


def _assemble(
    nodes: list[_Node],
    outputs: list[Any],
    *,
    name: str,
    wrap: Callable[[_Node, Any], Any] = lambda node, layer: layer,
) -> Any:
    """Build a `tf_keras` model; `wrap` may put a layer into another one."""
    tf_keras = require_keras2()
    tensors: dict[Any, Any] = {}
    entries = []
    for node in nodes:
        if node.kind == "InputLayer":
            entry = tf_keras.Input(
                batch_shape=node.settings["batch_shape"], name=node.name
            )
            entries.append(entry)
            layer = tf_keras.layers.Activation("linear", name=f"{node.name}_pixels")
            tensors[node.output] = wrap(node, layer)(entry)
            continue
        layer = getattr(tf_keras.layers, node.kind)(name=node.name, **node.settings)
        taken = [tensors[key] for key in node.inputs]
        taken = taken[0] if len(taken) == 1 else taken
        if node.weights:
            layer.build(taken.shape)
            layer.set_weights(node.weights)
        tensors[node.output] = wrap(node, layer)(taken)
    results = [tensors[key] for key in outputs]
    return tf_keras.Model(
        entries[0], results[0] if len(results) == 1 else results, name=name
    )


def _ranges(
    model: Any, layers: list[str], inputs: np.ndarray, batch_size: int = 16
) -> dict[str, tuple[float, float]]:
    """Return the range of each layer's result that 256 steps serve best.

    From the smallest to the largest value is not best: a few values far out make the
    steps coarse for all. Of the ranges between that and a quarter of it, each result
    gets the one with the least squared error.

    Source: Nagel and others, "A White Paper on Neural Network Quantization", 2021,
    section 3.1, "MSE".
    """
    results = [model.get_layer(name).output for name in layers]
    probe = type(model)(model.inputs, results)
    extremes, samples = [], [[] for _ in layers]
    batches = math.ceil(len(inputs) / batch_size)
    for start in range(0, len(inputs), batch_size):
        found = probe(inputs[start : start + batch_size], training=False)
        values = [np.ravel(some) for some in _listed(found)]
        extremes.append([(some.min(), some.max()) for some in values])
        for kept, some in zip(samples, values, strict=True):
            kept.append(some[:: max(1, some.size * batches // _SAMPLES)])
    low, high = np.min(extremes, axis=0)[:, 0], np.max(extremes, axis=0)[:, 1]
    # Integers must be able to say 0, and a range must have a length.
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    high = np.maximum(high, low + 1e-6)
    return {
        name: _least_error(np.concatenate(kept), float(least), float(most))
        for name, kept, least, most in zip(layers, samples, low, high, strict=True)
    }


def _least_error(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the part of a range in which rounding to 256 steps errs least."""
    best, smallest = (low, high), math.inf
    for share in np.linspace(1, 0.25, 16).tolist():
        scale = share * (high - low) / 255
        zero = round(-share * low / scale)
        steps = np.clip(np.rint(values / scale), -zero, 255 - zero)
        error = float(np.mean((steps * scale - values) ** 2))
        if error < smallest:
            best, smallest = (share * low, share * high), error
    return best


def _kernel_name(node: _Node) -> str:
    return "depthwise_kernel" if node.kind == "DepthwiseConv2D" else "kernel"


# ---------------------------------------------------------------- training


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _logits(student: Any, index: int) -> Any | None:
    """Return what enters the softmax of an output; None where there is none."""
    tensor = student.outputs[index]
    layer = tensor.node.layer
    function = getattr(getattr(layer, "activation", None), "__name__", "")
    softmax = type(layer).__name__ == "Softmax" or function == "softmax"
    return layer.input if softmax else None


def _divergence(temperature: float) -> Any:
    """Return the loss of logits against the teacher's probabilities."""
    import tensorflow as tf

    def loss(probabilities: Any, logits: Any) -> Any:
        wanted = tf.nn.log_softmax(
            tf.math.log(tf.maximum(probabilities, 1e-12)) / temperature
        )
        given = tf.nn.log_softmax(logits / temperature)
        # The gradient falls with the square of the temperature.
        return temperature**2 * tf.reduce_sum(tf.exp(wanted) * (wanted - given), -1)

    return loss


def _mean_squared(wanted: Any, given: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(tf.square(wanted - given), -1)


# ------------------------------------------------------------- postcondition


def _layer(tensor: reading.Tensor) -> str:
    """Name the layer that a tensor comes from, as far as its name tells.

    The converter's names are "model/quant_layer/operation", joined by semicolons where
    it folded several layers into one.
    """
    paths = [path.split("/") for path in tensor.name.split(";")]
    path = next((path for path in paths if path[-1] in _OPERATIONS), paths[0])
    return path[1].removeprefix("quant_") if len(path) > 2 else tensor.name
