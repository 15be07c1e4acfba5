"""The virtual camera: its parser, its file tree, its faults, SSH, SFTP and VAPIX."""

import asyncio
import contextlib
import hashlib
import json
import re
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib.camera import larod, virtual
from course_lib.camera.virtual import Faults, VirtualCamera, shell
from course_lib.cli import dlpu
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput

import asyncssh
import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).parent.parent / "data"
MODEL = DATA / "scene_classifier_qat.tflite"
HOSTILE_NAMES = [
    ";rm -rf ~",
    "$(reboot)",
    "`reboot`",
    "two\nlines",
    "it's",
    '"quoted"',
    "back\\slash",
    "*",
    "-rf",
    " space ",
    "&& reboot",
    "#no comment",
    "~",
    "smörgås ☃",
    "\x1b[31mred",
]


@pytest.fixture(scope="module")
def camera() -> Iterator[VirtualCamera]:
    with virtual.start("artpec8", compile_seconds=0, restart_seconds=0.1) as running:
        yield running


class Visitor:
    """A shell session without a network."""

    def __init__(self, camera: VirtualCamera) -> None:
        self.output, self.errors = "", ""
        self.shell = shell.Shell(
            camera, write=self._write, error=self._error, stopped=lambda: False
        )

    def _write(self, text: str) -> None:
        self.output += text

    def _error(self, text: str) -> None:
        self.errors += text

    def __call__(self, line: str) -> tuple[int, str, str]:
        self.output, self.errors = "", ""
        status = self.shell.run(line)
        return status, self.output, self.errors


@pytest.fixture
def visitor(camera: VirtualCamera) -> Iterator[Visitor]:
    yield Visitor(camera)
    camera.storage.restart()


@contextlib.asynccontextmanager
async def log_in(camera: VirtualCamera, **more):
    """Connect as any SSH client would, knowing the camera's key."""
    own = {
        "username": camera.user,
        "password": camera.password,
        "client_keys": None,
        "agent_path": None,
        "config": None,
        "known_hosts": str(camera.known / "known_hosts"),
    }
    async with asyncssh.connect(camera.host, camera.port, **own | more) as connection:
        yield connection


def execute(camera: VirtualCamera, line: str, **more) -> asyncssh.SSHCompletedProcess:
    async def run():
        async with log_in(camera) as connection:
            return await connection.run(line, **more)

    return asyncio.run(run())


def tree(camera: VirtualCamera) -> dict[str, bytes]:
    return {
        place.relative_to(camera.root).as_posix(): place.read_bytes()
        for place in camera.root.rglob("*")
        if place.is_file()
    }


# --- the parser --------------------------------


@given(st.lists(st.text(min_size=0), min_size=1))
def test_quoted_words_come_through_as_they_are(words):
    assert shell.commands(shlex.join(words)) == [words]


@given(st.text())
def test_any_line_is_cut_or_refused(line):
    with contextlib.suppress(shell.NotUnderstood):
        assert all(isinstance(word, str) for ws in shell.commands(line) for word in ws)


@pytest.mark.parametrize(
    "line",
    [
        "ls; rm -rf /",
        "echo $(reboot)",
        'echo "$(reboot)"',
        'echo "`reboot`"',
        "echo `reboot`",
        "ls | cat",
        "cat < /etc/passwd",
        "echo x > /tmp/y",
        "ls *.tflite",
        "ls [a]",
        "ls a?",
        "ls\nreboot",
        "ls &",
        "ls || reboot",
        "(reboot)",
        "echo $HOME",
        "echo 'open",
        'echo "open',
        "echo \\",
        "ls ~root",
        "&& ls",
        "ls &&",
        "ls && && ls",
    ],
)
def test_what_needs_a_shell_is_answered_in_one_line(visitor, line):
    boot, before = visitor.shell.camera.boot, tree(visitor.shell.camera)
    status, output, errors = visitor(line)
    assert (status, output) == (2, "")
    assert errors.startswith("the virtual camera has no shell: ")
    assert ("is not understood" in errors) == ("only && joins commands" in errors)
    assert errors.count("\n") == 1
    assert errors.endswith("\n")
    assert (visitor.shell.camera.boot, tree(visitor.shell.camera)) == (boot, before)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("   # only a comment", []),
        ("ls -l # why", [["ls", "-l"]]),
        ("echo a#b", [["echo", "a#b"]]),
        ("pwd&&date", [["pwd"], ["date"]]),
        (r"echo \$HOME \; ';' \"", [["echo", "$HOME", ";", ";", '"']]),
        ("""echo "it's" 'a "b"'""", [["echo", "it's", 'a "b"']]),
        ("larod-client -i ''", [["larod-client", "-i", ""]]),
    ],
)
def test_lines_are_cut_as_a_shell_cuts_them(line, expected):
    assert shell.commands(line) == expected


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_file_names_are_only_names(camera, visitor, name):
    assert visitor(shlex.join(["touch", "--", name])) == (0, "", "")
    assert [place.name for place in camera.storage.locate("/tmp").iterdir()] == [name]
    assert visitor("ls") == (0, f"{name}\n", "")
    status, _, errors = visitor(shlex.join(["cat", "--", f"{name}/below"]))
    assert status == 1
    assert "Not a directory" in errors
    assert visitor(shlex.join(["rm", "--", name])) == (0, "", "")
    assert visitor("ls") == (0, "", "")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_an_unknown_command_is_named_in_one_line(visitor, name):
    status, output, errors = visitor(shlex.join([name]))
    assert (status, output) == (127, "")
    assert re.fullmatch(r"sh: [^\n\x1b]*: not found\n", errors)


