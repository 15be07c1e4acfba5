"""`dlpu test`: a model on a camera, or on a virtual one, beside this computer."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, ending, pictures, printable
from course_lib.errors import UnusableInput

import click


@dlpu.command(short_help="Test a model on a camera, or on a virtual one.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--camera", "host", metavar="HOST", help="Address; also AXIS_CAMERA.")
@click.option("--virtual", metavar="SOC", help="Start a virtual camera of this chip.")
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Pictures to run; none that calibrated the file.",
)
@click.option(
    "--labels",
    "labelled",
    is_flag=True,
    help="DIR has one subfolder a class: class numbers, names of --classes, or their "
    "sorted names are the model's classes.",
)
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes, one a line, in the model's order.",
)
@click.option(
    "--output",
    type=click.IntRange(min=0),
    metavar="INDEX",
    help="The output with one value a class, if there are several outputs.",
)
@click.option("--limit", type=click.IntRange(min=1), help="So many pictures of DIR.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Timed jobs on random input, in ten batches.",
)
@click.option(
    "--warm-up",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Jobs before each batch that do not count.",
)
@click.option("--device", metavar="NAME", help="larod device; default the DLPU.")
@click.option(
    "--compiled",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What a compiler made of MODEL for the camera: .bin (CV25, CV75), "
    "_edgetpu.tflite (ARTPEC-7).",
)
@click.option(
    "--mean",
    type=pictures.Values(),
    help="A float input gets (pixel - mean) / std; default 0 and 1. On CV25 and CV75 "
    "that concerns the computer alone.",
)
@click.option("--std", type=pictures.Values(), help="See --mean.")
@pictures.channels_option
@click.option("--force", is_flag=True, help="Go on though the linter has errors.")
@click.option("--user", help="On the camera; also AXIS_CAMERA_USER.")
@click.option("--port", type=click.IntRange(1, 65535), default=22, help="Of SSH.")
@click.option(
    "--https-port", type=click.IntRange(1, 65535), default=443, help="Of VAPIX."
)
@click.option(
    "--trust-new", is_flag=True, help="Trust a camera that was never seen before."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write one page with a plot.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@ending.orderly()
def test(model: Path, **options: Any) -> None:
    """Test MODEL on a camera: its times, its outputs, its accuracy.

    Lints the file, uploads it, times its loading and its jobs on random input, and runs
    each picture on the camera and on this computer. The camera is one that you have, or
    a virtual one on this computer, whose times are a simulation. larod-client tells the
    mean of a batch and no single job's time.

    The computer runs ONNX Runtime for .onnx, else LiteRT with those of its two kinds of
    kernels, reference or default, that are nearer to the camera's outputs; how far the
    two are apart is told for scale.

    A password comes from AXIS_CAMERA_PASSWORD or is asked for, a key from the file
    that AXIS_CAMERA_KEY names.

    Exit status: 0 nothing wrong, 1 something found, 2 unusable input, or the camera
    does not do it.

    \b
    Example:
      dlpu test model.tflite --virtual artpec8 --images pictures/
      dlpu test model.tflite --camera 192.168.0.90 --user root --images pictures/ \\
          --labels --report test.html

    \b
    Keys of the JSON object:
      file, uploaded
      camera: product, soc, os, device
      lint: errors, warnings, notes, partitions
      input: dtype, shape, layout, bytes, row_pitch
      load: first_seconds, later_seconds, simulated; null where not told
      timing: mean_milliseconds, batch_means, batch_rounds, warm_up, simulated: what
        the virtual camera says of its times, null on a camera
      computer: what ran the file here
      outputs: index, name, dtype, shape; how far from the computer's: values,
        identical (share), mean, largest, unit, sqnr (dB), same_top1, verdict, note;
        spread: the same between LiteRT's two kinds of kernels, null for .onnx
      pictures: name, label, camera, computer (class numbers), largest (difference)
      agreement: share of pictures that both name alike; null without classes
      accuracy: camera, computer, other (kernels), camera_interval, computer_interval,
        difference_interval; null without --labels
      problems, warnings
    """  # noqa: D301  (click needs the control character)
    _check(model, options)
    from course_lib.camera import evaluation
    from course_lib.vision import datasets

    paths = _limited(datasets.image_files(options["folder"]), options["limit"])
    names, labels = _labels(options["folder"], paths, options)
    with _camera(options) as camera:
        plan = evaluation.plan(
            camera,
            model,
            device=options["device"],
            compiled=options["compiled"],
            virtual=bool(options["virtual"]),
        )
        if plan.errors and not options["force"]:
            _refuse(plan)
        crops = pictures.crops(paths, plan.size, channels=options["channels"])
        total = evaluation.steps(len(crops), rounds=options["rounds"])
        with _progress(total) as progress:
            result = evaluation.run(
                camera,
                plan,
                crops,
                names=[str(path.relative_to(options["folder"])) for path in paths],
                labels=labels,
                mean=options["mean"] or (0.0,),
                std=options["std"] or (1.0,),
                output=options["output"],
                rounds=options["rounds"],
                warm_up=options["warm_up"],
                progress=progress,
            )
    doubts = _doubts(result, names, is_scaled=bool(options["mean"] or options["std"]))
    result = replace(result, warnings=(*result.warnings, *doubts))
    if options["report"]:
        _write_report(options["report"], result, names)
    if options["as_json"]:
        told = evaluation.as_dict(result)
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        for line in evaluation.lines(result):
            click.echo(printable(line))
    if result.problems:
        raise SystemExit(1)


def _check(model: Path, options: dict[str, Any]) -> None:
    """Refuse what can be refused before anything is started."""
    if options["virtual"] and options["host"]:
        raise UnusableInput("--camera and --virtual: expected one of them, not both")
    if not options["virtual"]:
        options["host"] = options["host"] or os.environ.get("AXIS_CAMERA")
        if not options["host"]:
            raise UnusableInput(
                "no camera: give --camera HOST, or --virtual SOC for a virtual one "
                "(`dlpu socs` lists the chips)"
            )
        options["user"] = options["user"] or os.environ.get("AXIS_CAMERA_USER")
        if not options["user"]:
            raise UnusableInput(
                f"--camera {options['host']}: no user: give --user, or set "
                "AXIS_CAMERA_USER"
            )
    packages = ["asyncssh", "httpx", "PIL"]
    packages += ["cryptography"] if options["virtual"] else []
    packages += ["onnx", "onnxruntime"] if model.suffix.lower() == ".onnx" else []
    packages += ["matplotlib"] if options["report"] else []
    for name in packages:
        if find_spec(name) is None:
            raise UnusableInput(
                f"the package {name} is missing: install the extra `camera`, with "
                "`pip install '.[camera]'` in a clone of the course"
            )
    for file in filter(None, (model, options["compiled"])):
        if not file.is_file():
            raise UnusableInput(f"{file}: no such file: check the path")
    report = options["report"]
    if report and report.suffix.lower() not in (".html", ".htm"):
        raise UnusableInput(f"{report}: expected a name that ends in .html")
    if report and not report.parent.is_dir():
        raise UnusableInput(f"{report.parent}: no such folder to write to: make it")
    if any(value <= 0 for value in options["std"] or ()):
        raise UnusableInput("--std: expected numbers above 0")


def _limited(paths: list[Path], limit: int | None) -> list[Path]:
    """Take so many pictures, spread evenly, so that every subfolder has its share."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[place * len(paths) // limit] for place in range(limit)]


