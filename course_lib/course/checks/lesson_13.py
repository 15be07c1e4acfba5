"""Checks of lesson 13, the files of its second and the dumps of its third exercise."""

import shlex
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise

from course_lib.camera import virtual
from course_lib.camera.client import CameraError
from course_lib.course.checks import judge
from course_lib.dlpu import cvflow, socs
from course_lib.errors import UnusableInput
from course_lib.tflite import inference
from course_lib.vision import models, scenes

import numpy as np

CAUSES = ("rounding", "signed", "shuffled", "constant")
_CAUSES = {"a": "signed", "b": "constant", "c": "rounding", "d": "shuffled"}
_FILES = {
    "scene.tflite": models.DATA / "scene_classifier_qat.tflite",
    "scene_float.tflite": models.DATA / "scene_classifier_float_256.tflite",
    "scene.onnx": models.DATA / "scene_classifier.onnx",
}
_OUTPUTS = ("first.bin", "second.bin", "third.bin")
# The scenes of the test, as in the lesson; scripts take this one of them.
_SEED, _COUNT, _SCENE = 505, 16, 0
# Classes of the output of exercise 13.1, the background among them.
_CLASSES = 1001


def byte_counts(float_input: int, planar_input: int, padded_output: int) -> None:
    """Check exercise 13.1: bytes of three buffers, exact.

    Introduced in notebook 13.
    """
    cv25 = socs.SOCS["cv25"]
    wide, square = 320 * 180 * 3, 300 * 300 * 3
    pitch = cvflow.row_pitch(300, multiple=cv25.row_pitch.value)
    right = (4 * wide, 3 * 300 * pitch, _CLASSES * cv25.output_stride.value)
    judge(
        "13.1",
        (float_input, planar_input, padded_output),
        is_right=lambda a: tuple(a) == right,
        hints=[
            (
                lambda a: a[0] == wide,
                "The first is the number of values. How many bytes has a float32?",
            ),
            (
                lambda a: a[0] == right[0] // 3,
                "The first counts pixels; each has three values.",
            ),
            (
                lambda a: a[0] == 8 * wide,
                "The first takes 8 bytes for a value: that would be float64.",
            ),
            (lambda a: a[0] != right[0], "Multiply height, width, channels and size."),
            (
                lambda a: a[1] == square,
                "The second lacks the padding: on CV25 a row of 300 bytes takes the "
                "next multiple of the row pitch.",
            ),
            (
                lambda a: a[1] in (4 * square, 4 * right[1]),
                "The second is for float32. CV25's compiler takes the .onnx in float, "
                "but the camera sends uint8.",
            ),
            (
                lambda a: a[1] == 3 * pitch * pitch,
                "In the second both sides are padded. A pitch concerns rows alone.",
            ),
            (
                lambda a: a[1] == 300 * cvflow.row_pitch(900),
                "The second pads interleaved rows of 900 bytes. Here each plane has "
                "rows of its own, of 300 bytes.",
            ),
            (
                lambda a: a[1] != right[1],
                "In the second each of the three planes has its own rows, and each "
                "row is padded.",
            ),
            (
                lambda a: a[2] == 4 * _CLASSES,
                "The third lies dense. How many bytes are there from value to value?",
            ),
            (
                lambda a: a[2] == _CLASSES,
                "The third is for one byte a value, as on ARTPEC. CV25 gives float32.",
            ),
            (
                lambda a: a[2] == 4 * right[2],
                "The third multiplies by 4 again: the distance between two values "
                "already holds the value.",
            ),
        ],
        otherwise="The third: classes times the distance from value to value.",
    )