# --- commands --------------------------------


def test_what_the_camera_says_it_is(visitor):
    # The model zoo's script cuts the value out at the quotation marks.
    found = 'root.Properties.System.Soc="Axis Artpec-8"\n'
    assert visitor("parhandclient getgroup root.Properties.System.Soc")[1] == found
    assert visitor("parhandclient getgroup root.Brand.ProdNbr")[1] == (
        'root.Brand.ProdNbr="Q1656-LE"\n'
    )
    assert visitor("parhandclient getgroup root.Properties.Firmware.Version")[1] == (
        'root.Properties.Firmware.Version="12.11.72"\n'
    )
    assert visitor("parhandclient getgroup root.Nothing") == (1, "", "")
    assert visitor("uname -m")[1] == "aarch64\n"
    assert "SIMULATION" in visitor("uname -a")[1]
    assert visitor("whoami")[1] == "acap-virtual\n"


@pytest.mark.parametrize("soc", [name for name in socs.SOCS if name != "cpu"])
def test_each_chip_has_a_camera(soc):
    with virtual.start(soc) as camera:
        told = Visitor(camera)("larod-client -a")[1]
        assert larod.devices(told) == tuple(socs.SOCS[soc].listed_devices.value)
        assert socs.find(camera.properties["Soc"]).id == soc
        assert "SIMULATION" in camera.banner
        assert socs.SOCS[soc].name in camera.banner


def test_files_and_folders(visitor):
    assert visitor("mkdir -p a/b && cd a && pwd") == (0, "/tmp/a\n", "")
    assert visitor("touch b/.hidden b/seen && ls b")[1] == "seen\n"
    assert visitor("ls -a b")[1] == ".\n..\n.hidden\nseen\n"
    assert re.match(
        r"-rw-r--r-- +1 acap-virtual acap-virtual +0 .* seen\n", visitor("ls -l b")[1]
    )
    assert visitor("rm b") == (1, "", "rm: b: Is a directory\n")
    assert visitor("cat missing") == (
        1,
        "",
        "cat: missing: No such file or directory\n",
    )
    assert visitor("rm missing")[0] == 1
    assert visitor("rm -rf missing b && ls") == (0, "", "")
    assert visitor("cd missing")[0] == 1
    assert visitor("pwd")[1] == "/tmp/a\n"
    assert visitor("cd && pwd")[1] == "/tmp\n"
    assert visitor("df")[1].splitlines()[1].split()[:4] == [
        "tmpfs",
        "65536",
        "0",
        "65536",
    ]
    for line in ("df", "df -h"):  # a column ends where its heading ends
        head, row = visitor(line)[1].splitlines()
        for heading in ("Used", "Available", "Use%"):
            end = head.index(heading) + len(heading)
            assert row[end - 1] != " " == row[end]


def test_listings_name_the_same_owners(camera, visitor):
    def owners(listing: str) -> dict[str, str]:
        rows = [line.split() for line in listing.splitlines()]
        return {row[-1]: row[2] for row in rows}

    async def visit() -> dict[str, str]:
        async with log_in(camera) as connection, connection.start_sftp_client() as sftp:
            return owners(
                "\n".join([entry.longname for entry in await sftp.readdir("/")])
            )

    told = owners(visitor("ls -la /")[1])
    assert told == {
        **dict.fromkeys((".", "..", "etc", "usr", "var"), "root"),
        "tmp": camera.user,
    }
    assert asyncio.run(visit()) == told
    assert owners(visitor("ls -la /tmp")[1]) == {".": camera.user, "..": "root"}


@pytest.mark.parametrize(
    ("version", "user"),
    [("10.9", "root"), ("11.4.63", "root"), ("11.5", "acap-virtual")],
)
def test_who_logs_in_depends_on_the_version(version, user):
    with virtual.start("artpec8", os=version) as camera:
        assert camera.user == user
        assert execute(camera, "whoami && ls -l /tmp").stdout.startswith(f"{user}\n")
        with camera.connect() as client:
            assert client.info.os == version
        other = {"root": "acap-virtual", "acap-virtual": "root"}[user]
        assert not camera.is_login(other, camera.password)
        assert f" User {user}\n" in camera.ssh_config.read_text()


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /",
        "rm -rf /tmp",
        "rm -r /var/lib/larod",
        "touch /etc/passwd",
        "mkdir /new",
        "touch /tmp/../etc/x",
        "rm -rf ../..",
    ],
)
def test_what_is_not_the_visitors_stays(camera, visitor, line):
    before = sorted(camera.root.rglob("*"))
    status, _, errors = visitor(line)
    assert status == 1
    assert errors.endswith("Permission denied\n")
    assert sorted(camera.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("ls -Z", "ls: -Z: the virtual camera has no such option\n"),
        ("cat", "cat: 0 operands, expected 1 or more\n"),
        ("whoami x", "whoami: 1 operands, expected 0\n"),
        ("journalctl -f", "journalctl: -f: the virtual camera has no such option\n"),
        ("journalctl -n x", "journalctl: -n x: expected a number of lines\n"),
        ("journalctl -n", "journalctl: -n: a value is missing\n"),
        ("exit 1 2", "exit: expected at most one number\n"),
    ],
)
def test_wrong_use_is_told(visitor, line, errors):
    assert visitor(line) == (1, "", errors)


