"""What a message means: of larod, of a compiler, of a converter, of SSH.

The messages stand in errors.toml as templates. A text is compared with them without
its white space and quotation marks, in lower case, because a terminal breaks a line
anywhere, also within a word, and because every program quotes in its own way.
"""

import bisect
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

from course_lib.dlpu import socs
from course_lib.tflite import enums

_TABLE = tomllib.loads((Path(__file__).parent / "errors.toml").read_text("utf-8"))

SOURCES: Mapping[str, socs.Source] = MappingProxyType(
    {
        **socs.SOURCES,
        **{key: socs.Source(key, **entry) for key, entry in _TABLE["source"].items()},
    }
)


@dataclass(frozen=True)
class Explanation:
    """What one message means.

    Attributes:
        id: Of the entry in errors.toml.
        title: One line.
        matched: The part of the text that was recognised, on one line.
        cause: Why the message comes; says so where no thread confirms it.
        decoded: What the names and numbers in the message tell; "" for nothing.
        confidence: In the cause; a key of `course_lib.dlpu.socs.CONFIDENCES`.
        next: What to do.
        command: What to type next, or "". Words in capitals are to be replaced.
        note: Whether it is a remark, not an error.
        sources: Who says so, the best one first.
        lesson: Number of the lesson that treats it, such as "07".
        count: In how many lines of the text it stands.

    Introduced in notebook 13.
    """

    id: str
    title: str
    matched: str
    cause: str
    decoded: str
    confidence: str
    next: str
    command: str
    note: bool
    sources: tuple[socs.Source, ...]
    lesson: str
    count: int = 1

    @property
    def source(self) -> tuple[str, str]:
        """Title and address of the best source."""
        return self.sources[0].title, self.sources[0].url

    @property
    def read(self) -> str:
        """Day on which the best source was last looked at."""
        return self.sources[0].read


