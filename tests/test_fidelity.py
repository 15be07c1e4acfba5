"""Is an output what it should be? Verdicts on planted differences."""

from course_lib.camera import fidelity
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput
from course_lib.tflite import inference, reading
from course_lib.vision import datasets

import numpy as np
import pytest
from lessons import ROOT

LITE0 = ROOT / "data/efficientnet_lite0_repaired.tflite"
SCENE = ROOT / "data/scene_classifier_qat.tflite"
A9 = fidelity.published("artpec9", device="a9-dlpu-tflite")
A9_CPU = fidelity.published("artpec9", device="cpu-tflite")


@pytest.fixture(scope="module")
def values():
    """Outputs as a detector has them: many values, most of them in use."""
    return np.random.default_rng(0).integers(0, 256, (4, 500, 10), dtype=np.uint8)


@pytest.fixture(scope="module")
def photographs():
    photos, _ = datasets.labelled_photographs()
    return np.stack([datasets.centre_crop(p, size=(224, 224)) for p in photos[:4]])


def test_published_measurements():
    """What the verdicts rest on: the one field note, and issue 508."""
    assert (A9.identical, A9.mean, A9.largest) == (0.4831, 1.0, 221)
    assert (A9_CPU.identical, A9_CPU.mean, A9_CPU.largest) == (0.9495, 0.079, 42)
    exact = fidelity.published(
        socs.SOCS["artpec8"], device="axis-a8-dlpu-tflite", against="cpu-tflite"
    )
    assert (exact.identical, exact.largest) == (1, 0)
    for entry in (A9, A9_CPU, exact):
        assert entry.source.url.startswith("http")
        assert entry.source.date
    assert fidelity.published("artpec8", device="axis-a8-dlpu-tflite") is None
    assert fidelity.published("cv25", device="ambarella-cvflow") is None
    # The report of a fault has no mean difference, so it is never a tolerance.
    faults = [entry for entry in socs.FIDELITY if entry.mean is None]
    assert faults
    for entry in faults:
        found = fidelity.published(
            entry.soc, device=entry.device, against=entry.against
        )
        assert found not in faults


def test_identical(values):
    found = fidelity.compare(values, values.copy(), published=A9)
    assert (found.verdict, found.identical, found.largest) == ("identical", 1, 0)
    assert found.values == 20_000
    assert found.sqnr is None
    assert found.published is None


def test_one_bit(values):
    got = values.copy()
    got[2, 17, 3] ^= 1
    found = fidelity.compare(values, got, published=A9_CPU)
    assert found.verdict == "as close as published"
    assert found.published is A9_CPU
    assert found.identical == 1 - 1 / 20_000
    assert (found.largest, found.unit) == (1, "steps")
    # The highest bit is more than the CPU's 42 steps, less than the DLPU's 221.
    got[2, 17, 3] = values[2, 17, 3] ^ 128
    verdicts = [
        fidelity.compare(values, got, published=measured).verdict
        for measured in (A9_CPU, A9, None)
    ]
    assert verdicts == ["further than published", "as close as published", "not judged"]


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [(1, "as close as published"), (4, "further than published"), (200, "wrong")],
)
def test_noise(values, noise, verdict):
    moved = np.random.default_rng(1).integers(-noise, noise + 1, values.shape)
    moved[:, ::2] = 0  # half of the values are equal, as in the field note
    got = np.clip(values.astype(int) + moved, 0, 255).astype(np.uint8)
    found = fidelity.compare(values, got, published=A9)
    assert found.verdict == verdict
    assert found.largest == np.abs(got.astype(int) - values).max()
    assert found.mean == pytest.approx(np.abs(got.astype(int) - values).mean())