def test_a_script_runs_line_after_line(camera, visitor):
    script = camera.storage.locate("/tmp/run.sh")
    script.write_text("#!/bin/sh\n\n# why\nset -e\necho one\ncat missing\necho two\n")
    assert visitor("sh run.sh")[:2] == (1, "one\n")
    script.write_text("cat missing\necho two  # goes on\n")
    assert visitor("sh run.sh")[:2] == (0, "two\n")
    script.write_text("for i in 1 2; do reboot; done\n")
    assert visitor("sh run.sh")[:2] == (2, "")
    script.write_text("echo deep\nsh run.sh\n")
    status, output, errors = visitor("sh run.sh")
    assert (status, output.count("deep")) == (1, 8)
    assert "more than 8 scripts" in errors
    script.write_text("exit 3\necho never\n")
    assert visitor("sh run.sh") == (3, "", "")
    script.write_bytes(b"\xff\xfe")
    assert visitor("sh run.sh")[0] != 0


def test_the_journal(camera, visitor):
    camera.device.log("first")
    camera.device.log("last")
    camera.note("sshd", "somebody")
    lines = visitor("journalctl -u larod -n 2 --no-pager")[1].splitlines()
    assert [entry.text for entry in larod.log("\n".join(lines))] == ["first", "last"]
    assert "somebody" in visitor("journalctl")[1]
    assert visitor("journalctl -u other")[1] == "-- No entries --\n"
    assert "first" in [entry.text for entry in larod.log(camera.system_log)]


def test_help_names_every_command(visitor):
    told = visitor("help")[1]
    assert "SIMULATION" in told
    assert all(re.search(rf"\b{name}\b", told) for name in shell._COMMANDS)


# --- the file tree --------------------------------


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "../" * 40 + "etc/passwd", "//etc//passwd", "/etc/./passwd"],
)
def test_paths_stay_inside(camera, path):
    assert camera.storage.locate(path) == camera.root / "etc/passwd"


