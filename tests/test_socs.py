"""Each fact about a chip has a source, a date and a confidence, and can be found."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

from course_lib.cli import dlpu
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput

import pytest
from click.testing import CliRunner
from lessons import LESSONS as LESSON_BOOKS
from lessons import ROOT

TABLE = tomllib.loads((ROOT / "course_lib/dlpu/socs.toml").read_text("utf-8"))
RULES = tomllib.loads((ROOT / "course_lib/dlpu/rules/rules.toml").read_text("utf-8"))
LESSONS = {
    lesson["slug"]
    for lesson in tomllib.loads((ROOT / "notebooks/coverage.toml").read_text("utf-8"))[
        "lesson"
    ]
}


def entries():
    """Yield all that socs.toml and the linter's rules state, with a name for it."""
    for key, soc in TABLE["soc"].items():
        for field, claims in soc.items():
            if field == "limits":
                for limit, stated in claims.items():
                    for number, claim in enumerate(stated):
                        yield pytest.param(claim, id=f"{key}.{limit}.{number}")
            elif field != "name":
                for number, claim in enumerate(claims):
                    yield pytest.param(claim, id=f"{key}.{field}.{number}")
    for kind, rows in TABLE.items():
        if kind not in ("soc", "source"):
            for number, row in enumerate(rows):
                for claim in row.get("claims", [row]):
                    yield pytest.param(claim, id=f"{kind}.{number}")
    for rule in RULES["rule"]:
        for number, claim in enumerate(rule["claims"]):
            if "source" in claim:  # the others name a fact of this table
                yield pytest.param(claim, id=f"{rule['id']}.{number}")


ENTRIES = list(entries())


