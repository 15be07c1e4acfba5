"""`dlpu kit`: does the camera compute what the computer computes?"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, ending, labels, pictures, printable
from course_lib.errors import UnusableInput

import click


@dlpu.command(short_help="Check a camera's outputs against a computer's.")
@click.argument(
    "model", metavar="[MODEL]", required=False, type=click.Path(path_type=Path)
)
@click.option("--soc", help="The chip, such as artpec9.")
@click.option(
    "--output",
    "-o",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The kit, a new folder.",
)
@click.option(
    "--images",
    "images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take pictures as input; without them it is random.",
)
@pictures.channels_option
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="So many inputs; of pictures at most as many as DIR has.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the random input.",
)
@click.option(
    "--expose",
    type=click.Choice(["adds", "all", "none"]),
    help="Which tensors inside become outputs of a second file; adds: of residual ADDs "
    "that feed a CONV_2D, and no second file without one. Default adds, none for cpu.",
)
@click.option(
    "--mean",
    type=pictures.Values(),
    help="With --images, a float input of a .tflite gets (pixel - mean) / std; default "
    "0 and 1 when one of them is given.",
)
@click.option("--std", type=pictures.Values(), help="See --mean.")
@click.option(
    "--compare",
    "kit_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Judge what came back from the camera.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@ending.orderly()
def kit(
    model: Path | None,
    soc: str | None,
    folder: Path | None,
    images: Path | None,
    channels: str,
    count: int,
    seed: int,
    expose: str | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    kit_folder: Path | None,
    as_json: bool,
) -> None:
    """Make a folder to take to a camera, or judge what came back from it.

    The folder holds MODEL, inputs as the device takes them, the outputs of LiteRT's
    reference and default kernels, and run.sh with plain calls of larod-client; its
    README.md says what to do. For CV25 and CV75 MODEL is the .onnx file, and ONNX
    Runtime tells what to expect. What the linter calls an error for the chip is told as
    a warning: the kit shows whether the camera agrees.

    With --compare, each dump is compared with the computer's output, and the DLPU with
    the camera's own CPU. The measure is what others have published; that is one model
    on one camera each.

    Reference kernels are LiteRT's plain ones, written to define what is right; default
    kernels are its fast ones, which programs run. Both are right, and they differ a
    little. A step is 1 of an integer output. SQNR is what varies in the expected output
    over the difference, in dB: 20 dB is a tenth, 40 dB a hundredth.

    Exit status: 0 nothing wrong, 1 findings, 2 unusable input.

    \b
    Example:
      dlpu kit model.tflite --soc artpec9 -o kit/ --images pictures/
      dlpu kit --compare kit/
      dlpu kit --compare kit/ --json | jq '.results[].verdict'

    \b
    Keys of the JSON object:
      kit: folder, soc, model, made, tool, source, samples, bytes (on the camera)
      warnings: what the linter calls an error for the chip
    and with --compare, instead of warnings:
      results: device, variant, against, kernels, output, name, operator, samples,
        values, identical, mean, largest, unit, sqnr, same_top1, verdict, note
      problems: dumps that are missing or of the wrong size
      findings, remarks
      published: the measurements that it was judged by, with their source
    """  # noqa: D301  (click needs the control character)
    from course_lib.camera import judgement
    from course_lib.camera import kit as kits
    from course_lib.dlpu import socs

    if kit_folder is not None:
        if model or folder or soc or images or mean or std:
            raise UnusableInput(
                "--compare: takes the kit's folder alone: leave MODEL, --soc, "
                "--images, --mean, --std and --output out"
            )
        found = judgement.judge(kits.read(kit_folder))
        _tell(found, as_json=as_json)
        if found.findings or found.problems:
            raise SystemExit(1)
        return
    for name, value in (("MODEL", model), ("--soc", soc), ("--output", folder)):
        if not value:
            raise UnusableInput(
                f"{name}: missing: expected `dlpu kit MODEL --soc SOC -o DIR`, or "
                "`dlpu kit --compare DIR`"
            )
    if (mean or std) and not images:
        raise UnusableInput("--mean, --std: are for pictures: add --images DIR")
    # What they look for is a fault that was met on a DLPU.
    expose = expose or ("none" if socs.find(soc).id == "cpu" else "adds")
    made = kits.make(
        model,
        folder,
        soc=soc,
        pictures=_pictures(model, soc, images, channels, count) if images else (),
        count=count,
        seed=seed,
        expose=expose,
        mean=mean or (),
        std=std or (),
    )
    warnings = _warnings(model, made)
    if as_json:
        click.echo(json.dumps({"kit": _kit(made), "warnings": warnings}, indent=2))
        return
    for line in _made(made, asked=count, expose=expose):
        click.echo(printable(line))
    for warning in warnings:
        click.echo(printable(f"warning    lint error {warning}"))


def _pictures(
    model: Path, soc: str, folder: Path, channels: str, count: int
) -> list[Any]:
    from course_lib.camera import kit as kits
    from course_lib.dlpu import contract

    shape = kits.picture_shape(contract.read(model, soc=soc))
    pictures.require("PIL")
    from course_lib.vision import datasets

    paths = labels.limited(datasets.image_files(folder), count)
    return pictures.crops(paths, shape, channels=channels)


def _warnings(model: Path, made: Any) -> list[str]:
    """Return what the linter calls an error for the chip."""
    from course_lib.dlpu import contract, rules

    if not made.soc.products:
        return []
    report = rules.lint(contract.read(model, soc=made.soc), soc=made.soc)
    return [
        f"{finding.rule}: {finding.message}"
        for finding in report.findings
        if finding.severity == "error"
    ]


def _kit(made: Any) -> dict[str, Any]:
    return {
        "folder": str(made.folder),
        "soc": made.soc.id,
        **{key: getattr(made, key) for key in ("model", "made", "tool", "source")},
        "samples": made.count,
        "bytes": made.camera_bytes,
    }


def _made(made: Any, *, asked: int, expose: str) -> Iterator[str]:
    from course_lib.camera import kit as kits

    outputs = {variant: len(of) for variant, of in made.outputs.items()}
    yield f"made       {made.folder}: for {made.soc.name}, from {made.model}"
    fewer = f" (--count {asked}: there are no more)" if made.count < asked else ""
    yield f"inputs     {made.count}, {made.source}{fewer}"
    exposed = outputs.get("exposed", 0) - outputs["model"]
    if exposed > 0:
        yield f"exposed    {exposed} tensors, in a second file"
    elif expose == "adds" and not made.soc.takes_onnx:
        yield "exposed    none: no ADD feeds a CONV_2D (--expose all shows all tensors)"
    for index, told in enumerate(made.spread):
        yield (
            f"kernels    output {index}: LiteRT's default ones are "
            f"{told['identical']:.2%} identical to the reference ones here, largest "
            f"difference {told['largest']:g} {told['unit']}"
        )
    if made.source != kits.PICTURES:
        yield "random     input hides a wrong layout or order of colours: see --images"
    yield f"on camera  {made.camera_bytes / 2**20:.1f} MiB with the dumps"
    for own, compiled in made.to_compile.items():
        yield f"compile    {own} yourself, and put it there as {compiled}"
    yield "next       README.md in it: copy, run, copy back, `dlpu kit --compare`"


def _tell(judgement: Any, *, as_json: bool) -> None:
    if as_json:
        told = {
            "kit": _kit(judgement.kit),
            "results": [_result(entry) for entry in judgement.results],
            **{
                key: list(getattr(judgement, key))
                for key in ("problems", "findings", "remarks")
            },
            "published": _published(judgement),
        }
        click.echo(json.dumps(told, indent=2, allow_nan=False))
        return
    for line in _lines(judgement):
        click.echo(printable(line))


def _result(entry: Any) -> dict[str, Any]:
    difference = asdict(entry.difference)
    del difference["published"]
    return {
        "device": entry.run.device,
        "variant": entry.run.variant,
        "against": entry.against,
        "kernels": entry.kernels or None,
        "output": entry.index,
        "name": entry.output.name,
        "operator": entry.output.operator,
        "samples": entry.samples,
        **difference,
    }


def _published(judgement: Any) -> list[dict[str, Any]]:
    entries = dict.fromkeys(
        entry.difference.published
        for entry in judgement.results
        if entry.difference.published
    )
    keys = ("device", "against", "model", "identical", "mean", "largest", "confidence")
    return [
        {key: getattr(entry, key) for key in keys}
        | {key: getattr(entry.source, key) for key in ("title", "url", "date")}
        for entry in entries
    ]


def _lines(judgement: Any) -> Iterator[str]:
    made = judgement.kit
    yield (
        f"kit        {made.model} for {made.soc.name}, {made.count} inputs "
        f"({made.source}), made {made.made}"
    )
    groups: dict[tuple[str, str], list[Any]] = {}
    for entry in judgement.results:
        groups.setdefault((entry.run.title, entry.against), []).append(entry)
    for (title, against), entries in groups.items():
        yield ""
        yield f"{title}, against {against}"
        yield "  identical    mean  largest   SQNR  top-1  output, and verdict"
        boring = [
            entry
            for entry in entries
            if entry.output.exposed
            and entry.difference.verdict == "identical"
            and entry.samples == made.count
        ]
        count = made.count
        yield from (_row(entry, count) for entry in entries if entry not in boring)
        if boring:
            yield f"    100.00%  {len(boring)} of the exposed tensors: identical"
    yield ""
    yield from _legend(judgement)
    for problem in judgement.problems:
        yield f"problem    {problem}"
    for finding in judgement.findings:
        yield f"finding    {finding}"
    for remark in judgement.remarks:
        yield f"remark     {remark}"
    if not judgement.problems and not judgement.findings:
        yield "nothing wrong"


def _legend(judgement: Any) -> Iterator[str]:
    """Say what the words of the tables mean that these tables have."""
    results = judgement.results
    units = {entry.difference.unit for entry in results}
    if "steps" in units:
        yield "mean, largest: difference in steps; a step is 1 of an integer output"
    if "units" in units:
        yield "mean, largest: difference of the float values of a float output"
    yield "SQNR: what varies in the output over the difference, dB; 20 dB is a tenth"
    if any(entry.kernels in ("reference", "default") for entry in results):
        yield (
            "kernels: the nearer of LiteRT's two, reference (plain) and default "
            "(fast); both are right"
        )
    yield ""


def _row(entry: Any, count: int) -> str:
    from course_lib.camera import fidelity
    from course_lib.dlpu import contract

    of = entry.difference
    mean, largest = (
        "-" if value is None else f"{value:.3g}" for value in (of.mean, of.largest)
    )
    sqnr = "-" if of.sqnr is None else f"{of.sqnr:.1f}"
    top = "-" if of.same_top1 is None else f"{of.same_top1:.0%}"
    kernels = f" ({entry.kernels} kernels)" if entry.kernels else ""
    part = f", {entry.samples} of {count} inputs" if entry.samples < count else ""
    return (
        f"  {of.identical:9.2%} {mean:>7} {largest:>8} {sqnr:>6} {top:>6}  "
        f"{entry.index} {contract.short(entry.output.name)}: "
        f"{fidelity.VERDICTS[of.verdict]}{kernels}{part}"
    )
