"""What a visitor of the virtual camera may type: a few documented commands.

There is no shell behind it. A line is cut into words, the first word is looked up in a
table of functions, and whatever else a shell would understand is answered in one line.
"""

import errno
import os
import re
import shlex
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from course_lib.camera.virtual.storage import TMP

if TYPE_CHECKING:
    from course_lib.camera.virtual import VirtualCamera

NOT_UNDERSTOOD = 2
NOT_FOUND = 127
INTERRUPTED = 130
_NESTED_SCRIPTS = 8
_CHUNK = 1 << 16

# What a shell would see in a line, outside of quotation marks. Inside of double ones
# a shell still expands `$` and backquotes, so a text with them is not taken as quoted.
_PIECE = re.compile(
    r"""
    (?P<quoted>  '[^']*' | "(?:\\.|[^"\\$`])*" | \\[^\n] )
  | (?P<comment> (?<!\S)\#[^\n]* )
  | (?P<both>    && )
  | (?P<active>  [;|&<>$`*?\[\]()\n] | (?<!\S)~ | "(?=(?:\\.|[^"\\])*") )
    """,
    re.VERBOSE | re.DOTALL,
)

HELP = """\
Commands of the virtual camera (a SIMULATION; there is no shell behind it):
  larod-client -a | -g MODEL -c DEVICE [-R N] [-w N] [-i FILE] [-o FILE] ...
  journalctl [-u larod] [-n N] [--no-pager]
  parhandclient getgroup root.Properties.System.Soc
  uname [-m|-a]  ls [-l] [-a]  cat  touch  rm [-r] [-f]  mkdir [-p]  cd  pwd  df [-h]
  echo  date  whoami  sh FILE  reboot  help  exit
Between commands: &&. Files come and go with sftp or scp.
"""


class NotUnderstood(ValueError):
    """A line that only a real shell could run."""


