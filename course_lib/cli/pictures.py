"""What the commands share that take a folder of pictures."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from course_lib.errors import UnusableInput

import click


class Values(click.ParamType):
    """One number, or three separated by commas."""

    name = "N|N,N,N"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """Return the numbers of an option, or refuse its text."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r}: expected one number, or three like 124,116,104")
        return numbers


channels_option = click.option(
    "--channels",
    type=click.Choice(["rgb", "bgr"]),
    default="rgb",
    show_default=True,
    help="Order of the colours that the model was trained on.",
)


def text(values: Sequence[float]) -> str:
    """Return numbers as `Values` takes them."""
    return ",".join(f"{value:g}" for value in values)


def require(*packages: str, extra: str = "convert") -> None:
    """Refuse to go on without packages of an extra."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UnusableInput(
            f"the package {missing[0]} is missing: install the extra `{extra}`, with "
            f"`pip install '.[{extra}]'` in a clone of the course"
        )


def crops(paths: Sequence[Path], shape: Sequence[int], *, channels: str) -> list[Any]:
    """Read pictures and crop them to what a model takes, as NumPy arrays.

    Args:
        paths: Picture files.
        shape: Height, width and channels of each result, uint8.
        channels: "rgb", or "bgr" to swap red and blue.
    """
    from course_lib.vision import datasets

    *size, depth = shape
    order = -1 if channels == "bgr" else 1
    return [
        datasets.centre_crop(
            datasets.read_image(path, channels=depth), size=tuple(size)
        )[..., ::order]
        for path in paths
    ]
