"""Pixels, padding, calibration files and command lines for CV25 and CV75."""

import os
import shlex

from course_lib.dlpu import cvflow, socs
from course_lib.errors import UnusableInput

import numpy as np
import pytest

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 5, 7, 3), np.uint8)


def model(**changes):
    return {
        "soc": "cv25",
        "name": "lite0",
        "shape": (224, 320),
        "input_name": "image",
        "output_names": ["Identity"],
        **changes,
    }


def line(words, tool):
    (found,) = [shlex.split(w) for w in words if w.startswith(tool)]
    return found


def test_planar_puts_each_colour_on_its_own_plane():
    planes = cvflow.planar(IMAGES)
    assert planes.shape == (3, 3, 5, 7)
    assert planes.flags["C_CONTIGUOUS"]
    for channel in range(3):
        assert np.array_equal(planes[:, channel], IMAGES[..., channel])
    assert planes[0].tobytes()[:7] == IMAGES[0, 0, :, 0].tobytes()


def test_interleaved_is_the_inverse():
    back = cvflow.interleaved(cvflow.planar(IMAGES))
    assert np.array_equal(back, IMAGES)
    assert back.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    "images",
    [IMAGES[0], IMAGES.astype(np.float32), IMAGES[..., :1], IMAGES[:, :0], None, [1]],
)
def test_other_images_are_refused(images):
    with pytest.raises(UnusableInput, match=r"expected uint8 \[N, height, width, 3\]"):
        cvflow.planar(images)


def test_interleaved_refuses_an_interleaved_image():
    with pytest.raises(UnusableInput, match="expected uint8"):
        cvflow.interleaved(IMAGES)


@pytest.mark.parametrize(
    ("width", "pitch"), [(1, 32), (31, 32), (32, 32), (33, 64), (300, 320), (416, 416)]
)
def test_row_pitch(width, pitch):
    assert cvflow.row_pitch(width) == pitch


def test_row_pitch_refuses_nothing():
    with pytest.raises(UnusableInput, match="positive"):
        cvflow.row_pitch(0)


def test_the_rule_of_the_table_is_the_default():
    assert cvflow.row_pitch(1) == socs.SOCS["cv25"].row_pitch.value
    stride = socs.SOCS["cv25"].output_stride.value
    assert len(cvflow.read_output(bytes(stride), 1)) == 1


def test_pad_rows_as_axis_does():
    image = cvflow.planar(RNG.integers(1, 256, (1, 4, 300, 3), np.uint8))[0]
    padded = cvflow.pad_rows(image)
    assert padded.shape == (3, 4, 320)
    assert np.array_equal(padded[:, :, :300], image)
    assert not padded[:, :, 300:].any()
    assert np.array_equal(cvflow.pad_rows(padded), padded)


