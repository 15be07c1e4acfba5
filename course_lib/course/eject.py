"""Take the lessons' cells to copy home: a small Python project that needs no course.

Each cell becomes a module of a package, and the example of its use becomes its test.
Both are read in a clone of the course: the notebooks are no part of the library.
"""

import ast
import builtins
import io
import json
import keyword
import os
import re
import sys
import textwrap
import tokenize
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from course_lib.course.doctor import REPOSITORY
from course_lib.errors import UnusableInput
from course_lib.files import write_folder

USES = "notebooks/copy_cells.toml"
_HEADER = "# Copyright The DLPU course authors\n# SPDX-License-Identifier: Apache-2.0\n"
# Packages that are imported under a name that is not theirs.
_IMPORTED_AS = {"pillow": "PIL"}


@dataclass(frozen=True)
class Piece:
    """The cell to copy of one lesson.

    Attributes:
        slug: Of the lesson, such as 04_post_training_quantization.
        title: Of the lesson, without its number.
        code: The cell.
        use: What one would write below it, without the course.

    Introduced in notebook 15.
    """

    slug: str
    title: str
    code: str
    use: str

    @property
    def number(self) -> int:
        """Of the lesson."""
        return int(self.slug[:2])

    @property
    def module(self) -> str:
        """Name of the module that the cell becomes."""
        return self.slug[3:]

    @cached_property
    def packages(self) -> frozenset[str]:
        """What the cell imports beyond the standard library."""
        return frozenset(_imported(self.code))


def find_clone() -> Path:
    """Return the clone that this library lies in, or the one we are in.

    Raises:
        UnusableInput: When neither holds the lessons.

    Introduced in notebook 15.
    """
    for place in (REPOSITORY, Path.cwd()):
        if (place / USES).is_file():
            return place
    raise UnusableInput(
        f"{USES}: not found, expected the course's notebooks; an installed package has "
        "none: run it in a clone"
    )


