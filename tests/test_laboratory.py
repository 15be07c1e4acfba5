"""The collapse laboratory: what it plants, float does not feel and one scale does."""

from course_lib.course import laboratory
from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion, equalization
from course_lib.tflite import inference
from course_lib.vision import datasets, models

import numpy as np
import pytest

ARCHITECTURES = ("depthwise", "residual")
# By cause: the plant, and the cure that matches it.
CAUSES = {
    "dead": (laboratory.plant_dead_channels, equalization.remove_dead_channels),
    "unequal": (laboratory.plant_unequal_ranges, equalization.equalize),
}


@pytest.fixture(scope="module")
def digits():
    images, labels = datasets.handwritten_digits()
    test, training = datasets.DIGITS_TEST, datasets.DIGITS_TRAINING
    return images[training][:100], images[test], labels[test]


@pytest.fixture(scope="module")
def healthy():
    return {name: models.digit_reader(name) for name in ARCHITECTURES}


def answers(model, pixels: np.ndarray) -> np.ndarray:
    return model.predict(models.DIGIT_INPUT.normalise(pixels), verbose=0)


def accuracy(model, digits) -> float:
    _, pixels, labels = digits
    return float((answers(model, pixels).argmax(1) == labels).mean())


def per_tensor_accuracy(model, digits) -> float:
    calibration_images, pixels, labels = digits
    file = conversion.convert_full_integer(
        model,
        calibration.representative_dataset(calibration_images),
        granularity="per-tensor",
    )
    return float((inference.predict(file, pixels).argmax(1) == labels).mean())


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_scale_collapses_and_the_matching_cure_restores(
    architecture, cause, healthy, digits
):
    plant, cure = CAUSES[cause]
    sick = plant(healthy[architecture])
    expected = accuracy(sick, digits)
    assert expected > 0.8
    assert per_tensor_accuracy(sick, digits) < 0.2
    cured, changes = cure(sick, models.DIGIT_INPUT.normalise(digits[0]))
    assert changes
    assert per_tensor_accuracy(cured, digits) > expected - 0.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_loud_weights_of_dead_channels_are_not_heard(architecture, healthy, digits):
    pixels = digits[1][:50]
    quiet, loud = (
        laboratory.plant_dead_channels(healthy[architecture], factor=factor, seed=3)
        for factor in (1, 1000)
    )
    assert np.array_equal(answers(quiet, pixels), answers(loud, pixels))
    assert any(
        np.abs(one).max() > 100 * np.abs(other).max()
        for one, other in zip(loud.get_weights(), quiet.get_weights(), strict=True)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unequal_ranges_keep_the_function(architecture, healthy, digits):
    pixels, model = digits[1][:50], healthy[architecture]
    before = [value.copy() for value in model.get_weights()]
    sick = laboratory.plant_unequal_ranges(model, seed=3)
    assert np.allclose(answers(sick, pixels), answers(model, pixels), atol=1e-4)
    assert not all(map(np.array_equal, sick.get_weights(), before))
    assert all(map(np.array_equal, model.get_weights(), before))


def test_the_seed_chooses(healthy):
    for plant, _ in CAUSES.values():
        one, same, other = (
            plant(healthy["depthwise"], seed=seed).get_weights() for seed in (1, 1, 2)
        )
        assert all(map(np.array_equal, one, same))
        assert not all(map(np.array_equal, one, other))


def test_a_model_without_a_place_is_refused():
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    for plant, _ in CAUSES.values():
        with pytest.raises(UnusableInput, match="convolution, batch normalization"):
            plant(model)
