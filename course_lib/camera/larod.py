"""What larod-client prints, and the command line that it is given.

Texts only: nothing here opens a file or a connection. larod-client is the test program
that every Axis camera with larod carries. Its lines are known from Axis's page "Test
your model" and from what people quote in public threads; a line that is not known is
passed over, never guessed at.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from course_lib.errors import UnusableInput

# How the product's name of a virtual camera ends.
VIRTUAL = "(virtual, SIMULATION)"
# larod-client stamps its lines without a time zone; the system log does so with one.
# The stamp is looked for, not expected at the start: quoted and logged lines have more
# in front of it.
_STAMP = re.compile(
    r"(?:^|(?<=\s))(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6})[ \t]+(.*)$"
)
_LOADED = re.compile(r"^Model (?P<name>.+) loaded$")
_SEED = re.compile(r"\busing random seed (\d{1,20})\b")
_ROUNDS = re.compile(r"^Running job for (\d{1,20}) round")
_MEAN = re.compile(
    r"Mean execution time for job: (\d{1,20}(?:\.\d{1,20})?) ms"
    r"(?:[ \t]*\((?P<remark>.*)\))?"
)
_ERROR = re.compile(
    r"^ERROR:(?:(?P<step>[^:()]*)\((?P<code>-?\d{1,20})\):)?(?P<text>.*)$"
)
_LONGEST = 200  # characters of a remark
_WRITTEN = "Output written to:"
# What ends the list of written files.
_AFTER_OUTPUTS = ("Mean execution", "Running job", "total time", "ERROR:", "Model ")
_DEVICE = re.compile(r"^\s*([A-Za-z0-9][\w.+-]*)\s+\d+\s*$")

_SYSTEM_LOG = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))\s+"
    r"(?P<host>\S+)\s+\[\s*(?P<level>[A-Z]+)\s*\]\s+"
    r"(?P<process>[^\s:\[\]]+)(?:\[(?P<pid>\d{1,20})\])?:\s?(?P<text>.*)$"
)
_JOURNAL = re.compile(
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d))\s+"
    # The host is missing in logs that people have made anonymous.
    r"(?:(?P<host>[^\s:\[\]]+)\s+)?"
    r"(?P<process>[^\s:\[\]]+)(?:\[(?P<pid>\d{1,20})\])?:\s?(?P<text>.*)$"
)


@dataclass(frozen=True)
class Failure:
    """An error that larod-client printed.

    Attributes:
        step: What it was doing, such as "loading model" or "running job"; "" when the
            line does not tell.
        code: Negative: larod's own; positive: an errno; None when it printed none.
        text: The reason in larod's words.

    Introduced in notebook 13.
    """

    step: str
    code: int | None
    text: str


@dataclass(frozen=True)
class Run:
    """What larod-client told about one run; None or empty where it did not.

    Attributes:
        model: The model's file as larod-client names it.
        load_seconds: From "Connected" to "loaded": the chip's compiler included.
        seed: Of the random input.
        rounds: How many jobs.
        mean_milliseconds: Mean of the rounds, without warm-up, as the device measured.
        outputs: Files with the outputs, one for each output tensor.
        error: The first error, or None.
        simulated: The remark behind a time that no camera measured; "" on a camera.
        others: The errors after the first.

    Introduced in notebook 13.
    """

    model: str = ""
    load_seconds: float | None = None
    seed: int | None = None
    rounds: int | None = None
    mean_milliseconds: float | None = None
    outputs: tuple[str, ...] = ()
    error: Failure | None = None
    simulated: str = ""
    others: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class LogLine:
    """One line of the camera's log; what a line does not tell is empty.

    Attributes:
        time: As written: with a time zone in the system log, without in the journal.
        host: The camera's name, such as "axis-b8a44f495376".
        level: "INFO", "WARNING", "ERR"; the journal's plain form has none.
        process: Such as "larod" or "kernel".
        text: The message.
        pid: Of the process.

    Introduced in notebook 13.
    """

    time: str
    host: str
    level: str
    process: str
    text: str
    pid: int | None = None


def command(
    model: str,
    *,
    device: str,
    rounds: int = 1,
    warm_up: int = 0,
    inputs: Sequence[str] = ("",),
    outputs: Sequence[str] = (),
    seed: int | None = None,
) -> list[str]:
    """Make the arguments of a run of larod-client, the program's name first.

    Args:
        model: The model's file on the camera.
        device: Name of a larod device, such as "axis-a8-dlpu-tflite".
        rounds: Jobs that are timed; 0, larod-client's "until stopped", is refused.
        warm_up: Jobs before them that are not timed.
        inputs: One file for each input tensor; "" is random input.
        outputs: One file for each output tensor; none: larod-client chooses names.
        seed: Of the random input; None: the camera's clock.

    Returns:
        A list of arguments. For an SSH command line it goes through `shlex.join`.

    Raises:
        UnusableInput: When a number is out of range or a text cannot be an argument.

    Source: Axis, Test your model, https://developer.axis.com (flags -g -c -R -w -i -o).

    Example:
        >>> " ".join(command("m.tflite", device="a9-dlpu-tflite", inputs=["in.bin"]))
        'larod-client -g m.tflite -c a9-dlpu-tflite -R 1 -i in.bin'

    Introduced in notebook 13.
    """
    if rounds < 1:
        raise UnusableInput(f"rounds = {rounds}: at least 1 is needed; give a number")
    if warm_up < 0:
        raise UnusableInput(f"warm_up = {warm_up}: it cannot be negative; give 0 or 5")
    if seed is not None and not 0 <= seed < 2**32:
        raise UnusableInput(f"seed = {seed}: give a number from 0 to 4294967295")
    if not inputs:
        raise UnusableInput('inputs is empty: give files, or [""] for random input')
    arguments = ["larod-client", "-g", model, "-c", device, "-R", str(rounds)]
    if warm_up:
        arguments += ["-w", str(warm_up)]
    if seed is not None:
        arguments += ["--random-seed", str(seed)]
    for file in inputs:
        arguments += ["-i", file]
    for file in outputs:
        arguments += ["-o", file]
    for argument in arguments:
        if "\0" in argument:
            raise UnusableInput(
                f"{argument!r}: a zero byte cannot stand in a command; choose another "
                "name"
            )
    return arguments


def parse(text: str) -> Run:
    """Read what a run of larod-client printed, standard output and error together.

    Lines may be missing, quoted ("> "), logged (with more in front) or end in CRLF.

    Introduced in notebook 13.
    """
    found: dict = {}
    failures: list[Failure] = []
    outputs: list[str] = []
    connected = None
    in_outputs = False
    for line in text.splitlines():
        stamp, words = _stamped(line)
        if in_outputs and words and not words.startswith(_AFTER_OUTPUTS):
            outputs.append(words)
            continue
        in_outputs = words == _WRITTEN
        if words == "Connected":
            connected = stamp
        elif match := _LOADED.match(words):
            found["model"] = match["name"]
            if stamp and connected and stamp >= connected:  # else its clock was set
                found["load_seconds"] = (stamp - connected).total_seconds()
        elif match := _SEED.search(words):
            found["seed"] = int(match[1])
        elif match := _ROUNDS.match(words):
            found["rounds"] = int(match[1])
        elif match := _MEAN.search(words):
            found["mean_milliseconds"] = float(match[1])
            found["simulated"] = (match["remark"] or "")[:_LONGEST]
        elif match := _ERROR.match(words):
            failures.append(_failure(match))
    return Run(
        **found,
        outputs=tuple(outputs),
        error=failures[0] if failures else None,
        others=tuple(failures[1:]),
    )


def devices(text: str) -> tuple[str, ...]:
    """Read the names of the devices that `larod-client -a` printed, each once.

    Introduced in notebook 13.
    """
    _, header, after = text.partition("Devices:")
    lines = (after if header else text).splitlines()
    names = [match[1] for line in lines if (match := _DEVICE.match(line))]
    return tuple(dict.fromkeys(names))


def log(text: str) -> tuple[LogLine, ...]:
    """Read a log: what `journalctl -u larod` prints, or the camera's system log.

    A line of neither form is kept with its text alone, so that nothing is lost; the
    journal's own remarks ("-- Boot ... --") and empty lines are passed over.

    Introduced in notebook 13.
    """
    lines = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("-- "):
            continue
        match = _SYSTEM_LOG.search(line) or _JOURNAL.search(line)
        if match is None:
            lines.append(LogLine("", "", "", "", line.strip()))
            continue
        parts = match.groupdict()
        lines.append(
            LogLine(
                time=parts["time"],
                host=parts["host"] or "",
                level=parts.get("level", ""),
                process=parts["process"],
                text=parts["text"].rstrip(),
                pid=int(parts["pid"]) if parts["pid"] else None,
            )
        )
    return tuple(lines)


def _stamped(line: str) -> tuple[datetime | None, str]:
    """Take the time off a line."""
    match = _STAMP.search(line)
    if match is None:
        return None, line.strip().removeprefix("> ").strip()
    try:
        time = datetime.fromisoformat(match[1])
    except ValueError:  # a day 99, from a damaged text
        time = None
    return time, match[2].strip()


def _failure(match: re.Match) -> Failure:
    """Turn a line with ERROR into its parts."""
    step = (match["step"] or "").strip().removeprefix("When ")
    # larod-client says how it called liblarod; for the step that makes no difference.
    step = re.sub(r"\s+(a?synchronously)$", "", step)
    code = int(match["code"]) if match["code"] else None
    return Failure(step=step, code=code, text=match["text"].strip())