def test_a_link_that_leads_out_is_not_followed(camera, visitor, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    camera.storage.locate("/tmp/link").symlink_to(secret)
    camera.storage.locate("/tmp/folder").symlink_to(tmp_path)
    for name, place in (
        ("cat", "link"),
        ("cat", "folder/secret"),
        ("ls", "folder"),
        ("touch", "folder/x"),
        ("cd", "folder"),
    ):
        told = visitor(f"{name} {place}")
        assert told == (1, "", f"{name}: {place}: Permission denied\n")

    async def read():
        async with log_in(camera) as connection, connection.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.get("link", tmp_path / "copy")
            with pytest.raises(asyncssh.SFTPError):
                await sftp.listdir("folder")

    asyncio.run(read())
    assert sorted(place.name for place in tmp_path.iterdir()) == ["secret"]


def test_sftp_stays_inside_and_makes_no_links(camera, tmp_path):
    async def visit():
        async with log_in(camera) as connection, connection.start_sftp_client() as sftp:
            assert await sftp.getcwd() == "/tmp"
            assert await sftp.realpath("../../../..") == "/"
            assert await sftp.realpath("/tmp/../etc") == "/etc"
            for attempt in (
                sftp.symlink("/etc", "out"),
                sftp.link("/etc/x", "out"),
                sftp.mkdir("/etc/new"),
                sftp.rmdir("/tmp"),
                sftp.rename("/etc", "/tmp/etc"),
                sftp.chmod("/etc", 0o777),
                sftp.put(MODEL, "/usr/bin/larod-client"),
            ):
                with pytest.raises(asyncssh.SFTPError):
                    await attempt
            for name in HOSTILE_NAMES:
                async with sftp.open(name, "wb") as file:
                    await file.write(name.encode())
            assert sorted(await sftp.listdir()) == sorted([".", "..", *HOSTILE_NAMES])
            for name in HOSTILE_NAMES:
                async with sftp.open(name, "rb") as file:
                    assert await file.read() == name.encode()
            await sftp.chmod("-rf", 0o4000)
            await sftp.rename("-rf", "other")
            await sftp.posix_rename("other", "*")
            with pytest.raises(asyncssh.SFTPError):
                await sftp.rename("*", "~")
            for name in await sftp.listdir():
                if name not in (".", ".."):
                    await sftp.remove(name)

    asyncio.run(visit())
    assert list(camera.storage.locate("/tmp").iterdir()) == []


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    big = tmp_path / "big"
    big.write_bytes(b"x" * 150_000)

    async def visit(camera: VirtualCamera):
        async with log_in(camera) as connection, connection.start_sftp_client() as sftp:
            await sftp.put(MODEL, "model.tflite")
            with pytest.raises(asyncssh.SFTPError, match="No space left on device"):
                await sftp.put(big, "big")
            for attempt in (
                sftp.truncate("model.tflite", 10**12),
                sftp.truncate("big", 10**12),
            ):
                with pytest.raises(asyncssh.SFTPError, match="No space left on device"):
                    await attempt
            async with sftp.open("sparse", "wb") as file:
                with pytest.raises(asyncssh.SFTPError, match="No space left on device"):
                    await file.write(b"x", offset=10**12)
            free = (await sftp.statvfs("/tmp")).bfree
            assert free * 4096 < 150_000
            await sftp.remove("big")
            async with sftp.open("log", "ab") as file:
                await file.write(b"x" * 60_000)
                with pytest.raises(asyncssh.SFTPError, match="No space left on device"):
                    await file.write(b"x" * 60_000)
            await sftp.get("model.tflite", tmp_path / "back.tflite")

    disk = MODEL.stat().st_size + 100_000
    with virtual.start("artpec8", disk=disk) as camera:
        asyncio.run(visit(camera))
        assert (tmp_path / "back.tflite").read_bytes() == MODEL.read_bytes()
        files = camera.storage.locate("/tmp").iterdir()
        assert sum(place.stat().st_size for place in files) <= disk


def test_outputs_fit_on_the_disk_or_are_refused():
    with virtual.start("artpec8", disk=MODEL.stat().st_size + 3) as camera:
        visitor = Visitor(camera)
        camera.storage.locate("/tmp/m.tflite").write_bytes(MODEL.read_bytes())
        line = "touch out && larod-client -g m.tflite -c cpu-tflite -i '' -o out"
        status, output, _ = visitor(line)
        assert status == 1
        assert "No space left on device" in larod.parse(output).error.text
        assert visitor("ls -1")[1] == "m.tflite\nout\n"
        assert camera.storage.locate("/tmp/out").stat().st_size == 0
        for place in ("/etc/out", "../etc/out", "/var/lib/larod/out"):
            status, output, _ = visitor(
                line.split("&& ")[1].replace(" out", f" {place}")
            )
            assert status == 1
            assert "Permission denied" in larod.parse(output).error.text


# --- SSH --------------------------------


def test_a_command_over_ssh(camera):
    reply = execute(camera, "pwd && nope")
    assert (reply.stdout, reply.exit_status) == ("/tmp\n", 127)
    assert reply.stderr == "sh: nope: not found\n"


def test_bytes_that_are_no_text_come_out_as_they_are(camera):
    content = bytes(range(256)) * 300
    camera.storage.locate("/tmp/bytes").write_bytes(content)
    assert execute(camera, "cat bytes", encoding=None).stdout == content
    camera.storage.restart()


def test_a_model_runs_and_says_that_it_is_a_simulation(camera, tmp_path):
    async def visit():
        async with log_in(camera) as connection:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(MODEL, "m.tflite")
                size = 96 * 96 * 3
                async with sftp.open("in.bin", "wb") as file:
                    await file.write(bytes(size))
            words = larod.command(
                "m.tflite",
                device="axis-a8-dlpu-tflite",
                rounds=3,
                inputs=("in.bin",),
                outputs=("out.bin",),
            )
            return await connection.run(f"touch out.bin && {shlex.join(words)}")

    reply = asyncio.run(visit())
    run = larod.parse(reply.stdout)
    assert (reply.exit_status, run.error, run.rounds) == (0, None, 3)
    assert run.simulated.startswith("simulation: ")
    assert camera.storage.locate("/tmp/out.bin").stat().st_size > 0
    camera.storage.restart()


@pytest.mark.parametrize(
    "more",
    [{"password": "wrong"}, {"username": "root"}, {"password": ""}],
    ids=["password", "user", "empty"],
)
def test_a_wrong_login_is_refused_and_no_secret_is_logged(camera, more):
    async def visit():
        async with log_in(camera, **more):
            pass

    with pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(visit())
    told = camera.journal + camera.system_log + repr(camera)
    assert camera.password not in told
    assert "wrong" not in told


def test_forwarding_is_refused(camera):
    async def visit():
        async with log_in(camera) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", camera.https_port)
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 9)
            reply = await connection.run(subsystem="netconf")
            assert reply.exit_status == 127

    asyncio.run(visit())


def running() -> int:
    return sum(thread.name == "virtual-camera-run" for thread in threading.enumerate())


def wait_for(happened) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_sessions_at_once_and_a_run_ends_with_its_session(camera):
    camera.storage.locate("/tmp/m.tflite").write_bytes(MODEL.read_bytes())
    line = "larod-client -g m.tflite -c cpu-tflite -R 0 -i ''"

    async def visit():
        async with log_in(camera) as first, log_in(camera) as second:
            process = await first.create_process(line)
            while "Running job" not in await process.stdout.readline():
                pass
            assert running() == 1
            assert (await second.run("ls")).stdout == "m.tflite\n"
            other = await second.create_process(line)
            while "Running job" not in await other.stdout.readline():
                pass
            assert running() == 2
            other.send_signal("INT")
            await other.wait_closed()
            assert (await second.run("echo on")).stdout == "on\n"

    asyncio.run(visit())
    wait_for(lambda: running() == 0)
    camera.storage.restart()


