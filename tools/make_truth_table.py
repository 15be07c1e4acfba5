"""Find out which TensorFlow release, route and flag give which weights.

    uv run python tools/make_truth_table.py                       # every release
    uv run python tools/make_truth_table.py --versions 2.19 2.21  # only some

Run by hand, never by the tests: it installs each release into an empty environment with
Python 3.11, which takes the network, uv, 2 GB of disk at a time and some minutes a
release. Each (release, route, flag) is a process of its own, of truth_table_child.py,
so that one that dies is a row and no more. What came out is read from the file that it
left. Rows that the output has already are kept as long as a fresh installation gives
the same packages; to measure anew, write to another file. Runs on Linux and macOS.
"""

import argparse
import datetime
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.files import write
from course_lib.quantization import truth_table
from course_lib.quantization.truth_table import Release, Row
from course_lib.tflite import reading

CHILD = Path(__file__).with_name("truth_table_child.py")
MINORS = ("2.15", "2.16", "2.17", "2.18", "2.19", "2.20", "2.21")
PYTHON = "3.11"
# What a row may depend on, and is recorded.
PACKAGES = (
    *("tensorflow", "keras", "tf-keras", "tensorflow-model-optimization"),
    *("numpy", "protobuf"),
)
# The routes for a model of Keras 2, which TensorFlow chooses when it is imported.
KERAS_2 = ("qat", "qat-disable-per-axis", "qat-folded")
# What ends a process that takes too long or too much memory, or that somebody ends.
FROM_OUTSIDE = ("SIGALRM", "SIGKILL", "SIGTERM", "SIGINT")
LINE = 160  # characters that are kept of a message
Cell = tuple[str, str, str]  # release, route, flag
HEAD = "# Written by tools/make_truth_table.py, which is run by hand.\n"


class NotInstalled(Exception):
    """A release has no build that fits; the text is the installer's reason."""


