"""Give damaged and hostile files to `dlpu lint`, by the tens of thousands.

    uv run python tools/fuzz_lint.py --count 50000 --processes 2
    uv run python tools/fuzz_lint.py --count 50000 path/to/real/models

Every file must end as a report or as a refusal: one printable line and exit status 2,
within 2 s of processor time and 500 MB of memory. What ends otherwise is made smaller
and saved with its traceback.

The fuzzer is Hypothesis: it draws the mutations, makes a failing case smaller, and
repeats a run from its seed, on every platform and Python of the course. Atheris is
guided by coverage, but has wheels for Linux alone; pyradamsa was last released in 2020.
"""

import faulthandler
import json
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from course_lib.cli import dlpu, printable
from course_lib.cli.lint import _lines, as_json
from course_lib.dlpu import rules, sarif
from course_lib.dlpu.socs import SOCS
from course_lib.errors import UnusableInput
from course_lib.tflite import drawing, reading

import click
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

try:
    import resource
except ImportError:  # Windows: time is measured and not limited, memory neither
    resource = None

ROOT = Path(__file__).parent.parent
SECONDS = 2.0  # of processor time, for what one run of the command does
MEGABYTES = 500
STUCK = 60  # seconds until a process ends that is stuck outside of Python
ROUND = 500  # files of one run of Hypothesis, which remembers all of them
PART = 1000  # files for one process
FORMATS = ("text", "json", "sarif")


# What is drawn: small numbers and those at the ends of what fits.
_WORDS = (0, 1, 2, 3, 4, 8, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)
_SIZES = (0, 1, 2, 3, 4, 5, 7, 16, 32, 224, 65536, 2**31 - 1, -1, -2, -(2**31))
_SCALES = (0.0, 1.0, -1.0, 1 / 255, 1e-45, 1e-38, 3.4e38, *map(float, ("nan", "inf")))
_ZEROS = (0, 1, -128, 127, 255, 2**31, 2**63 - 1, -(2**63))
_NAMES = (
    b"",
    b"a\nb\x1b[31m\0",
    b"\xff\xfe\xed\xa0\x80",
    b"x" * 20_000,
    "]]>&\u202e\u2028'\"".encode(),
    b"Identity_9:0",
)
_CUSTOM = (
    b"TFLite_Detection_PostProcess",
    b"edgetpu-custom-op",
    b"FlexConv2D",
    b"",
    b"\n\x1b",
)
_SETS = {"dtype": (0, 1, 2, 3, 4, 5, 6, 9, 17, 99), "version": (0, 1, 5, 2**31 - 1, -1)}
_OPERATORS = sorted(n for k, n in vars(schema.BuiltinOperator).items() if k[0] != "_")
_OPTIONS = {
    number: getattr(schema, f"{name}T")
    for name, number in vars(schema.BuiltinOptions).items()
    if hasattr(schema, f"{name}T")
}
_WIDE = ("stride", "dilation", "filter", "axis", "num", "block", "depth", "batch")

Draw = Callable[[st.SearchStrategy], object]


# --- mutations of bytes ---------------------------------------------------------------


@lru_cache(maxsize=512)
def _offsets(content: bytes) -> tuple[int, ...]:
    """Return where a word could be an offset, a length or a vtable: it leads inside."""
    count = min(len(content), 200_000) // 4
    words = struct.unpack_from(f"<{count}I", content)
    return tuple(4 * n for n, w in enumerate(words) if 0 < w < len(content)) or (0,)


def _overwrite(draw: Draw, content: bytes, _: list[bytes]) -> bytes:
    at = draw(st.integers(0, len(content) - 1))
    new = draw(st.binary(min_size=1, max_size=4))
    return content[:at] + new + content[at + len(new) :]


def _word(draw: Draw, content: bytes, _: list[bytes]) -> bytes:
    """Change a word that leads somewhere: an offset, a length, a vtable."""
    if len(content) < 4:
        return content
    at = draw(st.sampled_from(_offsets(content)))
    (old,) = struct.unpack_from("<I", content, at)
    delta = st.sampled_from((-8, -4, -2, -1, 1, 2, 4, 8)).map(lambda d: old + d)
    size = draw(st.sampled_from((4, 4, 2, 1)))
    new = draw(st.one_of(st.sampled_from(_WORDS), delta, st.integers(0, len(content))))
    return (
        content[:at] + (new % 2**32).to_bytes(4, "little")[:size] + content[at + size :]
    )


