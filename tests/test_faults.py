"""What goes wrong between a computer and a camera, as a user of `dlpu` sees it.

Each fault ends in one line and exit status 2, within a bounded time; nothing is left on
either side; nothing that a file is called runs on the camera; the password is nowhere.
The camera runs in this process, the commands in processes of their own.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from course_lib.camera import client, vapix, virtual
from course_lib.camera.virtual import Faults, larod_client, runtime, shell
from course_lib.camera.virtual import vapix as vapix_server
from course_lib.camera.virtual.server import _Sftp
from course_lib.cli import dlpu, ending
from course_lib.errors import UnusableInput

import asyncssh
import click
import pytest
from click.testing import CliRunner
from lessons import ROOT
from PIL import Image

MODEL = ROOT / "data" / "scene_classifier_qat.tflite"
WRONG = "a-wrong-Pa55-w0rd"
BOUND = 90  # seconds; none comes near it
HOSTILE = "-rf ;reboot 'a\"b\n$(reboot)`reboot` <script>alert(1)\udcff\x1b[2J"
# Tells all that libraries log, SSH in its third degree.
DEBUG = """
import logging, os
logging.basicConfig(level=logging.DEBUG, filename=os.environ["DEBUG_LOG"])
import asyncssh
asyncssh.set_debug_level(3)
from course_lib.cli import main
main()
"""


class Desk:
    """A user's computer: settings, a temporary folder, pictures, and `dlpu`."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("temporary", "pictures", "out", "settings/dlpu"):
            (folder / name).mkdir(parents=True)
        Image.effect_noise((96, 96), 50).save(folder / "pictures" / "one.png")
        self.out = folder / "out"
        self.known = folder / "settings" / "dlpu"
        self.listed = ""  # what a list of processes shows while a command runs
        own = {k: v for k, v in os.environ.items() if not k.startswith("AXIS_CAMERA")}
        self.environment = own | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "settings"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(folder / "temporary"),
            "DEBUG_LOG": str(folder / "debug.log"),
        }

    def trust(self, camera):
        """Know a camera and its password."""
        shutil.copytree(camera.known, self.known, dirs_exist_ok=True)
        self.environment["AXIS_CAMERA_USER"] = camera.user
        self.environment["AXIS_CAMERA_PASSWORD"] = camera.password

    def start(self, *words, cwd=ROOT, debug=False, **more):
        """Start `dlpu` with words in a process of its own."""
        python = ("-c", DEBUG) if debug else ("-m", "course_lib.cli")
        child = subprocess.Popen(
            [sys.executable, *python, *map(str, words)],
            cwd=cwd,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        shown = Path(f"/proc/{child.pid}/cmdline")
        while shown.exists() and not shown.read_bytes() and child.poll() is None:
            time.sleep(0.01)
        self._look()
        return child

    def finish(self, child):
        """Wait for the end of a process and return what it printed."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=[done])
        watcher.start()
        try:
            printed = child.communicate(timeout=BOUND)
        finally:
            done.set()
            watcher.join()
            child.kill()
        out, error = (text.decode("utf-8", "replace") for text in printed)
        return subprocess.CompletedProcess(child.args, child.returncode, out, error)

    def run(self, *words, **how):
        """Run `dlpu` to its end."""
        return self.finish(self.start(*words, **how))

    def _watch(self, done):
        while not done.wait(0.3):
            self._look()

    def _look(self):
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                self.listed += file.read_text("utf-8", "replace")

    @property
    def left(self):
        """What lies in the temporary folder and where reports go."""
        places = (self.folder / "temporary", self.out)
        return [path for place in places for path in place.iterdir()]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def ran(monkeypatch):
    """Lines that cameras were told to run."""
    lines = []
    run = shell.Shell.run

    def record(self, line):
        lines.append(line)
        return run(self, line)

    monkeypatch.setattr(shell.Shell, "run", record)
    return lines


@contextlib.contextmanager
def camera_for(desk, *, disk=virtual.DISK, **faults):
    """Start a camera on which something goes wrong, and which the user knows."""
    with virtual.start(
        "artpec8",
        compile_seconds=0,
        restart_seconds=0.2,
        disk=disk,
        faults=Faults(**faults),
    ) as camera:
        desk.trust(camera)
        before = tree(camera)
        yield camera
        assert tree(camera) == before
        assert camera.password not in camera.journal


def tree(camera):
    """Return what lies on a camera."""
    return sorted(path.relative_to(camera.root) for path in camera.root.rglob("*"))


def address(camera):
    return "--port", camera.port, "--https-port", camera.https_port


def on_camera(desk, camera, *options):
    folder = desk.folder / "pictures"
    words = ("test", "--camera", f"{camera.host}:{camera.port}", "--images", folder)
    return (*words, "--https-port", camera.https_port, *options, MODEL)


def assert_one_line(desk, done, *words, status=2):
    """Check how a command has ended, and what it has left on this computer."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert len(line) < 1000
    assert line.isprintable()
    for word in words:
        assert word in line
    assert desk.left == []
    assert_secret(desk, done)


def assert_secret(desk, *done):
    """Look for passwords wherever they must not be."""
    seen = "".join(one.stdout + one.stderr for one in done) + desk.listed
    assert "course_lib.cli" in desk.listed or not Path("/proc/self").exists()
    for path in desk.folder.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            seen += path.read_text("utf-8", "replace")
    for secret in (desk.environment["AXIS_CAMERA_PASSWORD"], WRONG):
        # A dump of bytes breaks a line after 16 of them.
        for start in range(len(secret) - 7):
            assert secret[start : start + 8] not in seen


# --- the connection, the camera, its disk ---------------------------------------------


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"cut_upload_after": 50_000}, ("lost while uploading the model", "reconnect")),
        ({"cut_run_after": 0.1}, ("lost while running the model", "reconnect")),
        ({"cut_download_after": 1}, ("lost while fetching the outputs", "reconnect")),
        ({"reboot_during_run": True}, ("lost while running the model", "reconnect")),
        (
            {"reboot_during_run": True, "new_host_key": True},
            ("lost while running the model", "left on the camera", "key has changed"),
        ),
        # The model fits, and the first byte of an output.
        ({"disk": MODEL.stat().st_size + 1}, ("Could not write", "No space left")),
        ({"reply_bytes": 100_000_000}, ("larod-client -a", "1,048,576 bytes")),
        ({"out_of_memory": True}, ("connection has been closed", "dlpu explain")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_fault_ends_in_one_line(desk, ran, faults, words):
    rounds = 10**7 if "cut_run_after" in faults else 10
    report = desk.out / "report.html"
    with camera_for(desk, **faults) as camera:
        done = desk.run(
            *on_camera(desk, camera, "--rounds", rounds, "--report", report, "--json")
        )
    assert_one_line(desk, done, *words)
    assert {line.split()[0] for line in ran} <= {"larod-client"}


def test_an_output_of_100_megabytes_is_not_fetched(desk, monkeypatch):
    def write(call, name, data):
        os.truncate(call.place(name), 100_000_000)

    monkeypatch.setattr(larod_client, "_write", write)
    with camera_for(desk, disk=1 << 30) as camera:
        done = desk.run(*on_camera(desk, camera))
    assert_one_line(desk, done, "output 0 has 100,000,000 bytes, expected 4")


def test_a_size_that_lies_is_noticed(desk, monkeypatch):
    monkeypatch.setattr(_Sftp, "read", lambda self, file, offset, size: bytes(20_000))
    with camera_for(desk) as camera:
        done = desk.run(*on_camera(desk, camera))
    assert_one_line(desk, done, "output 0 has 20,000 bytes, expected 4")


def test_two_sessions_of_1000_rounds_at_once(desk, ran):
    with camera_for(desk) as camera:
        words = on_camera(desk, camera, "--rounds", 1000, "--json")
        children = [desk.start(*words), desk.start(*words)]
        both = [desk.finish(child) for child in children]
    for done in both:
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        told = json.loads(done.stdout)
        assert sum(told["timing"]["batch_rounds"]) == 1000
        assert told["outputs"][0]["verdict"] == "identical"
    assert len({line.split("/model")[0] for line in ran if "-g" in line}) == 2
    assert desk.left == []
    assert_secret(desk, *both)


# --- who somebody is ------------------------------------------------------------------


def test_a_changed_host_key_is_refused(desk, ran):
    with camera_for(desk, new_host_key=True) as camera:
        camera.reboot(wait=True)
        before = (desk.known / "known_hosts").read_bytes()
        done = desk.run(*on_camera(desk, camera, "--trust-new"))
        fingerprint = camera.host_key_fingerprint
    assert_one_line(desk, done, "host key has changed", fingerprint, "known_hosts")
    assert (desk.known / "known_hosts").read_bytes() == before
    assert ran == []


def test_a_changed_certificate_is_refused(desk, ran):
    with camera_for(desk) as camera:
        pin = f"{camera.host}:{camera.https_port} {':'.join(['AB'] * 32)}\n"
        (desk.known / "certificates").write_text(pin)
        done = desk.run("camera", camera.host, *address(camera), "--trust-new")
        fingerprint = camera.certificate_fingerprint
    assert_one_line(desk, done, "certificate has changed", fingerprint)
    assert ran == []


def test_a_wrong_password_is_told(desk, ran):
    with camera_for(desk) as camera:
        done = desk.run(
            *on_camera(desk, camera), debug=True, AXIS_CAMERA_PASSWORD=WRONG
        )
    assert_one_line(desk, done, "wrong user or password")
    assert "asyncssh" in (desk.folder / "debug.log").read_text()
    assert ran == []


def test_a_wrong_passphrase_is_told(desk, ran):
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(desk.folder / "key", "pkcs8-pem", passphrase="its passphrase")
    with camera_for(desk) as camera:
        done = desk.run(
            *on_camera(desk, camera),
            debug=True,
            AXIS_CAMERA_KEY=str(desk.folder / "key"),
            AXIS_CAMERA_KEY_PASSPHRASE=WRONG,
        )
    assert_one_line(desk, done, "AXIS_CAMERA_KEY_PASSPHRASE", "set its passphrase")
    assert ran == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", os.fsdecode(b"no-text-\xff")),
        ("USER", "two\nlines"),
    ],
)
def test_a_strange_user_or_password_is_told(desk, ran, name, value):
    with camera_for(desk) as camera:
        strange = {f"AXIS_CAMERA_{name}": value}
        done = desk.run("camera", camera.host, *address(camera), **strange)
    assert_one_line(desk, done, "cannot be sent")
    assert "no-text-" not in done.stderr
    assert ran == []


