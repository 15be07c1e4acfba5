"""The glossary has the words that the lessons define; the FAQ's links lead there."""

import os
import re
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from lessons import LESSONS, NOTEBOOKS, Notebook, printed

GLOSSARY, FAQ = NOTEBOOKS / "glossary.md", NOTEBOOKS / "faq.md"
ENTRY = re.compile(r"- \*\*(?P<term>.+?)\*\*(?: \((?P<note>.+?)\))?: (?P<text>.+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")

LABELS = {"you will learn", "you need", "time", "hardware", "predict.", "note."}
# Bold where a lesson stresses something and defines nothing.
STRESSED = {
    (9, "not run here"),
}
# Bold in a lesson -> the form that a reader looks up.
LOOKED_UP = {
    "learning rate decays": "learning rate decay",
    "parts": "part",
    "saturates": "saturate",
}
# Words of Axis's glossary; those that no lesson defines say so in their entry.
AXIS = {
    *("deep learning processing unit", "model", "model zoo", "inference"),
    *("quantization", "backbone", "head", "larod"),
}

# The questions of Axis's page -> ours.
ANSWERS = {
    "How do I get started with machine learning (ML) on Axis devices?": (
        "How do I get started with machine learning on an Axis camera?"
    ),
    "What models are recommended for my SoC?": "Which model should I take for my SoC?",
    "What exact layers are supported?": "Which layers does my chip support?",
    "Is PyTorch or other formats supported?": (
        "Can I bring a model from PyTorch or another framework?"
    ),
    "What is the training process for the respective accelerators?": (
        "How do I train for each accelerator?"
    ),
    "What is a Deep Learning Processing Unit (DLPU) and how does it relate to the "
    "Central Processing Unit (CPU)?": (
        "What is a DLPU, and what does it do that the CPU does not?"
    ),
    "Can a Deep Learning Processing Unit (DLPU) run multiple models?": (
        "Can a DLPU run several models?"
    ),
    "My model is developed for ARTPEC-7 (TPU). How do I run it on ARTPEC-8?": (
        "My model runs on ARTPEC-7. How do I run it on ARTPEC-8?"
    ),
    "How do I test and debug my model on my device?": (
        "How do I test and debug my model on the camera?"
    ),
    "Why do I loose accuracy after quantization?": (
        "Why do I lose accuracy after quantization?"
    ),
}


def bold(book: Notebook) -> set[str]:
    """Return what a lesson prints in bold, in lower case, without the labels."""
    text = "\n".join(cell.source for cell in book.prose)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    # Code may hold two asterisks of its own, as in `convert(**options)`.
    text = re.sub(r"`[^`\n]*`", lambda m: "" if "**" in m[0] else m[0], text)
    return {words.lower() for words in re.findall(r"\*\*(.+?)\*\*", text)} - LABELS


def defined(book: Notebook) -> set[str]:
    """Return the terms that a lesson defines, as one looks them up."""
    terms = {words for words in bold(book) if (book.number, words) not in STRESSED}
    return {LOOKED_UP.get(term, term) for term in terms}


def look(term: str) -> str:
    """Return a term as it is sorted and compared: no case, no backticks."""
    return term.strip("`").lower()


def entries() -> dict[str, re.Match]:
    lines = GLOSSARY.read_text("utf-8").splitlines()
    found = [ENTRY.fullmatch(line) for line in lines if line.startswith("- ")]
    assert all(found), "glossary.md: write each entry as `- **term**: sentence. link`"
    return {entry["term"].lower(): entry for entry in found}


def see(entry: re.Match) -> str | None:
    """Return the term that an entry refers to, where it is a reference alone."""
    found = re.fullmatch(r"see \*(.+)\*\.", entry["text"])
    return found and found[1].lower()


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the fragments of a page's headings.

    Notebooks keep the case and put a hyphen for each space, as JupyterLab and
    nbconvert do. GitHub's rule for Markdown makes lower case and drops marks.
    """
    if path.suffix == ".ipynb":
        return frozenset(h.replace(" ", "-") for h in Notebook(path).headings)
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return frozenset(
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    )


def answers() -> dict[str, str]:
    """Return each question of the FAQ with the text below it."""
    parts = re.split(r"^### (.+)\n", FAQ.read_text("utf-8"), flags=re.MULTILINE)[1:]
    texts = [re.split(r"^## ", text, flags=re.MULTILINE)[0] for text in parts[1::2]]
    return dict(zip(parts[::2], texts, strict=True))


def plain(text: str) -> str:
    """Return the words of an answer, without addresses, code and the users' thread."""
    text = re.sub(r"^\*Met in .*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)|`[^`]*`", "]", text)


def numbers(text: str) -> set[str]:
    """Return the numbers of a text, 1,228 and 1228 as the same."""
    found = re.findall(r"\d(?:[\d.,]*\d)?", text)
    return {number.replace(",", "") for number in found}


def everything(book: Notebook) -> str:
    """Return all that a reader of a lesson sees: text, code and what it prints."""
    printed_here = (printed(cell) for cell in book.code)
    return "\n".join([*(cell.source for cell in book.cells), *printed_here])


# The glossary


@pytest.mark.parametrize("book", LESSONS, ids=str)
def test_each_definition_has_an_entry_that_leads_to_it(book):
    known = entries()
    for term in sorted(defined(book)):
        assert term in known, (
            f"{book}: add {term!r} to glossary.md, or to STRESSED if it defines nothing"
        )
        assert f"({book.path.name}#" in known[term]["text"], (
            f"glossary.md: {term!r} is bold in {book} too: add the link"
        )


