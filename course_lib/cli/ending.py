"""What the commands share that leave something behind when they are just ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from course_lib.errors import UnusableInput

import click

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@contextmanager
def orderly() -> Iterator[None]:
    """Turn the signals that end a program into an error that cleans up on its way.

    The first one raises KeyboardInterrupt, as Ctrl-C does; those after it are ignored:
    cleaning up takes a bounded time, and a second Ctrl-C would leave half of it.

    A key or certificate that is not trusted is told in the words of the command line.

    Raises:
        UnusableInput: When a signal came.
    """
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        if not came:
            came.append(number)
            raise KeyboardInterrupt

    # Only the main thread may set handlers.
    here = threading.current_thread() is threading.main_thread()
    names = [name for name in _SIGNALS if here and hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    except (KeyboardInterrupt, click.Abort):  # Abort: at a question, also Ctrl-D
        name = signal.Signals(came[0]).name if came else "Ctrl-D"
        raise UnusableInput(
            f"stopped by {name} before the end; start it again"
        ) from None
    except UnusableInput as error:
        line = _with_options(error)
        if line == str(error):
            raise
        raise UnusableInput(line) from error
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _with_options(error: UnusableInput) -> str:
    """Name the option where `camera.trust` names its argument, and the file it fills.

    That module is not imported for its names: it loads an SSH library.
    """
    file = getattr(error, "file", None)
    kept = f", which keeps it in {file}" if file else ""
    return str(error).replace("trust_new=True", f"--trust-new{kept}")
