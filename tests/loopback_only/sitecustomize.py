"""Refuse connections beyond this computer, in every Python that the tests start.

`conftest.py` puts this folder on PYTHONPATH, so that kernels of notebooks and commands
run under it too; Python imports a module of this name by itself when it starts.
"""

import ipaddress
import os
import sys
from typing import Any


def _is_here(host: Any) -> bool:
    """Tell whether a host is this computer, without asking a name server."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        # Other families, such as Unix sockets, have no host.
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_here(host):
        raise PermissionError(
            f"{event} to {host!r}: the tests open no connection beyond this computer; "
            "AXIS_CAMERA allows it"
        )


if not os.environ.get("AXIS_CAMERA"):
    sys.addaudithook(_refuse)