def pieces(clone: Path) -> tuple[Piece, ...]:
    """Return the cells to copy of all lessons, in order.

    Raises:
        UnusableInput: When the table of uses lacks one of them.

    Introduced in notebook 15.
    """
    uses = tomllib.loads((clone / USES).read_text("utf-8"))
    found = []
    for path in sorted((clone / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        for cell in cells:
            if "copy" not in cell["metadata"].get("tags", ()):
                continue
            if path.stem not in uses:
                raise UnusableInput(
                    f"{USES}: no entry {path.stem}, expected how one would use its "
                    "cell to copy: add it"
                )
            entry = uses[path.stem]
            heading = "".join(cells[0]["source"]).partition("\n")[0]
            title = re.sub(r"^# (\d+\. )?", "", heading)
            code = "".join(cell["source"]).strip() + "\n"
            use = entry.get("ejected", entry["use"])
            found.append(Piece(slug=path.stem, title=title, code=code, use=use))
    return tuple(found)


def choose(names: Sequence[str], *, among: Sequence[Piece]) -> tuple[Piece, ...]:
    """Return the named pieces, each once, in the order of the lessons.

    Args:
        names: Numbers such as 4 or 04, slugs with or without their number, or all.
        among: What there is.

    Raises:
        UnusableInput: When a lesson is unknown or has no cell to copy.

    Introduced in notebook 15.
    """
    chosen = set()
    for name in names:
        found = {
            piece
            for piece in among
            if name in ("all", piece.slug, piece.module)
            or (re.fullmatch("[0-9]{1,2}", name) and int(name) == piece.number)
        }
        if not found:
            known = ", ".join(piece.slug for piece in among)
            raise UnusableInput(
                f"{name}: no lesson with a cell to copy, expected all, a number such "
                f"as {among[0].slug[:2]}, or one of {known}"
            )
        chosen |= found
    return tuple(piece for piece in among if piece in chosen)


def project(chosen: Sequence[Piece], *, name: str, clone: Path) -> dict[str, str]:
    """Return the files of a project, path to text; the same each time.

    Args:
        chosen: At least one piece.
        name: Of the project and of its package.
        clone: Whose pyproject.toml has the ranges of versions, and whose LICENSE goes
            along.

    Raises:
        UnusableInput: When the name cannot be a package's, or is another's.

    Introduced in notebook 15.
    """
    course = tomllib.loads((clone / "pyproject.toml").read_text("utf-8"))["project"]
    lines = _requirements(course)
    _check_name(name, taken=set(lines) | {"course_lib", "tests"})
    source = f"src/{name}"
    files = {
        "LICENSE": (clone / "LICENSE").read_text("utf-8"),
        "README.md": _readme(chosen, name=name, course=course, lines=lines),
        "pyproject.toml": _pyproject(chosen, name=name, course=course, lines=lines),
        f"{source}/__init__.py": f'{_HEADER}"""Cells to copy of the DLPU course."""\n',
        "tests/conftest.py": _HEADER + _CONFTEST,
    }
    for piece in chosen:
        files[f"{source}/{piece.module}.py"] = _module(piece, course=course)
        files[f"tests/test_{piece.module}.py"] = _test(piece, name=name)
    return files


def write(folder: Path, *, files: dict[str, str]) -> None:
    """Write a project beside, then rename it: nothing is ever half-written.

    Raises:
        UnusableInput: When the folder exists, or cannot be written.

    Introduced in notebook 15.
    """
    if os.path.lexists(folder):
        raise UnusableInput(
            f"{folder}: exists, expected a new folder: choose another name"
        )
    contents = {path: text.encode() for path, text in files.items()}
    write_folder(folder, contents)


def _check_name(name: str, *, taken: set[str]) -> None:
    # A letter or digit at the end: so pip wants the name of a project.
    if not re.fullmatch("[a-z]([a-z0-9_]*[a-z0-9])?", name) or keyword.iskeyword(name):
        raise UnusableInput(
            f"{name}: cannot name a package, expected small letters, digits and _, "
            "such as my_project: choose another name"
        )
    if name in taken | set(sys.stdlib_module_names):
        raise UnusableInput(
            f"{name}: is the name of another package, which it would hide: choose "
            "another name"
        )


# --- What the code needs.


def _requirements(course: dict) -> dict[str, str]:
    """Return the line of each of the course's packages, by the name it is imported by.

    >>> _requirements({"dependencies": ["pillow>=11"], "optional-dependencies": {}})
    {'PIL': 'pillow>=11'}
    """
    extras = course["optional-dependencies"].values()
    lines = [*course["dependencies"], *(line for extra in extras for line in extra)]
    found: dict[str, str] = {}
    for line in lines:
        package = _package(line).lower()
        found.setdefault(_IMPORTED_AS.get(package, package.replace("-", "_")), line)
    return found


def _package(line: str) -> str:
    """Return the name in a requirement."""
    return re.match(r"[\w.-]+", line)[0]


def _imported(code: str) -> Iterator[str]:
    """Yield the packages that code imports, without the standard library's."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        roots = {module.partition(".")[0] for module in modules}
        yield from roots - set(sys.stdlib_module_names)


def _array(packages: Iterable[str], *, lines: dict[str, str]) -> str:
    """Return a TOML array of requirements, in alphabetical order."""
    wanted = sorted((lines[package] for package in packages), key=str.lower)
    rows = "".join(f"    {json.dumps(line)},\n" for line in wanted)
    return f"[\n{rows}]" if rows else "[]"


def _pyproject(
    chosen: Sequence[Piece], *, name: str, course: dict, lines: dict[str, str]
) -> str:
    needed = {package for piece in chosen for package in piece.packages}
    tried = {package for piece in chosen for package in _imported(piece.use)}
    return f"""\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "Cells to copy of the DLPU course."
readme = "README.md"
license = "Apache-2.0"
license-files = ["LICENSE"]
requires-python = "{course["requires-python"]}"
dependencies = {_array(needed, lines=lines)}

[project.optional-dependencies]
test = {_array((tried | {"pytest"}) - needed, lines=lines)}

[tool.hatch.build.targets.wheel]
packages = ["src/{name}"]

[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
"""


# --- The package.


# tfmot asks for Keras 2 when it is imported; whoever asks for `tf.keras` after that, as
# other modules do, would get it as well.
_BEFORE_TFMOT = """\
# ruff: noqa: B018, E402
import tensorflow

tensorflow.keras.layers  # chosen now: importing tfmot must not change it for others

"""


def _module(piece: Piece, *, course: dict) -> str:
    code = piece.code
    # What a cell shows below its last definition must not run at each import.
    body = ast.parse(code).body
    definitions = [n for n, node in enumerate(body) if hasattr(node, "body")]
    after = body[definitions[-1] + 1 :] if definitions else []
    if any(isinstance(node, ast.Expr) for node in after):
        rows = code.splitlines(keepends=True)
        begin = after[0].lineno - 1
        example = _indented("".join(rows[begin:]))
        code = "".join([*rows[:begin], 'if __name__ == "__main__":\n', example])
    if "tensorflow_model_optimization" in piece.packages:
        code = _BEFORE_TFMOT + code
    title = piece.title if piece.title.endswith("?") else f"{piece.title}."
    return (
        f'{_HEADER}"""{title}\n\n'
        f"From lesson {piece.number} of {course['name']} {course['version']}, "
        f'`notebooks/{piece.slug}.ipynb`.\n"""\n\n{code}'
    )


def _functions(code: str) -> Iterator[tuple[str, str]]:
    """Yield name and first line of the docstring of each function."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]


# --- Its tests.

_CONFTEST = '''\
"""Run each test in an empty folder, and restore the environment after it."""

import os
from unittest import mock

import pytest


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        yield
'''


def _test(piece: Piece, *, name: str) -> str:
    """Return a module of tests: the imports that the use needs, and the use."""
    use = ast.parse(piece.use)
    own, imports = _names(piece.code)
    wanted = _free(use)
    lines = {imports[one] for one in wanted & set(imports)}
    drop = set()
    for node in use.body:
        # The imports go to the top; the printed word is for who runs it as a script.
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines |= set(_single(node).values())
        elif node is not use.body[-1] or ast.unparse(node) != "print('done')":
            continue
        drop |= set(range(node.lineno, node.end_lineno + 1))
    standard = {line for line in lines if not list(_imported(line))}
    taken = sorted(wanted & own)
    blocks = [
        _import_block(standard),
        _import_block(lines - standard),
        f"from {name}.{piece.module} import {', '.join(taken)}",
    ]
    rows = enumerate(piece.use.splitlines(keepends=True), 1)
    body = "".join(row for number, row in rows if number not in drop).strip() + "\n"
    return (
        f'{_HEADER}"""How one uses `{name}.{piece.module}`."""\n\n'
        + "\n\n".join(filter(None, blocks))
        + f"\n\n\ndef test_{piece.module}():\n{_indented(body)}"
    )


def _import_block(lines: set[str]) -> str:
    """Return import statements in ruff's order: `import` before `from`."""
    return "\n".join(sorted(lines, key=lambda line: (line.startswith("from"), line)))


def _single(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Return one import statement for each name that a statement binds."""
    found = {}
    for alias in node.names:
        if isinstance(node, ast.Import):
            one: ast.stmt = ast.Import([alias])
        else:
            one = ast.ImportFrom(node.module, [alias], node.level)
        bound = alias.asname or alias.name.partition(".")[0]
        found[bound] = ast.unparse(one)
    return found


def _names(code: str) -> tuple[set[str], dict[str, str]]:
    """Return the names that code defines, and those that it imports."""
    own: set[str] = set()
    imports: dict[str, str] = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _single(node)
        elif hasattr(node, "name"):
            own.add(node.name)
        else:
            own |= {
                one.id
                for one in ast.walk(node)
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            }
    return own, imports


_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)


def _free(use: ast.Module) -> set[str]:
    """Return the names that code takes from what stands above it.

    >>> sorted(_free(ast.parse("import b; c = a(b, len(c))")))
    ['a']
    """
    loaded, bound = set(), set(dir(builtins))
    for node in ast.walk(use):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= set(_single(node))
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, _NAMED):
            bound.add(node.name)
    return loaded - bound


def _indented(code: str) -> str:
    """Indent code by four spaces, but not the inside of its texts."""
    inside = {
        row
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        for row in range(token.start[0] + 1, token.end[0] + 1)
    }
    rows = enumerate(code.splitlines(keepends=True), 1)
    return "".join(
        row if number in inside else textwrap.indent(row, "    ")
        for number, row in rows
    )


# --- What it says of itself.


def _readme(
    chosen: Sequence[Piece], *, name: str, course: dict, lines: dict[str, str]
) -> str:
    def row(piece: Piece) -> str:
        module = f"[`{piece.module}`](src/{name}/{piece.module}.py)"
        test = f"[test](tests/test_{piece.module}.py)"
        needs = ", ".join(sorted(_package(lines[one]) for one in piece.packages))
        cells = (module, test, f"{piece.number}. {piece.title}", needs or "none")
        return f"| {' | '.join(cells)} |\n"

    def functions(piece: Piece) -> str:
        told = (
            f"- `{function}`" + (f": {first}" if first else "")
            for function, first in _functions(piece.code)
        )
        return f"### `{name}.{piece.module}`\n\n" + "\n".join(told) + "\n"

    return f"""\
# {name}

Code of {course["name"]} {course["version"]}, a course that takes TensorFlow vision
models to the accelerators in Axis cameras. Each module is the cell to copy of one
lesson. What a cell only shows, after its last function, stands under
`if __name__ == "__main__":`. Nothing here needs `course_lib`, the course's own library.

## Install and test

```
python -m pip install ".[test]"
python -m pytest
```

A test is an example of how a module is used, with made-up input. Each runs in an empty
folder and opens no connection beyond this computer.

## Modules

| module | test | lesson | packages |
|---|---|---|---|
{"".join(map(row, chosen))}
{chr(10).join(map(functions, chosen))}
## Licence

[Apache-2.0](LICENSE). `dlpu eject` made this project; change it as you like.
"""