def test_a_visitor_who_does_not_read_holds_up_nobody(camera):
    camera.storage.locate("/tmp/big").write_bytes(bytes(8_000_000))

    async def visit():
        async with log_in(camera) as first, log_in(camera) as second:
            await first.create_process("cat big", encoding=None)
            assert (await second.run("echo on")).stdout == "on\n"

    asyncio.run(visit())
    wait_for(lambda: running() == 0)
    camera.storage.restart()


# --- faults --------------------------------


def test_a_connection_is_cut_in_an_upload_and_in_a_download(tmp_path):
    faults = Faults(cut_upload_after=40_000, cut_download_after=50_000)

    async def visit(camera: VirtualCamera, *, up: bool):
        async with log_in(camera) as connection, connection.start_sftp_client() as sftp:
            if up:
                await sftp.put(MODEL, "m.tflite")
            else:
                await sftp.get("m.tflite", tmp_path / "m.tflite")

    lost = (asyncssh.SFTPError, asyncssh.Error, OSError)
    with virtual.start("artpec8", faults=faults) as camera:
        with pytest.raises(lost):
            asyncio.run(visit(camera, up=True))
        assert camera.storage.locate("/tmp/m.tflite").stat().st_size <= 40_000
        asyncio.run(visit(camera, up=True))
        with pytest.raises(lost):
            asyncio.run(visit(camera, up=False))
        asyncio.run(visit(camera, up=False))
    assert (tmp_path / "m.tflite").read_bytes() == MODEL.read_bytes()


@pytest.mark.parametrize(
    "faults",
    [Faults(cut_run_after=0), Faults(reboot_during_run=True)],
    ids=["cut", "reboot"],
)
def test_a_connection_is_cut_in_a_run(faults):
    line = "larod-client -g m.tflite -c cpu-tflite -R 0 -i ''"
    with virtual.start("artpec8", faults=faults, restart_seconds=0.1) as camera:
        model = camera.storage.locate("/tmp/m.tflite")
        model.write_bytes(MODEL.read_bytes())
        assert execute(camera, line).exit_status is None
        wait_for(lambda: running() == 0)
        wait_for(camera._up.is_set)
        assert model.exists() != faults.reboot_during_run
        model.write_bytes(MODEL.read_bytes())
        assert execute(camera, line.replace("-R 0", "-R 2")).exit_status == 0


def test_a_fault_that_did_not_come_in_time_comes_later():
    line = "larod-client -g m.tflite -c cpu-tflite -R 1 -i ''"
    with virtual.start("artpec8", faults=Faults(cut_run_after=60)) as camera:
        camera.storage.locate("/tmp/m.tflite").write_bytes(MODEL.read_bytes())
        assert execute(camera, line).exit_status == 0
        assert camera.pending.take("cut_run_after") == 60


def test_a_restart_empties_memory_and_keeps_the_key(camera):
    camera.storage.locate("/tmp/gone").touch()
    kept = camera.storage.locate("/usr/local/packages/virtual/kept")
    kept.touch()
    before = (camera.host_key, camera.port, camera.https_port, camera.certificate)
    boot = camera.boot

    async def visit():
        async with log_in(camera) as connection:
            process = await connection.create_process()
            await asyncio.get_running_loop().run_in_executor(None, camera.reboot)
            await asyncio.wait_for(connection.wait_closed(), 10)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((camera.host, camera.port), timeout=5)
            process.close()

    camera._restart_seconds = 1
    asyncio.run(visit())
    camera._restart_seconds = 0.1
    wait_for(camera._up.is_set)
    after = (camera.host_key, camera.port, camera.https_port, camera.certificate)
    assert after == before
    assert camera.boot != boot
    assert execute(camera, "ls && ls /usr/local/packages/virtual").stdout == "kept\n"
    kept.unlink()


def test_the_command_reboot(camera):
    boot = camera.boot
    assert execute(camera, "reboot").exit_status is None
    wait_for(lambda: camera.boot != boot)
    assert execute(camera, "echo back").stdout == "back\n"


def test_another_host_key_after_a_restart():
    faults = Faults(new_host_key=True)
    with virtual.start("artpec8", faults=faults, restart_seconds=0) as camera:
        assert execute(camera, "echo on").stdout == "on\n"
        old = camera.host_key
        camera.reboot(wait=True)
        assert camera.host_key != old
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            execute(camera, "echo on")
        new = camera.host_key
        camera.reboot(wait=True)
        assert camera.host_key == new


def test_faults_are_counted():
    pending = virtual.Pending(Faults(cut_run_after=0, reply_bytes=5, times=2))
    assert [pending.take("reply_bytes") for _ in range(3)] == [5, 5, None]
    assert pending.take("reboot_during_run") is None
    assert [pending.take("cut_run_after") for _ in range(3)] == [0, 0, None]
    pending.give_back("cut_run_after")
    assert pending.take("cut_run_after") == 0


