"""Choose each layer's integers so that the layer's output stays what it was.

Rounding every weight to its nearest integer is best for the weights, not for what the
layer computes. Here the layers are taken in order, and each is rounded on the inputs
that the network quantized so far really gives it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quantization import folding
from course_lib.quantization.conversion import check_form
from course_lib.quantization.folding import Change
from course_lib.quiet import quiet
from course_lib.tflite import reading

import numpy as np

# The largest integer of a weight: int8 weights are symmetric.
_STEPS = 127
# Shares of max|w| at which the grid ends.
CLIP_RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
# Positions of a feature map that decide a layer's weights; four times as many where all
# outputs share one Hessian.
SAMPLES = 2048
# What each activation keeps.
_BOUNDS = {"linear": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
# Part of the mean of the Hessian's diagonal that is added to the diagonal.
_DAMPING = 0.01
# Rows between two updates of all rows that follow.
_BLOCK = 64
# Up to this fan-in, each output channel gets a Hessian of its own.
_SMALL_FAN_IN = 64
# Above this fan-in, as Dense layers behind Flatten have, errors are compensated within
# parts of the inputs: memory grows with the square of a part, time with its cube.
_MOST_INPUTS = 4096
# How much an output counts that the activation clips.
_CLIPPED_WEIGHT = 0.02
# Outputs this near to a bound, as a share of their span, count in full: rounding moves
# them across. No step of a bias is longer.
_MARGIN = 0.05
# Samples on which clip ratios are compared.
_JUDGED = 2048
_BATCH = 16
# Layers whose output lies on the grid of their input.
_KEEP_THE_GRID = (
    "InputLayer",
    "Identity",
    "Cropping2D",
    "Flatten",
    "MaxPooling2D",
    "GlobalMaxPooling2D",
    "Permute",
    "Reshape",
    "UpSampling2D",
    "ZeroPadding2D",
)


def round_weights(
    model: Any,
    inputs: np.ndarray,
    *,
    granularity: str = "per-tensor",
    seed: int = 0,
    clip_ratios: Sequence[float] = CLIP_RATIOS,
    samples: int = SAMPLES,
) -> tuple[Any, tuple[Change, ...]]:
    """Round weights to int8 with error compensation, and correct the biases.

    The layers are taken in order, with two streams of activations: the float
    network's, and the network's that is quantized so far, activations included. For
    each Conv2D, DepthwiseConv2D and Dense layer, weights are rounded one input after
    the other; the error that a rounding makes at the output is compensated by the
    weights that are not rounded yet. The scale is the best of a few, and the bias is
    set so that the mean output, after the activation, is the float network's.

    Depthwise layers, and others with few inputs, get one Hessian for each output
    channel, in which positions that ReLU or ReLU6 clips hardly count. That is our own.

    Args:
        model: Sequential or functional Keras 3 model; it is not changed.
        inputs: float32 [N, height, width, channels] as the model takes them; about 100
            varied images, without labels.
        granularity: "per-tensor", one scale for each weight tensor; or "per-channel",
            one for each output channel of a convolution.
        seed: Decides which positions of the feature maps are looked at.
        clip_ratios: Shares of max|w| at which the grid may end.
        samples: Positions of a feature map that decide a layer's weights.

    Returns:
        The folded model (see `folding.fold`) with weights on the int8 grid, the
        largest of each scale being ±127 steps, so that the converter finds the same
        scale and changes nothing; and what was done to each layer.

    Raises:
        UnusableInput: When the model or the inputs are not as described.

    Source: Frantar and others, "GPTQ: Accurate Post-Training Quantization for
    Generative Pre-trained Transformers", 2022, for error compensation; Nagel and
    others, "Data-Free Quantization through Weight Equalization and Bias Correction",
    2019, for the biases.

    Introduced in notebook 07.
    """
    if not clip_ratios or not all(0 < ratio <= 1 for ratio in clip_ratios):
        raise UnusableInput(f"clip ratios {clip_ratios}: expected shares above 0, to 1")
    return _walk(
        model,
        inputs,
        granularity=granularity,
        seed=seed,
        samples=samples,
        clip_ratios=tuple(clip_ratios),
    )


def correct_biases(
    model: Any,
    inputs: np.ndarray,
    *,
    granularity: str = "per-tensor",
    seed: int = 0,
    samples: int = SAMPLES,
) -> tuple[Any, tuple[Change, ...]]:
    """Round weights plainly and set each bias so that the mean output stays.

    The cheap cure: rounding shifts the mean of a channel, and the shifts add up from
    layer to layer; a bias takes them back.

    Args:
        model: As `round_weights` takes it.
        inputs: As `round_weights` takes them.
        granularity: As `round_weights` takes it.
        seed: As `round_weights` takes it.
        samples: Positions of a feature map over which a mean is taken.

    Returns:
        As `round_weights`; the weights are what the converter would have made of them.

    Raises:
        UnusableInput: When the model or the inputs are not as described.

    Source: Nagel and others, "Data-Free Quantization through Weight Equalization and
    Bias Correction", 2019, section 4.2.

    Introduced in notebook 07.
    """
    return _walk(
        model,
        inputs,
        granularity=granularity,
        seed=seed,
        samples=samples,
        clip_ratios=(),
    )


@dataclass(frozen=True)
class GridCheck:
    """Whether a file holds a model's weights as they were chosen.

    Attributes:
        found: Layers whose weights stand in the file within 1 % of a step.
        missing: Layers whose weights do not.

    Introduced in notebook 07.
    """

    found: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Return whether the converter's rounding changed nothing."""
        return not self.missing


