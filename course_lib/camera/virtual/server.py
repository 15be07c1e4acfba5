"""The virtual camera's SSH and SFTP server, in a thread of its own, on loopback only.

Whatever a visitor types goes to `shell.Shell`, whatever a visitor sends to `Storage`.
Forwarding of ports, agents and displays is refused.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.camera.virtual import shell
from course_lib.camera.virtual.storage import TMP

import asyncssh

if TYPE_CHECKING:
    from course_lib.camera.virtual import VirtualCamera

HOST = "127.0.0.1"
_LONGEST_LINE = 16384
_LOOK_AGAIN = 0.5  # seconds
_VISITOR = 1000  # number of the user in a listing
_REPLY_LINE = "x" * 1023 + "\n"


class SshServer:
    """The SSH side of one virtual camera.

    Attributes:
        key: The host key of now; `new_key` makes another one.
        connections: Those that are open.

    Introduced in notebook 13.
    """

    def __init__(self, camera: "VirtualCamera") -> None:
        self.camera = camera
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._listener: asyncssh.SSHAcceptor | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="virtual-camera-ssh", daemon=True
        )
        self._thread.start()

    def new_key(self) -> None:
        """Take another host key, as after a factory default."""
        self.key = asyncssh.generate_private_key("ssh-ed25519")

    def open(self, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: When the port is not free.
        """

        async def listen() -> asyncssh.SSHAcceptor:
            return await asyncssh.listen(
                sock=socket.create_server((HOST, port)),
                server_factory=lambda: _Login(self),
                server_host_keys=[self.key],
                server_version="virtual_camera_SIMULATION",
                # Bytes that are no text come out of `cat` as they are in the file.
                encoding="utf-8",
                errors="surrogateescape",
                max_line_length=_LONGEST_LINE,
                agent_forwarding=False,
                login_timeout=20,
            )

        self._listener = self.call(listen())
        return self._listener.get_port()

    def shut(self) -> None:
        """Refuse new connections and cut the present ones."""

        async def cut() -> None:
            if self._listener:
                # Its wait_closed would wait for the connections, from Python 3.12 on.
                self._listener.close()
            connections = list(self.connections)
            for connection in connections:
                connection.abort()
            for connection in connections:
                await connection.wait_closed()

        self.call(cut())
        self._listener = None

    def close(self) -> None:
        """End the server and its thread."""
        self.shut()

        async def finish() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the server's thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Login(asyncssh.SSHServer):
    """One connection: who may come in, and what a session of it is."""

    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._camera = server.camera
        self._connection: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._connection.send_auth_banner(self._camera.banner)
        if self._camera.authorized_keys and username == self._camera.user:
            self._connection.set_authorized_keys(self._camera.authorized_keys)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        right = self._camera.is_login(username, password)
        if not right:
            self._camera.note("sshd", "failed password for a visitor", level="WARNING")
        return right

    def auth_completed(self) -> None:
        self._camera.note("sshd", f"session of {self._camera.user} opened")

    def session_requested(self) -> asyncssh.SSHServerSession:
        return _Session(self._camera, self._connection)


class _Session(asyncssh.SSHServerProcess):
    """One channel: `ssh`, `ssh HOST COMMAND`, `sftp` or `scp`."""

    def __init__(
        self, camera: "VirtualCamera", connection: asyncssh.SSHServerConnection
    ) -> None:
        super().__init__(
            _serve,
            lambda channel: _Sftp(channel, camera),
            sftp_version=3,  # OpenSSH's
            allow_scp=True,  # also the protocol of before OpenSSH 9, `scp -O`
        )
        self.camera = camera
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.stopped = threading.Event()
        self.busy = False

    def break_received(self, msec: int) -> bool:
        """Take Ctrl-C: it ends what runs, or else the line that is being typed."""
        self.stdout.write("^C\n")
        if self.busy:
            self.stopped.set()
            return True
        return super().break_received(msec)

    def signal_received(self, signal: str) -> None:
        self.stopped.set()
        if not self.busy:
            super().signal_received(signal)

    def terminal_size_changed(
        self, width: int, height: int, pixwidth: int, pixheight: int
    ) -> None:
        """Leave it to the line editor, which has been told before."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.stopped.set()
        super().connection_lost(exc)

    def writer(self, stream: asyncssh.SSHWriter) -> Callable[[str], None]:
        """Return what a command's thread may write with; it waits for the visitor."""

        async def deliver(text: str) -> None:
            stream.write(text)
            await stream.drain()

        def write(text: str) -> None:
            if self.stopped.is_set() or self.loop.is_closed():
                return
            delivery = asyncio.run_coroutine_threadsafe(deliver(text), self.loop)
            while not self.stopped.is_set():
                try:
                    return delivery.result(timeout=_LOOK_AGAIN)
                except TimeoutError:  # the visitor reads slowly, or not at all
                    continue
                except (OSError, concurrent.futures.CancelledError):
                    self.stopped.set()  # the visitor has gone
            delivery.cancel()

        return write

    def disconnect(self) -> None:
        """Cut the connection, from a command's thread."""
        with contextlib.suppress(RuntimeError):  # the camera has been closed
            self.loop.call_soon_threadsafe(self.connection.abort)


