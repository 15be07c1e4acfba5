"""The notebooks, and what their checks say, as the tests see them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Notebook:
    """One committed notebook."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name[:2])

    @property
    def slug(self) -> str:
        return self.path.stem

    @cached_property
    def cells(self) -> list:
        return nbformat.read(self.path, as_version=4).cells

    @property
    def code(self) -> list:
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def prose(self) -> list:
        return [cell for cell in self.cells if cell.cell_type == "markdown"]

    @property
    def headings(self) -> list[str]:
        return [
            line.lstrip("#").strip()
            for cell in self.prose
            for line in cell.source.splitlines()
            if line.startswith("#")
        ]

    def tagged(self, tag: str) -> list:
        return [cell for cell in self.code if tag in cell.metadata.get("tags", [])]

    def __str__(self) -> str:
        return self.path.name


LESSONS = [Notebook(path) for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))]
SOLUTIONS = [Notebook(path) for path in sorted(NOTEBOOKS.glob("solutions/*.ipynb"))]


def printed(cell) -> str:
    """Return what a code cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


def said(capsys, check, *answer) -> str:
    """Return the one line that an exercise's check prints for an answer."""
    assert check(*answer) is None
    (line,) = capsys.readouterr().out.splitlines()
    return line
