"""What came out of a journey: as a page, as JSON, as lines; and what to keep of it."""

import io
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from course_lib.camera import findings, summary
from course_lib.cli.lint import short
from course_lib.course import camera_parts, plotting_12, report
from course_lib.course.journey import (
    FILES,
    Journey,
    Judged,
    Made,
    Pictures,
    Settings,
    class_list,
    host_of,
)
from course_lib.dlpu import contract, rules, socs
from course_lib.tflite import diagnosis

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

_MOST_ROWS = 20
_PLAIN = ("--mean", "0", "--std", "1")  # pixels as they are
_PACKAGES = (
    *("dlpu-course", "tensorflow", "keras", "ai-edge-litert", "numpy"),
    *("onnx", "onnxruntime", "tf2onnx"),
)
_CALLED = {
    "float": "float, before",
    "unrepaired": "full-integer, without cures",
    "made": "full-integer, after",
}


@dataclass(frozen=True)
class Origin:
    """Where a journey began, for the commands that repeat it.

    Attributes:
        model: The model, as one would type it.
        kept: The folder that keeps its files and pictures.
        is_kept: Whether it exists.
        command: What was typed; "" when it was no command.
        camera: The options of `dlpu test` that choose a camera.

    Introduced in notebook 15.
    """

    model: str = "model.keras"
    kept: str = "DIR"
    is_kept: bool = False
    command: str = ""
    camera: Sequence[str] = ()


def page(journey: Journey, *, origin: Origin = Origin()) -> str:
    """Return one page of HTML that needs nothing beside it.

    The verdict comes first, then figures before and after, what was lost where, the
    linter's findings, the contract, the camera, the commands, the versions.

    Args:
        journey: From `journey.collect`, or `journey.travel`.
        origin: Where it began.

    Introduced in notebook 15.
    """
    made = journey.made
    return report.page(
        f"{made.file.name} for {made.soc.name}", sections(journey, origin=origin)
    )


def sections(journey: Journey, *, origin: Origin = Origin()) -> list[report.Section]:
    """Return the sections of the page, from top to bottom.

    Introduced in notebook 15.
    """
    found = [
        report.Section("", _verdict(journey)),
        report.Section("Before and after", _before_and_after(journey)),
    ]
    if journey.compared:
        found.append(report.Section("Where it was lost", _lost(journey)))
    found += [
        report.Section("What the linter says", _lint(journey)),
        report.Section(
            "What the application must know",
            [
                *(report.Note(text) for text in journey.card.warnings),
                report.Code(contract.as_text(journey.card)),
            ],
        ),
        report.Section(_camera_heading(journey), _camera(journey)),
        report.Section("Not run", [report.Items(journey.not_run)])
        if journey.not_run
        else None,
        report.Section("To repeat each step", _repeat(journey, origin)),
        report.Section("Made with", _made_with()),
    ]
    return [section for section in found if section]


def lines(journey: Journey) -> Iterator[str]:
    """Tell a journey for a person at a terminal.

    Introduced in notebook 15.
    """
    yield f"{journey.made.file.name} for {journey.made.soc.name}: {journey.verdict}"
    for number, problem in enumerate(journey.problems, start=1):
        yield f"{number}. {problem}"
    for warning in journey.warnings:
        yield f"warning: {warning}"
    width = max(len(label) for label, _ in figures(journey))
    for label, text in figures(journey):
        yield f"{label:{width}}  {text}"
    for text in journey.not_run:
        yield f"not run: {text}"


def figures(journey: Journey) -> tuple[tuple[str, str], ...]:
    """Return label and text of the figures that matter most.

    Introduced in notebook 15.
    """
    return tuple(_figures(journey))


def as_dict(journey: Journey) -> dict[str, Any]:
    """Return a journey as what JSON can hold.

    Introduced in notebook 15.
    """
    made, judged, tested = journey.made, journey.judged, journey.tested
    result = tested.result if tested else None
    return {
        "verdict": journey.verdict,
        "problems": journey.problems,
        "warnings": journey.warnings,
        "not_run": journey.not_run,
        "soc": made.soc.id,
        "kind": made.kind,
        "size": made.told["size"],
        "calibrated_by": journey.calibration,
        "judged_by": len(judged.pictures),
        "accuracy": {name: _share(judged.accuracy(name)) for name in FILES},
        "agreement": {name: _share(judged.agreement(name)) for name in FILES[1:]},
        "difference": judged.difference,
        "repair": made.told["repair"],
        "weakest": journey.compared.worst.name if journey.compared else None,
        "causes": [
            {key: getattr(cause, key) for key in ("id", "layer", "evidence", "cure")}
            for cause in journey.causes
        ],
        "findings": [
            {key: getattr(found, key) for key in ("rule", "severity", "message", "fix")}
            for found in journey.lint.findings
        ],
        "card": contract.as_dict(journey.card),
        "camera": _as_named(summary.as_dict(result)) if result else None,
        "camera_refused": tested.reason or None if tested else None,
        "versions": _versions(),
    }


