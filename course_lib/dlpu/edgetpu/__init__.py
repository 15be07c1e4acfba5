"""Google's Edge TPU compiler, for ARTPEC-7: its command, its report, a prediction.

The compiler is closed and does not come with the course. `compile` runs it where it is
installed; `read_report` reads what it printed anywhere; `predict` says without it what
it would map, and `compare` holds the two against each other.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.dlpu.edgetpu.prediction import (
    AFTER_THE_END,
    MAPPED,
    Prediction,
    mapped,
    predict,
)
from course_lib.errors import UnusableInput
from course_lib.tflite import reading

__all__ = [
    "AFTER_THE_END",
    "MAPPED",
    "Compiled",
    "Prediction",
    "Report",
    "Row",
    "command",
    "compare",
    "compile",
    "compiler",
    "mapped",
    "predict",
    "read_report",
    "shell",
]

NAME = "edgetpu_compiler"
# It gives up on its own after 180 seconds, as its output says (edgetpu issue 512).
TIMEOUT = 240.0

_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = r":\s*([\d.]+)\s*(B|KiB|MiB|GiB)\s*$"
_ROW = re.compile(
    r"^[ \t]*([A-Za-z][\w.:-]*)[ \t]+(\d+)[ \t]+(\S.*?)\s*$", re.MULTILINE
)
# Lines that say why it failed, the most telling first.
_REASONS = (
    "Didn't find op",
    "dynamic-sized tensors",
    "not quantized",
    "Compilation failed:",
    "Internal compiler error",
    "ERROR:",
    "Invalid model",
)


@dataclass(frozen=True)
class Row:
    """One line of the report's table.

    Attributes:
        operator: Name, such as "CONV_2D".
        count: How many of these operators share the status.
        status: "Mapped to Edge TPU", or why not.

    Introduced in notebook 06.
    """

    operator: str
    count: int
    status: str

    @property
    def on_tpu(self) -> bool:
        """Whether these operators run on the Edge TPU."""
        return self.status == MAPPED


@dataclass(frozen=True)
class Report:
    """What the compiler says about a file; None where it does not say.

    Attributes:
        version: Of the compiler, such as "16.0.384591198".
        on_chip_used: Bytes of parameters that stay in the accelerator's memory.
        on_chip_remaining: Bytes left there for other models.
        off_chip: Bytes of parameters that are sent anew for each inference.
        subgraphs: Parts that run on the Edge TPU.
        operators: In the file.
        on_tpu: Operators on the Edge TPU.
        on_cpu: Operators on the CPU.
        rows: The table that `-s` prints; it is not in the order of execution.

    Introduced in notebook 06.
    """

    version: str | None
    on_chip_used: int | None
    on_chip_remaining: int | None
    off_chip: int | None
    subgraphs: int | None
    operators: int | None
    on_tpu: int
    on_cpu: int
    rows: tuple[Row, ...]

    @property
    def share_on_cpu(self) -> float:
        """Share of the operators that run on the CPU, 0 to 1."""
        total = self.on_tpu + self.on_cpu
        return self.on_cpu / total if total else 0.0

    @property
    def fits(self) -> bool | None:
        """Whether all parameters stay in the accelerator's memory."""
        return None if self.off_chip is None else self.off_chip == 0

    @property
    def culprits(self) -> tuple[Row, ...]:
        """Rows that the Edge TPU could not take for their own sake.

        What merely comes after the end of its part has the status "More than one
        subgraph is not supported" and is not listed; a QUANTIZE there may have the
        status "Operation is otherwise supported" and is.
        """
        return tuple(
            row
            for row in self.rows
            if not row.on_tpu and not row.status.startswith(AFTER_THE_END)
        )


@dataclass(frozen=True)
class Compiled:
    """A file that the compiler made.

    Attributes:
        file: `<name>_edgetpu.tflite`, the one to copy to the camera.
        report: What the compiler said of it.
        text: The same, as it was printed.

    Introduced in notebook 06.
    """

    file: Path
    report: Report
    text: str


