"""The virtual camera's larod-client: documented flags, real results, simulated times.

It prints what larod-client of a camera prints, as far as that is published. Source:
Axis, Test your model, 2024-12, and larod, the larod-client tool (liblarod 3.2.254),
both read on 2026-11-21. What is not published is inferred, and a comment says so; so
are the exit statuses. A text of our own begins with "simulation:".

    python -m course_lib.camera.virtual.larod_client --soc artpec9 -a

runs it on this computer's own files, so that a kit's script can be tried.
"""

import getopt
import hashlib
import itertools
import os
import posixpath
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from course_lib import files
from course_lib.camera.virtual import compiled, runtime
from course_lib.camera.virtual.runtime import Device, Loaded
from course_lib.dlpu.socs import find
from course_lib.errors import UnusableInput

import numpy as np

INTERRUPTED = 130  # what a shell reports after Ctrl-C
_UNUSABLE = 2
_VERSION = "3.2.254"
_MOST = 2**30  # bytes of a model's file
_TOUCH_SINCE = 12  # AXIS OS: output files must exist
_WAIT = 0.05  # seconds between two looks at `stopped`
_SHORT = "ag:c:R:w:i:o:pqdXYI:O:b:r"
_LONG = ("random-seed=", "input-buf-type=", "output-buf-type=", "help", "version")
_HELP = """\
Usage: larod-client -a
       larod-client -g MODEL -c DEVICE [-R ROUNDS] [-w ROUNDS] [-i FILE] [-o FILE]

  -a                    list the devices
  -g FILE               load this model
  -c DEVICE             on this device
  -i FILE               input, once for each tensor; '' is random input
  -o FILE               output, once for each tensor; else INPUT.out0 or SEED.out0.
                        Since AXIS OS 12 FILE must exist: `touch FILE` before.
                        INPUT.out0 and SEED.out0 are made, as published samples show
  -R ROUNDS             timed jobs, 1 unless told; 0: until stopped
  -w ROUNDS             jobs before them that do not count
  --random-seed SEED    of random input, the clock unless told
  -d                    tell more
  -p -q -X -Y -I -O     taken, without effect: SIMULATION
  -b -r                 not simulated: preprocessing, interactive mode
  --help --version

This is a SIMULATION: models run on a computer's CPU, no time is a camera's.
"""
_TABLE = "_" * 43, "\N{OVERLINE}" * 43


class _Failed(Exception):
    """What larod-client prints behind ERROR before it ends."""


class _Stopped(Exception):
    """The user has pressed Ctrl-C or has gone."""


class _Usage(Exception):
    """The arguments are not understood."""


@dataclass(frozen=True)
class _Options:
    """The arguments."""

    lists: bool = False
    model: str = ""
    device: str = ""
    rounds: int = 1
    warm_up: int = 0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    seed: int | None = None
    debug: bool = False
    queue: bool = False
    preprocessing: bool = False
    answer: str = ""


@dataclass(frozen=True)
class _Call:
    """One larod-client: the camera it runs on, and where it stands there."""

    camera: Device
    root: Path
    cwd: PurePosixPath
    write: Callable[[str], None]
    stopped: Callable[[], bool]

    def say(self, text: str) -> None:
        """Print a line with the time before it."""
        now = datetime.now().isoformat(timespec="milliseconds")
        self.write(f"{now} {printable(text)}\n")

    def check(self) -> None:
        """End when the user has stopped the program."""
        if self.stopped():
            raise _Stopped

    def place(self, name: str) -> Path:
        """Return where a file lies on this computer: below `root`, whatever its name.

        `..` ends at the camera's "/"; a link that leads out of it is refused. What
        larod-client prints about a file that it cannot open is not published.
        """
        normal = posixpath.normpath(posixpath.join("/", self.cwd, name))
        place = self.root / normal.lstrip("/")
        try:
            inside = place.resolve().is_relative_to(self.root.resolve())
            other = place.exists() and not place.is_file()
        except (OSError, ValueError, RuntimeError):
            # A zero byte, a name that is too long, a circle of links.
            raise _Failed(f"Could not open file {name}: Invalid argument") from None
        if not inside:
            raise _Failed(f"Could not open file {name}: Permission denied")
        if other:
            raise _Failed(f"Could not open file {name}: Not a regular file")
        return place

    def read(self, name: str, *, most: int) -> bytes:
        """Read a file's first bytes."""
        try:
            with self.place(name).open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise _Failed(f"Could not open file {name}: {error.strerror}") from None