def on_grid(content: bytes, model: Any) -> GridCheck:
    """Look for a model's weights in the file that was converted from it.

    Args:
        content: The bytes of a full-integer `.tflite` file.
        model: What `round_weights` or `correct_biases` returned.

    Introduced in notebook 07.
    """
    stored = [
        (tensor.values(), _scales(tensor))
        for _, tensor in reading.weights(reading.parse(content))
        if tensor.dtype == "int8"
    ]
    found, missing = [], []
    for call in folding.calls(model):
        if call.kind in folding.WEIGHTED:
            kernel = np.asarray(call.layer.get_weights()[0], np.float64)
            layouts = _layouts(call.kind, kernel)
            here = any(
                wanted.shape == steps.shape
                and np.abs(wanted / scales - steps).max() < 0.01
                for wanted in layouts
                for steps, scales in stored
            )
            (found if here else missing).append(call.layer.name)
    return GridCheck(tuple(found), tuple(missing))


def _scales(tensor: reading.Tensor) -> np.ndarray:
    """Return a tensor's scales, in a shape that broadcasts with its values."""
    scales = np.asarray(tensor.scales, np.float64)
    shape = [1] * len(tensor.shape)
    if len(scales) > 1:
        shape[tensor.quantized_dimension] = -1
    return scales.reshape(shape)


def _layouts(kind: str, kernel: np.ndarray) -> list[np.ndarray]:
    """Return a kernel as a file may lay it out."""
    if kind == "Dense":
        return [kernel.T]
    if kind == "Conv2D":
        return [kernel.transpose(3, 0, 1, 2)]
    height, width, channels, _ = kernel.shape
    layouts = [kernel.reshape(1, height, width, -1)]
    if channels == 1:  # the converter makes an ordinary convolution of it
        layouts.append(kernel.transpose(3, 0, 1, 2))
    return layouts


@dataclass(frozen=True)
class _Products:
    """A layer as matrix products, one for each group of channels.

    Attributes:
        entering: What the quantized network gives the layer, float32
            [groups, samples, fan-in].
        wanted: What the float network's layer gives before its activation, float32
            [groups, samples, outputs].
        kernel: float64 [groups, fan-in, outputs].
        bounds: What the activation keeps.
    """

    entering: np.ndarray
    wanted: np.ndarray
    kernel: np.ndarray
    bounds: tuple[float, float]

    @property
    def is_clipped(self) -> bool:
        return bool(np.isfinite(self.bounds).any())

    def activate(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values, *self.bounds) if self.is_clipped else values

    def weights_of_samples(self) -> np.ndarray:
        """Return how much each sample counts: [groups, samples], or [1, 1] for alike.

        Only a layer of one output for each group can tell its samples apart.
        """
        if not self.is_clipped or self.wanted.shape[2] != 1:
            return np.ones((1, 1), np.float32)
        low, high = self.bounds
        wanted, margin = self.wanted[:, :, 0], _MARGIN * self.spans()
        kept = (wanted > low - margin) & (wanted < high + margin)
        return np.where(kept, np.float32(1), np.float32(_CLIPPED_WEIGHT))

    def spans(self) -> np.ndarray:
        """Return how far outputs reach after the activation, [groups, outputs]."""
        return self.activate(self.wanted.max(1)) - self.activate(self.wanted.min(1))

    def by_output(self) -> "_Products":
        """Return the same with a group for each output."""
        groups, fan_in, outputs = self.kernel.shape
        return _Products(
            # A view when there is one group.
            np.broadcast_to(
                self.entering[:, None], (groups, outputs, *self.entering.shape[1:])
            ).reshape(groups * outputs, -1, fan_in),
            self.wanted.transpose(0, 2, 1).reshape(groups * outputs, -1, 1),
            self.kernel.transpose(0, 2, 1).reshape(groups * outputs, fan_in, 1),
            self.bounds,
        )


