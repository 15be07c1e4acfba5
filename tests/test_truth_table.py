"""The truth table: its data are complete, and the tool reads files and ends rightly."""

import dataclasses
import datetime
import os
import re
import signal
import subprocess
import sys

from course_lib.errors import UnusableInput
from course_lib.quantization import truth_table
from course_lib.tflite import reading

import pytest
from lessons import ROOT
from tiny_models import Graph, conv

sys.path.insert(0, str(ROOT / "tools"))

import make_truth_table as tool
import truth_table_child as child

MINORS = [release.minor for release in truth_table.releases()]
FILES = sorted((ROOT / "data").glob("*.tflite"))
WITH_FILE = {"per-tensor", "per-channel", "per-channel, dense per-tensor", "mixed"}
WITH_FILE |= {"float islands"}


# The data


def test_every_release_route_and_flag_is_there_once():
    cells = [(row.minor, row.route, row.flag) for row in truth_table.rows()]
    flags = truth_table.FLAGS_OF
    assert cells == [(m, r, f) for m in MINORS for r in flags for f in flags[r]]
    assert set(tool.MINORS) <= set(MINORS)


def test_every_release_tells_its_packages_and_a_past_day():
    for release in truth_table.releases():
        day = datetime.date.fromisoformat(release.date)
        assert datetime.date(2026, 11, 1) <= day <= datetime.date.today()
        assert set(release.packages) in (set(), set(tool.PACKAGES))
        assert release.version.startswith(release.minor)


def test_outcomes_are_known_and_have_what_belongs_to_them():
    for row in truth_table.rows():
        assert row.outcome in truth_table.OUTCOMES
        assert set(row.operators) == (
            set(truth_table.OPERATORS) if row.outcome in WITH_FILE else set()
        )
        detailed = row.outcome in ("float islands", "error", "signal", "not installed")
        assert bool(row.detail) == detailed


def test_details_have_no_address_and_no_path():
    for row in truth_table.rows():
        assert row.detail == tool.tidy(row.detail or "x").removeprefix("x")
        assert not re.search(r"://|/\w+/|0x[0-9a-f]{6}", row.detail)


def outcomes(minor):
    rows = [row for row in truth_table.rows() if row.minor == minor]
    return {(row.route, row.flag): row.outcome for row in rows}


@pytest.mark.parametrize("minor", MINORS)
def test_the_per_tensor_flag_works_for_ptq_of_a_graph(minor):
    seen = outcomes(minor)
    for route in ("ptq-saved-model", "ptq-concrete"):
        assert seen[route, "per-tensor"] == "per-tensor"
        assert seen[route, "none"].startswith("per-channel")


@pytest.mark.parametrize("minor", [minor for minor in MINORS if minor != "2.15"])
def test_only_the_courses_way_gives_per_tensor_qat(minor):
    seen = outcomes(minor)
    assert seen["qat", "per-tensor"] == seen["qat", "none"]
    assert seen["qat", "none"].startswith("per-channel")
    assert seen["qat-disable-per-axis", "none"] == "float islands"
    assert seen["qat-disable-per-axis", "per-tensor"] == "float islands"
    assert seen["qat-keras-3", "none"] == "error"
    assert seen["qat-folded", "none"] == "per-tensor"


# The text


@pytest.mark.parametrize("operators", [False, True])
def test_text_is_legible_and_the_same_each_time(operators):
    text = truth_table.as_text(operators=operators)
    truth_table.load.cache_clear()
    assert text == truth_table.as_text(operators=operators)
    lines = text.splitlines()
    assert max(map(len, lines)) <= truth_table.WIDTH
    assert not any(line.endswith(" ") for line in lines)
    versions = [release.version for release in truth_table.releases()]
    assert lines[0].split() == ["TensorFlow", *versions]
    # Each column begins where its version does.
    for version in versions:
        start = lines[0].index(version)
        cells = [line for line in lines[3 : lines.index("")] if line.startswith("  ")]
        assert all(line[start - 1] == " " != line[start] for line in cells)


