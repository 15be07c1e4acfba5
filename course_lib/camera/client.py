"""A camera over SSH, SFTP and VAPIX: upload a model, run it with larod-client, fetch.

The same code talks to a camera on the desk and to the virtual camera of this library.
Host keys and certificates are verified (`trust`). A password is never written anywhere.
No name of the user's gets into a command line: the camera sees our own folder and our
own file names, and what a caller does put into a command is quoted.

Source of the commands: Axis, Test your model, https://developer.axis.com.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import os
import re
import secrets
import shlex
import socket
import threading
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from course_lib.camera import errors, larod, trust, vapix
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput

import asyncssh

REPLY_LIMIT = 1 << 20  # bytes of a command's output
COMMAND_SECONDS = 600.0  # a first load compiles the model and takes minutes
KEEPALIVE_SECONDS, KEEPALIVE_MISSES = 10, 3
# Power is shared with the camera's other work: Axis's examples wait 250 ms, 500 ms ...
POWER_NOT_AVAILABLE = -15
POWER_TRIES = 20
POWER_WAIT_SECONDS = 0.25
# After a cut connection, only to clean up.
CLEAN_UP_SECONDS = 20.0
CLEAN_UP_TRY_SECONDS = 6.0
CLEAN_UP_WAITS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_CHUNK = 1 << 18
_SLOWEST = 10_000  # bytes a second; what is slower is taken for dead
_QUOTED = 300  # characters of the camera's own words in a line of ours
_LONGEST = 100  # characters of a name
_QUESTION_SECONDS = 60.0  # what a camera answers at once
_EXPLAINED = 1 << 14  # characters, the last of them, in which a cause is looked for
_PARAMETERS = {
    "product": "root.Brand.ProdFullName",
    "soc": "root.Properties.System.Soc",
    "os": "root.Properties.Firmware.Version",
    "architecture": "root.Properties.System.Architecture",
    "serial": "root.Properties.System.SerialNumber",
}
_SSH_OFF = (
    "is SSH off? Switch it on: System > Plain config > Network > SSH in the web page, "
    "or the VAPIX parameter Network.SSH.Enabled=yes"
)
_USERS = (
    "before AXIS OS 11.5 only root logs in over SSH, from 12.0 on root does not; since "
    "11.11 Developer Mode gives users called acap-<application>"
)
_LOST = "reconnect when the camera is up again; look at its power, network and log"
_LOG = logging.getLogger(__name__)


def _without_dump(record: logging.LogRecord) -> bool:
    """Cut a packet's bytes from asyncssh's most verbose log: one holds the password."""
    if getattr(record, "packet", None):
        record.msg = str(record.msg).partition("\n")[0]
        record.packet = None
    return True


logging.getLogger("asyncssh").addFilter(_without_dump)


class CameraError(UnusableInput):
    """What went wrong with a camera, in one line.

    Attributes:
        run: What larod-client told, where it was one of its runs.
        output: All that the command printed.

    Introduced in notebook 13.
    """

    def __init__(
        self, line: str, *, run: larod.Run | None = None, output: str = ""
    ) -> None:
        # Parts of it come from the camera: nothing in it may steer a terminal.
        super().__init__(
            "".join(
                letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
                for letter in line
            )
        )
        self.run = run
        self.output = output


class _NoSftp(CameraError):
    """The camera has no SFTP for this user."""


class _Lost(Exception):
    """The connection is gone."""


class _Secret:
    """A text that no traceback, log or debugger shows."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "<secret>" if self.text else "<none>"


@dataclass(frozen=True)
class Info:
    """What a camera is.

    Attributes:
        product: Its full name, such as "AXIS Q1656-LE Box Camera".
        soc: Its chip.
        os: Version of AXIS OS, such as "12.11.72".
        architecture: "aarch64" or "armv7hf".
        serial: Its serial number.

    Introduced in notebook 13.
    """

    product: str
    soc: socs.Soc = field(repr=False)
    os: str
    architecture: str
    serial: str


@dataclass(frozen=True)
class Reply:
    """What a command printed, and its exit status.

    Introduced in notebook 13.
    """

    stdout: str
    stderr: str
    status: int