@pytest.mark.parametrize("user", ["root", ""])
def test_a_password_in_an_address_is_not_repeated(desk, user):
    desk.environment["AXIS_CAMERA_PASSWORD"] = WRONG
    place = {
        "AXIS_CAMERA": f"https://root:{WRONG}@192.168.0.90",
        "AXIS_CAMERA_USER": user,
    }
    assert_one_line(desk, desk.run("camera", **place), "not a host name")
    words = ("test", MODEL, "--images", desk.folder / "pictures")
    assert_one_line(desk, desk.run(*words, **place), "no")


def test_no_secret_is_in_what_is_written(desk, tmp_path):
    report = tmp_path / "report.html"
    with camera_for(desk) as camera:
        words = on_camera(desk, camera, "--rounds", 10, "--report", report, "--json")
        tested = desk.run(*words, debug=True)
        shown = desk.run("camera", camera.host, *address(camera), debug=True)
    made = desk.run("kit", MODEL, "--soc", "artpec8", "-o", tmp_path / "kit")
    assert [one.returncode for one in (tested, shown, made)] == [0, 0, 0]
    assert (desk.folder / "debug.log").stat().st_size > 10_000
    assert report.is_file()
    assert_secret(desk, tested, shown, made)


# --- names ----------------------------------------------------------------------------


