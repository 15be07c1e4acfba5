"""The times in the README's lessons table: how they are read and written."""

import runpy

from course_lib.errors import UnusableInput

import pytest
from click.testing import CliRunner
from lessons import LESSONS, ROOT

TOOL = runpy.run_path(str(ROOT / "tools/lesson_times.py"))
parse, with_times = TOOL["parse"], TOOL["with_times"]
REPORT = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">
<testsuite name="pytest" errors="{errors}" failures="{failures}" skipped="0" tests="24"
time="31.415" timestamp="2026-11-21T10:00:00" hostname="here">
<testcase classname="x" name="Cell 0" time="3.1" /></testsuite></testsuites>"""
README = """# Course

| | lesson | question | minutes | runs in | camera |
|---|---|---|---|---|---|
| 00 | [Check](notebooks/00_check.ipynb) | Does it run? | 10 | – | no |
| 03 | [By hand](notebooks/03_hand.ipynb) | What is `a \\n b`? | 40 | 99 s | no |

Runs in: not measured yet.

| [By hand](elsewhere/03_hand.ipynb) | other table |
See [lesson 00](notebooks/00_check.ipynb).
"""


@pytest.mark.parametrize(("errors", "failures"), [(0, 0), (1, 2)])
def test_a_report_of_pytest_is_read(errors, failures):
    run = parse(REPORT.format(errors=errors, failures=failures))
    assert (run.seconds, run.cells, run.failed) == (31.415, 24, errors + failures)


def test_only_the_column_and_the_line_below_change():
    seconds = {"00_check": 7.6, "03_hand": 59.4}
    after = with_times(README, seconds, note="on 2 cores.")
    expected = README.replace("| – |", "| 8 s |").replace("| 99 s |", "| 59 s |")
    assert after == expected.replace("not measured yet.", "on 2 cores.")
    again = with_times(after, {"00_check": 8.0}, note="on 2 cores.")
    assert "| 8 s |" in again, "the same time changes nothing"
    assert "| 40 | – | no |" in again, "what was not measured loses the old time"


@pytest.mark.parametrize(
    ("readme", "seconds", "told"),
    [
        (README.replace("runs in", "x"), {}, "no lessons table with a column"),
        (README.replace("Runs in", "x"), {}, "a line below"),
        ("nothing", {}, "no lessons table"),
        (README, {"05_new": 3.0}, "no row for 05_new"),
    ],
)
def test_a_readme_that_it_does_not_know_stays_as_it_is(readme, seconds, told):
    with pytest.raises(UnusableInput, match=told):
        with_times(readme, seconds, note="")


def test_the_readme_has_the_column_for_every_lesson():
    readme = (ROOT / "README.md").read_text("utf-8")
    seconds = dict.fromkeys((book.slug for book in LESSONS), 12.3)
    after = with_times(readme, seconds, note="x")
    assert after.count("| 12 s |") == len(LESSONS)


def run(monkeypatch, tmp_path, times, *arguments):
    """Run the command on made-up measurements; return the result and the README."""
    scope = TOOL["main"].callback.__globals__
    (tmp_path / "notebooks").mkdir()
    for name in times:
        (tmp_path / "notebooks" / f"{name}.ipynb").touch()
    readme = tmp_path / "README.md"
    readme.write_text(README, "utf-8")
    monkeypatch.setitem(scope, "ROOT", tmp_path)
    monkeypatch.setitem(scope, "README", readme)
    monkeypatch.setitem(scope, "measure", lambda path: times[path.stem])
    return CliRunner().invoke(TOOL["main"], arguments), readme.read_text("utf-8")


def test_the_command_writes_all_times_or_none(monkeypatch, tmp_path):
    times = {"00_check": TOOL["Run"](7.6, 9, 0), "03_hand": TOOL["Run"](61.2, 30, 0)}
    result, readme = run(monkeypatch, tmp_path, times)
    assert result.exit_code == 0, result.output
    assert "   68.8  in all; over 60 s: 03_hand" in result.output
    assert "| 10 | 8 s | no |" in readme
    assert "| 40 | 61 s | no |" in readme
    assert "Runs in: every cell" in readme


@pytest.mark.parametrize(
    ("failed", "arguments", "status"),
    [(0, ("--check",), 1), (0, ("--check", "00"), 0), (0, ("00",), 0), (1, (), 1)],
)
def test_the_command_leaves_the_readme(
    monkeypatch, tmp_path, failed, arguments, status
):
    times = {"00_check": TOOL["Run"](7, 9, failed), "03_hand": TOOL["Run"](61, 30, 0)}
    result, readme = run(monkeypatch, tmp_path, times, *arguments)
    assert result.exit_code == status, result.output
    assert readme == README


def test_a_number_without_a_lesson_is_refused(monkeypatch, tmp_path):
    result, _ = run(monkeypatch, tmp_path, {}, "77")
    assert result.exit_code == 2
    assert "no lesson 77" in result.output
