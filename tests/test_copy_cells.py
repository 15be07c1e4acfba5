"""Each cell to copy runs alone, in an empty folder, and does what the lesson says."""

import ast
import re
import subprocess
import sys
import tomllib

from course_lib.quantization import conversion

import pytest
from lessons import LESSONS, NOTEBOOKS, ROOT

BOOKS = [book for book in LESSONS if book.tagged("copy")]
# What a user would write below the copied cell; it ends in a line that must be printed.
USE = {
    slug: entry["use"]
    for slug, entry in tomllib.loads(
        (NOTEBOOKS / "copy_cells.toml").read_text("utf-8")
    ).items()
}


def declared() -> set[str]:
    """Return the names under which the packages in pyproject.toml are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    return {"PIL" if name == "pillow" else name for name in names}


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_it_imports_public_packages_only(book):
    (cell,) = book.tagged("copy")
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        for module in modules:
            root = module.split(".")[0]
            assert root in declared() | set(sys.stdlib_module_names), module


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_it_runs_alone(book, tmp_path):
    assert book.slug in USE, f"{book}: say in copy_cells.toml how one uses it"
    (cell,) = book.tagged("copy")
    script = tmp_path / "script.py"
    script.write_text(cell.source + "\n\n" + USE[book.slug], "utf-8")
    done = subprocess.run(
        # -I: neither this folder nor the user's packages are importable by accident.
        [sys.executable, "-I", "-c", _WITHOUT_THE_COURSE, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
    for made in tmp_path.glob("*.tflite"):
        conversion.verify_full_integer(
            made.read_bytes(), granularity="per-channel", io="uint8"
        )


# Runs a script in which importing the course's own library fails.
_WITHOUT_THE_COURSE = """
import runpy, sys
sys.modules["course_lib"] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""