def _walk(
    model: Any,
    inputs: np.ndarray,
    *,
    granularity: str,
    seed: int,
    samples: int,
    clip_ratios: tuple[float, ...],
) -> tuple[Any, tuple[Change, ...]]:
    """Fold a model and quantize its layers in order; no clip ratios: round plainly."""
    check_form(granularity=granularity)
    if samples < 1:
        raise UnusableInput(f"samples={samples}: expected 1 or more")
    inputs = np.asarray(inputs)
    with quiet():
        folded = folding.fold(model)
        _check(folded, inputs)
        calls = folding.calls(folded)
        walk = _Walk(
            in_float=_Stream(calls, inputs),
            quantized=_Stream(calls, inputs),
            per_channel=granularity == "per-channel",
            samples=samples,
            clip_ratios=clip_ratios,
            rng=np.random.default_rng(seed),
        )
        changes = [walk.take(call) for call in calls if call.kind != "InputLayer"]
    return folded, tuple(change for change in changes if change)


@dataclass(frozen=True, eq=False)
class _Walk:
    """Both networks, up to the layer that has its turn.

    Attributes:
        in_float: Activations of the float network.
        quantized: Activations of the network quantized so far.
        per_channel: One scale for each output of a convolution, not one for all.
        samples: Positions that decide a layer's weights.
        clip_ratios: Where the grid may end; none to round plainly.
        rng: Decides the positions.
    """

    in_float: "_Stream"
    quantized: "_Stream"
    per_channel: bool
    samples: int
    clip_ratios: tuple[float, ...]
    rng: np.random.Generator

    def take(self, call: folding.Call) -> Change | None:
        """Run a layer in both networks, quantizing it in between."""
        if _is_product(call):
            return self._take_product(call)
        self.in_float.store(call, self.in_float.run(call))
        change = _rounded_plainly(call, self.per_channel)
        results = self.quantized.run(call)
        if not self._stays_on_grid(call):
            results = [_fake_quantized(values) for values in results]
        self.quantized.store(call, results)
        return change

    def _take_product(self, call: folding.Call) -> Change:
        layer = call.layer
        activation, layer.activation = layer.activation, None
        entering = self.quantized.values[call.inputs[0]]
        (wanted,) = self.in_float.run(call)
        products = _products(call, entering, wanted, activation, self.samples, self.rng)
        self.in_float.store(call, [_activated(wanted, activation)])
        kernel, bias, how = _chosen(
            products,
            # The converter, as the course calls it, gives dense layers one scale.
            per_channel=self.per_channel and call.kind != "Dense",
            clip_ratios=self.clip_ratios,
        )
        kernel = kernel.transpose(1, 0, 2).reshape(layer.kernel.shape)
        shift = np.abs(bias - np.asarray(layer.bias)).max()
        layer.set_weights([kernel, bias])
        (found,) = self.quantized.run(call)
        if _name(activation) not in _BOUNDS:  # an operator of its own follows
            found = _fake_quantized(found)
        found = _activated(found, activation)
        if not self._stays_on_grid(call):
            found = _fake_quantized(found)
        self.quantized.store(call, [found])
        layer.activation = activation
        return Change(layer.name, f"{how}; bias moved by up to {shift:.2g}")

    def _stays_on_grid(self, call: folding.Call) -> bool:
        """Return whether no rounding to 8 bits follows a call directly."""
        if call.kind in _KEEP_THE_GRID:
            return True
        readers = self.quantized.readers.get(call.outputs[0], [])
        return len(readers) == 1 and folding.rectifier(readers[0]) is not None


