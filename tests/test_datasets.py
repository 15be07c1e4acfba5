"""Pictures from installed packages, and from the learner's folders."""

import subprocess
import sys

from course_lib.errors import UnusableInput
from course_lib.vision import datasets

import numpy as np
import pytest
from PIL import Image

SIZE = 48
UNSEEN = ("astronaut", "cat", "coffee")


@pytest.fixture(scope="module")
def calibration():
    return datasets.calibration_images(SIZE)


@pytest.fixture(scope="module")
def evaluation():
    return datasets.evaluation_images(SIZE)


def picture(path, *, size=(40, 30), colour=(200, 30, 60), mode="RGB", **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **settings)
    return path


def test_photographs():
    photographs = datasets.photographs()
    assert {name: photo.shape for name, photo in photographs.items()} == {
        "astronaut": (512, 512, 3),
        "cat": (300, 451, 3),
        "coffee": (400, 600, 3),
        "rocket": (427, 640, 3),
        "motorcycle": (500, 741, 3),
    }
    assert all(photo.dtype == np.uint8 for photo in photographs.values())


def test_street_frames():
    frames = datasets.street_frames()
    assert (frames.shape, frames.dtype) == ((250, 272, 640, 3), np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


def test_the_shots_begin_where_the_picture_changes_most():
    frames = datasets.street_frames()[:, ::8, ::8].astype(np.float32)
    changes = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    largest = sorted(np.argsort(changes)[-5:] + 1)
    assert tuple(largest) == datasets.SHOTS[1:-1]


def test_labelled_photographs():
    photographs, labels = datasets.labelled_photographs()
    assert len(photographs) == len(labels) == 20
    assert all(p.ndim == 3 and p.shape[2] == 3 for p in photographs)
    assert labels.min() >= 0
    assert labels.max() <= 999
    assert list(labels[:3]) == [243, 559, 438]


def test_handwritten_digits():
    images, labels = datasets.handwritten_digits()
    assert (images.shape, images.dtype) == ((1797, 16, 16, 1), np.uint8)
    assert labels.shape == (1797,)
    assert np.bincount(labels).tolist() == [
        *(178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
    ]
    # Cells hold 0 to 16: 17 greys, black and white among them.
    assert np.unique(images).tolist() == [round(v * 255 / 16) for v in range(17)]
    cells = images[:, ::2, ::2]
    np.testing.assert_array_equal(images, cells.repeat(2, axis=1).repeat(2, axis=2))
    for values in (images, labels):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_the_digits_for_test_follow_those_for_training():
    indices = np.arange(1797)
    training = indices[datasets.DIGITS_TRAINING]
    test = indices[datasets.DIGITS_TEST]
    assert (len(training), len(test)) == (1200, 597)
    assert training[-1] + 1 == test[0]
    labels = datasets.handwritten_digits()[1]
    for part in (training, test):
        assert np.bincount(labels[part]).min() >= 50


def test_digits_need_scikit_learns_file_only():
    code = """
import sys
from course_lib.vision import datasets
datasets.handwritten_digits()
assert "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_annotated_photograph():
    photograph = datasets.annotated_photograph()
    height, width, channels = photograph.image.shape
    assert channels == 3
    assert photograph.boxes.shape == (19, 4)
    top, left, bottom, right = photograph.boxes.T
    assert (top >= 0).all()
    assert (top < bottom).all()
    assert (bottom <= height).all()
    assert (left >= 0).all()
    assert (left < right).all()
    assert (right <= width).all()
    assert len(photograph.labels) == 19
    assert photograph.labels.count("person") == 7


def test_calibration_images(calibration):
    assert (calibration.shape, calibration.dtype) == ((100, SIZE, SIZE, 3), np.uint8)


def test_evaluation_images(evaluation):
    count = len(evaluation.groups)
    assert count >= 200
    assert evaluation.images.shape == (count, SIZE, SIZE, 3)
    assert evaluation.images.dtype == np.uint8
    groups, sizes = np.unique(evaluation.groups, return_counts=True)
    assert len(groups) >= 20
    assert sizes.sum() == count


def sources_of(function, monkeypatch):
    """Collect which pictures a function cuts its crops from."""
    used = []
    original = datasets.random_crops

    def spy(image, *args, **settings):
        used.append(image)
        return original(image, *args, **settings)

    monkeypatch.setattr(datasets, "random_crops", spy)
    function(8)
    monkeypatch.setattr(datasets, "random_crops", original)
    frames = {frame.tobytes(): i for i, frame in enumerate(datasets.street_frames())}
    keys = {image.tobytes() for image in used}
    return {frames[key] for key in keys & frames.keys()}, keys - frames.keys()


def test_calibration_and_evaluation_share_nothing(monkeypatch):
    near, photos = sources_of(datasets.calibration_images, monkeypatch)
    far, others = sources_of(datasets.evaluation_images, monkeypatch)
    unseen = {datasets.photographs()[name].tobytes() for name in UNSEEN}
    assert (len(photos), len(others), len(unseen)) == (3, 20, 3)
    assert not photos & others
    assert not unseen & (photos | others)
    assert min(far) - max(near) >= 40
    shots = [
        set(np.searchsorted(datasets.SHOTS, list(f), "right")) for f in (near, far)
    ]
    assert not shots[0] & shots[1]


def test_two_calls_give_the_same_images(calibration, evaluation):
    np.testing.assert_array_equal(datasets.calibration_images(SIZE), calibration)
    again = datasets.evaluation_images(SIZE)
    np.testing.assert_array_equal(again.images, evaluation.images)
    np.testing.assert_array_equal(again.groups, evaluation.groups)


def test_from_folder_sorts_classes_and_enters_subfolders(tmp_path):
    picture(tmp_path / "van" / "a.png", colour=(10, 20, 30))
    picture(tmp_path / "bus" / "week1" / "b.JPG", colour=(200, 100, 0))
    picture(tmp_path / "bus" / "c.webp")
    images, labels, names = datasets.from_folder(tmp_path, size=16)
    assert names == ["bus", "van"]
    assert sorted(labels) == [0, 0, 1]
    assert (images.shape, images.dtype) == ((3, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(
        images[labels == 1], np.full((1, 16, 16, 3), [10, 20, 30])
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_picture_comes_upright(tmp_path, orientation):
    upright = Image.new("RGB", (60, 40))
    upright.paste((255, 255, 255), (0, 0, 20, 20))  # bright at the top left only
    stored = {
        1: (),
        2: (Image.Transpose.FLIP_LEFT_RIGHT,),
        3: (Image.Transpose.ROTATE_180,),
        4: (Image.Transpose.FLIP_TOP_BOTTOM,),
        5: (Image.Transpose.TRANSPOSE,),
        6: (Image.Transpose.ROTATE_90,),
        7: (Image.Transpose.TRANSVERSE,),
        8: (Image.Transpose.ROTATE_270,),
    }[orientation]
    camera = upright
    for step in stored:
        camera = camera.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    camera.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    found = datasets.read_image(tmp_path / "phone.jpg")
    assert found.shape == (40, 60, 3)
    np.testing.assert_allclose(found, np.asarray(upright), atol=60)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    path = picture(tmp_path / f"x.{suffix}", colour=(255, 255, 255), mode=mode)
    pixels = datasets.read_image(path)
    assert (pixels.shape, pixels.dtype) == ((30, 40, 3), np.uint8)
    assert (pixels > 250).all()
    assert datasets.read_image(path, channels=1).shape == (30, 40, 1)


def test_sixteen_bits_are_refused_and_not_cut_off(tmp_path):
    Image.fromarray(np.full((4, 4), 9000, np.uint16)).save(tmp_path / "thermal.png")
    with pytest.raises(UnusableInput, match="more than 8 bits a channel"):
        datasets.read_image(tmp_path / "thermal.png")


def test_a_damaged_picture_is_named(tmp_path):
    picture(tmp_path / "a" / "whole.png")
    path = picture(tmp_path / "b" / "half.jpg", size=(200, 200))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(
        UnusableInput, match=r"half\.jpg: not a readable picture"
    ) as error:
        datasets.from_folder(tmp_path, size=16)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(UnusableInput, match=r"notes\.png: not a readable picture"):
        datasets.read_image(tmp_path / "notes.png")
    with pytest.raises(UnusableInput, match="no such file"):
        datasets.read_image(tmp_path / "absent.png")


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UnusableInput, match="holds no picture"):
        datasets.from_folder(tmp_path, size=16)
    with pytest.raises(UnusableInput, match="no such folder"):
        datasets.from_folder(tmp_path / "absent", size=16)
    path = picture(tmp_path / "bus" / "a.png")
    with pytest.raises(UnusableInput, match="is a file"):
        datasets.from_folder(path, size=16)
    with pytest.raises(
        UnusableInput, match="one subfolder for each class, two or more"
    ):
        datasets.from_folder(tmp_path, size=16)
    picture(tmp_path / "loose.png")
    with pytest.raises(UnusableInput, match="with the pictures inside them"):
        datasets.from_folder(tmp_path, size=16)


def test_image_files_are_sorted_and_only_pictures(tmp_path):
    for name in ("b.PNG", "a.Jpeg", "sub/c.BMP"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.jpg").mkdir()
    found = [
        path.relative_to(tmp_path).as_posix() for path in datasets.image_files(tmp_path)
    ]
    assert found == ["a.Jpeg", "b.PNG", "sub/c.BMP"]


def test_image_files_pass_over_what_is_hidden(tmp_path):
    picture(tmp_path / "a" / "x.png")
    picture(tmp_path / "b" / "y.png")
    # Jupyter keeps copies, and macOS files that are not pictures, under such names.
    picture(tmp_path / ".ipynb_checkpoints" / "x-checkpoint.png")
    (tmp_path / "a" / "._x.png").write_bytes(b"\0")
    assert [p.name for p in datasets.image_files(tmp_path)] == ["x.png", "y.png"]
    assert datasets.from_folder(tmp_path, size=8)[2] == ["a", "b"]


def test_centre_crop_keeps_proportions():
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255  # the centred square
    # At an edge the filter also sees the pixels beside it.
    assert (datasets.centre_crop(image, size=50)[:, 2:-2] == 255).all()
    wide = datasets.centre_crop(image, size=(50, 100))
    assert wide.shape == (50, 100, 3)
    # The centred part is 100×200; a half of its columns is bright.
    assert (wide[:, 28:72] == 255).all()
    assert (wide[:, :22] == 0).all()
    assert (wide[:, 78:] == 0).all()


def test_centre_crop_of_the_right_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(datasets.centre_crop(image, size=(20, 30)), image)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((224, 224), [25, 41, 50, 82, 100]),
        ((480, 640), [29, 58, 170, 174]),
        ((1080, 1920), [133, 266]),
        ((1728, 2304), [416]),
        ((375, 500), [(270, 480), (360, 480)]),
    ],
)
def test_centre_crop_stays_inside_where_a_float_is_a_hair_too_large(shape, sizes):
    image = np.zeros((*shape, 3), np.uint8)
    for size in sizes:
        wanted = (size, size) if isinstance(size, int) else size
        assert datasets.centre_crop(image, size=size).shape == (*wanted, 3)


def test_centre_crop_takes_every_side():
    image = np.zeros((56, 40, 1), np.uint8)
    for side in range(1, 200):
        assert datasets.centre_crop(image, size=side).shape == (side, side, 1)


def test_centre_crop_of_one_channel():
    image = np.full((40, 60, 1), 7, np.uint8)
    assert (datasets.centre_crop(image, size=(10, 30)) == np.full((10, 30, 1), 7)).all()


def test_random_crops_stay_inside_and_follow_the_generator():
    image = datasets.photographs()["rocket"]
    first, second, other = (
        np.stack(
            datasets.random_crops(image, 5, size=24, rng=np.random.default_rng(seed))
        )
        for seed in (3, 3, 4)
    )
    assert first.shape == (5, 24, 24, 3)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_package_that_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnusableInput, match="skimage, which carries pictures, is not"):
        datasets.photographs()