class Leave(Exception):
    """The visitor has typed `exit`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def commands(line: str) -> list[list[str]]:
    """Cut a line into commands of words.

    Quotation marks and backslashes mean what they mean to a shell; `&&` ends a command.

    Raises:
        NotUnderstood: When the line needs a shell.

    Example:
        >>> commands("ls '/tmp/;rm -rf' && pwd  # two")
        [['ls', '/tmp/;rm -rf'], ['pwd']]
        >>> commands("")
        []
        >>> commands("echo '$(reboot)'")
        [['echo', '$(reboot)']]

    Introduced in notebook 13.
    """
    line = line.strip()
    texts, start = [""], 0
    for piece in _PIECE.finditer(line):
        texts[-1] += line[start : piece.start()]
        start = piece.end()
        if piece["active"]:
            sign = "$ or `" if piece["active"] == '"' else piece["active"]
            raise NotUnderstood(
                f"{sign!r} is not understood: only && joins commands; put it in single "
                "quotation marks if it belongs to a name"
            )
        if piece["quoted"]:
            texts[-1] += piece["quoted"]
        elif piece["both"]:
            texts.append("")
    texts[-1] += line[start:]
    try:
        split = [shlex.split(text) for text in texts]
    except ValueError as error:
        raise NotUnderstood(f"{str(error).lower()}; close it") from error
    if len(split) > 1 and not all(split):
        raise NotUnderstood("a command is missing beside &&")
    return [words for words in split if words]


class Shell:
    """One visitor's session.

    Args:
        camera: The virtual camera.
        write: Takes what goes to standard output.
        error: Takes what goes to standard error.
        stopped: Tells whether the visitor has gone or has pressed Ctrl-C.
        disconnect: Cuts the visitor's connection, for the faults.

    Introduced in notebook 13.
    """

    def __init__(
        self,
        camera: "VirtualCamera",
        *,
        write: Callable[[str], None],
        error: Callable[[str], None],
        stopped: Callable[[], bool],
        disconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self.camera = camera
        self.storage = camera.storage
        self.cwd = TMP
        self._write, self._error, self._stopped = write, error, stopped
        self._disconnect = disconnect
        self._nested = 0

    def run(self, line: str) -> int:
        """Run one line and return its exit status.

        Raises:
            Leave: After `exit`.
        """
        try:
            todo = commands(line)
        except NotUnderstood as error:
            self._error(f"the virtual camera has no shell: {error}\n")
            return NOT_UNDERSTOOD
        status = 0
        for words in todo:
            if self._stopped():
                return INTERRUPTED
            status = self._command(words)
            if status:
                break
        return status

    def _command(self, words: list[str]) -> int:
        name, *rest = words
        function = _COMMANDS.get(name)
        if function is None:
            self._error(f"sh: {_plain(name)}: not found\n")
            return NOT_FOUND
        try:
            return function(self, rest)
        except _Usage as error:
            self._error(f"{name}: {error}\n")
        except OSError as error:
            file = "" if error.filename is None else f"{_plain(str(error.filename))}: "
            self._error(f"{name}: {file}{error.strerror}\n")
        return 1

    def _place(self, path: str) -> Path:
        return self.storage.locate(path, cwd=self.cwd)

    def _on(self, path: str, action: Callable[[Path], None]) -> None:
        """Do something with a file; an error names it as the visitor did."""
        try:
            action(self._place(path))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error

    # --- the camera's commands --------------------------------------------------------

    def _larod_client(self, words: list[str]) -> int:
        from course_lib.camera.virtual import larod_client

        with self.camera.running(self._disconnect) as began:

            def write(text: str) -> None:
                self._write(text)
                if "Running job" in text:
                    began()

            return larod_client.run(
                ["larod-client", *words],
                camera=self.camera.device,
                root=self.storage.root,
                cwd=PurePosixPath(self.cwd),
                write=write,
                stopped=self._stopped,
            )

    def _journalctl(self, words: list[str]) -> int:
        options, _ = _options(words, flags=("--no-pager",), valued=("-u", "-n"), most=0)
        lines = self.camera.journal.splitlines()
        if "-u" in options:
            larod = options["-u"].removesuffix(".service") == "larod"
            lines = self.camera.larod_journal.splitlines() if larod else []
        if "-n" in options:
            if not options["-n"].isdecimal():
                raise _Usage(f"-n {_plain(options['-n'])}: expected a number of lines")
            lines = lines[len(lines) - min(int(options["-n"]), len(lines)) :]
        self._write("".join(f"{line}\n" for line in lines or ["-- No entries --"]))
        return 0

    def _parhandclient(self, words: list[str]) -> int:
        if len(words) != 2 or words[0] != "getgroup":
            raise _Usage("expected: parhandclient getgroup root.Properties.System.Soc")
        found = self.camera.parameter_group(words[1])
        # The model zoo's script cuts the value out at the quotation marks.
        self._write("".join(f'{name}="{value}"\n' for name, value in found.items()))
        return 0 if found else 1

    def _uname(self, words: list[str]) -> int:
        options, _ = _options(words, flags=("-a", "-m", "-n", "-s"), most=0)
        camera = self.camera
        parts = {"-s": "Linux", "-n": camera.hostname, "-m": camera.machine}
        if "-a" in options:
            text = f"Linux {camera.hostname} AXIS OS {camera.os} (virtual, SIMULATION) "
            self._write(f"{text}{camera.machine}\n")
        else:
            wanted = [text for flag, text in parts.items() if flag in options]
            self._write(" ".join(wanted or ["Linux"]) + "\n")
        return 0

    def _whoami(self, words: list[str]) -> int:
        _options(words, most=0)
        self._write(f"{self.camera.user}\n")
        return 0

    def _reboot(self, words: list[str]) -> int:
        _options(words, most=0)
        self.camera.reboot()
        return 0

    # --- files ------------------------------------------------------------------------

    def _ls(self, words: list[str]) -> int:
        options, paths = _options(words, flags=("-l", "-a", "-1"))
        for path in paths or ["."]:
            if len(paths) > 1:
                self._write(f"{path}:\n")
            self._on(path, lambda place: self._list(place, options))
        return 0

    def _list(self, place: Path, options: dict[str, str]) -> None:
        if stat.S_ISDIR(place.lstat().st_mode):
            shown = {entry.name: entry for entry in sorted(place.iterdir())}
            if "-a" in options:
                shown = {".": place, "..": self.storage.above(place)} | shown
            else:
                shown = {name: entry for name, entry in shown.items() if name[0] != "."}
        else:
            shown = {place.name: place}
        for name, entry in shown.items():
            detail = ""
            if "-l" in options:
                status = entry.lstat()
                when = time.strftime("%b %d %H:%M", time.localtime(status.st_mtime))
                user = self.camera.owner(entry)
                detail = f"{stat.filemode(status.st_mode)} {status.st_nlink:4} "
                detail += f"{user:8} {user:8} {status.st_size:9} {when} "
            self._write(f"{detail}{name}\n")

    def _cat(self, words: list[str]) -> int:
        _, paths = _options(words, least=1)
        for path in paths:
            self._on(path, self._show)
        return 0

    def _show(self, place: Path) -> None:
        with place.open("rb") as file:
            while (piece := file.read(_CHUNK)) and not self._stopped():
                self._write(piece.decode("utf-8", "surrogateescape"))

    def _touch(self, words: list[str]) -> int:
        def touch(place: Path) -> None:
            self.storage.may_write(place)
            place.touch()

        _, paths = _options(words, least=1)
        for path in paths:
            self._on(path, touch)
        return 0

    def _rm(self, words: list[str]) -> int:
        options, paths = _options(words, flags=("-r", "-f"), least=1)

        def remove(place: Path) -> None:
            self.storage.may_write(place)
            if not stat.S_ISDIR(place.lstat().st_mode):
                place.unlink()
            elif "-r" in options:
                shutil.rmtree(place)
            else:
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))

        for path in paths:
            try:
                self._on(path, remove)
            except FileNotFoundError:
                if "-f" not in options:
                    raise
        return 0

    def _mkdir(self, words: list[str]) -> int:
        options, paths = _options(words, flags=("-p",), least=1)

        def make(place: Path) -> None:
            if "-p" in options and place.is_dir():
                return
            self.storage.may_write(place)
            place.mkdir(parents="-p" in options)

        for path in paths:
            self._on(path, make)
        return 0

    def _cd(self, words: list[str]) -> int:
        _, paths = _options(words, most=1)

        def enter(place: Path) -> None:
            if not stat.S_ISDIR(place.lstat().st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self.cwd = self.storage.name(place)

        self._on(paths[0] if paths else TMP, enter)
        return 0

    def _pwd(self, words: list[str]) -> int:
        _options(words, most=0)
        self._write(f"{self.cwd}\n")
        return 0

    def _df(self, words: list[str]) -> int:
        options, _ = _options(words, flags=("-h",))
        free, disk = self.storage.free(), self.storage.disk
        full = -(-100 * (disk - free) // disk)

        def told(size: int) -> str:
            return f"{size / 2**20:.1f}M" if "-h" in options else str(size // 1024)

        unit = "Size" if "-h" in options else "1K-blocks"
        head = ("Filesystem", unit, "Used", "Available", "Use%", "Mounted on")
        row = ("tmpfs", told(disk), told(disk - free), told(free), f"{full}%", TMP)
        for cells in (head, row):
            self._write("{:<20} {:>9} {:>9} {:>9} {:>4} {}\n".format(*cells))
        return 0

    def _sh(self, words: list[str]) -> int:
        """Run a file's lines one after another through this same table."""
        _, paths = _options(words, least=1, most=1)
        if self._nested >= _NESTED_SCRIPTS:
            raise _Usage(f"more than {_NESTED_SCRIPTS} scripts inside each other")
        texts: list[str] = []
        self._on(
            paths[0],
            lambda place: texts.append(place.read_text("utf-8", "surrogateescape")),
        )
        status, stop_at_errors = 0, False
        self._nested += 1
        try:
            for line in texts[0].splitlines():
                if line.split("#")[0].split() == ["set", "-e"]:
                    stop_at_errors = True
                    continue
                status = self.run(line)
                if self._stopped() or (status and stop_at_errors):
                    break
        except Leave as leave:
            status = leave.status
        finally:
            self._nested -= 1
        return status

    # --- words ------------------------------------------------------------------------

    def _echo(self, words: list[str]) -> int:
        ending = "" if words[:1] == ["-n"] else "\n"
        self._write(" ".join(words if ending else words[1:]) + ending)
        return 0

    def _date(self, words: list[str]) -> int:
        _options(words, most=0)
        self._write(time.strftime("%a %b %d %H:%M:%S %Z %Y\n"))
        return 0

    def _help(self, words: list[str]) -> int:
        self._write(HELP)
        return 0

    def _exit(self, words: list[str]) -> int:
        if len(words) > 1 or not all(word.isdecimal() for word in words):
            raise _Usage("expected at most one number")
        raise Leave(int(words[0]) % 256 if words else 0)