@dataclass(frozen=True)
class _Access:
    """Where a camera is and how to log in."""

    host: str
    user: str
    password: _Secret
    key: asyncssh.SSHKey | None
    port: int
    https_port: int
    known: Path | None
    trust_new: bool
    timeout: float

    def __str__(self) -> str:
        return f"camera {self.host}, port {self.port}"


def connect(
    host: str | None = None,
    *,
    user: str | None = None,
    password: str | None = None,
    key: Path | str | None = None,
    port: int = trust.SSH_PORT,
    https_port: int | None = None,
    known: Path | str | None = None,
    trust_new: bool = False,
    timeout: float = 10.0,
) -> "Camera":
    """Connect to a camera over SSH; use the result in a `with` statement.

    What is None comes from the environment: AXIS_CAMERA (`host` or `host:port`),
    AXIS_CAMERA_USER, AXIS_CAMERA_PASSWORD, AXIS_CAMERA_KEY, AXIS_CAMERA_HTTPS_PORT,
    AXIS_CAMERA_KNOWN. The password of an encrypted key stands in
    AXIS_CAMERA_KEY_PASSPHRASE. No key of ~/.ssh, no agent and no ~/.ssh/config is used:
    only what is named.

    Args:
        host: Name or address.
        user: Who logs in.
        password: For SSH and VAPIX.
        key: File with a private key, for SSH.
        port: Of SSH.
        https_port: Of VAPIX; 443 when nothing names another.
        known: Folder with `known_hosts` and `certificates`; None: the user's.
        trust_new: Whether an unknown host key or certificate is accepted and kept.
        timeout: For a connection, in seconds.

    Raises:
        UnusableInput: When something is not given, or the key's file cannot be used.
        CameraError: When there is no connection.

    Introduced in notebook 13.
    """
    host = host or os.environ.get("AXIS_CAMERA")
    if not host:
        raise UnusableInput(
            "no camera: AXIS_CAMERA is not set; set it to the camera's address, or use "
            "the virtual camera"
        )
    if match := re.fullmatch(r"([^:]+):(\d{1,5})", host):
        host, port = match[1], int(match[2])
    host = trust.host(host)
    user = user or os.environ.get("AXIS_CAMERA_USER")
    if not user:
        raise UnusableInput(
            f"camera {host}: no user; set AXIS_CAMERA_USER to one that may log in over "
            f"SSH: {_USERS}"
        )
    if not 0 < port < 1 << 16:
        raise UnusableInput(f"camera {host}: port {port}: give one from 1 to 65535")
    known = known or os.environ.get("AXIS_CAMERA_KNOWN")
    # From here on no frame has it as a text: a debugger's traceback shows frames.
    secret = _Secret(password or os.environ.get("AXIS_CAMERA_PASSWORD"))
    del password
    key = key or os.environ.get("AXIS_CAMERA_KEY")
    if not key and not secret.text:
        raise UnusableInput(
            f"camera {host}: neither password nor key; set AXIS_CAMERA_PASSWORD, or "
            "AXIS_CAMERA_KEY to the file of a private key"
        )
    access = _Access(
        host=host,
        user=user,
        password=secret,
        key=_private_key(Path(key)) if key else None,
        port=port,
        https_port=https_port or _https_port(),
        known=Path(known) if known else None,
        trust_new=trust_new,
        timeout=timeout,
    )
    return Camera(access)


