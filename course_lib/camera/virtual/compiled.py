"""The camera's cache of compiled models, which makes a second load fast.

A computer compiles nothing for a DLPU: an entry is a note that names the size of the
model. The limits are those of the chip.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_lib import files
from course_lib.errors import UnusableInput

# Where the camera keeps them. Source: larod, neural network inference (3.2.254), read
# on 2026-11-21: nbg-cache on ARTPEC-8, dlpu-model-cache/non-persistent on ARTPEC-9.
FOLDERS = {
    "artpec8": PurePosixPath("/var/lib/larod/nbg-cache"),
    "artpec9": PurePosixPath("/var/lib/larod/dlpu-model-cache/non-persistent"),
}
_SUFFIX = ".simulated"
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Cache:
    """Compiled models in a folder.

    Attributes:
        folder: On this computer; made when the first model comes.
        limits: "files" and "mebibytes", the chip's `cache`; empty: no limit is known.

    Introduced in notebook 13.
    """

    folder: Path
    limits: Mapping[str, int]

    def take(self, digest: str) -> bool:
        """Return whether a model is there, and note that it was used."""
        now = time.time_ns()
        try:
            os.utime(self.folder / f"{digest}{_SUFFIX}", ns=(now, now))
        except OSError:
            return False
        return True

    def add(self, digest: str, *, size: int) -> None:
        """Add a model and drop the ones whose last use is longest ago, if need be.

        How large a compiled model is can only be known on the camera: the size of the
        model's file stands for it. That "older models" (larod, ARTPEC-8) are those
        whose last use is longest ago is stated for ARTPEC-9 alone.

        Args:
            digest: That tells this model from any other.
            size: Bytes of the model's file.
        """
        most = self.limits.get("mebibytes")
        if most is not None and size > most * _MEBIBYTE:
            return
        note = f"{size}\nSIMULATION: stands for a compiled model of so many bytes.\n"
        # Without room for it the model is compiled again the next time, as on a camera.
        with contextlib.suppress(OSError, UnusableInput):
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write(self.folder / f"{digest}{_SUFFIX}", note.encode())
            self.take(digest)
            self._shrink()

    def _shrink(self) -> None:
        entries = sorted(
            self.folder.glob(f"*{_SUFFIX}"),
            key=lambda entry: entry.stat().st_mtime_ns,
            reverse=True,
        )
        total = 0
        for count, entry in enumerate(entries, start=1):
            total += _size(entry)
            if count > self.limits.get("files", count) or (
                "mebibytes" in self.limits
                and total > self.limits["mebibytes"] * _MEBIBYTE
            ):
                entry.unlink(missing_ok=True)


def _size(entry: Path) -> int:
    """Read the first line of a note; whatever else lies there counts as nothing."""
    first = entry.read_text("ascii", errors="replace").split("\n", 1)[0]
    return int(first) if first.isdecimal() else 0
