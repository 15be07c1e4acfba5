"""`dlpu compare`: where an int8 file differs from its float file, why, and the cure."""

import json
import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, labels, pictures, printable
from course_lib.errors import UnusableInput

import click

# Of the two files' inputs, dB; real pairs have 30 and more.
_SAME_PICTURES = 12.0


@dlpu.command(short_help="Compare an int8 file with its float file, layer by layer.")
@click.argument("float_file", metavar="FLOAT", type=click.Path(path_type=Path))
@click.argument("int8_file", metavar="INT8", type=click.Path(path_type=Path))
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Pictures to compare on; none that calibrated the file.",
)
@click.option(
    "--mean",
    type=pictures.Values(),
    help="FLOAT takes (pixel - mean) / std; default 0, and std 255, or 1 for a file "
    "that normalises by itself.",
)
@click.option("--std", type=pictures.Values(), help="See --mean.")
@pictures.channels_option
@labels.options
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw the SQNR of the layers.",
)
@click.option(
    "--layers",
    "shown",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="So many of the worst layers in the table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(
    float_file: Path,
    int8_file: Path,
    folder: Path,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    labelled: bool,
    classes: Path | None,
    plot: Path | None,
    shown: int,
    as_json: bool,
) -> None:
    """Compare INT8 with FLOAT, .tflite files of the same model, on pictures.

    Tells whether they agree, which layers lose the signal, what is wrong and which tool
    mends it. The measure is the signal-to-quantization-noise ratio, SQNR, in dB. No
    TensorFlow is needed. Make FLOAT with `dlpu convert model.keras --soc cpu --float
    --mean MEAN --std STD -o float.tflite`; it then normalises by itself, and --mean and
    --std are left out here.

    Exit status: 0 nothing wrong, 1 causes found, 2 unusable input, or files that do not
    see the same pictures.

    \b
    Example:
      dlpu compare float.tflite model.tflite --images pictures/
      dlpu compare float.tflite model.tflite --images pictures/ --labels \\
          --mean 127.5 --std 127.5 --plot layers.png

    \b
    Keys of the JSON object:
      images, compared, agreement, output_sqnr, weights_sqnr, granularity
      float, int8: classes (those that were named), accuracy; null where not known
      worst: name of the layer that broke it, or costs most
      layers: operator, name, int8_name, shape, sqnr, worst_input, drop, saturated,
        used, channel_ratio, dead, dead_ratio, weights_alone; an infinite SQNR is null
      unmatched: float, int8: layers that the other file does not have
      causes: id, layer, evidence, cure; the likeliest first
      warnings
    """  # noqa: D301  (click needs the control character)
    if classes and not labelled:
        raise UnusableInput(
            "--classes: names the subfolders of --images: expected --labels beside it"
        )
    if plot is not None:
        _check_plot(plot)
    from course_lib import files
    from course_lib.tflite import comparison, diagnosis, reading

    import numpy as np

    ours, theirs = (reading.read(path) for path in (float_file, int8_file))
    comparison.check_kinds(ours, theirs, names=(str(float_file), str(int8_file)))
    inside = [comparison.normalises(model) is not None for model in (ours, theirs)]
    mean = mean or (0.0,)
    std = std or (1.0 if inside[0] else 255.0,)
    if any(value <= 0 for value in std):
        raise UnusableInput("--std: expected numbers above 0")
    in_all = _in_all(ours, theirs, mean, std)
    if inside[0] and _given(mean, std) and _told_otherwise(theirs, *in_all):
        raise UnusableInput(
            f"--mean and --std: {float_file} normalises by itself, and {int8_file} was "
            "not made to do it twice: leave both out"
        )
    options = {"folder": folder, "labelled": labelled, "classes": classes}
    paths = _pictures_for(ours, folder)
    files.expect_other(plot, *paths)
    names, folders, numbers = labels.of_folders(folder, paths, options)
    if [len(output.shape) for output in ours.outputs] == [2]:  # else it is found below
        count = math.prod(ours.outputs[0].shape)
        labels.expect_classes(max(count, 2), names, folders, options)
    crops = pictures.crops(paths, ours.inputs[0].shape[1:], channels=channels)
    found = comparison.compare(
        float_file,
        int8_file,
        np.stack(crops),
        mean=mean if len(mean) > 1 else mean[0],
        std=std if len(std) > 1 else std[0],
        labels=numbers,
    )
    labels.expect_classes(found.class_count, names, folders, options)
    causes = diagnosis.diagnose(found)
    warnings = list(_doubts(found, theirs, in_all))
    is_sorted = labels.order(folders, options) == labels.SORTED
    if is_sorted and any(cause.id == "float-model" for cause in causes):
        warnings.append(
            "the subfolders were numbered by their sorted names: if the model has "
            "another order, that is why; give --classes FILE"
        )
    if inside[0] and _given(mean, std):
        warnings.append(
            "FLOAT normalises by itself: leave --mean and --std out, unless the model "
            "was trained with both"
        )
    if plot is not None:
        _draw(plot, found, title=f"{int8_file.name} against {float_file.name}")
    if as_json:
        told = _as_json(found, causes, warnings)
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        named = {} if labels.are_numbers(folders) else folders
        for line in _lines(found, causes, warnings, shown, named):
            click.echo(printable(line))
    if causes:
        raise SystemExit(1)
    if not _sees_the_same(found):
        raise SystemExit(2)


