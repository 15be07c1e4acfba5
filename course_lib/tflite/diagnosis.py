"""From what a comparison measured to the cause, and the cure that the course has.

Every rule asks two things: does the harm show (`Comparison` says where the output's
noise comes from), and does the file carry the mark of this cause. Both must hold, so
that a wide weight tensor which does no harm is not reported.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from course_lib.tflite.comparison import TO_BLAME, Comparison, Layer

import numpy as np

# Thresholds. "Real" are EfficientNet-Lite0 and the person detector, per-tensor and
# per-channel, on 8 to 30 crops of photographs; "nets" are those of
# benchmarks/diagnosis.py with the seeds 0 to 2, on 64 pictures.
#
# Output SQNR (of what enters a final softmax) below which a file is broken. Real: 4 dB
# for EfficientNet-Lite0 per-tensor, 15 to 25 dB for the three good files. Nets: -16 to
# 3 dB with a planted cause, 24 dB and more without.
BROKEN_SQNR = 12.0
# ... unless so many answers are those of the float file all the same.
KEPT_AGREEMENT = 0.95
# Values cut off, as an SQNR. Real: nothing below 33 dB. Nets: nothing below 28 dB, but
# 2 to 8 dB when calibrated on dark or flat pictures.
CLIPPED_SQNR = 20.0
# Share of the integers' range that the float values fill, median over the layers. Real
# and healthy nets: 0.8 to 1.0; calibrated on 0..255 for 0..1: below 0.01. A quarter is
# two of eight bits lost in every layer.
USED_SHARE = 0.25
# How often dead weights enlarge a scale. Real: up to 6.6 without harm, so this mark
# counts only where the weights do harm. Nets: 118 and more where planted.
DEAD_RATIO = 4.0
# Largest over median channel, of weights. Real: 10 in the layer that breaks
# EfficientNet-Lite0, up to 17 in layers that do no harm. Nets: up to 3, planted 10 and
# more.
CHANNEL_RATIO = 4.0
# The same for the input channels of a layer's weights. Real: up to 4.2, without harm.
INPUT_RATIO = 8.0
# The same of activations. Real: up to 6 before the softmax. Nets: up to 5, planted 34
# and more.
ACTIVATION_RATIO = 16.0
# Steps, of 255, that one input of a concatenation gets; 16 are four of eight bits.
# Nets: 0.4 for scores beside boxes of 640.
PART_STEPS = 16.0
# Pictures, and classes, from which one answer for all of them says something; by the
# same number of pictures an agreement is more than luck.
ENOUGH_IMAGES = 16
ENOUGH_CLASSES = 3

_EQUALIZE = (
    "`dlpu convert --repair` equalizes the channels or rounds with error compensation "
    "(lesson 07); per-channel weights help where the chip takes them."
)

# Ranges that the specification fixes say nothing about calibration.
_FIXED = ("SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")


@dataclass(frozen=True)
class Cause:
    """One reason why a file is wrong, and what to do.

    Attributes:
        id: "float-model", "shared-scale", "calibration", "dead-channels",
            "unequal-ranges", "silu", or "rounding" when none of these is seen.
        layer: The layer that shows it best, by its name in the float file; "" for the
            whole model.
        evidence: One sentence with the numbers.
        cure: One sentence that names the tool.

    Introduced in notebook 12.
    """

    id: str
    layer: str
    evidence: str
    cure: str


def diagnose(comparison: Comparison) -> tuple[Cause, ...]:
    """Name what is wrong with an int8 file, the likeliest cause first.

    Args:
        comparison: What `comparison.compare` returned.

    Returns:
        Causes; an empty tuple when nothing is wrong.

    Introduced in notebook 12.
    """
    causes = [*_float_model(comparison), *_shared_scale(comparison)]
    if is_broken(comparison):
        found = [
            *_calibration(comparison),
            *_silu(comparison),
            *_weights(comparison),
        ]
        causes += found or ([] if causes else [_rounding(comparison)])
    return tuple(causes)


def is_broken(comparison: Comparison) -> bool:
    """Return whether the int8 file answers differently from the float file."""
    agreement, classes = comparison.agreement, len(comparison.float_classes)
    # Few pictures, or one class for all of them, agree by chance.
    if comparison.images >= ENOUGH_IMAGES and classes > 1:
        if agreement >= KEPT_AGREEMENT:
            return False
        if len(comparison.int8_classes) == 1:
            return True
    return comparison.output_sqnr < BROKEN_SQNR


def _float_model(of: Comparison) -> Iterator[Cause]:
    cure = (
        "Mend the float model first: check --mean and --std against its training, and "
        "the momentum of its batch norms (lesson 05)."
    )
    if of.label_count > 1:
        chance = 1 / of.class_count
        error = 2 * (chance * (1 - chance) / of.images) ** 0.5
        if of.float_accuracy <= chance + error:
            yield Cause(
                "float-model",
                "",
                f"The float file is right for {of.float_accuracy:.2f} of {of.images} "
                f"pictures, where guessing among {of.class_count} classes gives "
                f"{chance:.2f}.",
                cure,
            )
            return
    if (
        len(of.float_classes) == 1
        and of.label_count != 1
        and of.class_count >= ENOUGH_CLASSES
        and of.images >= ENOUGH_IMAGES
    ):
        yield Cause(
            "float-model",
            "",
            f"The float file names class {of.float_classes[0]}, of {of.class_count}, "
            f"for all {of.images} pictures.",
            cure,
        )


def _shared_scale(of: Comparison) -> Iterator[Cause]:
    """Look for a concatenation that leaves one of its inputs hardly any steps."""
    for place, layer in enumerate(of.layers):
        if len(layer.parts) < 2 or not layer.scale:
            continue
        weak = min(layer.parts, key=lambda part: part.reach)
        wide = max(layer.parts, key=lambda part: part.reach)
        steps = weak.reach / layer.scale
        if (
            0 < steps < PART_STEPS
            and wide.reach >= PART_STEPS * weak.reach
            and (is_broken(of) or not _feeds_weights(of, place))
        ):
            yield Cause(
                "shared-scale",
                layer.name,
                f"One scale of {layer.scale:.3g} for values up to {wide.reach:.3g} and "
                f"values up to {weak.reach:.3g}, which get {steps:.1f} of 255 steps: "
                f"their SQNR is {weak.sqnr:.0f} dB.",
                "Give each its own output, or normalise the boxes to 0..1 inside the "
                "model and multiply on the CPU (lesson 07).",
            )
            return


def _feeds_weights(of: Comparison, place: int) -> bool:
    """Return whether a layer with weights comes after a layer."""
    reached = {place}
    for number, layer in enumerate(of.layers):
        if reached.intersection(layer.inputs):
            reached.add(number)
            if layer.granularity is not None:
                return True
    return False


def _calibration(of: Comparison) -> Iterator[Cause]:
    ranged = [layer for layer in of.layers if layer.operator not in _FIXED]
    # A channel that reaches far beyond the others outruns every calibration: what cuts
    # it off is another cause.
    cut = [
        layer
        for layer in ranged
        if layer.clipped < CLIPPED_SQNR and layer.activation_ratio < ACTIVATION_RATIO
    ]
    cure = (
        "Calibrate on 100 to 200 varied pictures of the deployed scene, normalised as "
        "in training; `calibration.check` looks at them (lesson 04)."
    )
    if cut:
        first = cut[0]
        worst = min(cut, key=lambda layer: layer.clipped)
        yield Cause(
            "calibration",
            first.name,
            f"The calibrated ranges are too narrow: {_places(cut)}; in "
            f"{_quoted(worst)} {worst.saturated:.0%} of the float values lie outside.",
            cure,
        )
        return
    used = float(np.median([layer.used for layer in ranged]))
    entry = ranged[0]
    if used < USED_SHARE or entry.used < USED_SHARE:
        yield Cause(
            "calibration",
            entry.name,
            f"The calibrated ranges are too wide: the pictures fill {entry.used:.1%} "
            f"of the input's range and {used:.1%} of the range of half the layers.",
            cure,
        )


def _silu(of: Comparison) -> Iterator[Cause]:
    """Look for the SiLU at which most is lost."""
    broken = [
        layer
        for place, layer in enumerate(of.layers)
        if _is_silu(of, place)
        and max(layer.activation_ratio, *(_before(of, place))) >= ACTIVATION_RATIO
    ]
    if not broken:
        return
    worst = min(broken, key=lambda layer: layer.channel_sqnr)
    yield Cause(
        "silu",
        worst.name,
        f"SiLU has no upper end: in {_quoted(worst)} the widest channel reaches "
        f"{worst.activation_ratio:.0f} times as far as the median channel, which keeps "
        f"{worst.channel_sqnr:.0f} dB.",
        "Retrain with ReLU6 in its place, or train with quantization in the loop "
        "(lesson 05).",
    )


def _before(of: Comparison, place: int) -> list[float]:
    return [of.layers[n].activation_ratio for n in of.layers[place].inputs]


def _is_silu(of: Comparison, place: int) -> bool:
    """Return whether a layer is HARD_SWISH, or x times LOGISTIC(x)."""
    layer = of.layers[place]
    if layer.operator == "HARD_SWISH":
        return True
    return layer.operator == "MUL" and any(
        of.layers[n].operator == "LOGISTIC"
        and set(of.layers[n].inputs) <= set(layer.inputs)
        for n in layer.inputs
    )


def _weights(of: Comparison) -> Iterator[Cause]:
    """Look at the layers whose weights do most of the harm, then at activations."""
    weighted = [layer for layer in of.layers if layer.weights_alone is not None]
    limit = of.probe_sqnr + TO_BLAME
    lowest = min((layer.weights_alone for layer in weighted), default=math.inf)
    if lowest > limit and of.weights_sqnr is not None and of.weights_sqnr <= limit:
        limit = lowest + TO_BLAME  # no layer alone, but all of them together
    blamed = sorted(
        (layer for layer in weighted if layer.weights_alone <= limit),
        key=lambda layer: layer.weights_alone,
    )
    dead = [layer for layer in blamed if layer.dead_ratio >= DEAD_RATIO]
    wide = [
        layer
        for layer in blamed
        if layer not in dead
        and layer.granularity == "per-tensor"
        and (layer.channel_ratio >= CHANNEL_RATIO or layer.input_ratio >= INPUT_RATIO)
    ]
    loud = [
        layer
        for layer in of.layers
        if layer.operator not in _FIXED
        and not layer.parts
        and layer.activation_ratio >= ACTIVATION_RATIO
    ]
    if dead:
        worst = dead[0]
        yield Cause(
            "dead-channels",
            worst.name,
            f"Weights of channels that never act set the scale of {_quoted(worst)}: "
            f"{worst.dead_ratio:.0f} times what the others need; its weights alone "
            f"bring the output to {worst.weights_alone:.0f} dB.",
            "`dlpu convert --repair` sets their weights to 0, which changes nothing in "
            "float (lesson 07).",
        )
    if wide:
        worst = wide[0]
        inward = worst.input_ratio > worst.channel_ratio
        ratio = max(worst.input_ratio, worst.channel_ratio)
        yield Cause(
            "unequal-ranges",
            worst.name,
            f"In {_quoted(worst)} the widest {'input ' * inward}channel is {ratio:.0f} "
            "times the median one, and they share a scale; its weights alone bring the "
            f"output to {worst.weights_alone:.0f} dB.",
            _EQUALIZE,
        )
    elif loud and not dead:
        worst = max(loud, key=lambda layer: layer.activation_ratio)
        yield Cause(
            "unequal-ranges",
            worst.name,
            f"In the output of {_quoted(worst)} the widest channel reaches "
            f"{worst.activation_ratio:.0f} times as far as the median one, which keeps "
            f"{worst.channel_sqnr:.0f} dB.",
            _EQUALIZE,
        )


def _rounding(of: Comparison) -> Cause:
    return Cause(
        "rounding",
        of.worst.name,
        f"No single cause is seen; the output has {of.output_sqnr:.0f} dB, and most is "
        f"lost in {_quoted(of.worst)}.",
        "Try `dlpu convert --repair` (lesson 07), then quantization-aware training "
        "(lesson 05).",
    )


def _places(layers: list[Layer]) -> str:
    return f"{len(layers)} layer{'s' if len(layers) > 1 else ''} cut values off"


def _quoted(layer: Layer) -> str:
    return "the input" if layer.operator == "INPUT" else repr(layer.name)