async def _serve(process: _Session) -> None:
    """Answer one channel that is not SFTP."""
    if process.subsystem:
        process.exit(shell.NOT_FOUND)
        return
    session = shell.Shell(
        process.camera,
        write=process.writer(process.stdout),
        # A terminal has one stream.
        error=process.writer(process.stdout if process.term_type else process.stderr),
        stopped=process.stopped.is_set,
        disconnect=process.disconnect,
    )
    status = 0
    try:
        if process.command is not None:
            status = await _run(process, session, process.command)
        else:
            await _converse(process, session)
    except shell.Leave as leave:
        status = leave.status
    with contextlib.suppress(OSError):
        process.exit(status)


async def _converse(process: _Session, session: shell.Shell) -> None:
    """Read lines and answer each, until `exit` or Ctrl-D."""
    camera = process.camera
    if process.term_type:
        process.stdout.write("`help` lists what this virtual camera understands.\n")
    while True:
        if process.term_type:
            process.stdout.write(f"{camera.user}@{camera.hostname}:{session.cwd}$ ")
        try:
            line = await process.stdin.readline()
        except asyncssh.BreakReceived:
            process.channel.clear_input()
            continue
        except (asyncssh.SignalReceived, OSError):
            return
        if not line:
            return
        process.stopped.clear()
        await _run(process, session, line)
        if process.connection.is_closed():
            return