def test_a_long_reply_comes_once():
    with virtual.start("artpec8", faults=Faults(reply_bytes=5_000_001)) as camera:
        assert len(execute(camera, "ls").stdout) == 5_000_001
        assert execute(camera, "echo on").stdout == "on\n"


# --- VAPIX --------------------------------


@contextlib.contextmanager
def https(
    camera: VirtualCamera, *, password: str | None = None
) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"https://{camera.host}:{camera.https_port}/axis-cgi",
        verify=ssl.create_default_context(cadata=camera.certificate),
        auth=httpx.DigestAuth(camera.user, password or camera.password),
        trust_env=False,
    ) as client:
        yield client


def call(client: httpx.Client, name: str, method: str, **more) -> httpx.Response:
    body = {"apiVersion": "1.0", "context": "test", "method": method}
    return client.post(f"/{name}.cgi", json=body, **more)


def test_basic_device_information(camera):
    with https(camera) as client:
        told = call(client, "basicdeviceinfo", "getAllProperties").json()
        assert (told["method"], told["context"]) == ("getAllProperties", "test")
        found = told["data"]["propertyList"]
        assert found["Soc"] == "Axis Artpec-8"
        assert found["Version"] == "12.11.72"
        assert found["ProdNbr"] == "Q1656-LE"
        assert found["Architecture"] == "aarch64"
        assert "VIRTUAL" in found["SerialNumber"]
        assert found["ProdFullName"].endswith(larod.VIRTUAL)
        versions = call(client, "basicdeviceinfo", "getSupportedVersions").json()
        assert versions["data"] == {"apiVersions": ["1.3"]}
        few = client.post(
            "/basicdeviceinfo.cgi",
            json={
                "apiVersion": "1.0",
                "method": "getProperties",
                "params": {"propertyList": ["Brand"]},
            },
        ).json()
        assert few["data"]["propertyList"] == {"Brand": "AXIS"}
        assert "error" in call(client, "basicdeviceinfo", "nonsense").json()
        assert "error" in client.post("/basicdeviceinfo.cgi", content=b"{").json()
        assert "error" in client.post("/basicdeviceinfo.cgi", content=b"[1]").json()
        open_to_all = call(
            client, "basicdeviceinfo", "getAllUnrestrictedProperties", auth=None
        ).json()
        assert open_to_all["data"]["propertyList"]["ProdNbr"] == "Q1656-LE"
        assert "Soc" not in open_to_all["data"]["propertyList"]


def test_vapix_wants_a_login(camera):
    with https(camera) as client:
        nobody = call(client, "basicdeviceinfo", "getAllProperties", auth=None)
        assert nobody.status_code == 401
        offered = nobody.headers.get_list("www-authenticate")
        assert [re.search("algorithm=([^,]*)", text)[1] for text in offered] == [
            "SHA-256",
            "MD5",
        ]
        basic = call(
            client,
            "basicdeviceinfo",
            "getAllProperties",
            auth=(camera.user, camera.password),
        )
        assert basic.status_code == 401
    with https(camera, password="wrong") as client:
        assert call(client, "basicdeviceinfo", "getAllProperties").status_code == 401
        assert client.get("/nothing.cgi").status_code == 401
    assert camera.password not in camera.journal


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def authorization(camera: VirtualCamera, challenge: str, **change) -> str:
    """Answer a challenge by hand, with MD5, as RFC 7616 says."""
    realm, nonce = (
        re.search(f'{key}="([^"]*)"', challenge)[1] for key in ("realm", "nonce")
    )
    use = {"target": "/axis-cgi/param.cgi", "count": "00000001"} | change
    first = md5(f"{camera.user}:{realm}:{camera.password}")
    second = md5(f"GET:{use['target']}")
    response = md5(f"{first}:{nonce}:{use['count']}:abc:auth:{second}")
    return (
        f'Digest username="{camera.user}", realm="{realm}", nonce="{nonce}", '
        f'uri="{use["target"]}", response="{response}", qop=auth, nc={use["count"]}, '
        'cnonce="abc", algorithm=MD5, opaque='
    )


def test_digest_with_md5_and_no_replay(camera):
    with https(camera) as client:
        challenge = client.get("/param.cgi", auth=None).headers.get_list(
            "www-authenticate"
        )[1]

        def answer(**change) -> httpx.Response:
            header = authorization(camera, challenge, **change)
            return client.get(
                "/param.cgi", auth=None, headers={"Authorization": header}
            )

        assert answer().status_code == 200
        again = answer()
        assert again.status_code == 401
        assert "stale=true" in again.headers["www-authenticate"]
        assert answer(count="00000002").status_code == 200
        elsewhere = answer(count="00000003", target="/axis-cgi/systemlog.cgi")
        assert elsewhere.status_code == 401
        assert "stale" not in elsewhere.headers["www-authenticate"]


def test_a_nonce_expires(camera, monkeypatch):
    digest = camera._https.digest
    challenge = digest.challenges()[1]
    header = authorization(camera, challenge)
    later = time.time() + 120
    monkeypatch.setattr(virtual.vapix.time, "time", lambda: later)
    check = {"method": "GET", "target": "/axis-cgi/param.cgi"}
    assert digest.check(header, **check) == "stale"
    forged = re.sub('nonce="[0-9]+', f'nonce="{int(later)}', challenge)
    assert digest.check(authorization(camera, forged), **check) == "stale"


