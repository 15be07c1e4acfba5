"""`dlpu test`: a model on a camera, or on a virtual one, beside this computer."""

import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, ending, pictures, printable
from course_lib.cli.camera import password
from course_lib.errors import UnusableInput

import click
from click.core import ParameterSource


@dlpu.command(short_help="Test a model on a camera, or on a virtual one.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--camera", "host", metavar="HOST", help="Address; also AXIS_CAMERA.")
@click.option(
    "--virtual",
    metavar="SOC",
    help="Start a virtual camera of this chip, such as artpec8.",
)
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
    help="DIR has one subfolder a class: class numbers, names of --classes, or as many "
    "names as the model has classes, sorted; an empty one is a class too.",
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
    help="A float input of a .tflite file gets (pixel - mean) / std; default 0 and 1. "
    "Any other input takes pixels.",
)
@click.option("--std", type=pictures.Values(), help="See --mean.")
@pictures.channels_option
@click.option("--force", is_flag=True, help="Go on though the linter has errors.")
@click.option("--user", help="On the camera; also AXIS_CAMERA_USER.")
@click.option("--port", type=click.IntRange(1, 65535), default=22, help="Of SSH.")
@click.option(
    "--https-port", type=click.IntRange(1, 65535), help="Of VAPIX; 443 otherwise."
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
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "never"]),
    default="error",
    show_default=True,
    help="Exit with 1 for findings; for the linter's warnings too; or never, once "
    "MODEL was run.",
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

    Exit status: 0 no finding, or see --fail-on; 1 findings, among them errors of the
    linter, for which MODEL is not run without --force; 2 unusable input, or the camera
    does not do it.

    \b
    Example:
      dlpu test model.tflite --virtual artpec8 --images pictures/
      dlpu test model.tflite --camera 192.168.0.90 --user root --images pictures/ \\
          --labels --report test.html

    \b
    Keys of the JSON object:
      file, sha256, uploaded
      camera: product, soc, os, device, virtual
      lint: errors, warnings, notes, partitions
      findings: of the linter, errors and warnings: rule, severity, message, fix
      input: dtype, shape, layout, bytes, row_pitch
      load: first_seconds, later_seconds, simulated; null where not told
      timing: mean_milliseconds, batch_means, batch_rounds, warm_up, simulated: what
        the virtual camera says of its times, null on a camera
      computer: what ran the file here
      outputs: index, name, dtype, shape; how far from the computer's: values,
        identical (share), mean, largest, unit, sqnr (dB; null where nothing differs,
        or nothing varies), same_top1, verdict, note;
        spread: the same between LiteRT's two kinds of kernels, null for .onnx
      folders: number of the class of each subfolder; null without --labels
      pictures: name, label, camera, computer (class numbers), largest (difference)
      agreement: share of pictures that both name alike; null without classes
      accuracy: camera, computer, other (kernels), camera_interval, computer_interval,
        difference_interval; null without --labels
      problems, warnings: one sentence each
    Where the linter's errors kept MODEL from being run, problems says so, and load to
    accuracy are null.
    """  # noqa: D301  (click needs the control character)
    _check(model, options)
    from course_lib.vision import datasets

    paths = _limited(datasets.image_files(options["folder"]), options["limit"])
    names, folders, labels = _labels(options["folder"], paths, options)
    from course_lib.camera import evaluation, summary

    _expect_classes(model, names, folders, options)
    with _camera(options) as camera:
        plan = evaluation.plan(
            camera,
            model,
            device=options["device"],
            compiled=options["compiled"],
            virtual=bool(options["virtual"]),
        )
        if plan.errors and not options["force"]:
            _refuse(plan, as_json=options["as_json"])
        crops = pictures.crops(paths, plan.size, channels=options["channels"])
        total = evaluation.steps(len(crops), rounds=options["rounds"])
        with _progress(total) as progress:
            result = evaluation.run(
                camera,
                plan,
                crops,
                names=[str(path.relative_to(options["folder"])) for path in paths],
                labels=labels,
                classes=names,
                folders=folders,
                mean=options["mean"],
                std=options["std"],
                output=options["output"],
                rounds=options["rounds"],
                warm_up=options["warm_up"],
                progress=progress,
            )
    if names and result.classes not in (None, len(names)):
        doubt = f"{_names_text(names, result.classes)}: expected one for each"
        result = replace(result, warnings=(*result.warnings, doubt))
    if options["report"]:
        _write_report(options["report"], result)
    if options["as_json"]:
        told = summary.as_dict(result)
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        for line in summary.lines(result):
            click.echo(printable(line))
    if _fails(result, options["fail_on"]):
        raise SystemExit(1)


def _fails(result: Any, fail_on: str) -> bool:
    warned = fail_on == "warning" and result.plan.report.at_least("warning")
    return fail_on != "never" and bool(result.problems or warned)


def _check(model: Path, options: dict[str, Any]) -> None:
    """Refuse what can be refused before anything is started."""
    if options["virtual"] and options["host"]:
        raise UnusableInput("--camera and --virtual: expected one of them, not both")
    if options["virtual"]:
        _expect_chip(options["virtual"])
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
                "--camera: no user: give --user, or set AXIS_CAMERA_USER"
            )
    packages = ["asyncssh", "httpx", "PIL"]
    packages += ["cryptography"] if options["virtual"] else []
    packages += ["onnx", "onnxruntime"] if model.suffix.lower() == ".onnx" else []
    packages += ["matplotlib"] if options["report"] else []
    pictures.require(*packages, extra="camera")
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


def _expect_chip(name: str) -> None:
    """Refuse a chip that no camera has."""
    from course_lib.dlpu import socs

    cpu = socs.SOCS["cpu"]
    known = ", ".join(soc for soc in socs.SOCS if soc != cpu.id)
    try:
        soc = socs.find(name)
    except UnusableInput:
        raise UnusableInput(
            f"--virtual {name}: no such chip, expected one of {known}"
        ) from None
    if soc is cpu:
        raise UnusableInput(
            f"--virtual {name}: {cpu.id} is no camera's chip, expected one of {known}; "
            f"to test on a camera's CPU add --device {cpu.device}"
        )


def _limited(paths: list[Path], limit: int | None) -> list[Path]:
    """Take so many pictures, spread evenly, so that every subfolder has its share."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[place * len(paths) // limit] for place in range(limit)]


