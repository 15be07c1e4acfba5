"""Does the camera compute what the computer computes?

Outputs are judged by what others have measured on cameras; those measurements are few,
one model each, and stand with their sources in socs.toml.
"""

import math
from dataclasses import dataclass, replace

from course_lib.dlpu import rules, socs
from course_lib.dlpu.socs import Fidelity, Soc
from course_lib.errors import UnusableInput
from course_lib.tflite.reading import Model, Operator

import numpy as np

# What a verdict is called in a text: close to one measurement does not mean right.
VERDICTS = {
    "identical": "identical",
    "as close as published": "as close as the one published measurement",
    "further than published": "further than the one published measurement",
    "wrong": "wrong",
    "not judged": "differs; no published measurement to judge it by",
}
FINDINGS = ("further than published", "wrong")
# Below this, in dB, an output is wrong. Measured on eight int8 files, of which four are
# in data/. Right (default against reference kernels, photographs and random input): at
# least 10.7 dB, tensors inside included. Planted, with photographs (planar pixels,
# pixels off by 128, samples or values in another order): at most 3.4 dB; red and blue
# swapped: up to 8.5 dB. With random input planted faults reach 45 dB: noise looks alike
# to a model.
WRONG_SQNR = 6.0
COMPUTER = "computer"


@dataclass(frozen=True)
class Difference:
    """How far an output is from the expected one.

    Attributes:
        values: How many were compared.
        identical: Share of them that are equal, 0 to 1.
        mean, largest: Absolute difference, in `unit`; None when a value is NaN or
            infinite.
        unit: "steps" of a quantized output (LSB), or "units" of a float one.
        sqnr: What varies in the expected output over the difference, dB; None when
            nothing varies or nothing differs.
        same_top1: Share of the samples whose largest value is at the expected place;
            None when an output is not one row of values.
        verdict: A key of `VERDICTS`.
        published: The measurement that decided; None when none was needed, or known.
        note: What is known of the cause, in one sentence; or "".

    Introduced in notebook 13.
    """

    values: int
    identical: float
    mean: float | None
    largest: float | None
    unit: str
    sqnr: float | None
    same_top1: float | None
    verdict: str
    published: Fidelity | None = None
    note: str = ""


def published(
    soc: Soc | str, *, device: str, against: str = COMPUTER
) -> Fidelity | None:
    """Return the published measurement of a device; None when there is none.

    Reports of a fault, which have no mean difference, are no measure of what is right.

    Args:
        soc: The chip, or its name.
        device: The larod device that is judged.
        against: "computer", or the larod device that it is compared with.

    Introduced in notebook 13.
    """
    soc = socs.find(soc) if isinstance(soc, str) else soc
    known = (
        entry
        for entry in socs.FIDELITY
        if (entry.soc, entry.device, entry.against) == (soc.id, device, against)
        and entry.mean is not None
        and entry.largest is not None
    )
    return next(known, None)


def compare(
    expected: np.ndarray,
    got: np.ndarray,
    *,
    scale: float | None = None,
    published: Fidelity | None = None,
) -> Difference:
    """Compare an output of a device with the expected one.

    It is "wrong" when the difference is as large as what varies in the output
    (`WRONG_SQNR`) and more than one step, or when samples get the same answer that
    should differ. Otherwise the published measurement decides, where there is one: as
    many equal values, and no larger difference in the mean and at most. One published
    measurement is one model on one camera: close to it does not mean right.

    Args:
        expected: [samples, ...], integers or floats.
        got: The same shape.
        scale: Size of one step, for quantized values that were made real; integers
            need none.
        published: From `published`.

    Returns:
        The difference with its verdict.

    Raises:
        UnusableInput: When the shapes differ, or there is no value.

    Example:
        >>> compare(np.uint8([[0, 9, 200]]), np.uint8([[0, 9, 201]])).verdict
        'not judged'
        >>> compare(np.uint8([[0, 9, 200]]), np.uint8([[128, 137, 72]])).note
        'every value is off by 128: int8 is read as uint8, or the reverse'

    Introduced in notebook 13.
    """
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape or not expected.size:
        raise UnusableInput(
            f"outputs of shapes {expected.shape} and {got.shape}: expected two of the "
            "same shape, with values"
        )
    unit = "steps" if scale or expected.dtype.kind in "iub" else "units"
    apart = np.abs(_float(got) - _float(expected)) / (scale or 1)
    sound = bool(np.isfinite(apart).all())
    sqnr = _sqnr(expected, got)
    found = Difference(
        values=expected.size,
        identical=float(np.mean(expected == got)),
        mean=float(apart.mean()) if sound else None,
        largest=float(apart.max()) if sound else None,
        unit=unit,
        sqnr=sqnr,
        same_top1=_same_top1(expected, got),
        verdict="identical",
    )
    if found.identical == 1:
        return found
    if not sound:
        return replace(found, verdict="wrong", note="values are NaN or infinite")
    rounding = unit == "steps" and found.largest <= 1
    if not rounding and _is_same(got) and not _is_same(expected):
        note = "the same answer for every sample: the input does not matter"
        return replace(found, verdict="wrong", note=note)
    if not rounding and sqnr is not None and sqnr < WRONG_SQNR:
        return replace(found, verdict="wrong", note=_cause(expected, got))
    if published is None or unit == "units":
        return replace(found, verdict="not judged")
    close = (
        found.identical >= published.identical
        and found.mean <= published.mean
        and found.largest <= published.largest
    )
    verdict = "as close as published" if close else "further than published"
    return replace(found, verdict=verdict, published=published)


def _float(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _sqnr(expected: np.ndarray, got: np.ndarray) -> float | None:
    signal = float(_float(expected).var())
    noise = float(np.mean((_float(got) - _float(expected)) ** 2))
    if not (signal and noise and math.isfinite(signal) and math.isfinite(noise)):
        return None
    return 10 * math.log10(signal / noise)


def _is_same(values: np.ndarray) -> bool:
    """Return whether all samples are equal."""
    return bool(len(values) > 1 and (values == values[:1]).all())


def _same_top1(expected: np.ndarray, got: np.ndarray) -> float | None:
    if expected.ndim < 2 or not 1 < expected.shape[-1] == expected[0].size:
        return None
    expected, got = (values.reshape(len(values), -1) for values in (expected, got))
    # Equal values are common among integers: either place is right.
    chosen = np.take_along_axis(expected, got.argmax(1)[:, None], 1)[:, 0]
    return float(np.mean(chosen == expected.max(1)))


def _cause(expected: np.ndarray, got: np.ndarray) -> str:
    """Name the one cause that the values themselves show."""
    if expected.dtype == got.dtype and expected.dtype in ("int8", "uint8"):
        moved = (got.view(np.uint8) ^ 128).view(got.dtype)
        sqnr = _sqnr(expected, moved)
        if (expected == moved).all() or (sqnr is not None and sqnr >= WRONG_SQNR):
            return "every value is off by 128: int8 is read as uint8, or the reverse"
    return ""


def residual_adds(model: Model) -> tuple[Operator, ...]:
    """Return the ADDs of two branches whose sum a convolution reads.

    These are what the open report on ARTPEC-9, acap-native-sdk-examples issue 508, is
    about: the linter's rule "residual-add" finds them. An ADD whose sum is an output
    already, which is the report's way around, is not among them.

    Introduced in notebook 13.
    """
    report = rules.lint(model, soc="artpec9")
    found = {f.operator_index for f in report.findings if f.rule == "residual-add"}
    return tuple(model.operators[index] for index in sorted(found))
