"""`dlpu test`: a model on a camera, or on a virtual one, beside this computer."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from course_lib.cli import (
    connecting,
    dlpu,
    ending,
    labels,
    pictures,
    printable,
    typed,
)
from course_lib.errors import UnusableInput

import click


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
@labels.options
@labels.output_option
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
    "--mean",
    type=pictures.Values(),
    help="A float input of a .tflite file gets (pixel - mean) / std; default 0 and 1. "
    "Any other input takes pixels.",
)
@click.option("--std", type=pictures.Values(), help="See --mean.")
@pictures.channels_option
@click.option("--force", is_flag=True, help="Go on though the linter has errors.")
@connecting.options
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

    paths = labels.limited(datasets.image_files(options["folder"]), options["limit"])
    names, folders, numbers = labels.of_folders(options["folder"], paths, options)
    from course_lib.camera import evaluation, summary

    _expect_classes(model, names, folders, options)
    with connecting.camera(options) as camera:
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
                labels=numbers,
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
        doubt = f"{labels.names_text(names, result.classes)}: expected one for each"
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
        connecting.expect_host(options)
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


def _expect_classes(
    model: Path,
    names: Sequence[str],
    folders: dict[str, int],
    options: dict[str, Any],
) -> None:
    """Refuse a file, or labels that are not its classes, before a camera is asked."""
    from course_lib.camera import evaluation
    from course_lib.dlpu import contract, socs

    soc = socs.SOCS["cv25" if model.suffix.lower() == ".onnx" else "cpu"]
    if options["virtual"] and options["device"] != socs.SOCS["cpu"].device:
        soc = socs.find(options["virtual"])
    ends = contract.of(evaluation.read(model, soc=soc), soc=soc, file=model).outputs
    place = evaluation.classes_at(ends, options["output"], needed=options["labelled"])
    if place is not None:
        labels.expect_classes(math.prod(ends[place].shape), names, folders, options)


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
    import matplotlib

    matplotlib.use("agg")
    from course_lib import files
    from course_lib.camera import summary
    from course_lib.course import camera_parts, report

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
            [report.Code(typed.command_line()), report.Table(summary.rows(result))],
        ),
        report.Section("Times and differences", camera_parts.drawn(result)),
    ]
    odd = camera_parts.odd_pictures(result)
    if odd:
        sections.append(report.Section("Pictures that are wrong or differ", odd))
    written = f"Written by dlpu-course {version('dlpu-course')} on {date.today()}."
    sections.append(report.Section("", [report.Paragraph(written)]))
    page = report.page(title, sections)
    files.write(path, page.encode())