def main() -> None:
    """Measure the releases that the command line names, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--versions", nargs="+", default=MINORS, metavar="MINOR", help="such as 2.19"
    )
    parser.add_argument("--output", type=Path, default=truth_table.PATH)
    parser.add_argument("--keep", type=Path, help="leave environments and files here")
    chosen = parser.parse_args()
    for minor in chosen.versions:
        if not re.fullmatch(r"\d+\.\d+", minor):
            parser.error(f"--versions {minor}: expected a minor release such as 2.19")
    os.nice(10)
    for minor in chosen.versions:
        with tempfile.TemporaryDirectory() as name:
            folder = (chosen.keep or Path(name)).absolute() / minor
            folder.mkdir(parents=True, exist_ok=True)
            measure(minor, folder=folder, output=chosen.output)
    print(truth_table.as_text(path=chosen.output))


def measure(minor: str, *, folder: Path, output: Path) -> None:
    """Add what a release gives to the output, row by row."""
    releases, rows = truth_table.load(output) if output.exists() else ((), ())
    rows = {(row.minor, row.route, row.flag): row for row in rows}
    cells = [(minor, r, f) for r, flags in truth_table.FLAGS_OF.items() for f in flags]
    if all(cell in rows for cell in cells):
        return
    problem = ""
    try:
        packages = install(minor, folder)
    except NotInstalled as error:
        packages, problem = {}, str(error)
    known = {release.minor: release for release in releases}
    if minor not in known or known[minor].packages != packages:
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        known[minor] = Release(minor, packages, today)
        rows = {cell: row for cell, row in rows.items() if cell[0] != minor}

    missing = [cell for cell in cells if cell not in rows]
    if problem:
        found = (Row(*cell, "not installed", problem, {}) for cell in missing)
    else:
        batches = (
            [c for c in missing if (c[1] in KERAS_2) == k] for k in (False, True)
        )
        found = itertools.chain(*(run(b, folder=folder) for b in batches if b))
    for row in found:
        rows[row.minor, row.route, row.flag] = row
        write(output, as_toml(known.values(), rows.values()).encode())
        truth_table.load.cache_clear()
        print(row.minor, row.route, row.flag, row.outcome, row.detail, sep=" | ")


def install(minor: str, folder: Path) -> dict[str, str]:
    """Install the latest patch of a release; return the versions of `PACKAGES`.

    Raises:
        NotInstalled: When it has no build for this Python.
        SystemExit: When something else, such as the network, is in the way.
    """
    python = folder / "environment/bin/python"
    wanted = [f"{name}~={minor}.0" for name in ("tensorflow", "tf-keras")]
    commands = (
        ["venv", "--clear", "--python", PYTHON, folder / "environment"],
        ["pip", "install", "--python", python, *wanted, PACKAGES[3]],
        ["pip", "list", "--python", python, "--format", "json"],
    )
    for command in commands:
        # In a folder without a project, whose constraints would bind it.
        done = subprocess.run(
            ["uv", "--quiet", *command], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            message = " ".join(done.stderr.split())
            if "No solution found" in message and "network" not in message:
                raise NotInstalled(tidy(message[max(message.find("Because"), 0) :]))
            raise SystemExit(f"{minor}: cannot be installed now: {tidy(message)}")
    found = {entry["name"]: entry["version"] for entry in json.loads(done.stdout)}
    return {name: found[name] for name in PACKAGES}


def run(cells: Sequence[Cell], *, folder: Path) -> Iterator[Row]:
    """Convert by routes that want the same Keras, each in a process of its own.

    Args:
        cells: Release, route and flag of each row.
        folder: Has the environment.
    """
    names = [f"{route}.{flag}" for _, route, flag in cells]
    for name in names:  # what an earlier run left
        shutil.rmtree(folder / name, ignore_errors=True)
    variables = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    if _wants_keras_2(cells[0]):
        variables["TF_USE_LEGACY_KERAS"] = "1"
    done = subprocess.run(
        # -I: nothing of this environment's folders gets in.
        [folder / "environment/bin/python", "-I", CHILD, folder, *names],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        env=variables,
    )
    for cell, name in zip(cells, names, strict=True):
        status, log = folder / name / "status", folder / name / "log.txt"
        if status.exists():
            text = log.read_text("utf-8", "replace") if log.exists() else ""
            yield Row(*cell, *outcome(folder / name, int(status.read_text()), text))
        else:  # it did not come so far
            yield Row(*cell, *outcome(folder / name, done.returncode, done.stderr))


def _wants_keras_2(cell: Cell) -> bool:
    return cell[1] in KERAS_2


def outcome(folder: Path, code: int, log: str) -> tuple[str, str, dict[str, int]]:
    """Return outcome, detail and operator versions of a process that has ended.

    Args:
        folder: Where it left its files.
        code: Its exit status; negative for a signal.
        log: What it said.

    Raises:
        SystemExit: When it took too long or was killed from outside, which is no row.
    """
    if code < 0:
        name = signal.Signals(-code).name
        if name in FROM_OUTSIDE:
            raise SystemExit(
                f"{folder.name}: ended by {name}, which tells of this computer, not of "
                "the release: run again when it has less to do"
            )
        last_words = re.findall(r"^.*(?:LLVM ERROR|Check failed).*$", log, re.M)
        return "signal", tidy(": ".join([name, *last_words[-1:]])), {}
    if (folder / "no_flag").exists():
        return "no such flag", "", {}
    if (folder / "error.txt").exists():
        return "error", tidy((folder / "error.txt").read_text("utf-8")), {}
    if code:
        return "error", tidy(log.strip().rpartition("\n")[2]), {}
    return classify((folder / "model.tflite").read_bytes())


def classify(content: bytes) -> tuple[str, str, dict[str, int]]:
    """Return the outcome of a `.tflite` file, its detail and operator versions.

    Raises:
        UnusableInput: When it is not a sound `.tflite` file, or has no weights.
    """
    model = reading.parse(content)
    operators = {
        name: max(operator.version for operator in found)
        for name in truth_table.OPERATORS
        if (found := [o for o in model.operators if o.name == name])
    }
    islands = {
        name: count
        for name, count in model.float_operators.items()
        if name not in ("QUANTIZE", "DEQUANTIZE")
    }
    if islands:
        names = (f"{count} {name}" for name, count in sorted(islands.items()))
        return "float islands", ", ".join(names), operators
    counts = model.weight_counts
    dense = set(counts.pop("FULLY_CONNECTED", ())) - {"one channel"}
    convolutions = set().union(*counts.values()) - {"one channel"}
    words = convolutions | dense
    if not words:
        raise UnusableInput("no quantized weights: expected those of the small model")
    if len(words) == 1:
        return words.pop(), "", operators
    if convolutions == {"per-channel"} and dense == {"per-tensor"}:
        return "per-channel, dense per-tensor", "", operators
    return "mixed", "", operators


def tidy(text: str) -> str:
    """Return the first line of a message without addresses, paths and dates."""
    line = next(filter(None, map(str.strip, text.splitlines())), "no message")
    line = re.sub(r"https?://\S+", "(address)", line)
    line = re.sub(r"(?<![\w.])/(?:[^\s/'\":,;)]+/)+", "", line)
    line = re.sub(r" at 0x[0-9a-fA-F]+", "", line)
    return line if len(line) <= LINE else line[: LINE - 1] + "…"


def _age(minor: str) -> list[int]:
    return [int(number) for number in minor.split(".")]


def as_toml(releases: Iterable[Release], rows: Iterable[Row]) -> str:
    """Return a table's file: each release and row on a line, in a fixed order."""
    routes = list(truth_table.ROUTES)
    flags = list(truth_table.FLAGS)

    def place(row: Row) -> tuple:
        return _age(row.minor), routes.index(row.route), flags.index(row.flag)

    lines = [
        f"{HEAD}releases = [",
        *(_inline(entry) for entry in sorted(releases, key=lambda r: _age(r.minor))),
        "]\nrows = [",
        *(_inline(entry) for entry in sorted(rows, key=place)),
        "]\n",
    ]
    return "\n".join(lines)


def _inline(entry: Release | Row) -> str:
    return f"  {_value(asdict(entry))},"


def _value(value: dict | str | int) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # a TOML string is written alike


if __name__ == "__main__":
    main()
