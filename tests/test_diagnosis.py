"""Each cause, planted into a small trained net, is named; healthy nets are clean."""

import importlib.util
from dataclasses import replace
from pathlib import Path

from course_lib.course import laboratory
from course_lib.quantization import conversion
from course_lib.tflite import comparison, diagnosis
from course_lib.vision import datasets, models

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

# The nets and the plants of the benchmark, which judges on other seeds.
_PATH = Path(__file__).parents[1] / "benchmarks" / "diagnosis.py"
_SPEC = importlib.util.spec_from_file_location("benchmark_of_diagnosis", _PATH)
plants = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(plants)


@pytest.fixture(scope="module")
def digits():
    """Return pictures and labels; the last ones are of writers never trained on."""
    images, labels = datasets.handwritten_digits()
    return np.array(images), np.array(labels)


@pytest.fixture(scope="module")
def trained():
    """Return the course's digit readers, with ReLU."""
    return {name: models.digit_reader(name) for name in ("depthwise", "residual")}


@pytest.fixture(scope="module")
def smooth(digits):
    """Return a residual net with SiLU."""
    tf.keras.utils.set_random_seed(0)
    model = plants.network("residual", activation="silu")
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    pixels = digits[0][:1200] / np.float32(plants.STD)
    model.fit(pixels, digits[1][:1200], epochs=4, verbose=0)
    return model


@pytest.fixture(scope="module")
def compared(digits):
    """Return a function that converts a net twice and compares the files."""
    datasets_by_name = plants.calibrations(digits[0])

    def compare(model, granularity="per-tensor", calibration="good", labels=False):
        fixed = conversion.fix_batch(model)
        return comparison.compare(
            conversion.convert_float(fixed),
            conversion.convert_full_integer(
                fixed, datasets_by_name[calibration], granularity=granularity
            ),
            digits[0][-32:],
            std=plants.STD,
            labels=digits[1][-32:] if labels else None,
            probes=8,
        )

    return compare


@pytest.fixture(scope="module")
def healthy(trained, compared):
    return compared(trained["depthwise"])


def copy(model):
    twin = tf.keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def ids(found):
    return [cause.id for cause in diagnosis.diagnose(found)]


def test_healthy_nets_are_clean(healthy, trained, smooth, compared):
    assert healthy.agreement > 0.9
    assert ids(healthy) == []
    for model in (trained["residual"], smooth):
        assert ids(compared(model, "per-channel")) == []


def test_dead_channels(trained, compared):
    model = laboratory.plant_dead_channels(trained["depthwise"])
    found = compared(model)
    (cause, *_) = diagnosis.diagnose(found)
    assert cause.id == "dead-channels"
    assert found.agreement < 0.5
    broken = {layer.name: layer for layer in found.layers}[cause.layer]
    assert broken.operator == "DEPTHWISE_CONV_2D"
    assert broken.dead_ratio > 100
    assert f"{broken.dead_ratio:.0f} times" in cause.evidence
    assert "--repair" in cause.cure


def test_dead_channels_of_a_residual_net(trained, compared):
    model = laboratory.plant_dead_channels(trained["residual"])
    assert ids(compared(model))[0] == "dead-channels"


def test_unequal_ranges(trained, compared):
    model = laboratory.plant_unequal_ranges(trained["depthwise"])
    found = compared(model)
    (cause, *_) = diagnosis.diagnose(found)
    assert cause.id == "unequal-ranges"
    assert cause.layer == found.worst.name
    assert found.worst.channel_ratio > diagnosis.CHANNEL_RATIO
    assert "--repair" in cause.cure


@pytest.mark.parametrize(
    ("calibration", "word"),
    [("dark pictures", "narrow"), ("0..255 for 0..1", "wide")],
)
def test_calibration(trained, compared, calibration, word):
    found = compared(trained["depthwise"], calibration=calibration)
    (cause, *_) = diagnosis.diagnose(found)
    assert cause.id == "calibration"
    assert word in cause.evidence
    assert "lesson 04" in cause.cure


def test_shared_scale(trained, compared):
    model = plants.with_boxes(copy(trained["residual"]), np.random.default_rng(0))
    found = compared(model, "per-channel")
    (cause,) = diagnosis.diagnose(found)
    assert cause.id == "shared-scale"
    (layer,) = (layer for layer in found.layers if layer.parts)
    assert cause.layer == layer.name
    boxes, scores = sorted(layer.parts, key=lambda part: -part.reach)
    assert scores.reach <= 1 < 300 < boxes.reach
    assert scores.sqnr < 5 < 30 < boxes.sqnr


def test_one_answer_of_the_float_model(trained, compared):
    model = plants.one_answer(copy(trained["residual"]), np.random.default_rng(0))
    (cause,) = diagnosis.diagnose(compared(model, "per-channel"))
    assert cause.id == "float-model"
    assert "for all 32 pictures" in cause.evidence


def test_a_float_model_that_guesses_needs_labels(healthy):
    """Only labels tell that well-mixed answers are wrong."""
    guessing = replace(
        healthy, label_count=10, float_accuracy=0.125, int8_accuracy=0.125
    )
    assert ids(guessing) == ["float-model"]
    good = replace(guessing, float_accuracy=0.5)
    assert ids(good) == []


def test_silu(smooth, compared):
    model = plants.outliers(copy(smooth), np.random.default_rng(0))
    found = compared(model, "per-channel")
    cause = diagnosis.diagnose(found)[0]
    assert cause.id == "silu"
    assert "ReLU6" in cause.cure


def test_hard_swish_is_a_silu(healthy):
    """The same rule for MobileNetV3's activation, which is one operator."""
    layers = list(healthy.layers)
    layers[2] = replace(layers[2], operator="HARD_SWISH", activation_ratio=50.0)
    broken = replace(healthy, layers=tuple(layers), agreement=0.2, output_sqnr=2.0)
    assert ids(broken)[0] == "silu"


def test_without_a_mark_it_says_so(healthy):
    broken = replace(healthy, agreement=0.2, output_sqnr=2.0)
    (cause,) = diagnosis.diagnose(broken)
    assert cause.id == "rounding"
    assert cause.layer == healthy.worst.name


def test_one_class_instead_of_many_is_broken(healthy):
    assert not diagnosis.is_broken(healthy)
    assert diagnosis.is_broken(replace(healthy, int8_classes=(3,), agreement=0.1))
    # Nearly all pictures are of one class, and one of the others was missed.
    rare = replace(healthy, float_classes=(3, 4), int8_classes=(3,), agreement=0.97)
    assert not diagnosis.is_broken(rare)


def test_outliers_that_are_cut_off_are_no_fault_of_the_calibration(healthy):
    layers = list(healthy.layers)
    layers[2] = replace(layers[2], clipped=5.0)
    broken = replace(healthy, layers=tuple(layers), agreement=0.2, output_sqnr=2.0)
    assert ids(broken)[0] == "calibration"
    layers[2] = replace(layers[2], activation_ratio=50.0)
    assert ids(replace(broken, layers=tuple(layers))) == ["unequal-ranges"]