def compiler() -> Path | None:
    """Return the path of edgetpu_compiler, or None when it is not on the PATH.

    Introduced in notebook 06.
    """
    found = shutil.which(NAME)
    return Path(found) if found else None


def command(
    model: Path | str, *, folder: Path | str, min_runtime_version: int | None = None
) -> list[str]:
    """Return the command that compiles a file, as Axis's example has it.

    `-s` prints the table of operators, `-o` names the folder for the results. Source:
    Axis, tensorflow-to-larod, 2026-08-18.

    Args:
        model: A full-integer `.tflite` file.
        folder: Where the results go.
        min_runtime_version: Of the Edge TPU's runtime on the camera. Compiler 16 asks
            for 14, which AXIS OS 10.8.1 has; older ones may need 13. Source: Axis's
            staff in acap3-examples issues 120 and 147, 2021.

    Example:
        >>> shell(command("my model.tflite", folder="out"))
        "edgetpu_compiler -s -o out 'my model.tflite'"

    Introduced in notebook 06.
    """
    words = [str(folder), str(model)]
    # A name that begins with a dash would be taken for an option.
    out, file = (f"./{word}" if word.startswith("-") else word for word in words)
    oldest = [] if min_runtime_version is None else ["-m", str(min_runtime_version)]
    return [NAME, "-s", *oldest, "-o", out, file]


def shell(words: list[str]) -> str:
    """Return a command as one line for a shell.

    Introduced in notebook 06.
    """
    return shlex.join(words)


def compile(
    model: Path | str,
    *,
    folder: Path | str,
    min_runtime_version: int | None = None,
    timeout: float = TIMEOUT,
) -> Compiled:
    """Compile a full-integer file for the Edge TPU.

    The compiler writes into a folder of its own; what it made is moved when it has
    succeeded, so that no half-written file is left.

    Args:
        model: A full-integer `.tflite` file.
        folder: Where `<name>_edgetpu.tflite` and `<name>_edgetpu.log` go; must exist.
        min_runtime_version: See `command`.
        timeout: Seconds.

    Returns:
        The file and the report. Compiling can succeed with no operator on the Edge
        TPU: look at `report.on_tpu`.

    Raises:
        UnusableInput: When the compiler is not installed, refuses the file, takes too
            long or writes no file; in one line, with its reason.

    Introduced in notebook 06.
    """
    model, folder = Path(model), Path(folder)
    program = compiler()
    words = command(model, folder=folder, min_runtime_version=min_runtime_version)
    if program is None:
        raise UnusableInput(
            f"{NAME}: not found on the PATH: install it on x86-64 Debian "
            "(coral.ai/docs/edgetpu/compiler) and run this command: " + shell(words)
        )
    if not model.is_file():
        raise UnusableInput(f"{model}: no such file: check the path")
    if not folder.is_dir():
        raise UnusableInput(f"{folder}: is not a folder: make it first")
    made = f"{model.stem}_edgetpu"
    with tempfile.TemporaryDirectory(prefix="edgetpu-") as workspace:
        words = command(
            model.absolute(), folder=workspace, min_runtime_version=min_runtime_version
        )
        text = _run([str(program), *words[1:]], model=model, timeout=timeout)
        results = {
            suffix: Path(workspace) / f"{made}{suffix}"
            for suffix in (".tflite", ".log")
        }
        if not results[".tflite"].is_file():
            raise UnusableInput(
                f"{model}: {NAME} wrote no {made}.tflite{_because(text)}: compare "
                "the file with coral.ai/docs/edgetpu/models-intro"
            )
        report = read_report(text)
        content = results[".tflite"].read_bytes()
        log = results[".log"].read_bytes() if results[".log"].is_file() else None
    if log is not None:
        files.write(folder / f"{made}.log", log)
    return Compiled(files.write(folder / f"{made}.tflite", content), report, text)


