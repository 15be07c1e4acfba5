"""Which TensorFlow release gives which weights: what was seen, not what is said.

tools/make_truth_table.py converts one small model by every route with every flag under
every release and writes truth_table.toml beside this module.
"""

import string
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_suffix(".toml")
# The ways to an int8 file, and the flags that are tried on each.
ROUTES = {
    "ptq-saved-model": "PTQ, from_saved_model",
    "ptq-concrete": "PTQ, from_concrete_functions",
    "ptq-keras": "PTQ, from_keras_model",
    "qat": "QAT, tfmot's default",
    "qat-disable-per-axis": "QAT, tfmot's disable_per_axis=True",
    "qat-keras-3": "QAT, TF_USE_LEGACY_KERAS not set (Keras 3, but for 2.15)",
    "qat-folded": "QAT, folded and with an own QuantizeConfig, as in this course",
}
FLAGS = {
    "none": "no flag",
    "per-tensor": "_experimental_disable_per_channel",
    "dense": "_experimental_disable_per_channel_quantization_for_dense_layers",
}
_ALL = tuple(FLAGS)
FLAGS_OF = {
    "ptq-saved-model": _ALL,
    "ptq-concrete": _ALL,
    "ptq-keras": _ALL,
    "qat": _ALL[:2],
    "qat-disable-per-axis": _ALL[:2],
    "qat-keras-3": _ALL[:1],
    "qat-folded": _ALL[:1],
}
# Outcomes: the word in the table, and what it means.
OUTCOMES = {
    "per-tensor": ("tensor", "one scale for each weight tensor"),
    "per-channel": (
        "channel",
        "one scale for each output channel, dense layers too",
    ),
    "per-channel, dense per-tensor": (
        "conv",
        "one scale for each output channel of a convolution, one for a dense layer",
    ),
    "mixed": ("mixed", "another mixture of the two"),
    "float islands": ("float", "some operators are left in float"),
    "error": ("error", "Python raised an error"),
    "signal": ("crash", "the process died without a Python error"),
    "no such flag": ("absent", "the converter of this release has no such flag"),
    "not installed": ("none", "the release could not be installed"),
}
WIDTH = 88
OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Release:
    """A TensorFlow release as it was installed.

    Attributes:
        minor: Such as "2.15".
        packages: Exact version of each package that matters; empty when the release
            could not be installed.
        date: Day on which it was tried, YYYY-MM-DD.
    """

    minor: str
    packages: dict[str, str]
    date: str

    @property
    def version(self) -> str:
        """Return the exact version of TensorFlow, or the minor without one."""
        return self.packages.get("tensorflow", self.minor)


@dataclass(frozen=True)
class Row:
    """What one route with one flag gave under one release.

    Attributes:
        minor: Of the release.
        route: A key of `ROUTES`.
        flag: A key of `FLAGS`.
        outcome: A key of `OUTCOMES`.
        detail: The operators in float, or the first line of the error.
        operators: Highest version in the file of each of `OPERATORS`; empty without a
            file.

    Introduced in notebook 07.
    """

    minor: str
    route: str
    flag: str
    outcome: str
    detail: str
    operators: dict[str, int]


@cache
def load(path: Path = PATH) -> tuple[tuple[Release, ...], tuple[Row, ...]]:
    """Return the releases, oldest first, and the rows of a table's file."""
    table = tomllib.loads(path.read_text("utf-8"))
    releases = (Release(**entry) for entry in table["releases"])
    return tuple(releases), tuple(Row(**entry) for entry in table["rows"])


def releases() -> tuple[Release, ...]:
    """Return the releases that were tried, oldest first.

    Introduced in notebook 07.
    """
    return load()[0]


def rows() -> tuple[Row, ...]:
    """Return what was seen, a row for each release, route and flag.

    Introduced in notebook 07.
    """
    return load()[1]


def as_text(
    routes: Sequence[str] = tuple(ROUTES), *, operators: bool = False, path: Path = PATH
) -> str:
    """Return the table as text, at most 88 columns wide, with a legend.

    Args:
        routes: Keys of `ROUTES`, in the order wanted.
        operators: Show the operators' versions in place of the weights.
        path: File of another table.

    Example:
        >>> print(as_text(["qat-keras-3"], operators=True).splitlines()[3])
        QAT, TF_USE_LEGACY_KERAS not set (Keras 3, but for 2.15)

    Introduced in notebook 07.
    """
    tried, seen = load(path)
    by_cell = {(row.route, row.flag, row.minor): row for row in seen}
    notes: dict[str, str] = {}
    used = set()

    def word(row: Row) -> str:
        if operators:
            versions = [str(row.operators.get(name, "-")) for name in OPERATORS]
            return "/".join(versions) if row.operators else "-"
        used.add(row.outcome)
        short = OUTCOMES[row.outcome][0]
        if not row.detail:
            return short
        note = notes.setdefault(row.detail, string.ascii_letters[len(notes)])
        return f"{short} {note}"

    lines = [
        _line(title, [release.packages.get(name, "-") for release in tried])
        for title, name in (("TensorFlow", "tensorflow"), ("Keras", "keras"))
    ]
    lines.append("-" * len(lines[0]))
    for route in routes:
        lines.append(ROUTES[route])
        for flag in FLAGS_OF[route]:
            cells = (by_cell[route, flag, release.minor] for release in tried)
            label = "no flag" if flag == "none" else f"{flag} flag"
            lines.append(_line(f"  {label}", [word(row) for row in cells]))
    legend = []
    if operators:
        legend.append(f"highest version of {' / '.join(OPERATORS)}; -: no file")
    legend += [": ".join(OUTCOMES[outcome]) for outcome in OUTCOMES if outcome in used]
    legend += [f"{note}: {detail}" for detail, note in notes.items()]
    for flag in {flag: None for route in routes for flag in FLAGS_OF[route]}:
        if flag != "none":
            legend.append(f"{flag} flag: {FLAGS[flag]}")
    legend.append(f"Seen on {max(release.date for release in tried)}, Python 3.11.")
    lines.append("")
    for entry in legend:
        lines += textwrap.wrap(entry, WIDTH, subsequent_indent="   ")
    return "\n".join(line.rstrip() for line in lines)


def _line(label: str, cells: list[str]) -> str:
    return f"{label:<24}" + "".join(f"{cell:<9}" for cell in cells)