def _as_named(told: dict[str, Any]) -> dict[str, Any]:
    """Name the files: the folder that they were made in is gone."""
    return told | {key: Path(told[key]).name for key in ("file", "uploaded")}


def _share(share: Any) -> dict[str, Any] | None:
    if share is None:
        return None
    return {"share": share.value, "of": share.count, "interval": share.interval}


# What is kept


def keep(journey: Journey, calibration: Pictures) -> dict[str, bytes]:
    """Return the files to keep, by their path in a folder, for `files.write_folder`.

    The pictures are kept as the model takes them, so that the commands of the page
    repeat each step exactly. A folder of judges is called by the number of its class.

    Args:
        journey: Whose files, and whose judges.
        calibration: The pictures that calibrated.

    Introduced in notebook 15.
    """
    made, judges = journey.made, journey.judged.pictures
    channels = made.settings.channels
    contents = {
        path.relative_to(made.file.parent).as_posix(): path.read_bytes()
        for path in sorted(made.file.parent.rglob("*"))
        if path.is_file()
    }
    for number, image in enumerate(calibration.images):
        contents[f"calibration/{number:04}.png"] = _png(image, channels)
    width = max(4, len(str(len(judges))))  # sorted by name as by number
    for number, image in enumerate(judges.images):
        of = ""
        if judges.labels is not None:
            of = f"{judges.labels[number]:0{_digits(journey)}}/"
        contents[f"judges/{of}{number:0{width}}.png"] = _png(image, channels)
    if judges.classes:
        contents["classes.txt"] = "".join(f"{c}\n" for c in judges.classes).encode()
    return contents


def empty_folders(journey: Journey) -> list[str]:
    """Return a folder for each class: without pictures it is one too.

    Introduced in notebook 15.
    """
    if journey.judged.pictures.labels is None:
        return []
    width = _digits(journey)
    return [f"judges/{number:0{width}}" for number in range(journey.judged.class_count)]


def _digits(journey: Journey) -> int:
    return len(str(journey.judged.class_count - 1))


def _png(image: np.ndarray, channels: str) -> bytes:
    picture = io.BytesIO()
    rgb = image[..., ::-1] if channels == "bgr" else image
    Image.fromarray(rgb.squeeze(-1) if rgb.shape[-1] == 1 else rgb).save(picture, "PNG")
    return picture.getvalue()


def commands(journey: Journey, *, origin: Origin = Origin()) -> list[str]:
    """Return the command lines that repeat each step, in order.

    Introduced in notebook 15.
    """
    made, judges = journey.made, journey.judged.pictures
    soc = ["--soc", made.soc.id]
    of = Path(origin.kept)
    file, real = (str(of / path.name) for path in (made.file, made.float_file))
    told = _as_options(made.settings)
    labels = ["--labels"] if judges.labels is not None else []
    names = ["--classes", str(of / "classes.txt")] if judges.classes else []
    colours = _colours(made.settings)
    result = journey.tested.result if journey.tested else None
    sent = len(result.pictures) if result else len(judges)
    limit = ["--limit", str(sent)] if sent < len(judges) else []
    cures = {"quick": ["--repair"], "thorough": ["--thorough"]}
    words = [
        [
            *("dlpu", "convert", origin.model, *soc, "--images"),
            *(str(of / "calibration"), *told, *cures.get(made.settings.cures, ())),
            *("-o", file),
        ]
    ]
    if made.kind == "full-integer":
        inside, outside = told, [*_PLAIN, *colours]
        if _scales_twice(made):
            inside, outside = outside, told
            real = str(of / f"{made.float_file.stem}_own.tflite")
        words += [
            [
                *("dlpu", "convert", origin.model, "--soc", "cpu", "--float", *inside),
                *("-o", real),
            ],
            [
                *("dlpu", "compare", real, file, "--images", str(of / "judges")),
                *(*outside, *labels),
            ],
        ]
    words += [
        ["dlpu", "lint", file, *soc],
        [
            *("dlpu", "card", file, *soc),
            *(["--labels", str(of / "classes.txt")] if judges.classes else []),
        ],
        [
            *("dlpu", "test", file, *(origin.camera or _virtual(made.soc))),
            *("--images", str(of / "judges"), *limit, *colours, *labels, *names),
        ],
    ]
    return [shlex.join(of) for of in words]


