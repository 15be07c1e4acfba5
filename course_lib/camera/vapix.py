"""VAPIX, the camera's HTTP interface: what it is, whether it is up, its log.

Digest authentication over HTTPS, whose certificate `trust.context` has verified. No
proxy and no .netrc of this computer is used: the connection goes to the camera alone.

Source: Axis, VAPIX library (Basic device information, Parameter management,
Systemready, System log), https://developer.axis.com/vapix.
"""

import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.camera import trust
from course_lib.errors import UnusableInput

import httpx

REPLY_LIMIT = 1 << 20  # bytes; the longest useful reply, a system log, is far below
REPLY_SECONDS = 60.0  # for all of a reply, however it comes
_RIGHTS = (
    "wrong user or password, or a user without VAPIX rights, as the acap-... users of "
    "Developer Mode are; give a user of the group viewer or above"
)


@dataclass(frozen=True)
class Ready:
    """Whether a camera is up.

    Attributes:
        ready: Whether it has started.
        needs_setup: Whether its first user has not been made.
        uptime: Seconds since it started; None where it does not tell.
        boot: Changes with each start; "" where it does not tell.

    Introduced in notebook 13.
    """

    ready: bool
    needs_setup: bool
    uptime: int | None
    boot: str


def client(
    host: str,
    *,
    user: str,
    password: str,
    port: int = trust.HTTPS_PORT,
    known: Path | str | None = None,
    trust_new: bool = False,
    timeout: float = 10.0,
) -> httpx.Client:
    """Verify a camera's certificate and make a client for it; close it after use.

    Args:
        host: Name or address.
        user: Name of a VAPIX user.
        password: The user's.
        port: Of HTTPS.
        known: Folder with the pinned certificates.
        trust_new: Whether to pin an unknown certificate.
        timeout: Of each step of a connection, in seconds.

    Raises:
        UnusableInput: When there is no connection, or the certificate is not trusted.

    Introduced in notebook 13.
    """
    auth = httpx.DigestAuth(user, password)
    del password  # a debugger's traceback shows what a frame has
    host = trust.host(host)
    try:
        context = trust.context(
            host, port=port, known=known, trust_new=trust_new, timeout=timeout
        )
    except OSError as error:
        raise UnusableInput(_no_connection(f"{host}, port {port}", error)) from None
    address = f"[{host}]" if ":" in host else host
    return httpx.Client(
        base_url=f"https://{address}:{port}",
        auth=auth,
        verify=context,
        timeout=timeout,
        trust_env=False,
    )


def properties(client: httpx.Client) -> Mapping[str, str]:
    """Read what the camera says of itself: "ProdFullName", "Soc", "Version" and more.

    Raises:
        UnusableInput: When it does not answer, or not with properties.

    Introduced in notebook 13.
    """
    data = _call(client, "basicdeviceinfo", method="getAllProperties")
    found = data.get("propertyList")
    if not isinstance(found, dict):
        raise UnusableInput(
            f"{_where(client)}: basicdeviceinfo answered without a propertyList; is it "
            "an Axis camera?"
        )
    return {str(name): str(value) for name, value in found.items()}


def ready(client: httpx.Client, *, wait: int = 0) -> Ready:
    """Ask whether the camera is up.

    Args:
        client: Of `client`.
        wait: Seconds that the camera may take for its answer while it starts.

    Raises:
        UnusableInput: When it does not answer.

    Introduced in notebook 13.
    """
    data = _call(
        client, "systemready", method="systemready", params={"timeout": wait}, slow=wait
    )
    uptime = str(data.get("uptime", ""))
    return Ready(
        ready=data.get("systemready") == "yes",
        needs_setup=data.get("needsetup") == "yes",
        uptime=int(uptime) if uptime.isdecimal() else None,
        boot=str(data.get("bootid", "")),
    )


def parameters(client: httpx.Client, group: str) -> Mapping[str, str]:
    """Read parameters, such as the group "Network.SSH", by full name without "root.".

    Raises:
        UnusableInput: When the camera has no such group, or does not answer.

    Introduced in notebook 13.
    """
    query = {"action": "list", "group": group}
    text = _text(_reply(client, "GET", "param.cgi", params=query))
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if not found:
        raise UnusableInput(
            f"{_where(client)}: no parameter {group!r} ({_first_line(text)}); name one "
            "that it has"
        )
    return {name.removeprefix("root."): value for name, value in found.items()}


def update(client: httpx.Client, name: str, *, value: str) -> None:
    """Set one parameter, such as "Network.SSH.Enabled" to "yes".

    Raises:
        UnusableInput: When the camera does not take it.

    Introduced in notebook 13.
    """
    text = _text(
        _reply(client, "GET", "param.cgi", params={"action": "update", name: value})
    )
    if text.strip() != "OK":
        raise UnusableInput(
            f"{_where(client)}: {name} was not set ({_first_line(text)}); expected OK"
        )


