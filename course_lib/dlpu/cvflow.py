"""What CV25 and CV75 want beside the model: planar pixels, padded rows, calibration.

Their compiler, Ambarella's CNNGen, is closed and was not run here. What follows rests
on what Axis publishes about it; each function names its source. Needs NumPy alone.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from course_lib import files
from course_lib.errors import UnusableInput

import numpy as np

FOLDER = "dra_image_bin"
LIST = "dra_bin_list.txt"
SOURCES = {
    "onnx": "https://developer.axis.com/computer-vision/on-device/how-to-guides/"
    "onnx-to-cv25",
    "tflite": "https://github.com/AxisCommunications/acap-native-sdk-examples/tree/"
    "bc54811/tensorflow-to-larod-cv25",
    # Could not be read.
    "cv75": "https://developer.axis.com/computer-vision/on-device/how-to-guides/"
    "onnx-to-cv75",
}
_FLOAT = 4  # bytes of a float32
_OURS = re.compile(r"\d{4,}\.bin").fullmatch


def planar(images: np.ndarray) -> np.ndarray:
    """Turn RGB interleaved images into RGB planar: all red, all green, all blue.

    Not checked on a camera. Source: Axis, DLPU model conversion, 2025-10-10: CV25
    wants RGB planar.

    Args:
        images: uint8 [N, height, width, 3].

    Returns:
        uint8 [N, 3, height, width], contiguous in memory.

    Raises:
        UnusableInput: When shape or type is another.

    Example:
        >>> planar(np.uint8([[[[1, 2, 3], [4, 5, 6]]]])).tobytes().hex(" ")
        '01 04 02 05 03 06'

    Introduced in notebook 09.
    """
    _expect(images, rank=4, channels_at=3, wanted="uint8 [N, height, width, 3]")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def interleaved(images: np.ndarray) -> np.ndarray:
    """Turn RGB planar images into RGB interleaved, the inverse of `planar`.

    Args:
        images: uint8 [N, 3, height, width].

    Returns:
        uint8 [N, height, width, 3], contiguous in memory.

    Raises:
        UnusableInput: When shape or type is another.

    Introduced in notebook 09.
    """
    _expect(images, rank=4, channels_at=1, wanted="uint8 [N, 3, height, width]")
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def row_pitch(width: int, *, multiple: int = 32) -> int:
    """Return the bytes from one row to the next, for one byte a pixel.

    Not checked on a camera. Source: larod 3.2.254, preprocessing: pitches on CVflow are
    multiples of 32.

    Raises:
        UnusableInput: When width or multiple is not positive.

    Example:
        >>> row_pitch(300), row_pitch(320)
        (320, 320)

    Introduced in notebook 09.
    """
    if width < 1 or multiple < 1:
        raise UnusableInput(
            f"width {width}, multiple {multiple}: expected positive integers"
        )
    return -(-width // multiple) * multiple


def pad_rows(image: np.ndarray, *, pitch: int = 32) -> np.ndarray:
    """Pad each row of a planar image with zeros to a multiple of bytes.

    Not checked on a camera. Source: Axis's example object-detection-cv25, 2026-08-18,
    which adds 20 bytes to each row of an image of 300 by 300.

    Args:
        image: uint8 [3, height, width].
        pitch: Multiple of bytes that a row must have.

    Returns:
        uint8 [3, height, row_pitch(width, multiple=pitch)], contiguous in memory.

    Raises:
        UnusableInput: When shape or type is another.

    Introduced in notebook 09.
    """
    _expect(image, rank=3, channels_at=0, wanted="uint8 [3, height, width]")
    width = image.shape[2]
    missing = row_pitch(width, multiple=pitch) - width
    return np.pad(image, ((0, 0), (0, 0), (0, missing)))


def read_output(data: bytes, count: int, *, stride: int = 32) -> np.ndarray:
    """Read an output whose float32 values stand a fixed number of bytes apart.

    Not checked on a camera. Source: Axis's accuracy test, axis-model-zoo, 2026-08-18:
    1001 values in 32,032 bytes, each followed by zeros. Axis's object-detection-cv25
    reads its outputs without padding instead (`stride=4`). On the camera, ask larod for
    the tensor's pitches.

    Args:
        data: The tensor's bytes, little-endian.
        count: Number of values.
        stride: Bytes from one value to the next.

    Returns:
        float32 [count].

    Raises:
        UnusableInput: When the number of bytes is not count × stride.

    Example:
        >>> data = np.float32(0.5).tobytes() + bytes(28) + np.float32(2).tobytes()
        >>> read_output(data + bytes(28), 2).tolist()
        [0.5, 2.0]

    Introduced in notebook 09.
    """
    if count < 1 or stride < _FLOAT or stride % _FLOAT:
        raise UnusableInput(
            f"count {count}, stride {stride}: expected at least one value and a stride "
            f"that is a multiple of {_FLOAT} bytes"
        )
    if len(data) != count * stride:
        dense = len(data) == count * _FLOAT
        hint = (
            "these values lie without padding: set stride=4"
            if dense
            else ("check the number of values, and the pitches that larod reports")
        )
        raise UnusableInput(
            f"output has {len(data):,} bytes: expected {count:,} values of {stride} "
            f"bytes, {count * stride:,}; {hint}"
        )
    words = np.frombuffer(data, "<f4").reshape(count, stride // _FLOAT)
    return words[:, 0].astype(np.float32)


def write_calibration(folder: Path | str, images: np.ndarray) -> Path:
    """Write calibration images as raw RGB planar files, and the list that names them.

    The files stand for what Ambarella's gen_image_list.py makes with `-c 0 -d 0,0`:
    RGB, unsigned 8-bit. That they are planar is inferred from the parser's shape,
    1,3,height,width. Not checked with the toolchain, which is closed; whether it pads
    rows is not published, so prefer a width that is a multiple of 32. Source: Axis,
    tensorflow-to-larod-cv25, 2026-08-18, and ONNX to CV25, 2026.

    Args:
        folder: Made when missing. The list names the files by their place in it, such
            as `dra_image_bin/0000.bin`: run the toolchain in the folder above.
        images: uint8 [N, height, width, 3], 100 to 200 as Axis advises.

    Returns:
        Path of the list. It is written last: where it is, all its images are.

    Raises:
        UnusableInput: When the images have another shape or type, or the folder holds
            other files.

    Introduced in notebook 09.
    """
    if len(images) == 0:
        raise UnusableInput("no calibration image: expected 100 to 200")
    pixels = planar(images)
    folder = Path(folder).absolute()
    names = [f"{number:04}.bin" for number in range(len(pixels))]
    _make_room(folder, {*names, LIST})
    for name, image in zip(names, pixels, strict=True):
        files.write(folder / name, image.tobytes())
    lines = "".join(f"{folder.name}/{name}\n" for name in names)
    return files.write(folder / LIST, lines.encode())


def commands(
    *,
    soc: str,
    name: str,
    shape: tuple[int, int],
    input_name: str,
    output_names: Sequence[str],
    from_tflite: bool = False,
    unit_range: bool = False,
    force_16_bit: bool = False,
    folder: str = FOLDER,
) -> list[str]:
    """Return the lines of a shell script that compiles a float model for CVflow.

    Not run here: the toolchain is closed. Every flag stands in Axis's guide ONNX to
    CV25 (2026) or in its example tensorflow-to-larod-cv25 (2026-08-18); none is added.
    What is published of them: `is` shape, `iq` quantized input, `i` input and list of
    images, `ic` scaling, `idf` format of the images, `odf` format of the output.

    The four numbers of `idf` are not explained. For models of 0..1 the example writes
    `0,0,0,0` with `ic:255.00446258`, the guide `0,0,8,0` without `ic`. Both fit if the
    third says by which power of two a pixel is divided; that is inferred. So a model
    that takes pixels 0..255, its normalisation inside, gets `0,0,0,0` and no `ic`. The
    wrong one makes no error, only wrong answers: compare the first compiled model with
    the .onnx file.

    Args:
        soc: "cv25" or "cv75". For CV75 the lines are those of CV25; Axis's page on it
            could not be read.
        name: Of the model: reads `name.onnx` or `name.tflite`, writes
            `name_cv25.bin`.
        shape: (height, width) of the input.
        input_name: In the file.
        output_names: In the file.
        from_tflite: Read a .tflite file, which takes CNNGen 2.7 or older and is not
            possible for CV75.
        unit_range: The model takes 0..1 instead of 0..255.
        force_16_bit: 16-bit activations and weights, as the example has them.
        folder: Where `write_calibration` put its files, relative to where the script
            runs.

    Returns:
        Comments, which begin with `#`, and commands.

    Raises:
        UnusableInput: When the chip is another, a name would break the lines, or a
            .tflite file is to go into the compiler for CV75.

    Introduced in notebook 09.
    """
    chip = soc.lower()
    if chip not in ("cv25", "cv75"):
        raise UnusableInput(f"SoC {soc!r}: expected cv25 or cv75")
    if from_tflite and chip == "cv75":
        raise UnusableInput("CV75 takes no .tflite file: give its compiler the .onnx")
    if not output_names:
        raise UnusableInput("no output name: expected at least one")
    for word in (name, folder, input_name, *output_names):
        if not word or set(word) & set("|=\r\n"):
            raise UnusableInput(
                f"name {word!r}: empty, or has a character that means something to the "
                "parser (| or =): rename it in the model"
            )
    height, width = shape
    data_format = "idf:0,0,0,0"
    if unit_range:
        data_format = f"ic:255.00446258|{data_format}" if from_tflite else "idf:0,0,8,0"
    images = f"i:{input_name}={folder}/{LIST}"
    tool = ["tfparser.py", "-p"] if from_tflite else ["onnxparser.py", "-m"]
    file = f"{name}.tflite" if from_tflite else f"{name}.onnx"
    parser = [*tool, file, "-o", name, "-of", f"out_{name}"]
    parser += ["-isrc", f"is:1,3,{height},{width}|iq|{images}|{data_format}"]
    for output in output_names:
        parser += ["-odst", f"o:{output}|odf:fp32"]
    if force_16_bit:
        parser += ["-c", "act-force-fx16,coeff-force-fx16"]
    comments = ["# Not run by the course: Ambarella's toolchain is closed."]
    comments += [f"# After {SOURCES['tflite' if from_tflite else 'onnx']}"]
    if chip == "cv75":
        comments += [f"# These are CV25's lines; compare them with {SOURCES['cv75']}"]
    if any(":" in word for word in (input_name, *output_names)):
        comments += ["# No published line has a colon in a name: rename if it fails."]
    return [
        *comments,
        shlex.join(parser),
        shlex.join(["vas", "-auto", "-show-progress", f"out_{name}/{name}.vas"]),
        shlex.join(["cavalry_gen", "-d", "vas_output", "-f", f"{name}_{chip}.bin"]),
    ]


def _expect(images: np.ndarray, *, rank: int, channels_at: int, wanted: str) -> None:
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    if (
        dtype != np.uint8
        or len(shape) != rank
        or shape[channels_at] != 3
        or 0 in shape[rank - 3 :]
    ):
        raise UnusableInput(
            f"image of type {dtype} and shape {shape}: expected {wanted}"
        )


def _make_room(folder: Path, wanted: set[str]) -> None:
    """Make the folder, or see to it that it holds only files that are written anew."""
    try:
        folder.mkdir(exist_ok=True)
        present = {path.name for path in folder.iterdir()}
        # What an earlier, longer run left is ours: replace it.
        left = {name for name in present - wanted if LIST in present and _OURS(name)}
        strange = sorted(present - wanted - left)
        if strange:
            raise UnusableInput(
                f"{folder}: holds other files, such as {strange[0]}: choose an empty "
                "folder"
            )
        # An old list must not name a mixture of old and new images.
        (folder / LIST).unlink(missing_ok=True)
        for name in left:
            (folder / name).unlink()
    except OSError as error:
        raise UnusableInput(
            f"{folder}: cannot be used ({error.strerror}): choose another folder"
        ) from error