def _sees_the_same(found: Any) -> bool:
    """Tell whether both files got the same pictures, so that they can be judged."""
    return found.layers[0].sqnr >= _SAME_PICTURES


def _check_plot(path: Path) -> None:
    if find_spec("matplotlib") is None:
        raise UnusableInput(
            "--plot: the package matplotlib is missing: install the extra `course`, or "
            "leave --plot out"
        )
    if path.suffix.lower() != ".png":
        raise UnusableInput(f"{path}: expected a name that ends in .png")
    if not path.parent.is_dir():
        raise UnusableInput(f"{path.parent}: no such folder to write to: make it first")


def _draw(path: Path, found: Any, *, title: str) -> None:
    import io

    import matplotlib

    matplotlib.use("agg")
    from course_lib import files
    from course_lib.course import plotting_12

    import matplotlib.pyplot as plt

    with plt.style.context("course_lib.course.course"):
        axes = plotting_12.sqnr_by_layer(found, title=title)
        picture = io.BytesIO()
        axes.figure.savefig(picture, format="png", dpi=150)
        plt.close(axes.figure)
    files.write(path, picture.getvalue())


def _pictures_for(model: Any, folder: Path) -> list[Path]:
    """Find the pictures, for a model that takes one at a time."""
    if len(model.inputs) != 1 or model.inputs[0].layout != "interleaved (NHWC)":
        raise UnusableInput(
            "FLOAT does not take one picture [1, height, width, channels]: expected "
            "one such input"
        )
    pictures.require("PIL")
    from course_lib.vision import datasets

    return datasets.image_files(folder)


def _given(mean: tuple[float, ...], std: tuple[float, ...]) -> bool:
    return (set(mean), set(std)) != ({0.0}, {1.0})


