"""Without AXIS_CAMERA nothing opens a connection beyond this computer."""

import os
import socket
import subprocess
import sys

import pytest
from jupyter_client.manager import start_new_kernel

AWAY = ("192.0.2.1", 9)  # an address that belongs to nobody (RFC 5737)
without_camera = pytest.mark.skipif(
    bool(os.environ.get("AXIS_CAMERA")), reason="AXIS_CAMERA allows connections"
)


@without_camera
def test_no_connection_away_from_here():
    with socket.socket() as one, pytest.raises(PermissionError, match="AXIS_CAMERA"):
        one.connect(AWAY)
    with (
        socket.socket(socket.AF_INET6) as one,
        pytest.raises(PermissionError, match="2001:db8"),
    ):
        one.connect(("2001:db8::1", 9))


@without_camera
def test_no_datagram_and_no_name():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        pytest.raises(PermissionError),
    ):
        one.sendto(b"", AWAY)
    with pytest.raises(PermissionError, match=r"camera\.example"):
        socket.getaddrinfo("camera.example", 22)


def test_here_is_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


@pytest.mark.parametrize(
    ("camera", "expected"), [("", "PermissionError"), ("a-camera", "free")]
)
def test_commands_that_a_test_starts_are_under_it_too(camera, expected):
    code = (
        "import sys\n"
        "try:\n"
        "    sys.audit('socket.connect', None, ('192.0.2.1', 9))\n"
        "    print('free')\n"
        "except PermissionError as error:\n"
        "    print(type(error).__name__)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AXIS_CAMERA": camera},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == expected


@without_camera
def test_kernels_of_notebooks_are_under_it_too():
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        reply = client.execute_interactive(
            "import socket; socket.create_connection(('192.0.2.1', 9))",
            timeout=60,
            output_hook=lambda message: None,
        )
        assert reply["content"]["ename"] == "PermissionError"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