@dataclass(frozen=True)
class Reading:
    """What is known and what is not known of a text.

    Attributes:
        explanations: Of the messages that are known, the most telling one first.
        unknown: The lines that look like errors and have no known message in them.

    Introduced in notebook 13.
    """

    explanations: tuple[Explanation, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """A pattern of errors.toml, compiled.

    Attributes:
        expression: For a text without filler, in lower case.
        letters: How many of its characters are its own, not a placeholder's.
        alone: Whether the whole text has to be this message.

    Introduced in notebook 13.
    """

    expression: re.Pattern[str]
    letters: int
    alone: bool


@dataclass(frozen=True)
class Message:
    """An entry of errors.toml.

    Attributes:
        patterns: Its templates.
        example: A text as it was printed.
        decode: Says what names and numbers tell.
        together: Whether lines that tell different things are one explanation.
        only: Names and the values that the texts are for; {} for any.
        otherwise: The entry for other values; None where `only` is {}.
        id, title, cause, confidence, next, command, note, sources, lesson: As of an
            `Explanation`.

    Introduced in notebook 13.
    """

    id: str
    title: str
    patterns: tuple[Template, ...]
    example: str
    cause: str
    confidence: str
    next: str
    command: str
    sources: tuple[socs.Source, ...]
    lesson: str
    decode: Callable[[Mapping[str, str]], str]
    note: bool = False
    together: bool = False
    only: Mapping[str, str] = field(default_factory=dict)
    otherwise: "Message | None" = None


def explain(text: str) -> tuple[Explanation, ...]:
    """Return what the messages in a text mean, the most telling one first.

    The text may be a whole log, with times, colours of a terminal and broken lines.
    The more of a message was recognised word by word, the earlier it stands; remarks
    that are no errors come last. The time grows in proportion to the text.

    Args:
        text: One message or many.

    Returns:
        One for each message that is known and for what it tells; none when nothing is.

    Example:
        >>> found = explain("Could only read 196608 out of 786432 bytes from file "
        ...     "descriptor")[0]
        >>> found.id
        'input-too-short'
        >>> print(found.decoded.split(":")[0])
        4 times as many bytes are wanted as came

    Introduced in notebook 13.
    """
    return read(text).explanations


def read(text: str) -> Reading:
    """Return what `explain` does, and the other lines that look like errors.

    Args:
        text: One message or many.

    Introduced in notebook 13.
    """
    bare = _Bare(text)
    covered = bytearray(len(text))  # 1 where a message was recognised
    groups: dict[tuple[str, str, str], _Group] = {}
    known: Counter[str] = Counter()
    decoded: dict[tuple, tuple[Message, str]] = {}
    for _, message, match in sorted(_matches(bare), key=lambda found: found[0]):
        first, last = bare.span(match)
        if covered.find(1, first, last) >= 0:
            continue
        covered[first:last] = b"\x01" * (last - first)
        same = (match.re, match.groups())
        if same not in decoded:
            decoded[same] = _decoded(message, bare.values(match))
        variant, told = decoded[same]
        key = (message.id, variant.title, "" if message.together else told)
        if key not in groups:
            if known[message.id] >= (_DISTINCT if told else 1):
                continue
            known[message.id] += 1
            groups[key] = _Group(variant, match)
        groups[key].add(told, text, first)
    return Reading(
        tuple(group.explanation(bare) for group in groups.values()),
        _unknown(text, covered),
    )


@dataclass
class _Group:
    """Lines of a text that get one explanation."""

    message: Message
    match: re.Match[str]  # the first one
    told: Counter[str] = field(default_factory=Counter)
    lines: set[int] = field(default_factory=set)

    def add(self, told: str, text: str, place: int) -> None:
        self.told[told] += 1
        self.lines.add(text.rfind("\n", 0, place))

    def explanation(self, bare: "_Bare") -> Explanation:
        message, values = self.message, bare.values(self.match)
        parts = [
            f"{told} ({count} times)" if count > 1 and message.together else told
            for told, count in self.told.most_common(_DISTINCT)
        ]
        if len(self.told) > _DISTINCT:
            parts.append(f"{len(self.told) - _DISTINCT} more")
        return Explanation(
            message.id,
            message.title,
            bare.original(self.match),
            message.cause,
            "; ".join(parts),
            message.confidence,
            message.next,
            _PLACEHOLDER.sub(lambda name: _word(name[1], values), message.command),
            message.note,
            message.sources,
            message.lesson,
            len(self.lines),
        )


# How a line with an error looks; "0 failed" is none.
_ALARM = re.compile(
    r"\b(?:ERROR|FATAL|CRITICAL)\b|\[ ?(?:ERR|CRIT|ALERT|EMERG) *\]"
    r"|(?i:error:|(?<!\b0 )\bfailed\b|\bfatal:|\bpanic\b)"
)


def _unknown(text: str, covered: bytearray) -> tuple[str, ...]:
    """Return the lines that look like errors outside of what was recognised."""
    lines: list[str] = []
    traceback = ""  # it counts when no line that names the error ends it
    for line in re.finditer(r"[^\r\n]+", text):
        known = covered.find(1, *line.span()) >= 0
        if "Traceback (" in line[0]:
            lines += [traceback] * bool(traceback)
            traceback = "" if known else line[0]
        elif known or _ALARM.search(line[0]):
            lines += [line[0]] * (not known)
            traceback = ""
    return (*lines, traceback) if traceback else tuple(lines)


# --- a text without what may differ ---------------------------------------------------

# A terminal's colours and titles, colours whose escape character was lost on the way;
# and these, white space, quotation marks, controls.
_ESCAPES = (
    r"\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)"
    r"|(?:#033|\^\[)?\[(?:\d{1,3};){0,4}\d{1,3}m"
)
_FILLER = re.compile(rf"(?:{_ESCAPES}|[\s\"'`\u2018-\u201f\u00b4\x00-\x1f\x7f-\x9f])+")
_NAME = re.compile(r"[A-Za-z0-9_]-?$")  # before a match: acap-root is not root
_LOWER = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
)  # str.lower may change a text's length, and so the places in it


