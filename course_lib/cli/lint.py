"""`dlpu lint`: what a chip will do with a file, before any camera is touched."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.cli import dlpu, printable
from course_lib.errors import UnusableInput

import click

_SEVERITIES = ("error", "warning", "note")


@dlpu.command(short_help="Tell what a chip will do with a file, and how to mend it.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--soc", help="The chip, such as artpec8.")
@click.option("--os", help="Version of AXIS OS, such as 12.11.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif"]),
    help="Default text.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    help="Exit with 1 for findings as severe as this, or more; default error.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="RULE",
    help="Leave a rule out, or RULE:OPERATOR.",
)
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="OUT.svg",
    help="Draw the graph, coloured by where it runs; .svg or .png.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Write the report to a file.",
)
@click.option(
    "--run-compiler",
    is_flag=True,
    help="ARTPEC-7: run edgetpu_compiler and compare it with the prediction.",
)
def lint(models: tuple[str, ...], **options: Any) -> None:
    """Tell what a chip will do with each MODEL, a .tflite or .onnx file.

    The file is read and never run. An error means that it will not load, gives wrong
    results or leaves the accelerator idle, a warning that it is slow or doubtful. Exit
    status: 0 no finding as severe as --fail-on, 1 findings, 2 unusable input.

    \b
    Example:
      dlpu lint model.tflite --soc artpec8
      dlpu lint model.tflite --soc artpec9 --os 12.11 --fail-on warning
      dlpu lint model.tflite --soc artpec8 --format sarif -o lint.sarif
      dlpu lint model.tflite --soc artpec7 --draw graph.svg

    \b
    What is not given is taken from pyproject.toml, in this folder or above it:
      [tool.dlpu.lint]
      soc = "artpec8"
      os = "12.11"
      fail-on = "warning"
      ignore = ["kernel-size", "unlisted-operator:MEAN"]

    \b
    Keys of the JSON object (course_lib/dlpu/lint.schema.json):
      model, soc, os, partitions
      findings: rule, severity, confidence, operator_index, operator, tensor, message,
        fix, source {title, url, date, read}
      mapping: operator_index, operator, target (dlpu, cpu, unknown)
    """  # noqa: D301  (click needs the control character)
    from course_lib import files
    from course_lib.dlpu import onnx_file, rules

    for written in (options["output"], options["draw"]):
        files.expect_other(written, *models)
    settings = _settings(options)
    chip = rules.find(settings["soc"])
    told = {key: settings[key] for key in ("os", "ignore")}
    rules.check_options(**told)
    read = {name: onnx_file.read_either(name, soc=chip) for name in models}
    reports = [(name, _report(name, read[name], chip, **told)) for name in models]
    form = options["form"] or "text"
    if options["draw"]:
        _draw(read, reports, options["draw"])
    if form == "json":
        if len(reports) > 1:
            raise UnusableInput("--format json takes one MODEL: call it for each")
        text = json.dumps(as_json(*reports[0]), indent=2, sort_keys=True)
    elif form == "sarif":
        from course_lib.dlpu import sarif

        text = json.dumps(sarif.log(reports), indent=2, sort_keys=True)
    else:
        lines = [line for report in reports for line in _lines(*report)]
        if options["run_compiler"]:
            lines += [line for name in models for line in _compare(name, chip)]
        text = "\n".join(printable(line) for line in lines)
    if options["output"]:
        files.write(options["output"], (text + "\n").encode())
    else:
        click.echo(text)
    if any(report.at_least(settings["fail_on"]) for _, report in reports):
        raise SystemExit(1)


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Complete what was typed with what pyproject.toml says."""
    path, table = _project()
    known = {"soc": str, "os": str, "fail-on": str, "ignore": list}
    for key, value in table.items():
        if key not in known:
            raise UnusableInput(
                f"{path}: [tool.dlpu.lint] {key} = {value!r}: unknown key, expected "
                f"one of {', '.join(known)}"
            )
        if not isinstance(value, known[key]):
            raise UnusableInput(
                f"{path}: [tool.dlpu.lint] {key} = {value!r}: expected "
                "soc, os and fail-on as texts, and ignore as a list of rules"
            )
    soc = options["soc"] or table.get("soc")
    if not soc:
        raise UnusableInput(
            "--soc: missing, expected a chip such as artpec8 (`dlpu socs` lists them), "
            "here or as soc under [tool.dlpu.lint] in pyproject.toml"
        )
    fail_on = options["fail_on"] or table.get("fail-on", "error")
    if fail_on not in _SEVERITIES:
        raise UnusableInput(
            f"{path}: fail-on = {fail_on!r}: expected one of {', '.join(_SEVERITIES)}"
        )
    return {
        "soc": soc,
        "os": options["os"] or table.get("os"),
        "fail_on": fail_on,
        "ignore": [*options["ignore"], *map(str, table.get("ignore", ()))],
    }


