"""Compare an int8 .tflite file with the float file of the same model, layer by layer.

Both run on the same images with LiteRT. The measure is the signal-to-quantization-noise
ratio (SQNR), 10 log10(sum of x² / sum of (x - x')²) in dB, x from the float file and x'
from the integers. Errors add up on their way, so the last layers are always the worst:
the layer that broke a file is found by rounding the weights of one layer after the
other inside the float file, and by how much the SQNR falls from a layer's inputs to its
output. Source of the comparison by layers: TensorFlow's quantization debugger,
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_debugger
(read on 2026-11-21), which needs TensorFlow and a model that it can convert again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.tflite import inference, reading
from course_lib.tflite.reading import Model, Tensor

import numpy as np

# What only changes the type stands between layers and is none.
_CASTS = ("QUANTIZE", "DEQUANTIZE")
# Converters write them as operators of their own or inside the one before.
_CLIPS = ("RELU", "RELU6", "RELU_N1_TO_1")
_SCORES = ("LOGISTIC",)
_ELEMENTWISE = ("ADD", "SUB", "MUL", "DIV")
# No computed layer of EfficientNet-Lite0 or the person detector has more than 36 dB,
# per-channel, on 15 crops of photographs. Better inputs count as this good.
BEST_SQNR = 40.0
# A layer whose weights alone make a quarter of the output's noise (6 dB) is to blame.
TO_BLAME = 6.0
# With as few images as this, rounding one layer's weights ranks the layers of
# EfficientNet-Lite0 as with 60.
PROBES = 16
# The weights of two trainings of one architecture have a cosine of about 0, those of a
# model and its int8 file 0.9 and more, also after quantization-aware training.
_ALIKE = 0.25
_MAKE_FLOAT = (
    "`dlpu convert model.keras --soc cpu --float -o float.tflite` and the --mean and "
    "--std of the training"
)


@dataclass(frozen=True)
class Part:
    """One input of a CONCATENATION, as it comes out on the other side.

    Attributes:
        name: The tensor in the float file.
        reach: Largest absolute value.
        sqnr: dB.
    """

    name: str
    reach: float
    sqnr: float


@dataclass(frozen=True)
class Layer:
    """One operator that is in both files.

    Attributes:
        operator: "CONV_2D" and so on; "INPUT" for the images as they enter.
        float_name: Output tensor in the float file, behind a fused ReLU.
        int8_name: The same in the int8 file.
        shape: Of the output.
        sqnr: dB over all images.
        channel_sqnr: The median of the channels' own SQNR. One channel that reaches far
            makes `sqnr` look good while the others are lost.
        worst_input: The lowest SQNR of its inputs; infinite when they are exact.
        saturated: Share of the float values outside of what the integers reach.
        clipped: SQNR in dB if these values were cut off and nothing else happened.
        used: Share of the integers' range between the smallest and the largest float
            value; 1 when float values lie outside.
        activation_ratio: Largest over median channel of the output, by max |x|.
        scale: Of the int8 tensor.
        inputs: Positions of its inputs in `Comparison.layers`.
        parts: For CONCATENATION, its inputs.
        granularity: Of the int8 weights; None without weights.
        channel_ratio: Largest over median output channel, by max |w|, among the weights
            that ever act; None without weights.
        input_ratio: The same of the input channels; 1 where each has its own output.
        dead: Channels, input or output, that never change in the float file although
            they have weights.
        dead_ratio: How many times these weights enlarge a scale; 1 where they do not.
        weights_alone: SQNR in dB of the model's output when nothing but the weights and
            biases of this layer is rounded; None without weights.

    Introduced in notebook 12.
    """

    operator: str
    float_name: str
    int8_name: str
    shape: tuple[int, ...]
    sqnr: float
    channel_sqnr: float
    worst_input: float
    saturated: float
    clipped: float
    used: float
    activation_ratio: float
    scale: float | None = None
    inputs: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    granularity: str | None = None
    channel_ratio: float | None = None
    input_ratio: float = 1.0
    dead: int = 0
    dead_ratio: float = 1.0
    weights_alone: float | None = None

    @property
    def name(self) -> str:
        """Return the readable part of the float name: converters join many by ";"."""
        return self.float_name.split(";")[0]

    @property
    def drop(self) -> float:
        """Return by how many dB the SQNR falls from its worst input to its output."""
        return min(self.worst_input, BEST_SQNR) - self.sqnr


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        layers: The input, then every matched operator in the float file's order.
        images: How many were run.
        compared: What `agreement` and the classes are taken from, in words.
        agreement: Share of images for which both files name the same class; None when
            no output has one value a class.
        float_classes: The classes that the float file names, sorted.
        int8_classes: The same of the int8 file.
        class_count: Values in the output that names them; 0 without one.
        output_sqnr: dB, the worst of the outputs; of a SOFTMAX, what enters it.
        weights_sqnr: The same when all weights and biases are rounded and the
            activations stay float; None when no weights could be exchanged.
        probe_sqnr: `output_sqnr` on the images behind each `weights_alone`.
        granularity: Of the int8 file's weights.
        unmatched_float: Layers of the float file that the int8 file does not have.
        unmatched_int8: The reverse.
        float_accuracy: Share of right classes; None without labels.
        int8_accuracy: The same of the int8 file.
        label_count: Different labels; 0 without labels.

    Introduced in notebook 12.
    """

    layers: tuple[Layer, ...] = field(repr=False)
    images: int
    compared: str
    agreement: float | None
    float_classes: tuple[int, ...]
    int8_classes: tuple[int, ...]
    class_count: int
    output_sqnr: float
    weights_sqnr: float | None
    probe_sqnr: float
    granularity: str | None
    unmatched_float: tuple[str, ...] = ()
    unmatched_int8: tuple[str, ...] = ()
    float_accuracy: float | None = None
    int8_accuracy: float | None = None
    label_count: int = 0

    @cached_property
    def worst(self) -> Layer:
        """Return the layer that broke the file, or costs most where nothing is broken.

        It is the layer whose weights alone, once rounded, do most harm to the output,
        if that is a quarter of the noise there. Otherwise it is the one where the SQNR
        falls most between input and output.
        """
        if self.worst_by_weights:
            return self._most_harmful
        return max(self.layers, key=lambda layer: layer.drop)

    @property
    def worst_by_weights(self) -> bool:
        """Return whether the weights of one layer make a quarter of the noise."""
        layer = self._most_harmful
        return bool(layer) and layer.weights_alone <= self.probe_sqnr + TO_BLAME

    @cached_property
    def _most_harmful(self) -> Layer | None:
        weighted = [layer for layer in self.layers if layer.weights_alone is not None]
        return min(weighted, key=lambda of: of.weights_alone, default=None)