def test_hostile_names_are_only_names(desk, ran, monkeypatch):
    """The model, pictures, classes, report and kit; and the camera names others."""

    def other(self, loaded, inputs):
        return [value[::-1] for value in loaded.execute(inputs)]

    monkeypatch.setattr(runtime.Device, "run", other)
    model = desk.folder / f"{HOSTILE}.TFLITE"
    shutil.copy(MODEL, model)
    pictures = desk.folder / f"{HOSTILE} pictures"
    for name in (f"{HOSTILE}0", "1", "2", "3"):
        (pictures / name).mkdir(parents=True)
        one = pictures / name / f"{HOSTILE}.png"
        shutil.copy(desk.folder / "pictures" / "one.png", one)
    report = desk.folder / f"{HOSTILE}.html"
    kit = desk.folder / f"{HOSTILE} kit"
    before = {path.name for path in desk.folder.iterdir()}
    with camera_for(desk) as camera:
        words = ("test", "--camera", camera.host, *address(camera), "--rounds", 2)
        named = (f"--images={pictures.name}", "--labels", f"--report={report.name}")
        done = desk.run(*words, *named, "--", model.name, cwd=desk.folder)
        none = desk.run(*words, *named, "--", f"{HOSTILE}.none", cwd=desk.folder)
    made = desk.run(
        *("kit", "--soc", "artpec8", f"--output={kit.name}", "--expose=none"),
        *("--", model.name),
        cwd=desk.folder,
    )
    compared = desk.run("kit", f"--compare={kit.name}", cwd=desk.folder)
    assert (done.returncode, made.returncode) == (1, 0), done.stderr + made.stderr
    assert done.stdout.replace("\n", "").isprintable()
    assert made.stdout.replace("\n", "").isprintable()
    assert_one_line(desk, none, "no such file")
    assert_one_line(desk, compared, "no output of a camera")
    page = report.read_text("utf-8")
    assert ".png" in page  # of the pictures that the two sides name differently
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert HOSTILE not in (kit / "run.sh").read_text()
    ours = r"(larod-client|/tmp/dlpu-[0-9a-f]{16}/\w+\.\w+|-[acgiowR]|[\w-]+|'')"
    for line in ran:
        assert re.fullmatch(rf"{ours}( {ours})*", line)
    after = {path.name for path in desk.folder.iterdir()} - before
    assert after - {"cache"} == {report.name, kit.name}
    assert_secret(desk, done, none, made, compared)