def _scales_twice(made: Made) -> bool:
    """Whether mean and std are in the integer file's input, and a layer scales too.

    `dlpu compare` takes all that begins the float file's graph for one normalisation:
    there, mean and std stay outside, as they are outside the integer graph.
    """
    settings = made.settings
    trivial = (settings.mean, settings.std) == ((0.0,), (1.0,))
    return bool(made.normalises) and settings.is_plain and not trivial


def _as_options(settings: Settings) -> list[str]:
    mean, std = (",".join(f"{v:g}" for v in of) for of in (settings.mean, settings.std))
    return ["--mean", mean, "--std", std, *_colours(settings)]


def _colours(settings: Settings) -> list[str]:
    return ["--channels", "bgr"] if settings.channels == "bgr" else []


def _virtual(soc: socs.Soc) -> list[str]:
    device = [] if soc.products else ["--device", soc.device]
    return ["--virtual", host_of(soc).id, *device]


# The page


def _verdict(journey: Journey) -> list[report.Part]:
    verdict = journey.verdict
    parts: list[report.Part] = [
        report.Paragraph(f"Verdict: {verdict}."),
        *(report.Note(f"Finding: {_ended(text)}") for text in journey.problems),
        *(report.Note(f"{text}.") for text in _not_quantized(journey)),
    ]
    tested = journey.tested
    if tested and tested.is_virtual:
        parts.append(
            report.Note(
                "SIMULATION: a virtual camera stood in. It refuses what the chip "
                "would refuse, as far as that is known, and computes with this "
                "computer. None of its times is a camera's, and its outputs are not "
                "the DLPU's."
            )
        )
    parts.append(report.Table(figures(journey)))
    if journey.warnings:
        parts += [
            report.Paragraph("What makes these numbers doubtful:"),
            report.Items(journey.warnings),
        ]
    return parts


def _figures(journey: Journey) -> Iterator[tuple[str, str]]:
    made, judged = journey.made, journey.judged
    weights = f", {made.told['granularity']}" if made.told["granularity"] else ""
    yield "file", f"{made.file.name}, {made.told['size']:,} bytes, {made.kind}{weights}"
    yield "chip", f"{made.soc.name}, larod device {made.soc.device}"
    yield "calibrated by", findings.plural(journey.calibration, "picture")
    yield "judged by", f"{findings.plural(len(judged.pictures), 'other picture')}"
    yield from _classes(judged)
    for name in FILES:
        share = judged.accuracy(name)
        if share:
            yield f"accuracy, {_called(journey, name)}", str(share)
    for name in FILES[1:]:
        share = judged.agreement(name)
        if share:
            yield f"agreement, {_called(journey, name)}", str(share)
    if journey.compared and not judged.answers:
        yield "output against float", f"{journey.compared.output_sqnr:.1f} dB"
    if made.settings.cures:
        yield "cures kept", _cures(journey)
    yield "lint", _counts(journey.lint)
    result = journey.tested.result if journey.tested else None
    if result:
        simulated = ", SIMULATION" if journey.tested.is_virtual else ""
        yield f"one job{simulated}", f"{result.timing.mean:.2f} ms, mean{simulated}"


def _classes(judged: Judged) -> Iterator[tuple[str, str]]:
    """Tell which class has which number, and who said so."""
    pictures = judged.pictures
    told = class_list(pictures.classes)
    if told and pictures.order:
        told += f" ({pictures.order})"
    if told or pictures.order:
        yield "classes", told or pictures.order


def _not_quantized(journey: Journey) -> Iterator[str]:
    """Tell of a chip whose own compiler quantizes, which none has run here."""
    made = journey.made
    if made.kind != "full-integer":
        yield (
            f"NOT QUANTIZED: the compiler of {made.soc.name} quantizes and was not "
            "run; accuracy and agreement are those of the float model before it"
        )