class _Bare:
    """A text without filler, and the way back to the places in the text.

    One space stays between two digits: the number at the end of a message must not run
    into the time at the beginning of the next line.
    """

    def __init__(self, text: str):
        self.text = text
        pieces: list[str] = []
        self._starts: list[int] = []  # of the pieces, without filler ...
        self._places: list[int] = []  # ... and in the text
        length = here = 0
        for filler in (*_FILLER.finditer(text), None):
            end = filler.start() if filler else len(text)
            if end > here:
                if pieces and pieces[-1][-1].isdecimal() and text[here].isdecimal():
                    pieces.append(" ")
                    length += 1
                self._starts.append(length)
                self._places.append(here)
                pieces.append(text[here:end])
                length += end - here
            here = filler.end() if filler else end
        self.kept = "".join(pieces)
        self.plain = self.kept.translate(_LOWER)

    def span(self, match: re.Match[str]) -> tuple[int, int]:
        """Return where in the text a match begins and ends."""
        return self._place(match.start()), self._place(match.end() - 1) + 1

    def starts_a_word(self, match: re.Match[str]) -> bool:
        """Return whether the text has no rest of a word or name before a match."""
        index = match.start()
        place = self._place(index)
        if not index or self._place(index - 1) != place - 1:
            return True  # behind filler, or first
        name = _NAME.search(self.text, max(0, place - 2), place)
        return not (name and self.text[place].isalnum())

    def original(self, match: re.Match[str]) -> str:
        """Return what the text has at a match, on one line that steers no terminal."""
        first, last = self.span(match)
        # A quotation mark is filler, but the closing one belongs to what it closes.
        mark = self.text[last : last + 1]
        if mark and mark in "\"'`" and self.text[first:last].count(mark) % 2:
            last += 1
        words = re.sub(_ESCAPES, "", self.text[first:last]).split()
        return "".join(filter(str.isprintable, " ".join(words)))

    def values(self, match: re.Match[str]) -> dict[str, str]:
        """Return what the template's names stand for, and all of it as "matched"."""
        found = {
            name: self.kept[slice(*match.span(name))] for name in match.groupdict()
        }
        found["matched"] = match.group()
        return {name: value.replace(" ", "") for name, value in found.items()}

    def _place(self, index: int) -> int:
        piece = bisect.bisect_right(self._starts, index) - 1
        return self._places[piece] + index - self._starts[piece]


# --- templates ------------------------------------------------------------------------

_KINDS = {  # bounded, so that no text makes the search slow
    "": ".{0,120}?",
    "number": r"\d{1,18}(?: \d{1,18})?",  # a line may break within it
    "code": r"-?\d{1,6}",
    "host": r"[\w.:%\[\]-]{1,100}?",  # or a user of it
    "device": r"[a-z0-9-]{1,40}-(?:tflite|native|proc|cvflow)",
}
_LAST = r"\d{1,18}"  # what follows belongs to something else
_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_DISTINCT = 20  # of one message; more would bury what else a log has
_LEVEL = "(?:(?:error|warning):)?"  # before a message that stands alone


def _compile(template: str, *, alone: bool) -> Template:
    parts = _PLACEHOLDER.split(template)  # text, name, kind, text, name, kind, ... text
    texts = [re.escape(_Bare(text).plain) for text in parts[::3]]
    kinds = [_KINDS[kind or ""] for kind in parts[2::3]]
    if kinds and not texts[-1] and parts[-2] == "number":
        kinds[-1] = _LAST
    groups = [
        f"(?P<{name}>{kind})" for name, kind in zip(parts[1::3], kinds, strict=True)
    ]
    letters = sum(len(_Bare(text).plain) for text in parts[::3])
    joined = zip_longest(texts, groups, fillvalue="")
    expression = "".join(text + group for text, group in joined)
    if alone:
        expression = rf"{_LEVEL}{expression}[.!\u2026]{{0,3}}"
    return Template(re.compile(expression), letters, alone)


def _matches(bare: _Bare) -> Iterator[tuple[tuple, Message, re.Match[str]]]:
    for message in MESSAGES.values():
        for template in message.patterns:
            for match in _places(template, bare):
                yield (message.note, -template.letters, match.start()), message, match