class Camera:
    """A camera with an open connection; made by `connect`.

    Its methods block until the camera has answered. They may be called inside Jupyter,
    whose own event loop goes on, and by several threads. Ctrl-C stops the command on
    the camera.

    Introduced in notebook 13.
    """

    def __init__(self, access: _Access) -> None:
        self._access = access
        self._connection: asyncssh.SSHClientConnection | None = None
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=asyncio.run,
            args=[self._serve(started)],
            name=f"{access}",
            daemon=True,
        )
        self._thread.start()
        started.result()
        try:
            self._await(self._connect())
        except BaseException:
            self._stop()
            raise

    def __repr__(self) -> str:
        return f"<{self._access}, user {self._access.user}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        if self._thread.is_alive():
            try:
                self._await(self._disconnect())
            finally:
                self._stop()

    @functools.cached_property
    def info(self) -> Info:
        """What the camera is: from VAPIX, or where that is not to be had over SSH.

        Raises:
            CameraError: When neither tells, or the SoC is not a known one.
        """
        try:
            found = self._properties()
        except trust.Changed:
            raise
        except UnusableInput as reason:
            found = self._parameters(reason)
        try:
            soc = socs.find(found["soc"][:_LONGEST])
        except UnusableInput as reason:
            raise CameraError(
                f"{self._access} ({found['product'][:_LONGEST]}): {reason}; choose the "
                "device yourself from `larod-client -a`"
            ) from None
        # Whatever a camera says of itself: a name, not a book.
        told = {name: value[:_LONGEST] for name, value in found.items()}
        return Info(**told | {"soc": soc})

    def devices(self) -> tuple[str, ...]:
        """Return the names of the larod devices, as the camera lists them.

        Raises:
            CameraError: When larod-client does not list any.
        """
        words = ["larod-client", "-a"]
        reply = self.execute(words, timeout=_QUESTION_SECONDS)
        names = larod.devices(reply.stdout + reply.stderr)
        if names:
            return names
        if reply.status == 0:
            raise CameraError(
                f"{self._access}: `larod-client -a` lists no device; is larod running? "
                "See `journalctl -u larod` there",
                output=reply.stdout,
            )
        raise self._failure(words, reply)

    def device(self) -> str:
        """Return the larod device for this camera's SoC, looked up in its own list.

        Raises:
            CameraError: When none of the SoC's devices is listed.
        """
        soc, listed = self.info.soc, self.devices()
        for name in soc.devices.value:
            if name in listed:
                return name
        raise CameraError(
            f"{self._access}: no device for {soc.name}: expected one of "
            f"{', '.join(soc.devices.value)}, it lists "
            f"{', '.join(listed)[:_QUOTED]}; name one with device="
        )

    def execute(
        self,
        line: str | Sequence[str],
        *,
        timeout: float = COMMAND_SECONDS,
        limit: int = REPLY_LIMIT,
    ) -> Reply:
        """Run a command on the camera.

        Args:
            line: A list of arguments, which is quoted; or a text, which is sent as it
                is and must not hold a name that somebody else chose.
            timeout: After so many seconds the command is stopped.
            limit: After so many bytes of output the command is stopped.

        Returns:
            The reply, whatever its exit status.

        Raises:
            CameraError: When the connection is lost, or at one of the two limits.
        """
        text = line if isinstance(line, str) else shlex.join(line)
        return self._await(self._execute(text, timeout, limit), "running a command")

    @contextmanager
    def load(
        self,
        file: Path | str | bytes,
        *,
        device: str | None = None,
        suffix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator["Loaded"]:
        """Upload a model into a folder of its own, which is removed at the end.

        Nothing runs yet: larod-client loads the model anew in each run, and the camera
        keeps what it has compiled.

        Args:
            file: The model, or a file with it. Its name stays on this computer.
            device: larod device; None: the right one for the SoC.
            suffix: Of the name on the camera; None: that of the file, or ".tflite".
            progress: Called with bytes sent and bytes in all.

        Raises:
            UnusableInput: When the file cannot be read.
            CameraError: When it does not get there whole, or the camera cannot be
                cleaned up; its line then says what is left where.
        """
        if suffix is None:
            named = not isinstance(file, bytes)
            suffix = Path(file).suffix.lower() if named else ".tflite"
        if not re.fullmatch(r"\.[a-z0-9]{1,8}", suffix):
            raise UnusableInput(
                f"suffix {suffix!r}: expected an ending such as .tflite: rename the "
                "file, or name one with suffix="
            )
        content = file if isinstance(file, bytes) else _content(Path(file))
        device = device or self.device()
        folder = f"/tmp/dlpu-{secrets.token_hex(8)}"
        model = f"{folder}/model{suffix}"
        try:
            self._await(self._make(folder), "making a folder")
            self._await(self._upload({model: content}, progress), "uploading the model")
            yield Loaded(camera=self, folder=folder, model=model, device=device)
        except BaseException as error:
            left = self._clean_up(folder)
            if left and isinstance(error, CameraError):
                raise CameraError(
                    f"{error}; {left}", run=error.run, output=error.output
                ) from None
            if left:
                _LOG.warning("%s", left)
            raise
        left = self._clean_up(folder)
        if left:
            raise CameraError(f"{self._access}: {left}")

    def log(self, lines: int = 200) -> str:
        """Return the last lines of larod's log.

        Raises:
            CameraError: When the camera does not show it to this user.
        """
        words = ["journalctl", "-u", "larod", "-n", str(int(lines)), "--no-pager"]
        reply = self.execute(words, timeout=_QUESTION_SECONDS)
        if reply.status != 0:
            raise self._failure(words, reply)
        return reply.stdout

    # Below: what is called from the caller's thread.

    def _await(self, work: Coroutine, doing: str = "connecting") -> Any:
        """Run a coroutine in the background thread and wait for its end."""
        if not self._thread.is_alive():
            work.close()
            raise CameraError(f"{self._access}: closed; connect again")
        ended = threading.Event()

        async def whole() -> Any:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(whole(), self._loop)
        try:
            return future.result()
        except (_Lost, *_CUT) as error:
            detail = f" ({error})" if isinstance(error, _Lost) and str(error) else ""
            line = f"the connection was lost while {doing}{detail}; {_LOST}"
        except asyncssh.SFTPError as error:
            line = f"{doing} failed: {_sftp_reason(error)}"
        except BaseException:
            if not future.done():  # Ctrl-C: the command on the camera is stopped first
                future.cancel()
                ended.wait(CLEAN_UP_SECONDS)
            raise
        raise CameraError(f"{self._access}: {line}") from None

    def _stop(self) -> None:
        """End the background thread with whatever is still under way in it."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        """Live in the background thread until `_stop`."""
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        started.set_result(None)
        await self._closing.wait()

    def _properties(self) -> dict[str, str]:
        """Ask VAPIX what the camera is."""
        access = self._access
        if not access.password.text:
            raise UnusableInput(f"camera {access.host}: VAPIX wants a password")
        with vapix.client(
            access.host,
            user=access.user,
            password=access.password.text,
            port=access.https_port,
            known=access.known,
            trust_new=access.trust_new,
            timeout=access.timeout,
        ) as client:
            told = vapix.properties(client)
        names = ("ProdFullName", "Soc", "Version", "Architecture", "SerialNumber")
        if not told.get("Soc"):
            raise UnusableInput(f"camera {access.host}: VAPIX does not name the SoC")
        return dict(zip(_PARAMETERS, (told.get(n, "") for n in names), strict=True))

    def _parameters(self, reason: UnusableInput) -> dict[str, str]:
        """Ask the camera over SSH what it is, as VAPIX did not tell for a reason."""
        found = {}
        for name, parameter in _PARAMETERS.items():
            reply = self.execute(
                ["parhandclient", "getgroup", parameter], timeout=_QUESTION_SECONDS
            )
            value = re.search(r'="([^"\n]*)"', reply.stdout)
            found[name] = value[1] if value and reply.status == 0 else ""
        if not found["soc"]:
            raise CameraError(
                f"{reason}; and over SSH parhandclient does not tell "
                f"{_PARAMETERS['soc']} either: log in as a user who may read it"
            )
        return found

    def _clean_up(self, folder: str) -> str:
        """Remove a folder on the camera; say in a line what is left, or nothing."""
        end = time.monotonic() + CLEAN_UP_SECONDS
        reason = ""
        for wait in (0.0, *CLEAN_UP_WAITS):
            time.sleep(min(wait, max(end - time.monotonic(), 0)))
            if time.monotonic() >= end:
                break
            seconds = min(end - time.monotonic(), CLEAN_UP_TRY_SECONDS)
            try:
                self._await(self._remove(folder, seconds), "cleaning up")
            except _NoSftp:
                return ""  # then nothing has been made there either
            except UnusableInput as error:
                reason = str(error)
                connected = self._connection and not self._connection.is_closed()
                if connected or isinstance(error, trust.NotTrusted):
                    break  # it answers, and will answer the same again
            else:
                return ""
        return f"left on the camera: {folder} (could not be removed: {reason})"

    def _failure(self, words: Sequence[str], reply: Reply) -> CameraError:
        """Turn a command that failed into one line, with what it most likely means."""
        output = reply.stdout + reply.stderr
        run = larod.parse(output) if words[0] == "larod-client" else None
        if reply.status == 127:
            says = f"{words[0]}: not found there (127); is it a camera with larod?"
        elif run and run.error:
            code = "" if run.error.code is None else f" ({run.error.code})"
            step = f" when {run.error.step[:_LONGEST]}" if run.error.step else ""
            says = f"larod-client failed{step}{code}: {run.error.text[:_QUOTED]}"
        elif reply.status < 0:
            says = f"{words[0]} was killed; is the camera's memory full? See its log"
        else:
            told = [line.strip() for line in output.splitlines() if line.strip()]
            text = told[-1][:_QUOTED] if told else "it printed nothing"
            says = f"{words[0]} failed with status {reply.status}: {text}"
        known = errors.explain(output[-_EXPLAINED:])
        # That there is a code says nothing which the line above does not.
        if known and not (known[0].note or known[0].id.startswith("larod-code")):
            says += f"; most likely: {known[0].title} (`dlpu explain` tells more)"
        return CameraError(f"{self._access}: {says}", run=run, output=output)

    # Below: coroutines, which run in the background thread.

    async def _connect(self) -> None:
        """Open the connection, with the host key verified before any log-in."""
        access = self._access
        keys = trust.host_keys(access.host, port=access.port, known=access.known)
        guard = _Guard(keys, trust_new=access.trust_new)
        name = f"{access}"
        try:
            async with asyncio.timeout(access.timeout):
                self._connection = await asyncssh.connect(
                    access.host,
                    access.port,
                    username=access.user,
                    password=None if access.key else access.password.text,
                    client_keys=[access.key] if access.key else None,
                    client_factory=lambda: guard,
                    known_hosts=([], [], []),  # the guard decides
                    server_host_key_algs=keys.algorithms,
                    config=None,
                    agent_path=None,
                    gss_host=None,
                    gss_kex=False,
                    x509_trusted_certs=None,
                    keepalive_interval=KEEPALIVE_SECONDS,
                    keepalive_count_max=KEEPALIVE_MISSES,
                )
        except asyncssh.HostKeyNotVerifiable:
            line = f"{name}: its SSH host key cannot be used; update AXIS OS"
        except asyncssh.PermissionDenied:
            what = "key" if access.key else "password"
            line = f"{name}: wrong user or {what} ({access.user}); {_USERS}"
        except asyncssh.KeyExchangeFailed:
            line = f"{name}: no common SSH algorithm; update AXIS OS"
        except (asyncssh.DisconnectError, ConnectionResetError, BrokenPipeError):
            line = f"{name}: hung up before the log-in; is it an SSH port? {_SSH_OFF}"
        except ConnectionRefusedError:
            line = (
                f"{name}: the connection is refused; {_elsewhere(access) or _SSH_OFF}"
            )
        except socket.gaierror:
            line = f"{name}: the name is not known; give the camera's address"
        except TimeoutError:
            line = (
                f"{name}: no answer within {access.timeout:g} s; is it on, and is the "
                "address right?"
            )
        except OSError as error:
            line = (
                f"{name}: not reachable ({error.strerror or 'no route'}); check the "
                "address and the network"
            )
        except ValueError:  # SASLprep's, or of what is no UTF-8
            line = (
                f"{name}: the user's name or password has a character that cannot be "
                "sent; set AXIS_CAMERA_USER and AXIS_CAMERA_PASSWORD anew"
            )
        else:
            guard.accept()
            return
        # Raised out here: the library's exception, whose frames know the password,
        # is not chained to ours.
        raise guard.refusal or CameraError(line)

    async def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            try:
                async with asyncio.timeout(self._access.timeout):
                    await self._connection.wait_closed()
            except (TimeoutError, *_CUT):
                self._connection.abort()

    def _open(self) -> asyncssh.SSHClientConnection:
        """Return the connection, if it still is one."""
        if self._connection is None or self._connection.is_closed():
            raise _Lost
        return self._connection

    async def _execute(self, line: str, timeout: float, limit: int) -> Reply:
        connection = self._open()
        shown = repr(line if len(line) <= 60 else f"{line[:57]}...")
        opening = asyncio.ensure_future(
            connection.create_process(line, encoding=None, stdin=asyncssh.DEVNULL)
        )
        try:
            # Shielded: a command that starts while Ctrl-C comes has to be stopped too.
            process = await asyncio.shield(opening)
        except asyncio.CancelledError:
            await _end(await opening)
            raise
        except asyncssh.ChannelOpenError as error:
            self._open()
            raise CameraError(
                f"{self._access}: {shown} was not started ({error.reason}); does this "
                "user have a shell?"
            ) from None
        try:
            async with asyncio.timeout(timeout):
                stdout, stderr = await asyncio.gather(
                    _read(process.stdout, limit), _read(process.stderr, limit)
                )
                await process.wait_closed()
        except TimeoutError:
            self._open()  # else it is TCP's own, of a connection that is gone
            line = f"was stopped after {timeout:g} s; give it more time with timeout="
        except _TooMuch:
            line = (
                f"was stopped: it printed more than {limit:,} bytes; fetch long texts "
                "with sftp"
            )
        else:
            if process.exit_status is not None:
                return Reply(_text(stdout), _text(stderr), process.exit_status)
            self._open()
            line = "ended without a status; it was killed: look at the camera's log"
        finally:
            await _end(process)
        raise CameraError(f"{self._access}: {shown} {line}") from None

    @asynccontextmanager
    async def _sftp(self, seconds: float) -> AsyncIterator[asyncssh.SFTPClient]:
        """Open an SFTP session of its own: none is left in doubt by an interrupt.

        After so many seconds the connection is cut: a file cannot be closed, nor a
        session ended, on a camera that no longer answers.
        """
        connection = self._open()
        limit = asyncio.get_running_loop().call_later(seconds, connection.abort)
        try:
            try:
                client = await connection.start_sftp_client()
            except (asyncssh.ChannelOpenError, asyncssh.SFTPError):
                self._open()
                raise _NoSftp(
                    f"{self._access}: no SFTP there; its SSH server lacks the subsystem"
                    f" or this user may not use it: log in as another user ({_USERS})"
                ) from None
            async with client:
                yield client
        finally:
            limit.cancel()

    async def _make(self, folder: str) -> None:
        async with self._sftp(_patience(0)) as sftp:
            await sftp.mkdir(folder, asyncssh.SFTPAttrs(permissions=0o700))

    async def _upload(
        self,
        contents: Mapping[str, bytes],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write files, by path, and look whether they got there whole."""
        total = sum(map(len, contents.values()))
        sent = 0
        async with self._sftp(_patience(total)) as sftp:
            try:
                for path, content in contents.items():
                    async with sftp.open(path, "wb") as file:
                        for start in range(0, len(content), _CHUNK):
                            part = content[start : start + _CHUNK]
                            await file.write(part)
                            sent += len(part)
                            if progress:
                                progress(sent, total)
                    size = await sftp.getsize(path)
                    if size != len(content):
                        raise CameraError(
                            f"{self._access}: {size:,} of {len(content):,} bytes got "
                            "there; is its disk full? See `df /tmp`, make room"
                        )
            except _CUT:
                raise _Lost(f"{sent:,} of {total:,} bytes sent") from None

    async def _download(self, sizes: Mapping[str, int]) -> list[bytes]:
        """Read files, by path, that must have these sizes."""
        contents: list[bytes] = []
        total = sum(sizes.values())
        async with self._sftp(_patience(total)) as sftp:
            try:
                for path, expected in sizes.items():
                    size = await sftp.getsize(path)
                    if size == expected:
                        async with sftp.open(path, "rb") as file:
                            content = await file.read(expected)
                        size = len(content)
                    if size != expected:
                        raise CameraError(
                            f"{self._access}: output {len(contents)} has {size:,} "
                            f"bytes, expected {expected:,}; compare with its shape, "
                            "dtype and the SoC's output stride (`dlpu card`)"
                        )
                    contents.append(content)
            except _CUT:
                got = sum(map(len, contents))
                raise _Lost(f"{got:,} of {total:,} bytes fetched") from None
        return contents

    async def _remove(self, folder: str, seconds: float) -> None:
        """Remove a folder, over a new connection if the old one is gone."""
        try:
            async with asyncio.timeout(seconds):
                if self._connection is None or self._connection.is_closed():
                    await self._connect()
                async with self._sftp(seconds) as sftp:
                    with contextlib.suppress(*_NOT_THERE):
                        await sftp.rmtree(folder)
        except TimeoutError:
            if self._connection:
                self._connection.abort()  # it is dead, and nobody has noticed yet
            raise CameraError(f"no answer within {seconds:.0f} s") from None


@dataclass(frozen=True)
class Loaded:
    """A model in its own folder on a camera; made by `Camera.load`.

    Attributes:
        camera: Where it is.
        folder: On the camera.
        model: Its path on the camera.
        device: The larod device that runs it.

    Introduced in notebook 13.
    """

    camera: Camera
    folder: str
    model: str
    device: str

    def run(
        self,
        inputs: Sequence[bytes] = (),
        *,
        rounds: int = 1,
        warm_up: int = 0,
        seed: int | None = None,
        output_sizes: Sequence[int],
        timeout: float = COMMAND_SECONDS,
    ) -> tuple[larod.Run, list[bytes]]:
        """Run the model and fetch its outputs.

        Args:
            inputs: Raw bytes of each input tensor, as the device wants them; none:
                random ones.
            rounds: How many times.
            warm_up: Rounds before, which are not timed.
            seed: Of random input.
            output_sizes: Bytes of each output tensor on this device, padding included.
            timeout: In seconds, for larod-client.

        Returns:
            What larod-client told, and the raw bytes of each output tensor.

        Raises:
            CameraError: When it fails, or an output has another size.
        """
        if not output_sizes:
            raise UnusableInput("output_sizes is empty: give the bytes of each output")
        sent = {f"{self.folder}/in{n}.bin": content for n, content in enumerate(inputs)}
        sizes = {
            f"{self.folder}/out{n}.bin": size for n, size in enumerate(output_sizes)
        }
        run = self._run(
            sent, sizes, rounds=rounds, warm_up=warm_up, seed=seed, timeout=timeout
        )
        outputs = self.camera._await(
            self.camera._download(sizes), "fetching the outputs"
        )
        return run, outputs

    def benchmark(
        self,
        rounds: int,
        *,
        warm_up: int = 5,
        batches: int = 10,
        outputs: int = 1,
        timeout: float = COMMAND_SECONDS,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[larod.Run, ...]:
        """Time the model on random input, in several batches.

        larod-client tells the mean of a call alone. So the rounds are split into
        batches, each a call of its own with its own warm-up, and the spread of their
        means is seen.

        Args:
            rounds: Timed rounds in all.
            warm_up: Rounds before each batch, which are not timed.
            batches: How many calls; at most one for each round.
            outputs: How many output tensors the model has.
            timeout: In seconds, for each call.
            progress: Called with rounds done and rounds in all.

        Raises:
            CameraError: When a run fails.
        """
        if rounds < 1 or batches < 1 or outputs < 1:
            raise UnusableInput(
                f"rounds {rounds}, batches {batches}, outputs {outputs}: each must be "
                "at least 1"
            )
        batches = min(batches, rounds)
        files = [f"{self.folder}/out{n}.bin" for n in range(outputs)]
        runs: list[larod.Run] = []
        done = 0
        for batch in range(batches):
            share = rounds * (batch + 1) // batches - done
            runs.append(
                self._run({}, files, rounds=share, warm_up=warm_up, timeout=timeout)
            )
            done += share
            if progress:
                progress(done, rounds)
        return tuple(runs)

    def _run(
        self,
        inputs: Mapping[str, bytes],
        outputs: Iterable[str],
        *,
        timeout: float,
        **options: Any,
    ) -> larod.Run:
        """Call larod-client, again while the chip has no power."""
        camera, outputs = self.camera, tuple(outputs)
        words = larod.command(
            self.model,
            device=self.device,
            inputs=tuple(inputs) or ("",),
            outputs=outputs,
            **options,
        )
        # Since AXIS OS 12 larod may write only into files that the user has made.
        empty = dict.fromkeys(outputs, b"")
        camera._await(camera._upload({**inputs, **empty}), "uploading the input")
        for attempt in range(1, POWER_TRIES + 1):
            reply = camera._await(
                camera._execute(shlex.join(words), timeout, REPLY_LIMIT),
                "running the model",
            )
            run = larod.parse(reply.stdout + reply.stderr)
            if reply.status == 0 and run.error is None:
                return run
            if run.error is None or run.error.code != POWER_NOT_AVAILABLE:
                break
            if attempt < POWER_TRIES:
                time.sleep(POWER_WAIT_SECONDS * attempt)
        raise camera._failure(words, reply)


class _TooMuch(Exception):
    """A command printed more than the limit."""


class _Guard(asyncssh.SSHClient):
    """Decides whether a host key is trusted, and keeps the reason if not."""

    def __init__(self, keys: trust.HostKeys, *, trust_new: bool) -> None:
        self._keys = keys
        self._trust_new = trust_new
        self._key: asyncssh.SSHKey | None = None
        self.refusal: trust.NotTrusted | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Compare with what is known; asyncssh checks that the server has the key."""
        try:
            self._keys.check(key, trust_new=self._trust_new)
        except trust.NotTrusted as refusal:
            self.refusal = refusal
            return False
        self._key = key
        return True

    def accept(self) -> None:
        """Write a new key down, after the log-in has worked."""
        if self._key and self._key not in self._keys.keys:
            self._keys.remember(self._key)


# What asyncssh raises when a connection is gone.
_CUT = (
    asyncssh.DisconnectError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    OSError,
)
_NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


def _elsewhere(access: _Access) -> str:
    """Tell when AXIS_CAMERA names another port of the host; "" when it does not."""
    named = os.environ.get("AXIS_CAMERA", "").lower()
    host, _, port = named.partition(":")
    if host != access.host or not port or port == f"{access.port}":
        return ""
    return f"AXIS_CAMERA names port {port} of this host: give it as {named}"


def _patience(size: int) -> float:
    """Return the seconds after which a transfer of so many bytes is given up."""
    return COMMAND_SECONDS + size / _SLOWEST


async def _read(stream: asyncssh.SSHReader[bytes], limit: int) -> bytes:
    """Read a stream to its end."""
    content = bytearray()
    while part := await stream.read(_CHUNK):
        content += part
        if len(content) > limit:
            raise _TooMuch
    return bytes(content)


async def _end(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Stop a command that may still run, and give its channel back."""
    with contextlib.suppress(OSError, TimeoutError, asyncssh.Error):
        if process.exit_status is None:
            process.terminate()  # hanging up alone does not end it
    process.close()
    with contextlib.suppress(TimeoutError, *_CUT):
        async with asyncio.timeout(2):
            await process.wait_closed()


def _sftp_reason(error: asyncssh.SFTPError) -> str:
    """Say what a server's SFTP answer means, and what to do."""
    full = asyncssh.SFTPNoSpaceOnFilesystem | asyncssh.SFTPQuotaExceeded
    if isinstance(error, full) or "space" in error.reason.lower():
        return "its disk is full; see `df /tmp` on the camera, make room or restart it"
    if isinstance(error, asyncssh.SFTPPermissionDenied):
        return f"this user may not write or read there; log in as another ({_USERS})"
    # OpenSSH has one answer, "Failure", for all else; a full disk is the usual cause.
    return f"the camera answers {error.reason!r}; is its disk full? See `df /tmp` there"


def _https_port() -> int:
    """Return VAPIX's port from the environment, or the usual one."""
    named = os.environ.get("AXIS_CAMERA_HTTPS_PORT")
    if not named:
        return trust.HTTPS_PORT
    if not named.isdecimal() or not 0 < int(named) < 1 << 16:
        raise UnusableInput(
            f"AXIS_CAMERA_HTTPS_PORT is {named!r}: give a port from 1 to 65535"
        )
    return int(named)


def _private_key(file: Path) -> asyncssh.SSHKey:
    """Read a private key, with its passphrase from the environment."""
    variable = "AXIS_CAMERA_KEY_PASSPHRASE"
    try:
        return asyncssh.read_private_key(
            file.expanduser(), passphrase=os.environ.get(variable)
        )
    except OSError as error:
        raise UnusableInput(
            f"{file}: the key could not be read ({error.strerror}); name the file of a "
            "private key"
        ) from None
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        raise UnusableInput(
            f"{file}: not a private key that can be read with {variable} ({error}); "
            "name a private key, and set its passphrase if it has one"
        ) from None


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnusableInput(
            f"{file}: could not be read ({error.strerror}); name a model file"
        ) from error


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")