def compare(
    float_file: bytes | Path | str,
    int8_file: bytes | Path | str,
    images: np.ndarray,
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    labels: Sequence[int] | np.ndarray | None = None,
    probes: int = PROBES,
) -> Comparison:
    """Run both files on the same images and compare every layer.

    Args:
        float_file: Bytes or path of the float `.tflite` file.
        int8_file: Bytes or path of the quantized file of the same model.
        images: uint8 [N, height, width, channels]. The float file gets (pixel - mean) /
            std. The int8 file gets the pixels as they are if its input's scale and zero
            point say the same, otherwise these real values, quantized.
        mean: One value, or one a channel.
        std: See `mean`; 0 and 1 for a float file that takes pixels.
        labels: int [N], for the accuracy of both.
        probes: So many images, spread over all, judge the weights of each layer; 0
            leaves that out.

    Raises:
        UnusableInput: When a file cannot be run, they are not float and int8 of the
            same model, or images or labels do not fit.

    Introduced in notebook 12.
    """
    files = [_content(content) for content in (float_file, int8_file)]
    models = [reading.parse(content) for content in files]
    check_kinds(*models)
    steps = [_steps(model) for model in models]
    pairs = _match(*steps)
    _check_same(*models, steps, pairs)
    images = _check_images(images, models[0], labels)
    entries = _entries(*models, images, mean=mean, std=std)
    run = _Run(models, steps, pairs, entries.start)
    for real, integers in zip(entries.real, entries.integers, strict=True):
        run.add(
            inference.intermediates(files[0], real[None]),
            inference.intermediates(files[1], integers[None]),
        )
    chosen = np.unique(np.linspace(0, len(images) - 1, probes).astype(int))
    alone, weights_sqnr = _exchange(files[0], models, pairs, run, entries.real[chosen])
    layers = run.layers(alone)
    return Comparison(
        layers=layers,
        images=len(images),
        output_sqnr=run.output_sqnr(slice(None)),
        weights_sqnr=weights_sqnr,
        probe_sqnr=run.output_sqnr(chosen if probes else slice(None)),
        granularity=models[1].granularity,
        unmatched_float=_left(steps[0], [a for a, _ in pairs], entries.start[0]),
        unmatched_int8=_left(steps[1], [b for _, b in pairs], entries.start[1]),
        **run.classes(labels),
    )