def run(
    argv: Sequence[str],
    *,
    camera: Device,
    root: Path,
    cwd: PurePosixPath,
    write: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Run larod-client on a virtual camera.

    Args:
        argv: Its arguments, with or without its own name before them.
        camera: What it finds; shared by all that run at the same time.
        root: The camera's file tree on this computer. Nothing outside is touched.
        cwd: The camera's folder that names are relative to.
        write: Takes what it prints.
        stopped: Asked between two jobs: whether to end.

    Returns:
        The exit status: 0, or 1 after an error, or 130 when it was stopped.

    Introduced in notebook 13.
    """
    call = _Call(camera, root, cwd, write, stopped)
    try:
        options = _options(argv[1:] if "larod-client" in argv[:1] else argv)
    except _Usage as error:
        write(f"larod-client: {printable(str(error))}\n")
        return 1
    if options.answer:
        write(options.answer)
        return 0
    try:
        call.say("Connecting to larod...")
        call.say("Connected")
        if options.lists:
            _list(call)
        if options.model:
            loaded = _load(call, options)
            if options.inputs:
                _run(call, loaded, options)
    except _Failed as failure:
        call.say(f"ERROR: {failure}")
        return 1
    except _Stopped:
        return INTERRUPTED
    return 0


def printable(text: str) -> str:
    """Replace what could break a line or steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


# Arguments


def _options(words: Sequence[str]) -> _Options:
    try:
        pairs, rest = getopt.gnu_getopt(list(words), _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise _Usage(_as_getopt(error)) from None
    if rest:
        raise _Usage(f"unexpected argument {rest[0]!r}: see --help")
    told = _Options()
    for flag, value in pairs:
        told = replace(told, **_meaning(flag, value, told))
    if told.answer:
        return told
    # The texts of these three are not published.
    if told.preprocessing or told.device.endswith("-proc"):
        raise _Usage(
            "simulation: preprocessing jobs are not simulated: prepare the "
            "input on the computer"
        )
    if not told.model and not told.lists:
        raise _Usage("nothing to do: give -a, or -g MODEL and -c DEVICE; see --help")
    if told.model and not told.device:
        raise _Usage("no device: give -c DEVICE; -a lists them")
    return told


def _meaning(flag: str, value: str, told: _Options) -> dict[str, object]:
    """Return which options a flag sets."""
    match flag:
        case "--help":
            return {"answer": _HELP}
        case "--version":
            return {"answer": f"larod-client {_VERSION} (SIMULATION)\n"}
        case "-r":
            raise _Usage("built without readline, so there is no interactive mode")
        case "-a":
            return {"lists": True}
        case "-d":
            return {"debug": True}
        case "-q":
            return {"queue": True}
        case "-b":
            return {"preprocessing": True}
        case "-g":
            return {"model": value}
        case "-c":
            return {"device": value}
        case "-R":
            return {"rounds": _number(flag, value)}
        case "-w":
            return {"warm_up": _number(flag, value)}
        case "--random-seed":
            return {"seed": _number(flag, value)}
        case "-i":
            return {"inputs": (*told.inputs, value)}
        case "-o":
            return {"outputs": (*told.outputs, value)}
    # -p is not documented. Tracked tensors and kinds of buffers (-X -Y -I -O) save
    # copies on a camera; here there is nothing to save.
    return {}


def _number(flag: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise _Usage(f"{flag} {value!r}: expected a whole number")
    return int(value)


def _as_getopt(error: getopt.GetoptError) -> str:
    """Say it as the C library's getopt does."""
    short = len(error.opt) == 1
    if "requires" in error.msg:
        return (
            f"option requires an argument -- '{error.opt}'"
            if short
            else f"option '--{error.opt}' requires an argument"
        )
    if "not recognized" in error.msg:
        return (
            f"invalid option -- '{error.opt}'"
            if short
            else f"unrecognized option '--{error.opt}'"
        )
    return error.msg


# Devices and models


def _list(call: _Call) -> None:
    call.say("Devices:")
    line, over = _TABLE
    rows = "".join(f" {name:<33}0\n" for name in call.camera.devices)
    call.write(f"{line}\n {'Name':<33}Instance\n{over}\n{rows}{line}\n")


def _load(call: _Call, options: _Options) -> Loaded:
    camera = call.camera
    if options.device not in camera.devices:
        # What larod-client puts before these texts is not published.
        if options.device.isdecimal():
            raise _Failed(
                f"Could not select chip {options.device}: Could not find chip "
                f"{options.device}"
            )
        raise _Failed(f'Could not find device name "{options.device}" and instance 0')
    # A name is printed without its folder, as in the page's sample.
    name = PurePosixPath(options.model).name
    content = call.read(options.model, most=_MOST)
    digest = hashlib.sha256(content).hexdigest()
    try:
        loaded = camera.load(
            content,
            digest=digest,
            file=call.place(options.model),
            device=options.device,
        )
    except runtime.Refused as refused:
        raise _Failed(
            f"When loading model synchronously ({refused.code}): Could not load model: "
            f"{refused}"
        ) from None
    compiles = options.device == camera.soc.device and camera.soc.first_load_seconds
    if compiles and camera.compile_seconds:
        _compile(call, name, digest=digest, size=len(content))
    call.say(f"Model {name} loaded")
    if loaded.stand_in or options.debug:
        for note in loaded.notes:
            call.say(f"simulation: {note}")
    return loaded


def _compile(call: _Call, name: str, *, digest: str, size: int) -> None:
    """Wait as long as a first load takes here, unless the model is in the cache."""
    soc, shortened = call.camera.soc, call.camera.compile_seconds
    cache = compiled.Cache(
        call.root / compiled.FOLDERS[soc.id].relative_to("/"),
        soc.cache.value if soc.cache else {},
    )
    if cache.take(digest):
        return
    fact = soc.first_load_seconds
    call.camera.log(
        f"simulation: {printable(name)} would be compiled now; for scale, a published "
        f"sample: {fact.value} s on a camera ({fact.note}); shortened to {shortened:g} "
        "s"
    )
    ready = time.monotonic() + shortened
    while (missing := ready - time.monotonic()) > 0:
        call.check()
        time.sleep(min(missing, _WAIT))
    cache.add(digest, size=size)


# Jobs


def _run(call: _Call, loaded: Loaded, options: _Options) -> None:
    seed = int(time.time()) if options.seed is None else options.seed
    inputs = _inputs(call, loaded, options, seed=seed)
    outputs = _outputs(call, loaded, options, seed=seed)
    if options.debug:
        _tell(call, loaded, options)
    call.say(f"Running job for {options.rounds} round(s)...")
    for _ in range(options.warm_up):
        _job(call, loaded, inputs)
    rounds: Iterable[int] = (
        range(options.rounds) if options.rounds else itertools.count()
    )
    seconds = 0.0
    for _ in rounds:
        begin = time.perf_counter()
        results = _job(call, loaded, inputs)
        seconds += time.perf_counter() - begin
    for name, data in zip(outputs, results, strict=True):
        _write(call, name, data)
    call.say("Output written to:")
    for name in outputs:
        call.say(name)
    mean = 1000 * seconds / options.rounds
    call.say(
        f"Mean execution time for job: {mean:.2f} ms (simulation: {loaded.simulation})"
    )


def _job(call: _Call, loaded: Loaded, inputs: Sequence[bytes]) -> list[bytes]:
    call.check()
    try:
        return call.camera.run(loaded, inputs)
    except runtime.JobFailed as failed:
        raise _job_failed(str(failed), code=failed.code) from None


def _job_failed(text: str, *, code: int = runtime.JOB) -> _Failed:
    # "Could not run job: ..." is quoted in public. What stands before it is inferred
    # from the line that larod-client prints when a model does not load.
    return _Failed(
        f"When running job synchronously ({code}): Could not run job: {text}"
    )


def _inputs(
    call: _Call, loaded: Loaded, options: _Options, *, seed: int
) -> list[bytes]:
    names = options.inputs
    if names == ("",):  # inferred: one '' is random input for all tensors
        names *= len(loaded.inputs)
    if len(names) != len(loaded.inputs):
        # The number is documented, the text is not.
        raise _job_failed(
            f"{len(names)} input files for {len(loaded.inputs)} input tensors",
            code=runtime.TENSOR_MISMATCH,
        )
    if "" in names:
        call.say(
            f"Setting up randomly generated input tensors using random seed {seed}"
        )
    generator = np.random.default_rng(seed)
    buffers = []
    for name, size, dtype in zip(names, loaded.inputs, loaded.dtypes, strict=True):
        if not name:
            buffers.append(_random(generator, size, dtype))
            continue
        data = call.read(name, most=size)
        if len(data) < size:
            raise _job_failed(
                f"Could only read {len(data)} out of {size} bytes from file descriptor"
            )
        # Inferred: larod reads as many bytes as the tensor has and leaves the rest.
        buffers.append(data)
    return buffers


def _random(generator: np.random.Generator, size: int, dtype: str) -> bytes:
    """Make random values; bytes would make NaN of floats."""
    kind = np.dtype(dtype)
    if kind.kind != "f":
        return generator.bytes(size)
    return generator.random(size // kind.itemsize).astype(kind).tobytes()


def _outputs(
    call: _Call, loaded: Loaded, options: _Options, *, seed: int
) -> tuple[str, ...]:
    """Return the names of the output files, which have to be writable."""
    if not options.outputs:
        # In the page's sample the name stands without the input's folder.
        stem = PurePosixPath(options.inputs[0]).name or str(seed)
        return tuple(f"{stem}.out{number}" for number in range(loaded.outputs))
    if len(options.outputs) != loaded.outputs:
        raise _job_failed(
            f"{len(options.outputs)} output files for {loaded.outputs} output tensors",
            code=runtime.TENSOR_MISMATCH,
        )
    for name in options.outputs:
        # Axis's workshop has one create output files before the run, because of
        # permissions since AXIS OS 12; the text is inferred.
        if _major(call.camera.os) >= _TOUCH_SINCE and not call.place(name).exists():
            raise _Failed(f"Could not open file {name}: {os.strerror(13)}")
    return options.outputs


def _major(version: str) -> int:
    first = version.split(".")[0]
    return int(first) if first.isdecimal() else 0


def _write(call: _Call, name: str, data: bytes) -> None:
    place = call.place(name)
    try:
        call.camera.may_write(place, len(data))
        files.write(place, data)
    except OSError as error:
        raise _Failed(f"Could not write file {name}: {error.strerror}") from None
    except UnusableInput as error:
        reason = getattr(error.__cause__, "strerror", None) or "not writable"
        raise _Failed(f"Could not write file {name}: {reason}") from None


def _tell(call: _Call, loaded: Loaded, options: _Options) -> None:
    """Tell with -d what the simulation does; what a camera prints is not published."""
    call.say(f"simulation: {loaded.simulation}")
    sizes = ", ".join(
        f"{size} bytes of {dtype}"
        for size, dtype in zip(loaded.inputs, loaded.dtypes, strict=True)
    )
    call.say(f"simulation: inputs of {sizes}; bytes after these are not read")
    if "" in options.inputs:
        call.say("simulation: random input from NumPy's generator, not from larod's")
    if options.queue:
        call.say("simulation: -q runs the jobs one after another")


# On this computer's own files


def main(arguments: Sequence[str]) -> int:
    """Run larod-client on this computer's files: `--soc SOC`, then its arguments.

    Introduced in notebook 13.
    """
    try:
        if len(arguments) < 2 or arguments[0] != "--soc":
            raise UnusableInput(
                "expected --soc SOC before larod-client's arguments, such as "
                "--soc artpec9 -a"
            )
        # Nothing is kept as compiled: this computer's folders are not a camera's.
        camera = Device(find(arguments[1]), compile_seconds=0)
    except UnusableInput as error:
        sys.stderr.write(f"larod_client: {error}\n")
        return _UNUSABLE
    try:
        return run(
            arguments[2:],
            camera=camera,
            root=Path(Path.cwd().anchor),
            cwd=PurePosixPath(Path.cwd().as_posix()),
            write=lambda text: print(text, end="", flush=True),
        )
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