def _project() -> tuple[Path | None, dict[str, Any]]:
    """Return the nearest pyproject.toml, and its table for this command."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            try:
                content = tomllib.loads(path.read_text("utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UnusableInput(f"{path}: not valid TOML ({error})") from None
            table: Any = content
            for key in ("tool", "dlpu", "lint"):
                table = table.get(key, {}) if isinstance(table, dict) else {}
            return path, table if isinstance(table, dict) else {}
    return None, {}


def _report(name: str, model: Any, chip: Any, **options: Any) -> Any:
    """Lint one file; what is wrong with it is told with its name."""
    from course_lib.dlpu import rules

    try:
        return rules.lint(model, soc=chip, **options)
    except UnusableInput as error:
        raise UnusableInput(f"{name}: {error}") from None


def as_json(name: str, report: Any) -> dict[str, Any]:
    """Return a report as the JSON object that the schema describes."""
    return {
        "model": name,
        "soc": report.soc.id,
        "os": report.os,
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity,
                "confidence": finding.confidence,
                "operator_index": finding.operator_index,
                "operator": finding.operator,
                "tensor": finding.tensor,
                "message": finding.message,
                "fix": finding.fix,
                "source": {
                    key: getattr(finding.source, key)
                    for key in ("title", "url", "date", "read")
                },
            }
            for finding in report.findings
        ],
        "mapping": [
            {"operator_index": index, "operator": operator, "target": target}
            for index, (operator, target) in enumerate(
                zip(report.operators, report.targets, strict=True)
            )
        ],
        "partitions": report.partitions,
    }


def _lines(name: str, report: Any) -> Iterator[str]:
    """Lay out a report for a person: repeats of a rule are told once."""
    from course_lib.dlpu import rules

    counts = [
        f"{number} {severity}{'s' if number != 1 else ''}"
        for severity in _SEVERITIES
        if (number := sum(f.severity == severity for f in report.findings))
    ]
    system = f", AXIS OS {report.os}" if report.os else ""
    yield f"{name} on {report.soc.name}{system}: {', '.join(counts) or 'no findings'}"
    yield _where(report)
    if report.soc.takes_onnx:
        known = sum(report.soc.id in rule.claims for rule in rules.RULES.values())
        yield (
            f"{report.soc.name}: no list of operators is published, so an empty report "
            f"says little; {known} of {len(rules.RULES)} rules are for it: layout, row "
            "width, batch, opset and kind of file"
        )
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for finding in report.findings:
        key = (finding.severity, finding.rule, finding.fix)
        groups.setdefault(key, []).append(finding)
    for (severity, rule, fix), findings in groups.items():
        first, *others = findings
        yield ""
        yield f"{severity} {rule}: {rules.RULES[rule].title}"
        yield f"  {short(first)}"
        if others:
            yield f"  and {_places(others)}"
        yield f"  Why: {rules.RULES[rule].why_on(report.soc)}"
        yield f"  Mend: {fix}"
        source = first.source
        yield (
            f"  Source: {source.title}, {source.date}, {first.confidence}. "
            f"Lesson {rules.RULES[rule].lesson[:2]}."
        )


def short(finding: Any) -> str:
    """Return the message; of a tensor's fused name the first part is enough to read."""
    from course_lib.dlpu.rules import quoted

    name = finding.tensor or ""
    first = name.split(";")[0]
    if first == name:
        return finding.message
    return finding.message.replace(quoted(name), quoted(f"{first}; ..."))


def _where(report: Any) -> str:
    total = len(report.targets)
    counts = {target: report.targets.count(target) for target in ("dlpu", "cpu")}
    unknown = total - sum(counts.values())
    parts = f"about {report.partitions} {'part' if report.partitions == 1 else 'parts'}"
    if total == unknown:
        parts = "parts not known"
    return (
        f"{total} operator{'' if total == 1 else 's'}: {counts['dlpu']} in the DLPU, "
        f"{counts['cpu']} on the CPU, "
        f"{unknown} unknown; {parts}"
        f"{', if it loads' if report.at_least('error') else ''}"
    )


def _places(findings: list[Any]) -> str:
    """Return "12 more: CONV_2D 3, 5, 8; ADD 7"."""
    by_name: dict[str, list[str]] = {}
    for finding in findings:
        place = finding.operator_index
        by_name.setdefault(finding.operator or "tensor", []).append(
            repr(finding.tensor) if place is None else str(place)
        )
    shown = [
        f"{name} {', '.join(places[:12])}{', ...' if len(places) > 12 else ''}"
        for name, places in by_name.items()
    ]
    return f"{len(findings)} more: {'; '.join(shown)}"


def _draw(models: dict[str, Any], reports: list, path: Path) -> None:
    from course_lib import files
    from course_lib.tflite import drawing

    if len(models) > 1:
        raise UnusableInput("--draw takes one MODEL: call it for each")
    if path.suffix.lower() not in (".svg", ".png"):
        raise UnusableInput(f"{path}: expected a name that ends in .svg or .png")
    name, report = reports[0]
    labels = {
        finding.operator_index: finding.rule
        for finding in reversed(report.findings)
        if finding.operator_index is not None and finding.severity != "note"
    }
    text = drawing.svg(
        models[name],
        targets=report.targets,
        title=f"{Path(name).name} on {report.soc.name}",
        labels=labels,
    )
    is_png = path.suffix.lower() == ".png"
    files.write(path, drawing.png(text) if is_png else text.encode())


def _compare(name: str, chip: Any) -> Iterator[str]:
    """Run the Edge TPU compiler and tell where the prediction was wrong."""
    import tempfile

    from course_lib.dlpu import edgetpu

    if chip.id != "artpec7":
        raise UnusableInput("--run-compiler: edgetpu_compiler is for artpec7 alone")
    with tempfile.TemporaryDirectory() as folder:
        pairs = edgetpu.compare(name, folder=folder)
    wrong = [prediction for prediction, truth in pairs if prediction.on_tpu != truth]
    yield ""
    yield (
        f"edgetpu_compiler was run: {sum(truth for _, truth in pairs)} of {len(pairs)} "
        f"operators on the Edge TPU; the prediction is right for "
        f"{len(pairs) - len(wrong)}"
    )
    for prediction in wrong:
        where = "the CPU" if prediction.on_tpu else "the Edge TPU"
        yield f"  {prediction.operator} {prediction.operator_index} is on {where}"
