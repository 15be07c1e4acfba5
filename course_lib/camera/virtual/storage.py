"""The virtual camera's file tree: where paths lead, and how much fits.

Every path that a visitor names is looked up below one temporary folder of this
computer. Nothing that a visitor sends can name a file outside of it.
"""

import errno
import os
import posixpath
import shutil
import stat
import tempfile
from pathlib import Path

# Where a visitor may write. On a camera /tmp lies in memory and /usr/local/packages
# in flash: a restart empties only the first.
TMP = "/tmp"
PACKAGE = "/usr/local/packages/virtual"
OTHER_FOLDERS = ("/var/lib/larod", "/var/volatile/log", "/usr/bin", "/etc")


class Storage:
    """The file tree of one virtual camera.

    Attributes:
        folder: Private folder of this computer that holds everything of the camera.
        root: What the visitor sees as "/".
        disk: Bytes that fit into each folder in which a visitor may write.

    Introduced in notebook 13.
    """

    def __init__(self, *, disk: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dlpu-camera-")).resolve()
        self.root = self.folder / "root"
        self.disk = disk
        for name in (TMP, PACKAGE, *OTHER_FOLDERS):
            self.locate(name).mkdir(parents=True, exist_ok=True)

    def locate(self, path: str, *, cwd: str = TMP) -> Path:
        """Return where a path of the camera lies on this computer.

        `..` ends at the camera's "/"; a symbolic link that leads out is refused.

        Raises:
            OSError: When the path is not usable.
        """
        if "\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        normal = posixpath.normpath(posixpath.join("/", cwd, path)).lstrip("/")
        place = self.root / normal
        if not place.resolve().is_relative_to(self.root):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        return place

    def name(self, place: Path) -> str:
        """Return the path under which a visitor knows a file of this computer."""
        return posixpath.normpath(f"/{place.relative_to(self.root).as_posix()}")

    def above(self, place: Path) -> Path:
        """Return the folder that `..` of a folder means: above "/" there is none."""
        return place if place == self.root else place.parent

    def may_write(self, place: Path, *, inside: bool = True) -> None:
        """Refuse to change what does not belong to the visitor.

        Args:
            place: The file or folder.
            inside: Also refuse the writable folders themselves, as for removing them.

        Raises:
            OSError: Permission denied.
        """
        areas = [self.locate(name) for name in (TMP, PACKAGE)]
        if not any(
            place.is_relative_to(area) and not (inside and place == area)
            for area in areas
        ):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), self.name(place))

    def reserve(self, place: Path, *, end: int) -> None:
        """Refuse a file that would grow beyond what the disk holds.

        Args:
            place: The file, below a writable folder.
            end: Its size in bytes after the change.

        Raises:
            OSError: No space left on device.
        """
        area = next(
            folder
            for folder in map(self.locate, (TMP, PACKAGE))
            if place.is_relative_to(folder)
        )
        size = place.stat().st_size if place.exists() else 0
        if end > size and used(area) - size + end > self.disk:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name(place))

    def move(self, old: Path, new: Path) -> None:
        """Rename a file or a folder, within what the disk of the new place holds.

        Raises:
            OSError: No space left on device, or what renaming meets.
        """
        areas = [self.locate(name) for name in (TMP, PACKAGE)]
        target = next(area for area in areas if new.is_relative_to(area))
        if not old.is_relative_to(target):
            size = used(old) if old.is_dir() else old.stat().st_size
            if used(target) + size > self.disk:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name(new))
        old.replace(new)

    def free(self) -> int:
        """Return how many bytes still fit into /tmp."""
        return max(0, self.disk - used(self.locate(TMP)))

    def restart(self) -> None:
        """Empty what lies in a camera's memory."""
        tmp = self.locate(TMP)
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(exist_ok=True)

    def close(self) -> None:
        """Remove everything from this computer."""
        shutil.rmtree(self.folder, ignore_errors=True)


def used(folder: Path) -> int:
    """Return the bytes of all files below a folder.

    Introduced in notebook 13.
    """
    total = 0
    for place in folder.rglob("*"):
        try:
            status = place.lstat()
        except FileNotFoundError:  # another session has removed it
            continue
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