def test_text_shows_what_the_rows_say():
    text = truth_table.as_text(["qat-disable-per-axis"])
    header, _, _, title, *cells = text.splitlines()
    assert title == truth_table.ROUTES["qat-disable-per-axis"]
    of_route = [r for r in truth_table.rows() if r.route == "qat-disable-per-axis"]
    for flag, line in zip(("none", "per-tensor"), cells, strict=False):
        words = line.split(" flag")[1]
        for row in of_route:
            if row.flag == flag:
                short = truth_table.OUTCOMES[row.outcome][0]
                start = header.index(f"{row.minor}.") - len(line) + len(words)
                assert words[start:].startswith(short)
                assert f": {row.detail}" in " ".join(text.split())
    assert "absent" not in text  # the legend has what the table shows, no more


# Reading what came out


def small(convolution, dense, *, code):
    """A convolution and a dense layer whose weights have these scales."""
    graph = Graph()
    image = graph.input((1, 8, 8, 8), "int8")
    features = graph.convolve(
        image, 8, kernel=1, code=code, weight_scale=convolution, version=5
    )
    graph.dense(features, 4, weight_scale=dense, version=4)
    return graph.file()


ONE, EIGHT, FOUR = 1 / 64, [1 / 64] * 8, [1 / 64] * 4


@pytest.mark.parametrize(
    ("convolution", "dense", "outcome"),
    [
        (ONE, ONE, "per-tensor"),
        (EIGHT, FOUR, "per-channel"),
        (EIGHT, ONE, "per-channel, dense per-tensor"),
        (ONE, FOUR, "mixed"),
    ],
)
@pytest.mark.parametrize("code", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_classify_small_files(convolution, dense, outcome, code):
    found = tool.classify(small(convolution, dense, code=code))
    assert found == (outcome, "", {code: 5, "FULLY_CONNECTED": 4})


def test_classify_float():
    found = tool.classify(conv(dtype="float32"))
    assert found == ("float islands", "1 CONV_2D", {"CONV_2D": 3})


@pytest.mark.parametrize(
    ("case", "outcome", "detail"),
    [
        ("not-full-integer.fail", "float islands", "1 FULLY_CONNECTED"),
        ("dense-per-channel.fail", "per-channel", ""),
        ("per-channel-weights.artpec8.fail", "per-channel", ""),
        ("per-channel-weights.artpec8.pass", "per-tensor", ""),
    ],
)
def test_classify_the_linters_cases(case, outcome, detail):
    path = ROOT / "tests/lint_cases" / f"{case}.tflite"
    assert tool.classify(path.read_bytes())[:2] == (outcome, detail)


def test_classify_refuses_a_file_without_weights():
    content = (ROOT / "tests/lint_cases/attention.fail.tflite").read_bytes()
    with pytest.raises(UnusableInput, match="no quantized weights"):
        tool.classify(content)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_classify_the_courses_models(path):
    granularity = reading.read(path).granularity
    outcome, detail, operators = tool.classify(path.read_bytes())
    assert outcome.startswith(granularity or "float")
    assert bool(detail) == (granularity is None)
    newest = max(o.version for o in reading.read(path).operators if o.name == "CONV_2D")
    assert operators["CONV_2D"] == newest


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n  ValueError: no \nmore", "ValueError: no"),
        ("E: <A object at 0x7f00aa>", "E: <A object>"),
        ("E: '/tmp/x1/saved_model' is bad", "E: 'saved_model' is bad"),
        ("E: see https://a.example/b?c now", "E: see (address) now"),
        ("E: 1/2 and a/b", "E: 1/2 and a/b"),
        ("x" * 500, "x" * (tool.LINE - 1) + "…"),
        ("", "no message"),
    ],
)
def test_tidy(text, line):
    assert tool.tidy(text) == line


# A process for each row


