"""Bring a Keras model into the form in which a `.tflite` file holds it.

The converter folds batch normalization into the convolution in front of it, and ReLU
into the operator. Whoever wants to choose weights or scales has to see the model after
that step, so it is done here, in Keras.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quiet import quiet

import numpy as np

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
# Layers whose kernel is a weight tensor of the file.
WEIGHTED = (*CONVOLUTIONS, "Dense")
# Layers that do nothing outside training.
_ONLY_IN_TRAINING = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGrayscale",
    "RandomHue",
    "RandomRotation",
    "RandomSaturation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)


@dataclass(frozen=True)
class Change:
    """What a cure did to one layer.

    Attributes:
        layer: Name of the layer.
        what: A few words, with the numbers.
    """

    layer: str
    what: str


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer in a model.

    Attributes:
        layer: The Keras layer or operation.
        node: Keras's own record of the call.
        inputs: Keys of the tensors that enter.
        outputs: Keys of the tensors that leave.
    """

    layer: Any
    node: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """Name of the layer's class."""
        return type(self.layer).__name__


def calls(model: Any) -> list[Call]:
    """Return the calls of a Keras 3 model's layers in the order of execution.

    Nested models are unrolled. A key stands for one tensor; inputs of the model are
    calls of `InputLayer`.
    """
    alias: dict[int, int] = {}
    return list(_unrolled(_functional(model), alias))


def output_keys(model: Any) -> list[int]:
    """Return the keys of a model's outputs, as `calls` names tensors."""
    alias: dict[int, int] = {}
    model = _functional(model)
    list(_unrolled(model, alias))
    return [alias.get(id(tensor), id(tensor)) for tensor in model.outputs]


def fold(model: Any) -> Any:
    """Return a model with the same function, in the form of a `.tflite` file.

    Nested models are unrolled. Batch normalization is folded into the convolution or
    dense layer in front of it; where there is none, it becomes a 1×1 depthwise
    convolution. ReLU and ReLU6 become the activation of the layer in front of them.
    Layers that only act in training are left out. Layers keep their names.

    Args:
        model: Sequential or functional Keras 3 model; it is not changed.

    Raises:
        UnusableInput: When the model is subclassed, of Keras 2, or uses one layer with
            weights several times.

    Source: Jacob and others, "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2.

    Introduced in notebook 05.
    """
    with quiet():
        import keras

        return _Folding(model, keras).run()


class _Folding:
    """The state of one rebuilding."""

    def __init__(self, model: Any, keras: Any):
        self.model, self.keras = model, keras
        self.calls = calls(model)
        self.outputs = output_keys(model)
        self.readers: dict[int, list[Call]] = {}
        for call in self.calls:
            for key in call.inputs:
                self.readers.setdefault(key, []).append(call)
        uses = Counter(id(call.layer) for call in self.calls if _weights(call.layer))
        for call in self.calls:
            if uses[id(call.layer)] > 1:
                raise UnusableInput(
                    f"layer {call.layer.name} is used {uses[id(call.layer)]} times: "
                    "expected one use of each layer with weights; give each use a "
                    "layer of its own"
                )
        self.taken: set[str] = set()

    def run(self) -> Any:
        new: dict[int, Any] = {}
        done: set[int] = set()
        for call in self.calls:
            if id(call) in done:
                continue
            if call.kind == "InputLayer":
                old = call.node.output_tensors[0]
                tensor = self.keras.Input(
                    batch_shape=old.shape, dtype=old.dtype, name=call.layer.name
                )
                new[call.outputs[0]] = tensor
                continue
            entering = [new[key] for key in call.inputs]
            if call.kind in _ONLY_IN_TRAINING:
                new[call.outputs[0]] = entering[0]
                continue
            if call.kind not in (*WEIGHTED, "BatchNormalization"):
                self._copy(call, new)
                continue
            last = call
            if call.kind == "BatchNormalization":
                layer, weights = self._as_convolution(call)
                if layer is None:
                    self._copy(call, new)
                    continue
            else:
                layer, weights = self._with_bias(call)
                follower = self._only_reader(last)
                if (
                    follower is not None
                    and follower.kind == "BatchNormalization"
                    and _channels_last(follower)
                    and layer["activation"] == "linear"
                ):
                    weights = _scaled(call, weights, *_factors(follower.layer))
                    last = follower
                    done.add(id(last))
            follower = self._only_reader(last)
            while follower is not None and follower.kind in _ONLY_IN_TRAINING:
                done.add(id(follower))
                last, follower = follower, self._only_reader(follower)
            activation = follower and rectifier(follower)
            if activation and layer["activation"] == "linear":
                layer["activation"] = activation
                last = follower
                done.add(id(last))
            made = self._make(layer)
            new[last.outputs[0]] = made(entering[0])
            made.set_weights([value.astype(np.float32) for value in weights])
        inputs = [
            new[call.outputs[0]] for call in self.calls if call.kind == "InputLayer"
        ]
        outputs = [new[key] for key in self.outputs]
        return self.keras.Model(
            inputs[0] if len(inputs) == 1 else inputs,
            outputs[0] if len(outputs) == 1 else outputs,
            name=self.model.name,
        )

    def _only_reader(self, call: Call) -> Call | None:
        """Return the one call that reads a result which nobody else needs."""
        readers = self.readers.get(call.outputs[0], [])
        if len(readers) != 1 or call.outputs[0] in self.outputs:
            return None
        return readers[0]

    def _with_bias(self, call: Call) -> tuple[dict, list[np.ndarray]]:
        """Return the class and settings of a layer, and its kernel and bias."""
        layer = call.layer
        config = layer.get_config() | {"use_bias": True, "class": call.kind}
        config["activation"] = self.keras.activations.serialize(layer.activation)
        weights = [np.asarray(value, np.float64) for value in layer.get_weights()]
        if len(weights) == 1:
            weights.append(np.zeros(call.node.output_tensors[0].shape[-1]))
        return config, weights

    def _as_convolution(self, call: Call) -> tuple[dict | None, list[np.ndarray]]:
        """Return batch normalization as a 1×1 depthwise convolution, if it can be."""
        if len(call.node.output_tensors[0].shape) != 4 or not _channels_last(call):
            return None, []
        factor, shift = _factors(call.layer)
        config = {
            "class": "DepthwiseConv2D",
            "name": call.layer.name,
            "kernel_size": 1,
            "activation": "linear",
        }
        return config, [factor.reshape(1, 1, -1, 1), shift]

    def _make(self, config: dict) -> Any:
        kind = getattr(self.keras.layers, config.pop("class"))
        return kind.from_config(config | {"name": self._name(config["name"])})

    def _copy(self, call: Call, new: dict[int, Any]) -> None:
        """Call a fresh copy of a layer or operation."""
        layer = call.layer
        made = layer.__class__.from_config(
            layer.get_config() | {"name": self._name(layer.name)}
        )
        known = dict(
            zip(
                map(id, call.node.input_tensors), map(new.get, call.inputs), strict=True
            )
        )
        arguments, keywords = call.node.arguments.fill_in(known)
        keywords.pop("training", None)
        results = made(*arguments, **keywords)
        if _weights(layer):
            made.set_weights(layer.get_weights())
        results = results if isinstance(results, (list, tuple)) else [results]
        new.update(zip(call.outputs, results, strict=True))

    def _name(self, name: str) -> str:
        """Return a name that is still free: nested models may repeat names."""
        free, number = name, 1
        while free in self.taken:
            number += 1
            free = f"{name}_{number}"
        self.taken.add(free)
        return free