# ------------------------------------------------------------------- the two graphs


@dataclass
class _Step:
    """An operator with the activation behind it; casts around it do not count.

    `sources` are tensors that other steps, or the file's input, provide.
    """

    kind: str
    output: Tensor
    sources: list[int]
    fused: str
    axis: int = 0
    weights: Tensor | None = None
    bias: Tensor | None = None

    @property
    def key(self) -> tuple:
        return self.kind, self.output.shape


def _steps(model: Model) -> list[_Step]:
    stands_for: dict[int, int] = {}
    steps: list[_Step] = []
    by_output: dict[int, _Step] = {}
    for operator in model.operators:
        sources = [stands_for.get(i, i) for i in operator.inputs if i >= 0]
        if not operator.outputs or not sources:
            continue
        output = operator.outputs[0]
        if operator.name in _CASTS:
            stands_for[output] = sources[0]
            continue
        before = by_output.get(sources[0])
        alone = len(model.consumers[operator.inputs[0]]) == 1
        if operator.name in _CLIPS and before and before.fused == "NONE" and alone:
            del by_output[sources[0]]
            before.output, before.fused = model.tensors[output], operator.name
            by_output[output] = before
            continue
        step = _Step(
            operator.name,
            model.tensors[output],
            [i for i in sources if not model.tensors[i].is_constant],
            operator.options.get("fused_activation_function", ""),
            operator.options.get("axis", 0),
        )
        if operator.name in reading.CHANNEL_AXIS and len(sources) > 1:
            step.weights = model.tensors[sources[1]]
            # TRANSPOSE_CONV's inputs are shape, weights, image, bias.
            at = 3 if operator.name == "TRANSPOSE_CONV" else 2
            step.bias = model.tensors[sources[at]] if len(sources) > at else None
            if not step.weights.is_constant:
                step.weights = None
        steps.append(step)
        by_output[output] = step
    return steps


def _match(ours: list[_Step], theirs: list[_Step]) -> list[tuple[_Step, _Step]]:
    """Pair the steps: by name if all have the same, otherwise by kind and shape.

    Quantization-aware training and repairs give other names, in the same order.
    """
    named = [{step.output.name: step for step in steps} for steps in (ours, theirs)]
    common = [
        (step, named[1][name])
        for name, step in named[0].items()
        if name in named[1] and step.key == named[1][name].key
    ]
    if len(common) == min(len(ours), len(theirs)):
        return common
    blocks = SequenceMatcher(
        None, [s.key for s in ours], [s.key for s in theirs], autojunk=False
    ).get_matching_blocks()
    return [
        (ours[block.a + n], theirs[block.b + n])
        for block in blocks
        for n in range(block.size)
    ]


def _left(steps: list[_Step], matched: list[_Step], start: Tensor) -> tuple[str, ...]:
    """Name the steps without a partner, past what only normalises in this graph."""
    kept = {id(step) for step in matched}
    outputs = [step.output.index for step in steps]
    first = outputs.index(start.index) + 1 if start.index in outputs else 0
    return tuple(
        f"{step.kind} {step.output.name.split(';')[0]}"
        for step in steps[first:]
        if id(step) not in kept
    )


def check_kinds(
    ours: Model,
    theirs: Model,
    *,
    names: tuple[str, str] = ("the first file", "the second file"),
) -> None:
    """Check that one file is float and the other quantized.

    Raises:
        UnusableInput: When they are not; it tells how to make such a file.
    """
    if ours.quantization != "float":
        raise UnusableInput(
            f"{names[0]} is {ours.quantization}: expected a float .tflite file; make "
            f"one with {_MAKE_FLOAT}"
        )
    if theirs.quantization not in ("full-integer", "integer with float fallback"):
        raise UnusableInput(
            f"{names[1]} is {theirs.quantization}: expected an int8 .tflite file; make "
            "one with `dlpu convert model.keras --soc artpec8 --images DIR -o "
            "model.tflite`"
        )