def _places(template: Template, bare: _Bare) -> Iterator[re.Match[str]]:
    if template.alone:
        whole = template.expression.fullmatch(bare.plain)
        yield from (whole,) if whole else ()
        return
    here = 0
    while match := template.expression.search(bare.plain, here):
        here = match.end()
        if bare.starts_a_word(match):
            yield match
        else:
            here = match.start() + 1


def _decoded(message: Message, values: Mapping[str, str]) -> tuple[Message, str]:
    """Return the entry for these values, and what they tell."""
    if any(values.get(name) != value for name, value in message.only.items()):
        message = message.otherwise or message
    try:
        return message, message.decode(values)
    except KeyError:  # half a message has fewer names
        return message, ""


def _word(name: str, values: Mapping[str, str]) -> str:
    """Return a value for a command line; a stranger's may hold more than a word."""
    value = values.get(name, "")
    return value if re.fullmatch(r"[\w.:@+,=/][\w.:@+,=/-]*", value) else name.upper()


# --- what names and numbers tell ------------------------------------------------------


def _nothing(values: Mapping[str, str]) -> str:
    return ""


def _partitions(values: Mapping[str, str]) -> str:
    total, limit = int(values["total"]), int(values["limit"])
    told = f"the graph falls into {total} parts, and {limit} are allowed"
    if "refused" in values:
        told += f"; {int(values['refused'])} of them cannot run on the DLPU"
    return told


def _bytes_read(values: Mapping[str, str]) -> str:
    got, wanted = int(values["got"]), int(values["wanted"])
    if not got:
        return "nothing came: the file or buffer is empty, or was read before"
    if got >= wanted:
        told = f"{got} is not less than {wanted}: these numbers do not fit the message"
        if got > wanted:
            swapped = _bytes_read({"got": values["wanted"], "wanted": values["got"]})
            told += f"; the other way round: {swapped}"
        return told
    if wanted % got == 0:
        times = wanted // got
        reason = _RATIOS.get(times, "a larger picture is wanted, or several (inferred)")
        told = f"{times} times as many bytes are wanted as came: {reason}"
        return told + "".join(map(_side, (got, wanted)))
    if padded := _padded(got, wanted):
        return padded
    sides = [_square(count) for count in (got, wanted)]
    if all(sides):
        return (
            f"{sides[0]}×{sides[0]} pixels of RGB came, {sides[1]}×{sides[1]} are"
            " wanted (inferred: both numbers are 3 times a square)"
        )
    return f"{wanted - got} bytes are missing: picture size or row pitch (inferred)"


# How many times as many bytes are wanted as came. Those of one value are known, the
# reason for them is inferred.
_RATIOS = {
    2: "the model wants RGB, 3 bytes a pixel, and NV12 has 1.5; or it wants values of "
    "16 bits (inferred)",
    3: "the model wants three colours and one came: a gray picture, or one plane of a "
    "planar one (inferred)",
    4: "the model's input is float32, 4 bytes a value, and uint8 came, 1 byte a value, "
    "or a picture of twice the height and width is wanted (inferred)",
    8: "the model's input is float32 in RGB, 12 bytes a pixel, and NV12 came, 1.5 "
    "(inferred)",
    12: "the model's input is float32 in three colours, and gray uint8 came (inferred)",
}