def _share(draw: Draw, content: bytes, _: list[bytes]) -> bytes:
    """Let one offset lead where another leads: shared tables, circles."""
    if len(content) < 4:
        return content
    places = st.sampled_from(_offsets(content))
    at, other = draw(places), draw(places)
    target = other + struct.unpack_from("<I", content, other)[0]
    return (
        content[:at] + ((target - at) % 2**32).to_bytes(4, "little") + content[at + 4 :]
    )


def _truncate(draw: Draw, content: bytes, _: list[bytes]) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _splice(draw: Draw, content: bytes, seeds: list[bytes]) -> bytes:
    """Put a block of another file into this one, or over a part of it."""
    other = draw(st.sampled_from(seeds))
    start = draw(st.integers(0, len(other)))
    block = other[start : start + draw(st.integers(0, 4096))]
    at = draw(st.integers(0, len(content)))
    return content[:at] + block + content[at + len(block) * draw(st.booleans()) :]


def _remove(draw: Draw, content: bytes, _: list[bytes]) -> bytes:
    at = draw(st.integers(0, len(content)))
    return content[:at] + content[at + draw(st.integers(1, 64)) :]


_BYTES = (_word, _word, _word, _overwrite, _share, _share, _truncate, _splice, _remove)


# --- mutations of the tables ----------------------------------------------------------


def _numbers(draw: Draw, values: tuple, most: int) -> list:
    return draw(st.lists(st.sampled_from(values), max_size=most))


def _shape(draw: Draw, model, graph) -> None:
    tensor = draw(st.sampled_from(graph.tensors))
    shape = _numbers(draw, _SIZES, draw(st.sampled_from((4, 4, 6, 33))))
    tensor.shape = shape
    if draw(st.booleans()):
        tensor.shapeSignature = _numbers(draw, _SIZES, 5)


def _size(draw: Draw, model, graph) -> None:
    """Change one size of a shape, which keeps the rest of the file plausible."""
    tensor = draw(st.sampled_from(graph.tensors))
    shape = [int(size) for size in (() if tensor.shape is None else tensor.shape)]
    if shape:
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.sampled_from(_SIZES))
        tensor.shape = shape


def _dtype(draw: Draw, model, graph) -> None:
    draw(st.sampled_from(graph.tensors)).type = draw(st.sampled_from(_SETS["dtype"]))


def _scale(draw: Draw, model, graph) -> None:
    tensor = draw(st.sampled_from(graph.tensors))
    tensor.quantization = made = schema.QuantizationParametersT()
    channels = draw(st.sampled_from((1, 1, 1, 2, 3, 5)))
    made.scale = [draw(st.sampled_from(_SCALES)) for _ in range(channels)]
    made.zeroPoint = [draw(st.sampled_from(_ZEROS)) for _ in range(channels)]
    made.quantizedDimension = draw(st.sampled_from((0, 0, 1, 3, -1, 2**31 - 1)))