def _labels(
    folder: Path, paths: Sequence[Path], options: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, int], list[int] | None]:
    """Return the names of the classes, the folders' numbers, and the pictures'."""
    from course_lib.dlpu import contract

    names = contract.read_labels(options["classes"]) if options["classes"] else ()
    if not options["labelled"]:
        return names, {}, None
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
    labels = [numbers[parts[0]] for parts in places]
    return names or _by_number(found, numbers), numbers, labels


def _numbers(found: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Number the subfolders; an empty one is a class too."""
    if _are_numbers(found):
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


def _are_numbers(folders: Iterable[str]) -> bool:
    return all(name.isascii() and name.isdecimal() for name in folders)


def _by_number(found: Sequence[str], numbers: dict[str, int]) -> tuple[str, ...]:
    """Return names in the model's order, unless they are numbers themselves."""
    return () if any(name.isdecimal() for name in found) else tuple(numbers)


def _expect_classes(
    model: Path,
    names: Sequence[str],
    folders: dict[str, int],
    options: dict[str, Any],
) -> None:
    """Refuse a file, or labels that are not its classes, before a camera is asked.

    Names of folders are numbered by the list that they are in: a list of another
    length than the model's numbers them wrongly.
    """
    from course_lib.camera import evaluation
    from course_lib.dlpu import contract, socs

    soc = socs.SOCS["cv25" if model.suffix.lower() == ".onnx" else "cpu"]
    if options["virtual"] and options["device"] != socs.SOCS["cpu"].device:
        soc = socs.find(options["virtual"])
    ends = contract.of(evaluation.read(model, soc=soc), soc=soc, file=model).outputs
    place = evaluation.classes_at(ends, options["output"], needed=options["labelled"])
    if not options["labelled"] or _are_numbers(folders):
        return
    count = math.prod(ends[place].shape)
    if options["classes"] and len(names) != count:
        raise UnusableInput(
            f"--classes {options['classes']}: {_names_text(names, count)}: expected "
            "one for each, in the model's order"
        )
    if not options["classes"] and len(folders) != count:
        raise UnusableInput(
            f"{options['folder']}: {len(folders)} subfolders, the model has {count} "
            "classes: give --classes FILE, or name the folders by class number"
        )


def _names_text(names: Sequence[str], count: int) -> str:
    return f"{len(names)} names for {count} classes"


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
        password=password(options["user"], options["host"]),
        port=options["port"],
        https_port=options["https_port"],
        trust_new=options["trust_new"],
    ) as camera:
        yield camera


def _refuse(plan: Any, *, as_json: bool) -> None:
    """End with what the linter calls an error, in the linter's words."""
    from course_lib.camera import summary
    from course_lib.cli.lint import short
    from course_lib.dlpu import rules

    found: dict[str, list[Any]] = {}
    for finding in plan.errors:
        found.setdefault(finding.rule, []).append(finding)
    for name, (first, *others) in found.items():
        rule = rules.RULES[name]
        click.echo(f"error {name}: {rule.title}", err=True)
        more = f"; and {len(others)} more" if others else ""
        click.echo(printable(f"  {short(first)}{more}"), err=True)
        click.echo(f"  Why: {rule.why_on(plan.soc)}", err=True)
    words = shlex.join(["dlpu", "lint", str(plan.file), "--soc", plan.soc.id])
    click.echo(
        printable(
            f"Not tested: the linter has errors. `{words}` tells how to mend them; "
            "--force tests the file as it is."
        ),
        err=True,
    )
    if as_json:
        told = summary.refused_as_dict(plan)
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    raise SystemExit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=total, label="testing", file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def _write_report(path: Path, result: Any) -> None:
    from course_lib import files
    from course_lib.camera import summary
    from course_lib.course import report

    title = f"{result.plan.file.name} on {result.plan.info.product}"
    parts: list[Any] = [
        *(report.Note(f"Finding: {text}") for text in result.problems),
        *(report.Note(f"Warning: {text}") for text in result.warnings),
        report.Paragraph(f"{result.verdict[0].upper()}{result.verdict[1:]}."),
    ]
    sections = [
        report.Section("", parts),
        report.Section(
            "What was tested",
            [report.Code(_command()), report.Table(summary.rows(result))],
        ),
        report.Section("Times and differences", _drawn(result)),
    ]
    odd = [
        picture
        for picture in result.pictures
        if picture.camera != picture.computer
        or picture.label not in (None, picture.camera)
    ]
    if odd:
        heading = "Pictures that are wrong or differ"
        sections.append(report.Section(heading, [_others(odd, result)]))
    written = f"Written by dlpu-course {version('dlpu-course')} on {date.today()}."
    sections.append(report.Section("", [report.Paragraph(written)]))
    page = report.page(title, sections)
    files.write(path, page.encode())


