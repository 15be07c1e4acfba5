"""Integer arithmetic of a quantized network, in NumPy, as TFLite specifies it.

Source of every rule: "LiteRT 8-bit quantization specification",
https://ai.google.dev/edge/litert/models/quantization_spec, and the reference kernels
(tensorflow/lite/kernels/internal/common.h). Read on 2026-11-21. The results equal those
of LiteRT's reference kernels bit for bit; the tests compare them.
"""

from dataclasses import dataclass

from course_lib.tflite.reading import Tensor

import numpy as np

INTEGER_RANGES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int32": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True)
class QuantizationParameters:
    """How integers stand for real numbers: real = scale × (integer − zero_point).

    Attributes:
        scale: Real size of one integer step; a float, or float64 [channels].
        zero_point: The integer that stands for real 0.0; an int, or int64 [channels].
        dtype: "int8", "uint8" or "int32".
        axis: The axis that the channels lie on; None means one scale per tensor.

    Introduced in notebook 03.
    """

    scale: float | np.ndarray
    zero_point: int | np.ndarray = 0
    dtype: str = "int8"
    axis: int | None = None

    def along(self, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and zero point, shaped to broadcast over a tensor.

        The scale is rounded to float32, as a file stores it, and returned as float64,
        as TFLite computes with it.

        Args:
            dimensions: Number of dimensions of that tensor.
        """
        shape = [1] * dimensions
        if self.axis is not None:
            shape[self.axis] = -1
        scale = np.asarray(self.scale, np.float32).astype(np.float64).reshape(shape)
        return scale, np.asarray(self.zero_point, np.int64).reshape(
            shape if np.ndim(self.zero_point) else [1] * dimensions
        )


def parameters_for_range(
    minimum: float, maximum: float, *, dtype: str = "int8", symmetric: bool = False
) -> QuantizationParameters:
    """Choose scale and zero point for activations that lie between two numbers.

    The range is widened to contain 0, because real zero (padding, ReLU) must have an
    integer of its own. Symmetric means zero point 0 (128 for uint8) and a largest value
    127 steps away from it, on either side.

    Raises:
        ValueError: When the range is empty, reversed or not finite.

    Example:
        >>> relu6 = parameters_for_range(0.0, 6.0)
        >>> round(relu6.scale, 4), relu6.zero_point
        (0.0235, -128)

    Introduced in notebook 03.
    """
    if not (np.isfinite(minimum) and np.isfinite(maximum) and minimum <= maximum):
        raise ValueError(f"range {minimum}..{maximum}: expected minimum <= maximum")
    low, high = INTEGER_RANGES[dtype]
    minimum, maximum = min(float(minimum), 0.0), max(float(maximum), 0.0)
    if minimum == maximum:
        raise ValueError("range 0..0: a tensor of zeros has no scale of its own")
    if symmetric:
        scale = max(-minimum, maximum) / ((high - low) // 2)
        return QuantizationParameters(scale, (high + low + 1) // 2, dtype)
    scale = (maximum - minimum) / (high - low)
    zero_point = int(np.clip(_round_half_away(low - minimum / scale), low, high))
    return QuantizationParameters(scale, zero_point, dtype)


def parameters_for_weights(
    weights: np.ndarray, *, axis: int | None = None
) -> QuantizationParameters:
    """Choose the scales of a weight tensor: int8, symmetric, from −127 to 127.

    Args:
        weights: Float tensor of any shape.
        axis: The output-channel axis, for one scale per channel; None for one scale.

    A channel of zeros, or of weights too small for float32 to hold their scale, gets
    scale 1, which stands for it to the last digit.

    Example:
        >>> parameters_for_weights(np.array([[1.27, 0.0], [0.0, 0.5]]), axis=0).scale
        array([0.01      , 0.00393701])

    Introduced in notebook 03.
    """
    weights = np.asarray(weights)
    others = (
        None
        if axis is None
        else tuple(
            other for other in range(weights.ndim) if other != axis % weights.ndim
        )
    )
    largest = np.max(np.abs(weights), axis=others).astype(np.float64)
    scale = np.where(largest / 127 < np.finfo(np.float32).tiny, 1.0, largest / 127)
    if axis is None:
        return QuantizationParameters(float(scale))
    return QuantizationParameters(scale, 0, "int8", axis % weights.ndim)


def parameters_of(tensor: Tensor) -> QuantizationParameters:
    """Return the parameters that a .tflite file holds for a tensor.

    Raises:
        UnusableInput: When the tensor has no scale.

    Introduced in notebook 03.
    """
    if tensor.granularity == "per-channel":
        return QuantizationParameters(
            np.array(tensor.scales),
            np.array(tensor.zero_points),
            tensor.dtype,
            tensor.quantized_dimension,
        )
    return QuantizationParameters(tensor.scale, tensor.zero_point, tensor.dtype)


def quantize(values: np.ndarray, parameters: QuantizationParameters) -> np.ndarray:
    """Round real numbers to integers; what lies outside the range saturates.

    Halves are rounded away from zero and the division is done in float32, as in
    TFLite's QUANTIZE operator.

    Example:
        >>> quantize(np.array([-9.0, 0.0, 0.4]), QuantizationParameters(0.5, 3))
        array([-15,   3,   4], dtype=int8)

    Introduced in notebook 03.
    """
    values = np.asarray(values, np.float32)
    scale, zero_point = parameters.along(values.ndim)
    steps = _round_half_away(values / scale.astype(np.float32)) + zero_point
    # Saturate before the cast: a float beyond int64 has no integer to be cast to.
    return np.clip(steps, *INTEGER_RANGES[parameters.dtype]).astype(parameters.dtype)


def dequantize(integers: np.ndarray, parameters: QuantizationParameters) -> np.ndarray:
    """Return the real numbers that integers stand for, float32 of the same shape.

    Example:
        >>> dequantize(np.array([-15, 3, 4], np.int8), QuantizationParameters(0.5, 3))
        array([-9. ,  0. ,  0.5], dtype=float32)

    Introduced in notebook 03.
    """
    integers = np.asarray(integers)
    scale, zero_point = parameters.along(integers.ndim)
    return (scale * (integers.astype(np.int64) - zero_point)).astype(np.float32)


def fixed_point(real_multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write positive real factors as integers: factor = multiplier × 2^(shift − 31).

    Returns:
        multiplier: int64, between 2^30 and 2^31 − 1 (0 for a factor below 2^-32).
        shift: int64, positive to the left.

    Example:
        >>> fixed_point(np.array([0.5, 0.75]))
        (array([1073741824, 1610612736]), array([0, 0]))
    """
    fraction, shift = np.frexp(np.asarray(real_multiplier, np.float64))
    multiplier = _round_half_away(fraction * 2**31).astype(np.int64)
    overflow = multiplier == 2**31
    multiplier = np.where(overflow, multiplier // 2, multiplier)
    shift = shift.astype(np.int64) + overflow
    vanishes = shift < -31
    return np.where(vanishes, 0, multiplier), np.where(vanishes, 0, shift)


def requantize(accumulator: np.ndarray, real_multiplier: np.ndarray) -> np.ndarray:
    """Scale int32 accumulators by a real factor with integer arithmetic only.

    A chip without floating point does this after every convolution: a 32-bit high
    multiplication, then a rounding right shift.

    Args:
        accumulator: int32 values; the channels, if any, on the last axis.
        real_multiplier: input scale × weight scale / output scale; float or [channels].

    Returns:
        int64 of the accumulator's shape, not yet moved by the output's zero point.

    Introduced in notebook 03.
    """
    multiplier, shift = fixed_point(real_multiplier)
    product = (accumulator.astype(np.int64) << np.maximum(shift, 0)) * multiplier
    nudge = np.where(product >= 0, 2**30, 1 - 2**30)
    # C divides towards zero, NumPy's // rounds down.
    high = np.sign(product + nudge) * (np.abs(product + nudge) >> 31)
    exponent = np.maximum(-shift, 0)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> exponent) + ((high & mask) > threshold)


def convolve(
    image: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    *,
    image_parameters: QuantizationParameters,
    weight_parameters: QuantizationParameters,
    output_parameters: QuantizationParameters,
    stride: int = 1,
    padding: str = "same",
    relu_limits: tuple[float, float] = (-np.inf, np.inf),
) -> np.ndarray:
    """Compute one int8 convolution the way a DLPU does: integers from end to end.

    Args:
        image: int8 [height, width, channels].
        weights: int8, CONV_2D's [out, kernel height, kernel width, channels], or
            DEPTHWISE_CONV_2D's [1, kernel height, kernel width, channels].
        bias: int32 [out], in steps of input scale × weight scale.
        image_parameters: Of the input; its zero point is what padding is filled with.
        weight_parameters: Zero point 0; one scale, or one for each output channel.
        output_parameters: Of the result.
        stride: Step in both directions.
        padding: "same" or "valid".
        relu_limits: Real bounds of the fused activation: (0, 6) for ReLU6.

    Returns:
        int8 [output height, output width, out].

    Introduced in notebook 03.
    """
    depthwise = len(weights) == 1 and len(bias) == weights.shape[3] > 1
    patches = _patches(
        image.astype(np.int64) - image_parameters.zero_point,
        kernel=weights.shape[1:3],
        stride=stride,
        padding=padding,
    )
    if depthwise:
        accumulator = np.einsum("yxhwc,hwc->yxc", patches, weights[0].astype(np.int64))
    else:
        rows = patches.reshape(-1, weights[0].size)
        columns = weights.reshape(len(weights), -1).T
        # int8 products summed in float64 stay exact below 2^53, and BLAS is fast.
        product = rows.astype(np.float64) @ columns.astype(np.float64)
        accumulator = product.astype(np.int64).reshape(*patches.shape[:2], -1)
    accumulator = accumulator + bias
    # TFLite holds scales as float32 and multiplies them as float64.
    input_scale, output_scale, weight_scale = (
        np.asarray(parameters.scale, np.float32).astype(np.float64)
        for parameters in (image_parameters, output_parameters, weight_parameters)
    )
    result = requantize(accumulator, input_scale * weight_scale / output_scale)
    result = result + output_parameters.zero_point
    low, high = (
        quantize(np.array(limit), output_parameters) if np.isfinite(limit) else bound
        for limit, bound in zip(relu_limits, INTEGER_RANGES["int8"], strict=True)
    )
    return np.clip(result, low, high).astype(np.int8)


def _patches(
    image: np.ndarray, *, kernel: tuple[int, int], stride: int, padding: str
) -> np.ndarray:
    """Return every window of an image: [out height, out width, kh, kw, channels]."""
    if padding == "same":
        totals = [
            max((-(-size // stride) - 1) * stride + extent - size, 0)
            for size, extent in zip(image.shape[:2], kernel, strict=True)
        ]
        # TFLite puts the odd pixel of padding at the bottom and on the right.
        image = np.pad(
            image, [(total // 2, total - total // 2) for total in totals] + [(0, 0)]
        )
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(0, 1))
    return np.moveaxis(windows[::stride, ::stride], 2, -1)


def _round_half_away(values: np.ndarray | float) -> np.ndarray:
    """Round to whole float64 numbers, halves away from zero, as C's round() does."""
    values = np.asarray(values, np.float64)
    return np.sign(values) * np.floor(np.abs(values) + 0.5)
