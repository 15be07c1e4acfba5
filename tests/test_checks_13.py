"""The checks of lesson 13 name the misconception that they see."""

from course_lib.camera import fidelity
from course_lib.course.checks import lesson_13
from course_lib.dlpu import socs

import numpy as np
import pytest
from lessons import said

A8, A9, CPU, CV25 = (
    socs.SOCS[name].device for name in ("artpec8", "artpec9", "cpu", "cv25")
)
RIGHT = {
    "first": f"larod-client -g scene.tflite -c {A9} -i interleaved.bin -o first.bin",
    "second": f"larod-client -g scene_float.tflite -c {CPU} -i wide_float32.bin "
    "-o second.bin",
    "third": f"larod-client -g scene.onnx -c {CV25} -i planar.bin -o third.bin",
}


def scripts(touch="touch first.bin second.bin", **changed):
    """Return the repaired scripts with some lines changed."""
    lines = RIGHT | changed
    return {
        "artpec9": f"{touch}\n{lines['first']}\n{lines['second']}\n",
        "cv25": f"touch third.bin\n{lines['third']}\n",
    }


@pytest.mark.parametrize(
    "answer",
    [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", 7, (1, 2, 3)],
)
@pytest.mark.parametrize(
    "check",
    [
        lambda answer: lesson_13.byte_counts(answer, 288_000, 32_032),
        lambda answer: lesson_13.byte_counts(691_200, answer, 32_032),
        lambda answer: lesson_13.byte_counts(691_200, 288_000, answer),
        lesson_13.clean_scripts,
        lambda answer: lesson_13.clean_scripts({"artpec9": answer, "cv25": answer}),
        lesson_13.causes_of_dumps,
        lambda answer: lesson_13.causes_of_dumps(dict.fromkeys("abcd", answer)),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((..., ..., ...), "not answered yet"),
        ((691_200, ..., 32_032), "not answered yet"),
        ((691_200, 288_000, 32_032), "correct"),
        ((np.int64(691_200), 288_000.0, 32_032), "correct"),
        ((172_800, 288_000, 32_032), "How many bytes has a float32"),
        ((230_400, 288_000, 32_032), "each has three values"),
        ((1_382_400, 288_000, 32_032), "float64"),
        ((1, 288_000, 32_032), "height, width, channels and size"),
        ((691_200, 270_000, 32_032), "lacks the padding"),
        ((691_200, 1_152_000, 32_032), "the camera sends uint8"),
        ((691_200, 307_200, 32_032), "concerns rows alone"),
        ((691_200, 278_400, 32_032), "interleaved rows of 900"),
        ((691_200, 1, 32_032), "each row is padded"),
        ((691_200, 288_000, 4_004), "lies dense"),
        ((691_200, 288_000, 1_001), "CV25 gives float32"),
        ((691_200, 288_000, 128_128), "multiplies by 4 again"),
        ((691_200, 288_000, 1), "classes times the distance"),
    ],
)
def test_byte_counts(capsys, answer, message):
    assert message in said(capsys, lesson_13.byte_counts, *answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (scripts(), "correct"),
        (
            scripts(
                third=f"larod-client -o third.bin -R 2 -c {CV25} -i planar.bin "
                "-g scene.onnx"
            ),
            "correct",
        ),
        (scripts(first=RIGHT["first"].replace(A9, A8)), "To which chip"),
        (scripts(first=RIGHT["first"].replace(A9, "12")), "older versions of larod"),
        (scripts(first=RIGHT["first"].replace(A9, CPU)), "to test the DLPU"),
        (
            scripts(first=RIGHT["first"].replace(A9, "armnn-cpu-tflite")),
            "But it was to test the DLPU",
        ),
        (scripts(touch="pwd"), "Keep `touch`"),
        (
            scripts(second=RIGHT["second"].replace("wide_float32", "wide")),
            "which type has four bytes",
        ),
        (
            scripts(second=RIGHT["second"].replace("wide_float32", "planar")),
            "type, the size of the picture, or both",
        ),
        (
            scripts(
                second=RIGHT["second"]
                .replace("scene_float", "scene")
                .replace("wide_float32", "interleaved")
            ),
            "no longer runs the float file",
        ),
        (scripts(second=RIGHT["second"].replace(CPU, A9)), "was to run on the CPU"),
        (
            scripts(second=RIGHT["second"].replace("wide_float32.bin", "scene.onnx")),
            "Divide both numbers",
        ),
        (
            scripts(second=RIGHT["second"].replace("-i wide_float32.bin", "-i ''")),
            "something else than the scene",
        ),
        (
            scripts(third=RIGHT["third"].replace("planar", "interleaved")),
            "which layout",
        ),
        (scripts(third=RIGHT["third"].replace("planar", "plane")), "does not lie"),
        (scripts(third=RIGHT["third"].replace(".onnx", ".tflite")), "no .tflite"),
        (
            scripts(
                third=RIGHT["third"]
                .replace(".onnx", ".tflite")
                .replace(CV25, CPU)
                .replace("planar", "interleaved")
            ),
            "CV25's DLPU",
        ),
        (
            scripts(first=RIGHT["first"].replace("interleaved", "planar")),
            "not the computer's",
        ),
        (
            scripts(first=RIGHT["first"].replace("-tflite", "-native")),
            "compiled for it",
        ),
        (scripts(second=RIGHT["second"].replace("cpu-", "armnn-cpu-")), "plain one"),
        (scripts(third=""), "the outputs are called"),
        (scripts(third="reboot; rm -r x"), "the outputs are called"),
        ({"artpec9": scripts()["artpec9"]}, "Keep the two scripts"),
        ({"artpec9": "", "cv25": "larod-client -R 0"}, "the outputs are called"),
    ],
)
def test_clean_scripts(capsys, answer, message):
    assert message in said(capsys, lesson_13.clean_scripts, answer)


def test_the_dumps_show_what_was_planted():
    dumps = lesson_13.dumps()
    assert sorted(dumps) == ["a", "b", "c", "d"]
    found = {name: fidelity.compare(*pair) for name, pair in dumps.items()}
    assert {name: each.verdict for name, each in found.items()} == {
        "a": "wrong",
        "b": "wrong",
        "c": "not judged",
        "d": "wrong",
    }
    assert "int8" in found["a"].note
    assert "same answer" in found["b"].note
    assert found["d"].note == ""
    assert found["c"].sqnr > 20 > max(found[name].sqnr for name in "abd")
    expected, got = dumps["d"]
    assert sorted(map(tuple, expected)) == sorted(map(tuple, got))
    # A learner may scribble on them.
    got[:] = expected[:] = 0
    assert lesson_13.dumps()["d"][0].any()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        ({"a": "signed", "b": ..., "c": ..., "d": ...}, "not answered yet"),
        (
            {"a": "signed", "b": "constant", "c": "rounding", "d": "shuffled"},
            "correct",
        ),
        ({"a": "signed"}, "each of a, b, c, d"),
        (dict.fromkeys("abcd", "noise"), "one of the four"),
        (
            {"a": "rounding", "b": "constant", "c": "signed", "d": "shuffled"},
            "few bytes differ",
        ),
        (
            {"a": "constant", "b": "signed", "c": "rounding", "d": "shuffled"},
            "the 16 rows",
        ),
        (
            {"a": "shuffled", "b": "constant", "c": "rounding", "d": "signed"},
            "Subtract",
        ),
        (
            {"a": "signed", "b": "constant", "c": "rounding", "d": "rounding"},
            "at another place",
        ),
    ],
)
def test_causes_of_dumps(capsys, answer, message):
    assert message in said(capsys, lesson_13.causes_of_dumps, answer)