def system_log(client: httpx.Client, *, application: str = "") -> str:
    """Read the system log, or the part of one application.

    Raises:
        UnusableInput: When the camera does not answer, or with more than 1 MiB.

    Introduced in notebook 13.
    """
    query = {"appname": application} if application else {}
    return _text(_reply(client, "GET", "admin/systemlog.cgi", params=query))


def _call(client: httpx.Client, name: str, *, slow: float = 0, **request: Any) -> dict:
    """Call a JSON interface; return its data."""
    body = {"apiVersion": "1.0", **request}
    content = _reply(client, "POST", f"{name}.cgi", json=body, slow=slow)
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):  # not JSON, or not text, or too deep
        answer = None
    match answer:
        case {"error": {"code": code, "message": message}}:
            raise UnusableInput(
                f"{_where(client)}: {name} answered error {code}: "
                f"{_first_line(str(message))}; update AXIS OS"
            )
        case {"data": dict(data)}:
            return data
    raise UnusableInput(
        f"{_where(client)}: {name} did not answer in VAPIX's JSON; is it an Axis "
        "camera?"
    )


def _reply(
    client: httpx.Client, method: str, path: str, *, slow: float = 0, **request: Any
) -> bytes:
    """Send a request; read at most `REPLY_LIMIT` bytes of the reply."""
    where = _where(client)
    usual = client.timeout.connect or 0.0
    timeout = httpx.Timeout(usual, read=usual + slow)
    end = time.monotonic() + slow + REPLY_SECONDS
    content = bytearray()
    try:
        with client.stream(
            method, f"/axis-cgi/{path}", timeout=timeout, **request
        ) as reply:
            for part in reply.iter_bytes():
                content += part
                if len(content) > REPLY_LIMIT:
                    raise UnusableInput(
                        f"{where}: {path} answered with more than {REPLY_LIMIT:,} "
                        "bytes; cut off: is it an Axis camera?"
                    )
                if time.monotonic() > end:
                    raise UnusableInput(
                        f"{where}: {path} answered for more than {REPLY_SECONDS:g} s; "
                        "cut off: is it an Axis camera?"
                    )
    except httpx.HTTPError as error:
        raise UnusableInput(_no_connection(where, error)) from None
    except UnusableInput:
        raise
    except (KeyError, NotImplementedError, ValueError):  # httpx, of a broken challenge
        raise UnusableInput(
            f"{where}: {path}: asks for a log-in that is no digest of RFC 7616; is it "
            "an Axis camera?"
        ) from None
    if reply.status_code == 200:
        return bytes(content)
    raise UnusableInput(f"{where}: {path}: {_refusal(reply.status_code)}")


def _refusal(status: int) -> str:
    """Say what an HTTP status means here."""
    if status == 401:
        return f"VAPIX refused the log-in (401): {_RIGHTS}"
    if status == 403:
        return f"VAPIX does not allow this (403): {_RIGHTS}"
    if status == 404:
        return "not there (404): AXIS OS is too old, or it is no Axis camera"
    return f"VAPIX answered {status}, expected 200; look at the camera's system log"


def _no_connection(where: str, error: Exception) -> str:
    """Say in one line why a connection failed, and what to do."""
    if not where.startswith("camera "):
        where = f"camera {where}"
    reasons = [error]
    while cause := (reasons[-1].__cause__ or reasons[-1].__context__):
        reasons.append(cause)
    for reason in reasons:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"{where}: its certificate does not verify ({reason.verify_message}); "
                "give the camera a new certificate, and set its clock"
            )
        if isinstance(reason, ssl.SSLError):
            return (
                f"{where}: no HTTPS there ({reason.reason or 'handshake failed'}); "
                "switch HTTPS on, or name its port"
            )
        if isinstance(reason, ConnectionRefusedError):
            return (
                f"{where}: HTTPS is refused; switch HTTPS on at the camera, or name "
                "its port"
            )
        if isinstance(reason, TimeoutError | httpx.TimeoutException):
            return f"{where}: no answer in time; is it on, and is the address right?"
        if isinstance(reason, socket.gaierror):
            return f"{where}: the name is not known; give its address"
    text = _first_line(str(error)) or type(error).__name__
    return f"{where}: the HTTPS connection failed ({text}); try again"


def _where(client: httpx.Client) -> str:
    return f"camera {client.base_url.host}, port {client.base_url.port or 443}"


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _first_line(text: str) -> str:
    """Return the first line that says something, cut to a length for one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else ""
