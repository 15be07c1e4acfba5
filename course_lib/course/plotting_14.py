"""The pictures of lesson 14: boxes drawn where a detector found them.

Each function draws one new figure in the style of the course and leaves it open.
"""

from collections.abc import Mapping, Sequence

from course_lib.vision.detection import Detections

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

# The pictures are grey, so that the boxes' colours stand out, and of so many levels,
# which keeps a notebook small.
_LEVELS = 10
# One line style a class as well, for those who see the colours alike.
_STYLES = ("solid", "dashed", "dashdot", "dotted")


def detections(
    pictures: Sequence[np.ndarray],
    found: Sequence[Detections],
    *,
    names: Mapping[int, str],
    titles: Sequence[str] = (),
    scores: bool = True,
    columns: int = 2,
) -> list[Axes]:
    """Draw pictures, in grey, with the boxes that were found in them.

    Args:
        pictures: uint8 [height, width, 3] each.
        found: The boxes of each picture, in parts of its height and width.
        names: Of the classes; a class has the same colour and line in all pictures.
        titles: Above the pictures.
        scores: Whether to write each score behind its name.
        columns: Pictures side by side.

    Introduced in notebook 14.
    """
    seen = sorted({int(label) for one in found for label in one.classes})
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape[:2]
    size = (8, rows * (8 / columns * height / width + 0.3))
    _, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    every = grid.ravel()[: len(pictures)]
    for axes in grid.ravel():
        axes.set_axis_off()
    for n, (axes, picture, one) in enumerate(zip(every, pictures, found, strict=True)):
        axes.imshow(_grey(picture), vmin=0, vmax=1, interpolation="nearest")
        if titles:
            axes.set_title(titles[n])
        for box, score, label in zip(one.boxes, one.scores, one.classes, strict=True):
            place = seen.index(int(label))
            text = names[int(label)] + (f" {score:.2f}" if scores else "")
            _draw(axes, box * np.tile(picture.shape[:2], 2), text, place)
    return list(every)


def _grey(picture: np.ndarray) -> np.ndarray:
    """Return a picture's brightness in a few levels, 0 to 1."""
    return np.floor(picture.mean(axis=2) / 256 * _LEVELS) / (_LEVELS - 1)


def _draw(axes: Axes, corners: np.ndarray, text: str, place: int) -> None:
    """Draw one box and its label, in pixels."""
    y1, x1, y2, x2 = corners
    style = {"linestyle": _STYLES[place % len(_STYLES)], "fill": False}
    for width, colour in ((3.2, "white"), (1.6, f"C{place}")):
        shape = Rectangle((x1, y1), x2 - x1, y2 - y1, lw=width, ec=colour, **style)
        axes.add_patch(shape)
    axes.text(
        max(x1, 0),
        max(y1, 0),
        text,
        color="black",
        fontsize=7,
        verticalalignment="bottom" if y1 > 14 else "top",
        bbox={"facecolor": "white", "edgecolor": f"C{place}", "pad": 1},
        clip_on=True,
    )