class _Stream:
    """The activations of one network, kept until their last reader has run."""

    def __init__(self, calls: list[folding.Call], inputs: np.ndarray):
        (entry,) = (call for call in calls if call.kind == "InputLayer")
        self.values = {entry.outputs[0]: inputs}
        self.batch = entry.node.output_tensors[0].shape[0] or _BATCH
        self.readers: dict[int, list[folding.Call]] = {}
        for call in calls:
            for key in set(call.inputs):
                self.readers.setdefault(key, []).append(call)
        self.left = {key: len(readers) for key, readers in self.readers.items()}

    def run(self, call: folding.Call) -> list[np.ndarray]:
        """Return a call's results, float32 [N, ...] each; forget what it read last."""
        entering = {key: self.values[key] for key in call.inputs}
        results: list[np.ndarray] = []
        count = len(next(iter(entering.values())))
        for first in range(0, count, self.batch):
            part = slice(first, first + self.batch)
            known = {
                id(tensor): entering[key][part]
                for tensor, key in zip(
                    call.node.input_tensors, call.inputs, strict=True
                )
            }
            arguments, keywords = call.node.arguments.fill_in(known)
            keywords.pop("training", None)
            made = call.layer(*arguments, **keywords)
            made = made if isinstance(made, (list, tuple)) else [made]
            made = [np.asarray(values) for values in made]
            results = results or [
                np.empty((count, *values.shape[1:]), values.dtype) for values in made
            ]
            for whole, values in zip(results, made, strict=True):
                whole[part] = values
        for key in entering:
            self.left[key] -= 1
            if not self.left[key]:
                del self.values[key]
        return results

    def store(self, call: folding.Call, results: list[np.ndarray]) -> None:
        """Keep what somebody will read."""
        for key, values in zip(call.outputs, results, strict=True):
            if self.left.get(key):
                self.values[key] = values


def _check(folded: Any, inputs: np.ndarray) -> None:
    if len(folded.inputs) != 1:
        raise UnusableInput(
            f"the model has {len(folded.inputs)} inputs: expected one image"
        )
    wanted = tuple(folded.inputs[0].shape[1:])
    fits = inputs.ndim == 4 and all(
        size in (None, given)
        for size, given in zip(wanted, inputs.shape[1:], strict=True)
    )
    if not fits or inputs.dtype != np.float32 or not len(inputs):
        raise UnusableInput(
            f"inputs are {inputs.dtype} {inputs.shape}: expected float32 images "
            f"{('N', *wanted)}, as the model takes them".replace("'", "")
        )
    if not np.isfinite(inputs).all():
        raise UnusableInput("inputs contain NaN or infinity: expected real pixels")


def _is_product(call: folding.Call) -> bool:
    """Return whether `_products` can take a layer apart."""
    return call.kind in folding.WEIGHTED and (
        call.kind == "Dense" or call.layer.data_format == "channels_last"
    )


def _name(activation: Any) -> str:
    """Return a function's name; an activation may be a layer, which has none."""
    return getattr(activation, "__name__", "")


def _rounded_plainly(call: folding.Call, per_channel: bool) -> Change | None:
    """Round the kernels of a layer that cannot be taken apart."""
    layer = call.layer
    variables = getattr(layer, "weights", [])
    if not variables:
        return None
    kernels = [variable for variable in variables if "kernel" in variable.name]
    if not kernels:
        return Change(layer.name, f"left as it is: a {call.kind}")
    if per_channel:
        return Change(layer.name, f"left to the converter: a {call.kind}")
    for kernel in kernels:
        values = np.asarray(kernel, np.float64)
        scale = np.abs(values).max() / _STEPS or 1.0
        kernel.assign(np.rint(values / scale) * scale)
    return Change(layer.name, f"rounded plainly, bias as it was: a {call.kind}")


def _activated(values: np.ndarray, activation: Any) -> np.ndarray:
    """Apply a layer's activation; `values` may be overwritten."""
    if _name(activation) in _BOUNDS:
        low, high = _BOUNDS[_name(activation)]
        return np.clip(values, low, high, out=values)
    return np.array(activation(values))