def test_not_judged_without_a_measurement(values):
    got = np.where(values < 255, values + 1, values)
    assert fidelity.compare(values, got).verdict == "not judged"
    real, moved = values.astype(np.float32), got.astype(np.float32)
    found = fidelity.compare(real, moved, published=A9)
    assert (found.verdict, found.unit) == ("not judged", "units")
    # Real values with their scale are steps again.
    found = fidelity.compare(real * 0.5, moved * 0.5, scale=0.5, published=A9)
    assert (found.largest, found.unit) == (1, "steps")
    assert found.verdict == "further than published"  # no value is equal


def test_off_by_128():
    expected = np.random.default_rng(0).integers(-128, 128, (4, 9), dtype=np.int8)
    got = (expected.view(np.uint8) ^ 128).view(np.int8)
    found = fidelity.compare(expected, got, published=A9)
    assert found.verdict == "wrong"
    assert found.note.startswith("every value is off by 128")
    # Also when the device is not exact.
    got[0, 0] ^= 1
    assert "off by 128" in fidelity.compare(expected, got).note
    shuffled = np.random.default_rng(1).permuted(expected, axis=1)
    assert fidelity.compare(expected, shuffled).note == ""


def test_same_answer_for_every_input(values):
    found = fidelity.compare(values, np.repeat(values[:1], 4, axis=0), published=A9)
    assert found.verdict == "wrong"
    assert "same answer for every sample" in found.note
    # A step of rounding is no proof that the input does not matter.
    near = np.uint8([[0, 255], [0, 255], [1, 254]])
    flat = np.uint8([[0, 255]] * 3)
    assert fidelity.compare(near, flat, published=A9).verdict != "wrong"
    # Neither is an input that does not matter for the computer.
    assert fidelity.compare(flat, flat).verdict == "identical"


def test_not_a_number():
    expected = np.float32([[1, 2, 3]])
    found = fidelity.compare(expected, np.float32([[1, np.nan, 3]]))
    assert (found.verdict, found.mean, found.largest) == ("wrong", None, None)


def test_top1():
    expected = np.uint8([[0, 9, 200], [7, 7, 1]])
    # In the second sample either place is right.
    assert fidelity.compare(expected, expected[:, [1, 0, 2]]).same_top1 == 1
    assert fidelity.compare(expected, expected[:, ::-1]).same_top1 == 0.5
    assert fidelity.compare(expected, np.uint8([[0, 9, 10], [8, 7, 1]])).same_top1 == 1
    assert fidelity.compare(expected[..., None], expected[..., None]).same_top1 is None


def test_refuses_other_shapes(values):
    with pytest.raises(UnusableInput, match="same shape"):
        fidelity.compare(values, values[:2])
    with pytest.raises(UnusableInput, match="with values"):
        fidelity.compare(values[:0], values[:0])


def test_reference_and_default_kernels_are_close_and_planted_faults_are_not(
    photographs,
):
    """Where `WRONG_SQNR` lies between: sound pairs above, planted faults below."""
    expected = inference.predict(LITE0, photographs, raw=True, reference=True)
    default = inference.predict(LITE0, photographs, raw=True)
    sound = fidelity.compare(expected, default, published=A9_CPU)
    assert sound.verdict == "as close as published"
    assert sound.same_top1 == 1
    assert sound.sqnr > fidelity.WRONG_SQNR + 10
    planar = photographs.transpose(0, 3, 1, 2).reshape(photographs.shape)
    for fault in (planar, photographs ^ 128, photographs[::-1]):
        got = inference.predict(LITE0, np.ascontiguousarray(fault), raw=True)
        found = fidelity.compare(expected, got, published=A9)
        assert found.verdict == "wrong"
        assert found.sqnr < fidelity.WRONG_SQNR - 2
        # What the published numbers alone would have let pass: most values are 0.
        assert found.identical > A9.identical
        assert found.mean < A9.mean


def test_residual_adds():
    model = reading.read(SCENE)
    found = fidelity.residual_adds(model)
    assert [operator.name for operator in found] == ["ADD"] * 5
    assert (
        fidelity.residual_adds(reading.read(ROOT / "data/person_per_channel.tflite"))
        == ()
    )
