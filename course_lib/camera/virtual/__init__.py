"""A virtual camera on this computer: SSH, SFTP, VAPIX and a larod-client.

It stands in for a camera that one does not have. It listens on loopback only, runs no
shell, and says in its banner and beside every time that it is a SIMULATION: times are
those of this computer and tell nothing about a camera.
"""

import atexit
import contextlib
import hmac
import re
import secrets
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from course_lib import files
from course_lib.camera.larod import VIRTUAL
from course_lib.camera.virtual.server import HOST, SshServer
from course_lib.camera.virtual.storage import Storage
from course_lib.camera.virtual.vapix import HttpsServer, fingerprint
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput

import asyncssh

if TYPE_CHECKING:
    from course_lib.camera.client import Camera

USER = "acap-virtual"
_ROOT_BEFORE = (11, 5)  # AXIS OS: only root logs in over SSH, as `client` tells too
DISK = 64 << 20
_TRY_AGAIN = 0.2  # seconds
_MACHINES = {"aarch64": "aarch64", "armv7hf": "armv7l"}
_SSH = "root.Network.SSH.Enabled"
_MAY_BE_SET = {
    _SSH: ("yes", "no"),
    "root.ImageSource.I0.Sensor.MotionAdaptiveExposure": ("on", "off"),
}


@dataclass(frozen=True)
class Faults:
    """What goes wrong on purpose.

    Each fault happens `times` times, so that a client which comes back can clean up.

    Attributes:
        power_failures: So many jobs are answered with LAROD_ERROR_POWER_NOT_AVAILABLE.
        out_of_memory: larod dies whenever it loads a model.
        cut_upload_after: The connection is cut after so many bytes of an upload.
        cut_download_after: The same of a download.
        cut_run_after: The connection is cut so many seconds after a job has begun.
        reboot_during_run: The camera restarts when a job has begun.
        reply_bytes: A command is answered with so many bytes.
        new_host_key: After a restart the camera has another host key.
        times: How often each of those from `cut_upload_after` on happens.

    Introduced in notebook 13.
    """

    power_failures: int = 0
    out_of_memory: bool = False
    cut_upload_after: int | None = None
    cut_download_after: int | None = None
    cut_run_after: float | None = None
    reboot_during_run: bool = False
    reply_bytes: int | None = None
    new_host_key: bool = False
    times: int = 1


class Pending:
    """Which faults are still to come."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._left = {entry.name: faults.times for entry in fields(faults)}
        self._lock = threading.Lock()

    def take(self, name: str) -> Any:
        """Return a fault's value and count it as happened; None when it is not due."""
        value = getattr(self._faults, name)
        with self._lock:
            if value is None or value is False or self._left[name] <= 0:
                return None
            self._left[name] -= 1
            return value

    def give_back(self, name: str) -> None:
        """Let a fault come later: what it was meant for has ended before."""
        with self._lock:
            self._left[name] += 1


