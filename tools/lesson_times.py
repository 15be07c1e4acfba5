"""Run each lesson alone, as the tests do, and write its seconds into the README.

uv run python tools/lesson_times.py               measures all lessons and writes
uv run python tools/lesson_times.py --solutions   measures the solutions, only prints
uv run python tools/lesson_times.py --check 04    only says which take over 60 s

Run it on a machine that does nothing else. With numbers of lessons it measures only
these and writes nothing, so that all times in the README are of one machine and day.
Exit status 1: a cell printed something else than its committed output, or, with
--check, a lesson takes over 60 s. 2: unusable input.
"""

import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.files import write

import click

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
LIMIT = 60  # seconds, for a lesson on two cores
COLUMN = "runs in"
_HEAD = re.compile(r"^\| +\| lesson \|.*\|$", re.M)
_LESSON = re.compile(r"\]\(notebooks/(\w+)\.ipynb\)")
_NOTE = re.compile(r"^Runs in: .*$", re.M)


@dataclass(frozen=True)
class Run:
    """One notebook under pytest.

    Attributes:
        seconds: From the start of the session to its end, the kernel's start included.
        cells: How many code cells were compared.
        failed: How many of them differed or could not run.
    """

    seconds: float
    cells: int
    failed: int


def parse(report: str) -> Run:
    """Read what pytest writes with --junitxml."""
    (suite,) = ET.fromstring(report).iter("testsuite")
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    return Run(float(suite.get("time")), int(suite.get("tests")), failed)


def measure(path: Path) -> Run:
    """Run one notebook in a process of its own, every output compared.

    Raises:
        UnusableInput: When pytest ended without a report.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-n0", "-q", f"--junitxml={report}"]
        done = subprocess.run(
            [*command, str(path)], cwd=ROOT, capture_output=True, text=True
        )
        if not report.is_file():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise UnusableInput(
                f"{path.name}: pytest wrote no report: {' '.join(last)}"
            )
        return parse(report.read_text("utf-8"))


def with_times(readme: str, seconds: Mapping[str, float], *, note: str) -> str:
    """Put seconds into the column of the README's lessons table.

    Args:
        readme: With the column `runs in`, and a line below that begins "Runs in: ".
        seconds: For each lesson, by the name of its file; a row without one gets –.
        note: What the line says after "Runs in: ".

    Raises:
        UnusableInput: When the table, its column or the line is missing, or a lesson
            has no row.
    """
    head = _HEAD.search(readme)
    names = _cells(head[0]) if head else []
    if COLUMN not in names or not _NOTE.search(readme):
        raise UnusableInput(
            f"README.md: no lessons table with a column «{COLUMN}» and a line below "
            "that begins «Runs in: »: restore both"
        )
    place, missing = names.index(COLUMN), set(seconds)
    lines = readme.splitlines(keepends=True)
    for number, line in enumerate(lines):
        lesson = _LESSON.search(line)
        if not line.startswith("|") or not lesson:
            continue
        cells = _cells(line)
        known = seconds.get(lesson[1])
        cells[place] = "–" if known is None else f"{known:.0f} s"
        lines[number] = f"| {' | '.join(cells)} |\n"
        missing.discard(lesson[1])
    if missing:
        raise UnusableInput(f"README.md: no row for {', '.join(sorted(missing))}")
    return _NOTE.sub(lambda _: f"Runs in: {note}", "".join(lines))


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def this_machine() -> str:
    """Say when and on what was measured."""
    return (
        "every cell of the lesson alone, its output compared, measured "
        f"{datetime.date.today()} with {os.cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}."
    )


@click.command(help=__doc__.partition("\n")[0])
@click.argument("numbers", nargs=-1)
@click.option("--solutions", is_flag=True, help="Measure the solutions; write nothing.")
@click.option("--check", is_flag=True, help=f"Only say which take over {LIMIT} s.")
def main(numbers: tuple[str, ...], solutions: bool, check: bool) -> None:
    """Measure and write, or check."""
    folder = ROOT / "notebooks" / ("solutions" if solutions else "")
    paths = [
        path
        for path in sorted(folder.glob("[0-9]*.ipynb"))
        if not numbers or path.name[:2] in numbers
    ]
    if not paths:
        raise click.UsageError(f"no lesson {', '.join(numbers)}: give two digits, 04")
    runs = {}
    click.echo("seconds  cells  lesson")
    for path in paths:
        run = runs[path.stem] = measure(path)
        told = f", {run.failed} differ" if run.failed else ""
        click.echo(f"{run.seconds:7.1f}  {run.cells:5}  {path.stem}{told}")
    over = [name for name, run in runs.items() if run.seconds > LIMIT]
    total = sum(run.seconds for run in runs.values())
    click.echo(f"{total:7.1f}  in all; over {LIMIT} s: {', '.join(over) or 'none'}")
    if any(run.failed for run in runs.values()):
        raise click.ClickException("outputs differ: nothing was written")
    if check:
        sys.exit(bool(over))
    if not numbers and not solutions:
        seconds = {name: run.seconds for name, run in runs.items()}
        text = with_times(README.read_text("utf-8"), seconds, note=this_machine())
        write(README, text.encode())
        click.echo("written: README.md")


if __name__ == "__main__":
    try:
        main()
    except UnusableInput as reason:
        print(f"lesson_times: {reason}", file=sys.stderr)
        sys.exit(2)
