"""Every section of Axis's pages has a lesson that teaches it, or a planned one."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from lessons import LESSONS, NOTEBOOKS, ROOT

TABLE = tomllib.loads((NOTEBOOKS / "coverage.toml").read_text("utf-8"))
SLUGS = [lesson["slug"] for lesson in TABLE["lesson"]]
SECTIONS = [
    pytest.param(page["title"], section, id=f"{page['title']}: {section['heading']}")
    for page in TABLE["page"]
    for section in page["sections"]
]
EXISTING = {book.slug: book for book in LESSONS}
# Headings of the pages' frame, not of what they teach.
CHROME = {"Table of contents"}


def test_lessons_are_numbered_without_a_gap():
    assert [int(slug[:2]) for slug in SLUGS] == list(range(len(SLUGS)))


@pytest.mark.parametrize("book", LESSONS, ids=str)
def test_each_lesson_is_in_the_table_and_in_the_readme(book):
    assert book.slug in SLUGS, f"add {book.slug} to notebooks/coverage.toml"
    readme = (ROOT / "README.md").read_text("utf-8")
    (question,) = (e["question"] for e in TABLE["lesson"] if e["slug"] == book.slug)
    assert f"notebooks/{book.path.name}" in readme
    assert question in readme, f"{book}: the README asks another question"


@pytest.mark.parametrize(("page", "section"), SECTIONS)
def test_each_section_is_taught_or_planned(page, section):
    if "planned" in section:
        planned = section["planned"]
        assert planned in SLUGS, f"{page}: no lesson {planned} is listed"
        assert "lesson" not in section, f"{page}: taught or planned, not both"
        assert planned not in EXISTING, f"{page}: {planned} exists: say where it is"
        return
    book = EXISTING.get(section["lesson"])
    assert book, f"{page}: lesson {section['lesson']} does not exist"
    assert section["taught_in"] in book.headings, f"{book}: no such heading"


@pytest.mark.skipif("COURSE_SEEDS" not in os.environ, reason="COURSE_SEEDS is not set")
def test_the_table_has_the_sections_of_the_pages_and_no_others():
    known = {
        page["sections"][0]["heading"]: [s["heading"] for s in page["sections"]]
        for page in TABLE["page"]
    }
    files = sorted(Path(os.environ["COURSE_SEEDS"]).glob("*.txt"))
    assert files, "COURSE_SEEDS names a folder without pages"
    for file in files:
        text = file.read_text("utf-8")
        found = re.findall(r"^#{1,4} (.+?)(?:\s*\[\].*)?$", text, re.MULTILINE)
        headings = [heading for heading in found if heading not in CHROME]
        assert known.pop(headings[0], None) == headings, file.name
    assert not known, f"no page has the title {sorted(known)}"