class VirtualCamera:
    """A running virtual camera; a context manager that ends it.

    Attributes:
        host, port, https_port: Where it listens, on loopback.
        user, password: Of both SSH and VAPIX; the password is random. The user is
            root before AXIS OS 11.5, as on a camera.
        soc, os, product, serial, hostname, machine: What it says it is.
        storage: Its file tree.
        device: Its larod, shared by all sessions.
        known: Folder with `known_hosts` and `certificates` that name this camera only.
        faults, pending: What goes wrong on purpose, and what of it is still to come.

    Introduced in notebook 13.
    """

    def __init__(
        self,
        soc: socs.Soc,
        *,
        os: str,
        faults: Faults,
        disk: int,
        compile_seconds: float,
        restart_seconds: float,
        authorized_keys: Sequence[str],
        port: int,
        https_port: int,
    ) -> None:
        self.soc, self.os, self.faults = soc, os, faults
        self.pending = Pending(faults)
        # Here root may write no more than another user.
        self.host, self.user = HOST, "root" if _numbers(os) < _ROOT_BEFORE else USER
        self.password = secrets.token_urlsafe(12)
        name = soc.products[0].name
        self.product = f"virtual {name}"
        self.serial = f"VIRTUAL{soc.id.upper()}"
        self.hostname = f"axis-virtual-{soc.id}"
        self.machine = _MACHINES[soc.sdk_architecture.value]
        self.authorized_keys = _authorized(authorized_keys)
        self._parameters = _parameters(soc, name=name, os=os, serial=self.serial)
        self._restart_seconds = restart_seconds
        self._lock = threading.RLock()
        self._up = threading.Event()
        self._timer: threading.Timer | None = None
        self._closed = False
        self._ending = contextlib.ExitStack()
        atexit.register(self.close)
        self.port, self.https_port = port, https_port
        try:
            self._set_up(disk=disk, compile_seconds=compile_seconds)
        except BaseException:
            self.close()
            raise

    def _set_up(self, *, disk: int, compile_seconds: float) -> None:
        # What imports NumPy and the model readers is imported when a camera starts.
        from course_lib.camera.virtual import runtime

        self.storage = Storage(disk=disk)
        self._ending.callback(self.storage.close)
        self.device = runtime.Device(
            self.soc,
            os=self.os,
            faults=self.faults,
            compile_seconds=compile_seconds,
            host=self.hostname,
            may_write=self._may_write,
        )
        self._ssh = SshServer(self)
        self._ending.callback(self._ssh.close)
        self._https = HttpsServer(self, folder=self.storage.folder)
        self._ending.callback(self._https.shut)
        try:
            self._open()
        except OSError as error:
            raise UnusableInput(
                f"ports {self.port} and {self.https_port} of {HOST}: {error.strerror}; "
                "choose others, or leave them out"
            ) from error
        self.known = self.storage.folder / "known"
        self.known.mkdir()
        files.write(self.known / "known_hosts", f"{self.host_key}\n".encode())
        pin = f"{HOST}:{self.https_port} {self.certificate_fingerprint}\n"
        files.write(self.known / "certificates", pin.encode())
        files.write(self.ssh_config, self._settings().encode())

    def __enter__(self) -> "VirtualCamera":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- how to reach it --------------------------------------------------------------

    @property
    def host_key(self) -> str:
        """The SSH host key of now, as a line for known_hosts."""
        key = self._ssh.key.export_public_key().decode().split()
        return f"[{HOST}]:{self.port} {key[0]} {key[1]}"

    @property
    def host_key_fingerprint(self) -> str:
        """The fingerprint that `ssh` shows: "SHA256:" and base64."""
        return self._ssh.key.get_fingerprint()

    @property
    def certificate(self) -> str:
        """The self-signed certificate of HTTPS, as PEM."""
        return self._https.certificate

    @property
    def certificate_fingerprint(self) -> str:
        """The certificate's SHA-256 in hexadecimal with colons."""
        return fingerprint(self.certificate)

    @property
    def root(self) -> Path:
        """The folder of this computer that visitors see as "/"."""
        return self.storage.root

    @property
    def ssh_command(self) -> list[str]:
        """The words of a command that logs in, for people with OpenSSH."""
        return ["ssh", "-p", str(self.port), *self.ssh_options, f"{self.user}@{HOST}"]

    @property
    def ssh_options(self) -> list[str]:
        """Options for `ssh`, `sftp` and `scp`: trust this camera and no other."""
        return [
            *("-o", f"UserKnownHostsFile={self._known_hosts}"),
            *("-o", "StrictHostKeyChecking=yes"),
        ]

    @property
    def ssh_config(self) -> Path:
        """A file for `ssh -F`, `sftp -F` and `scp -F`, which call the camera `camera`.

        These three want a port as -p and -P: with the file, all take the same words.
        """
        return self.known / "ssh_config"

    @property
    def _known_hosts(self) -> str:
        """The file of the host key, as OpenSSH reads a name: % stands for something."""
        file = str(self.known / "known_hosts").replace("%", "%%")
        return f'"{file}"' if " " in file else file

    def _settings(self) -> str:
        return (
            "Host camera\n"
            f"    HostName {HOST}\n"
            f"    Port {self.port}\n"
            f"    User {self.user}\n"
            f"    UserKnownHostsFile {self._known_hosts}\n"
            "    StrictHostKeyChecking yes\n"
        )

    @property
    def banner(self) -> str:
        """What a visitor reads before logging in."""
        return (
            f"{self.product}, {self.soc.name}, AXIS OS {self.os}: a SIMULATION on this "
            "computer.\nTimes are this computer's, not a camera's.\n"
        )

    def connect(self, **keywords: Any) -> "Camera":
        """Connect the course's client, which then trusts exactly this camera.

        Args:
            **keywords: As of `course_lib.camera.client.connect`, to replace what this
                camera knows of itself.
        """
        from course_lib.camera import client

        own = {
            "user": self.user,
            "password": self.password,
            "port": self.port,
            "https_port": self.https_port,
            "known": self.known,
        }
        return client.connect(self.host, **own | keywords)

    def is_login(self, user: str, password: str) -> bool:
        """Tell whether a user and a password are right, in constant time."""
        right = hmac.compare_digest(_bytes(user), _bytes(self.user))
        return right & hmac.compare_digest(_bytes(password), _bytes(self.password))

    def owner(self, place: Path) -> str:
        """Return whose a file or folder is: the visitor's, if it may be changed."""
        try:
            self.storage.may_write(place, inside=False)
        except PermissionError:
            return "root"
        return self.user

    # --- what it tells ----------------------------------------------------------------

    @property
    def journal(self) -> str:
        """The system's log, as `journalctl` prints it."""
        return self._journal(lambda process: True)

    @property
    def larod_journal(self) -> str:
        """What of the log belongs to the unit larod."""
        others = ("sshd", "httpd", "systemd", "kernel")
        return self._journal(lambda process: process not in others)

    @property
    def system_log(self) -> str:
        """The system's log, as VAPIX's systemlog.cgi gives it."""
        told = []
        year = datetime.now().year
        for line in tuple(self.device.journal):
            when = datetime.strptime(f"{year} {line.time}", "%Y %b %d %H:%M:%S")
            stamp = when.astimezone().isoformat(timespec="milliseconds")
            pid = "" if line.pid is None else f"[{line.pid}]"
            level = f"[ {line.level:<8}]"
            told.append(
                f"{stamp} {line.host} {level} {line.process}{pid}: {line.text}\n"
            )
        return "".join(told)

    def _journal(self, wanted: Callable[[str], bool]) -> str:
        return "".join(
            f"{line.time} {line.host} {line.process}"
            f"{'' if line.pid is None else f'[{line.pid}]'}: {line.text}\n"
            for line in tuple(self.device.journal)
            if wanted(line.process)
        )

    def note(self, process: str, text: str, *, level: str = "INFO") -> None:
        """Write a line into the log."""
        self.device.log(text, process=process, level=level)

    @property
    def properties(self) -> dict[str, str]:
        """What VAPIX's basicdeviceinfo.cgi tells."""
        brand, system = "root.Brand.", "root.Properties.System."
        told = self._parameters
        return {
            "Architecture": told[f"{system}Architecture"],
            "Brand": told[f"{brand}Brand"],
            "BuildDate": "",
            "HardwareID": "VIRTUAL",
            "ProdFullName": told[f"{brand}ProdFullName"],
            "ProdNbr": told[f"{brand}ProdNbr"],
            "ProdShortName": told[f"{brand}ProdShortName"],
            "ProdType": told[f"{brand}ProdType"],
            "ProdVariant": "",
            "SerialNumber": self.serial,
            "Soc": told[f"{system}Soc"],
            "SocSerialNumber": "",
            "Version": self.os,
            "WebURL": told[f"{brand}WebURL"],
        }

    def parameter_group(self, group: str) -> dict[str, str]:
        """Return the parameters of a group, or the one of this name.

        Args:
            group: Such as "root.Brand" or "Brand.ProdNbr".
        """
        full = "root" if group == "root" else f"root.{group.removeprefix('root.')}"
        return {
            name: value
            for name, value in self._parameters.items()
            if name == full or name.startswith(f"{full}.")
        }

    def set_parameter(self, name: str, value: str) -> bool:
        """Change a parameter; False when there is none of this name and value."""
        full = f"root.{name.removeprefix('root.')}"
        if value not in _MAY_BE_SET.get(full, ()):
            return False
        with self._lock:
            changed = self._parameters[full] != value
            self._parameters[full] = value
            if full == _SSH and changed and self._up.is_set():
                if value == "yes":
                    self._ssh.open(self.port)
                else:
                    self._ssh.shut()
        return True

    # --- what happens to it -----------------------------------------------------------

    @contextlib.contextmanager
    def running(self, disconnect: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Let the faults of a run happen.

        Args:
            disconnect: Cuts the connection that the run belongs to.

        Yields:
            What to call when a job has begun.
        """
        timer: threading.Timer | None = None
        happened = threading.Event()

        def cut() -> None:
            happened.set()
            disconnect()

        def began() -> None:
            nonlocal timer
            if self.pending.take("reboot_during_run"):
                self.reboot()
            seconds = None if timer else self.pending.take("cut_run_after")
            if seconds is not None:
                timer = threading.Timer(seconds, cut)
                timer.daemon = True
                timer.start()

        try:
            yield began
        finally:
            if timer:
                timer.cancel()
            if timer and not happened.is_set():
                self.pending.give_back("cut_run_after")

    def reboot(self, *, wait: bool = False) -> None:
        """Restart: drop all connections, empty /tmp, be away for a shortened while.

        It comes back on the same ports with the same host key, unless the fault
        `new_host_key` is due.

        Args:
            wait: Return only when it is back.
        """
        with self._lock:
            if self._closed:
                return
            if self._timer:
                self._timer.cancel()
            self._up.clear()
            self._ssh.shut()
            self._https.shut()
            self.storage.restart()
            if self.pending.take("new_host_key"):
                self._ssh.new_key()
            self._come_back_after(self._restart_seconds)
        if wait:
            self._up.wait()

    def _come_back_after(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._come_back)
        self._timer.daemon = True
        self._timer.start()

    def _come_back(self) -> None:
        with self._lock:
            if self._closed or self._up.is_set():
                return
            try:
                self._open()
            except OSError:  # somebody else holds a port for a moment
                self._come_back_after(_TRY_AGAIN)

    def _open(self) -> None:
        self.https_port = self._https.open(self.https_port)
        if self._parameters[_SSH] == "yes":
            try:
                self.port = self._ssh.open(self.port)
            except OSError:
                self._https.shut()
                raise
        self.started, self.boot = time.time(), str(uuid.uuid4())
        self.note("systemd", f"AXIS OS {self.os} (virtual camera, SIMULATION) is up")
        self._up.set()

    def close(self) -> None:
        """End the camera and leave nothing behind; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._timer:
                self._timer.cancel()
            self._ending.close()
        atexit.unregister(self.close)

    def _may_write(self, place: Path, size: int) -> None:
        self.storage.may_write(place)
        self.storage.reserve(place, end=size)


def start(
    soc: str | socs.Soc,
    *,
    os: str | None = None,
    faults: Faults | None = None,
    disk: int = DISK,
    compile_seconds: float = 1.0,
    restart_seconds: float = 1.0,
    authorized_keys: Sequence[str] = (),
    port: int = 0,
    https_port: int = 0,
) -> VirtualCamera:
    """Start a virtual camera on loopback.

    Args:
        soc: The chip, such as "artpec8".
        os: AXIS OS version; None: that of the newest published benchmarks. It changes
            the number that is told, the user, and since 12 larod-client's `-o`: no
            more. Whether a version was ever made for the chip is not looked up.
        faults: What goes wrong on purpose.
        disk: Bytes that fit into /tmp.
        compile_seconds: Time of a first load, where a camera compiles for minutes.
        restart_seconds: Time that a restart takes, where a camera takes a minute.
        authorized_keys: Public keys that may log in, in OpenSSH's form.
        port: Where SSH listens; 0: the system chooses.
        https_port: Where VAPIX listens.

    Raises:
        UnusableInput: When the chip is not known, a value makes no sense, or a port is
            taken.

    Example:
        >>> with start("artpec8") as camera:
        ...     camera.product
        'virtual AXIS Q1656-LE'

    Introduced in notebook 13.
    """
    from course_lib.camera.virtual import runtime

    chip = socs.find(soc) if isinstance(soc, str) else soc
    if not chip.products:
        known = ", ".join(name for name, each in socs.SOCS.items() if each.products)
        raise UnusableInput(
            f"SoC {chip.id!r}: no camera's, expected one of {known}; each of them has "
            f"the device {socs.SOCS['cpu'].device} too"
        )
    if os is not None and not re.fullmatch(r"\d+(\.\d+)+", os):
        raise UnusableInput(f"AXIS OS {os!r}: expected a version such as 12.11.72")
    if disk <= 0 or compile_seconds < 0 or restart_seconds < 0:
        raise UnusableInput(
            f"disk={disk}, compile_seconds={compile_seconds}, "
            f"restart_seconds={restart_seconds}: expected numbers above 0"
        )
    return VirtualCamera(
        chip,
        os=os or runtime.newest_os(),
        faults=faults or Faults(),
        disk=disk,
        compile_seconds=compile_seconds,
        restart_seconds=restart_seconds,
        authorized_keys=authorized_keys,
        port=port,
        https_port=https_port,
    )


def login_help(camera: VirtualCamera) -> str:
    """Return what a person needs for logging in, as lines of text.

    Introduced in notebook 13.
    """
    settings = shlex.quote(str(camera.ssh_config))
    model = "model.onnx" if camera.soc.takes_onnx else "model.tflite"
    return (
        f"{camera.banner}\n"
        f"log in:       ssh -F {settings} camera\n"
        f"files:        sftp -F {settings} camera\n"
        f"              scp -F {settings} {model} camera:/tmp/\n"
        f"              {camera.storage.disk / 2**20:.0f} MiB in all\n"
        f"user:         {camera.user}\n"
        f"password:     {camera.password}\n"
        f"host key:     {camera.host_key_fingerprint} (ED25519)\n"
        f"VAPIX:        https://{camera.host}:{camera.https_port}\n"
        f"certificate:  {camera.certificate_fingerprint} (SHA-256)\n"
        f"devices:      {', '.join(camera.device.devices)}\n"
        "\nFor `dlpu` and notebooks, in another terminal, one line after the other:\n"
        f"  export AXIS_CAMERA={camera.host}:{camera.port} "
        f"AXIS_CAMERA_USER={camera.user}\n"
        f"  export AXIS_CAMERA_HTTPS_PORT={camera.https_port} "
        f"AXIS_CAMERA_KNOWN={shlex.quote(str(camera.known))}\n"
        "  read -rs AXIS_CAMERA_PASSWORD   # then the password and Enter; not shown\n"
        "  export AXIS_CAMERA_PASSWORD\n"
        "  dlpu camera\n"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _parameters(soc: socs.Soc, *, name: str, os: str, serial: str) -> dict[str, str]:
    return {
        "root.Brand.Brand": "AXIS",
        "root.Brand.ProdFullName": f"{name} Network Camera {VIRTUAL}",
        "root.Brand.ProdNbr": name.removeprefix("AXIS "),
        "root.Brand.ProdShortName": name,
        "root.Brand.ProdType": "Network Camera",
        "root.Brand.WebURL": "http://www.axis.com",
        "root.Properties.Firmware.Version": os,
        "root.Properties.System.Architecture": soc.sdk_architecture.value,
        "root.Properties.System.SerialNumber": serial,
        "root.Properties.System.Soc": (
            soc.parameter_name.value if soc.parameter_name else soc.name
        ),
        _SSH: "yes",
        "root.ImageSource.I0.Sensor.MotionAdaptiveExposure": "on",
    }


def _authorized(keys: Sequence[str]) -> asyncssh.SSHAuthorizedKeys | None:
    if not keys:
        return None
    try:
        return asyncssh.import_authorized_keys("\n".join(keys))
    except ValueError as error:
        raise UnusableInput(
            f"authorized key: {error}; give a line of a .pub file, such as "
            "~/.ssh/id_ed25519.pub"
        ) from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