def _fake_quantized(values: np.ndarray) -> np.ndarray:
    """Round activations to 8 bits between their extremes, in place."""
    if values.dtype != np.float32:
        return values
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    scale = np.float32((high - low) / 255) or np.float32(1)
    zero_point = np.rint(-low / scale)
    values /= scale
    np.rint(values, out=values)
    np.clip(values, -zero_point, 255 - zero_point, out=values)
    values *= scale
    return values


def _products(
    call: folding.Call,
    entering: np.ndarray,
    wanted: np.ndarray,
    activation: Any,
    samples: int,
    rng: np.random.Generator,
) -> _Products:
    """Look at a layer at random positions of its output.

    Args:
        call: The layer.
        entering: What enters it in the quantized network, float32 [N, ..., channels].
        wanted: What leaves it in the float network, before the activation, float32
            [N, ..., outputs].
        activation: Its activation.
        samples: How many positions, when there are as many.
        rng: Decides which.
    """
    layer = call.layer
    kernel = np.asarray(layer.kernel, np.float64)
    if call.kind == "Dense":
        kernel = kernel[None, None]
    groups = 1
    if call.kind == "DepthwiseConv2D":
        groups = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    elif call.kind == "Conv2D":
        groups = layer.groups
    fan_in, outputs = int(np.prod(kernel.shape[:3])), kernel.shape[3] // groups
    count = int(np.prod(wanted.shape[:-1]))
    n = min(count, samples if fan_in <= _SMALL_FAN_IN else 4 * samples)
    chosen = rng.choice(count, n, replace=False)
    if call.kind == "Dense":
        patches = entering.reshape(-1, 1, entering.shape[-1])[chosen]
    else:
        patches = _patches(layer, entering, wanted.shape, chosen)
    patches = patches.reshape(n, -1, groups, kernel.shape[2])
    return _Products(
        patches.transpose(2, 0, 1, 3).reshape(groups, n, fan_in),
        wanted.reshape(count, groups, outputs)[chosen].transpose(1, 0, 2),
        kernel.reshape(fan_in, groups, outputs).transpose(1, 0, 2),
        _BOUNDS.get(_name(activation), _BOUNDS["linear"]),
    )


def _patches(
    layer: Any, entering: np.ndarray, shape: tuple[int, ...], chosen: np.ndarray
) -> np.ndarray:
    """Return what a convolution sees at positions of its output.

    Args:
        layer: Conv2D or DepthwiseConv2D.
        entering: float32 [N, height, width, channels].
        shape: Of its output, (N, height, width, outputs).
        chosen: Flat indexes into the first three axes of the output, int [n].

    Returns:
        float32 [n, kernel height × width, channels]; padding is 0.
    """
    size = entering.shape[1:3]
    image, *at = np.unravel_index(chosen, shape[:3])
    corner = []
    for axis in range(2):
        extent = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
        stride = layer.strides[axis]
        missing = max((shape[1 + axis] - 1) * stride + extent - size[axis], 0)
        before = missing // 2 if layer.padding == "same" else 0
        corner.append(at[axis] * stride - before)
    patches = np.zeros((len(chosen), *layer.kernel_size, entering.shape[3]), np.float32)
    for y, x in np.ndindex(*layer.kernel_size):
        row = corner[0] + y * layer.dilation_rate[0]
        column = corner[1] + x * layer.dilation_rate[1]
        inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
        patches[inside, y, x] = entering[image[inside], row[inside], column[inside]]
    return patches.reshape(len(chosen), -1, entering.shape[3])


