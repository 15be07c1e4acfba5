"""Write files so that nothing is ever half-written."""

import os
import tempfile
from pathlib import Path

from course_lib.errors import UnusableInput


def write(path: Path | str, content: bytes) -> Path:
    """Write a file under a temporary name in the same folder, then rename it.

    Whatever goes wrong, the old file stays as it was and no partial file is left.

    Raises:
        UnusableInput: When the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", dir=path.parent
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes it private
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        reason = error.strerror or error
        raise UnusableInput(
            f"{path}: could not be written ({reason}); nothing was left behind: choose "
            "another place or make room"
        ) from error
    return path