def _labels(
    folder: Path, paths: Sequence[Path], options: dict[str, Any]
) -> tuple[tuple[str, ...], list[int] | None]:
    """Return the names of the classes, where they are known, and each picture's."""
    from course_lib.dlpu import contract

    names = contract.read_labels(options["classes"]) if options["classes"] else ()
    if not options["labelled"]:
        return names, None
    places = [path.relative_to(folder).parts for path in paths]
    loose = [parts[0] for parts in places if len(parts) < 2]
    if loose:
        raise UnusableInput(
            f"{folder}: with --labels, expected every picture in a subfolder, one a "
            f"class; {loose[0]} is in none"
        )
    found = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    numbers = _numbers(found, names)
    return names or _by_number(found, numbers), [numbers[parts[0]] for parts in places]


def _numbers(found: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Number the subfolders; an empty one is a class too."""
    if all(name.isascii() and name.isdecimal() for name in found):
        return {name: int(name) for name in found}
    if not names:
        return {name: number for number, name in enumerate(found)}
    strange = [name for name in found if name not in names]
    if strange:
        raise UnusableInput(
            f"subfolder {strange[0]}: not in --classes: expected its names, such as "
            f"{names[0]!r}, or class numbers"
        )
    return {name: names.index(name) for name in found}


def _by_number(found: Sequence[str], numbers: dict[str, int]) -> tuple[str, ...]:
    """Return names in the model's order, unless they are numbers themselves."""
    return () if any(name.isdecimal() for name in found) else tuple(numbers)


def _doubts(result: Any, names: Sequence[str], *, is_scaled: bool) -> Iterator[str]:
    """Tell what of the command line does not fit the model."""
    if names and result.classes not in (None, len(names)):
        yield (
            f"{len(names)} names for {result.classes} classes: expected one for each, "
            "in the model's order; make an empty subfolder for a class without "
            "pictures, or give --classes"
        )
    model = result.plan.model
    if is_scaled and not model.inputs[0].is_float:
        yield (
            f"--mean and --std were not used: the model takes {model.inputs[0].dtype}, "
            "the pixels as they are"
        )


@contextmanager
def _camera(options: dict[str, Any]) -> Iterator[Any]:
    """Connect to the camera, or start a virtual one."""
    if options["virtual"]:
        from course_lib.camera import virtual
        from course_lib.dlpu import socs

        soc = socs.find(options["virtual"])
        with virtual.start(soc) as started, started.connect() as camera:
            yield camera
        return
    from course_lib.camera import client

    with client.connect(
        options["host"],
        user=options["user"],
        password=_password(options),
        port=options["port"],
        https_port=options["https_port"],
        trust_new=options["trust_new"],
    ) as camera:
        yield camera


def _password(options: dict[str, Any]) -> str | None:
    """Ask for the password; None leaves it to the environment."""
    named = any(os.environ.get(f"AXIS_CAMERA_{what}") for what in ("PASSWORD", "KEY"))
    if named or not sys.stdin.isatty():
        return None
    prompt = f"Password of {options['user']} on {options['host']}"
    return click.prompt(printable(prompt), hide_input=True, err=True)


def _refuse(plan: Any) -> None:
    """End: what the linter calls an error does not load, or gives wrong results."""
    for finding in plan.errors:
        click.echo(printable(f"error {finding.rule}: {finding.message}"), err=True)
    click.echo(
        f"Not tested: {plan.soc.name} will not load this, or gives wrong results. "
        "`dlpu lint` tells how to mend it; --force tests it as it is.",
        err=True,
    )
    raise SystemExit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=total, label="testing", file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def _write_report(path: Path, result: Any, names: Sequence[str]) -> None:
    from course_lib import files
    from course_lib.camera import evaluation
    from course_lib.course import report

    simulated = bool(result.timing.simulated)
    plan = result.plan
    title = f"{plan.file.name} on {plan.info.product}"
    parts: list[Any] = [report.Note(f"Warning: {text}") for text in result.warnings]
    if result.problems:
        parts += [report.Note(f"Found: {text}") for text in result.problems]
    else:
        parts.append(report.Paragraph("Nothing wrong was found."))
    content, alternative = _figure(result)
    sections = [
        report.Section("", parts),
        report.Section("What was tested", [report.Table(evaluation.rows(result))]),
        report.Section(
            "Times and differences",
            [
                report.Figure(
                    content,
                    alternative,
                    caption="Left: larod-client tells the mean of a batch of jobs on "
                    "random input, no single job's time. Right: the camera's outputs "
                    "beside the computer's, picture by picture."
                    + (" SIMULATION: the times are no camera's." if simulated else ""),
                )
            ],
        ),
    ]
    other = [p for p in result.pictures if p.camera != p.computer]
    if other:
        sections.append(
            report.Section(
                "Pictures that they name differently",
                [_others(other, names, len(result.pictures))],
            )
        )
    written = f"Written by dlpu-course {version('dlpu-course')} on {date.today()}."
    sections.append(report.Section("", [report.Paragraph(written)]))
    page = report.page(title, sections)
    files.write(path, page.encode())


def _others(found: Sequence[Any], names: Sequence[str], count: int) -> Any:
    from course_lib.course import report

    def shown(number: int | None) -> str:
        if number is None:
            return ""
        return f"{number} {names[number]}" if number < len(names) else str(number)

    most = 8  # rows that leave the report on one page
    more = f", the first {most}" if len(found) > most else ""
    return report.Table(
        [
            [p.name, *(shown(number) for number in (p.label, p.camera, p.computer))]
            for p in found[:most]
        ],
        header=("picture", "class", "camera", "computer"),
        caption=f"{len(found)} of {count} pictures{more}",
    )


def _figure(result: Any) -> tuple[bytes, str]:
    """Draw the batches and the differences; return the picture and it in words."""
    import matplotlib

    matplotlib.use("agg")
    from course_lib.course import report

    import matplotlib.pyplot as plt
    import numpy as np

    timing, found = result.timing, result.pictures
    simulated = "SIMULATION: " if timing.simulated else ""
    places = np.arange(1, len(found) + 1)
    largest = np.array([picture.largest for picture in found], float)
    most = max(largest[np.isfinite(largest)], default=0.0)
    apart = np.array([picture.camera != picture.computer for picture in found])
    unit = " or ".join(sorted({o.difference.unit for o in result.outputs}))
    with plt.style.context("course_lib.course.course"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.4))
        left.plot(range(1, len(timing.batches) + 1), timing.batches, "o", label="batch")
        left.axhline(timing.mean, color="C1", linestyle="--", label="mean of all")
        left.set(xlabel="batch", ylabel="ms a job", title=f"{simulated}batch means")
        left.set_ylim(0, max(timing.batches) * 1.25)
        right.plot(
            places[~apart], largest[~apart], "o", label="same top-1", clip_on=False
        )
        if apart.any():
            right.plot(places[apart], largest[apart], "X", color="C1", label="another")
        right.set(xlabel="picture", ylabel=unit, title="largest difference of a value")
        right.set_ylim(0, most * 1.25 or 1)
        for axes in (left, right):
            axes.xaxis.get_major_locator().set_params(integer=True)
        left.legend(loc="lower right")
        if result.agreement is not None:
            right.legend(loc="best")
        content = report.drawn(figure)
        plt.close(figure)
    return content, (
        f"Two plots. Left: {simulated}{len(timing.batches)} batch means between "
        f"{min(timing.batches):.2f} and {max(timing.batches):.2f} ms. Right: the "
        f"largest difference of each of {len(found)} pictures, at most {most:.4g} "
        f"{unit}; {int(apart.sum())} of them have another top-1."
    )
