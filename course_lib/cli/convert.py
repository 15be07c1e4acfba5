"""`dlpu convert`: a float model and a folder of images to what a chip takes."""

import json
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from course_lib.cli import converting, dlpu, pictures, printable
from course_lib.errors import UnusableInput

import click


@dlpu.command(short_help="Convert a float model to the file that a chip takes.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--soc",
    "name",
    metavar="SOC",
    help="The chip, such as artpec8; `dlpu socs` lists them.",
)
@click.option(
    "--granularity",
    type=click.Choice(["per-tensor", "per-channel"]),
    help="Scales of the weights: one a tensor, or one an output channel. With --soc, "
    "the chip's own.",
)
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Calibration images, 100 to 200 varied ones from the deployed scene.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to write: .tflite, or .onnx for CV25 and CV75.",
)
@converting.normalisation_options
@click.option(
    "--io",
    type=click.Choice(["uint8", "int8"]),
    help="Type of input and output; uint8 unless told.",
)
@click.option(
    "--float", "in_float", is_flag=True, help="With --soc cpu: a float file, no images."
)
@converting.cures_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def convert(
    model: Path,
    name: str | None,
    granularity: str | None,
    folder: Path | None,
    output: Path,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels: str,
    io: str | None,
    in_float: bool,
    cures: str | None,
    as_json: bool,
) -> None:
    """Convert MODEL, a SavedModel folder or .keras file with one image input.

    The file has batch 1 and takes the camera's pixels as they are. For most chips it is
    full-integer: one mean and std live in the input's scale and zero point; three of
    each become a layer of the file. For CV25 and CV75 it is planar ONNX in float, with
    mean and std in the graph; beside FILE.onnx come FILE_calibration/ with the images
    in the layout of Ambarella's compiler and, for CV25, FILE_float.tflite. Each file is
    read back and checked before it is written. Give --mean 0 --std 1 when the model
    normalises by itself.

    --repair needs a .keras file. It makes the file several times: as it is, without
    dead channels, with equalized channels, with corrected biases, with weights rounded
    so that their errors cancel. Every fourth image is kept from the cures and judges
    the files, mirrored too: the error is the distance of the outputs from the float
    model's, as a share of theirs. A cure is kept when the error falls image by image,
    by more than its standard error, and in the mean, and no fewer answers are the float
    model's. More images recognise smaller gains.

    \b
    Example:
      dlpu convert model.keras --soc artpec8 --images frames/ \\
          --mean 127.5 --std 127.5 -o model.tflite

    \b
    Keys of the JSON object:
      file, size, kind, granularity, weights, images, images_found, warnings
      input, output: as `dlpu inspect --json` tells them
      soc: id, name, wants, source, device, larod_client; null without --soc
      in_graph: normalisation that the graph contains; null where the scale carries it
      also: further files that were written
      commands: what is left to run where the compiler is, in order
      repair: judges, and attempts with cure, error, agreement, changed (layer, what),
        seconds, kept, why (it was left out); null without --repair
      edge_tpu: the report of edgetpu_compiler; null where it did not run
    """  # noqa: D301  (click needs the control character)
    from course_lib.cli import making
    from course_lib.dlpu import socs

    soc = socs.find(name) if name is not None else None
    ordered = making.order(soc, granularity=granularity, io=io, in_float=in_float)
    if cures and ordered.kind != "full-integer":
        raise UnusableInput(
            f"--repair: a {ordered.kind} file is made here: expected a full-integer "
            "one, such as --soc artpec8 makes; leave --repair out"
        )
    if any(value <= 0 for value in std):
        raise UnusableInput(f"--std {pictures.text(std)}: expected numbers above 0")
    if output.is_dir() or output.suffix != ordered.suffix:
        raise UnusableInput(
            f"{output}: expected the name of a {ordered.suffix} file to write"
        )
    if not output.parent.is_dir():
        raise UnusableInput(
            f"{output.parent}: no such folder to write to: make it first"
        )
    if not os.access(output.parent, os.W_OK):  # told before minutes of work
        raise UnusableInput(
            f"{output}: could not be written (Permission denied): choose another place"
        )
    if folder is None and ordered.needs_images:
        raise UnusableInput(
            "--images is missing: expected a folder with 100 to 200 varied images"
        )
    pictures.require("PIL", "tensorflow")
    from course_lib.quantization import conversion
    from course_lib.vision import datasets

    paths = datasets.image_files(folder) if ordered.needs_images else []
    chosen = paths[:: -(-len(paths) // converting.MOST_IMAGES) or 1]
    in_graph = ordered.kind != "full-integer" or len(mean) == 3 or len(std) == 3
    loaded = conversion.read_model(model)
    if cures and hasattr(loaded, "signatures"):
        raise UnusableInput(
            f"{model}: --repair cannot see the layers of a SavedModel: expected a "
            "Keras model; save it with model.save('name.keras')"
        )
    fixed = conversion.fix_batch(
        loaded, **({"mean": mean, "std": std} if in_graph else {})
    )
    images = pictures.crops(chosen, fixed.input_shape[1:], channels=channels)
    normalisation = (
        {"mean": 0.0, "std": 1.0} if in_graph else {"mean": mean[0], "std": std[0]}
    )
    mend = None
    if cures:
        mend = partial(
            _mend,
            loaded,
            images,
            mean=mean if in_graph else mean[0],
            std=std if in_graph else std[0],
            thorough=cures == "thorough",
        )
    report = making.make(ordered, output, fixed, images, mend=mend, **normalisation)
    report["warnings"] += converting.doubts(fixed.normalises, mean, std)
    report["images_found"] = len(paths)
    in_graph = in_graph and (set(mean), set(std)) != ({0.0}, {1.0})
    report["in_graph"] = (
        f"(pixel - {pictures.text(mean)}) / {pictures.text(std)}" if in_graph else None
    )
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        for line in _lines(report, channels):
            click.echo(printable(line))


def _mend(loaded: Any, images: list, **settings: Any) -> Any:
    from course_lib.quantization import repair

    def tell(cure: str) -> None:
        name = "the converter alone" if cure == "none" else cure
        click.echo(f"trying   {name}", err=True)

    return repair.repair(loaded, images, tell=tell, **settings)


def _lines(report: dict[str, Any], channels: str) -> Iterator[str]:
    yield f"made     {report['file']}: {report['size']} bytes, {report['kind']}"
    for text in report["also"]:
        yield f"         {text}"
    for operator, counts in report["weights"].items():
        words = ", ".join(f"{count} {word}" for word, count in counts.items())
        yield f"weights  {operator}: {words}"
    if report["images"]:
        found = report["images_found"]
        yield f"images   {report['images']} of {found} for calibration"
    if report["repair"]:
        yield from _repair_lines(**report["repair"])
    for warning in report["warnings"]:
        yield f"warning  {warning}"
    entry = report["input"]
    yield f"input    {_told(entry)}"
    planar = entry["layout"] == "planar (NCHW)"
    depth = entry["shape"][1 if planar else 3]
    colours = channels.upper() if depth == 3 else "grey"
    values = {
        "uint8": "as they are",
        "int8": "as pixel - 128",
        "float32": "as floats 0..255",
    }[entry["dtype"]]
    layout = "planar" if planar else "interleaved"
    yield f"         {colours} {layout}; pixels 0..255 enter {values}"
    if report["in_graph"]:
        yield f"         {report['in_graph']} is part of the graph, a layer more"
    if channels == "bgr":
        yield "         cameras deliver RGB: swap red and blue before this file"
    for number, told in enumerate(report["output"]):
        yield f"output   {number}: {_told(told)}"
    if report["soc"]:
        yield from _camera_lines(report, report["soc"])


def _repair_lines(judges: int, attempts: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        f"repair   judged by {judges // 2} of the images, kept from the cures, and "
        "their mirror images"
    )
    yield "         error  as float  seconds"
    for tried in attempts:
        share = "" if tried["agreement"] is None else f"{tried['agreement']:.2f}"
        told = "the converter alone"
        if tried["cure"] != "none":
            layers = len({change["layer"] for change in tried["changed"]})
            why = tried["why"].partition(": expected")[0]
            told = f"{tried['cure']}, {layers} layers: {why or 'kept'}"
        error = math.inf if tried["error"] is None else tried["error"]
        yield f"         {error:5.3f}  {share:>8}  {tried['seconds']:7.0f}  {told}"
    kept = [tried["cure"] for tried in attempts[1:] if tried["kept"]]
    yield f"         in the file: {', then '.join(kept) or 'no cure'}"


def _camera_lines(report: dict[str, Any], soc: dict[str, Any]) -> Iterator[str]:
    if soc["wants"] == "none":
        wants = "its compiler quantizes" if report["commands"] else "takes any type"
    else:
        wants = f"wants {soc['wants']} weights"
    yield f"chip     {soc['name']}: {wants} ({soc['source']})"
    if report["edge_tpu"]:
        told = report["edge_tpu"]
        yield (
            f"mapped   {told['on_tpu']} operators to the Edge TPU, {told['on_cpu']} to "
            "the CPU"
        )
    if report["commands"]:
        yield "next     not run here; where the compiler is, in the folder of the file:"
        for command in report["commands"]:
            yield f"           {command}"
    yield f"camera   device {soc['device']}"
    yield f"         {soc['larod_client']}"


def _told(entry: dict[str, Any]) -> str:
    told = f"{entry['dtype']} {'x'.join(map(str, entry['shape']))}"
    if entry.get("scale") is None:
        return f"{told}, {entry['name']}"
    return (
        f"{told}, {entry['bytes']} bytes, scale {entry['scale']:.9g}, zero point "
        f"{entry['zero_point']}"
    )