@pytest.mark.parametrize(
    ("code", "log", "left", "outcome"),
    [
        (-6, "", {}, ("signal", "SIGABRT", {})),
        (
            -11,
            "W: Check failed\nLLVM ERROR: out of /tmp/a/luck\nlast",
            {},
            ("signal", "SIGSEGV: LLVM ERROR: out of luck", {}),
        ),
        (1, "", {"error.txt": b"E: one\ntwo"}, ("error", "E: one", {})),
        (3, "first\nlast\n", {}, ("error", "last", {})),
        (0, "", {"no_flag": b""}, ("no such flag", "", {})),
        (
            0,
            "",
            {"model.tflite": conv(scales=[0.5])},
            ("per-tensor", "", {"CONV_2D": 3}),
        ),
    ],
)
def test_however_the_process_ends_it_is_a_row(code, log, left, outcome, tmp_path):
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    assert tool.outcome(tmp_path, code, log) == outcome


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGALRM])
def test_what_the_computer_did_is_no_row(number, tmp_path):
    with pytest.raises(SystemExit, match=f"ended by {number.name}.*: run again"):
        tool.outcome(tmp_path, -number, "")


STAND_IN = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "tools")!r})
import truth_table_child as child

def convert(route, flag, folder):
    print(route, flag, os.environ.get("TF_USE_LEGACY_KERAS"))
    if flag == "per-tensor":
        os.abort()
    raise ValueError(f"{{route}} at {{folder}}")