@pytest.mark.parametrize(
    "header",
    ["", "Digest", "Digest x", "Basic YTpi", 'Digest nonce="', "Digest a=,b=="],
)
def test_a_broken_authorization_is_wrong(camera, header):
    digest = camera._https.digest
    assert digest.check(header, method="GET", target="/") == "wrong"


def test_the_certificate_is_the_cameras_own(camera):
    url = f"https://{camera.host}:{camera.https_port}/axis-cgi/systemready.cgi"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(url, trust_env=False)
    der = ssl.PEM_cert_to_DER_cert(camera.certificate)
    shown = hashlib.sha256(der).hexdigest().upper()
    assert camera.certificate_fingerprint.replace(":", "") == shown
    assert sorted(place.name for place in camera.storage.folder.iterdir()) == [
        "known",
        "root",
    ]


def test_parameters(camera):
    mae = "ImageSource.I0.Sensor.MotionAdaptiveExposure"
    with https(camera) as client:

        def ask(**query) -> str:
            return client.get("/param.cgi", params=query).text

        brand = ask(action="list", group="Brand")
        assert "root.Brand.ProdNbr=Q1656-LE\n" in brand
        assert ask(action="list", group="root.Brand") == brand
        assert "root.Network.SSH.Enabled=yes\n" in ask(action="list")
        assert ask(action="list", group="Nope").startswith("# Error: Error -1 getting")
        assert ask(**{"action": "update", mae: "off"}) == "OK"
        assert ask(action="list", group=mae) == f"root.{mae}=off\n"
        assert ask(**{"action": "update", mae: "maybe"}).startswith(
            "# Error: Error setting"
        )
        assert ask(**{"action": "update", "Brand.ProdNbr": "x"}).startswith("# Error")
        posted = client.post(
            "/param.cgi", data={"action": "update", f"root.{mae}": "on"}
        )
        assert posted.text == "OK"
        assert (
            client.get("/admin/param.cgi", params={"action": "list"}).status_code == 200
        )


def test_ssh_is_switched_off_and_on(camera):
    with https(camera) as client:
        for value in ("no", "no"):
            told = client.get(
                "/param.cgi", params={"action": "update", "Network.SSH.Enabled": value}
            )
            assert told.text == "OK"
        with pytest.raises(ConnectionRefusedError):
            execute(camera, "echo on")
        camera.reboot(wait=True)
        with pytest.raises(ConnectionRefusedError):
            execute(camera, "echo on")
    with https(camera) as client:
        client.get(
            "/param.cgi", params={"action": "update", "Network.SSH.Enabled": "yes"}
        )
    assert execute(camera, "echo on").stdout == "on\n"


def test_a_restart_over_vapix(camera):
    with https(camera) as client:
        before = call(client, "systemready", "systemready", auth=None).json()["data"]
        assert before["systemready"] == "yes"
        assert call(client, "firmwaremanagement", "reboot").status_code == 200
        wait_for(lambda: camera.boot != before["bootid"])
    with https(camera) as client:
        after = call(client, "systemready", "systemready", auth=None).json()["data"]
    assert after["bootid"] == camera.boot


def test_the_system_log(camera):
    camera.device.log("double free or corruption (out)")
    with https(camera) as client:
        told = client.get("/admin/systemlog.cgi").text
        assert client.get("/admin/systemlog.cgi?appname=nothing-of-this").text == ""
    last = larod.log(told)[-1]
    assert (last.level, last.text) == ("INFO", "double free or corruption (out)")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$", last.time)


def test_what_is_not_there_and_what_is_too_much(camera):
    with https(camera) as client:
        assert client.get("/jpg/image.cgi").status_code == 404
        assert client.put("/param.cgi").status_code == 501
        assert client.post("/param.cgi", content=b"x" * 100_000).status_code == 413


def test_a_visitor_who_says_nothing_holds_up_nobody(camera):
    with (
        socket.create_connection((camera.host, camera.https_port)),
        https(camera) as client,
    ):
        assert call(client, "systemready", "systemready").status_code == 200


# --- beginning and end --------------------------------


def test_nothing_is_left_behind():
    before = set(threading.enumerate())
    with virtual.start("artpec8") as camera:
        folder = camera.storage.folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    camera.close()
    camera.reboot()
    assert not folder.exists()
    wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("ending", ["pass", "raise KeyboardInterrupt"])
def test_nothing_is_left_behind_by_a_program_that_forgets(ending):
    program = (
        "from course_lib.camera import virtual\n"
        "camera = virtual.start('artpec8')\n"
        f"print(camera.storage.folder, flush=True)\n{ending}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.strip()
    assert not Path(ended.stdout.strip()).exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"soc": "artpec6"}, "artpec6"),
        ({"soc": "cpu"}, "no camera's.*each of them has the device cpu-tflite"),
        ({"os": "new"}, "version such as"),
        ({"disk": 0}, "disk=0"),
        ({"authorized_keys": ["nonsense"]}, "authorized key"),
    ],
)
def test_what_cannot_be_started_is_told_in_one_line(
    change, text, tmp_path, monkeypatch
):
    # A folder of its own: other tests start cameras at the same time.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UnusableInput, match=text) as told:
        virtual.start(**{"soc": "artpec8"} | change)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_told(camera):
    with pytest.raises(UnusableInput, match="Address already in use"):
        virtual.start("artpec8", port=camera.port)