def _ended(text: str) -> str:
    """End a sentence that does not end yet."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _called(journey: Journey, name: str) -> str:
    if journey.made.kind != "full-integer" and name == "made":
        return "planar ONNX, before the compiler"
    return _CALLED[name]


def _cures(journey: Journey) -> str:
    attempts = journey.made.told["repair"]["attempts"]
    kept = [tried["cure"] for tried in attempts[1:] if tried["kept"]]
    return ", then ".join(kept) or "none: no cure helped"


def _counts(found: rules.Report) -> str:
    return ", ".join(
        findings.plural(sum(f.severity == name for f in found.findings), name)
        for name in rules.SEVERITIES
    )


def _before_and_after(journey: Journey) -> list[report.Part]:
    judged = journey.judged
    if not judged.answers:
        return [
            report.Paragraph(
                "No output has one value a class, so there is no agreement and no "
                "accuracy; the outputs are compared layer by layer."
            )
        ]
    parts: list[report.Part] = [_shares_drawn(journey)]
    if judged.difference:
        low, high = judged.difference
        change = judged.accuracy().value - judged.accuracy("float").value
        chance = " (chance)" if change and low <= 0 <= high else ""
        parts.append(
            report.Paragraph(
                f"The accuracy changes by {change:+.2f}{chance}; with 95 % confidence "
                f"by {low:+.2f} to {high:+.2f}, picture by picture."
            )
        )
    repaired = journey.made.told["repair"]
    if repaired:
        parts.append(_attempts(repaired))
    changed = judged.answers["made"] != judged.answers["float"]
    if changed.any():
        parts.append(_changed(judged, np.flatnonzero(changed)))
    else:
        parts.append(report.Paragraph("No answer of any picture changed."))
    return parts


def _shares_drawn(journey: Journey) -> report.Figure:
    """Draw accuracy and agreement of each file, with their intervals."""
    judged = journey.judged
    rows = [
        (f"{what}\n{_called(journey, name)}", share, color)
        for what, of, color in (
            ("accuracy", judged.accuracy, "C0"),
            ("agreement", judged.agreement, "C1"),
        )
        for name in FILES
        if (share := of(name)) and not (what == "agreement" and name == "float")
    ]
    with plt.style.context("course_lib.course.course"):
        figure, axes = plt.subplots(figsize=(7.2, 0.7 + 0.45 * len(rows)))
        for place, (_, share, color) in enumerate(rows):
            low, high = share.interval
            axes.plot([low, high], [place, place], color=color, linewidth=3)
            axes.plot(share.value, place, "o", color=color, markersize=8)
            axes.annotate(
                f"{share.value:.2f}",
                (share.value, place),
                (0, 7),
                textcoords="offset points",
                ha="center",
            )
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axes.set(
            xlim=(0, 1.02),
            ylim=(len(rows) - 0.4, -0.6),
            xlabel="share of the pictures, with its 95 % interval",
        )
        content = report.drawn(figure)
        plt.close(figure)
    told = "; ".join(f"{label.replace(chr(10), ', ')} {s}" for label, s, _ in rows)
    caption = "Accuracy: as the labels say. Agreement: as the float model says."
    return report.Figure(content, f"{told}.", caption=caption)


def _attempts(repaired: Mapping[str, Any]) -> report.Table:
    rows = []
    for tried in repaired["attempts"]:
        what = "the converter alone" if tried["cure"] == "none" else tried["cure"]
        error = "" if tried["error"] is None else round(tried["error"], 3)
        agreement = "" if tried["agreement"] is None else round(tried["agreement"], 2)
        kept = "yes" if tried["kept"] else tried["why"] or "no"
        rows.append([what, error, agreement, kept])
    return report.Table(
        rows,
        header=("cure", "error", "as float", "kept"),
        caption=f"The cures, judged among themselves by {repaired['judges']} of the "
        "calibration pictures, mirrored ones included.",
    )


def _changed(judged: Judged, places: Sequence[int]) -> report.Table:
    pictures = judged.pictures
    header = ["picture", "float", "converted"]
    rows = []
    for place in places[:_MOST_ROWS]:
        row = [pictures.names[place] if pictures.names else f"picture {place}"]
        row += [
            findings.class_text(int(judged.answers[name][place]), pictures.classes)
            for name in ("float", "made")
        ]
        if pictures.labels is not None:
            row.append(
                findings.class_text(int(pictures.labels[place]), pictures.classes)
            )
        rows.append(row)
    if pictures.labels is not None:
        header.append("label")
    more = f", the first {_MOST_ROWS}" if len(places) > _MOST_ROWS else ""
    caption = f"{len(places)} of {len(pictures)} answers changed{more}"
    return report.Table(rows, header=header, caption=caption)


def _lost(journey: Journey) -> list[report.Part]:
    compared = journey.compared
    worst = compared.worst
    with plt.style.context("course_lib.course.course"):
        axes = plotting_12.sqnr_by_layer(compared)
        content = report.drawn(axes.figure)
        plt.close(axes.figure)
    alone = ""
    if worst.weights_alone is not None:
        alone = f" Its weights alone bring the output to {worst.weights_alone:.1f} dB."
    told = (
        f"Weakest layer: {worst.operator} {worst.name}; its output agrees with the "
        f"float model's to {worst.sqnr:.1f} dB.{alone}"
    )
    causes = [
        report.Paragraph(f"{cause.id}: {cause.evidence} {cause.cure}")
        for cause in journey.causes
    ]
    if not causes:
        kept = compared.agreement is None or (
            compared.agreement >= diagnosis.KEPT_AGREEMENT
        )
        causes = [
            report.Paragraph(
                "No single cause is seen."
                if kept
                else "No single cause is seen: many layers lose a little each."
            )
        ]
    caption = (
        f"Signal-to-quantization-noise ratio of {len(compared.layers)} layers on "
        f"{findings.plural(compared.images, 'picture')}; higher is better."
    )
    return [
        report.Paragraph(told),
        *causes,
        report.Figure(content, told, caption=caption),
    ]


def _lint(journey: Journey) -> list[report.Part]:
    found = journey.lint
    parts: list[report.Part] = [report.Paragraph(f"{_counts(found)}.")]
    groups: dict[tuple[str, str], list[rules.Finding]] = {}
    for finding in found.findings:
        groups.setdefault((finding.severity, finding.rule), []).append(finding)
    if groups:
        rows = [
            [
                f"{severity}: {rule}",
                f"{short(of[0])}{_more(len(of))}",
                f"{of[0].fix} ({of[0].source.title}, {of[0].source.date})",
            ]
            for (severity, rule), of in groups.items()
        ]
        header = ("rule", "what was found", "what mends it, and who says so")
        parts.append(report.Table(rows, header=header))
    return parts


def _more(count: int) -> str:
    return f"; and {count - 1} more" if count > 1 else ""


def _camera_heading(journey: Journey) -> str:
    tested = journey.tested
    if tested and tested.is_virtual:
        return "On a virtual camera (SIMULATION)"
    return "On the camera"


def _camera(journey: Journey) -> list[report.Part]:
    tested = journey.tested
    if tested is None:
        return [report.Paragraph("No camera was asked.")]
    if not tested.result:
        return [report.Note(f"{tested.reason[0].upper()}{tested.reason[1:]}.")]
    result = tested.result
    parts: list[report.Part] = [
        *(report.Note(f"Finding: {text}") for text in result.problems),
        *(report.Note(f"Warning: {text}") for text in result.warnings),
        report.Table(summary.rows(result)),
        *camera_parts.drawn(result),
    ]
    if not tested.is_virtual:  # whose answers are this computer's
        parts += camera_parts.odd_pictures(result)
    return parts


def _repeat(journey: Journey, origin: Origin) -> list[report.Part]:
    parts: list[report.Part] = []
    if origin.command:
        again = (
            f" It made the folder {origin.kept} and wants a new one: to run it again, "
            "give another name after -d, or leave -d out."
        )
        parts += [
            report.Paragraph(
                f"This command wrote the page.{again if origin.is_kept else ''}"
            ),
            report.Code(origin.command),
        ]
    if not origin.is_kept:
        parts.append(
            report.Paragraph(
                f"The files were not kept: with --keep {origin.kept} they are, and "
                "with them the pictures as the model takes them. Then step by step:"
            )
        )
    else:
        parts.append(report.Paragraph("Step by step, with what it kept:"))
    parts += [
        report.Code("\n".join(commands(journey, origin=origin))),
        report.Paragraph(_about_the_float_file(journey.made)),
    ]
    # An Edge TPU command of the conversion names the folder that is gone.
    compiling = journey.card.commands or journey.made.told["commands"]
    if compiling:
        parts += [
            report.Paragraph("Where the compiler is, in the folder of the file:"),
            report.Code("\n".join(compiling)),
        ]
    parts += [
        report.Paragraph("On a camera, with random input:"),
        report.Code(journey.card.larod_client),
    ]
    return parts


def _about_the_float_file(made: Made) -> str:
    if made.kind != "full-integer":
        return (
            "No command compares a planar ONNX file with the float model: only `dlpu "
            "report` repeats their agreement and both accuracies. `dlpu test` tells "
            "the accuracy of the ONNX file alone."
        )
    if _scales_twice(made):
        return (
            f"The model's layer {made.normalises!r} scales pixels too, so compare gets "
            "a float file with that layer alone, and --mean and --std beside it."
        )
    return (
        "compare has --mean 0 --std 1 because the float file takes pixels 0 to 255: "
        "what the training did to them is inside it."
    )


def _made_with() -> list[report.Part]:
    rows = [*_versions().items(), ("date", str(date.today()))]
    return [report.Table(rows)]


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
