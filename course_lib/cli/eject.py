"""`dlpu eject`: the lessons' cells to copy as a Python project of your own."""

import shlex
from pathlib import Path

from course_lib.cli import dlpu, printable

import click


@dlpu.command(short_help="Make a Python project of the lessons' cells to copy.")
@click.argument("lessons", metavar="LESSON...", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The project, a new folder.",
)
@click.option(
    "--name",
    default="my_project",
    show_default=True,
    help="Of the project and of its package.",
)
def eject(lessons: tuple[str, ...], folder: Path, name: str) -> None:
    """Make a Python project of the cells to copy of each LESSON.

    A LESSON is a number, a notebook's name without .ipynb, or all. Each cell becomes a
    module, and the example of its use becomes a test. The project depends on public
    packages alone, in the ranges of versions that the course itself has, and never on
    course_lib.

    The notebooks are in a clone of the course only: run it there.

    Exit status: 0 made, 2 unusable input.

    \b
    Example:
      dlpu eject 04 12 -o my_project/
      dlpu eject all -o everything/ --name camera_tools
    """  # noqa: D301  (click needs the control character)
    from course_lib.course import eject as ejecting

    clone = ejecting.find_clone()
    chosen = ejecting.choose(lessons, among=ejecting.pieces(clone))
    files = ejecting.project(chosen, name=name, clone=clone)
    ejecting.write(folder, files=files)
    shown = shlex.quote(printable(str(folder)))
    for piece in chosen:
        click.echo(f"{name}.{piece.module:<32}{piece.number:>2}. {piece.title}")
    click.echo(
        f'Next: cd {shown} && python -m pip install ".[test]" && python -m pytest'
    )
