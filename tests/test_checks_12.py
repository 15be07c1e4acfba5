"""The checks of lesson 12 name the misconception that they see; its files hold it."""

import hashlib
import re

from course_lib.course.checks import lesson_12
from course_lib.tflite import comparison, diagnosis, inference, reading
from course_lib.vision import datasets
from course_lib.vision.evaluation import bootstrap_interval

import numpy as np
import pytest
from lessons import said

PUZZLES = lesson_12.PUZZLES
# What each file was made to show; the lesson takes a to d, the exercises e and f.
PLANTED = {
    "reader": [],
    "a": ["dead-channels"],
    "b": [],
    "c": ["calibration"],
    "d": ["calibration"],
    "e": ["unequal-ranges"],
    "f": ["float-model"],
}
FILES = sorted(PUZZLES.glob("*.tflite"))


def float_of(name):
    own = PUZZLES / f"{name}_float.tflite"
    return own if own.exists() else PUZZLES / "reader_float.tflite"


@pytest.fixture(scope="module")
def digits():
    images, labels = datasets.handwritten_digits()
    return images[datasets.DIGITS_TEST], labels[datasets.DIGITS_TEST]


@pytest.fixture(scope="module")
def compared(digits):
    return {
        name: comparison.compare(
            float_of(name), PUZZLES / f"{name}_int8.tflite", digits[0][:64], std=255
        )
        for name in PLANTED
    }


@pytest.mark.parametrize("name", PLANTED)
def test_each_file_shows_what_was_planted(compared, name):
    causes = diagnosis.diagnose(compared[name])
    assert [cause.id for cause in causes] == PLANTED[name]


def test_the_layer_is_the_one_that_the_check_wants(compared):
    worst = compared["e"].worst
    assert compared["e"].worst_by_weights
    assert "block2_depthwise" in worst.name
    assert worst.channel_ratio > 20
    weighted = [s for s in compared["e"].layers if s.weights_alone is not None]
    # The trap of the exercise: the SQNR is lowest elsewhere.
    assert min(weighted, key=lambda layer: layer.sqnr) is not worst


