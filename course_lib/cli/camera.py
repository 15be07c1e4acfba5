"""`dlpu camera`: run a virtual camera, or tell what a camera is."""

import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from course_lib.cli import dlpu, ending, printable
from course_lib.errors import UnusableInput

import click


@dlpu.command(short_help="Run a virtual camera, or tell what a camera is.")
@click.argument("host", required=False, metavar="[HOST[:PORT]]")
@click.option("--soc", help="Run a virtual camera with this chip, such as artpec8.")
@click.option(
    "--os",
    "version",
    help="AXIS OS that the virtual camera tells; before 11.5 its user is root, since "
    "12 larod-client's -o wants files that exist. Nothing else changes, and whether "
    "the chip ever had that version is not checked.",
)
@click.option(
    "--authorized-key",
    "keys",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.pub",
    help="A public key that may log in to the virtual camera.",
)
@click.option("--user", help="Who logs in to HOST.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Of SSH, unless HOST has it."
)
@click.option("--https-port", type=click.IntRange(1, 65535), help="Of VAPIX.")
@click.option("--trust-new", is_flag=True, help="Accept and keep HOST's unknown key.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on HOST.")
@ending.orderly()
def camera(
    host: str | None,
    soc: str | None,
    version: str | None,
    keys: tuple[Path, ...],
    user: str | None,
    port: int | None,
    https_port: int | None,
    trust_new: bool,
    as_json: bool,
) -> None:
    """Tell what the camera HOST is, or run a virtual one with --soc.

    A virtual camera listens on this computer only, until Ctrl-C, and leaves nothing
    behind. It prints the lines that log in to it with ssh, sftp, scp and `dlpu`. It is
    a SIMULATION: times are this computer's.

    Without HOST and --soc the camera is that of AXIS_CAMERA; both may name the port of
    SSH, as in 127.0.0.1:2222. A key that --trust-new accepts is kept in known_hosts, a
    certificate in certificates, in the user's settings of dlpu. The password comes from
    AXIS_CAMERA_PASSWORD or is asked for; AXIS_CAMERA_KEY names a private key instead.

    \b
    Example:
      dlpu camera --soc artpec8
      dlpu camera --soc cv25 --authorized-key ~/.ssh/id_ed25519.pub
      dlpu camera 192.168.0.90 --user acap-myapp --trust-new
      dlpu camera 192.168.0.90 --json | jq -r .device

    \b
    Keys of the JSON object:
      product, soc, soc_name, os, architecture, serial, devices
      device (the one to use)
    """  # noqa: D301  (click needs the control character)
    if soc is None:
        _refuse(
            {"--os": version, "--authorized-key": keys},
            "of a virtual camera only; add --soc or leave it out",
        )
        _describe(
            host,
            user=user,
            port=port,
            https_port=https_port,
            trust_new=trust_new,
            as_json=as_json,
        )
    else:
        if host:
            raise UnusableInput(
                "HOST and --soc exclude each other: leave out --soc to ask a camera, "
                "or HOST to run a virtual one"
            )
        _refuse(
            {"--user": user, "--trust-new": trust_new, "--json": as_json},
            "not together with --soc: a virtual camera is run, and none is asked; "
            "leave one of them out",
        )
        _serve(soc, version=version, keys=keys, port=port, https_port=https_port)


def _refuse(given: dict[str, object], why: str) -> None:
    wrong = ", ".join(name for name, value in given.items() if value)
    if wrong:
        raise UnusableInput(f"{wrong}: {why}")


def _serve(
    soc: str,
    *,
    version: str | None,
    keys: tuple[Path, ...],
    port: int | None,
    https_port: int | None,
) -> None:
    """Run a virtual camera until somebody ends it."""
    from course_lib.camera import virtual

    texts = [_public_key(file) for file in keys]
    with (
        virtual.start(
            soc,
            os=version,
            authorized_keys=texts,
            port=port or 0,
            https_port=https_port or 0,
        ) as running,
        suppress(KeyboardInterrupt),  # any signal that ends a program, see `ending`
    ):
        click.echo(virtual.login_help(running))
        click.echo("It runs until Ctrl-C.")
        sys.stdout.flush()
        threading.Event().wait()


def _public_key(file: Path) -> str:
    try:
        return file.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise UnusableInput(
            f"{file}: could not be read ({reason}), expected a public key such as "
            "~/.ssh/id_ed25519.pub; `ssh-keygen -t ed25519` makes one"
        ) from error


def _describe(
    host: str | None,
    *,
    user: str | None,
    port: int | None,
    https_port: int | None,
    trust_new: bool,
    as_json: bool,
) -> None:
    """Tell what a camera is and which of its devices to use."""
    host = host or os.environ.get("AXIS_CAMERA")
    if not host:
        raise UnusableInput(
            "no camera: give its address, or set AXIS_CAMERA, or run a virtual one "
            "with --soc artpec8"
        )
    from course_lib.camera import client, trust

    user = user or os.environ.get("AXIS_CAMERA_USER")
    with client.connect(
        host,
        user=user,
        password=password(user, host),
        port=port or trust.SSH_PORT,
        https_port=https_port,
        trust_new=trust_new,
    ) as connected:
        info = connected.info
        told = {
            "product": info.product,
            "soc": info.soc.id,
            "soc_name": info.soc.name,
            "os": info.os,
            "architecture": info.architecture,
            "serial": info.serial,
            "devices": list(connected.devices()),
            "device": connected.device(),
        }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(printable(f"product:      {info.product}, serial number {info.serial}"))
    click.echo(printable(f"chip:         {info.soc.name}, {info.architecture}"))
    click.echo(printable(f"AXIS OS:      {info.os}"))
    click.echo(printable(f"devices:      {', '.join(told['devices'])}"))
    click.echo(printable(f"device:       {told['device']} (the one to use)"))


def password(user: str | None, host: str) -> str | None:
    """Ask for the password, unless the environment has it or somebody cannot answer."""
    given = os.environ.get("AXIS_CAMERA_PASSWORD") or os.environ.get("AXIS_CAMERA_KEY")
    if given or not user or not sys.stdin.isatty():
        return None
    prompt = printable(f"Password of {user} on {host}")
    return click.prompt(prompt, hide_input=True, err=True)