def _functional(model: Any) -> Any:
    """Return the functional model that a Keras 3 model is, or refuse it."""
    import keras

    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__.split('.')[0]}.{type(model).__name__}"
        raise UnusableInput(
            f"a {kind} was given: expected a Keras 3 model; carry a model of Keras 2 "
            "over with qat.from_keras2"
        )
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise UnusableInput(
                "the Keras model has no declared input: begin it with "
                "keras.Input((height, width, 3))"
            )
        model = model._functional
    if not hasattr(model, "_nodes_by_depth"):
        raise UnusableInput(
            f"{type(model).__name__} is a subclassed model: expected a Sequential or "
            "functional Keras model, whose layers can be seen"
        )
    return model


def _unrolled(model: Any, alias: dict[int, int]) -> Iterator[Call]:
    """Yield calls; `alias` maps a tensor to the key under which it is known."""
    import keras

    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            keys = [tuple(alias.get(id(t), id(t)) for t in node.input_tensors)]
            if isinstance(node.operation, keras.Model):
                inner = _functional(node.operation)
                _refuse_second_use(node.operation, alias, inner)
                for own, key in zip(inner.inputs, keys[0], strict=True):
                    alias[id(own)] = key
                for call in _unrolled(inner, alias):
                    if call.kind != "InputLayer":
                        yield call
                for own, outer in zip(inner.outputs, node.output_tensors, strict=True):
                    alias[id(outer)] = alias.get(id(own), id(own))
                continue
            leaving = tuple(alias.get(id(t), id(t)) for t in node.output_tensors)
            yield Call(node.operation, node, keys[0], leaving)


def _refuse_second_use(nested: Any, alias: dict[int, int], inner: Any) -> None:
    if any(id(tensor) in alias for tensor in inner.inputs):
        raise UnusableInput(
            f"the nested model {nested.name} is used twice: expected one use of each "
            "layer with weights; give each use a layer of its own"
        )


def _weights(layer: Any) -> list:
    """Return a layer's variables; an operation, such as `x + 1`, has none."""
    return getattr(layer, "weights", [])


def _channels_last(call: Call) -> bool:
    axis = call.layer.axis
    axis = axis[0] if isinstance(axis, (list, tuple)) else axis
    return axis in (-1, len(call.node.output_tensors[0].shape) - 1)


def _factors(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return batch normalization's factor and shift, float64 [channels]."""
    mean, variance = (
        np.asarray(value, np.float64)
        for value in (norm.moving_mean, norm.moving_variance)
    )
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else 1.0
    beta = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


def _scaled(
    call: Call, weights: list[np.ndarray], factor: np.ndarray, shift: np.ndarray
) -> list[np.ndarray]:
    """Multiply a kernel's output channels; a depthwise kernel ends [in, multiplier]."""
    kernel, bias = weights
    if call.kind == "DepthwiseConv2D":
        kernel = kernel * factor.reshape(kernel.shape[2:])
    else:
        kernel = kernel * factor
    return [kernel, bias * factor + shift]


def rectifier(call: Call) -> str | None:
    """Return "relu" or "relu6" for a layer that is one of them, which a file fuses."""
    layer = call.layer
    if call.kind == "ReLU":
        plain = layer.negative_slope == 0 and layer.threshold == 0
        bound = layer.max_value
        if plain and bound in (None, 6):
            return "relu" if bound is None else "relu6"
    if call.kind == "Activation":
        name = getattr(layer.activation, "__name__", "")
        return name if name in ("relu", "relu6") else None
    return None
