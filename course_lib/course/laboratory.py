"""The collapse laboratory: plant into a healthy model what one scale cannot bear.

Both plants leave a float model that works. They want a Keras 3 model in which
convolution, batch normalization and ReLU follow one another.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quantization import folding

import numpy as np

# What a killed channel is before its ReLU.
_KILLED = -1.0


@dataclass(frozen=True)
class _Place:
    """A ReLU that one convolution reads.

    Attributes:
        before: The batch normalization in front of the ReLU.
        kind: Class of the convolution.
        reader: The convolution.
        after: The batch normalization that follows it.
    """

    before: Any
    kind: str
    reader: Any
    after: Any


def plant_dead_channels(model: Any, *, factor: float = 400.0, seed: int = 0) -> Any:
    """Kill a channel in front of each depthwise convolution, and make it loud there.

    The channel's batch normalization gets gamma 0 and beta −1: after ReLU it is 0 for
    every image. The weights that read it no longer mean anything, and become `factor`
    times the largest of their layer. The next batch normalization takes the loss of the
    channel's mean into its own, as it would in training.

    A model without depthwise convolutions gets it in front of the others; there the
    weights of one output channel become loud.

    Args:
        model: Keras 3 model; it is not changed.
        factor: Loud weights over the largest weight of their layer. They multiply 0:
            the float model answers the same whatever it is.
        seed: Chooses the channels, among the half with the smaller gamma.

    Returns:
        New model, float, somewhat worse for the channels it lost.

    Raises:
        UnusableInput: When the model has no place for it.

    Introduced in notebook 07.
    """
    model, rng = _copy(model), np.random.default_rng(seed)
    places = _places(model)
    preferred = [place for place in places if place.kind == "DepthwiseConv2D"]
    for place in preferred or places:
        gamma, beta, *statistics = place.before.get_weights()
        gamma_after, beta_after, mean, variance = place.after.get_weights()
        kernel, *bias = place.reader.get_weights()
        # A depthwise convolution loses the channel on its other side too.
        depthwise = place.kind == "DepthwiseConv2D"
        size = gamma_after[:: kernel.shape[3]] if depthwise else gamma
        channel = rng.choice(np.argsort(np.abs(size))[: len(size) // 2])
        lost = kernel[:, :, channel].sum((0, 1)) * _mean(gamma[channel], beta[channel])
        loud = factor * np.abs(kernel).max()
        if depthwise:
            width = kernel.shape[3]
            outputs = slice(channel * width, (channel + 1) * width)
            kernel[:, :, channel] = loud
        else:
            outputs = slice(None)
            kernel[:, :, channel, rng.integers(kernel.shape[3])] = loud
        place.reader.set_weights([kernel, *bias])
        gamma[channel], beta[channel] = 0, _KILLED
        place.before.set_weights([gamma, beta, *statistics])
        mean[outputs] -= lost
        place.after.set_weights([gamma_after, beta_after, mean, variance])
    return model


def plant_unequal_ranges(model: Any, *, spread: float = 5.0, seed: int = 0) -> Any:
    """Multiply channels by very different factors, and divide where they are read.

    The logarithms of the factors are drawn evenly from −`spread` to `spread`. ReLU
    passes them on, so that the function stays the same, while the weights on both sides
    and the activations between them get unequal ranges.

    Args:
        model: Keras 3 model; it is not changed.
        spread: Largest logarithm of a factor.
        seed: Chooses the factors.

    Returns:
        New model, float, with the same function.

    Raises:
        UnusableInput: When the model has no place for it.

    Source: Nagel and others, "Data-free quantization through weight equalization and
    bias correction", 2019, section 4.1: this is its equalization, the other way round.

    Introduced in notebook 07.
    """
    model, rng = _copy(model), np.random.default_rng(seed)
    for place in _places(model):
        gamma, beta, *statistics = place.before.get_weights()
        factors = np.exp(rng.uniform(-spread, spread, len(gamma)))
        place.before.set_weights([gamma * factors, beta * factors, *statistics])
        kernel, *bias = place.reader.get_weights()
        place.reader.set_weights([kernel / factors[:, None], *bias])
    return model


def _mean(gamma: float, beta: float) -> float:
    """Return the mean after ReLU of a channel that is normal, with mean beta."""
    steps = beta / abs(gamma)
    density = math.exp(-(steps**2) / 2) / math.sqrt(2 * math.pi)
    return abs(gamma) * density + beta * (1 + math.erf(steps / math.sqrt(2))) / 2


def _copy(model: Any) -> Any:
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def _places(model: Any) -> list[_Place]:
    """Return the places for a plant, in order; at least one."""
    calls = folding.calls(model)
    made_by = {key: call for call in calls for key in call.outputs}
    read_by = {key: call for call in calls for key in call.inputs}
    uses = Counter(key for call in calls for key in call.inputs)
    uses.update(folding.output_keys(model))
    places = []
    for reader in calls:
        if reader.kind not in folding.CONVOLUTIONS:
            continue
        relu = made_by[reader.inputs[0]]
        if folding.rectifier(relu) != "relu":
            continue
        before, after = made_by[relu.inputs[0]], read_by.get(reader.outputs[0])
        alone = all(uses[call.outputs[0]] == 1 for call in (before, relu, reader))
        if alone and before.kind == after.kind == "BatchNormalization":
            places.append(_Place(before.layer, reader.kind, reader.layer, after.layer))
    if not places:
        raise UnusableInput(
            f"{model.name}: nowhere stands convolution, batch normalization, ReLU, "
            "convolution, batch normalization: expected a model that is built so"
        )
    return places