# --- being ended ----------------------------------------------------------------------


def wait_for(condition, child):
    """Wait until something is so, or the process has ended."""
    end = time.monotonic() + BOUND
    while not condition() and child.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("names", ["SIGINT SIGINT", "SIGTERM"])
def test_a_signal_ends_the_command_on_both_sides(desk, ran, names):
    with camera_for(desk) as camera:
        report = desk.out / "report.html"
        words = on_camera(desk, camera, "--rounds", 10**8, "--report", report)
        child = desk.start(*words)
        wait_for(lambda: any("10000000" in line for line in ran), child)
        for name in names.split():
            child.send_signal(getattr(signal, name))
        done = desk.finish(child)
        for thread in threading.enumerate():
            if thread.name == "virtual-camera-run":
                thread.join(BOUND)
                assert not thread.is_alive()
    assert_one_line(desk, done, names.split()[0], "start it again")


def test_a_signal_ends_the_virtual_camera_too(desk):
    desk.environment["AXIS_CAMERA_PASSWORD"] = WRONG
    folder = desk.folder / "pictures"
    words = ("--virtual", "artpec9", "--images", folder, "--rounds", 10**8)
    child = desk.start("test", *words, MODEL)
    running = "/".join(("dlpu-camera-*", "root", "tmp", "dlpu-*", "out0.bin"))
    wait_for(lambda: list((desk.folder / "temporary").glob(running)), child)
    child.terminate()
    assert_one_line(desk, desk.finish(child), "SIGTERM", "start it again")