def compare(model: Path | str, *, folder: Path | str) -> list[tuple[Prediction, bool]]:
    """Compile a file and return each prediction with what the compiler did.

    Args:
        model: A full-integer `.tflite` file.
        folder: Where the compiled file goes; must exist.

    Returns:
        For each operator, the prediction and whether it is on the Edge TPU.

    Raises:
        UnusableInput: As `compile`, and when a file cannot be read.

    Introduced in notebook 06.
    """
    original = reading.read(model)
    compiled = reading.read(compile(model, folder=folder).file)
    truth = mapped(original, compiled=compiled)
    return list(zip(predict(original), truth, strict=True))


def read_report(text: str) -> Report:
    """Read what edgetpu_compiler printed, or its `.log` file.

    Args:
        text: Of versions 2 to 16. The `.log` file has the table alone.

    Raises:
        UnusableInput: When it holds neither a table nor numbers of operations.

    Example:
        >>> read_report("CONV_2D  55  Mapped to Edge TPU").on_tpu
        55

    Introduced in notebook 06.
    """
    rows = tuple(_rows(text))
    on_tpu = _number(text, r"Number of operations that will run on Edge TPU:\s*(\d+)")
    on_cpu = _number(text, r"Number of operations that will run on CPU:\s*(\d+)")
    operators = _number(text, r"Total number of operations:\s*(\d+)")
    if rows and on_tpu is None:
        on_tpu = sum(row.count for row in rows if row.on_tpu)
    if rows and on_cpu is None:
        on_cpu = sum(row.count for row in rows if not row.on_tpu)
    # Without -s, a file that is mapped as a whole has neither the table nor the counts.
    everything = (
        "Model compiled successfully" in text and "not all operations" not in text
    )
    if on_tpu is None and operators is not None and everything:
        on_tpu = operators
    if on_tpu is None:
        raise UnusableInput(
            f"no report of {NAME}{_because(text)}: give all that it printed, with -s"
        )
    return Report(
        version=_word(text, r"Edge TPU Compiler version (\S+)"),
        on_chip_used=_size(text, "On-chip memory used for caching model parameters"),
        on_chip_remaining=_size(
            text, "On-chip memory remaining for caching model parameters"
        ),
        off_chip=_size(
            text, "Off-chip memory used for streaming uncached model parameters"
        ),
        subgraphs=_number(text, r"Number of Edge TPU subgraphs:\s*(\d+)"),
        operators=operators,
        on_tpu=on_tpu,
        on_cpu=on_cpu or 0,
        rows=rows,
    )


def _run(words: list[str], *, model: Path, timeout: float) -> str:
    """Run the compiler and return what it printed.

    It works in a child process of its own, so the whole group is stopped; and a file
    takes what it prints, because a pipe would stay open until the child ends.
    """
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise UnusableInput(
                f"{words[0]}: could not be run ({error.strerror}): it needs Linux on "
                "x86-64"
            ) from error
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            _stop(process)
            raise UnusableInput(
                f"{model}: {NAME} had not finished after {timeout:g} seconds: try a "
                "smaller model"
            ) from error
        except BaseException:  # such as Ctrl-C
            _stop(process)
            raise
        printed.seek(0)
        text = printed.read().decode("utf-8", "replace")
    if status != 0:
        raise UnusableInput(
            f"{model}: {NAME} failed with exit status {status}{_because(text)}"
        )
    return text


def _stop(process: subprocess.Popen) -> None:
    """End a running process and its children."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _because(text: str) -> str:
    """Return the line that tells most of why it failed, for the end of a message."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    for reason in _REASONS:
        for line in lines:
            if reason in line:
                return f' ("{line}")'
    return ""


def _rows(text: str) -> Iterator[Row]:
    for match in _ROW.finditer(text):
        if match[1].isupper():
            yield Row(match[1], int(match[2]), match[3])


def _word(text: str, pattern: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _number(text: str, pattern: str) -> int | None:
    word = _word(text, pattern)
    return None if word is None else int(word)


def _size(text: str, label: str) -> int | None:
    match = re.search(label + _SIZE, text, re.MULTILINE)
    return round(float(match[1]) * _BYTES[match[2]]) if match else None
