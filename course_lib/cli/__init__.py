"""The command `dlpu`: one module for each of its commands.

A command imports its library inside its function, so that `dlpu inspect` never pays for
TensorFlow. Exit status: 0 fine, 1 findings, 2 unusable input, told in one line.
"""

import errno
import sys
from typing import Any

from course_lib.errors import UnusableInput

import click


class _Commands(click.Group):
    """A group whose commands may raise UnusableInput: one line and exit status 2.

    Ctrl-C ends the same way: 1 would say that something was found.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except UnusableInput as error:
            problem = str(error)
        except (KeyboardInterrupt, click.Abort):
            problem = "stopped before the end; start it again"
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has gone: no fault
                raise
            problem = f"{error.filename or 'output'}: {error.strerror or error}"
        click.echo(f"Error: {printable(problem)}", err=True)
        ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dlpu-course", prog_name="dlpu")
def dlpu() -> None:
    """Take a TensorFlow vision model to the accelerators in Axis cameras.

    Exit status: 0 fine, 1 findings, 2 unusable input (one line says why).
    """


def printable(text: str) -> str:
    """Replace what could steer a terminal: names come from files of strangers."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def main() -> None:
    """Run the command line."""
    dlpu()


# Each module adds its command to the group above.
from course_lib.cli import (  # noqa: E402
    camera,  # noqa: F401
    card,  # noqa: F401
    compare,  # noqa: F401
    convert,  # noqa: F401
    doctor,  # noqa: F401
    eject,  # noqa: F401
    explain,  # noqa: F401
    inspect,  # noqa: F401
    kit,  # noqa: F401
    lint,  # noqa: F401
    report,  # noqa: F401
    socs,  # noqa: F401
    test,  # noqa: F401
)
