"""Keep a library's chatter out of the notebook."""

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

# Never closed: a logger that is created inside a quiet block keeps this stream.
_NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115
# What is redirected belongs to the whole process: two threads that put it back in the
# wrong order would leave it redirected for good.
_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence everything that is printed inside the block, from Python and from C++.

    TensorFlow writes to the file descriptors 1 and 2 directly, past `sys.stdout`, so
    both levels are redirected. Exceptions pass through unchanged. TensorFlow's Python
    log stays silent afterwards if the block is where TensorFlow was imported.

    Example:
        >>> with quiet():
        ...     print("not seen")

    Introduced in notebook 04.
    """
    with _ONE_AT_A_TIME:
        level = logging.root.manager.disable
        sys.stdout.flush()
        sys.stderr.flush()
        saved = [os.dup(descriptor) for descriptor in (1, 2)]
        try:
            for descriptor in (1, 2):
                os.dup2(_NOWHERE.fileno(), descriptor)
            logging.disable(logging.ERROR)
            with (
                warnings.catch_warnings(),
                contextlib.redirect_stdout(_NOWHERE),
                contextlib.redirect_stderr(_NOWHERE),
            ):
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(level)
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
