"""`dlpu report`: a trained model, its way to a chip, one page."""

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from course_lib.cli import (
    connecting,
    converting,
    dlpu,
    ending,
    labels,
    pictures,
    printable,
    typed,
)
from course_lib.errors import UnusableInput

import click


@dlpu.command(short_help="Take a trained model all the way and write one page.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--soc",
    "name",
    metavar="SOC",
    required=True,
    help="The chip, such as artpec8; `dlpu socs` lists them.",
)
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Pictures that judge the file. Without --calibration every second one "
    "calibrates it instead.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Calibration images, 100 to 200 varied ones from the deployed scene, none of "
    "those in --images.",
)
@labels.options
@labels.output_option
@converting.normalisation_options
@converting.cures_options
@click.option(
    "--virtual",
    "is_virtual",
    is_flag=True,
    help="Run the file on a virtual camera with this chip: a simulation.",
)
@click.option(
    "--camera",
    "host",
    metavar="HOST",
    help="Run it on the camera with this address; also AXIS_CAMERA.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="So many of the judging pictures go to the camera.",
)
@connecting.options
@click.option(
    "-d",
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the files and the pictures in a new folder: with them the page's "
    "commands repeat each step.",
)
@click.option(
    "-o",
    "--page",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.html",
    help="The page to write.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object; unusable input is told as text, on stderr.",
)
@ending.orderly()
def report(model: Path, **options: Any) -> None:
    """Take MODEL, a SavedModel folder or .keras file, all the way to one page.

    Converts it for the chip, asks the float and the converted file about pictures that
    did not calibrate it, lints the file, writes its card, runs it on a camera if one is
    asked for, and writes a page that needs nothing beside it: the verdict first, then
    accuracy before and after, the weakest layer where something was lost, findings,
    contract, the commands that repeat each step, and versions.

    A share has a 95 % interval that takes the pictures as independent. Something was
    lost when the accuracy fell by more than chance explains, or when fewer than 0.95 of
    the answers are the float model's and no chance explains that. Cures are tried only
    with --repair or --thorough.

    For CV25 and CV75 the page is about the planar ONNX file: the chip's compiler, which
    quantizes, is not run. Whatever a virtual camera says is a simulation.

    Exit status: 0 no finding; 1 findings, or fewer than 16 judging pictures, the page
    is written; 2 unusable input, no page is written.

    \b
    Example:
      dlpu report model.keras --soc artpec8 --images frames/ --labels --virtual \\
          --mean 127.5 --std 127.5 -o report.html
      dlpu report model.keras --soc artpec9 --images test/ --labels \\
          --calibration frames/ --camera 192.168.0.90 --user root -o report.html

    \b
    Keys of the JSON object:
      verdict; problems, warnings, not_run: one sentence each
      soc, kind, size, calibrated_by, judged_by (numbers of pictures)
      accuracy: float, unrepaired, made, each with share, of, interval; null where not
        known
      agreement: unrepaired, made, likewise
      difference: interval of the accuracy, made less float; null without --labels
      repair: as `dlpu convert --json` tells it
      weakest: a layer, when something was lost; causes: id, layer, evidence, cure
      findings: of the linter: rule, severity, message, fix
      card: as `dlpu card --json` tells it
      camera: as `dlpu test --json` tells it; null when none ran the file
      camera_refused: why it did not run it, or null
      versions: of the packages
      page, kept: what was written; kept is null without --keep
    """  # noqa: D301  (click needs the control character)
    soc = _check(options)
    import matplotlib

    matplotlib.use("agg")
    from course_lib.course import journey, journey_page
    from course_lib.quantization import conversion

    camera = _camera(soc, options)
    loaded = conversion.read_model(model)
    calibration, judges, warnings = _pictures(loaded, options)
    with tempfile.TemporaryDirectory() as made_in:
        done = journey.travel(
            loaded,
            calibration,
            judges,
            soc=soc,
            folder=Path(made_in),
            name=model.stem,
            settings=journey.Settings(
                *(options[key] for key in ("mean", "std", "channels", "cures"))
            ),
            reach=partial(connecting.camera, camera) if camera else None,
            is_virtual=options["is_virtual"],
            compiled=options["compiled"],
            output=options["output"],
            most=options["limit"],
            warnings=warnings,
            tell=lambda step: click.echo(f"{step} ...", err=True),
        )
        _expect_classes(done.judged.class_count, judges, options)
        origin = _origin(model, soc, options)
        _write(
            options["page"],
            journey_page.page(done, origin=origin).encode(),
            options["keep"],
            journey_page.keep(done, calibration) if options["keep"] else {},
            journey_page.empty_folders(done),
        )
    if options["as_json"]:
        told = journey_page.as_dict(done)
        told["page"] = str(options["page"])
        told["kept"] = str(options["keep"]) if options["keep"] else None
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        for line in (*journey_page.lines(done), f"page: {options['page']}"):
            click.echo(printable(line))
    if not done.is_clear:
        raise SystemExit(1)


def _check(options: dict[str, Any]) -> Any:
    """Refuse what can be refused before minutes of work; return the chip."""
    from course_lib.dlpu import socs

    soc = socs.find(options["name"])
    if options["is_virtual"] and options["host"]:
        raise UnusableInput("--camera and --virtual: expected one of them, not both")
    options["host"] = options["host"] or os.environ.get("AXIS_CAMERA")
    if options["is_virtual"]:
        options["host"] = None
    if any(value <= 0 for value in options["std"]):
        raise UnusableInput(
            f"--std {pictures.text(options['std'])}: expected numbers above 0"
        )
    _expect_places(options)
    _expect_compiled(soc, options)
    pictures.require("PIL", "tensorflow")
    packages = ["asyncssh", "httpx", "matplotlib", "onnx", "onnxruntime"]
    packages += ["cryptography"] if options["is_virtual"] else []
    pictures.require(*packages, extra="camera")
    return soc