def clean_scripts(scripts: Mapping[str, str]) -> None:
    """Check exercise 13.2: run the lines on virtual cameras and compare the outputs.

    Args:
        scripts: For "artpec9" and "cv25", what the camera's shell is to run.

    Introduced in notebook 13.
    """
    artpec9, cv25 = socs.SOCS["artpec9"], socs.SOCS["cv25"]
    cpu = socs.SOCS["cpu"].device

    def printed(text: str) -> Callable[[Mapping[str, str]], bool]:
        return lambda a: text in _ran(a)[0]

    def differs(output: str) -> Callable[[Mapping[str, str]], bool]:
        # An empty one was made by `touch` and never written.
        return lambda a: _ran(a)[1].get(output, b"") not in (b"", _expected()[output])

    def call(scripts: Mapping[str, str], output: str) -> dict[str, str]:
        """Return what follows each word of the line that writes an output."""
        lines = [line for text in scripts.values() for line in text.splitlines()]
        found = [shlex.split(line) for line in lines if "larod-client" in line]
        words = next(words for words in found if output in words)
        return dict(pairwise(words))

    def kept(scripts: Mapping[str, str]) -> bool:
        first, second, third = (call(scripts, output) for output in _OUTPUTS)
        return (
            first["-c"] == artpec9.device
            and (second["-g"], second["-c"]) == ("scene_float.tflite", cpu)
            and third["-c"] == cv25.device
        )

    judge(
        "13.2",
        scripts,
        is_right=lambda a: kept(a) and _ran(a)[1] == _expected(),
        hints=[
            (
                lambda a: set(a) != {"artpec9", "cv25"},
                'Keep the two scripts, for "artpec9" and "cv25".',
            ),
            (
                printed("Could not find device name"),
                "A camera does not have a device that you name. To which chip does "
                "each name belong?",
            ),
            (
                printed("Could not find chip"),
                "Numbers of chips are of older versions of larod. Name the device.",
            ),
            (
                printed(f"Could only read {256 * 256 * 3} out of"),
                "A file wants four times the bytes that came. The size is right; "
                "which type has four bytes a value?",
            ),
            (
                printed("Could only read"),
                "A file wants more bytes than came. Divide both numbers: is it the "
                "type, the size of the picture, or both?",
            ),
            (
                printed("Permission denied"),
                "An output file does not exist: the virtual camera writes only into "
                "files that were made before. Keep `touch`.",
            ),
            (
                printed("No such file"),
                "A file that you name does not lie on the camera.",
            ),
            (
                printed(f"simulation: {cv25.device} takes"),
                "CV25 takes no .tflite file.",
            ),
            (
                lambda a: call(a, "first.bin")["-c"].endswith("-native"),
                "A device in `-native` takes a file that was compiled for it. Which "
                "one takes a .tflite file?",
            ),
            (
                lambda a: call(a, "first.bin")["-c"] == cpu,
                "The CPU takes every integer file, so the first line runs. But it was "
                "to test the DLPU.",
            ),
            (
                lambda a: "armnn" in call(a, "first.bin")["-c"],
                "The first line runs, on the CPU: `armnn-cpu-tflite` is another "
                "library for it. But it was to test the DLPU.",
            ),
            (
                lambda a: call(a, "third.bin")["-c"] == cpu,
                "The third line runs on the CPU. It was to test CV25's DLPU.",
            ),
            (
                lambda a: call(a, "second.bin")["-g"] != "scene_float.tflite",
                "The second line no longer runs the float file. Repair its input.",
            ),
            (
                lambda a: "armnn" in call(a, "second.bin")["-c"],
                "`armnn-cpu-tflite` is the CPU too, through another library. Take "
                "the plain one.",
            ),
            (
                lambda a: call(a, "second.bin")["-c"] != cpu,
                "The second line was to run on the CPU, for comparison.",
            ),
            (
                differs("first.bin"),
                "The first line runs, and its bytes are not the computer's. Which of "
                "the pictures has the size and the order that this model takes?",
            ),
            (
                differs("third.bin"),
                "Nothing complains, and one answer is wrong: the number of bytes fits, "
                "their order does not. In which layout does CV25 take pixels?",
            ),
            (
                differs("second.bin"),
                "The second line runs, and on something else than the scene in "
                "float32.",
            ),
        ],
        otherwise="Every line must run, and the outputs are called "
        f"{', '.join(_OUTPUTS)}.",
    )


