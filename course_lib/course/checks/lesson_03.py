"""Checks of lesson 03, and what its exercises hand over."""

from collections.abc import Callable

from course_lib.course.checks import judge

import numpy as np

# Exercise 3.1: the two ranges, and the integers of int8.
_MIXED, _POSITIVE = (-1.0, 3.5), (1.0, 6.0)
_LOW, _HIGH = -128, 127


def scale_and_zero_point(mixed: tuple[float, int], positive: tuple[float, int]) -> None:
    """Check exercise 3.1: int8 parameters of the ranges −1..3.5 and 1..6.

    A zero point is exact. A scale may be so far off that the largest value moves by
    less than half a step, which is one part in 510.

    Introduced in notebook 03.
    """
    pairs = (mixed, positive)
    if any(pair is ... or _contains_ellipsis(pair) for pair in pairs):
        pairs = ...
    judge(
        "3.1",
        pairs,
        is_right=lambda a: (
            _matches(a[0], 4.5 / 255, -71) and _matches(a[1], 6.0 / 255, -128)
        ),
        hints=[
            hint
            for number, (minimum, maximum) in enumerate((_MIXED, _POSITIVE))
            for hint in _range_hints(number, minimum, maximum)
        ],
        otherwise="Give two pairs: the size of a step, and the integer of real 0.0.",
    )


def _range_hints(number: int, minimum: float, maximum: float) -> list:
    """Return the misconceptions about one range, in the order they are tried."""
    start = f"{minimum:g}..{maximum:g}: ".replace("-", "−")
    span = max(maximum, 0.0) - min(minimum, 0.0)
    steps_below_zero = -min(minimum, 0.0) / (span / 255)
    zero_point = round(_LOW + steps_below_zero)
    one_sided = max(abs(minimum), abs(maximum))

    def of_this(recognises: Callable) -> Callable:
        return lambda answer: recognises(float(answer[number][0]), answer[number][1])

    recognised = [
        (
            lambda scale, zero: minimum > 0 and _near(scale, (maximum - minimum) / 255),
            "the range does not contain 0 yet. Padding and ReLU need an integer for "
            "real 0.0, so widen the range first.",
        ),
        (
            lambda scale, zero: scale in {round(span / 255, n) for n in (2, 3, 4)},
            "the scale is rounded too far: 255 steps of it miss the end of the range.",
        ),
        (
            lambda scale, zero: _near(float(zero), span / 255),
            "the scale comes first in a pair, then the zero point.",
        ),
        (
            lambda scale, zero: _near(scale, span / 256),
            "256 integers have 255 steps between them.",
        ),
        (
            lambda scale, zero: any(
                _near(scale, wide) for wide in (one_sided / 127, one_sided / 127.5)
            ),
            "that is the symmetric choice. It spends integers on values below the "
            "minimum, which never occur.",
        ),
        (
            lambda scale, zero: _near(scale, 255 / span),
            "that is steps per unit. The scale is the size of one step: its inverse.",
        ),
        (
            lambda scale, zero: not _near(scale, span / 255),
            "the scale is the width of the widened range, divided by the number of "
            "steps.",
        ),
        (
            lambda scale, zero: zero == zero_point - _LOW,
            "that is the zero point of uint8, whose smallest integer is 0. The "
            "smallest integer of int8 is −128.",
        ),
        (
            lambda scale, zero: zero in (-zero_point, -zero_point - 1),
            "the zero point has the wrong sign. The minimum of the range gets −128, "
            "and 0.0 lies above it or on it.",
        ),
        (
            lambda scale, zero: zero != zero_point and abs(zero - zero_point) <= 1,
            "nearly: a zero point is rounded to the nearest integer, not cut off.",
        ),
        (
            lambda scale, zero: zero != zero_point,
            "count the steps from the minimum up to 0.0, starting at −128.",
        ),
    ]
    return [(of_this(recognises), start + text) for recognises, text in recognised]