def _check_same(
    ours: Model, theirs: Model, steps: list[list[_Step]], pairs: list
) -> None:
    """Refuse files whose ends, operators or weights are not those of one model."""
    for what, first, second in (
        ("takes", ours.inputs, theirs.inputs),
        ("gives", ours.outputs, theirs.outputs),
    ):
        shapes = [sorted(tensor.shape for tensor in of) for of in (first, second)]
        if shapes[0] != shapes[1]:
            raise UnusableInput(
                f"not the same model: the float file {what} {shapes[0]}, the int8 file "
                f"{shapes[1]}; compare files converted from one model"
            )
    weighted = [(a, b) for a, b in pairs if _have_weights(a, b)]
    counts = [sum(step.weights is not None for step in of) for of in steps]
    if 2 * len(weighted) < max(counts) or not pairs:
        raise UnusableInput(
            f"not the same model: of {counts[0]} and {counts[1]} layers with weights "
            f"{len(weighted)} match; compare files converted from one model"
        )
    cosines = [_cosine(_real(a.weights), _real(b.weights)) for a, b in weighted]
    sizes = [math.prod(a.weights.shape) for a, _ in weighted]
    if weighted and np.average(cosines, weights=np.sqrt(sizes)) < _ALIKE:
        raise UnusableInput(
            "not the same model: the layers match, but the weights have nothing in "
            "common; compare files converted from one training"
        )


def _have_weights(ours: _Step, theirs: _Step) -> bool:
    """Return whether both have weights, of the same shape."""
    a, b = ours.weights, theirs.weights
    return bool(a and b and a.shape == b.shape)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    product = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.vdot(a, b)) / product if product else 1.0


def _real(tensor: Tensor, values: np.ndarray | None = None) -> np.ndarray:
    """Return what the integers of a tensor stand for, float32."""
    values = tensor.values() if values is None else values
    if not tensor.scales:
        return values.astype(np.float32)
    scales, zeros = np.float32(tensor.scales), np.float32(tensor.zero_points)
    if len(scales) > 1:
        shape = [1] * values.ndim
        shape[tensor.quantized_dimension] = -1
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    return (values.astype(np.float32) - zeros) * scales


# ---------------------------------------------------------------------- what enters


@dataclass(frozen=True)
class _Entries:
    """What each file gets, and the two tensors in which both mean the same."""

    real: np.ndarray
    integers: np.ndarray
    start: tuple[Tensor, Tensor]


def _check_images(
    images: np.ndarray, model: Model, labels: Sequence[int] | np.ndarray | None
) -> np.ndarray:
    images = np.asarray(images)
    wanted = model.inputs[0].shape[1:]
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
        raise UnusableInput(
            f"images are {images.dtype} {images.shape}: expected uint8 "
            f"{('N', *wanted)}".replace("'", "")
        )
    if labels is not None and len(labels) != len(images):
        raise UnusableInput(
            f"{len(labels)} labels for {len(images)} images: expected one each"
        )
    return images


def _entries(
    ours: Model,
    theirs: Model,
    images: np.ndarray,
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
) -> _Entries:
    mean, std = np.float64(mean), np.float64(std)
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise UnusableInput("mean and std: expected finite numbers, std above 0")
    depth = images.shape[-1]
    if any(of.size not in (1, depth) for of in (mean, std)):
        raise UnusableInput(
            f"mean and std have {mean.size} and {std.size} values: expected "
            f"{'1' if depth == 1 else f'1, or {depth}'} for these images"
        )
    real = (images - mean.astype(np.float32)) / std.astype(np.float32)
    entry = theirs.inputs[0]
    start, factor, offset = (ours.inputs[0], entry), 1.0, 0.0
    inside = normalises(ours), normalises(theirs)
    if inside[0] and not inside[1]:
        tensor, factor, offset = inside[0]
        start = tensor, entry
    elif inside[1] and not inside[0]:
        tensor, by, plus = inside[1]
        start, factor, offset = (ours.inputs[0], tensor), 1 / by, -plus / by
    # What the int8 input stands for: (pixel - mean) / std after the graph's own share.
    mean, std = mean - offset * std / factor, std / factor
    integers = (real * factor + offset).astype(np.float32)
    if len(entry.scales) == 1:
        shift = 128 if entry.dtype == "int8" else 0
        as_they_are = np.allclose(entry.scale * std, 1, rtol=0.01) and np.all(
            abs(entry.zero_point + shift - mean) <= 0.51
        )
        if as_they_are:
            integers = (images.astype(np.int16) - shift).astype(entry.dtype)
    return _Entries(real, integers, start)


