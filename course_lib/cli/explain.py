"""`dlpu explain`: what a message of a camera or of a tool means."""

import dataclasses
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
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
      explanations: id, title, matched, count (of lines), cause, decoded, confidence,
        next, command, note (a remark, no error), lesson,
        sources [{key, title, url, date, read}]
      unknown: count (of other lines that look like errors), first (of them)
    """  # noqa: D301  (click needs the control character)
    from course_lib.camera import errors

    message = _read() if text in ((), ("-",)) else _joined(text)
    if not message.strip():
        raise UnusableInput(
            "TEXT: empty, expected a message; give it in quotation marks"
        )
    found = errors.read(message)
    if as_json:
        told = {
            "explanations": [dataclasses.asdict(one) for one in found.explanations],
            "unknown": {
                "count": len(found.unknown),
                "first": next(iter(found.unknown), None),
            },
        }
        click.echo(json.dumps(told, indent=2, sort_keys=True))
    elif found.explanations:
        told = [*map(_told, found.explanations), *_others(found.unknown)]
        click.echo("\n\n".join(told))
    else:
        click.echo(_unknown(message))
    ctx.exit(0 if found.explanations else 1)


def _joined(text: tuple[str, ...]) -> str:
    if len(text) == 1 and _is_file(text[0]):
        name = shlex.quote(printable(text[0]))
        raise UnusableInput(f"{name} is a file: dlpu explain < {name}")
    return " ".join(text)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a message may be longer than a name can be
        return False


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
        ("lines", str(one.count) if one.count > 1 else ""),
        ("cause", one.cause),
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


def _others(lines: Sequence[str]) -> list[str]:
    """Say what of a log is left."""
    if not lines:
        return []
    if len(lines) == 1:
        told = "1 more line looks like an error and is not known:"
    else:
        told = f"{len(lines)} more lines look like errors and are not known; the first:"
    return [f"{told}\n  {textwrap.shorten(printable(lines[0]), 200)}"]


# Whose message it may be, by its words, and where that is looked up.
_PLACES = (
    (
        r"larod|\bdlpu|\baxis|\bacap|artpec|cvflow|cavalry|\bvdo",
        "`journalctl -u larod` on the camera; the web page's System,\n"
        "Logs, View the system log; the same file with -c cpu-tflite; the issues of\n"
        "https://github.com/AxisCommunications/acap-native-sdk-examples",
    ),
    (
        r"edge ?tpu|\bcoral\b",
        "the issues of https://github.com/google-coral/edgetpu",
    ),
    (r"keras", "the issues of https://github.com/keras-team/keras"),
    (
        r"tensorflow|tflite|litert|\btf\.",
        "the issues of https://github.com/tensorflow/tensorflow",
    ),
    (r"onnx", "the issues of https://github.com/microsoft/onnxruntime"),
    (
        r"\b(?:ssh|sshd|scp|sftp)\b|publickey",
        "the same command with -v, which tells each step; `man ssh`",
    ),
    (
        r"\bpip\b|no matching distribution|building wheel",
        "the same command with --verbose; https://pip.pypa.io; the package's issues",
    ),
    (
        "",
        "the lines before it and its whole text, in quotation marks; the\n"
        "documentation and the issues of the program that printed it",
    ),
)


def _unknown(message: str) -> str:
    shown = printable(" ".join(message.split()))
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    place = next(told for words, told in _PLACES if re.search(words, message, re.I))
    return f"not known: {shown}\nWhere to look: {place}"