def _data(draw: Draw, model, graph) -> None:
    """Change what a tensor holds: nothing, another's data, or numbers out of range."""
    tensor = draw(st.sampled_from(graph.tensors))
    kind = draw(st.sampled_from(("none", "other", "numbers", "numbers", "bytes")))
    if kind == "none":
        tensor.buffer = 0
    elif kind == "other":
        tensor.buffer = draw(st.integers(0, len(model.buffers)))
    else:
        buffer = schema.BufferT()
        content = draw(st.binary(max_size=32))
        if kind == "numbers":
            words = _numbers(draw, (-(2**31), -5, -4, -1, 0, 1, 3, 4, 9, 2**31 - 1), 9)
            content = struct.pack(f"<{len(words)}i", *words)
            tensor.type, tensor.quantization = schema.TensorType.INT32, None
            tensor.shape = [len(words)]
            if draw(st.booleans()):
                tensor.type = draw(st.sampled_from(_SETS["dtype"]))
        buffer.data = np.frombuffer(content, np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1


def _name(draw: Draw, model, graph) -> None:
    draw(st.sampled_from(graph.tensors)).name = draw(st.sampled_from(_NAMES))


def _wiring(draw: Draw, model, graph) -> None:
    """Let an operator read or write other tensors: its own, none, all, one too many."""
    if not graph.operators:
        return
    operator = draw(st.sampled_from(graph.operators))
    side = draw(st.sampled_from(("inputs", "outputs")))
    other = "outputs" if side == "inputs" else "inputs"
    count = len(graph.tensors)
    index = st.sampled_from((*range(min(count, 40)), -1, -1, count - 1, count, -2))
    drawn = st.lists(index, max_size=6)
    mine = [int(i) for i in getattr(operator, side)]
    theirs = [int(i) for i in getattr(operator, other)]
    shorter = st.integers(0, len(mine)).map(lambda n: mine[:n])
    choice = st.one_of(drawn, shorter, st.just(theirs), st.just(mine + theirs))
    setattr(operator, side, draw(choice))


def _code(draw: Draw, model, graph) -> None:
    """Make an operator another one, which then gets the wrong tensors."""
    code = draw(st.sampled_from(model.operatorCodes))
    code.builtinCode = draw(
        st.one_of(st.sampled_from(_OPERATORS), st.sampled_from((-1, 999, 2**31 - 1)))
    )
    code.deprecatedBuiltinCode = max(min(code.builtinCode, 127), -1)
    if code.builtinCode == schema.BuiltinOperator.CUSTOM:
        code.customCode = draw(st.sampled_from(_CUSTOM))
    if draw(st.integers(0, 3)) == 0:
        code.version = draw(st.sampled_from(_SETS["version"]))


def _options(draw: Draw, model, graph) -> None:
    if not graph.operators:
        return
    operator = draw(st.sampled_from(graph.operators))
    if operator.builtinOptions is None or draw(st.integers(0, 3)) == 0:
        number = draw(st.sampled_from(sorted(_OPTIONS)))
        operator.builtinOptionsType, operator.builtinOptions = (
            number,
            _OPTIONS[number](),
        )
    fields = [k for k, v in vars(operator.builtinOptions).items() if _is_number(v)]
    if fields:
        name = draw(st.sampled_from(fields))
        old = getattr(operator.builtinOptions, name)
        wide = any(name.startswith(word) for word in _WIDE)
        values = (*_SIZES, -1, -4, 5) if wide else (0, 1, 2, 3, 5, 99, -1)
        if isinstance(old, float):
            values = _SCALES
        new = draw(st.sampled_from(values))
        setattr(
            operator.builtinOptions, name, bool(new) if isinstance(old, bool) else new
        )


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float)


def _ends(draw: Draw, model, graph) -> None:
    """Change the inputs and outputs of the graph, with repeats and none."""
    index = st.integers(0, len(graph.tensors))
    graph.inputs = draw(st.lists(index, max_size=4))
    if draw(st.booleans()):
        graph.outputs = draw(st.lists(index, max_size=4))


def _repeat(draw: Draw, model, graph) -> None:
    """Repeat operators, tensors or graphs, up to hundreds of times."""
    times = draw(st.sampled_from((2, 3, 17, 64)))
    kind = draw(st.sampled_from(("operators", "operators", "tensors", "subgraphs")))
    if kind == "subgraphs":
        model.subgraphs = model.subgraphs * times
    else:
        setattr(graph, kind, (getattr(graph, kind) * times)[:650])


def _remove_table(draw: Draw, model, graph) -> None:
    kind = draw(st.sampled_from(("operators", "tensors", "subgraphs", "buffers")))
    holder = model if kind in ("subgraphs", "buffers") else graph
    left = getattr(holder, kind)
    setattr(holder, kind, left[: draw(st.integers(0, len(left)))])


_TABLES = (
    *(_code, _code, _code, _wiring, _wiring, _shape, _size, _size, _scale, _scale),
    *(_data, _data, _options, _options, _dtype, _dtype, _name, _ends),
    *(_repeat, _remove_table),
)


