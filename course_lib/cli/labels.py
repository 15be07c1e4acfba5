"""What the commands share whose pictures have labels: one subfolder a class."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from course_lib.errors import UnusableInput

import click

# Where the order of the classes may come from without anybody's choice.
SORTED = "sorted folder names"
_OPTIONS = (
    click.option(
        "--labels",
        "labelled",
        is_flag=True,
        help="The DIR of --images has one subfolder a class: class numbers, names of "
        "--classes, or as many names as the model has classes, sorted; an empty one is "
        "a class too.",
    ),
    click.option(
        "--classes",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Names of the classes, one a line, in the model's order.",
    ),
)
output_option = click.option(
    "--output",
    type=click.IntRange(min=0),
    metavar="INDEX",
    help="The output with one value a class, if there are several outputs.",
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that tell of labels and classes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def limited(paths: list[Path], limit: int | None) -> list[Path]:
    """Take so many pictures, spread evenly, so that every subfolder has its share."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[place * len(paths) // limit] for place in range(limit)]


def of_folders(
    folder: Path, paths: Sequence[Path], options: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, int], list[int] | None]:
    """Return the names of the classes, the folders' numbers, and the pictures'.

    Args:
        folder: Holds one subfolder a class.
        paths: Pictures in it.
        options: "classes", a file of names or None, and "labelled", whether subfolders
            are classes at all.
    """
    from course_lib.dlpu import contract

    names = contract.read_labels(options["classes"]) if options["classes"] else ()
    if not options["labelled"]:
        return names, {}, None
    places = [path.relative_to(folder).parts for path in paths]
    loose = [parts[0] for parts in places if len(parts) < 2]
    if loose:
        raise UnusableInput(
            f"{folder}: with --labels, expected every picture in a subfolder, one a "
            f"class; {loose[0]} is in none"
        )
    found = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    numbers = _numbers(found, names)
    labels = [numbers[parts[0]] for parts in places]
    return names or _by_number(found, numbers), numbers, labels


def order(folders: dict[str, int], options: dict[str, Any]) -> str:
    """Tell where the order of the classes comes from; "" without labels."""
    if not options["labelled"]:
        return ""
    if are_numbers(folders):
        return "numbered folders"
    return "by --classes" if options["classes"] else SORTED


def expect_classes(
    count: int, names: Sequence[str], folders: dict[str, int], options: dict[str, Any]
) -> None:
    """Refuse labels that are not the classes of a model with so many of them.

    Names of folders are numbered by the list that they are in: a list of another length
    than the model's numbers them wrongly. `options` has "folder" beside what
    `of_folders` takes.
    """
    if not options["labelled"] or are_numbers(folders):
        return
    if options["classes"] and len(names) != count:
        raise UnusableInput(
            f"--classes {options['classes']}: {names_text(names, count)}: expected "
            "one for each, in the model's order"
        )
    if not options["classes"] and len(folders) != count:
        raise UnusableInput(
            f"{options['folder']}: {len(folders)} subfolders, the model has {count} "
            "classes: give --classes FILE, or name the folders by class number"
        )


def names_text(names: Sequence[str], count: int) -> str:
    """Tell how many names there are for how many classes."""
    return f"{len(names)} names for {count} classes"


def _numbers(found: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Number the subfolders; an empty one is a class too."""
    if are_numbers(found):
        return {name: int(name) for name in found}
    if not names:
        return {name: number for number, name in enumerate(found)}
    strange = [name for name in found if name not in names]
    if strange:
        raise UnusableInput(
            f"subfolder {strange[0]}: not in --classes: expected its names, such as "
            f"{names[0]!r}, or class numbers"
        )
    return {name: names.index(name) for name in found}


def are_numbers(folders: Iterable[str]) -> bool:
    """Tell whether subfolders have class numbers for names."""
    return all(name.isascii() and name.isdecimal() for name in folders)


def _by_number(found: Sequence[str], numbers: dict[str, int]) -> tuple[str, ...]:
    """Return names in the model's order, unless they are numbers themselves."""
    return () if any(name.isdecimal() for name in found) else tuple(numbers)