def depthwise_kernel(repaired: Callable[[np.ndarray], tuple]) -> None:
    """Check exercise 3.2: one scale for each channel of a depthwise kernel.

    The function is called with a kernel [1, 3, 5, 7] of this check's own. What it
    returns is judged channel by channel: the scale is the largest magnitude divided by
    127, to float32's precision, and no weight moves by more than half a step.

    Introduced in notebook 03.
    """
    rng = np.random.default_rng(3)
    channels = 7
    kernel = rng.normal(size=(1, 3, 5, channels)) * 10.0 ** -np.arange(channels)
    kernel = kernel.astype(np.float32)
    answer: object = repaired
    if callable(repaired):
        try:
            integers, scale = repaired(kernel.copy())
            answer = np.asarray(integers), np.asarray(scale, np.float64)
        except Exception as error:  # a learner's function may fail in any way
            answer = error
    failure = (
        f"{type(answer).__name__}: {answer}" if isinstance(answer, Exception) else ""
    )
    largest = [float(abs(kernel[..., channel]).max()) for channel in range(channels)]
    wanted = np.array(largest) / 127

    def restored(integers: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return integers.astype(np.float64) * scale.reshape(1, 1, 1, -1)

    def exact_scale(a: tuple) -> bool:
        return a[1].size == channels and np.allclose(a[1].ravel(), wanted, rtol=1e-6)

    def within_half_a_step(a: tuple) -> bool:
        error = np.abs(restored(*a) - kernel).max(axis=(0, 1, 2))
        # float32 holds 127 steps to within 1e-5 of a step.
        return (error <= wanted * (0.5 + 1e-4)).all()

    judge(
        "3.2",
        answer if answer is ... or isinstance(answer, tuple) else (answer,),
        is_right=lambda a: (
            exact_scale(a)
            and a[0].shape == kernel.shape
            and a[0].dtype == np.int8
            and within_half_a_step(a)
        ),
        hints=[
            (
                lambda a: isinstance(a[0], Exception),
                "The function failed on a kernel of 1 × 3 × 5 × 7: "
                f"{failure.splitlines()[0][:100] if failure else ''}",
            ),
            (
                lambda a: a[1].size == 1,
                "One scale for seven channels: the maximum still runs over them.",
            ),
            (
                lambda a: a[1].size in (3, 5),
                "The scales run along the height or the width of the kernel. Each "
                "channel needs one.",
            ),
            (
                lambda a: a[1].size == 15,
                "One scale for each position of the kernel. The maximum of a channel "
                "runs over its positions.",
            ),
            (
                lambda a: a[1].size == kernel.size,
                "One scale for each weight: nothing would be saved.",
            ),
            (
                lambda a: (
                    a[1].size == channels
                    and np.allclose(a[1].ravel(), wanted * 127 / 128, rtol=1e-6)
                ),
                "Divided by 128, the largest weight becomes 128, which int8 wraps "
                "to −128.",
            ),
            (
                lambda a: (
                    a[1].size == channels
                    and np.allclose(a[1].ravel(), wanted * 127 / 127.5, rtol=1e-6)
                ),
                "Weights use −127..127: divide by 127.",
            ),
            (
                lambda a: (
                    a[1].size == channels
                    and np.allclose(a[1].ravel(), kernel.max(axis=(0, 1, 2)) / 127)
                ),
                "Some of the largest weights are negative: take magnitudes first.",
            ),
            (
                lambda a: exact_scale(a) and a[0].dtype != np.int8,
                "The scales are right. The integers are to be int8.",
            ),
            (
                lambda a: exact_scale(a),
                "The scales are right, but some weights move by more than half a step.",
            ),
        ],
        otherwise="Return the int8 kernel and one scale for each channel.",
    )


# Exercise 3.3: what the learner is handed.
PATCH = np.array([-128, -100, 35, 127], np.int8)
KERNEL = np.array([90, -127, 14, 60], np.int8)
INPUT_SCALE, INPUT_ZERO_POINT = 0.02, -128
KERNEL_SCALE = 0.005
BIAS = 0.75


def accumulator(answer: int) -> None:
    """Check exercise 3.3: the int32 accumulator of four products and a bias; exact.

    Introduced in notebook 03.
    """
    pairs = list(zip(PATCH.tolist(), KERNEL.tolist(), strict=True))
    moved = [(value - INPUT_ZERO_POINT, weight) for value, weight in pairs]
    bias = round(BIAS / (INPUT_SCALE * KERNEL_SCALE))
    products = sum(value * weight for value, weight in moved)
    raw = sum(value * weight for value, weight in pairs)
    added = sum((value + INPUT_ZERO_POINT) * weight for value, weight in pairs)
    wrapped = {
        sum(_int8(value) * weight for value, weight in moved),
        sum(_int8(_int8(value) * weight) for value, weight in moved),
        sum(_int8(value * weight) for value, weight in moved),
        _int8(sum(_int8(_int8(value) * weight) for value, weight in moved)),
        _int8(products),
    }
    wrapped_raw = {
        sum(_int8(value * weight) for value, weight in pairs),
        _int8(sum(_int8(value * weight) for value, weight in pairs)),
    }

    def with_bias(*sums: int) -> set[int]:
        return {total + extra for total in sums for extra in (0, bias)}

    judge(
        "3.3",
        answer,
        is_right=lambda a: float(a) == products + bias,
        hints=[
            (
                lambda a: products <= float(a) <= products + 1,
                "The products are right. The bias counts in steps too: how large is "
                "one step of a product?",
            ),
            (
                lambda a: any(
                    abs(float(a) - products - BIAS / scale) <= 0.5
                    for scale in (INPUT_SCALE, KERNEL_SCALE)
                ),
                "The bias has one of the two scales. A product has both: input scale "
                "× kernel scale.",
            ),
            (
                lambda a: float(a) in with_bias(raw),
                "The zero point is still inside: −128 stands for 0.0, so the first "
                "product is 0.",
            ),
            (
                lambda a: float(a) in with_bias(added),
                "The zero point is subtracted: real = scale × (integer − zero point).",
            ),
            (
                lambda a: float(a) in with_bias(*wrapped, *wrapped_raw),
                "NumPy kept int8 and wrapped around: 127 + 128 became −1. Widen the "
                "arrays to int32 first.",
            ),
            (
                lambda a: abs(float(a) - (products + bias)) <= 1,
                "Nearly: all of it is integers, so the sum is exact.",
            ),
        ],
        otherwise="Subtract the zero point from the inputs, multiply, sum, add the "
        "bias in steps of input scale × kernel scale.",
    )


def _int8(value: int) -> int:
    """Return what is left of an integer in eight bits."""
    return (value + 128) % 256 - 128


def _near(scale: float, reference: float) -> bool:
    """Tell whether 255 steps of two scales end less than half a step apart."""
    return abs(scale - reference) * 255 < reference / 2


def _matches(pair: tuple[float, int], scale: float, zero_point: int) -> bool:
    return _near(float(pair[0]), scale) and pair[1] == zero_point


def _contains_ellipsis(pair: object) -> bool:
    return isinstance(pair, (tuple, list)) and any(part is ... for part in pair)
