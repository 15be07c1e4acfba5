"""`dlpu explain`: what a message of a camera or of a tool means."""

import dataclasses
import json
import sys
import textwrap
from typing import TYPE_CHECKING

from course_lib.cli import dlpu, printable
from course_lib.errors import UnusableInput

import click

if TYPE_CHECKING:
    from course_lib.camera.errors import Explanation

_LIMIT = 16 << 20  # bytes; a system log has fewer


@dlpu.command(
    short_help="Tell what a message of a camera or of a tool means.",
    context_settings={"ignore_unknown_options": True},  # a message may begin with -
)
@click.argument("text", nargs=-1, metavar="[TEXT]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain(ctx: click.Context, text: tuple[str, ...], as_json: bool) -> None:
    """Tell what TEXT means: a message, or a whole log with messages in it.

    Known are messages of larod, larod-client, the Edge TPU compiler, the TFLite
    converter, quantization-aware training, LiteRT and SSH. Numbers, names, quotation
    marks and line breaks may differ. Without TEXT, or with -, standard input is read.

    Exit status: 0 explained, 1 nothing known, 2 unusable input.

    \b
    Example:
      dlpu explain "Could only read 196608 out of 786432 bytes from file descriptor"
      ssh USER@CAMERA journalctl -u larod | dlpu explain
      dlpu explain --json < system.log | jq -r '.explanations[].command'

    \b
    Keys of the JSON object:
      explanations: id, title, matched, cause, decoded, confidence, next, command,
        note (nothing is broken), lesson, sources [{key, title, url, date, read}]
    """  # noqa: D301  (click needs the control character)
    from course_lib.camera import errors

    message = _read() if text in ((), ("-",)) else " ".join(text)
    if not message.strip():
        raise UnusableInput(
            "TEXT: empty, expected a message; give it in quotation marks"
        )
    found = errors.explain(message)
    if as_json:
        told = {"explanations": [dataclasses.asdict(one) for one in found]}
        click.echo(json.dumps(told, indent=2, sort_keys=True))
    elif found:
        click.echo("\n\n".join(map(_told, found)))
    else:
        click.echo(_unknown(message))
    ctx.exit(0 if found else 1)


def _read() -> str:
    if sys.stdin.isatty():
        raise UnusableInput(
            "TEXT: missing, expected a message in quotation marks, or a log on standard"
            " input: dlpu explain < system.log"
        )
    read = sys.stdin.buffer.read(_LIMIT + 1)
    if len(read) > _LIMIT:
        raise UnusableInput(
            f"standard input: more than {_LIMIT >> 20} MiB, expected a log; take its"
            " end: tail -n 10000 FILE | dlpu explain"
        )
    return read.decode("utf-8", errors="replace")


def _told(one: "Explanation") -> str:
    first, *others = one.sources
    rows = [
        ("message", textwrap.shorten(printable(one.matched), 200)),
        ("cause", one.cause + (" Nothing is broken." if one.note else "")),
        ("it tells", printable(one.decoded)),
        ("confidence", one.confidence),
        ("do", one.next),
        ("run", one.command),
        ("source", f"{first.title}, {first.date}, read on {first.read}: {first.url}"),
        ("see also", "; ".join(other.url for other in others)),
        ("lesson", one.lesson),
    ]
    lines = [_row(name, told) for name, told in rows if told]
    return "\n".join([one.title, *lines])


def _row(name: str, told: str) -> str:
    if name in ("run", "source", "see also"):  # to be copied: never broken
        return f"  {name:<11}{told}"
    return textwrap.fill(
        told,
        width=88,
        initial_indent=f"  {name:<11}",
        subsequent_indent=" " * 13,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _unknown(message: str) -> str:
    shown = textwrap.shorten(printable(" ".join(message.split())), 80)
    return (
        f"not known: {shown}\n"
        "Where to look: `journalctl -u larod` on the camera; the web page's System,\n"
        "Logs, View the system log; the same file with -c cpu-tflite; the issues of\n"
        "https://github.com/AxisCommunications/acap-native-sdk-examples"
    )