def _expect_places(options: dict[str, Any]) -> None:
    """Refuse places that cannot be written to."""
    page, keep = options["page"], options["keep"]
    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise UnusableInput(f"{page}: expected a name that ends in .html")
    if keep and os.path.lexists(keep):
        raise UnusableInput(
            f"--keep {keep}: exists, expected a new folder: choose another name"
        )
    for place in (page, keep):
        if place is None or (place is page and page.parent == keep):
            continue
        if not place.parent.is_dir():
            raise UnusableInput(
                f"{place.parent}: no such folder to write to: make it first"
            )
        if not os.access(place.parent, os.W_OK):
            raise UnusableInput(
                f"{place}: could not be written (Permission denied): choose another "
                "place"
            )


def _expect_compiled(soc: Any, options: dict[str, Any]) -> None:
    """Refuse a camera that needs a file which only a compiler makes."""
    compiled = options["compiled"]
    if compiled and not compiled.is_file():
        raise UnusableInput(f"{compiled}: no such file: check the path")
    if options["host"] and soc.takes_onnx and not compiled:
        raise UnusableInput(
            f"--camera: {soc.name} loads what its compiler makes: expected --compiled "
            "FILE.bin; make the .onnx file with `dlpu convert` first, then compile it"
        )


def _camera(soc: Any, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return how to reach the camera, after a look at a real one; None without one."""
    from course_lib.course import journey

    if not options["is_virtual"] and not options["host"]:
        return None
    keys = ("host", "user", "port", "https_port", "trust_new")
    chosen = {"virtual": None, **{key: options[key] for key in keys}}
    if options["is_virtual"]:
        chosen["virtual"] = journey.host_of(soc).id
        return chosen
    connecting.expect_host(chosen)
    with connecting.camera(chosen) as camera:
        journey.expect_soc(camera, soc)
    return chosen


def _pictures(loaded: Any, options: dict[str, Any]) -> tuple[Any, Any, list[str]]:
    """Return the calibration pictures, the judges, and what is doubtful about them."""
    from course_lib.course import journey
    from course_lib.quantization import conversion
    from course_lib.vision import datasets

    fixed = conversion.fix_batch(loaded)
    paths = datasets.image_files(options["folder"])
    names, folders, numbers = labels.of_folders(options["folder"], paths, options)
    options["folders"] = folders
    order = labels.order(folders, options)
    shapes = [output.shape for output in fixed.function.outputs]
    read = partial(
        _read, shape=fixed.input_shape[1:], channels=options["channels"], of=journey
    )
    judges = read(options["folder"], paths, labels=numbers, classes=names, order=order)
    if len(shapes) == 1:
        _expect_classes(shapes[0].num_elements(), judges, options)
    doubts = list(converting.doubts(fixed.normalises, options["mean"], options["std"]))
    if options["calibration"]:
        found = datasets.image_files(options["calibration"])
        calibration = read(options["calibration"], found)
        return calibration.spread(converting.MOST_IMAGES), judges, doubts
    calibration, judges = journey.split(judges)
    doubts.append(
        "every second picture calibrated and the others judged: where neighbours show "
        "one place, that is kind to the file; --calibration takes others"
    )
    return calibration.spread(converting.MOST_IMAGES), judges, doubts


def _read(
    folder: Path,
    paths: list[Path],
    *,
    shape: tuple[int, ...],
    channels: str,
    of: Any,
    labels: list[int] | None = None,
    classes: tuple[str, ...] = (),
    order: str = "",
) -> Any:
    import numpy as np

    return of.Pictures(
        np.stack(pictures.crops(paths, shape, channels=channels)),
        names=tuple(str(path.relative_to(folder)) for path in paths),
        labels=None if labels is None else np.array(labels),
        classes=classes,
        order=order,
    )


def _expect_classes(count: int, judges: Any, options: dict[str, Any]) -> None:
    labels.expect_classes(count, judges.classes, options["folders"], options)


def _origin(model: Path, soc: Any, options: dict[str, Any]) -> Any:
    from course_lib.course import journey_page

    camera = ()
    if options["host"]:
        camera = ("--camera", options["host"])
        camera += ("--user", options["user"]) if options["user"] else ()
        camera += ("--device", soc.device) if soc.id == "cpu" else ()
        compiled = options["compiled"]
        camera += ("--compiled", str(compiled)) if compiled else ()
    return journey_page.Origin(
        model=str(model),
        kept=str(options["keep"] or "DIR"),
        is_kept=bool(options["keep"]),
        command=typed.command_line(),
        camera=camera,
    )


def _write(
    page: Path,
    content: bytes,
    keep: Path | None,
    kept: dict[str, bytes],
    empty: list[str],
) -> None:
    """Write the folder and the page; a page that belongs into the folder is in it."""
    from course_lib import files

    if keep:
        inside = page.parent == keep
        more = {page.name: content} if inside else {}
        files.write_folder(keep, {**kept, **more}, empty=empty)
        if inside:
            return
    files.write(page, content)
