"""The check of representative datasets recognises each mistake, and only that one."""

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration

import numpy as np
import pytest

RANGE = (0.0, 1.0)


def varied_images(count: int = 120) -> np.ndarray:
    """Images that differ in composition: bright and dark blocks at random places."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def rules(dataset, expected_range=RANGE) -> list[str]:
    found = calibration.check(dataset, expected_range=expected_range)
    return [finding.rule for finding in found]


def test_a_good_dataset_has_no_findings():
    assert rules(calibration.representative_dataset(varied_images())) == []


def test_pixels_that_were_not_normalised_are_a_wrong_scale():
    dataset = calibration.representative_dataset(varied_images(), std=1.0)
    assert rules(dataset) == ["scale"]


def test_zero_to_one_for_a_model_that_expects_minus_one_to_one_is_a_range():
    dataset = calibration.representative_dataset(varied_images())
    assert rules(dataset, (-1.0, 1.0)) == ["range"]


def test_pixels_that_are_never_dark_do_not_reach_the_range():
    images = np.maximum(varied_images(), 40).astype(np.float32) / 255
    assert rules(lambda: ([image[None]] for image in images)) == ["range"]


def test_twenty_images_are_few():
    assert rules(calibration.representative_dataset(varied_images(20))) == ["count"]


def test_frames_of_one_scene_are_alike():
    rng = np.random.default_rng(1)
    scene = varied_images(1)[0].astype(int)
    frames = scene + rng.integers(-5, 6, (120, *scene.shape))
    images = np.clip(frames, 0, 255).astype(np.uint8)
    assert rules(calibration.representative_dataset(images)) == ["alike"]


def test_noise_is_alike():
    noise = np.random.default_rng(2).integers(0, 256, (120, 64, 64, 3), dtype=np.uint8)
    assert rules(calibration.representative_dataset(noise)) == ["alike"]


def test_pixels_0_and_255_are_covered_without_changing_the_images():
    images = np.full((3, 8, 8, 3), 100, np.uint8)
    values = np.stack(
        [
            sample[0]
            for sample in calibration.representative_dataset(
                images, mean=127.5, std=127.5
            )()
        ]
    )
    assert values.shape == (3, 1, 8, 8, 3)
    assert values.dtype == np.float32
    assert (values.min(), values.max()) == (-1.0, 1.0)
    assert (images == 100).all()
    assert np.ptp(values[1:]) == 0


def test_images_must_be_pixels():
    dataset = calibration.representative_dataset(np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="expected uint8"):
        list(dataset())


def test_an_empty_dataset_and_a_wrong_shape_are_refused():
    with pytest.raises(UnusableInput, match="no image"):
        calibration.check(lambda: iter(()), expected_range=RANGE)
    with pytest.raises(UnusableInput, match=r"\[1, height, width, channels\]"):
        calibration.check(lambda: [[np.zeros((8, 8, 3))]], expected_range=RANGE)
