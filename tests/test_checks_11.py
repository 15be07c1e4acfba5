"""The checks of lesson 11 name the misconception that they see."""

from course_lib.course.checks import lesson_11
from course_lib.dlpu import socs
from course_lib.quantization import calibration, conversion
from course_lib.quiet import quiet

import numpy as np
import pytest
from lessons import said

LIMIT = socs.SOCS["artpec8"].partitions.value
MOST = (LIMIT - 1) // 2
SETTINGS = """
[tool.dlpu.lint]
soc = "artpec8"
fail-on = "warning"
ignore = ["unlisted-operator:MEAN"]
"""


def network(
    filters=(32, 48, 48),
    *,
    size=128,
    kernel=3,
    stride=2,
    activation="relu6",
    last="relu6",
    pad=False,
    classes=4,
    softmax=False,
    own=False,
    halve="MaxPooling2D",
    end="mean",
) -> bytes:
    """Return the network of exercise 11.1, more or less mended, converted."""
    with quiet():
        import tensorflow as tf

        layers = tf.keras.layers
        stack = [tf.keras.Input((size, size, 3), batch_size=1)]
        stack += [layers.ZeroPadding2D(1)] if pad else []
        for number, count in enumerate(filters):
            stack.append(
                layers.Conv2D(
                    count,
                    kernel if number == 1 else 3,
                    strides=stride if number == 1 else 2 if number < 3 else 1,
                    padding="valid" if pad and number == 0 else "same",
                    activation=activation if number < 2 else last,
                )
            )
        stack += [layers.LeakyReLU(0.1)] if own else []
        stack.append(getattr(layers, halve)(2))
        if end == "head":
            stack += [layers.Conv2D(classes, 1), layers.GlobalAveragePooling2D()]
        elif end == "maximum":
            stack += [layers.MaxPooling2D(8), layers.Flatten(), layers.Dense(classes)]
        else:
            stack += [layers.GlobalAveragePooling2D(), layers.Dense(classes)]
        stack += [layers.Softmax()] if softmax else []
        model = tf.keras.Sequential(stack)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, size, size, 3), np.uint8)
    dataset = calibration.representative_dataset(images, std=255)
    return conversion.convert_full_integer(model, dataset)


LEAKY = {"last": None, "own": True}
BROKEN = {"size": 96, "kernel": 4, "stride": 4, "pad": True, **LEAKY}


@pytest.mark.parametrize(
    ("filters", "options", "message"),
    [
        ((32, 48, 48), {}, "correct"),
        ((64, 64, 64, 64), {}, "correct"),
        ((20, 40, 40), BROKEN, "still the broken network"),
        ((32, 48), {}, "2 convolutions left"),
        ((16, 32, 32), {}, "round up, not down"),
        ((32, 48, 48), {"classes": 16}, "one row of 4"),
        ((32, 48, 48), {"softmax": True}, "A softmax came in"),
        ((24, 42, 42), {}, "ARTPEC-8's number"),
        ((24, 40, 40), {}, "Multiples of 8"),
        ((32, 40, 48), {}, "2 of 3 convolutions have a suitable"),
        ((32, 48, 48), LEAKY, "still a LeakyReLU"),
        ((32, 48, 48), {"last": "relu"}, "suits ARTPEC-8 better"),
        ((32, 48, 48), {"size": 96}, "Which size has the map"),
        ((32, 48, 48), {"end": "maximum"}, "a mean or a maximum"),
        ((32, 48, 48), {"halve": "AveragePooling2D"}, "not the one at the end"),
        ((32, 48, 48), {"end": "head"}, "correct"),
        ((32, 48, 48), {"size": 64}, "64 pixels wide"),
        ((48, 48, 32), {}, "round up, not down"),
        ((32, 48, 32, 48), {}, "correct"),
        ((32, 48, 48), {"last": None}, "no activation behind it"),
        ((32, 48, 48), {"activation": None}, "no activation behind it"),
        ((32, 48, 48), {**BROKEN, "last": "relu6", "own": False}, "explicit-pad"),
        ((32, 48, 48), {"size": 256, "stride": 4}, "still names stride"),
    ],
)
def test_mended_network(capsys, filters, options, message):
    told = said(capsys, lesson_11.mended_network, network(filters, **options))
    assert told.startswith("Exercise 11.1: ")
    assert message in told


@pytest.mark.parametrize(
    ("parts", "most", "message"),
    [
        (..., ..., "not answered yet"),
        (3, ..., "not answered yet"),
        (3, MOST, "correct"),
        (np.int64(3), np.int64(MOST), "correct"),
        (5, MOST, "float input and output"),
        (2, MOST, "before the island and after"),
        (1, MOST, "before the island and after"),
        (6, MOST, "they are one part"),
        (7, MOST, "in turns"),
        (3, LIMIT, "count as well"),
        (3, LIMIT // 2, "one part too many"),
        (3, LIMIT // 3, "one part together"),
        (3, LIMIT - 1, "more parts than the limit"),
        (3, MOST - 1, "float input and output"),
        (3, MOST - 3, "so does one with more"),
        ("3", MOST, "two integers"),
        (3, 7.0, "two integers"),
    ],
)
def test_counted_parts(capsys, parts, most, message):
    told = said(capsys, lesson_11.counted_parts, parts, most)
    assert told.startswith("Exercise 11.2: ")
    assert message in told


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", "correct"),
        ("\nsoc", '\nos = "12.11"\nsoc', "correct"),
        ("[tool", "[[tool", "not valid TOML"),
        ("tool.dlpu.lint", "dlpu.lint", "the table [tool.dlpu.lint]"),
        ("fail-on", "fail_on", "a hyphen"),
        ("fail-on", "failing", "others end it"),
        ("artpec8", "ARTPEC-8", "correct"),
        ("artpec8", "artpec9", "ships to ARTPEC-8"),
        ("artpec8", "artpec10", "ships to ARTPEC-8"),
        ('soc = "artpec8"', "", "ships to ARTPEC-8"),
        ('fail-on = "warning"\n', "", "Warnings still pass"),
        ('"warning"', '"error"', "Warnings still pass"),
        ('"warning"', '"note"', "more than was asked"),
        ('"warning"', '"warnings"', "error, warning or note"),
        ('["unlisted-operator:MEAN"]', '"unlisted-operator"', "a list of rules"),
        ('["unlisted-operator:MEAN"]', "[]", "stops every build"),
        ('"unlisted-operator:MEAN"', '"MEAN"', "not of operators"),
        ('"unlisted-operator:MEAN"', '"stride"', "from another rule"),
        (
            '"unlisted-operator:MEAN"',
            '"unlisted-operator:MEAN", "stride"',
            "never be seen",
        ),
        ("operator:MEAN", "operator", "for every operator"),
        (':MEAN"', '", "stride"', "but for every operator; and the other"),
        ("MEAN", "mean", "correct"),
        ("MEAN", "GlobalAveragePooling2D", "as the finding prints it"),
        ("MEAN", "PAD", "as the finding prints it"),
    ],
)
def test_ci_settings(capsys, old, new, message):
    told = said(capsys, lesson_11.ci_settings, SETTINGS.replace(old, new, 1))
    assert told.startswith("Exercise 11.3: ")
    assert message in told


@pytest.mark.parametrize("answer", ["a", None, 1, [], {}, b"TFL3", object()])
@pytest.mark.parametrize(
    "check",
    [
        lesson_11.mended_network,
        lesson_11.ci_settings,
        lambda answer: lesson_11.counted_parts(answer, answer),
        lambda answer: lesson_11.counted_parts(3, answer),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)