def test_a_signal_leaves_no_half_of_a_kit(tmp_path, monkeypatch):
    def write(path, content):
        path.touch()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Path, "write_bytes", write)
    words = ["kit", str(MODEL), "--soc", "artpec8", "-o", str(tmp_path / "kit")]
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(dlpu, words)
    assert done.exit_code == 2
    assert "SIGTERM" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_question_that_is_not_answered_is_an_end_too():
    with pytest.raises(UnusableInput, match="start it again"), ending.orderly():
        raise click.Abort


# --- a camera that means harm ---------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;x\x07AXIS\r\n<script>alert(1)</script>\u202e\ud800" + "x" * 5000


def test_what_a_camera_says_of_itself_steers_nothing(desk, tmp_path, monkeypatch):
    """A name, a version and a remark of escape codes; a clock that is set back."""
    run = larod_client.run

    def strange(argv, *, write, **more):
        def told(text):
            if " loaded" in text:
                text = f"1999{text[4:]}"
            text = re.sub(r"job: [\d.]+ ms .*", f"job: 0.00 ms ({EVIL[:6]}, sim)", text)
            write(text)

        return run(argv, write=told, **more)

    monkeypatch.setattr(larod_client, "run", strange)
    report = tmp_path / "report.html"
    with camera_for(desk) as camera:
        camera._parameters["root.Brand.ProdFullName"] = EVIL
        camera._parameters["root.Properties.System.Architecture"] = EVIL
        camera.os = camera.serial = EVIL.replace("\ud800", "")
        shown = desk.run("camera", camera.host, *address(camera))
        tested = desk.run(*on_camera(desk, camera, "--rounds", 9, "--report", report))
        camera._parameters["root.Properties.System.Soc"] = EVIL
        unknown = desk.run("camera", camera.host, *address(camera))
    for done in (shown, tested):
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.replace("\n", "").isprintable()
        assert len(done.stdout) < 3000
    assert "SIMULATION" in tested.stdout
    assert "first load" not in tested.stdout
    page = report.read_text("utf-8")
    assert "<script" not in page
    assert "\x1b" not in page
    assert_one_line(desk, unknown, "not known, expected one of")


def test_a_huge_list_of_devices_is_one_line(desk):
    with camera_for(desk) as camera:
        camera.device.devices = tuple(f"device{number}" for number in range(9000))
        done = desk.run("camera", camera.host, *address(camera))
    assert_one_line(desk, done, "no device for ARTPEC-8")


def test_a_list_without_names_of_devices_is_told():
    with virtual.start("artpec8") as camera, camera.connect() as connected:
        camera.device.devices = ("\x1b[31m", "--help")
        with pytest.raises(client.CameraError) as failure:
            connected.device()
    assert "lists no device" in line_of(failure)


def vapix_answers(monkeypatch, *, status, body=b"{}", **headers):
    """Let cameras answer every request over HTTPS so."""

    def handle(self, content):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(vapix_server._Handler, "_handle", handle)


@contextlib.contextmanager
def requests_to(camera):
    with vapix.client(
        camera.host,
        user=camera.user,
        password=camera.password,
        port=camera.https_port,
        known=camera.known,
    ) as made:
        yield made


def line_of(failure):
    line = str(failure.value)
    assert line.isprintable()
    assert 20 < len(line) < 1000
    return line


@pytest.mark.parametrize(
    "challenge",
    [
        'realm="x", nonce="y", qop="auth-int"',
        'realm="x", nonce="y", algorithm=FOO',
        "garbage",
        'realm="\xe9", nonce="\xfe"',
    ],
)
def test_a_broken_challenge_is_one_line_and_ssh_tells_instead(monkeypatch, challenge):
    vapix_answers(monkeypatch, status=401, WWW_Authenticate=f"Digest {challenge}")
    with virtual.start("artpec8") as camera:
        with requests_to(camera) as made, pytest.raises(UnusableInput) as failure:
            vapix.properties(made)
        with camera.connect() as connected:
            assert connected.info.soc.id == "artpec8"
    assert "no digest" in line_of(failure)


