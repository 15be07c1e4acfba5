"""`dlpu eject`: the projects that it makes stand alone, and their tests pass."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib

from course_lib.cli import dlpu
from course_lib.cli import eject as command  # noqa: F401  (adds `dlpu eject`)
from course_lib.course import eject

import pytest
from click.testing import CliRunner
from lessons import LESSONS, NOTEBOOKS, ROOT

COPIED = {book.slug: book.tagged("copy") for book in LESSONS if book.tagged("copy")}
COURSE = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def run(*arguments):
    return CliRunner().invoke(dlpu, ["eject", *map(str, arguments)])


def refused(*arguments):
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def content(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def imported(path):
    """Return the packages that a file imports, without the standard library's."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


def declared(lines):
    """Return the names by which required packages are imported."""
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    return {"PIL" if name == "pillow" else name for name in names}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ejected") / "all"
    done = run("all", "-o", folder)
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) == len(COPIED) + 1
    return folder


def test_its_own_tests_pass_without_the_course(everything):
    before = content(everything)
    guard = [str(ROOT / "tests/loopback_only"), str(everything / "src")]
    (everything.parent / "course_lib.py").write_text("raise ImportError('the course')")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=everything,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(everything.parent), *guard]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(COPIED)} passed" in done.stdout.splitlines()[-1]
    assert content(everything) == before, "a test wrote into the project"


def test_each_module_is_the_cell(everything):
    for slug, (cell,) in COPIED.items():
        module = everything / "src/my_project" / f"{slug[3:]}.py"
        text = module.read_text("utf-8")
        assert "SPDX-License-Identifier: Apache-2.0" in text
        assert f"From lesson {int(slug[:2])} of dlpu-course" in text
        code, found = ast.parse(cell.source).body, ast.parse(text).body
        guard = found[-1]
        if isinstance(guard, ast.If):  # what the cell shows does not run at import
            assert ast.unparse(guard.test) == "__name__ == '__main__'"
            found = [*found[:-1], *guard.body]
        else:
            assert cell.source.strip() in text
        assert [*map(ast.dump, code)] == [*map(ast.dump, found)][-len(code) :]


def test_what_a_cell_shows_runs_as_a_script_only(everything):
    module = [sys.executable, "-B", "src/my_project/quantization_by_hand.py"]
    shown = subprocess.run(module, cwd=everything, capture_output=True, text=True)
    (cell,) = COPIED["03_quantization_by_hand"]
    assert shown.stdout == cell.outputs[0].text
    module = [sys.executable, "-B", "-c", "import my_project.quantization_by_hand"]
    silent = subprocess.run(
        module, cwd=everything / "src", capture_output=True, text=True
    )
    assert (silent.returncode, silent.stdout) == (0, "")


def test_it_declares_what_it_imports_and_no_more(everything):
    project = tomllib.loads((everything / "pyproject.toml").read_text())["project"]
    modules = set().union(*map(imported, everything.glob("src/my_project/*.py")))
    tests = set().union(*map(imported, everything.glob("tests/*.py")))
    assert declared(project["dependencies"]) == modules
    tried = declared(project["optional-dependencies"]["test"])
    assert tried | modules >= tests - {"my_project"}
    assert not tried & modules
    extras = COURSE["optional-dependencies"].values()
    ranges = {*COURSE["dependencies"], *(line for extra in extras for line in extra)}
    assert {*project["dependencies"], *project["optional-dependencies"]["test"]} <= (
        ranges
    )
    assert project["requires-python"] == COURSE["requires-python"]
    assert project["license"] == "Apache-2.0"
    assert (everything / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    mentions = [p for p, text in content(everything).items() if b"course_lib" in text]
    assert mentions == ["README.md"]


def test_a_lesson_needs_its_own_packages_only(tmp_path):
    assert run("8", "-o", tmp_path / "new").exit_code == 0
    text = (tmp_path / "new/pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert project["dependencies"] == ["ai-edge-litert>=2.1"]
    extra = declared(project["optional-dependencies"]["test"])
    assert extra == {"pytest", "tensorflow"}
    assert run("1", "-o", tmp_path / "plain").exit_code == 0
    text = (tmp_path / "plain/pyproject.toml").read_text()
    assert tomllib.loads(text)["project"]["dependencies"] == []


def test_the_links_of_its_readme_lead_somewhere(everything):
    text = (everything / "README.md").read_text("utf-8")
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    modules = {f"src/my_project/{slug[3:]}.py" for slug in COPIED}
    tests = {f"tests/test_{slug[3:]}.py" for slug in COPIED}
    assert links == {"LICENSE"} | modules | tests
    assert all((everything / link).is_file() for link in links)
    for book in LESSONS:
        if book.slug in COPIED:
            assert f"| {book.headings[0]} |" in text


def test_it_is_the_same_each_time_and_lints(everything, tmp_path):
    assert run("all", "-o", tmp_path / "again").exit_code == 0
    assert content(tmp_path / "again") == content(everything)
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated"]
    ruff += ["--select", "E,F,I,W"]
    done = subprocess.run(ruff, cwd=tmp_path / "again", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["4"], [4]),
        (["04"], [4]),
        (["12", "04", "4", "04_post_training_quantization"], [4, 12]),
        (["cv25", "all"], [int(slug[:2]) for slug in COPIED]),
        (["artpec8"], [7]),
    ],
)
def test_lessons_are_named_in_several_ways(names, numbers):
    chosen = eject.choose(names, among=eject.pieces(ROOT))
    assert [piece.number for piece in chosen] == numbers


