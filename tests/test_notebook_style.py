"""The form of a lesson, as CONTRIBUTING.md gives it: one test for each rule.

A message names the notebook, the cell's id and what to do.
"""

import ast
import itertools
import json
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
MACHINE = re.compile(
    r"(?<![\w.])/(home|Users|root|work|tmp|opt|usr|var|private|mnt|content)/"
    r"|\b[A-Z]:\\\w"
)
NBVAL = re.compile(r"nbval[-_]|raises-exception|PYTEST_VALIDATE", re.IGNORECASE)
HTML = re.compile(r"</?[a-z][^<>]*>|<!--", re.IGNORECASE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")

lesson = pytest.mark.parametrize("book", LESSONS, ids=str)
every = pytest.mark.parametrize("book", EVERY, ids=str)


def where(book, cell) -> str:
    return f"{book}, cell {cell.id}"


def is_check(cell) -> bool:
    return "checks." in cell.source and "import" not in cell.source


def shown(cell) -> list[str]:
    """Return all text in a cell's outputs, tracebacks included."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.get("text", ""), output.get("evalue", "")]
        texts += output.get("traceback", [])
        texts += [
            str(content)
            for kind, content in output.get("data", {}).items()
            if not kind.startswith("image/")
        ]
    return texts


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


@lesson
def test_the_cell_to_copy_has_its_tag(book):
    wanted = "Copy into your project" not in WITHOUT.get(book.slug, {})
    found = len(book.tagged("copy"))
    assert found == wanted, f"{book}: {found} cells tagged copy, expected {wanted:d}"


@lesson
def test_three_to_five_sections_ask_for_a_prediction(book):
    if book.number == 0:
        pytest.skip("the set-up check teaches nothing to predict")
    text = "\n".join(cell.source for cell in book.prose)
    taught = text.partition("\n## Setup")[2].partition("\n## Exercises")[0]
    _, *sections = re.split(r"^## ", taught, flags=re.M)
    assert 3 <= len(sections) <= 5, f"{book}: {len(sections)} sections"
    for section in sections:
        title = section.partition("\n")[0]
        assert "**Predict.**" in section, f"{book}, {title}: ask before running"


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
def test_outputs_were_written_by_the_render_tool(book):
    notebook = json.loads(book.path.read_text("utf-8"))
    keys = {key: set(value) for key, value in notebook["metadata"].items()}
    wanted = {"kernelspec": {"display_name", "language", "name"}}
    assert keys == wanted | {"language_info": {"name"}}, f"{book}: run the render tool"
    for cell in notebook["cells"]:
        extra = set(cell["metadata"]) - {"tags", "reason"}
        assert not extra, f"{book}, cell {cell['id']}: {extra}: run the render tool"


@every
def test_cell_ids_are_unique(book):
    # Not through nbformat: it gives a second id of the same name a new one.
    cells = json.loads(book.path.read_text("utf-8"))["cells"]
    ids = [cell.get("id") for cell in cells]
    assert len(ids) == len({*ids} - {None}), f"{book}: give each cell an id of its own"


@every
def test_nothing_names_a_machine(book):
    for cell in book.cells:
        found = MACHINE.search("\n".join([cell.source, *shown(cell)]))
        assert not found, f"{where(book, cell)}: an absolute path, {found[0]}"


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
        if cell.cell_type != "code":
            continue
        answered = "exercise" in before.metadata.get("tags", [])
        assert before.cell_type == "markdown" or (answered and is_check(cell)), (
            f"{where(book, cell)}: say why first"
        )


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
    marked = [c for c in book.code if any(map(NBVAL.match, c.metadata.get("tags", [])))]
    assert len(marked) <= 2, f"{book}: at most two exceptions"
    for cell in marked:
        assert cell.metadata.get("reason"), f"{where(book, cell)}: add a reason"
    for cell in book.code:
        comments = [line for line in cell.source.splitlines() if line.startswith("#")]
        assert not any(map(NBVAL.search, comments)), (
            f"{where(book, cell)}: mark it with a tag and a reason, not with a comment"
        )


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
    assert size < 400_000, f"{book}: {size / 1000:.0f} kB: fewer or smaller pictures"


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
    expected = [f"Exercise {book.number}.{n + 1}" for n in range(len(wanted))]
    assert wanted, f"{book}: no exercise"
    assert wanted == expected, f"{book}: number the exercises {expected}"
    assert len(wanted) == len(book.tagged("exercise")), f"{book}: tag each answer cell"
    matching = [s for s in SOLUTIONS if s.slug == f"{book.slug}_solutions"]
    assert matching, f"{book}: no notebook {book.slug}_solutions.ipynb"
    (solution,) = matching
    assert [h for h in solution.headings if h.startswith("Exercise ")] == wanted
    told = "".join(printed(cell) for cell in solution.code)
    for exercise in wanted:
        assert f"{exercise}: correct." in told, f"{solution}: {exercise}"


@lesson
def test_the_solutions_and_both_neighbours_are_linked(book):
    (exercises,) = (c for c in book.prose if c.source.startswith("## Exercises"))
    assert f"(solutions/{book.slug}_solutions.ipynb)" in exercises.source, book
    last = book.cells[-1].source.splitlines()[-1]
    for step in (-1, 1):
        near = [one for one in LESSONS if one.number == book.number + step]
        assert all(f"({one})" in last for one in near), f"{book}: {last}"


@every
def test_prose_is_plain(book):
    for cell in book.prose:
        text = plain(cell.source)
        assert not (found := FILLERS.search(text)), f"{where(book, cell)}: «{found[0]}»"
        assert not EMOJI.search(text), f"{where(book, cell)}: an emoji"
        assert not (found := HTML.search(text)), f"{where(book, cell)}: {found[0]}"
        assert "!" not in text, f"{where(book, cell)}: an exclamation mark"