def test_a_redirection_gets_no_log_in(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        place = f"https://127.0.0.1:{other.getsockname()[1]}/axis-cgi/"
        vapix_answers(monkeypatch, status=302, Location=place)
        with virtual.start("artpec8") as camera, requests_to(camera) as made:
            with pytest.raises(UnusableInput) as failure:
                vapix.properties(made)
            with pytest.raises(BlockingIOError):
                other.accept()
    assert "answered 302" in line_of(failure)


def test_json_without_a_bottom_is_one_line(monkeypatch):
    vapix_answers(monkeypatch, status=200, body=b"[" * 200_000)
    with (
        virtual.start("artpec8") as camera,
        requests_to(camera) as made,
        pytest.raises(UnusableInput) as failure,
    ):
        vapix.properties(made)
    assert "VAPIX's JSON" in line_of(failure)


def test_an_http_reply_that_drips_is_cut_off(monkeypatch):
    def handle(self, content):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"1\r\nx\r\n")
                time.sleep(0.05)

    monkeypatch.setattr(vapix_server._Handler, "_handle", handle)
    monkeypatch.setattr(vapix, "REPLY_SECONDS", 0.2)
    with (
        virtual.start("artpec8") as camera,
        requests_to(camera) as made,
        pytest.raises(UnusableInput) as failure,
    ):
        vapix.properties(made)
    assert "cut off" in line_of(failure)


def test_a_list_of_devices_that_never_ends_is_cut_off(monkeypatch):
    def run(self, line):
        while not self._stopped():
            self._write(" device  0\n")
            time.sleep(0.05)
        return 0

    monkeypatch.setattr(shell.Shell, "run", run)
    monkeypatch.setattr(client, "_QUESTION_SECONDS", 0.3)
    with (
        virtual.start("artpec8") as camera,
        camera.connect() as connected,
        pytest.raises(client.CameraError) as failure,
    ):
        connected.devices()
    assert "was stopped after 0.3 s" in line_of(failure)


def test_sftp_that_does_not_answer_is_given_up(monkeypatch):
    async def write(self, file, offset, data):
        await asyncio.sleep(BOUND)

    monkeypatch.setattr(_Sftp, "write", write)
    monkeypatch.setattr(client, "_patience", lambda size: 0.3)
    with virtual.start("artpec8") as camera, camera.connect() as connected:
        with (
            pytest.raises(client.CameraError) as failure,
            connected.load(MODEL, device="axis-a8-dlpu-tflite"),
        ):
            pass
        assert list((camera.root / "tmp").iterdir()) == []
    assert "lost while uploading the model (0 of" in line_of(failure)


# --- a kit of a stranger --------------------------------------------------------------


def spoil_shape(kit):
    return {"shape": [1] * 100 + [4]}


def spoil_strides(kit):
    return {"strides": [0, -1]}


def spoil_model_endless(kit):
    (kit / "model.tflite").unlink()
    (kit / "model.tflite").symlink_to("/dev/zero")


def spoil_model_pipe(kit):
    (kit / "model.tflite").unlink()
    os.mkfifo(kit / "model.tflite")


def spoil_model_large(kit):
    os.truncate(kit / "model.tflite", 1 << 40)


def spoil_description_large(kit):
    os.truncate(kit / "kit.json", 1 << 40)


def spoil_description_pipe(kit):
    (kit / "kit.json").unlink()
    os.mkfifo(kit / "kit.json")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_shape,
        spoil_strides,
        spoil_model_endless,
        spoil_model_pipe,
        spoil_model_large,
        spoil_description_large,
        spoil_description_pipe,
    ],
)
def test_a_spoilt_kit_is_one_line(tmp_path, spoil):
    kit = tmp_path / "kit"
    words = [str(MODEL), "--soc", "artpec9", "-o", str(kit), "--expose", "none"]
    assert CliRunner().invoke(dlpu, ["kit", *words, "--count", "1"]).exit_code == 0
    told = json.loads((kit / "kit.json").read_text())
    changed = spoil(kit)
    if changed:
        told["outputs"]["model"][0] |= changed
        (kit / "kit.json").write_text(json.dumps(told))
    done = CliRunner().invoke(dlpu, ["kit", "--compare", str(kit)])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "copy it again" in line or "that `dlpu kit` made" in line
