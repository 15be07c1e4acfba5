"""Write files and folders so that nothing is ever half-written."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from course_lib.errors import UnusableInput


def write(path: Path | str, content: bytes) -> Path:
    """Write a file under a temporary name in the same folder, then rename it.

    Whatever goes wrong, the old file stays as it was and no partial file is left. A
    link stays one: what it points to is written.

    Raises:
        UnusableInput: When the folder is missing or not writable, the disk is full, or
            the path names a device or a pipe, which a rename would replace.
    """
    named, path = Path(path), Path(path).resolve()
    if path.exists() and not path.is_file():
        raise UnusableInput(f"{named}: not a file: expected the name of one to write")
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", dir=path.parent
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes it private
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        reason = error.strerror or error
        raise UnusableInput(
            f"{named}: could not be written ({reason}); nothing was left behind: "
            "choose another place or make room"
        ) from error
    return named


def expect_other(path: Path | str | None, *read: Path | str | None) -> None:
    """Refuse to write over a file that was read.

    Raises:
        UnusableInput: When the path names one of the files.
    """
    if path is None or not Path(path).exists():
        return
    for other in filter(None, read):
        if Path(other).exists() and Path(path).samefile(other):
            raise UnusableInput(
                f"{path}: is read here and would be lost: expected another name to "
                "write to"
            )


def write_folder(
    folder: Path, contents: Mapping[str, bytes], *, empty: Iterable[str] = ()
) -> None:
    """Write a new folder under a temporary name beside, then rename it.

    Args:
        folder: Must not exist.
        contents: Of each file, by its path in the folder.
        empty: Folders in it that hold no file yet.

    Raises:
        UnusableInput: When it cannot be written; nothing is left then.
    """
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for name in empty:
            (temporary / name).mkdir(parents=True)
        for name, content in contents.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        temporary.rename(folder)
    except OSError as error:
        reason = error.strerror or error
        raise UnusableInput(
            f"{folder}: could not be written ({reason}); nothing was left behind: "
            "choose another place or make room"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
