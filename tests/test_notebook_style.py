"""The form of a lesson, as CONTRIBUTING.md gives it: one test for each rule.

A message names the notebook, the cell's id and what to do.
"""

import ast
import itertools
import re

import pytest
from lessons import LESSONS, SOLUTIONS, printed

EVERY = [*LESSONS, *SOLUTIONS]
LABELS = ("You will learn", "You need", "Time", "Hardware")
SECTIONS = ["Setup", "Exercises", "Copy into your project", "Recap", "References"]
# A lesson may do without a section for a reason that stands here.
WITHOUT = {
    "00_check_your_setup": {"Copy into your project": "it checks a machine, no model"}
}
MOST_LINES = 25
CODE_CELLS = range(12, 21)
IMPORTS_IN = ("imports", "copy-cell")
FILLERS = re.compile(r"\b(simply|just|easy|easily|obviously)\b", re.IGNORECASE)
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")

lesson = pytest.mark.parametrize("book", LESSONS, ids=str)
every = pytest.mark.parametrize("book", EVERY, ids=str)


def where(book, cell) -> str:
    return f"{book}, cell {cell.id}"


def is_check(cell) -> bool:
    return "checks." in cell.source and "import" not in cell.source


def plain(source: str) -> str:
    """Return prose without code, formulas and the targets of links."""
    source = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", " ", source, flags=re.S)
    return LINK.sub(lambda found: found[2], source)


@lesson
def test_name_and_title_have_the_same_number(book):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", book.path.name)
    titles = [
        line for cell in book.prose for line in re.findall(r"^# .*", cell.source, re.M)
    ]
    assert len(titles) == 1, f"{book}: expected one title, found {titles}"
    assert titles[0].startswith(f"# {book.number}. "), titles[0]


@lesson
def test_the_four_labels_stand_below_the_title(book):
    found = re.findall(r"^- \*\*([^*]+)\*\*", book.cells[0].source, re.M)
    assert tuple(found) == LABELS, f"{book}: expected {LABELS}"


@lesson
def test_the_sections_are_there_and_in_order(book):
    wanted = [name for name in SECTIONS if name not in WITHOUT.get(book.slug, {})]
    found = [heading for heading in book.headings if heading in SECTIONS]
    assert found == wanted, f"{book}: expected the sections {wanted}"


@every
def test_cells_were_executed_in_order_and_without_stderr(book):
    counts = [cell.execution_count for cell in book.code]
    expected = list(range(1, len(counts) + 1))
    assert counts == expected, f"{book}: run tools/render_notebooks.py"
    for cell in book.code:
        names = [output.get("name") for output in cell.outputs]
        assert "stderr" not in names, f"{where(book, cell)}: run the render tool"
        kinds = [output.output_type for output in cell.outputs]
        allowed = "raises-exception" in cell.metadata.get("tags", [])
        assert "error" not in kinds or allowed, where(book, cell)


@every
def test_cell_ids_are_unique(book):
    ids = [cell.id for cell in book.cells]
    assert len(ids) == len(set(ids)), f"{book}: give each cell an id of its own"


@every
def test_nothing_names_a_machine(book):
    personal = re.compile(r"/(home|Users|root|work|tmp)/|[A-Z]:\\")
    for cell in book.cells:
        text = cell.source + "".join(map(str, cell.get("outputs", [])))
        assert not personal.search(text), f"{where(book, cell)}: an absolute path"


@every
def test_code_cells_are_short(book):
    for cell in book.code:
        lines = cell.source.count("\n") + 1
        assert lines <= MOST_LINES, f"{where(book, cell)}: {lines} lines: split it"


@lesson
def test_a_lesson_has_12_to_20_code_cells(book):
    if book.number == 0:
        pytest.skip("the set-up check is shorter")
    taught = [
        cell
        for cell in book.code
        if not is_check(cell)
        and not set(cell.metadata.get("tags", [])) & {"exercise", "copy"}
    ]
    assert len(taught) in CODE_CELLS, f"{book}: {len(taught)} code cells"