def test_each_entry_is_defined_where_it_says():
    where = defaultdict(set)
    for book in LESSONS:
        for term in defined(book):
            where[term].add(book.path.name)
    for term, entry in entries().items():
        if see(entry):
            continue
        books = {link.partition("#")[0] for link in LINK.findall(entry["text"])}
        assert books, f"glossary.md: {term!r} has no link"
        if "Axis's glossary" in entry["text"]:
            assert term in AXIS, f"{term!r} is no word of Axis's glossary"
            assert term not in where, f"{term!r} is defined in {where[term]}: link it"
        else:
            assert books == where[term], f"glossary.md: correct the links of {term!r}"


def test_each_link_of_an_entry_names_the_section_with_the_bold_word():
    sections = defaultdict(set)
    for book in LESSONS:
        heading, words = "", bold(book)
        for line in "\n".join(cell.source for cell in book.prose).splitlines():
            if re.match("#+ ", line):
                heading = line.lstrip("#").strip()
            for word in words & set(re.findall(r"\*\*(.+?)\*\*", line.lower())):
                term = LOOKED_UP.get(word, word)
                sections[term].add(f"{book.path.name}#{heading.replace(' ', '-')}")
    for term, entry in entries().items():
        if see(entry) or "Axis's glossary" in entry["text"]:
            continue
        for link in LINK.findall(entry["text"]):
            assert unquote(link) in sections[term], f"{term!r} is not bold in {link}"


def test_words_of_axis_have_entries():
    assert set(entries()) >= AXIS


def test_references_lead_to_an_entry_with_that_short_form():
    known = entries()
    for short, entry in known.items():
        if full := see(entry):
            assert full in known, f"glossary.md: {short!r} refers to nothing"
            assert look(known[full]["note"] or "") == short


def test_no_term_has_two_entries():
    lines = GLOSSARY.read_text("utf-8").splitlines()
    assert len(entries()) == sum(line.startswith("- ") for line in lines)


def test_entries_are_in_the_order_of_the_alphabet():
    terms = [look(term) for term in entries()]
    wrong = [pair for pair in pairwise(terms) if pair[0] > pair[1]]
    assert not wrong, f"glossary.md: swap {wrong}"


def test_each_entry_stands_under_its_letter():
    letter = ""
    for line in GLOSSARY.read_text("utf-8").splitlines():
        if line.startswith("## "):
            letter = line[3:]
        elif found := ENTRY.fullmatch(line):
            assert look(found["term"])[0] == letter.lower(), found["term"]


# The FAQ


def test_each_heading_of_the_faq_is_a_question():
    assert answers()
    for question in answers():
        assert question.endswith("?"), f"faq.md: {question}"


def test_each_answer_is_short_and_leads_to_a_section_of_a_lesson():
    for question, text in answers().items():
        linked = re.search(r"\]\(\d\d_\w+\.ipynb#", text)
        assert linked, f"faq.md: {question!r} needs a link to a lesson's section"
        sentences = re.findall(r"\.(?=\s|$)", plain(text))
        assert 2 <= len(sentences) <= 5, f"{question!r}: {len(sentences)} sentences"


def test_each_number_of_an_answer_stands_in_a_lesson_that_it_links():
    books = {book.path.name: numbers(everything(book)) for book in LESSONS}
    for question, text in answers().items():
        linked = {link.partition("#")[0] for link in LINK.findall(text)}
        known = set().union(*(books[name] for name in linked & set(books)))
        known |= numbers(" ".join(sorted(linked)))  # "lesson 04" itself
        unknown = numbers(plain(text)) - known
        assert not unknown, f"faq.md, {question!r}: no linked lesson says {unknown}"


def test_axis_is_cited_with_the_date_of_reading():
    said = re.compile(r"says Axis|Axis says|Axis's (?:FAQ|page|guide|own training)")
    for question, text in answers().items():
        if said.search(" ".join(text.split())):
            assert re.search(r"read\s2026-\d\d", text), f"faq.md: {question}"


@pytest.mark.skipif("COURSE_SEEDS" not in os.environ, reason="COURSE_SEEDS is not set")
def test_every_question_of_axis_is_answered_in_other_words():
    files = Path(os.environ["COURSE_SEEDS"]).glob("*.txt")
    (page,) = (
        text
        for text in (file.read_text("utf-8") for file in sorted(files))
        if "parent: FAQ" in text
    )
    asked = [h for h in re.findall(r"^## (.+)$", page, re.MULTILINE) if "?" in h]
    assert set(asked) == set(ANSWERS), "bring ANSWERS up to date with Axis's page"

    def runs(text: str, words: int = 9) -> set[tuple]:
        found = re.findall(r"\w+", text.lower())
        return set(zip(*(found[i:] for i in range(words)), strict=False))

    copied = runs(page) & runs("\n".join(answers().values()))
    assert not copied, f"faq.md: say it in other words: {copied}"


def test_a_question_is_one_of_axis_or_names_the_thread_of_a_user():
    told = answers()
    missing = set(ANSWERS.values()) - set(told)
    assert not missing, f"faq.md: answer {missing}"
    thread = re.compile(
        r"^\*Met in \[.+\]\(https://github\.com/\S+\)\.\*$", re.MULTILINE
    )
    for question in set(told) - set(ANSWERS.values()):
        assert thread.search(told[question]), f"faq.md: who met {question!r}?"


# Both


@pytest.mark.parametrize("page", [GLOSSARY, FAQ], ids=lambda page: page.name)
def test_links_lead_to_headings(page):
    for link in LINK.findall(page.read_text("utf-8")):
        if re.match(r"\w+:", link):
            continue
        name, _, fragment = unquote(link).partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), f"{page.name}: {link}"
        if fragment:
            assert fragment in anchors(target), f"{page.name}: no heading for {link}"
