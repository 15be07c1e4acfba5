"""The system's own OpenSSH clients log in to the virtual camera."""

import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib.camera import larod, virtual
from course_lib.camera.virtual import VirtualCamera

import asyncssh
import pytest

pytestmark = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("ssh", "sftp", "scp")),
    reason="no ssh, sftp and scp here: Debian's package is openssh-client",
)

DATA = Path(__file__).parent.parent / "data"
MODEL = DATA / "scene_classifier_qat.tflite"
SIZE = 96 * 96 * 3
DEVICE = "axis-a8-dlpu-tflite"


@dataclass(frozen=True)
class Client:
    """OpenSSH with the camera's address and no settings of this computer."""

    camera: VirtualCamera
    home: Path

    def __call__(
        self, name: str, *words: str, key: bool = True, **more
    ) -> subprocess.CompletedProcess:
        port = "-p" if name == "ssh" else "-P"
        options = ["-F", "none", port, str(self.camera.port), *self.camera.ssh_options]
        if key:
            options += ["-i", str(self.home / "key"), "-o", "BatchMode=yes"]
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
        }
        more = {"text": True, "input": ""} | more
        environment |= more.pop("env", {})
        return subprocess.run(
            [shutil.which(name), *options, *words],
            capture_output=True,
            timeout=60,
            env=environment,
            **more,
        )

    @property
    def address(self) -> str:
        return f"{self.camera.user}@{self.camera.host}"

    def ssh(self, line: str, **more) -> subprocess.CompletedProcess:
        return self("ssh", self.address, line, **more)

    def sftp(self, *lines: str) -> subprocess.CompletedProcess:
        return self("sftp", "-b", "-", self.address, input="\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    key = asyncssh.generate_private_key("ssh-ed25519")
    (home / "key").touch(mode=0o600)
    key.write_private_key(home / "key")
    public = key.export_public_key().decode()
    with virtual.start(
        "artpec8", authorized_keys=[public], compile_seconds=0, restart_seconds=0.1
    ) as camera:
        yield Client(camera, home)


@pytest.fixture(autouse=True)
def empty(client: Client) -> Iterator[None]:
    yield
    client.camera.storage.restart()


def test_a_key_logs_in_and_the_banner_says_what_it_is(client):
    ended = client.ssh("whoami")
    assert (ended.returncode, ended.stdout) == (0, "acap-virtual\n")
    assert ended.stderr.replace("\r", "") == client.camera.banner
    assert "SIMULATION" in ended.stderr


def test_a_password_logs_in(client):
    ask = client.home / "ask"
    ask.write_text('#!/bin/sh\nprintf "%s\\n" "$ANSWER"\n')
    ask.chmod(0o700)
    for answer, status, told in (
        (client.camera.password, 0, "acap-virtual\n"),
        ("wrong", 255, ""),
    ):
        ended = client.ssh(
            "whoami",
            key=False,
            env={
                "SSH_ASKPASS": str(ask),
                "SSH_ASKPASS_REQUIRE": "force",
                "DISPLAY": ":0",
                "ANSWER": answer,
            },
        )
        assert (ended.returncode, ended.stdout) == (status, told)
    assert client.camera.password not in client.camera.journal


@pytest.mark.parametrize("user", ["root", "acap-other"])
def test_the_right_key_under_another_name_is_refused(client, user):
    ended = client("ssh", f"{user}@{client.camera.host}", "whoami")
    assert ended.returncode == 255
    assert "Permission denied" in ended.stderr


def test_another_host_key_is_refused(client, tmp_path):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known = tmp_path / "known_hosts"
    known.write_text(f"{client.camera.host_key.split()[0]} {other}")
    words = ["-F", "none", "-p", str(client.camera.port), "-o", "BatchMode=yes"]
    words += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
    refused = subprocess.run(
        [shutil.which("ssh"), *words, client.address, "whoami"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_the_lessons_commands(client, tmp_path):
    (tmp_path / "zeros.bin").write_bytes(bytes(SIZE))
    copied = client(
        *("scp", str(MODEL), str(tmp_path / "zeros.bin")), f"{client.address}:"
    )
    assert copied.returncode == 0, copied.stderr

    def run(line: str) -> str:
        ended = client.ssh(line)
        assert ended.returncode == 0, (line, ended.stdout, ended.stderr)
        return ended.stdout

    found = 'root.Properties.System.Soc="Axis Artpec-8"\n'
    assert run("parhandclient getgroup root.Properties.System.Soc") == found
    assert run("uname -m") == "aarch64\n"
    assert DEVICE in larod.devices(run("larod-client -a"))
    assert run("ls -1") == "scene_classifier_qat.tflite\nzeros.bin\n"
    random = "larod-client -g scene_classifier_qat.tflite -R 5 -w 1 -i ''"
    for device in (DEVICE, "cpu-tflite"):
        told = larod.parse(run(f"touch 7.out0 && {random} -c {device} --random-seed 7"))
        assert (told.error, told.rounds, told.seed) == (None, 5, 7)
        assert told.simulated.startswith("simulation: ")
    real = f"larod-client -g scene_classifier_qat.tflite -c {DEVICE} -i zeros.bin"
    assert larod.parse(run(f"touch out && {real} -o out")).outputs == ("out",)
    copied = client("scp", f"{client.address}:out", str(tmp_path))
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "out").stat().st_size > 0
    wrong = client.ssh("larod-client -g zeros.bin -c axis-a8-dlpu-tflite -i ''")
    assert wrong.returncode != 0
    assert larod.parse(wrong.stdout).error is not None
    assert run("journalctl -u larod -n 20 --no-pager")
    assert all(run(line) for line in ("date", "df -h", "help"))
    assert run("rm -f out 7.out0 scene_classifier_qat.tflite zeros.bin && ls") == ""


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "scp"])
def test_scp_both_ways(client, tmp_path, protocol):
    names = ["plain", "with space", "smörgås"]
    for name in names:
        (tmp_path / name).write_bytes(os.urandom(70_000))
    sources = [str(tmp_path / name) for name in names]
    sent = client("scp", "-p", *protocol, *sources, f"{client.address}:/tmp")
    assert sent.returncode == 0, sent.stderr
    (tmp_path / "back").mkdir()
    fetched = client(
        *("scp", *protocol, "-r", f"{client.address}:/tmp", str(tmp_path / "back"))
    )
    assert fetched.returncode == 0, fetched.stderr
    for name in names:
        back = tmp_path / "back" / "tmp" / name
        assert back.read_bytes() == (tmp_path / name).read_bytes()


