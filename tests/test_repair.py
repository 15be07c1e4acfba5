"""Repair keeps what helps, leaves out what does not, and says so."""

from course_lib.course import laboratory
from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion, repair
from course_lib.quiet import quiet
from course_lib.tflite import inference, reading
from course_lib.vision import datasets, models

import numpy as np
import pytest

with quiet():
    import keras

IMAGES, LABELS = datasets.handwritten_digits()
KNOWN = IMAGES[datasets.DIGITS_TRAINING][:80]
UNSEEN, TRUTH = IMAGES[datasets.DIGITS_TEST], LABELS[datasets.DIGITS_TEST]
DEAD, EQUAL = "dead channels removed", "channels equalized"


@pytest.fixture(scope="module")
def reader():
    with quiet():
        return models.digit_reader("depthwise")


def right(content):
    return np.mean(inference.predict(content, UNSEEN).argmax(1) == TRUTH)


def plain(model):
    dataset = calibration.representative_dataset(KNOWN, std=255)
    return conversion.convert_full_integer(model, dataset, granularity="per-tensor")


def tried(repaired):
    return {attempt.cure: attempt for attempt in repaired.attempts}


@pytest.mark.parametrize(
    ("plant", "cure"),
    [
        (laboratory.plant_dead_channels, DEAD),
        (laboratory.plant_unequal_ranges, EQUAL),
    ],
)
def test_a_planted_cause_is_cured(reader, plant, cure):
    broken = plant(reader, seed=3)
    before = right(plain(broken))
    healthy = right(plain(reader))
    told = []
    repaired = repair.repair(broken, KNOWN, tell=told.append)
    assert before < 0.4
    assert right(repaired.content) > healthy - 0.02
    attempts = tried(repaired)
    assert told == list(attempts)
    assert attempts[cure].kept
    assert attempts[cure].changes
    assert attempts[cure].error < attempts["none"].error / 2
    model = reading.parse(repaired.content)
    assert model.is_full_integer
    assert model.granularity == "per-tensor"
    assert model.inputs[0].dtype == "uint8"


def test_a_cure_with_nothing_to_do_is_told_and_not_kept(reader):
    attempts = tried(repair.repair(reader, KNOWN))
    idle = [attempt for attempt in attempts.values() if not attempt.changes]
    assert "none" in {attempt.cure for attempt in idle}
    assert not any(attempt.kept for attempt in idle if attempt.cure != "none")


def test_three_means_become_a_layer_of_the_file():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 16, 16, 3), np.uint8)
    mean, std = (124.0, 116.0, 104.0), (58.0, 57.0, 57.5)
    repaired = repair.repair(model, pictures, mean=mean, std=std, io="int8")
    made = reading.parse(repaired.content)
    assert made.inputs[0].dtype == "int8"
    assert made.operators[0].name == "DEPTHWISE_CONV_2D"
    expected = model.predict((pictures - np.float32(mean)) / np.float32(std), verbose=0)
    found = inference.predict(repaired.content, np.float32(pictures))
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_too_few_images_are_refused(reader):
    with pytest.raises(UnusableInput, match="19 images: expected 20 or more"):
        repair.repair(reader, KNOWN[:19])


def test_images_of_several_sizes_are_refused(reader):
    with pytest.raises(UnusableInput, match="several shapes"):
        repair.repair(reader, [*KNOWN[:20], KNOWN[0][1:]])


def test_a_std_of_0_is_refused_before_the_converter_dies_of_it(reader):
    with pytest.raises(UnusableInput, match="std above 0"):
        repair.repair(reader, KNOWN, std=0.0)


def test_many_easy_images_do_not_outvote_a_worse_mean():
    before = np.array([0.01] * 20 + [0.5] * 5)
    better, worse = before * 0.9, np.array([0.009] * 20 + [0.52] * 5)
    assert repair._helps(before, better)
    assert worse.mean() > before.mean()
    assert not repair._helps(before, worse)


def test_a_cure_that_names_fewer_answers_right_is_left_out(reader, monkeypatch):
    agreements = iter([0.9, *[0.8] * 9])
    monkeypatch.setattr(repair, "_agreement", lambda *_: next(agreements))
    broken = laboratory.plant_dead_channels(reader, seed=3)
    attempts = tried(repair.repair(broken, KNOWN))
    assert attempts[DEAD].error < attempts["none"].error / 2
    assert not attempts[DEAD].kept
    assert attempts[DEAD].why == "fewer answers as the float model's"