_COMMANDS: dict[str, Callable[[Shell, list[str]], int]] = {
    name.replace("_", "-"): getattr(Shell, f"_{name}")
    for name in (
        *("larod_client", "journalctl", "parhandclient", "uname", "whoami", "reboot"),
        *("ls", "cat", "touch", "rm", "mkdir", "cd", "pwd", "df", "sh"),
        *("echo", "date", "help", "exit"),
    )
}


class _Usage(ValueError):
    """A command that is called in a way which it does not know."""


def _options(
    words: Sequence[str],
    *,
    flags: Sequence[str] = (),
    valued: Sequence[str] = (),
    least: int = 0,
    most: int | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Return a command's options and what stands after and between them."""
    options: dict[str, str] = {}
    operands: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            operands += left
            break
        if word in valued:
            if not left:
                raise _Usage(f"{word}: a value is missing")
            options[word] = left.pop(0)
        elif word[:2] in valued:
            options[word[:2]] = word[2:]
        elif word in flags:
            options[word] = ""
        elif word[:1] == "-" and word != "-":
            letters = [f"-{letter}" for letter in word[1:]]
            if not set(letters) <= set(flags):
                raise _Usage(f"{_plain(word)}: the virtual camera has no such option")
            options |= dict.fromkeys(letters, "")
        else:
            operands.append(word)
    if len(operands) < least or (most is not None and len(operands) > most):
        count = f"{least}" if least == most else f"{least} or more"
        count = count if most is None or least == most else f"at most {most}"
        raise _Usage(f"{len(operands)} operands, expected {count}")
    return options, operands


def _plain(text: str) -> str:
    """Keep a visitor's word from breaking a line of an answer."""
    return "".join(c if c.isprintable() else "?" for c in text)