def test_sftp(client, tmp_path):
    back = tmp_path / "back.tflite"
    ended = client.sftp(
        *(f"put {MODEL} model.tflite", "mkdir folder", "rename model.tflite folder/m"),
        *("chmod 600 folder/m", "cd folder", "pwd", "ls -l", "df"),
        *(f"get m {back}", "rm m", "cd ..", "rmdir folder"),
    )
    assert ended.returncode == 0, ended.stderr
    assert "Remote working directory: /tmp/folder" in ended.stdout
    assert back.read_bytes() == MODEL.read_bytes()
    assert list(client.camera.storage.locate("/tmp").iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "symlink /etc out",
        "ln /etc/x out",
        "put {} /etc/x",
        "rm /usr",
        "get ../../etc/passwd",
    ],
)
def test_sftp_refuses(client, line):
    ended = client.sftp(line.format(MODEL))
    assert ended.returncode == 1
    assert list(client.camera.storage.locate("/tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("ls; reboot", 2),
        ("echo $(reboot)", 2),
        ("cat /etc/passwd | sh", 2),
        ("bash -c reboot", 127),
        ("/bin/sh", 127),
        ("exit 7", 7),
        ("cat " + shlex.quote("two\nlines"), 1),
    ],
)
def test_there_is_no_shell(client, line, status):
    boot = client.camera.boot
    ended = client.ssh(line)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert client.camera.boot == boot


@pytest.mark.parametrize("place", ["plain", "two words, 100% 'odd'"])
def test_the_printed_lines_for_people(tmp_path, monkeypatch, place):
    """A shell's reading of each line as it is printed; a key instead of a password."""
    (tmp_path / place).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / place))
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "key").touch(mode=0o600)
    key.write_private_key(tmp_path / "key")
    (tmp_path / "model.tflite").write_bytes(MODEL.read_bytes())
    public = key.export_public_key().decode()
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "xterm"}
    with virtual.start("artpec8", authorized_keys=[public]) as camera:
        told = virtual.login_help(camera)
        lines = re.findall(r"(?:log in|files|) *:? +((?:ssh|sftp|scp) -F .*)\n", told)
        assert [line.split()[0] for line in lines] == ["ssh", "sftp", "scp"]
        for line in reversed(lines):
            name, *words = shlex.split(line)
            options = ["-i", str(tmp_path / "key"), "-o", "BatchMode=yes"]
            done = subprocess.run(
                [shutil.which(name), *options, *words],
                input="" if name == "scp" else "ls -l\n",
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, (line, done.stderr)
            assert name == "scp" or "model.tflite" in done.stdout
    assert list((tmp_path / place).iterdir()) == []


def test_a_person_at_the_prompt(client):
    client.camera.storage.locate("/tmp/m.tflite").write_bytes(MODEL.read_bytes())
    line = "larod-client -g m.tflite -c cpu-tflite -R 0 -i ''"
    words = ["ssh", "-tt", "-F", "none", "-i", str(client.home / "key")]
    words += ["-p", str(client.camera.port), *client.camera.ssh_options]
    with subprocess.Popen(
        [*words, client.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"HOME": str(client.home), "PATH": os.environ["PATH"], "TERM": "xterm"},
    ) as process:
        seen = ""
        watchdog = threading.Timer(30, process.kill)  # a read has no timeout
        watchdog.start()

        def until(text: str) -> None:
            nonlocal seen
            start = len(seen)
            while text not in seen[start:]:
                piece = process.stdout.read1()
                assert piece, seen
                seen += piece.decode()

        def type_in(text: str) -> None:
            process.stdin.write(text.encode())
            process.stdin.flush()

        until("$ ")
        type_in("cd /var/lib\r")
        until("axis-virtual-artpec8:/var/lib$ ")
        type_in("cd /tmp && pwd\r")
        until("/tmp$ ")
        type_in(f"{line}\r")
        until("Running job")
        type_in("\x03")
        until("/tmp$ ")
        type_in("half a line\x03")
        until("^C")
        type_in("echo $HOME\r")
        until("has no shell")
        type_in("\x04")
        process.stdin.close()
        assert process.wait(30) == 0
        watchdog.cancel()
    assert "not found" not in re.sub(r"\x1b\[\d*[A-Z]", "", seen)


def test_commands_from_standard_input(client):
    ended = client("ssh", "-T", client.address, input="pwd\nnope\necho on\n")
    assert (ended.returncode, ended.stdout) == (0, "/tmp\non\n")
    assert "sh: nope: not found" in ended.stderr


def test_a_restart_ends_the_session_and_the_next_one_works(client):
    boot = client.camera.boot
    assert client.ssh("touch gone && reboot").returncode == 255
    client.camera._up.wait(20)
    assert client.camera.boot != boot
    assert client.ssh("ls").stdout == ""