@lesson
def test_prose_stands_before_each_code_cell(book):
    for before, cell in itertools.pairwise(book.cells):
        if cell.cell_type == "code" and not is_check(cell):
            assert before.cell_type == "markdown", f"{where(book, cell)}: say why first"


@every
def test_imports_stand_in_the_setup(book):
    for cell in book.code:
        if cell.id in IMPORTS_IN or "copy" in cell.metadata.get("tags", []):
            continue
        nodes = ast.walk(ast.parse(cell.source))
        found = [
            node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        assert not found, f"{where(book, cell)}: move the import to Setup"


@every
def test_no_magic_and_no_semicolon(book):
    for cell in book.code:
        for line in cell.source.splitlines():
            assert not line.lstrip().startswith(("!", "%")), where(book, cell)
            assert not line.rstrip().endswith(";"), (
                f"{where(book, cell)}: nbval sees it"
            )
        assert "sys.path" not in cell.source, where(book, cell)


@every
def test_images_have_a_text_and_links_lead_somewhere(book):
    for cell in book.prose:
        for image, text, target in LINK.findall(cell.source):
            assert text.strip(), f"{where(book, cell)}: {target} needs a text"
            if image:
                assert " " in text, f"{where(book, cell)}: say what the image shows"
            if not target.startswith(("http", "#")):
                path = (book.path.parent / target.split("#")[0]).resolve()
                assert path.exists(), f"{where(book, cell)}: no file {target}"


@every
def test_each_exception_from_the_comparison_has_a_reason(book):
    special = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
    marked = [c for c in book.code if set(c.metadata.get("tags", [])) & special]
    assert len(marked) <= 2, f"{book}: at most two exceptions"
    for cell in marked:
        assert cell.metadata.get("reason"), f"{where(book, cell)}: add a reason"


@lesson
def test_a_sentence_says_what_each_picture_shows(book):
    for cell, after in itertools.pairwise(book.cells):
        pictures = [
            o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})
        ]
        if pictures:
            told = re.search(r"The (plot|plots|picture|pictures) shows?", after.source)
            assert told, f"{where(book, cell)}: begin with «The plot shows»"
        for picture in pictures:
            size = len(picture["data"]["image/png"]) * 3 / 4
            assert size < 200_000, f"{where(book, cell)}: {size / 1000:.0f} kB picture"


@every
def test_notebooks_stay_small(book):
    size = book.path.stat().st_size
    assert size < 500_000, f"{book}: {size / 1000:.0f} kB: fewer or smaller pictures"


@lesson
def test_each_answer_has_a_check_that_is_not_content_yet(book):
    for cell, check in itertools.pairwise(book.code):
        if "exercise" in cell.metadata.get("tags", []):
            assert is_check(check), f"{where(book, cell)}: no check below"
            assert re.search(r": not (answered )?yet", printed(check)), where(
                book, check
            )


@lesson
def test_each_exercise_has_a_solution_that_is_correct(book):
    wanted = [h for h in book.headings if re.fullmatch(r"Exercise \d+\.\d+", h)]
    assert wanted, f"{book}: no exercise"
    assert len(wanted) == len(book.tagged("exercise")), f"{book}: tag each answer cell"
    matching = [s for s in SOLUTIONS if s.slug == f"{book.slug}_solutions"]
    assert matching, f"{book}: no notebook {book.slug}_solutions.ipynb"
    (solution,) = matching
    assert [h for h in solution.headings if h.startswith("Exercise ")] == wanted
    told = "".join(printed(cell) for cell in solution.code)
    for exercise in wanted:
        assert f"{exercise}: correct." in told, f"{solution}: {exercise}"


@every
def test_prose_is_plain(book):
    for cell in book.prose:
        text = plain(cell.source)
        assert not (found := FILLERS.search(text)), f"{where(book, cell)}: «{found[0]}»"
        assert not EMOJI.search(text), f"{where(book, cell)}: an emoji"
        assert "!" not in text, f"{where(book, cell)}: an exclamation mark"