child.convert = convert
child.main(*sys.argv[3:])
"""


def environment(folder, source=STAND_IN):
    """Put a program where an environment has its Python."""
    python = folder / "environment/bin/python"
    python.parent.mkdir(parents=True)
    # -S: it starts at once, and finds no TensorFlow.
    python.write_text(f"#!/usr/bin/env -S {sys.executable} -S\n{source}")
    python.chmod(0o755)


def test_a_conversion_that_dies_leaves_the_others_alone(tmp_path):
    environment(tmp_path)
    cells = [("2.15", "qat", "none"), ("2.15", "qat", "per-tensor")]
    cells.append(("2.15", "qat-folded", "none"))
    (tmp_path / "qat.none").mkdir()
    (tmp_path / "qat.none/no_flag").touch()  # as an earlier run left it
    rows = list(tool.run(cells, folder=tmp_path))
    assert [(row.minor, row.route, row.flag) for row in rows] == cells
    assert [(row.outcome, row.detail) for row in rows] == [
        ("error", "ValueError: qat at qat.none"),
        ("signal", "SIGABRT"),
        ("error", "ValueError: qat-folded at qat-folded.none"),
    ]
    assert (tmp_path / "qat.none/status").read_text() == "1"
    assert (tmp_path / "qat.none/log.txt").read_text().split() == ["qat", "none", "1"]


def test_an_import_that_dies_is_the_outcome_of_every_row(tmp_path):
    environment(tmp_path, "import os; os.abort()")
    cells = [("2.15", "qat-keras-3", "none"), ("2.15", "ptq-keras", "none")]
    rows = list(tool.run(cells, folder=tmp_path))
    assert [row.outcome for row in rows] == ["signal", "signal"]


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (
            "error: No solution found when resolving dependencies\n  cause: Because "
            "tensorflow>=2.11.0,<=2.11.1 has no wheels\n    with a matching ABI",
            tool.NotInstalled,
            "Because tensorflow>=2.11.0,<=2.11.1 has no wheels with a matching ABI",
        ),
        (
            "error: Request failed after 3 retries\n  cause: https://a.example/simple",
            SystemExit,
            "2.15: cannot be installed now: error: Request failed after 3 retries "
            "cause: (address)",
        ),
    ],
)
def test_only_a_missing_build_is_a_row(said, kind, message, tmp_path, monkeypatch):
    (tmp_path / "said").write_text(said)
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2\nexit 1\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)
    with pytest.raises(kind) as caught:
        tool.install("2.15", tmp_path)
    assert str(caught.value) == message


@pytest.fixture
def converted(monkeypatch):
    """Convert nothing; the list that is returned says what would have been."""
    done = []

    def run(cells, *, folder):
        for cell in cells:
            done.append(cell[1:])
            yield truth_table.Row(*cell, "per-tensor", "", {})

    monkeypatch.setattr(tool, "run", run)
    return done


def installs(monkeypatch, **packages):
    versions = {**dict.fromkeys(tool.PACKAGES, "1.0"), **packages}
    monkeypatch.setattr(tool, "install", lambda *_: versions)


def measure(tmp_path, minor="2.15"):
    output = tmp_path / "table.toml"
    tool.measure(minor, folder=tmp_path, output=output)
    return truth_table.load(output)


CELLS = [(route, flag) for route, fs in truth_table.FLAGS_OF.items() for flag in fs]


def test_a_run_goes_on_where_it_stopped(converted, tmp_path, monkeypatch):
    installs(monkeypatch, tensorflow="2.15.1")
    (release,), rows = measure(tmp_path)
    assert release.version == "2.15.1"
    assert [(row.route, row.flag) for row in rows] == CELLS
    assert sorted(converted) == sorted(CELLS)
    text = tool.as_toml([release], [row for row in rows if row.route != "qat"])
    (tmp_path / "table.toml").write_text(text)
    truth_table.load.cache_clear()
    assert measure(tmp_path) == ((release,), rows)
    assert converted[len(CELLS) :] == [("qat", "none"), ("qat", "per-tensor")]


def test_a_complete_release_is_not_installed_again(converted, tmp_path, monkeypatch):
    installs(monkeypatch)
    before = measure(tmp_path)
    monkeypatch.setattr(tool, "install", None)
    assert measure(tmp_path) == before


def test_other_packages_are_measured_anew(converted, tmp_path, monkeypatch):
    installs(monkeypatch)
    (release,), rows = measure(tmp_path)
    (tmp_path / "table.toml").write_text(tool.as_toml([release], rows[1:]))
    truth_table.load.cache_clear()
    installs(monkeypatch, keras="9.9")
    (release,), rows = measure(tmp_path)
    assert release.packages["keras"] == "9.9"
    assert sorted(converted) == sorted(CELLS * 2)


def test_a_release_without_installation_has_its_rows(converted, tmp_path, monkeypatch):
    def install(minor, folder):
        raise tool.NotInstalled("no wheel for 3.11")

    installs(monkeypatch, tensorflow="2.21.0")
    measure(tmp_path, "2.21")
    monkeypatch.setattr(tool, "install", install)
    releases, rows = measure(tmp_path, "2.9")
    assert [release.minor for release in releases] == ["2.9", "2.21"]  # by age
    missing = [row for row in rows if row.minor == "2.9"]
    assert {(r.outcome, r.detail) for r in missing} == {
        ("not installed", "no wheel for 3.11")
    }
    assert [(row.route, row.flag) for row in missing] == CELLS
    assert "a: no wheel for 3.11" in truth_table.as_text(path=tmp_path / "table.toml")


def test_the_file_is_read_back_as_it_was_written(tmp_path):
    releases, rows = truth_table.load()
    awkward = dataclasses.replace(rows[0], detail='E: "a\\b" – \t…')
    path = tmp_path / "table.toml"
    path.write_text(tool.as_toml(releases[::-1], [awkward, *rows[:0:-1]]), "utf-8")
    assert truth_table.load(path) == (releases, (awkward, *rows[1:]))


def test_the_committed_file_is_what_the_tool_writes():
    written = tool.as_toml(truth_table.releases(), truth_table.rows())
    assert truth_table.PATH.read_text("utf-8") == written


def test_help_says_that_it_is_run_by_hand():
    done = subprocess.run(
        [sys.executable, tool.__file__, "--help"], capture_output=True, text=True
    )
    assert "Run by hand" in done.stdout
    wrong = subprocess.run(
        [sys.executable, tool.__file__, "--versions", "2.19.1"],
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 2
    assert "expected a minor release" in wrong.stderr


def test_the_process_knows_the_tables_flags():
    assert {"none": "no flag", **child.FLAGS} == truth_table.FLAGS