def normalises(model: Model) -> tuple[Tensor, np.ndarray, np.ndarray] | None:
    """Return the normalisation with which a graph begins, if it does.

    Returns:
        The tensor behind it, and factor and offset: it holds input * factor + offset.
    """
    tensor = model.inputs[0]
    factor, offset, found = np.float64(1), np.float64(0), False
    while len(model.consumers.get(tensor.index, ())) == 1:
        (operator,) = model.consumers[tensor.index]
        if operator.name not in _CASTS:
            affine = _affine(model, operator, tensor)
            if affine is None:
                break
            factor, offset = factor * affine[0], offset * affine[0] + affine[1]
            found = True
        tensor = model.tensors[operator.outputs[0]]
    return (tensor, factor, offset) if found else None


def _affine(
    model: Model, operator: reading.Operator, tensor: Tensor
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return factor and offset of an operator that only normalises its input."""
    options = operator.options
    if (
        operator.inputs[0] != tensor.index
        or options.get("fused_activation_function") != "NONE"
    ):
        return None
    constants = [model.tensors[i] for i in operator.inputs[1:] if i >= 0]
    if not constants or not all(constant.is_constant for constant in constants):
        return None
    channels = tensor.shape[-1]
    if operator.name == "DEPTHWISE_CONV_2D":  # as `fix_batch` is converted
        strides = options.get("stride_w"), options.get("stride_h")
        if constants[0].shape != (1, 1, 1, channels) or strides != (1, 1):
            return None
        values = [_real(constant).astype(np.float64).ravel() for constant in constants]
        return values[0], values[1] if len(values) > 1 else np.float64(0)
    if operator.name not in _ELEMENTWISE or constants[0].shape not in (
        (),
        (1,),
        (channels,),
        (1, 1, 1, channels),
    ):
        return None
    value = _real(constants[0]).astype(np.float64).ravel()
    return {
        "ADD": (np.float64(1), value),
        "SUB": (np.float64(1), -value),
        "MUL": (value, np.float64(0)),
        "DIV": (1 / value, np.float64(0)),
    }[operator.name]


# -------------------------------------------------------------------- the two runs


@dataclass
class _Sums:
    """What is gathered about one layer over the images."""

    ours: Tensor
    theirs: Tensor
    step: _Step | None = None
    weights: Tensor | None = None
    signal: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    signals: np.ndarray | float = 0.0
    noises: np.ndarray | float = 0.0
    cut: float = 0.0
    outside: int = 0
    count: int = 0
    low: np.ndarray | float = math.inf
    high: np.ndarray | float = -math.inf
    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, x: np.ndarray, integers: np.ndarray) -> None:
        if not np.isfinite(x).all():
            raise UnusableInput(
                f"{self.ours.name}: NaN or infinity in the float file: mend the float "
                "model first"
            )
        found = _real(self.theirs, integers).reshape(x.shape)
        self.signal.append(_energy(x))
        self.noise.append(_energy(x - found))
        self.count += x.size
        reach = self.theirs.real_range
        if reach:
            beyond = x - np.clip(x, *reach)
            self.cut += _energy(beyond)
            half = self.theirs.scale / 2
            self.outside += int(np.count_nonzero(np.abs(beyond) > half))
        columns, errors = _columns(x), _columns(x - found)
        self.signals = self.signals + np.einsum("nc,nc->c", columns, columns)
        self.noises = self.noises + np.einsum("nc,nc->c", errors, errors)
        self.low = np.minimum(self.low, columns.min(0))
        self.high = np.maximum(self.high, columns.max(0))

    def add_parts(
        self, names: list[str], sizes: list[int], x: np.ndarray, integers: np.ndarray
    ) -> None:
        axis = self.step.axis
        ends = np.cumsum(sizes)[:-1]
        found = _real(self.theirs, integers)
        for name, a, b in zip(
            names, np.split(x, ends, axis), np.split(found, ends, axis), strict=True
        ):
            sums = self.parts.setdefault(name, [0.0, 0.0, 0.0])
            sums[0] = max(sums[0], float(np.abs(a).max()))
            sums[1] += _energy(a)
            sums[2] += _energy(a - b)

    @property
    def largest(self) -> np.ndarray:
        """Return max |x| of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def constant(self) -> np.ndarray:
        """Return which channels never changed."""
        return self.high - self.low <= 1e-6 * max(self.largest.max(), 1e-30)

    @property
    def channel_sqnr(self) -> float:
        """Return the median over the channels that change."""
        acting = ~self.constant & (self.signals > 0)
        if not acting.any():
            return math.inf
        signals, noises = self.signals[acting], self.noises[acting]
        return float(
            np.median(10 * np.log10(signals / np.maximum(noises, 1e-12 * signals)))
        )

    @property
    def used(self) -> float:
        reach = self.theirs.real_range
        if not reach:
            return 1.0
        low, high = max(self.low.min(), reach[0]), min(self.high.max(), reach[1])
        return max(float((high - low) / (reach[1] - reach[0])), 0.0)


class _Run:
    """Sums over the images, one entry for the input and for each pair of steps."""

    def __init__(
        self,
        models: list[Model],
        steps: list[list[_Step]],
        pairs: list[tuple[_Step, _Step]],
        start: tuple[Tensor, Tensor],
    ) -> None:
        self.models = models
        self.sums = [_Sums(*start)]
        for ours, theirs in pairs:
            if ours.output.is_float:
                self.sums.append(
                    _Sums(ours.output, theirs.output, ours, theirs.weights)
                )
        self.places = {sums.ours.index: n for n, sums in enumerate(self.sums)}
        self.by_output = {step.output.index: step for step in steps[0]}
        self.ends = self._ends()
        self.logits = self._logits(pairs)
        self.energies: list[list[tuple[float, float]]] = []
        self.place = self._place_of_classes()
        self.answers: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def _ends(self) -> list[tuple[Tensor, Tensor]]:
        """Pair the outputs: by the layers behind them, the rest by shape and order."""
        ours, theirs = (list(model.outputs) for model in self.models)
        behind = {s.ours.index: s.theirs.index for s in self.sums}
        casts = {
            operator.outputs[0]: operator.inputs[0]
            for operator in self.models[1].operators
            if operator.name in _CASTS
        }
        ends = []
        for tensor in ours:
            known = [
                t
                for t in theirs
                if behind.get(tensor.index) in (t.index, casts.get(t.index))
            ]
            alike = [t for t in theirs if t.shape == tensor.shape]
            chosen = (known or alike)[0]
            theirs.remove(chosen)
            ends.append((tensor, chosen))
        return ends

    def _logits(self, pairs: list) -> list[tuple[Tensor, Tensor] | None]:
        """Return what enters a SOFTMAX at the end: there, errors are not squashed."""
        inputs = {
            a.output.index: (
                self.models[0].tensors[a.sources[0]],
                self.models[1].tensors[b.sources[0]],
            )
            for a, b in pairs
            if a.kind == "SOFTMAX"
        }
        return [inputs.get(ours.index) for ours, _ in self.ends]

    def _place_of_classes(self) -> int | None:
        """Return the output with one value a class, or one score.

        Of several, one that ends in SOFTMAX or LOGISTIC: boxes have values too.
        """
        found: list[tuple[bool, int]] = []
        for n, (tensor, _) in enumerate(self.ends):
            size = math.prod(tensor.shape)
            kind = getattr(self.by_output.get(tensor.index), "kind", "")
            if size == max(tensor.shape, default=0) and (size > 1 or kind in _SCORES):
                found.append((kind not in ("SOFTMAX", *_SCORES), n))
        return min(found)[1] if found else None

    def add(self, ours: dict[int, np.ndarray], theirs: dict[int, np.ndarray]) -> None:
        for sums in self.sums:
            x, integers = ours[sums.ours.index], theirs[sums.theirs.index]
            sums.add(x, integers)
            if sums.step and sums.step.kind == "CONCATENATION":
                tensors = [self.models[0].tensors[i] for i in sums.step.sources]
                sizes = [t.shape[sums.step.axis] for t in tensors]
                if sum(sizes) == x.shape[sums.step.axis]:
                    names = [t.name for t in tensors]
                    sums.add_parts(names, sizes, x, integers)
        self.energies.append([])
        for end, logits in zip(self.ends, self.logits, strict=True):
            a, b = (
                _real(tensor, values[tensor.index])
                for tensor, values in zip(logits or end, (ours, theirs), strict=True)
            )
            if logits:
                a, b = _centred(a), _centred(b)
            self.energies[-1].append((_energy(a), _energy(a - b)))
        if self.place is not None:
            for answers, tensor, values in zip(
                self.answers, self.ends[self.place], (ours, theirs), strict=True
            ):
                answers.append(_real(tensor, values[tensor.index]).ravel())

    def output_sqnr(self, chosen: slice | np.ndarray) -> float:
        sums = np.array(self.energies)[chosen].sum(0)
        return min(_sqnr(signal, noise) for signal, noise in sums.tolist())

    def layers(self, alone: dict[int, float]) -> tuple[Layer, ...]:
        ratios = [_sqnr(sum(s.signal), sum(s.noise)) for s in self.sums]
        found = []
        for sums, ratio in zip(self.sums, ratios, strict=True):
            inputs = self._inputs(sums)
            varying = sums.largest[~sums.constant]
            found.append(
                Layer(
                    operator=sums.step.kind if sums.step else "INPUT",
                    float_name=sums.ours.name,
                    int8_name=sums.theirs.name,
                    shape=sums.ours.shape,
                    sqnr=ratio,
                    channel_sqnr=sums.channel_sqnr,
                    worst_input=min((ratios[n] for n in inputs), default=math.inf),
                    saturated=sums.outside / sums.count,
                    clipped=_sqnr(sum(sums.signal), sums.cut),
                    used=sums.used,
                    activation_ratio=_spread(varying),
                    scale=sums.theirs.scales[0] if sums.theirs.scales else None,
                    inputs=inputs,
                    parts=tuple(
                        Part(name, reach, _sqnr(signal, noise))
                        for name, (reach, signal, noise) in sums.parts.items()
                    ),
                    weights_alone=alone.get(sums.ours.index),
                    **self._weights(sums, inputs),
                )
            )
        return tuple(found)

    def _inputs(self, sums: _Sums) -> tuple[int, ...]:
        """Return the layers whose output a layer reads, past those not matched."""
        found, waiting = set(), list(sums.step.sources) if sums.step else []
        while waiting:
            index = waiting.pop()
            if index in self.places:
                found.add(self.places[index])
            elif index in self.by_output:
                waiting += self.by_output[index].sources
        return tuple(sorted(found))

    def _weights(self, sums: _Sums, inputs: tuple[int, ...]) -> dict:
        """Look at the weights of a layer: which act, and who sets their scales."""
        step = sums.step
        if not step or not step.weights or not sums.weights:
            return {}
        weights = np.abs(step.weights.values().astype(np.float32))
        axis = reading.CHANNEL_AXIS[step.kind]
        weights = np.moveaxis(weights, axis, 0)
        acts = np.ones(weights.shape, bool)
        dead = 0
        if len(sums.constant) == len(weights):
            acts[sums.constant] = False
            dead += int(np.count_nonzero(weights[sums.constant].any(axis=_rest(acts))))
        before = self.sums[inputs[0]].constant if len(inputs) == 1 else np.zeros(0)
        if step.kind == "DEPTHWISE_CONV_2D":
            repeated = np.repeat(before, max(len(weights) // max(len(before), 1), 1))
            if len(repeated) == len(weights):
                acts[repeated.astype(bool)] = False
        elif len(before) == weights.shape[-1]:
            acts[..., before.astype(bool)] = False
            dead += int(np.count_nonzero(weights[..., before.astype(bool)].any(0)))
        alive = np.where(acts, weights, 0)
        per_channel = len(sums.weights.scales) > 1
        groups = _rest(weights) if per_channel else None
        whole, kept = weights.max(axis=groups), alive.max(axis=groups)
        grown = np.atleast_1d(whole)[np.atleast_1d(kept) > 0]
        base = np.atleast_1d(kept)[np.atleast_1d(kept) > 0]
        return {
            "granularity": sums.weights.granularity,
            "channel_ratio": _spread(alive.max(axis=_rest(alive))),
            "input_ratio": 1.0
            if step.kind == "DEPTHWISE_CONV_2D"
            else _spread(alive.max(axis=tuple(range(alive.ndim - 1)))),
            "dead": dead,
            "dead_ratio": float((grown / base).max()) if len(base) else 1.0,
        }

    def classes(self, labels: Sequence[int] | np.ndarray | None) -> dict:
        """Compare the answers, if an output has one value for each class."""
        if self.place is None:
            if labels is not None:
                raise UnusableInput("labels given, but no output has a value a class")
            return {
                "compared": "no output has one value a class: the SQNR alone",
                "agreement": None,
                "float_classes": (),
                "int8_classes": (),
                "class_count": 0,
            }
        ours, theirs = (np.stack(of) for of in self.answers)
        kind = getattr(self.by_output.get(self.ends[self.place][0].index), "kind", "")
        size = ours.shape[1]
        if size == 1:
            compared = "the one score above or below 0.5"
            size, first, second = 2, ours[:, 0] > 0.5, theirs[:, 0] > 0.5
        else:
            first, second = ours.argmax(1), theirs.argmax(1)
            spread = ours.min() >= -1e-3 and np.allclose(ours.sum(1), 1, atol=0.02)
            if spread:
                compared = f"the largest of {size} probabilities"
            elif kind in _SCORES:
                compared = f"the largest of {size} scores that do not add up to 1"
            else:
                compared = f"the largest of {size} values, which are no probabilities"
        first, second = first.astype(int), second.astype(int)
        result = {
            "compared": compared,
            "agreement": float(np.mean(first == second)),
            "float_classes": tuple(np.unique(first).tolist()),
            "int8_classes": tuple(np.unique(second).tolist()),
            "class_count": size,
        }
        if labels is None:
            return result
        labels = np.asarray(labels)
        if labels.min() < 0 or labels.max() >= size:
            raise UnusableInput(
                f"labels reach {labels.min()}..{labels.max()}: the model has classes "
                f"0..{size - 1}; expected a label, or a subfolder, for each of these"
            )
        return result | {
            "float_accuracy": float(np.mean(first == labels)),
            "int8_accuracy": float(np.mean(second == labels)),
            "label_count": len(np.unique(labels)),
        }


def _exchange(
    content: bytes,
    models: list[Model],
    pairs: list[tuple[_Step, _Step]],
    run: _Run,
    samples: np.ndarray,
) -> tuple[dict[int, float], float | None]:
    """Round the weights of one layer of the float file at a time, then of all.

    Same bytes, other numbers: float32 weights are overwritten where they lie with what
    the int8 file's integers stand for. The activations stay float.

    Returns:
        The output's SQNR by the layer's output tensor, and that of all layers at once.
    """
    if not len(samples):
        return {}, None
    users = _users(models[0], content)
    expected = _judged(content, samples, run)
    everything = bytearray(content)
    alone = {}
    for ours, theirs in pairs:
        if not _have_weights(ours, theirs) or ours.weights.dtype != "float32":
            continue
        changed = bytearray(content)
        for mine, other in ((ours.weights, theirs.weights), (ours.bias, theirs.bias)):
            if not (mine and other and mine.is_constant and other.is_constant):
                continue
            if mine.shape != other.shape or mine.dtype != "float32":
                continue
            place = _place(mine, content)
            if users[place] > 1 and mine is ours.bias:
                continue  # converters store equal biases once, for several layers
            data = _real(other).astype("<f4").tobytes()
            changed[place : place + len(data)] = data
            everything[place : place + len(data)] = data
        found = _judged(bytes(changed), samples, run)
        alone[ours.output.index] = _worst_output(expected, found)
    if not alone:
        return {}, None
    return alone, _worst_output(expected, _judged(bytes(everything), samples, run))


def _users(model: Model, content: bytes) -> dict[int, int]:
    """Count the tensors at each place of the file."""
    counts: dict[int, int] = {}
    for tensor in model.tensors:
        if tensor.is_constant:
            place = _place(tensor, content)
            counts[place] = counts.get(place, 0) + 1
    return counts


def _place(tensor: Tensor, content: bytes) -> int:
    """Return where in the file the data of a constant begins."""
    address, start = (
        np.frombuffer(of, np.uint8).__array_interface__["data"][0]
        for of in (tensor.data, content)
    )
    return address - start


def _judged(content: bytes, samples: np.ndarray, run: _Run) -> list[np.ndarray]:
    """Return the outputs of the float file; of a SOFTMAX the logarithms."""
    outputs = inference.predict(content, samples)
    return [
        _centred(np.log(np.maximum(values, 1e-30))) if logits else values
        for values, logits in zip(
            outputs if isinstance(outputs, list) else [outputs], run.logits, strict=True
        )
    ]


def _centred(logits: np.ndarray) -> np.ndarray:
    """Take off what a SOFTMAX does not see."""
    return logits - logits.mean(axis=-1, keepdims=True)


def _worst_output(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    return min(
        _sqnr(_energy(a), _energy(a - b)) for a, b in zip(expected, found, strict=True)
    )


def _content(file: bytes | Path | str) -> bytes:
    if isinstance(file, (str, Path)):
        reading.read(file)  # tells what is wrong with the path in one line
        return Path(file).read_bytes()
    return bytes(file)


def _energy(values: np.ndarray) -> float:
    values = values.ravel().astype(np.float64)
    return float(values @ values)


def _sqnr(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _spread(values: np.ndarray) -> float:
    """Return the largest over the median of the values above 0."""
    values = values[values > 0]
    return float(values.max() / np.median(values)) if len(values) else 1.0


def _columns(values: np.ndarray) -> np.ndarray:
    """Return the values as [positions, channels]."""
    return values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)


def _rest(values: np.ndarray) -> tuple[int, ...]:
    return tuple(range(1, values.ndim))