def _chosen(
    products: _Products, *, per_channel: bool, clip_ratios: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return a layer's kernel on the grid, its bias, and what was done.

    Args:
        products: The layer.
        per_channel: One scale for each output instead of one for all.
        clip_ratios: Where the grid may end; none to round plainly.

    Returns:
        float64 [groups, fan-in, outputs], float64 [groups × outputs], how in words.
    """
    groups, fan_in, outputs = products.kernel.shape
    if products.is_clipped and fan_in <= _SMALL_FAN_IN:
        products = products.by_output()
    kernel = products.kernel
    largest = np.abs(kernel).max((1,) if per_channel else None, keepdims=True)
    scale = np.where(largest == 0, 1, largest) / _STEPS
    candidates = (np.rint(kernel / scale) * scale)[None]
    counts = products.weights_of_samples()
    if clip_ratios:
        scales = scale * np.reshape(clip_ratios, (-1, 1, 1, 1))
        parts = np.array_split(np.arange(fan_in), -(-fan_in // _MOST_INPUTS))
        steps = [
            _compensated(
                kernel[:, part[0] : part[-1] + 1],
                _hessian(products.entering[:, :, part[0] : part[-1] + 1], counts),
                scales,
            )
            for part in parts
        ]
        steps = np.concatenate(steps, axis=2)
        candidates = np.concatenate(
            [candidates, _to_the_end(steps, per_channel) * scales]
        )
    biases = _biases(products, counts, candidates)
    errors = _errors(products, candidates, biases)
    if per_channel:
        best = errors.argmin(0)
    else:
        best = np.full(errors.shape[1:], errors.sum((1, 2)).argmin())
    new = np.take_along_axis(candidates, best[None, :, None], 0)[0]
    bias = np.take_along_axis(biases, best[None], 0)[0]
    bias = _with_equal_means(products, new, bias)
    how = "rounded plainly"
    if clip_ratios:
        if per_channel:
            how = "errors compensated"
        elif best.any():
            ratio = clip_ratios[best.flat[0] - 1]
            how = f"grid to {ratio:g} of max|w|, errors compensated"
        power = max(float(products.activate(products.wanted).var(1).mean()), 1e-30)
        after, before = (
            100 * np.sqrt(values.mean() / power)
            for values in (np.take_along_axis(errors, best[None], 0), errors[0])
        )
        how += f", output off by {after:.2g} % (rounded plainly {before:.2g} %)"
    # Outputs with a group of their own go back to the groups of the layer.
    new = new.transpose(0, 2, 1).reshape(groups, outputs, fan_in).transpose(0, 2, 1)
    return new, bias.ravel(), how


def _hessian(entering: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the covariance of what enters, float64 [groups, fan-in, fan-in].

    It is the Hessian of the mean squared output error, when the bias is free.

    Args:
        entering: float32 [groups, samples, fan-in].
        counts: How much each sample counts, [groups, samples] or [1, 1].
    """
    groups, samples, fan_in = entering.shape
    shares = np.broadcast_to(_shares(counts, samples), (groups, samples))
    hessian = np.empty((groups, fan_in, fan_in))
    # One by one: the groups of a depthwise layer are gigabytes together.
    for group, (share, values) in enumerate(zip(shares, entering, strict=True)):
        centred = values - share @ values
        centred *= np.sqrt(share)[:, None]
        hessian[group] = centred.T @ centred
    return hessian


def _shares(counts: np.ndarray, samples: int) -> np.ndarray:
    """Return how much of a mean each sample makes up, float32 [groups or 1, samples].

    Args:
        counts: How much each sample counts, [groups, samples] or [1, 1].
        samples: How many there are.
    """
    counts = np.broadcast_to(counts, (len(counts), samples))
    return counts / counts.sum(1, keepdims=True)


def _compensated(
    kernel: np.ndarray, hessian: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Round kernels row by row; later rows make up for the error of earlier ones.

    Args:
        kernel: float64 [groups, fan-in, outputs].
        hessian: float64 [groups, fan-in, fan-in].
        scales: Candidates, float64 [candidates, groups or 1, 1, outputs or 1].

    Returns:
        Integers -127 to 127, float32 [candidates, groups, fan-in, outputs].

    Source: Frantar and others, "GPTQ", 2022, algorithm 1; the order, rows of large
    variance first, is the "act-order" of the authors' code.
    """
    groups, fan_in, _ = kernel.shape
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    damping = _DAMPING * diagonal.mean(1) + 1e-9
    hessian = hessian + damping[:, None, None] * np.eye(fan_in)
    hessian = np.take_along_axis(hessian, order[:, :, None], 1)
    hessian = np.take_along_axis(hessian, order[:, None, :], 2)
    inverse = np.linalg.inv(hessian)
    lower = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2)
    lower = lower.astype(np.float32)
    # All candidates side by side: [groups, fan-in, candidates, outputs].
    step = scales[:, :, 0].transpose(1, 0, 2).astype(np.float32)
    rows = np.take_along_axis(kernel, order[:, :, None], 1).astype(np.float32)
    rows = np.repeat(rows[:, :, None], len(scales), axis=2)
    rounded = np.empty_like(rows)
    for first in range(0, fan_in, _BLOCK):
        end = min(first + _BLOCK, fan_in)
        errors = np.empty_like(rows[:, first:end])
        for row in range(first, end):
            steps = np.clip(np.rint(rows[:, row] / step), -_STEPS, _STEPS)
            rounded[:, row] = steps
            error = rows[:, row] - steps * step
            error /= lower[:, row, row, None, None]
            errors[:, row - first] = error
            factors = lower[:, row + 1 : end, row, None, None]
            rows[:, row + 1 : end] -= factors * error[:, None]
        shifts = lower[:, end:, first:end] @ errors.reshape(groups, end - first, -1)
        rows[:, end:] -= shifts.reshape(rows[:, end:].shape)
    back = np.argsort(order, axis=1)[:, :, None, None]
    return np.take_along_axis(rounded, back, 1).transpose(2, 0, 1, 3)


def _to_the_end(steps: np.ndarray, per_channel: bool) -> np.ndarray:
    """Move the largest integer of each scale to ±127: the converter looks for it.

    Args:
        steps: float32 [candidates, groups, fan-in, outputs].
        per_channel: One scale for each output instead of one for all.
    """
    sizes = np.abs(steps)
    if not per_channel:
        sizes = sizes.reshape(len(steps), 1, -1, 1)
    at = sizes.argmax(2)[:, :, None]
    flat = steps.reshape(sizes.shape).copy()
    ends = _STEPS * np.sign(np.take_along_axis(flat, at, 2))
    np.put_along_axis(flat, at, ends, 2)
    return flat.reshape(steps.shape)


def _biases(
    products: _Products, counts: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Return the biases for which mean outputs agree before the activation.

    Args:
        products: The layer.
        counts: How much each sample counts, [groups, samples] or [1, 1].
        candidates: Kernels, float64 [candidates, groups, fan-in, outputs].

    Returns:
        float64 [candidates, groups, outputs].
    """
    share = _shares(counts, products.wanted.shape[1])[:, None]
    enters = (share @ products.entering)[:, 0].astype(np.float64)
    leaves = (share @ products.wanted)[:, 0].astype(np.float64)
    return leaves - np.einsum("gk,cgko->cgo", enters, candidates)


def _errors(
    products: _Products, candidates: np.ndarray, biases: np.ndarray
) -> np.ndarray:
    """Return each candidate's mean squared error after the activation.

    Returns:
        float64 [candidates, groups, outputs].
    """
    every = slice(None, None, -(-products.wanted.shape[1] // _JUDGED))
    entering = np.ascontiguousarray(products.entering[:, every])
    wanted = products.activate(products.wanted[:, every])
    low, high = products.bounds

    def errors(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        found = entering @ kernel.astype(np.float32)
        found += bias[:, None].astype(np.float32)
        if products.is_clipped:
            np.clip(found, low, high, out=found)
        found -= wanted
        return np.einsum("gno,gno->go", found, found) / wanted.shape[1]

    if wanted.shape[2] == 1:  # all candidates in one product: a depthwise layer's many
        beside = candidates[..., 0].transpose(1, 2, 0), biases[..., 0].T
        return errors(*beside).T[:, :, None]
    return np.stack([errors(*pair) for pair in zip(candidates, biases, strict=True)])


def _with_equal_means(
    products: _Products, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Return the bias for which mean outputs agree after the activation.

    Newton's method: the mean moves with the bias as far as outputs are not clipped.

    Args:
        products: The layer.
        kernel: float64 [groups, fan-in, outputs].
        bias: The bias to begin with, float64 [groups, outputs].
    """
    if not products.is_clipped:
        return bias
    low, high = products.bounds
    reach = _MARGIN * products.spans()
    wanted = products.activate(products.wanted).mean(1, dtype=np.float64)
    outputs = products.entering @ kernel.astype(np.float32)
    for _ in range(3):
        found = outputs + bias[:, None].astype(np.float32)
        free = ((found > low) & (found < high)).mean(1)
        lacking = wanted - products.activate(found).mean(1, dtype=np.float64)
        step = np.clip(lacking / np.maximum(free, 0.02), -reach, reach)
        bias = bias + np.where(free > 0.02, step, 0)
    return bias
