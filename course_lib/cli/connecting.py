"""What the commands share that reach a camera, a real or a virtual one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from course_lib.cli.camera import password
from course_lib.errors import UnusableInput

import click

_OPTIONS = (
    click.option(
        "--compiled",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What a compiler made of the file for the camera: .bin (CV25, CV75), "
        "_edgetpu.tflite (ARTPEC-7).",
    ),
    click.option("--user", help="On the camera; also AXIS_CAMERA_USER."),
    click.option("--port", type=click.IntRange(1, 65535), default=22, help="Of SSH."),
    click.option(
        "--https-port", type=click.IntRange(1, 65535), help="Of VAPIX; 443 otherwise."
    ),
    click.option(
        "--trust-new", is_flag=True, help="Trust a camera that was never seen before."
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that tell what a camera gets and how to log in."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def expect_host(options: dict[str, Any]) -> None:
    """Complete `host` and `user` from the environment, or refuse to go on."""
    options["host"] = options["host"] or os.environ.get("AXIS_CAMERA")
    if not options["host"]:
        raise UnusableInput(
            "no camera: give --camera HOST, or --virtual SOC for a virtual one "
            "(`dlpu socs` lists the chips)"
        )
    options["user"] = options["user"] or os.environ.get("AXIS_CAMERA_USER")
    if not options["user"]:
        raise UnusableInput("--camera: no user: give --user, or set AXIS_CAMERA_USER")


@contextmanager
def camera(options: dict[str, Any]) -> Iterator[Any]:
    """Connect to the camera, or start a virtual one where `virtual` names its chip."""
    if options["virtual"]:
        from course_lib.camera import virtual
        from course_lib.dlpu import socs

        soc = socs.find(options["virtual"])
        with virtual.start(soc) as started, started.connect() as reached:
            yield reached
        return
    from course_lib.camera import client

    with client.connect(
        options["host"],
        user=options["user"],
        password=password(options["user"], options["host"]),
        port=options["port"],
        https_port=options["https_port"],
        trust_new=options["trust_new"],
    ) as reached:
        yield reached