def test_the_files_are_what_their_page_says():
    page = (PUZZLES / "README.md").read_text("utf-8")
    contents = {path.name: path.read_bytes() for path in FILES}
    assert re.findall(r"^\| `(\S+)` \| ([\d,]+) \| `(\w+)` \|", page, re.M) == [
        (name, f"{len(content):,}", hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]
    assert sum(map(len, contents.values())) < 250_000
    for path in FILES:
        model = reading.read(path)
        assert model.inputs[0].shape == (1, 16, 16, 1)
        if path.stem.endswith("float"):
            assert model.quantization == "float"
        else:
            assert model.is_full_integer
            assert model.granularity == "per-tensor"
            assert model.inputs[0].dtype == "uint8"


def test_the_page_gives_nothing_away():
    page = (PUZZLES / "README.md").read_text("utf-8").lower()
    for word in ("dead", "unequal", "calibrat", "dark", "too short", "momentum"):
        assert word not in page


@pytest.mark.parametrize(
    "answer",
    [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", 7, (1, 2, 3)],
)
@pytest.mark.parametrize(
    "check",
    [
        lambda answer: lesson_12.broken_layer(answer, "unequal-ranges"),
        lambda answer: lesson_12.broken_layer("block2_depthwise", answer),
        lambda answer: lesson_12.accused(answer, 1, 1),
        lambda answer: lesson_12.accused("float-model", answer, 1),
        lambda answer: lesson_12.accused("float-model", 1, answer),
        lesson_12.interval_of_difference,
        lambda answer: lesson_12.interval_of_difference((answer, answer)),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


RATIO = "unequal-ranges"


@pytest.mark.parametrize(
    ("layer", "cause", "message"),
    [
        (..., ..., "not answered yet"),
        ("block2_depthwise", ..., "not answered yet"),
        ("block2_depthwise", RATIO, "correct"),
        (
            "reader/block2_depthwise_relu_1/Relu;more",
            RATIO,
            "correct",
        ),
        ("block2_depthwise", "unequal ranges", "one of the ids"),
        ("classifier", RATIO, "every error before it arrives there"),
        ("PartitionedCall:0", "rounding", "every error before it arrives there"),
        ("block2_depthwise", "float-model", "as well as the healthy one"),
        ("block2_depthwise", "calibration", "in many layers"),
        ("block2_depthwise", "dead-channels", "Every channel of this file acts"),
        ("block2_depthwise", "silu", "ReLU alone"),
        ("block2_depthwise", "rounding", "There is a mark"),
        ("block1_project", RATIO, "less harm than those of another"),
        ("stem", RATIO, "do most harm"),
    ],
)
def test_broken_layer(capsys, layer, cause, message):
    assert message in said(capsys, lambda _: lesson_12.broken_layer(layer, cause), None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((..., ..., ...), "not answered yet"),
        (("float-model", 55, 55), "correct"),
        (("float-model", np.int64(55), np.int64(55)), "correct"),
        (("bad", 55, 55), "one of the ids"),
        (("float-model", 55 / 597, 55 / 597), "not shares"),
        (("rounding", 585, 55), "another training"),
        (("calibration", 78, 55), "from 0 to 1"),
        (("rounding", 55, 55), "which of the two would be high"),
        (("unequal-ranges", 1, 55), "You blame the quantization"),
        (("float-model", 55, 1), "Run both files"),
    ],
)
def test_accused(capsys, answer, message):
    assert message in said(capsys, lambda a: lesson_12.accused(*a), answer)


@pytest.fixture(scope="module")
def hits():
    images, labels, digit = lesson_12.shifted_digits()
    right = {
        name: (
            inference.predict(PUZZLES / f"{name}_int8.tflite", images).argmax(1)
            == labels
        ).astype(int)
        for name in ("reader", "d")
    }
    return right["reader"], right["d"], digit


def test_the_shifted_digits_are_copies(digits):
    images, labels, digit = lesson_12.shifted_digits()
    assert images.shape == (180, 16, 16, 1)
    assert images.dtype == np.uint8
    assert np.bincount(digit).tolist() == [9] * 20
    for number in (0, 19):
        assert set(labels[digit == number]) == {digits[1][number]}
        middle = images[digit == number][4]
        assert np.array_equal(middle, digits[0][number])


def test_the_verdict_turns_with_the_groups(hits):
    healthy, other, digit = hits
    difference = other - healthy
    single = bootstrap_interval(difference, np.arange(len(digit)), seed=0)
    assert single[1] < 0 < bootstrap_interval(difference, digit, seed=0)[1]


@pytest.mark.parametrize("seed", range(5))
def test_any_seed_is_accepted(capsys, hits, seed):
    healthy, other, digit = hits
    answer = bootstrap_interval(other - healthy, digit, seed=seed)
    assert "correct" in said(capsys, lesson_12.interval_of_difference, answer)
    sums = np.bincount(digit, weights=other - healthy) / 9
    drawn = np.random.default_rng(seed).choice(sums, (2000, len(sums)))
    answer = np.quantile(drawn.mean(1), [0.025, 0.975])
    assert "correct" in said(capsys, lesson_12.interval_of_difference, answer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, b, g: ..., "not answered yet"),
        (lambda a, b, g: (b - a, g), "correct"),
        (lambda a, b, g: (b - a, np.arange(180)), "Nine shifts of one digit"),
        (lambda a, b, g: (a - b, g), "turned round"),
        (lambda a, b, g: (b, g), "the accuracy of one file. Subtract"),
        (lambda a, b, g: (a, g), "the accuracy of one file. Subtract"),
        (lambda a, b, g: (b, np.arange(180)), "and with 180 trials"),
        (lambda a, b, g: ((b - a)[:20], g[:20]), "20 of the 180"),
    ],
)
def test_interval_of_difference(capsys, hits, make, message):
    answer = make(*hits)
    if answer is not ...:
        answer = bootstrap_interval(*answer, seed=1)
    assert message in said(capsys, lesson_12.interval_of_difference, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((-0.1, ...), "not answered yet"),
        ((0.01, -0.1), "lower end first"),
        ((-0.1,), "two numbers"),
        ((-0.5, 0.5), "subtract"),
    ],
)
def test_no_interval(capsys, answer, message):
    assert message in said(capsys, lesson_12.interval_of_difference, answer)
