"""`dlpu convert`: a float model and a folder of images to a full-integer file."""

import json
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, printable
from course_lib.cli.inspect import contract
from course_lib.errors import UnusableInput

import click

# More images make the ranges no better and the conversion slower.
MOST_IMAGES = 200


class _Values(click.ParamType):
    """One number, or three separated by commas."""

    name = "N|N,N,N"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r}: expected one number, or three like 124,116,104")
        return numbers


@dlpu.command(short_help="Convert a float model to a full-integer .tflite file.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--granularity",
    type=click.Choice(["per-tensor", "per-channel"]),
    required=True,
    help="Scales of the weights: one a tensor, or one an output channel.",
)
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Calibration images, 100 to 200 varied ones from the deployed scene.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The .tflite file to write.",
)
@click.option(
    "--mean",
    type=_Values(),
    default="0",
    show_default=True,
    help="The model was trained on (pixel - mean) / std.",
)
@click.option(
    "--std", type=_Values(), default="255", show_default=True, help="See --mean."
)
@click.option(
    "--channels",
    type=click.Choice(["rgb", "bgr"]),
    default="rgb",
    show_default=True,
    help="Order of the colours that the model was trained on.",
)
@click.option(
    "--io",
    type=click.Choice(["uint8", "int8"]),
    default="uint8",
    show_default=True,
    help="Type of input and output.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def convert(
    model: Path,
    granularity: str,
    folder: Path,
    output: Path,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels: str,
    io: str,
    as_json: bool,
) -> None:
    """Convert MODEL, a SavedModel folder or .keras file with one image input.

    The file is full-integer with batch 1. It takes the camera's pixels as they are: one
    mean and std live in the input's scale and zero point; three of each become a layer
    of the file. The file is read back and checked before it is written.

    \b
    Example:
      dlpu convert model.keras --granularity per-tensor --images frames/ \\
          --mean 127.5 --std 127.5 -o model.tflite

    \b
    Keys of the JSON object:
      file, size, granularity, images, images_found, warnings
      input, output: as `dlpu inspect --json` tells them
    """  # noqa: D301  (click needs the control character)
    if any(value <= 0 for value in std):
        raise UnusableInput(f"--std {_text(std)}: expected numbers above 0")
    if output.is_dir() or output.suffix != ".tflite":
        raise UnusableInput(f"{output}: expected the name of a .tflite file to write")
    if not output.parent.is_dir():
        raise UnusableInput(
            f"{output.parent}: no such folder to write to: make it first"
        )
    missing = [name for name in ("PIL", "tensorflow") if find_spec(name) is None]
    if missing:
        raise UnusableInput(
            f"the package {missing[0]} is missing: install the extra `convert`, with "
            "`pip install '.[convert]'` in a clone of the course"
        )
    from course_lib.files import write
    from course_lib.quantization import calibration, conversion
    from course_lib.tflite import reading
    from course_lib.vision import datasets

    paths = datasets.image_files(folder)
    chosen = paths[:: -(-len(paths) // MOST_IMAGES)]
    in_graph = len(mean) == 3 or len(std) == 3
    fixed = conversion.fix_batch(
        model, **({"mean": mean, "std": std} if in_graph else {})
    )
    normalisation = (
        {"mean": 0.0, "std": 1.0} if in_graph else {"mean": mean[0], "std": std[0]}
    )
    height, width, depth = fixed.input_shape[1:]
    images = [
        datasets.centre_crop(
            datasets.read_image(path, channels=depth), size=(height, width)
        )[..., :: -1 if channels == "bgr" else 1]
        for path in chosen
    ]
    dataset = calibration.representative_dataset(images, **normalisation)
    findings = calibration.check(
        dataset, expected_range=calibration.input_range(**normalisation)
    )
    content = conversion.convert_full_integer(
        fixed, dataset, granularity=granularity, io=io
    )
    made = reading.parse(content)
    write(output, content)
    report = {
        "file": str(output),
        "size": len(content),
        "granularity": granularity,
        "images": len(images),
        "images_found": len(paths),
        "warnings": [finding.message for finding in findings],
        "input": contract(made.inputs[0]),
        "output": [contract(tensor) for tensor in made.outputs],
    }
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        for line in _lines(report, made, channels):
            click.echo(printable(line))


def _lines(report: dict[str, Any], made: Any, channels: str) -> Iterator[str]:
    yield f"made     {report['file']}: {report['size']} bytes, {made.quantization}"
    for operator, counts in made.weight_counts.items():
        words = ", ".join(f"{count} {word}" for word, count in counts.items())
        yield f"weights  {operator}: {words}"
    yield f"images   {report['images']} of {report['images_found']} for calibration"
    for warning in report["warnings"]:
        yield f"warning  {warning}"
    entry = report["input"]
    yield f"input    {_told(entry)}"
    colours = channels.upper() if entry["shape"][3] == 3 else "grey"
    yield f"         {colours} interleaved; pixels 0..255 enter as " + (
        "they are" if entry["dtype"] == "uint8" else "pixel - 128"
    )
    if channels == "bgr":
        yield "         cameras deliver RGB: swap red and blue before this file"
    for number, entry in enumerate(report["output"]):
        yield f"output   {number}: {_told(entry)}"


def _told(entry: dict[str, Any]) -> str:
    shape = "x".join(map(str, entry["shape"]))
    return (
        f"{entry['dtype']} {shape}, {entry['bytes']} bytes, scale "
        f"{entry['scale']:.9g}, zero point {entry['zero_point']}"
    )


def _text(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