# --- dlpu camera --------------------------------


@contextlib.contextmanager
def served(*words: str) -> Iterator[tuple[subprocess.Popen, str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "course_lib.cli", "camera", *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        told = ""
        while "until Ctrl-C" not in told:
            line = process.stdout.readline()
            assert line
            told += line
        try:
            yield process, told
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_serves_until_it_is_told_to_end(number):
    with served("--soc", "cv25") as (process, told):
        assert "SIMULATION" in told
        assert "ambarella-cvflow" in told
        assert re.search(r"scp -F \S+ model.onnx camera:/tmp/\n +64 MiB", told)
        settings = Path(re.search("ssh -F ([^ ]*) camera\n", told)[1])
        assert settings.exists()
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not settings.parent.parent.exists()


def test_the_printed_lines_for_the_client(monkeypatch, tmp_path):
    """Do what they say, word for word."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("AXIS_CAMERA_KEY", raising=False)
    with virtual.start("artpec8") as camera:
        told = virtual.login_help(camera)
        for line in re.findall("export (AXIS_CAMERA.*=.*)\n", told):
            for pair in shlex.split(line):
                monkeypatch.setenv(*pair.split("=", 1))
        assert "read -rs AXIS_CAMERA_PASSWORD " in told
        monkeypatch.setenv("AXIS_CAMERA_PASSWORD", camera.password)
        words = shlex.split(re.search("\n  dlpu (camera.*)\n", told)[1])
        assert words == ["camera"]
        done = CliRunner().invoke(dlpu, words)
        assert done.exit_code == 0, done.output
        assert "SIMULATION" in done.output
        # An address without the port, and AXIS_CAMERA has it.
        with socket.socket() as free:
            free.bind((camera.host, 0))
            port = str(free.getsockname()[1])
        done = CliRunner().invoke(dlpu, ["camera", camera.host, "--port", port])
        assert done.exit_code == 2
        assert f"give it as {camera.host}:{camera.port}\n" in done.output
        done = CliRunner().invoke(dlpu, ["camera", f"{camera.host}:{camera.port}"])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_tells_what_a_camera_is(camera, as_json, monkeypatch, tmp_path):
    for name in ("HOME", "XDG_CONFIG_HOME"):  # where known keys are kept
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("AXIS_CAMERA_KEY", raising=False)
    monkeypatch.setenv("AXIS_CAMERA", camera.host)
    monkeypatch.setenv("AXIS_CAMERA_PASSWORD", camera.password)
    words = ["camera", "--user", camera.user, "--port", str(camera.port)]
    words += ["--https-port", str(camera.https_port), *(["--json"] if as_json else [])]
    unknown = CliRunner().invoke(dlpu, words)
    assert unknown.exit_code == 2
    assert camera.host_key_fingerprint in unknown.output
    (kept,) = re.findall("--trust-new, which keeps it in (.*)\n", unknown.output)
    assert "trust_new" not in unknown.output
    assert not Path(kept).exists()
    first = CliRunner().invoke(dlpu, [*words, "--trust-new"])
    assert Path(kept).exists()
    again = CliRunner().invoke(dlpu, words)
    assert (again.exit_code, again.output) == (0, first.output)
    assert camera.password not in unknown.output + first.output
    if as_json:
        told = json.loads(again.output)
        assert told["soc"] == "artpec8"
        assert told["device"] == "axis-a8-dlpu-tflite"
        assert told["devices"] == list(camera.device.devices)
        assert told["os"] == camera.os
    else:
        assert "device:       axis-a8-dlpu-tflite (the one to use)" in again.output
        assert "SIMULATION" in again.output


def test_the_courses_client_trusts_exactly_this_camera(camera):
    with camera.connect() as client:
        assert client.info.os == camera.os
        assert client.execute(["echo", "$(reboot)"]).stdout == "$(reboot)\n"
    with (
        virtual.start("artpec8") as other,
        pytest.raises(UnusableInput, match="key"),
        camera.connect(port=other.port, password=other.password) as client,
    ):
        client.execute("pwd")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no camera"),
        (["127.0.0.1", "--soc", "artpec8"], "HOST and --soc exclude each other"),
        (["--soc", "artpec8", "--json"], "--json: not together with --soc"),
        (["127.0.0.1", "--os", "12.0"], "--os"),
        (["--soc", "artpec8", "--authorized-key", "missing.pub"], "missing.pub"),
        (["127.0.0.1"], "user"),
    ],
)
def test_wrong_use_of_the_command(words, text, monkeypatch):
    for name in ("AXIS_CAMERA", "AXIS_CAMERA_USER", "AXIS_CAMERA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(dlpu, ["camera", *words])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert text in result.output
