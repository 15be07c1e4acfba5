"""What the commands share that convert a model: how it sees pixels, and its cures."""

from collections.abc import Callable, Iterator
from typing import Any

from course_lib.cli import pictures

import click
from click.core import ParameterSource

# More images make the ranges no better and the conversion slower.
MOST_IMAGES = 200
_NORMALISATION = (
    click.option(
        "--mean",
        type=pictures.Values(),
        default="0",
        show_default=True,
        help="The model was trained on (pixel - mean) / std.",
    ),
    click.option(
        "--std",
        type=pictures.Values(),
        default="255",
        show_default=True,
        help="See --mean.",
    ),
    pictures.channels_option,
)
_CURES = (
    click.option(
        "--repair",
        "cures",
        flag_value="quick",
        help="Try cures for accuracy lost in int8, keep those that help: a minute or "
        "two and no labels.",
    ),
    click.option(
        "--thorough",
        "cures",
        flag_value="thorough",
        help="As --repair, and the cures that take many minutes.",
    ),
)


def normalisation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that tell how a model was trained to see pixels."""
    for option in reversed(_NORMALISATION):
        command = option(command)
    return command


def cures_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options against accuracy that int8 costs."""
    for option in reversed(_CURES):
        command = option(command)
    return command


def doubts(
    normalises: str | None, mean: tuple[float, ...], std: tuple[float, ...]
) -> Iterator[str]:
    """Tell what looks wrong with the command's --mean and --std, beside the model."""
    source = click.get_current_context().get_parameter_source
    missing = [n for n in ("mean", "std") if source(n) is ParameterSource.DEFAULT]
    if len(missing) == 2 and not normalises:
        yield (
            "--mean and --std are missing: 0 and 255 taken, which is for a model "
            "trained on pixels of 0..1"
        )
    if len(missing) == 1:
        taken = pictures.text(mean if missing == ["mean"] else std)
        yield (
            f"--{missing[0]} is missing: {taken} taken; give both, as in the training: "
            "(pixel - mean) / std"
        )
    if normalises and (set(mean), set(std)) != ({0.0}, {1.0}):
        yield (
            f"the model's layer {normalises!r} scales pixels too: give --mean 0 "
            "--std 1 unless it was trained with both"
        )
    if max(std) < 1.5 and set(std) != {1.0}:
        yield (
            f"--std {pictures.text(std)} is for pixels of 0..1, expected for 0..255: "
            "multiply mean and std by 255"
        )
