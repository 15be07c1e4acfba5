"""Two cures for one scale on weights of very different size.

Both look at the model after folding (`folding.fold`), change weights and biases only,
and keep what the float model answers: dead channels are removed, and ranges that one
layer has too large and the next too small are evened out.
"""

from dataclasses import dataclass
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quantization import folding
from course_lib.quantization.folding import Call, Change
from course_lib.quiet import quiet

import numpy as np

# A channel counts as always clipped when its nearest value over all inputs is still
# this many of its standard deviations behind the clip. Of EfficientNet-Lite0's channels
# under ReLU6, 206 are 0 on 100 calibration images, and 78 of these are not on 300
# others; with this margin it is 31 of 158. Images prove little: see NARROWER.
MARGIN = 4.0
# Clearing what is constant on the inputs only must bring the largest weight below this
# share of what it was; else it is not worth the risk.
NARROWER = 0.9
# Under ReLU6 a channel is rescaled only if it stays below this share of 6.
BELOW_CLIP = 0.9
# Ends of the activations under which a constant or a factor can be followed.
_CLIPS = {"linear": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
# Layers that work on each channel by itself and pass a positive factor on.
_PASSING = (
    *("AveragePooling2D", "MaxPooling2D", "GlobalAveragePooling2D"),
    *("GlobalMaxPooling2D", "ZeroPadding2D", "Cropping2D", "UpSampling2D"),
    *("Concatenate", "Flatten", "Identity", "ReLU"),
)
_ROUNDS = 100
# Factors nearer to 1 than this end the rounds; channels nearer than 5 % are not worth
# a change.
_SETTLED, _WORTH = 1e-3, 0.05
# Share of a channel's value, and of the median weight, that counts as nothing; share of
# the largest output that is float32's rounding.
_CONSTANT, _SAME = 1e-5, 1e-4
_BATCH = 16


def remove_dead_channels(
    model: Any, inputs: np.ndarray
) -> tuple[Any, tuple[Change, ...]]:
    """Set to 0 the weights that make or read a channel which is always the same.

    A channel that is 0 for every image leaves the weights that read it without
    meaning, and they may be hundreds of times larger than all others: with one scale,
    the others are rounded to 0. The same holds for a channel that is always the same
    number; that number goes into the bias of the next layer, unless padding with zeros
    is in the way.

    Two kinds of channels are found. Some are constant for every image, by the weights
    alone: all weights that make them multiply zeros or constants, or are 0. Others are
    only seen to be constant, clipped by their ReLU for all `inputs` with `MARGIN`
    standard deviations to spare. These are touched only where that brings a layer's
    largest weight below `NARROWER` of what it was.

    Args:
        model: Keras 3 model; it is not changed.
        inputs: Calibration inputs, float32 [N, H, W, C], as the model takes them.

    Returns:
        New model, folded, and one change for each layer and kind of channels; none
        when there was nothing to do.

    Raises:
        UnusableInput: When the model cannot be folded, or would answer differently.

    Introduced in notebook 07.
    """
    model = folding.fold(model)
    run = _observe(model, inputs)
    # Of each tensor and channel: the number that it always is, or NaN.
    proven: dict[int, np.ndarray] = {}
    seen: dict[int, np.ndarray] = {}
    changes = []
    for call in folding.calls(model):
        if call.kind not in folding.WEIGHTED:
            for constants in (proven, seen):
                constants.update(_passed(call, constants, run.shapes))
            continue
        layer = _Weights(call)
        (source,), (target,) = call.inputs, call.outputs
        proven[target] = layer.constant_outputs(proven[source])
        clipped = run.spreads[call.layer.name].constants(layer.clip, faint=layer.faint)
        seen[target] = np.where(
            np.isnan(clipped), layer.constant_outputs(seen[source]), clipped
        )
        for constants, sure in ((proven, True), (seen, False)):
            what = layer.clear(constants[source], constants[target], sure=sure)
            if what:
                changes.append(Change(call.layer.name, what))
        layer.write()
    return _checked(model, inputs, run.answers, changes)


def equalize(model: Any, inputs: np.ndarray) -> tuple[Any, tuple[Change, ...]]:
    """Even out the ranges of channels between each layer and those that read it.

    A channel is divided by a factor where it is made and multiplied by it where it is
    read: through ReLU, pooling, concatenation and flattening that changes nothing. The
    factor that makes both ranges equal is √(range made / range read). It is repeated
    over all layers until nothing moves.

    ReLU6 clips at 6 whatever the factor. Its channels are rescaled only if they stay
    below `BELOW_CLIP` of 6 for all `inputs`, before and after; it is never replaced. A
    channel that reaches an addition, an output or any other layer keeps its range.

    Args:
        model: Keras 3 model; it is not changed.
        inputs: Calibration inputs, float32 [N, H, W, C], as the model takes them.

    Returns:
        New model, folded, and one change for each layer whose channels were rescaled;
        none when there was nothing to do.

    Raises:
        UnusableInput: When the model cannot be folded, or would answer differently.

    Source: Nagel and others, "Data-free quantization through weight equalization and
    bias correction", 2019, section 4.1; the condition for ReLU6 is this course's.

    Introduced in notebook 07.
    """
    model = folding.fold(model)
    run = _observe(model, inputs)
    sites = _sites(model, run.spreads)
    for _ in range(_ROUNDS):
        if max((site.balance() for site in sites), default=0) < _SETTLED:
            break
    changes = [Change(site.made.name, what) for site in sites if (what := site.what)]
    if changes:
        for site in sites:
            for layer in (site.made, *(layer for layer, _ in site.read)):
                layer.write()
    return _checked(model, inputs, run.answers, changes)


class _Weights:
    """A folded layer's kernel and bias in float64, with views channel by channel.

    Attributes:
        kernel: As Keras has it.
        bias: float64 [outputs].
        by_input: The kernel as [inputs, taps, outputs for each input].
        by_output: The kernel as [outputs, taps, inputs for each output].
        clip: Lower and upper end of the activation; None when it is none of ReLU's.
    """

    def __init__(self, call: Call):
        self.layer, self.name = call.layer, call.layer.name
        kernel, bias = call.layer.get_weights()
        self.kernel, self.bias = kernel.astype(np.float64), bias.astype(np.float64)
        self.clip = _CLIPS.get(getattr(call.layer.activation, "__name__", ""))
        self.depthwise = call.kind == "DepthwiseConv2D"
        self.grouped = getattr(call.layer, "groups", 1) > 1
        taps = self.kernel.reshape(-1, *kernel.shape[-2:])
        self.padded = len(taps) > 1 and call.layer.padding != "valid"
        self.by_input = taps.transpose(1, 0, 2)
        if self.depthwise:
            taps = taps.reshape(len(taps), 1, -1)
        self.by_output = taps.transpose(2, 0, 1)

    @property
    def largest(self) -> float:
        """The largest weight without its sign, which sets the one scale."""
        return float(np.abs(self.kernel).max())

    @property
    def faint(self) -> np.ndarray:
        """Which outputs have weights near 0, compared with the others."""
        ranges = np.abs(self.by_output).max((1, 2))
        return ranges <= _CONSTANT * np.median(ranges)

    def write(self) -> None:
        """Put kernel and bias into the Keras layer."""
        self.layer.set_weights(
            [self.kernel.astype(np.float32), self.bias.astype(np.float32)]
        )

    def constant_outputs(self, inputs: np.ndarray) -> np.ndarray:
        """Return what each output channel always is; NaN where it varies.

        Args:
            inputs: The same of the input channels.
        """
        if self.clip is None or self.grouped:
            return np.full(len(self.by_output), np.nan)
        inputs = self._absorbable(inputs)
        varies = self._sum(np.isnan(inputs), self.by_input != 0) > 0
        total = self.bias + self._sum(np.nan_to_num(inputs), self.by_input)
        return np.where(varies, np.nan, np.clip(total, *self.clip))

    def clear(
        self, inputs: np.ndarray, outputs: np.ndarray, *, sure: bool
    ) -> str | None:
        """Set the weights of constant channels to 0, and keep the function by the bias.

        Args:
            inputs: What each input channel always is; NaN where it varies.
            outputs: The same of the output channels.
            sure: Whether this holds for every image. Else nothing is done unless it
                narrows the range.

        Returns:
            What was done; None if nothing.
        """
        inputs = self._absorbable(inputs)
        read = ~np.isnan(inputs) & self.by_input.any((1, 2))
        made = ~np.isnan(outputs) & self.by_output.any((1, 2))
        if not read.any() and not made.any():
            return None
        kernel, bias, largest = self.kernel.copy(), self.bias, self.largest
        self.bias = bias + self._sum(np.nan_to_num(inputs), self.by_input)
        self.by_input[read] = 0
        self.by_output[made] = 0
        self.bias[made] = outputs[made]
        if not sure and self.largest > NARROWER * largest:
            self.kernel[:], self.bias = kernel, bias
            return None
        why = "by the weights" if sure else "on the inputs"
        return (
            f"{read.sum()} of {len(read)} input and {made.sum()} of {len(made)} output "
            f"channels set to 0, constant {why}: largest weight {largest:.3g}, now "
            f"{self.largest:.3g}"
        )

    def _absorbable(self, inputs: np.ndarray) -> np.ndarray:
        """Count a constant as varying where padding with zeros changes it."""
        if self.grouped:
            return np.full(len(self.by_input), np.nan)
        return np.where((inputs != 0) & self.padded, np.nan, inputs)

    def _sum(self, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return inputs · weights for each output channel."""
        terms = (inputs[:, None, None] * weights).sum(1)
        return terms.ravel() if self.depthwise else terms.sum(0)


@dataclass(frozen=True, eq=False)
class _Spread:
    """What enters a layer's activation over all inputs, one number a channel."""

    low: np.ndarray
    high: np.ndarray
    std: np.ndarray

    def constants(
        self, clip: tuple[float, float] | None, *, faint: np.ndarray
    ) -> np.ndarray:
        """Return what each channel was all the time after its clip; NaN: it varied.

        Args:
            clip: Of the layer.
            faint: Which channels have weights near 0. Others that stand still read
                channels that are clipped, perhaps by less than the margin.
        """
        if clip is None:
            return np.full(len(self.low), np.nan)
        below = self.high + MARGIN * self.std < clip[0]
        above = self.low - MARGIN * self.std > clip[1]
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        still = faint & (self.high - self.low <= _CONSTANT * size)
        return np.where(
            below | above | still, np.clip((self.low + self.high) / 2, *clip), np.nan
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """What a folded model did with all inputs.

    Attributes:
        spreads: Of each layer with weights, by name.
        shapes: Of each tensor without the batch, by key.
        answers: The model's outputs.
    """

    spreads: dict[str, _Spread]
    shapes: dict[int, tuple[int, ...]]
    answers: list[np.ndarray]


class _Site:
    """The channels between one layer and all that read it.

    Attributes:
        made: The layer that makes them.
        read: Each layer that reads them, and which of the channels its inputs are, -1
            for those of other layers.
        factors: By what each channel was divided so far.
    """

    def __init__(
        self, made: _Weights, read: list[tuple[_Weights, np.ndarray]], high: np.ndarray
    ):
        self.made, self.read, self.high = made, read, high
        self.factors = np.ones(len(made.by_output))
        self.before = self._ranges()
        upper = made.clip[1]
        self.limit = BELOW_CLIP * upper
        self.free = (self.before > 0).all(0) & (high < self.limit)

    def balance(self) -> float:
        """Divide each channel so that both ranges agree; return the largest step."""
        made, read = self._ranges()
        factors = np.ones(len(self.factors))
        factors[self.free] = np.sqrt(made[self.free] / read[self.free])
        # No smaller than what keeps the channel below the clip.
        least = self.high / (self.factors * self.limit)
        factors[self.free] = np.maximum(factors, least)[self.free]
        self.factors *= factors
        self.made.by_output /= factors[:, None, None]
        self.made.bias /= factors
        for layer, origin in self.read:
            layer.by_input[origin >= 0] *= factors[origin[origin >= 0], None, None]
        return float(np.abs(np.log(factors)).max())

    @property
    def what(self) -> str | None:
        """What was done, in words; None if hardly anything."""
        moved = np.abs(np.log(self.factors)) > _WORTH
        if not moved.any():
            return None
        before, now = (
            [f"{_unevenness(ranges):.3g}" for ranges in both]
            for both in (self.before, self._ranges())
        )
        return (
            f"{moved.sum()} of {len(moved)} channels divided by "
            f"{self.factors.min():.3g} to {self.factors.max():.3g}: largest range over "
            f"median {before[0]}, now {now[0]}; where read {before[1]}, now {now[1]}"
        )

    def _ranges(self) -> np.ndarray:
        """Return each channel's largest weight where it is made and where read."""
        ranges = np.zeros((2, len(self.factors)))
        ranges[0] = np.abs(self.made.by_output).max((1, 2))
        for layer, origin in self.read:
            own = np.abs(layer.by_input).max((1, 2))
            np.maximum.at(ranges[1], origin[origin >= 0], own[origin >= 0])
        return ranges


def _unevenness(ranges: np.ndarray) -> float:
    """Return the largest range over the median of those that are not 0."""
    return float(ranges.max() / np.median(ranges[ranges > 0]))


def _sites(model: Any, spreads: dict[str, _Spread]) -> list[_Site]:
    """Return every place between layers where channels can be rescaled."""
    calls = folding.calls(model)
    layers = {id(c): _Weights(c) for c in calls if c.kind in folding.WEIGHTED}
    sites = []
    for call in calls:
        made = layers.get(id(call))
        if made is None or made.clip is None:
            continue
        reached = _readers(call.outputs[0], len(made.by_output), model, calls)
        read = [(layers[id(reader)], origin) for reader, origin in reached]
        if read and not any(layer.grouped for layer, _ in read):
            sites.append(_Site(made, read, spreads[made.name].high))
    return sites


def _readers(
    key: int, channels: int, model: Any, calls: list[Call]
) -> list[tuple[Call, np.ndarray]]:
    """Follow channels to the layers with weights that read them.

    Returns:
        Each reader, and of which channel each of its inputs comes, -1 for those of
        other layers. None at all when anything else needs the channels' size.
    """
    outputs, found = folding.output_keys(model), []
    waiting = [(key, np.arange(channels))]
    while waiting:
        key, origin = waiting.pop()
        if key in outputs:
            return []
        for call in calls:
            if key not in call.inputs:
                continue
            if call.kind in folding.WEIGHTED:
                found.append((call, origin))
            elif call.kind in _PASSING and _is_homogeneous(call):
                waiting.append((call.outputs[0], _through(call, key, origin)))
            else:
                return []
    return found


def _is_homogeneous(call: Call) -> bool:
    """Tell whether a factor of a channel comes out as it went in."""
    if call.kind == "ReLU":
        return call.layer.max_value is None and call.layer.threshold == 0
    if call.kind == "Concatenate":
        rank = len(call.node.output_tensors[0].shape)
        return call.layer.axis in (-1, rank - 1)
    return True


def _through(call: Call, key: int, origin: np.ndarray) -> np.ndarray:
    """Return of which channel each output of a passing layer comes."""
    if call.kind == "Concatenate":
        parts = zip(call.inputs, call.node.input_tensors, strict=True)
        return np.concatenate(
            [origin if k == key else np.full(t.shape[-1], -1) for k, t in parts]
        )
    return np.resize(origin, call.node.output_tensors[0].shape[-1])


def _observe(model: Any, inputs: np.ndarray) -> _Run:
    """Run a folded model and look at what enters each activation."""
    from keras import ops

    inputs = _fitting(model, inputs)
    calls, outputs = folding.calls(model), folding.output_keys(model)
    moments: dict[str, list[np.ndarray]] = {}
    answers = []
    for start in range(0, len(inputs), _BATCH):
        tensors: dict[int, Any] = {}
        for call in calls:
            if call.kind == "InputLayer":
                tensors[call.outputs[0]] = inputs[start : start + _BATCH]
            elif call.kind in folding.WEIGHTED:
                activation, call.layer.activation = call.layer.activation, None
                entering = _run(call, tensors)[call.outputs[0]]
                call.layer.activation = activation
                tensors[call.outputs[0]] = activation(entering)
                axes = tuple(range(len(entering.shape) - 1))
                of = (ops.min, ops.max, ops.mean, ops.var)
                rows = np.stack([np.asarray(f(entering, axis=axes)) for f in of])
                moments.setdefault(call.layer.name, []).append(rows)
            else:
                tensors.update(_run(call, tensors))
        answers.append([np.asarray(tensors[key]) for key in outputs])
    return _Run(
        {name: _joined(np.stack(part)) for name, part in moments.items()},
        {key: tuple(tensor.shape[1:]) for key, tensor in tensors.items()},
        [np.concatenate(of) for of in zip(*answers, strict=True)],
    )


def _joined(moments: np.ndarray) -> _Spread:
    """Join smallest, largest, mean and variance, [batches, 4, channels].

    The last batch may be shorter and still counts as much as the others.
    """
    low, high, mean, variance = moments.transpose(1, 0, 2).astype(np.float64)
    std = np.sqrt(variance.mean(0) + mean.var(0))
    return _Spread(low.min(0), high.max(0), std)


def _fitting(model: Any, inputs: np.ndarray) -> np.ndarray:
    """Return the inputs in float32, or refuse them."""
    inputs, shapes = np.asarray(inputs), [t.shape[1:] for t in model.inputs]
    fits = len(shapes) == 1 and len(inputs) and inputs.ndim == len(shapes[0]) + 1
    if not fits or any(
        size not in (None, given)
        for size, given in zip(shapes[0], inputs.shape[1:], strict=True)
    ):
        raise UnusableInput(
            f"inputs have shape {inputs.shape}: expected calibration inputs for "
            f"{' and '.join(f'[N, {str(shape)[1:-1]}]' for shape in shapes)}"
        )
    return inputs.astype(np.float32)


def _run(call: Call, tensors: dict[int, Any]) -> dict[int, Any]:
    """Call a layer on values instead of Keras's symbols; return its results by key."""
    values = map(tensors.get, call.inputs)
    known = dict(zip(map(id, call.node.input_tensors), values, strict=True))
    arguments, keywords = call.node.arguments.fill_in(known)
    keywords.pop("training", None)
    results = call.layer(*arguments, **keywords)
    results = results if isinstance(results, (list, tuple)) else [results]
    return dict(zip(call.outputs, results, strict=True))


def _passed(
    call: Call, constants: dict[int, np.ndarray], shapes: dict[int, tuple[int, ...]]
) -> dict[int, np.ndarray]:
    """Return which channels a layer without weights leaves constant.

    It is tried out: channels that vary get noise, twice and with both signs.
    """
    if call.kind == "InputLayer":
        return {key: np.full(shapes[key][-1], np.nan) for key in call.outputs}
    rng, probes = np.random.default_rng(0), {}
    for key in call.inputs:
        noise = rng.normal(size=(2, *shapes[key]))
        known = constants[key]
        probe = np.where(np.isnan(known), np.concatenate([noise, -noise]), known)
        probes[key] = probe.astype(np.float32)
    constant = {}
    for key, result in _run(call, probes).items():
        values = np.asarray(result, np.float64).reshape(-1, result.shape[-1])
        still = values.min(0) == values.max(0)
        constant[key] = np.where(still, values[0], np.nan)
    return constant


def _checked(
    model: Any, inputs: np.ndarray, answers: list[np.ndarray], changes: list[Change]
) -> tuple[Any, tuple[Change, ...]]:
    """Return the changed model if it answers as it did before, or refuse."""
    if changes:
        with quiet():
            new = model.predict(inputs, batch_size=_BATCH, verbose=0)
        new = new if isinstance(new, list) else [new]
        for one, other in zip(answers, new, strict=True):
            off, size = np.abs(one - other).max(), np.abs(one).max()
            if not off <= _SAME * size:
                raise UnusableInput(
                    f"{model.name}: its answers would change by {off:.2g}, the largest "
                    f"is {size:.2g}: expected rounding only; leave the model as it is"
                )
    return model, tuple(changes)