def test_pad_rows_refuses_an_interleaved_image():
    with pytest.raises(UnusableInput, match=r"expected uint8 \[3, height, width\]"):
        cvflow.pad_rows(IMAGES[0])


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_read_output(stride):
    values = RNG.standard_normal(1001).astype(np.float32)
    words = np.full((1001, stride // 4), 7, np.float32)
    words[:, 0] = values
    found = cvflow.read_output(words.tobytes(), 1001, stride=stride)
    assert found.dtype == np.float32
    assert np.array_equal(found, values)


@pytest.mark.parametrize(
    ("size", "count", "message"),
    [
        (32031, 1001, "has 32,031 bytes: expected 1,001 values of 32 bytes, 32,032"),
        (32000, 1001, "pitches that larod reports"),
        (4004, 1001, "without padding: set stride=4"),
        (0, 1, "has 0 bytes"),
    ],
)
def test_wrong_byte_counts_are_refused(size, count, message):
    with pytest.raises(UnusableInput, match=message):
        cvflow.read_output(bytes(size), count)


@pytest.mark.parametrize(("count", "stride"), [(0, 32), (1, 0), (1, 6), (-1, 32)])
def test_impossible_strides_are_refused(count, stride):
    with pytest.raises(UnusableInput, match="expected at least one value"):
        cvflow.read_output(b"", count, stride=stride)


def test_calibration_files(tmp_path):
    listed = cvflow.write_calibration(tmp_path / "dra_image_bin", IMAGES)
    assert listed == tmp_path / "dra_image_bin" / "dra_bin_list.txt"
    lines = listed.read_text().splitlines()
    assert len(lines) == len(IMAGES)
    for named, image in zip(lines, IMAGES, strict=True):
        data = (tmp_path / named).read_bytes()
        planes = np.frombuffer(data, np.uint8).reshape(1, 3, 5, 7)
        assert np.array_equal(cvflow.interleaved(planes)[0], image)
    assert len(list(listed.parent.iterdir())) == len(IMAGES) + 1


def test_the_list_does_not_depend_on_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cvflow.write_calibration("bins", IMAGES)
    (tmp_path / "bins2").mkdir()
    monkeypatch.chdir(tmp_path / "bins2")
    listed = cvflow.write_calibration(".", IMAGES)
    assert (tmp_path / "bins" / "dra_bin_list.txt").read_text().startswith("bins/0000")
    assert listed.read_text().startswith("bins2/0000")


def test_calibration_can_be_written_again(tmp_path):
    cvflow.write_calibration(tmp_path, IMAGES)
    listed = cvflow.write_calibration(tmp_path, IMAGES[::-1])
    first = tmp_path / "0000.bin"
    assert first.read_bytes() == cvflow.planar(IMAGES[-1:]).tobytes()
    assert len(listed.read_text().splitlines()) == 3


@pytest.mark.parametrize("other", ["notes.txt", "0003.bin"])
def test_it_does_not_mix_with_other_files(tmp_path, other):
    (tmp_path / other).write_bytes(b"mine")
    with pytest.raises(UnusableInput, match=f"other files, such as {other}"):
        cvflow.write_calibration(tmp_path, IMAGES)
    assert [path.name for path in tmp_path.iterdir()] == [other]


def test_a_failure_leaves_no_list(tmp_path, monkeypatch):
    cvflow.write_calibration(tmp_path, IMAGES)
    original = cvflow.files.write

    def fails_late(path, content):
        if path.name == "0001.bin":
            raise UnusableInput("disk full")
        return original(path, content)

    monkeypatch.setattr(cvflow.files, "write", fails_late)
    with pytest.raises(UnusableInput, match="disk full"):
        cvflow.write_calibration(tmp_path, IMAGES)
    assert not (tmp_path / cvflow.LIST).exists()


@pytest.mark.parametrize("images", [IMAGES[:0], IMAGES[0], IMAGES / 255])
def test_calibration_refuses_other_images_and_makes_no_folder(tmp_path, images):
    with pytest.raises(UnusableInput):
        cvflow.write_calibration(tmp_path / "bins", images)
    assert not (tmp_path / "bins").exists()


def test_calibration_needs_a_folder_that_can_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "no" / "such"):
        with pytest.raises(UnusableInput, match="choose another folder"):
            cvflow.write_calibration(folder, IMAGES)


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own paths")
def test_the_onnx_lines_are_those_of_the_guide():
    words = cvflow.commands(**model(unit_range=True))
    assert [w for w in words if w.startswith("#")] == words[:2]
    # Axis, ONNX to CV25, 2026, with this model's names.
    assert line(words, "onnxparser.py") == [
        *("onnxparser.py", "-m", "lite0.onnx", "-o", "lite0", "-of", "out_lite0"),
        "-isrc",
        "is:1,3,224,320|iq|i:image=dra_image_bin/dra_bin_list.txt|idf:0,0,8,0",
        *("-odst", "o:Identity|odf:fp32"),
    ]
    assert line(words, "vas") == shlex.split(
        "vas -auto -show-progress out_lite0/lite0.vas"
    )
    assert line(words, "cavalry_gen") == shlex.split(
        "cavalry_gen -d vas_output -f lite0_cv25.bin"
    )


def test_the_tflite_lines_are_those_of_the_example():
    words = cvflow.commands(
        **model(
            from_tflite=True,
            unit_range=True,
            force_16_bit=True,
            output_names=["a", "b"],
        )
    )
    # Axis, tensorflow-to-larod-cv25, 2026-08-18, with this model's names.
    assert line(words, "tfparser.py") == [
        *("tfparser.py", "-p", "lite0.tflite", "-o", "lite0", "-of", "out_lite0"),
        "-isrc",
        "is:1,3,224,320|iq|i:image=dra_image_bin/dra_bin_list.txt|ic:255.00446258"
        "|idf:0,0,0,0",
        *("-odst", "o:a|odf:fp32", "-odst", "o:b|odf:fp32"),
        *("-c", "act-force-fx16,coeff-force-fx16"),
    ]


@pytest.mark.parametrize("from_tflite", [False, True])
def test_pixels_of_0_to_255_are_not_scaled(from_tflite):
    told = " ".join(cvflow.commands(**model(from_tflite=from_tflite)))
    assert "idf:0,0,0,0" in told
    assert "ic:" not in told
    assert "force-fx" not in told


def test_cv75_has_its_own_name_and_a_warning():
    words = cvflow.commands(**model(soc="CV75"))
    assert "compare them" in words[2]
    assert words[-1].endswith("lite0_cv75.bin")


def test_a_colon_in_a_name_is_told():
    assert "colon" not in " ".join(cvflow.commands(**model()))
    assert "colon" in cvflow.commands(**model(output_names=["Identity:0"]))[2]


def test_names_are_quoted_for_a_shell():
    words = cvflow.commands(**model(name="my model", output_names=["a;b/$HOME:0"]))
    parser = line(words, "onnxparser.py")
    assert parser[2] == "my model.onnx"
    assert "o:a;b/$HOME:0|odf:fp32" in parser


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"soc": "artpec8"}, "expected cv25 or cv75"),
        ({"soc": "cv75", "from_tflite": True}, "CV75 takes no .tflite"),
        ({"output_names": []}, "no output name"),
        ({"input_name": ""}, "empty"),
        ({"input_name": "a|b"}, "means something to the parser"),
        ({"output_names": ["a=b"]}, "means something to the parser"),
        ({"name": "a\nb"}, "means something to the parser"),
    ],
)
def test_lines_that_could_not_work_are_refused(changes, message):
    with pytest.raises(UnusableInput, match=message):
        cvflow.commands(**model(**changes))
