"""Learning paths and instructor notes: minutes add up, needs come first, links lead."""

import re

import pytest
from lessons import LESSONS, NOTEBOOKS, ROOT

PATHS = (NOTEBOOKS / "learning_paths.md").read_text("utf-8")
NOTES = (NOTEBOOKS / "instructor_notes.md").read_text("utf-8")
PAGES = {"learning_paths.md": PATHS, "instructor_notes.md": NOTES}
BOOKS = {book.number: book for book in LESSONS}
STEP = re.compile(r"\[(\d\d)\] (\d+)")
LINK = re.compile(r"\]\((?!http)([^)\s]+)\)|^\[\d\d\]: (\S+)$", re.M)
CHIPS = {"ARTPEC-7", "ARTPEC-8", "ARTPEC-9", "CV25", "CV75", "only the CPU"}


def rows(page: str, *, heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its two first lines."""
    section = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert len(table) > 2, f"no table below «{heading}»"
    return [[c.strip() for c in line.strip("|").split("|")] for line in table[2:]]


def label(book, name: str) -> str:
    """Return what stands beside one of the four labels at the top of a lesson."""
    return re.search(rf"^- \*\*{name}\*\* (.+)$", book.cells[0].source, re.M)[1]


def minutes(number: int) -> int:
    assert number in BOOKS, f"lesson {number:02} does not exist"
    return int(re.match(r"(\d+) minutes", label(BOOKS[number], "Time"))[1])


def needs(number: int) -> set[int]:
    """Return the lessons that one needs; those that only help are left out."""
    clauses = re.split(r"[;.] ", label(BOOKS[number], "You need"))
    wanted = [clause for clause in clauses if not re.search(r"\bhelps?\b", clause)]
    return {int(n) for n in re.findall(r"\((\d\d)_\w+\.ipynb", " ".join(wanted))}


def test_needs_are_read_as_the_lessons_mean_them():
    assert needs(0) == set()
    assert needs(1) == {0}
    assert needs(11) == {4}, "06 to 09 only help"
    assert needs(12) == {3, 4}, "07 only helps"
    assert needs(13) == {1, 4, 9, 12}


PATH_ROWS = [
    pytest.param(row, id=row[0])
    for heading in ("## By chip", "## By task")
    for row in rows(PATHS, heading=heading)
]


def test_each_chip_has_a_path():
    assert {row[0] for row in rows(PATHS, heading="## By chip")} == CHIPS


@pytest.mark.parametrize("row", PATH_ROWS)
def test_minutes_of_a_path_are_the_sum_of_those_of_its_lessons(row):
    steps = [int(number) for number, _ in STEP.findall(row[1])]
    assert steps, row
    assert int(row[2]) == sum(map(minutes, steps))


@pytest.mark.parametrize("row", PATH_ROWS)
def test_each_lesson_of_a_path_comes_after_those_that_it_needs(row):
    seen = set()
    for number, _ in STEP.findall(row[1]):
        missing = needs(int(number)) - seen
        assert not missing, f"{row[0]}: {number} needs {sorted(missing)} before it"
        seen.add(int(number))


@pytest.mark.parametrize("page", PAGES)
def test_minutes_beside_a_lesson_are_those_that_it_states(page):
    for number, told in STEP.findall(PAGES[page]):
        assert int(told) == minutes(int(number)), f"{page}: lesson {number}"


def test_every_lesson_is_on_a_path_or_may_be_added():
    assert {int(number) for number, _ in STEP.findall(PATHS)} == set(BOOKS)


def test_the_readme_gives_the_minutes_that_the_lessons_state():
    for line in (ROOT / "README.md").read_text("utf-8").splitlines():
        if found := re.match(r"\| (\d\d) \| \[[^]]+\]\(notebooks/", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert int(cells[3]) == minutes(int(found[1])), line


def anchors(file) -> set[str]:
    """Return what Jupyter makes of a lesson's headings, and GitHub of a page's."""
    if file.suffix == ".ipynb":
        (book,) = (book for book in LESSONS if book.path == file)
        return {heading.replace(" ", "-") for heading in book.headings}
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for one, other in LINK.findall(PAGES[page]):
        target, _, anchor = (one or other).partition("#")
        file = (NOTEBOOKS / target).resolve()
        assert file.exists(), f"{page}: no file {target}"
        if anchor:
            assert anchor in anchors(file), f"{page}: {target} has no {anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_numbers_in_brackets_name_their_lesson(page):
    defined = dict(re.findall(r"^\[(\d\d)\]: (\S+)$", PAGES[page], re.M))
    assert all(target.startswith(number) for number, target in defined.items())
    used = set(re.findall(r"\[(\d\d)\](?![:(])", PAGES[page]))
    assert used <= set(defined), f"{page}: no target for {sorted(used - set(defined))}"


@pytest.mark.parametrize(
    ("heading", "hours"), [("## Half a day", 3.5), ("## A full day", 7)]
)
def test_the_clock_of_a_plan_is_the_sum_of_its_minutes(heading, hours):
    passed = 0
    for clock, planned, *_ in rows(NOTES, heading=heading):
        assert clock == f"{passed // 60}:{passed % 60:02}", f"{heading}, {clock}"
        passed += int(planned)
    assert passed == hours * 60


def test_exercises_in_a_plan_stand_behind_their_lesson():
    found = re.findall(r"\[(\d+)\.(\d)\]\((\d\d)_\w+\.ipynb#Exercise-([\d.]+)\)", NOTES)
    assert found
    for lesson, number, file, anchor in found:
        assert (int(lesson), f"{lesson}.{number}") == (int(file), anchor)