def _square(count: int) -> int:
    """Return the side of a square RGB picture of so many bytes, or 0."""
    side = math.isqrt(count // 3)
    return side if side > 1 and 3 * side * side == count else 0


def _side(count: int) -> str:
    side = _square(count)
    return f"; {count} bytes of uint8 are {side}×{side} pixels of RGB" if side else ""


def _padded(got: int, wanted: int) -> str:
    """Tell whether only the padding of the rows is missing, as on CV25."""
    side, pitch = _square(got), socs.SOCS["cv25"].row_pitch.value
    row = -(-side // pitch) * pitch
    if not side or 3 * side * row != wanted:
        return ""
    return (
        f"rows of {side} bytes came, and rows of {row} are wanted, the next multiple "
        f"of {pitch} (inferred for a square picture)"
    )


def _operator(values: Mapping[str, str]) -> str:
    number = int(values["operator"])
    name = enums.OPERATOR.get(number)
    if number == enums.CUSTOM:
        return (
            "operator 32 is CUSTOM: its name stands in the file, often "
            "TFLite_Detection_PostProcess, the end of a detector"
        )
    return f"operator {number} is {name}" if name else f"operator {number} is unknown"


def _operator_version(values: Mapping[str, str]) -> str:
    name, version = values["operator"], int(values["version"])
    known = socs.SOCS["artpec7"].operator_versions
    newest = [int(key) for key, names in known.value.items() if name.upper() in names]
    told = f"the file has {name} in version {version}"
    if newest:
        told += f"; edgetpu_compiler 16 knows up to {max(newest)} ({known.confidence})"
    return told


def _code(values: Mapping[str, str]) -> str:
    code = int(values["code"])
    known = _TABLE["larod_codes"] if code < 0 else _TABLE["errno"]
    return f"{code} is {known.get(str(code), 'not known to the course')}"


def _code_name(values: Mapping[str, str]) -> str:
    name = values["matched"].upper()
    return next(
        f"{code} is {told}"
        for code, told in _TABLE["larod_codes"].items()
        if told.startswith(f"{name},")
    )


def _files(values: Mapping[str, str]) -> str:
    return f"files given: {values['got']}, tensors of the model: {values['wanted']}"


def _signal(values: Mapping[str, str]) -> str:
    number = values["signal"]
    return f"signal {number} is {_TABLE['signals'].get(number, 'not in the list')}"


def _chip(values: Mapping[str, str]) -> str:
    number = values["chip"]
    return f"chip {number} is {_TABLE['chips'].get(number, 'not in the list')}"


def _device(values: Mapping[str, str]) -> str:
    name = values["device"]
    owners = [
        soc.name
        for soc in socs.SOCS.values()
        for fact in (soc.devices, soc.preprocessing_devices)
        if fact and name in fact.value
    ]
    if not owners:
        return f"no chip that the course knows has a device {name!r}"
    return f"{name} is a device of {', '.join(dict.fromkeys(owners))}"


def _types(values: Mapping[str, str]) -> str:
    told = f"{values['got']} came"
    if wanted := values.get("wanted"):
        told += f", {wanted} is wanted"
        if {values["got"].upper(), wanted.upper()} == {"INT8", "UINT8"}:
            told += "; int8 is uint8 minus 128"
        elif values["got"].upper() == "FLOAT32":
            told += "; q = round(x / scale) + zero point, with both from the file"
    return told


def _dimension(values: Mapping[str, str]) -> str:
    got, wanted = int(values["got"]), int(values["wanted"])
    if "axis" not in values:
        return f"the values have {got} dimensions, the input {wanted}"
    axis = int(values["axis"])
    if {got, axis} == {3, 1} and wanted > 3:
        return "the channels stand first (NCHW), the model wants them last (NHWC)"
    return f"dimension {axis} has {got} and should have {wanted}"


_DECODERS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "": _nothing,
    "bytes_read": _bytes_read,
    "chip": _chip,
    "device": _device,
    "dimension": _dimension,
    "files": _files,
    "larod_code": _code,
    "larod_code_name": _code_name,
    "operator": _operator,
    "operator_version": _operator_version,
    "partitions": _partitions,
    "signal": _signal,
    "types": _types,
}


def _message(entry: dict) -> Message:
    told = {
        **entry,
        "patterns": tuple(
            _compile(template, alone=kind == "alone")
            for kind in ("patterns", "alone")
            for template in entry.get(kind, ())
        ),
        "sources": tuple(SOURCES[key] for key in entry["sources"]),
        "decode": _DECODERS[entry.get("decode", "")],
    }
    told.pop("alone", None)
    if other := told.pop("otherwise", None):
        told["otherwise"] = _message({**entry, "otherwise": None, **other})
    return Message(**told)


MESSAGES: Mapping[str, Message] = MappingProxyType(
    {entry["id"]: _message(entry) for entry in _TABLE["message"]}
)