def _by_table(draw: Draw, content: bytes) -> bytes:
    """Mutate the tables of a sound file, so that what comes out can be decoded."""
    model = schema.ModelT.InitFromPackedBuf(content)
    for _ in range(draw(st.integers(1, 5))):
        graph = model.subgraphs[0] if model.subgraphs else None
        if not graph or not graph.tensors or not model.operatorCodes:
            break
        draw(st.sampled_from(_TABLES))(draw, model, graph)
    builder = flatbuffers.Builder(4096)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except (TypeError, struct.error):  # a number that its field cannot hold
        reject()
    return bytes(builder.Output())


def _flood(draw: Draw) -> bytes:
    """Build a file whose tables share what they point to: small, with much to do."""
    sizes = st.sampled_from((1, 10, 100, 1000, 5000, 20_000, 60_000))
    long = st.sampled_from((1, 3, 30, 300, 3000, 30_000))
    build = flatbuffers.Builder(1024)

    def vector(entries: list[int], size: int = 4, kind: str = "Int32") -> int:
        build.StartVector(size, len(entries), size)
        for entry in reversed(entries):
            if kind == "offset":
                build.PrependUOffsetTRelative(entry)
            else:
                getattr(build, f"Prepend{kind}")(entry)
        return build.EndVector()

    count = draw(sizes)
    name = build.CreateString("n" * draw(long))
    shape = vector([draw(st.sampled_from((1, 3, 7, 32, -1)))] * draw(st.integers(0, 6)))
    channels = draw(st.sampled_from((1, 1, 32, 3000)))
    scales = vector([0.5] * channels, kind="Float32")
    zeros = vector([0] * channels, size=8, kind="Int64")
    schema.QuantizationParametersStart(build)
    schema.QuantizationParametersAddScale(build, scales)
    schema.QuantizationParametersAddZeroPoint(build, zeros)
    quantization = schema.QuantizationParametersEnd(build)
    schema.TensorStart(build)
    schema.TensorAddName(build, name)
    schema.TensorAddShape(build, shape)
    schema.TensorAddType(build, draw(st.sampled_from((0, 2, 3, 9))))
    if draw(st.booleans()):
        schema.TensorAddQuantization(build, quantization)
    schema.TensorAddBuffer(build, draw(st.sampled_from((0, 1))))
    tensors = vector([schema.TensorEnd(build)] * count, kind="offset")
    # Operators that take what the one before gives, in pairs of two tables.
    tables = []
    for _ in range(2):
        reads = [draw(st.integers(0, min(count, 3) - 1))] * draw(long)
        writes = [draw(st.integers(0, min(count, 3) - 1))]
        inputs, outputs = vector(reads), vector(writes)
        schema.OperatorStart(build)
        schema.OperatorAddOpcodeIndex(build, len(tables))
        schema.OperatorAddInputs(build, inputs)
        schema.OperatorAddOutputs(build, outputs)
        tables.append(schema.OperatorEnd(build))
    operators = vector(tables * (draw(sizes) // 2 or 1), kind="offset")
    ends = vector([0] * draw(long))
    schema.SubGraphStart(build)
    schema.SubGraphAddTensors(build, tensors)
    schema.SubGraphAddOperators(build, operators)
    schema.SubGraphAddInputs(build, ends)
    schema.SubGraphAddOutputs(build, ends)
    graph = schema.SubGraphEnd(build)
    graphs = vector([graph] * draw(st.sampled_from((1, 1, 1, 2, 50))), kind="offset")
    codes = []
    for _ in range(2):
        number = draw(st.sampled_from(_OPERATORS))
        schema.OperatorCodeStart(build)
        schema.OperatorCodeAddBuiltinCode(build, number)
        schema.OperatorCodeAddDeprecatedBuiltinCode(build, min(number, 127))
        codes.append(schema.OperatorCodeEnd(build))
    codes = vector(codes, kind="offset")
    data = build.CreateByteVector(bytes(draw(st.sampled_from((1, 4, 64)))))
    buffers = []
    for filled in (False, True):
        schema.BufferStart(build)
        if filled:
            schema.BufferAddData(build, data)
        buffers.append(schema.BufferEnd(build))
    buffers = vector(buffers, kind="offset")
    schema.ModelStart(build)
    schema.ModelAddOperatorCodes(build, codes)
    schema.ModelAddSubgraphs(build, graphs)
    schema.ModelAddBuffers(build, buffers)
    build.Finish(schema.ModelEnd(build), b"TFL3")
    return bytes(build.Output())


def _by_field(draw: Draw, content: bytes) -> bytes:
    """Mutate the fields of a sound .onnx file."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(("dims", "type", "operator", "names", "sizes")))
        if kind in ("dims", "type") and graph.initializer:
            entry = draw(st.sampled_from(list(graph.initializer)))
            if kind == "dims":
                entry.dims[:] = _numbers(draw, (*_SIZES, 2**63 - 1, -(2**63)), 5)
            else:
                entry.data_type = draw(
                    st.sampled_from((*_SETS["dtype"], -1, 2**31 - 1))
                )
        elif kind == "sizes" and graph.input:
            entry = draw(st.sampled_from([*graph.input, *graph.output]))
            for size in entry.type.tensor_type.shape.dim:
                size.dim_value = draw(st.sampled_from((*_SIZES, 2**63 - 1)))
        elif graph.node:
            node = draw(st.sampled_from(list(graph.node)))
            if kind == "operator":
                words = (
                    "QuantizeLinear",
                    "Conv",
                    "Add",
                    "CONV_2D",
                    "PAD",
                    "MEAN",
                    "\n",
                )
                node.op_type = draw(st.sampled_from(words))
                node.domain = draw(st.sampled_from(("", "ai.onnx", "com.x\n")))
            else:
                names = ["", "a\nb", *node.input, *node.output]
                node.input[:] = draw(st.lists(st.sampled_from(names), max_size=4))
                node.output[:] = draw(st.lists(st.sampled_from(names), max_size=4))
    return model.SerializeToString()


# --- what the mutants are given to ----------------------------------------------------


class Overtime(BaseException):
    """Raised in the middle of what takes too long; nothing catches it by accident."""


@dataclass
class Tally:
    """What became of the files.

    Attributes:
        outcomes: How many files by outcome.
        refusals: How often by the text of a refusal, numbers and names left out.
        slowest: Seconds of processor time of the slowest file.
        peak: The most megabytes that the process has held.
        failures: Traceback by kind of failure.
        seen: How often each kind of failure came.
    """

    outcomes: Counter = field(default_factory=Counter)
    refusals: Counter = field(default_factory=Counter)
    slowest: float = 0.0
    peak: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)
    seen: Counter = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Take over what another process has found."""
        self.outcomes += other.outcomes
        self.refusals += other.refusals
        self.seen += other.seen
        self.slowest = max(self.slowest, other.slowest)
        self.peak = max(self.peak, other.peak)
        self.failures |= other.failures


def megabytes() -> float:
    """Return the most memory that this process has held so far."""
    if resource is None:
        return 0.0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def _limited() -> Iterator[None]:
    """Raise Overtime inside when it takes more processor time than it may."""
    start = time.process_time()
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, _overtime)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
    if time.process_time() - start > SECONDS:
        raise Overtime


def _overtime(number: int, frame: object) -> None:
    raise Overtime


def examine(path: Path, *, soc: str, form: str, draw: bool, tally: Tally) -> None:
    """Do with a file all that `dlpu lint` can do, and count the outcome.

    The command itself runs once; then its parts run for all chips and formats.

    Raises:
        Exception: Whatever goes wrong, AssertionError among them.
        Overtime: When what one run of the command does takes too long.
    """
    refused = _command(path, soc=soc, form=form, draw=draw)
    start = time.process_time()
    try:
        with _limited():
            model = _read(path)
    except UnusableInput as error:
        # A chip that takes no .onnx refuses before the file is read.
        if not refused and path.suffix != ".onnx":
            raise AssertionError("the command takes what the reader refuses") from error
        _refusal(str(error), tally)
        tally.outcomes["refused by the reader"] += 1
        return
    read = time.process_time() - start
    worst, stopped = 0.0, 0
    for name in SOCS:
        start = time.process_time()
        try:
            with _limited():
                report = rules.lint(model, soc=name)
                json.dumps(as_json(path.name, report), allow_nan=False)
                json.dumps(sarif.log([(path.name, report)]), allow_nan=False)
                text = "\n".join(printable(line) for line in _lines(path.name, report))
        except UnusableInput as error:
            _refusal(str(error), tally)
            stopped += 1
            if path.suffix == ".onnx":
                continue
            if not _command(path, soc=name, form=form, draw=False):
                raise AssertionError("the command takes what a rule refuses") from error
            continue
        assert text
        worst = max(worst, time.process_time() - start)
    start = time.process_time()
    try:
        with _limited():
            picture = drawing.svg(model, title="x", targets=None)
        ElementTree.fromstring(picture.encode())
    except UnusableInput as error:
        if "picture" not in str(error):
            raise
    tally.slowest = max(tally.slowest, read + worst + time.process_time() - start)
    outcome = "refused by a rule" if stopped else "reported"
    tally.outcomes[outcome] += 1


def _read(path: Path) -> reading.Model:
    if path.suffix == ".onnx":
        from course_lib.dlpu import onnx_file

        return onnx_file.read(path)
    return reading.read(path)


def _command(path: Path, *, soc: str, form: str, draw: bool) -> bool:
    """Run the command in this process; return whether it refused the file."""
    line = ["lint", str(path), "--soc", soc, "--format", form]
    picture = path.with_suffix(".svg")
    line += ["--draw", str(picture)] if draw else []
    with _limited():
        result = CliRunner().invoke(dlpu, line)
    if result.exit_code in (0, 1) and isinstance(
        result.exception, SystemExit | type(None)
    ):
        assert not result.stderr, f"status {result.exit_code} with {result.stderr!r}"
        assert result.stdout.endswith("\n"), "no report"
        if form != "text":
            json.loads(result.stdout)
        if draw:
            ElementTree.fromstring(picture.read_bytes())
        return False
    if result.exit_code == 2 and isinstance(result.exception, SystemExit):
        (message,) = result.stderr.splitlines()
        assert message.startswith("Error: "), message
        assert message.isprintable(), message
        assert not result.stdout, result.stdout
        return True
    raise result.exception


def _refusal(text: str, tally: Tally) -> None:
    for line in text.splitlines()[:1]:
        words = line.rpartition(".tflite: ")[2].split(": ")
        short = " ".join(words[:2])[:90]
        tally.refusals["".join("N" if c.isdigit() else c for c in short)] += 1


# --- running --------------------------------------------------------------------------


def _kind(error: BaseException) -> str:
    """Name a failure by its type and the last line of the library that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if "course_lib" in f.filename] or frames[-1:]
    place = f"{Path(inside[-1].filename).name}-{inside[-1].lineno}"
    if isinstance(error, Overtime):  # the line where it was met is chance
        place = next((f.name for f in inside if "/cli/" not in f.filename), place)
    return f"{type(error).__name__}-{place}"


def fuzz(
    seeds: dict[str, list[bytes]], *, count: int, seed: int, folder: Path
) -> Tally:
    """Examine mutants of seeds in this process.

    Args:
        seeds: Contents of sound files, by suffix: ".tflite", ".onnx".
        count: How many mutants.
        seed: The same seed gives the same mutants.
        folder: Where the mutants are written; failing ones stay there.
    """
    tally = Tally()
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    while done < count:
        size = min(ROUND, count - done)
        done += _round(seeds, size, seed * 1_000_003 + done, folder, tally)
    return tally


def _round(
    seeds: dict[str, list[bytes]], size: int, number: int, folder: Path, tally: Tally
) -> int:
    """Let Hypothesis draw some mutants; return how many were examined."""
    done = 0

    @seeded(number)
    @settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        nonlocal done
        draw = data.draw
        suffix, content = _mutant(draw, seeds)
        how = {
            "soc": draw(st.sampled_from(list(SOCS))),
            "form": draw(st.sampled_from(FORMATS)),
            "draw": draw(st.integers(0, 7)) == 7,
        }
        path = folder / f"mutant{suffix}"
        path.write_bytes(content)
        done += 1
        faulthandler.dump_traceback_later(STUCK, exit=True)
        try:
            examine(path, **how, tally=tally)
            tally.peak = megabytes()
            assert tally.peak < MEGABYTES, f"{tally.peak:.0f} MB"
        except (Exception, Overtime) as error:
            kind = _kind(error)
            tally.seen[kind] += 1
            if kind in known:  # one of each kind is enough
                return
            (folder / f"{kind}{suffix}").write_bytes(content)
            tally.failures[kind] = f"{how}\n{traceback.format_exc()}"
            raise Failing(kind) from None
        finally:
            faulthandler.cancel_dump_traceback_later()

    known = set(tally.failures)
    try:
        examples()
    except Failing as error:
        print(f"failure: {error}; made smaller in {folder}", flush=True)
    return max(done, 1)


class Failing(Exception):
    """A kind of failure that is new; Hypothesis makes its file smaller."""


def _mutant(draw: Draw, seeds: dict[str, list[bytes]]) -> tuple[str, bytes]:
    suffixes = [".tflite"] * 19 + [".onnx"] * (".onnx" in seeds)
    suffix = draw(st.sampled_from(suffixes)) if len(suffixes) > 19 else ".tflite"
    kind = draw(st.integers(0, 99))
    content = draw(st.sampled_from(seeds[suffix]))
    if suffix == ".tflite" and kind >= 98:
        return suffix, _flood(draw)
    if kind >= 40 and len(content) < 100_000:  # writing a large file takes long
        content = (_by_field if suffix == ".onnx" else _by_table)(draw, content)
        if kind < 90:
            return suffix, content
    for _ in range(draw(st.integers(1, 4))):
        if content:
            content = draw(st.sampled_from(_BYTES))(draw, content, seeds[suffix])
    return suffix, content


def _work(seeds: dict[str, list[bytes]], count: int, seed: int, folder: Path) -> Tally:
    """Fuzz in a process of its own, which can get no more memory than it may."""
    faulthandler.enable()
    if resource is not None and sys.platform == "linux":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
        most = now + MEGABYTES * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return fuzz(seeds, count=count, seed=seed, folder=folder)


def _apart(*arguments: Any) -> Tally:
    """Run `_work` in a new process: Hypothesis remembers what it drew."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_work, *arguments).result()


def load(folders: tuple[Path, ...]) -> dict[str, list[bytes]]:
    """Read the seeds: all .tflite and .onnx files of some folders."""
    seeds: dict[str, list[bytes]] = {}
    for folder in filter(Path.is_dir, folders):
        for path in sorted(Path(folder).iterdir()):
            if path.suffix in (".tflite", ".onnx"):
                seeds.setdefault(path.suffix, []).append(path.read_bytes())
    if ".tflite" not in seeds:
        raise UnusableInput(f"no .tflite files in {', '.join(map(str, folders))}")
    return seeds


@click.command(help=__doc__.partition("\n")[0])
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@click.option("--count", default=2000, show_default=True, help="How many files.")
@click.option("--seed", default=1, show_default=True, help="Repeats a run.")
@click.option("--processes", default=1, show_default=True)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    default=Path("fuzz"),
    show_default=True,
    help="Folder for files that fail.",
)
def main(
    folders: tuple[Path, ...], count: int, seed: int, processes: int, keep: Path
) -> None:
    """Run, print what became of the files, and exit with 1 if any failed."""
    seeds = load((ROOT / "tests" / "lint_cases", *folders))
    start = time.perf_counter()
    total, broken = Tally(), 0
    parts = [min(PART, count - done) for done in range(0, count, PART)]
    with ThreadPoolExecutor(processes) as pool:
        jobs = {
            pool.submit(_apart, seeds, size, seed * 100_003 + n, keep / str(n)): n
            for n, size in enumerate(parts)
        }
        for job, number in jobs.items():
            try:
                total.add(job.result())
                print(f"{number + 1} of {len(parts)} parts", flush=True)
            except BrokenProcessPool:
                broken += 1
                print(f"a process died: see {keep / str(number)}/mutant.*")
    seconds = time.perf_counter() - start
    files = sum(total.outcomes.values()) + sum(total.seen.values())
    known = sum(map(len, seeds.values()))
    print(f"{files} mutants of {known} files in {seconds:.0f} s, seed {seed}")
    for outcome, number in total.outcomes.most_common():
        print(f"  {number:7} {outcome}")
    print(f"  slowest {total.slowest:.2f} s of processor time; {total.peak:.0f} MB")
    for text, number in total.refusals.most_common(40):
        print(f"  {number:7} × {text}")
    for kind, text in total.failures.items():
        print(f"\nFAILED {total.seen[kind]} × {kind}\n{text}")
    raise SystemExit(bool(total.failures or broken))


if __name__ == "__main__":
    main()