def _in_all(
    ours: Any, theirs: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std by which FLOAT's pixels reach what INT8's input stands for.

    What begins FLOAT's graph counts too, if INT8's does not begin with it.
    """
    from course_lib.tflite import comparison

    import numpy as np

    share = comparison.normalises(ours)
    if share is None or comparison.normalises(theirs) is not None:
        return mean, std
    _, factor, offset = share
    pairs = np.broadcast_arrays(mean - offset * std / factor, np.divide(std, factor))
    pairs = np.unique(np.atleast_2d(np.round(pairs, 4).T), axis=0)
    return tuple(map(float, pairs[:, 0])), tuple(map(float, pairs[:, 1]))


def _told_otherwise(
    theirs: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[float, float] | None:
    """Return the mean and std of INT8's input, if they are others than these."""
    from course_lib.tflite import comparison

    entry = theirs.inputs[0]
    if (
        entry.dtype != "uint8"
        or len(entry.scales) != 1
        or comparison.normalises(theirs) is not None
    ):
        return None
    told = float(entry.zero_point), 1 / entry.scale
    same = len(mean) == len(std) == 1 and (
        abs(std[0] / told[1] - 1) < 0.02 and abs(mean[0] - told[0]) <= 1
    )
    return None if same else told


def _doubts(
    found: Any, theirs: Any, in_all: tuple[tuple[float, ...], tuple[float, ...]]
) -> Iterator[str]:
    """Tell what makes the comparison itself doubtful."""
    if told := _told_otherwise(theirs, *in_all):
        mean, std = in_all
        yield (
            f"INT8's input says mean {told[0]:g} and std {told[1]:.4g}, not "
            f"{pictures.text(mean)} and {pictures.text(std)}: one of them is wrong; "
            "its real values are quantized here, a camera would send the pixels"
        )
    if not _sees_the_same(found):
        yield (
            f"the files do not see the same pictures: their inputs agree to "
            f"{_db(found.layers[0].sqnr)} dB; they were made with different --mean and "
            "--std, or these are wrong here"
        )
    if found.images < 16:
        yield f"{found.images} pictures: take 16 or more, of all that the model knows"
    for name, layers in (
        ("FLOAT", found.unmatched_float),
        ("INT8", found.unmatched_int8),
    ):
        if layers:
            more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
            yield f"only in {name}: {', '.join(layers[:3])}{more}"


def _as_json(found: Any, causes: tuple, warnings: list[str]) -> dict[str, Any]:
    return {
        "images": found.images,
        "compared": found.compared,
        "agreement": found.agreement,
        "output_sqnr": _finite(found.output_sqnr),
        "weights_sqnr": _finite(found.weights_sqnr),
        "granularity": found.granularity,
        "float": {"classes": found.float_classes, "accuracy": found.float_accuracy},
        "int8": {"classes": found.int8_classes, "accuracy": found.int8_accuracy},
        "worst": found.worst.name,
        "layers": [
            {
                "operator": layer.operator,
                "name": layer.name,
                "int8_name": layer.int8_name.split(";")[0],
                "shape": layer.shape,
                "sqnr": _finite(layer.sqnr),
                "worst_input": _finite(layer.worst_input),
                "drop": _finite(layer.drop),
                "saturated": layer.saturated,
                "used": layer.used,
                "channel_ratio": layer.channel_ratio,
                "dead": layer.dead,
                "dead_ratio": layer.dead_ratio,
                "weights_alone": _finite(layer.weights_alone),
            }
            for layer in found.layers
        ],
        "unmatched": {"float": found.unmatched_float, "int8": found.unmatched_int8},
        "causes": [
            {key: getattr(cause, key) for key in ("id", "layer", "evidence", "cure")}
            for cause in causes
        ],
        "warnings": warnings,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _lines(
    found: Any,
    causes: tuple,
    warnings: list[str],
    shown: int,
    folders: dict[str, int],
) -> Iterator[str]:
    from course_lib.dlpu import contract

    pictures = f"{found.images} picture{'' if found.images == 1 else 's'}"
    if found.agreement is None:
        yield f"compared   {pictures}; {found.compared}"
    else:
        yield f"agreement  {found.agreement:.2f} on {pictures}: {found.compared}"
        yield (
            f"classes    of {found.class_count}, FLOAT names "
            f"{len(found.float_classes)} and INT8 {len(found.int8_classes)}"
        )
    if found.float_accuracy is not None:
        yield (
            f"accuracy   FLOAT {found.float_accuracy:.2f}, INT8 "
            f"{found.int8_accuracy:.2f}"
        )
    if folders:
        yield f"labels     {contract.folders_text(folders)}"
    yield f"output     {_db(found.output_sqnr)} dB"
    if found.weights_sqnr is not None:
        yield f"           {_db(found.weights_sqnr)} dB if only the weights are rounded"
    for warning in warnings:
        yield f"warning    {warning}"
    if shown:
        yield ""
        yield from _table(found, shown)
    yield ""
    if not causes:
        yield _verdict(found)
    for number, cause in enumerate(causes, start=1):
        yield f"{number}. {cause.id}: {cause.evidence}"
        yield f"   {cause.cure}"


def _verdict(found: Any) -> str:
    """Say what no cause means: a file may differ and still be far from broken."""
    from course_lib.tflite import diagnosis

    if not _sees_the_same(found):
        return "not judged: the files do not see the same pictures"
    if (
        found.agreement is not None
        and found.images >= diagnosis.ENOUGH_IMAGES
        and found.agreement < diagnosis.KEPT_AGREEMENT
    ):
        return (
            "no single cause; where these answers matter, try `dlpu convert --repair` "
            "(lesson 07)"
        )
    return "nothing wrong"


def _table(found: Any, shown: int) -> Iterator[str]:
    """Print the layers that do most harm: by their weights alone, then by the drop."""
    ordered = sorted(
        found.layers,
        key=lambda layer: (
            layer is not found.worst,
            min(_or(layer.weights_alone, math.inf), found.output_sqnr + 20),
            -layer.drop,
        ),
    )
    yield "  SQNR  drop  alone  ratio  used  layer; the first broke it, or costs most"
    for layer in ordered[:shown]:
        alone, ratio = layer.weights_alone, layer.channel_ratio
        yield (
            f"{_db(layer.sqnr):>6}{_db(layer.drop):>6}"
            f"{'' if alone is None else _db(alone):>7}"
            f"{'' if ratio is None else f'{ratio:.1f}':>7}{layer.used:>6.0%}  "
            f"{layer.operator} {layer.name}"
        )
    yield (
        "  drop: from the worst input, dB; alone: the output's SQNR if nothing but "
        "this layer's weights is rounded"
    )
    yield "  ratio: widest over median channel; used: share of the range that is filled"


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _db(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "exact" if value > 0 else "none"
