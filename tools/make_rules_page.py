"""Write notebooks/rules.md, the list of the linter's rules with their sources.

uv run python tools/make_rules_page.py
uv run python tools/make_rules_page.py --check    # compares
"""

from collections.abc import Iterator
from pathlib import Path

from course_lib.dlpu import rules
from course_lib.dlpu.socs import CONFIDENCES, SOCS
from course_lib.files import write

import click

PAGE = Path(__file__).parent.parent / "notebooks/rules.md"
HEAD = """\
# The linter's rules

`dlpu lint MODEL --soc SOC` reads a `.tflite` or `.onnx` file and says what a chip will
do with it. The file is parsed and never run. This page lists what it looks for, on
what each rule rests, and how to mend what it finds. It is written by
`tools/make_rules_page.py` from `course_lib/dlpu/rules/rules.toml`; nobody edits it by
hand.

Nothing here was measured on a camera by this course. A rule repeats what its source
says, with the date of the source. That an operator is absent from a published list is
no proof that it fails: Axis's own YOLOv5n for ARTPEC-8 has operators that the list for
ARTPEC-8 lacks. Absence is therefore a warning, never an error. That a file has no
findings is no proof either: time it on the camera with `larod-client`.

The tables have a rule's usual severity. A finding can be milder: an int8 input is a
note where a float one is a warning, and a dynamic batch is a warning where another
dynamic size is an error.
"""


def text() -> str:
    """Return the page."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    yield from _words("severity", "it means", rules.SEVERITIES)
    yield from _words("confidence", "who says so", CONFIDENCES)
    yield f"There are {len(rules.RULES)} rules. `--ignore ID` leaves one out.\n"
    for soc in SOCS.values():
        yield from _contents(soc)
    for rule in rules.RULES.values():
        yield from _section(rule)


def _words(name: str, meaning: str, words: dict[str, str]) -> Iterator[str]:
    yield f"| {name} | {meaning} |"
    yield "|---|---|"
    yield from (f"| {word} | {what} |" for word, what in words.items())
    yield ""


def _contents(soc) -> Iterator[str]:
    concerned = {
        severity: [
            f"[{rule.id}](#{rule.id})"
            for rule in rules.RULES.values()
            if soc.id in rule.claims and rule.claims[soc.id].severity == severity
        ]
        for severity in rules.SEVERITIES
    }
    count = sum(map(len, concerned.values()))
    yield f"**{soc.name}** (`--soc {soc.id}`): {count} rules\n"
    for severity, links in concerned.items():
        if links:
            yield f"- {severity}: {', '.join(links)}"
    yield ""


def _section(rule: rules.Rule) -> Iterator[str]:
    yield f"## {rule.id}\n"
    on = (f"{SOCS[soc].name}: {text}" for soc, text in rule.on.items())
    yield " ".join((f"**{rule.title}.** {rule.why}", *on)) + "\n"
    numbers = (
        f"{claim.fact.value} ({SOCS[soc].name})"
        for soc, claim in rule.claims.items()
        if isinstance(claim.fact.value, int)
    )
    fix = rule.fix.format(
        soc="SOC",
        number=" or ".join(numbers),
        mend="depends on the operator" if rule.mends else "",
        convert="`dlpu convert MODEL.keras --soc SOC --images FOLDER --mean M --std S`",
        activation="relu or relu6",
    )
    yield f"**Mend:** {fix}.\n"
    for operator, text in rule.mends.items():
        mend = text.format(soc="SOC")
        yield f"- {operator if operator != 'other' else 'any other'}: {mend}"
    if rule.mends:
        yield ""
    yield "| chip | severity | confidence | source |"
    yield "|---|---|---|---|"
    for soc, claim in rule.claims.items():
        source = claim.fact.source
        yield (
            f"| {SOCS[soc].name} | {claim.severity} | {claim.fact.confidence} | "
            f"[{source.title}]({source.url}), {source.date}, read {source.read} |"
        )
    yield ""
    lesson = PAGE.parent / f"{rule.lesson}.ipynb"
    if lesson.exists():
        yield f"Taught in [lesson {rule.lesson[:2]}]({lesson.name}).\n"


@click.command()
@click.option("--check", is_flag=True, help="Compare, write nothing.")
@click.option("--to", type=click.Path(path_type=Path), default=PAGE, hidden=True)
def main(check: bool, to: Path) -> None:
    """Write the page of rules, or compare it."""
    made = text()
    if check:
        if not to.exists() or to.read_text("utf-8") != made:
            click.echo(f"{to.name} is stale: run tools/make_rules_page.py")
            raise SystemExit(1)
        return
    write(to, made.encode())
    click.echo(f"{to.name}: {len(rules.RULES)} rules")


if __name__ == "__main__":
    main()