@pytest.mark.parametrize("name", ["0", "99", "04.ipynb", "", "-4", "٤", "a\nb"])
def test_an_unknown_lesson_is_told_in_one_line(tmp_path, name):
    line = refused("-o", tmp_path / "new", "4", "--", name)
    assert "no lesson with a cell to copy" in line
    assert all(slug in line for slug in COPIED)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_exists_stays_as_it_is(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for taken in (tmp_path, tmp_path / "file", tmp_path / "dangling"):
        assert f"{taken}: exists" in refused("4", "-o", taken)
    missing = tmp_path / "missing/new"
    assert "could not be written (No such file" in refused("4", "-o", missing)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "dangling"}


def test_a_failure_half_way_leaves_nothing(tmp_path):
    files = {"a.py": "", "a.py/b.py": ""}
    with pytest.raises(eject.UnusableInput, match="nothing was left behind"):
        eject.write(tmp_path / "new", files=files)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("My-Project", "cannot name a package"),
        ("1st", "cannot name a package"),
        ("a_", "cannot name a package"),
        ("../a", "cannot name a package"),
        ("", "cannot name a package"),
        ("class", "cannot name a package"),
        ("json", "is the name of another package"),
        ("tensorflow", "is the name of another package"),
        ("course_lib", "is the name of another package"),
    ],
)
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path, name, why):
    assert why in refused("4", "-o", tmp_path / "new", "--name", name)
    assert not any(tmp_path.iterdir())


def test_another_name_is_used_everywhere(tmp_path):
    assert run("9", "-o", tmp_path / "new", "--name", "tools9").exit_code == 0
    assert (tmp_path / "new/src/tools9/cv25.py").is_file()
    assert not any(b"my_project" in text for text in content(tmp_path / "new").values())


def test_without_notebooks_it_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(eject, "REPOSITORY", tmp_path)
    monkeypatch.chdir(ROOT)  # installed elsewhere, run in a clone
    assert run("4", "-o", tmp_path / "new").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert "run it in a clone" in refused("4", "-o", tmp_path / "other")


def test_a_cell_without_a_use_is_told(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / eject.USES).touch()
    cell = {"metadata": {"tags": ["copy"]}, "source": "import os"}
    book = {"cells": [{"metadata": {}, "source": "# 4. A"}, cell]}
    (tmp_path / "notebooks/04_a.ipynb").write_text(json.dumps(book))
    with pytest.raises(eject.UnusableInput, match="no entry 04_a"):
        eject.pieces(tmp_path)


def test_each_use_has_a_cell():
    table = tomllib.loads((NOTEBOOKS / "copy_cells.toml").read_text("utf-8"))
    assert set(table) == set(COPIED)


def test_code_is_indented_but_not_its_texts():
    code = 'a = """b\n  c\n"""\n\nif a:\n    f(\n        "d"\n    )\n'
    space: dict = {}
    exec("def give():\n" + eject._indented(code.replace("f(", "return (")), space)
    assert space["give"]() == "d"
    assert eject._indented(code).splitlines()[:3] == ['    a = """b', "  c", '"""']


def test_each_of_its_tests_asserts_something(everything):
    for path in everything.glob("tests/test_*.py"):
        (test,) = (
            node
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        )
        assert any(isinstance(node, ast.Assert) for node in ast.walk(test)), path