def _command() -> str:
    """Return the command line, without what was left to its default."""
    context = click.get_current_context()
    words = ["dlpu", "test"]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if source is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[parameter.name]
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[0])
        if value is not True:
            is_tuple = isinstance(value, tuple)
            words.append(pictures.text(value) if is_tuple else str(value))
    return shlex.join(words)


def _others(odd: Sequence[Any], result: Any) -> Any:
    from course_lib.course import report

    most = 20
    more = f", the first {most}" if len(odd) > most else ""
    return report.Table(
        [
            [p.name, *map(result.class_text, (p.label, p.camera, p.computer))]
            for p in odd[:most]
        ],
        header=("picture", "label", "camera", "computer"),
        caption=f"{len(odd)} of {len(result.pictures)} pictures{more}",
    )


def _drawn(result: Any) -> list[Any]:
    """Return the plot, and in words what is not worth one."""
    import matplotlib

    matplotlib.use("agg")
    from course_lib.course import report

    import matplotlib.pyplot as plt
    import numpy as np

    largest = np.array([picture.largest for picture in result.pictures], float)
    most = max(largest[np.isfinite(largest)], default=0.0)
    simulated = "SIMULATION: " if result.timing.simulated else ""
    with plt.style.context("course_lib.course.course"):
        columns = 2 if most else 1
        figure, axes = plt.subplots(1, columns, figsize=(7.2, 2.4), squeeze=False)
        told = [_draw_times(axes[0, 0], result.timing, simulated)]
        if most:
            told.append(_draw_differences(axes[0, 1], result, largest, most))
        for plot in axes.flat:
            plot.xaxis.get_major_locator().set_params(integer=True)
            # Below the plot: inside it would lie on the data.
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.3)}
            plot.legend(**place, ncols=2)
        content = report.drawn(figure)
        plt.close(figure)
    caption = (
        f"{simulated}larod-client tells the mean of a batch of jobs on random input, "
        "no single job's time."
    )
    if most:
        caption += " Right: the camera's outputs beside the computer's."
    parts: list[Any] = [report.Figure(content, " ".join(told), caption=caption)]
    if np.isnan(largest).any():
        count = int(np.isnan(largest).sum())
        parts.append(report.Paragraph(f"{count} pictures give values without a size."))
    elif not most:
        parts.append(report.Paragraph("No value of any picture differs."))
    return parts


def _draw_times(plot: Any, timing: Any, simulated: str) -> str:
    """Draw the batches; return them in words."""
    plot.plot(range(1, len(timing.batches) + 1), timing.batches, "o", label="batch")
    plot.axhline(timing.mean, color="C1", linestyle="--", label="mean of all")
    plot.set(xlabel="batch", ylabel="ms a job", title=f"{simulated}batch means")
    plot.set_ylim(0, max(timing.batches) * 1.25 or 1)
    return (
        f"{simulated}{len(timing.batches)} batch means between "
        f"{min(timing.batches):.2f} and {max(timing.batches):.2f} ms."
    )


def _draw_differences(plot: Any, result: Any, largest: Any, most: float) -> str:
    """Draw the largest difference of each picture; return it in words."""
    import numpy as np

    found = result.pictures
    places = np.arange(1, len(found) + 1)
    apart = np.array([picture.camera != picture.computer for picture in found])
    unit = " or ".join(sorted({o.difference.unit for o in result.outputs}))
    same = "picture" if result.agreement is None else "same top-1"
    for chosen, label, look in (
        (~apart, same, {"marker": "o"}),
        (apart, "another top-1", {"marker": "X", "color": "C1"}),
    ):
        if chosen.any():  # points of no extent leave no room for the axes
            look |= {"linestyle": "", "clip_on": False}
            plot.plot(places[chosen], largest[chosen], label=label, **look)
    plot.set(xlabel="picture", ylabel=unit, title="largest difference of a value")
    plot.set_ylim(0, most * 1.1)
    return (
        f"Right: the largest difference of each of {len(found)} pictures, at most "
        f"{most:.4g} {unit}; {int(apart.sum())} of them have another top-1."
    )