def test_there_are_entries_of_every_kind():
    kinds = {parameter.id.split(".")[0] for parameter in ENTRIES}
    assert {*socs.SOCS, "product", "benchmark", "contradiction"} <= kinds
    assert {"recommendation", "architecture"} <= kinds
    assert len(ENTRIES) > 150


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_has_source_date_and_confidence(entry):
    source = TABLE["source"][entry["source"]]
    assert entry["confidence"] in socs.CONFIDENCES
    assert re.fullmatch(r"20\d\d(-\d\d){0,2}", source["date"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", source["read"])
    assert source["date"] <= source["read"]
    assert source["url"].startswith("https://")
    assert source["title"]


def test_each_source_is_used():
    used = {parameter.values[0]["source"] for parameter in ENTRIES}
    assert set(TABLE["source"]) == used


def test_a_thread_of_users_is_not_passed_off_as_axis():
    for parameter in ENTRIES:
        (entry,) = parameter.values
        url = TABLE["source"][entry["source"]]["url"]
        if entry["confidence"] == "stated by Axis":
            assert "axis" in url.lower()
        if entry["confidence"] == "reported by users":
            assert re.search(r"/(issues|pull|blob)/", url)


def test_products_and_rows_name_known_chips_and_lessons():
    for row in (*socs.PRODUCTS, *socs.BENCHMARKS):
        assert row.soc in socs.SOCS
    names = {product.name for product in socs.PRODUCTS}
    assert {row.product for row in socs.BENCHMARKS} <= names
    for entry in socs.CONTRADICTIONS:
        assert set(entry.socs) <= set(socs.SOCS)
        assert entry.lesson in LESSONS
        assert len({str(claim.value) for claim in entry.claims}) > 1


def test_benchmarks_are_complete_and_not_doubled():
    keys = [(row.product, row.model, row.training, row.os) for row in socs.BENCHMARKS]
    assert len(set(keys)) == len(keys)
    for row in socs.BENCHMARKS:
        assert row.milliseconds > 0
        assert (row.accuracy is None) == (row.metric == "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("artpec8", "artpec8"),
        ("ARTPEC-8", "artpec8"),
        ("Axis Artpec-7", "artpec7"),
        ("artpec-9", "artpec9"),
        ("Ambarella CV25", "cv25"),
        ("ambarella-cv25", "cv25"),
        ("CPU", "cpu"),
    ],
)
def test_a_chip_is_found_by_what_people_and_cameras_call_it(name, expected):
    assert socs.find(name).id == expected


@pytest.mark.parametrize("name", ["artpec", "", "8", "artpec88", "axis"])
def test_an_unknown_chip_gets_one_line_that_lists_the_known(name):
    with pytest.raises(UnusableInput) as raised:
        socs.find(name)
    (line,) = str(raised.value).splitlines()
    assert all(known in line for known in socs.SOCS)


def test_what_axis_says_first_is_what_the_course_goes_by():
    assert socs.SOCS["artpec8"].granularity.value == "per-tensor"
    assert socs.SOCS["artpec9"].granularity.others[0].confidence == "stated by Axis"
    assert socs.SOCS["cv25"].layout.value == "RGB planar"


def test_a_file_name_cannot_add_words_to_the_command():
    line = socs.larod_client(socs.SOCS["artpec8"], "a b; reboot.tflite")
    assert shlex.split(line)[2] == "a b; reboot.tflite"
    assert shlex.split(line)[-2:] == ["-i", ""]


def run(*arguments):
    return CliRunner().invoke(dlpu, ["socs", *arguments])


def test_the_command_lists_every_chip_with_its_device():
    done = run()
    assert done.exit_code == 0
    for soc in socs.SOCS.values():
        assert re.search(rf"^{soc.id} .* {soc.device}$", done.output, re.MULTILINE)


@pytest.mark.parametrize("soc", socs.SOCS)
def test_the_command_tells_every_fact_of_a_chip_and_who_says_so(soc):
    done = run(soc)
    assert done.exit_code == 0
    for fact in socs.SOCS[soc].facts.values():
        assert fact.source.url in done.output
        assert all(other.source.url in done.output for other in fact.others)
    facts = socs.SOCS[soc].facts.values()
    assert done.output.count("or: ") == sum(len(fact.others) for fact in facts)


def test_the_json_has_the_same_facts():
    done = run("--json")
    told = json.loads(done.output)
    assert list(told) == list(socs.SOCS)
    fact = told["artpec8"]["facts"]["filters_multiple"]
    assert fact["value"] == socs.SOCS["artpec8"].filters_multiple.value
    assert {"source", "url", "date", "read", "confidence", "others"} <= set(fact)
    assert len(told["artpec9"]["benchmarks"]) == sum(
        row.soc == "artpec9" for row in socs.BENCHMARKS
    )


def test_an_unknown_chip_ends_the_command_with_2():
    done = run("hi3519")
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert "artpec8" in line


def test_the_wheel_will_have_the_facts():
    assert Path(socs.__file__).with_name("socs.toml").is_file()


# What lessons say of chips

TIMES = {row.milliseconds for row in socs.BENCHMARKS}


@pytest.mark.parametrize("book", LESSON_BOOKS, ids=str)
def test_a_time_in_a_lessons_prose_stands_in_socs(book):
    for cell in book.prose:
        # With decimals it is a measurement; a budget such as 40 ms has none.
        for told in re.findall(r"(\d+\.\d+) (?:ms|milliseconds)\b", cell.source):
            assert float(told) in TIMES, f"{cell.id}: {told} ms: no such row"


@pytest.mark.parametrize("book", LESSON_BOOKS, ids=str)
def test_no_lesson_types_a_fact_of_a_chip_into_its_code(book):
    devices = {name for soc in socs.SOCS.values() for name in soc.devices.value}
    numbers = TIMES | {row.accuracy for row in socs.BENCHMARKS}
    for cell in book.code:
        if {"exercise", "copy"} & set(cell.metadata.get("tags", [])):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Constant):
                typed = node.value in devices
                typed |= isinstance(node.value, float) and node.value in numbers
                assert not typed, f"{cell.id}: take {node.value!r} from socs"
