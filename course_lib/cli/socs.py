"""`dlpu socs`: what each chip wants, and who says so."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from course_lib.cli import dlpu, printable

import click

_COLUMN = 24  # where the values begin
_WIDTH = 120  # of a line; the list of operator versions alone has 2,000 characters


@dlpu.command(short_help="Tell what each chip wants, and who says so.")
@click.argument("soc", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def socs(soc: str | None, as_json: bool) -> None:
    """Tell what each SoC wants; with SOC, every known fact of it with its source.

    SOC is an id such as artpec8, a name, or what a camera calls its chip.

    \b
    Example:
      dlpu socs
      dlpu socs "Axis Artpec-8"
      dlpu socs artpec8 --json | jq .artpec8.facts.granularity

    \b
    Keys of the JSON object: the ids, each with
      name, larod_client (a command line)
      facts {field: value, confidence, note, source, url, date, read, others}
      products, benchmarks, contradictions
    """  # noqa: D301  (click needs the control character)
    from course_lib.dlpu import socs as known

    chosen = [known.find(soc)] if soc is not None else list(known.SOCS.values())
    if as_json:
        click.echo(json.dumps({chip.id: _facts(chip) for chip in chosen}, indent=2))
    else:
        lines = _table(chosen) if soc is None else _lines(chosen[0])
        for line in lines:
            click.echo(printable(line))


def _facts(chip: Any) -> dict[str, Any]:
    """Collect all that is known of a chip."""
    from course_lib.dlpu import socs as known

    return {
        "name": chip.name,
        "larod_client": known.larod_client(chip, "FILE"),
        "facts": {name: _flat(fact) for name, fact in chip.facts.items()},
        "products": [_flat(product) for product in chip.products],
        "benchmarks": [_flat(row) for row in known.BENCHMARKS if row.soc == chip.id],
        "contradictions": [
            {**asdict(entry), "claims": [_flat(claim) for claim in entry.claims]}
            for entry in known.CONTRADICTIONS
            if chip.id in entry.socs
        ],
    }


def _flat(entry: Any) -> dict[str, Any]:
    """Put the source's fields beside the entry's own."""
    told = asdict(entry)
    source = told.pop("source")
    told |= {"source": source["title"], **{k: source[k] for k in ("url", "date")}}
    told["read"] = source["read"]
    if "others" in told:
        told["others"] = [_flat(other) for other in entry.others]
    return told


def _table(chips: list[Any]) -> Iterator[str]:
    rows = [("soc", "speed", "ease", "quantization", "layout", "compiled", "larod")]
    for chip in chips:
        labels = (chip.speed, chip.ease)
        rows.append(
            (
                chip.id,
                *(label.value if label else "-" for label in labels),
                chip.granularity.value,
                chip.layout.value,
                chip.compile_step.value,
                chip.device,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
    yield ""
    yield "Speed and ease: Axis's labels. `dlpu socs artpec8` tells more, with sources."


def _lines(chip: Any) -> Iterator[str]:
    from course_lib.dlpu import socs as known

    yield chip.name
    sources = []

    def cite(entry: Any) -> str:
        if entry.source not in sources:
            sources.append(entry.source)
        note = f"; {entry.note}" if entry.note else ""
        return f"{note} [{sources.index(entry.source) + 1}, {entry.confidence}]"

    for name, fact in chip.facts.items():
        for number, claim in enumerate((fact, *fact.others)):
            label = "" if number else name.replace("_", " ")
            or_else = "or: " if number else ""
            told = f"{label:<{_COLUMN}}{or_else}{_text(claim.value)}{cite(claim)}"
            yield from textwrap.wrap(
                told,
                _WIDTH,
                subsequent_indent=" " * _COLUMN,
                break_long_words=False,
                break_on_hyphens=False,
            )
    for product in chip.products:
        memory = product.memory_gigabytes
        size = f", {memory} GB" if memory else ""
        yield f"{'product':<{_COLUMN}}{product.name}{size}{cite(product)}"
    for row in known.BENCHMARKS:
        if row.soc == chip.id:
            accuracy = f", {row.metric} {row.accuracy} %" if row.metric else ""
            yield (
                f"{'benchmark':<{_COLUMN}}{row.model}, {row.product}, "
                f"AXIS OS {row.os}: {row.milliseconds} ms{accuracy}{cite(row)}"
            )
    yield f"{'command':<{_COLUMN}}{known.larod_client(chip, 'FILE')}"
    yield ""
    for number, source in enumerate(sources, start=1):
        yield f"[{number}] {source.title}, {source.date}, read {source.read}"
        yield f"    {source.url}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        if any(isinstance(entry, list) for entry in value.values()):
            return "; ".join(f"{key}: {_text(entry)}" for key, entry in value.items())
        return ", ".join(f"{count} {name}" for name, count in value.items())
    if isinstance(value, list):
        joint = "; or " if any(isinstance(entry, dict) for entry in value) else ", "
        return joint.join(map(_text, value))
    return str(value)
