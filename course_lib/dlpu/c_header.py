"""A contract as a C header, which an application for a camera can include."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.dlpu.contract import (
    QUANTIZED,
    Contract,
    End,
    number,
    short,
    size_text,
)
from course_lib.dlpu.socs import Soc


def lines(contract: Contract) -> Iterator[str]:
    """Yield the lines of the header, of ASCII characters alone."""
    prefix = _identifier(Path(contract.file).stem) or "model"
    prefix = prefix if prefix[0].isalpha() else f"model_{prefix}"
    upper = prefix.upper()
    every = (*contract.inputs, *contract.outputs)
    name = Path(contract.file).name
    yield f"/* {_comment(name)} on {contract.soc.name}. Written by `dlpu card`. */"
    yield f"#ifndef {upper}_CARD_H"
    yield f"#define {upper}_CARD_H"
    yield ""
    yield "#include <stddef.h>"
    yield "#include <stdint.h>"
    if any(_is_padded(end) for end in every):
        yield "#include <string.h>"
    yield ""
    for warning in contract.warnings:
        yield f"/* WARNING: {_comment(warning)} */"
    for command in contract.commands:
        yield f"/* First compile it: {_comment(command)} */"
    yield f"/* On a camera: {_comment(contract.larod_client)} */"
    yield f"#define {upper}_FILE {_string(contract.deployed_file)}"
    yield f"#define {upper}_DEVICE {_string(contract.soc.device)}"
    yield f"#define {upper}_INPUTS {len(contract.inputs)}"
    yield f"#define {upper}_OUTPUTS {len(contract.outputs)}"
    taken: set[str] = set()
    for ends_ in (contract.inputs, contract.outputs):
        if len(ends_) > 1:
            yield ""
            yield f"/* Place of each {ends_[0].kind} in the file, by its name. */"
            for end in ends_:
                yield f"#define {_index_name(end, upper, taken)} {end.index}"
    for end in every:
        yield ""
        yield from _c_end(end, prefix, contract.soc)
    if contract.labels:
        yield ""
        place = contract.labels_output
        yield f"/* Labels{f' of output {place}' if place is not None else ''}. */"
        yield f"#define {upper}_LABELS {len(contract.labels)}"
        yield f"static const char *const {prefix}_labels[{upper}_LABELS] = {{"
        for number, label in enumerate(contract.labels):
            yield f"    {_string(label)}, /* {number} */"
        yield "};"
    yield ""
    yield f"/* Facts about {contract.soc.name}:"
    for source in dict.fromkeys(fact.source for fact in contract.facts.values()):
        yield f"   {_comment(source.title)}, {source.date}, read {source.read}"
    yield "*/"
    yield f"#endif /* {upper}_CARD_H */"


def _c_end(end: End, prefix: str, soc: Soc) -> Iterator[str]:
    start = f"{prefix.upper()}_{end.kind.upper()}_{end.index}"
    layout = f", {end.layout}" if end.layout else ""
    yield f"/* {end.kind} {end.index}: {_comment(short(end.name))}"
    kind = f"   {end.dtype} {size_text(end.shape_signature)}{layout}."
    told = [_comment(note) for note in end.notes]
    if end.formula:
        told.insert(0, end.formula.replace("*", "x"))
    if not told:
        yield f"{kind} */"
    else:
        yield kind
        for note in told[:-1]:
            yield f"   {note}."
        yield f"   {told[-1]}. */"
    yield f"#define {start}_RANK {len(end.shape)}"
    for axis, size in enumerate(end.shape):
        yield f"#define {start}_DIM_{axis} {size}"
    yield f"#define {start}_VALUES {math.prod(end.shape)}"
    if end.layout:
        planar = end.layout.startswith("planar")
        names = ("HEIGHT", "WIDTH")
        names = ("CHANNELS", *names) if planar else (*names, "CHANNELS")
        for name, size in zip(names, end.shape[1:], strict=True):
            yield f"#define {start}_{name} {size}"
    if end.row_pitch is not None:
        yield f"#define {start}_ROW_PITCH {end.row_pitch}"
    if _is_padded(end):
        others = "; or: ".join(_comment(claim.value) for claim in soc.output.others)
        yield f"/* Bytes from value to value: {_comment(soc.output.value)};"
        yield f"   or: {others}. Ask larodGetTensorPitches; define another if so. */"
        yield f"#ifndef {start}_STRIDE"
        yield f"#define {start}_STRIDE {end.stride}"
        yield "#endif"
        yield f"#define {start}_BYTES ({start}_VALUES * {start}_STRIDE)"
        yield f"static inline float {start.lower()}_real(const void *data, size_t i)"
        yield "{"
        yield "    float real;"
        yield f"    const char *place = (const char *)data + i * {start}_STRIDE;"
        yield "    memcpy(&real, place, sizeof real);"
        yield "    return real;"
        yield "}"
    elif end.bytes is not None:
        yield f"#define {start}_BYTES {end.bytes}"
    if end.scale is not None:
        yield f"#define {start}_SCALE {_literal(end.scale)}"
        yield f"#define {start}_ZERO_POINT {_parenthesized(end.zero_point)}"
    if end.scale is not None and end.dtype in QUANTIZED:
        yield f"static inline float {start.lower()}_real({end.dtype}_t q)"
        yield "{"
        yield f"    return (float)((int64_t)q - {start}_ZERO_POINT)"
        yield f"           * {start}_SCALE;"
        yield "}"


def _is_padded(end: End) -> bool:
    """Return whether values stand further apart than they are long."""
    known = end.stride is not None and end.bytes is not None
    return known and end.dtype == "float32" and end.stride > 4


def _index_name(end: End, upper: str, taken: set[str]) -> str:
    """Return a name that no other end has; what C cannot spell becomes "_"."""
    word = _identifier(end.signature_name or end.name).upper() or "UNNAMED"
    name = base = f"{upper}_{end.kind.upper()}_INDEX_{word}"
    number = 2
    while name in taken:
        name = f"{base}_{number}"
        number += 1
    taken.add(name)
    return name


def _identifier(text: str) -> str:
    """Return letters, digits and single underscores, none at the ends."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower())[:48].strip("_")


def _comment(text: str) -> str:
    """Return text that can neither end a comment nor continue a line."""
    return re.sub(r"[^A-Za-z0-9 _.,:;=+()<>'`\[\]/#-]", "_", text)


def _string(text: str) -> str:
    """Return a C string of ASCII characters; the rest is octal, as are trigraphs."""
    plain = set(range(32, 127)) - set(b'"\\?')
    content = text.encode("utf-8", "surrogateescape")
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in content) + '"'


def _literal(value: float) -> str:
    """Return a C literal that gives the same float32 again."""
    text = number(value)
    text += "" if set(text) & set(".e") else ".0"
    return _parenthesized(f"{text}f")


def _parenthesized(value: Any) -> str:
    return f"({value})" if str(value).startswith("-") else str(value)