async def _run(process: _Session, session: shell.Shell, line: str) -> int:
    """Run one line in a thread of its own: inference must not hold up the server."""
    reply = process.camera.pending.take("reply_bytes")

    def work() -> int:
        if reply is not None:
            return _long_reply(process, reply)
        return session.run(line)

    done: asyncio.Future[int] = process.loop.create_future()

    def settle(result: int | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        done.set_exception(error) if error else done.set_result(result)

    def thread() -> None:
        try:
            outcome = (work(), None)
        except BaseException as error:
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the camera has been closed
            process.loop.call_soon_threadsafe(settle, *outcome)

    process.busy = True
    # A daemon thread: an endless run must not keep Python from ending.
    threading.Thread(target=thread, name="virtual-camera-run", daemon=True).start()
    try:
        return await done
    except shell.Leave:
        raise
    except Exception as error:
        process.camera.note("sh", f"{type(error).__name__}: {error}", level="ERR")
        with contextlib.suppress(OSError):
            process.stderr.write(
                f"the virtual camera failed ({type(error).__name__}: {error}): "
                "this is a fault of the simulation\n"
            )
        return 1
    finally:
        process.busy = False


def _long_reply(process: _Session, size: int) -> int:
    write = process.writer(process.stdout)
    piece = _REPLY_LINE * 64
    while size > 0 and not process.stopped.is_set():
        write(piece[: min(size, len(piece))])
        size -= len(piece)
    return 0


class _Sftp(asyncssh.SFTPServer):
    """SFTP and SCP inside the camera's file tree, with its quota and its faults."""

    def __init__(
        self, channel: asyncssh.SSHServerChannel, camera: "VirtualCamera"
    ) -> None:
        super().__init__(channel)
        self._camera = camera
        self._storage = camera.storage
        self._sent = self._received = 0

    # --- paths ------------------------------------------------------------------------

    def map_path(self, path: bytes) -> bytes:
        try:
            return os.fsencode(self._storage.locate(os.fsdecode(path)))
        except PermissionError as error:
            raise asyncssh.SFTPPermissionDenied(error.strerror) from error

    def reverse_map_path(self, path: bytes) -> bytes:
        return os.fsencode(self._storage.name(Path(os.fsdecode(path))))

    def _mine(self, path: bytes, *, inside: bool = True) -> Path:
        place = Path(os.fsdecode(self.map_path(path)))
        self._storage.may_write(place, inside=inside)
        return place

    # --- what changes something -------------------------------------------------------

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        changes = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC
        if pflags & changes:
            self._storage.reserve(self._mine(path), end=1)
        return super().open(path, pflags, asyncssh.SFTPAttrs())

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        limit = self._camera.faults.cut_upload_after
        if (
            limit is not None
            and self._received + len(data) > limit
            and self._camera.pending.take("cut_upload_after") is not None
        ):
            super().write(file_obj, offset, data[: max(0, limit - self._received)])
            self._cut()
        place = self._open_file(file_obj)
        if file_obj.mode.startswith("a"):
            offset = os.fstat(file_obj.fileno()).st_size
        self._storage.reserve(place, end=offset + len(data))
        self._received += len(data)
        return super().write(file_obj, offset, data)

    def read(self, file_obj: Any, offset: int, size: int) -> bytes:
        data = super().read(file_obj, offset, size)
        limit = self._camera.faults.cut_download_after
        if (
            limit is not None
            and self._sent + len(data) > limit
            and self._camera.pending.take("cut_download_after") is not None
        ):
            self._cut()
        self._sent += len(data)
        return data

    def _cut(self) -> None:
        self.connection.abort()
        raise asyncssh.SFTPConnectionLost("cut by a fault of the virtual camera")

    def _open_file(self, file_obj: Any) -> Path:
        return Path(os.fsdecode(file_obj.name))

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        self._set(self._mine(path), attrs)

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        self._set(self._mine(path), attrs)

    def fsetstat(self, file_obj: Any, attrs: asyncssh.SFTPAttrs) -> None:
        self._set(self._open_file(file_obj), attrs)

    def _set(self, place: Path, attrs: asyncssh.SFTPAttrs) -> None:
        self._storage.may_write(place)
        if attrs.size is not None:
            self._storage.reserve(place, end=attrs.size)
            os.truncate(place, attrs.size)
        if attrs.permissions is not None:
            # Owners, set-user-ID bits and a mode that would lock the server out of
            # its own file stay as they are.
            floor = 0o700 if place.is_dir() else 0o600
            place.chmod(attrs.permissions & 0o777 | floor)
        if attrs.atime is not None and attrs.mtime is not None:
            os.utime(place, (attrs.atime, attrs.mtime))

    def remove(self, path: bytes) -> None:
        self._mine(path).unlink()

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        self._mine(path).mkdir()

    def rmdir(self, path: bytes) -> None:
        self._mine(path).rmdir()

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        old, new = self._mine(oldpath), self._mine(newpath)
        if new.exists():
            raise asyncssh.SFTPFailure("File already exists")
        self._storage.move(old, new)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        self._storage.move(self._mine(oldpath), self._mine(newpath))

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("the virtual camera makes no links")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("the virtual camera makes no links")

    # --- what only looks --------------------------------------------------------------

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        folder = Path(os.fsdecode(self.map_path(path)))
        special = {b".": folder, b"..": self._storage.above(folder)}
        async for entry in super().scandir(path):
            place = special.get(entry.filename) or folder / os.fsdecode(entry.filename)
            # What OpenSSH's `ls -l` shows; numbers of this computer's users mean
            # nothing there.
            is_root = self._camera.owner(place) == "root"
            entry.attrs.uid = entry.attrs.gid = 0 if is_root else _VISITOR
            yield entry

    def realpath(self, path: bytes) -> bytes:
        return self.reverse_map_path(self.map_path(path))

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        block = 4096
        free = self._storage.free() // block
        return asyncssh.SFTPVFSAttrs(
            bsize=block,
            frsize=block,
            blocks=self._storage.disk // block,
            bfree=free,
            bavail=free,
            namemax=255,
        )

    def fstatvfs(self, file_obj: Any) -> asyncssh.SFTPVFSAttrs:
        return self.statvfs(TMP.encode())

    def exit(self) -> None:
        """Send an exit status, without which `scp` reports a failure."""
        with contextlib.suppress(OSError):  # the channel has been closed
            self.channel.exit(0)

    def format_user(self, uid: int | None) -> str:
        return self._camera.user if uid else "root"

    def format_group(self, gid: int | None) -> str:
        return self.format_user(gid)
