"""Representative datasets: the images that set the ranges of every activation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from course_lib.errors import UnusableInput

import numpy as np

RepresentativeDataset = Callable[[], Iterable[list[np.ndarray]]]

# Axis's conversion guides ask for 100 to 200 varied images from the deployed scene
# (developer.axis.com, how-to-guides/tensorflow-to-tflite, 2026; read on 2026-11-21).
ENOUGH_IMAGES = 100
# Root mean square difference between 8×8 thumbnails, as a share of the input range.
# Measured with this function: street frames and photographs lie above 0.2, frames of
# one static scene and random noise below 0.05.
ALIKE_BELOW = 0.08


@dataclass(frozen=True)
class Finding:
    """Something wrong with a representative dataset.

    Attributes:
        rule: "scale", "range", "count" or "alike".
        message: One sentence: what was found and what to do.
    """

    rule: str
    message: str


def input_range(*, mean: float, std: float) -> tuple[float, float]:
    """Return what pixels 0 and 255 become: (0 − mean) / std and (255 − mean) / std.

    Example:
        >>> input_range(mean=127.5, std=127.5)
        (-1.0, 1.0)

    Introduced in notebook 04.
    """
    return (0 - mean) / std, (255 - mean) / std


def representative_dataset(
    images: Iterable[np.ndarray], *, mean: float = 0.0, std: float = 255.0
) -> RepresentativeDataset:
    """Make the representative dataset that `TFLiteConverter` asks for.

    Two pixels of the first image are set to 0 and 255. The converter takes the input's
    scale from the values it sees; so covered, scale is 1 / std and zero point is mean,
    and the camera's uint8 pixels enter the file as they are.

    Args:
        images: uint8 [height, width, channels] each; an array, or a sequence that
            loads on demand.
        mean: Subtracted from each pixel.
        std: Then each pixel is divided by it.

    Returns:
        A function without arguments that yields [float32 [1, height, width, channels]].

    Raises:
        ValueError: When the images are not uint8.

    Introduced in notebook 04.
    """

    def samples() -> Iterator[list[np.ndarray]]:
        for index, image in enumerate(images):
            pixels = np.asarray(image)
            if pixels.dtype != np.uint8:
                raise ValueError(
                    f"image {index} is {pixels.dtype}: expected uint8 pixels"
                )
            if index == 0:
                pixels = pixels.copy()
                pixels[0, 0], pixels[0, 1] = 0, 255
            yield [((pixels[None].astype(np.float32) - mean) / std).astype(np.float32)]

    return samples


def check(
    dataset: RepresentativeDataset, *, expected_range: tuple[float, float]
) -> list[Finding]:
    """Look for the mistakes that ruin a full-integer model without any error message.

    Args:
        dataset: The function that will be given to the converter.
        expected_range: What pixels 0 and 255 are for this model, such as (0.0, 1.0).

    Returns:
        Findings; an empty list when nothing was found.

    Raises:
        UnusableInput: When the dataset yields nothing, or not arrays [1, H, W, C].

    Introduced in notebook 04.
    """
    low, high = expected_range
    span = high - low
    smallest, largest, thumbnails = np.inf, -np.inf, []
    for sample in dataset():
        image = np.asarray(sample[0])
        if image.ndim != 4 or len(image) != 1:
            raise UnusableInput(
                f"the representative dataset yields shape {image.shape}: expected "
                "[1, height, width, channels], one image at a time"
            )
        smallest = min(smallest, float(image.min()))
        largest = max(largest, float(image.max()))
        thumbnails.append(_thumbnail(image[0]))
    if not thumbnails:
        raise UnusableInput(
            "the representative dataset yields no image: give it 100 or more"
        )

    findings = []
    reach = f"values reach {smallest:.4g}..{largest:.4g}"
    if largest > high + span / 2 or smallest < low - span / 2:
        findings.append(
            Finding(
                "scale",
                f"{reach}, the model expects {low:.4g}..{high:.4g}: normalise the "
                "calibration images exactly as in training",
            )
        )
    elif smallest > low + span / 50 or largest < high - span / 50:
        findings.append(
            Finding(
                "range",
                f"{reach}, but pixels 0 and 255 are {low:.4g} and {high:.4g}: brighter "
                "and darker pixels will saturate; cover the whole range",
            )
        )
    if len(thumbnails) < ENOUGH_IMAGES:
        findings.append(
            Finding(
                "count",
                f"{len(thumbnails)} of the 100 to 200 images that Axis's guides ask "
                "for: give more",
            )
        )
    variety = _variety(np.stack(thumbnails)) / max(largest - smallest, 1e-12)
    if variety < ALIKE_BELOW:
        findings.append(
            Finding(
                "alike",
                f"the images hardly differ (variety {variety:.2f}, expected "
                f"{ALIKE_BELOW} or more): take them from many scenes and hours",
            )
        )
    return findings


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Average an image over an 8×8 grid: what remains is its composition."""
    rows = np.array_split(image, min(8, image.shape[0]), axis=0)
    return np.array(
        [
            part.mean((0, 1))
            for row in rows
            for part in np.array_split(row, min(8, image.shape[1]), axis=1)
        ]
    )


def _variety(thumbnails: np.ndarray) -> float:
    """Return the root mean square distance of the thumbnails from one another."""
    return float(np.sqrt(2 * np.mean(thumbnails.var(axis=0))))
