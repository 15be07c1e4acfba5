"""Pin every package that the course needs, on every platform and Python it supports.

    uv run python tools/make_constraints.py            # keeps the pins that still fit
    uv run python tools/make_constraints.py --upgrade  # takes the newest versions
    uv run python tools/make_constraints.py --check    # compares, without network

Two readers need the same pins: pip and conda read constraints.txt, uv reads
`[tool.uv] constraint-dependencies` in pyproject.toml. Both are written here, from one
resolution of the ranges in pyproject.toml.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.files import write

import click

ROOT = Path(__file__).parent.parent
HEAD = """\
# The exact versions that the course was tested with, for every supported platform.
# Written by tools/make_constraints.py, which mirrors them into pyproject.toml.
"""
HELD = [
    # LiteRT asks for it on every Python. From 1.3 on it says "Python below 3.11", which
    # uv ignores and pip obeys: pip would refuse the course.
    "backports-strenum<1.3",
]
MIRROR = re.compile(r"^constraint-dependencies = \[.*?\]$", re.DOTALL | re.MULTILINE)


def requirements(pyproject: str) -> list[str]:
    """List what pyproject.toml asks for: core, extras and development group.

    The project's references to its own extras are left out: what they name is here
    already, and an index would be asked for a package that it does not have.
    """
    tables = tomllib.loads(pyproject)
    project = tables["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *tables["dependency-groups"].values(),
    ]
    own = f"{project['name']}["
    return [line for group in groups for line in group if not line.startswith(own)]


def resolve(wanted: list[str], pins: list[str], *, upgrade: bool) -> list[str]:
    """Resolve requirements into exact pins with environment markers.

    Args:
        wanted: Requirement lines with ranges.
        pins: Earlier pins. They are kept where they still fit.
        upgrade: Forget the earlier pins and take the newest versions.

    Raises:
        UnusableInput: When uv finds no set of versions, with uv's reason.
    """
    # An empty folder: uv would otherwise obey the old pins in our pyproject.toml.
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "constraints.txt")
        output.write_text("\n".join(pins), encoding="utf-8")
        command = [
            *("uv", "pip", "compile", "-", "--output-file", output.name, "--quiet"),
            *("--universal", "--python-version", "3.11"),
            # One version of a package for all Pythons, where there is one.
            *("--fork-strategy", "fewest"),
            *("--no-header", "--no-annotate"),
            *(["--upgrade"] if upgrade else []),
        ]
        try:
            subprocess.run(
                command,
                cwd=folder,
                input="\n".join(wanted + HELD),
                check=True,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError as error:
            raise UnusableInput("uv was not found: run `pip install uv`") from error
        except subprocess.CalledProcessError as error:
            raise UnusableInput(
                "no set of versions fits the ranges in pyproject.toml: widen one\n"
                + error.stderr.strip()
            ) from error
        return output.read_text(encoding="utf-8").splitlines()


def listed(constraints: str) -> list[str]:
    """Read the pins in the text of constraints.txt."""
    return [line for line in constraints.splitlines() if not line.startswith("#")]


def mirrored(pyproject: str) -> list[str]:
    """Read the pins in the text of pyproject.toml."""
    return tomllib.loads(pyproject)["tool"]["uv"]["constraint-dependencies"]


def mirror(pyproject: str, pins: list[str]) -> str:
    """Replace the pins in the text of pyproject.toml and leave the rest untouched."""
    lines = "".join(f'    "{pin}",\n' for pin in pins)  # markers quote with '
    return MIRROR.sub(lambda _: f"constraint-dependencies = [\n{lines}]", pyproject)


@click.command(help=__doc__.splitlines()[0])
@click.option("--upgrade", is_flag=True, help="Take the newest versions that fit.")
@click.option("--check", is_flag=True, help="Compare the two lists; write nothing.")
def main(upgrade: bool, check: bool) -> None:
    """Write constraints.txt and its mirror, or compare them."""
    constraints, project = ROOT / "constraints.txt", ROOT / "pyproject.toml"
    old = constraints.read_text(encoding="utf-8") if constraints.exists() else ""
    pyproject = project.read_text(encoding="utf-8")
    if check:
        if listed(old) != mirrored(pyproject):
            sys.exit(
                "constraints.txt and pyproject.toml differ: run "
                "`uv run python tools/make_constraints.py`"
            )
        return
    try:
        pins = resolve(requirements(pyproject), listed(old), upgrade=upgrade)
    except UnusableInput as error:
        sys.exit(str(error))
    write(constraints, (HEAD + "\n".join(pins) + "\n").encode())
    write(project, mirror(pyproject, pins).encode())
    click.echo(f"{len(pins)} pins written")


if __name__ == "__main__":
    main()