def dumps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what four cameras gave for the 16 scenes, beside what a computer gives.

    Returns:
        By the camera's name, the expected and the returned output, uint8 [16, 4] each.

    Introduced in notebook 13.
    """
    images = scenes.generate(_COUNT, seed=_SEED).images
    file = _FILES["scene.tflite"]
    expected = inference.predict(file, images, raw=True, reference=True)
    empty = inference.predict(file, np.zeros_like(images), raw=True, reference=True)
    got = {
        "signed": expected ^ 128,
        "constant": empty,
        "rounding": inference.predict(file, images, raw=True),
        "shuffled": np.roll(expected, 1, axis=0),
    }
    return {name: (expected.copy(), got[cause]) for name, cause in _CAUSES.items()}


def causes_of_dumps(causes: Mapping[str, str]) -> None:
    """Check exercise 13.3: what happened to each of the four dumps.

    Introduced in notebook 13.
    """
    # judge() sees that a part is missing in a tuple, not in a mapping.
    open_still = isinstance(causes, Mapping) and any(
        cause is ... for cause in causes.values()
    )

    def wrong(name: str) -> Callable[[Mapping[str, str]], bool]:
        return lambda a: a[name] != _CAUSES[name]

    judge(
        "13.3",
        ... if open_still else causes,
        is_right=lambda a: dict(a) == _CAUSES,
        hints=[
            (lambda a: set(a) != set(_CAUSES), "Name a cause for each of a, b, c, d."),
            (
                lambda a: not set(a.values()) <= set(CAUSES),
                "Give one of the four names of causes.",
            ),
            (
                wrong("c"),
                "In `c` few bytes differ, and by how much? That is no fault.",
            ),
            (
                wrong("b"),
                "Compare the 16 rows of what came back in `b` with each other.",
            ),
            (
                wrong("a"),
                "In `a` not one byte is equal. Subtract, as whole numbers, and look "
                "at the size of the difference.",
            ),
            (
                wrong("d"),
                "In `d` the rows look like proper answers. Are they in the computer's "
                "list too, at another place?",
            ),
        ],
        otherwise="Print expected and returned side by side, camera by camera.",
    )


def _scripts_key(scripts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((str(soc), str(text)) for soc, text in scripts.items())


def _ran(scripts: Mapping[str, str]) -> tuple[str, dict[str, bytes]]:
    """Return all that the scripts print, and the outputs that they write."""
    return _run_all(_scripts_key(scripts))


@cache
def _run_all(scripts: tuple[tuple[str, str], ...]) -> tuple[str, dict[str, bytes]]:
    printed, outputs = "", {}
    for soc, text in scripts:
        with virtual.start(soc, compile_seconds=0) as desk:
            folder = desk.root / "tmp"
            for name, content in _on_the_camera().items():
                (folder / name).write_bytes(content)
            (folder / "run.sh").write_text(text, "utf-8")
            try:
                with desk.connect() as camera:
                    reply = camera.execute(["sh", "run.sh"], timeout=30)
                printed += reply.stdout + reply.stderr
            except (CameraError, UnusableInput) as error:
                printed += str(error)
            outputs |= {
                path.name: path.read_bytes()
                for path in folder.glob("*.bin")
                if path.name in _OUTPUTS
            }
    return printed, outputs


@cache
def _on_the_camera() -> dict[str, bytes]:
    narrow = scenes.generate(_SCENE + 1, seed=_SEED).images[_SCENE]
    wide = scenes.generate(_SCENE + 1, seed=_SEED, size=256).images[_SCENE]
    return {
        **{name: file.read_bytes() for name, file in _FILES.items()},
        "interleaved.bin": narrow.tobytes(),
        "planar.bin": cvflow.planar(narrow[None]).tobytes(),
        "wide.bin": wide.tobytes(),
        "wide_float32.bin": models.SCENE_INPUT.normalise(wide).tobytes(),
    }


@cache
def _expected() -> dict[str, bytes]:
    """Return what the repaired lines write."""
    cpu = socs.SOCS["cpu"].device
    artpec9, cv25 = socs.SOCS["artpec9"].device, socs.SOCS["cv25"].device
    lines = (
        ("artpec9", "scene.tflite", artpec9, "interleaved.bin", "first.bin"),
        ("artpec9", "scene_float.tflite", cpu, "wide_float32.bin", "second.bin"),
        ("cv25", "scene.onnx", cv25, "planar.bin", "third.bin"),
    )
    scripts: dict[str, str] = {}
    for soc, model, device, entry, output in lines:
        call = f"larod-client -g {model} -c {device} -i {entry} -o {output}"
        scripts[soc] = scripts.get(soc, "") + f"touch {output}\n{call}\n"
    return _ran(scripts)[1]
