"""The virtual camera's larod: it refuses a model as the chip would, or runs it here.

A model runs on this computer's CPU, in LiteRT or ONNX Runtime. What a computer cannot
execute is recognised and answered with one line. The texts of the refusals are those
that cameras print; a text of our own begins with "simulation:".
"""

import contextlib
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from course_lib.camera.larod import LogLine
from course_lib.dlpu import contract, mapping, onnx_file
from course_lib.dlpu.parts import parts
from course_lib.dlpu.rules.whole import peak_activations
from course_lib.dlpu.socs import BENCHMARKS, Soc
from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.tflite import enums, inference, reading

import numpy as np

# larodErrorCode in larod.h, liblarod 3.2.254.
JOB, LOAD_MODEL, CONNECTION, TENSOR_MISMATCH, POWER = -1, -2, -6, -12, -15

NO_INTERPRETER = "Could not build an interpreter of the model"
NOT_ALLOCATED = "Could not allocate tensors"
CLOSED = "Asynchronous connection has been closed"
TOO_MANY_PARTITIONS = (
    "Model contains too many graph partitions ({count} > {limit}) and {slow} of the "
    "graph partitions can't be run on the device. Consider redesigning the model to "
    "better utilize the device. (Is it fully integer quantized? Is it using "
    "non-supported operations?)"
)

_LITERT = "LiteRT on this computer's CPU"
_ONNX = "ONNX Runtime on this computer's CPU"
_CPU = ("cpu-tflite", "armnn-cpu-tflite")
_EDGE_TPU, _A7_GPU = "google-edge-tpu-tflite", "axis-a7-gpu-tflite"
_KEPT = 4  # models that stay in memory from one larod-client to the next
_LINES = 1000  # of the journal


class Refused(Exception):
    """larod's answer to a model that it does not load.

    Attributes:
        code: Of larod.h.
        log: What larod writes into the system's log.
    """

    def __init__(
        self, text: str, *, code: int = LOAD_MODEL, log: Sequence[str] = ()
    ) -> None:
        super().__init__(text)
        self.code = code
        self.log = log


class JobFailed(Exception):
    """larod's answer to a job that it does not finish; `code` is of larod.h."""

    def __init__(self, text: str, *, code: int = JOB) -> None:
        super().__init__(text)
        self.code = code


class Faults(Protocol):
    """What of a virtual camera's faults concerns larod.

    Attributes:
        power_failures: So many jobs are refused first.
        out_of_memory: Whether every load ends larod.
    """

    power_failures: int
    out_of_memory: bool


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is ready to run.

    Attributes:
        inputs: Bytes of each input tensor, as the device wants them.
        dtypes: Of the values of each input.
        outputs: Number of output tensors.
        execute: Takes the bytes of the inputs, gives those of the outputs.
        simulation: Where it runs, for behind each time.
        notes: What differs from the camera, one sentence each.
        log: What larod writes into the system's log when it loads the model.
        stand_in: Whether the camera would load another file than this one.
        keep: Whether a run leaves no trace in it, so that it can serve again.
    """

    inputs: tuple[int, ...]
    dtypes: tuple[str, ...]
    outputs: int
    execute: Callable[[Sequence[bytes]], list[bytes]]
    simulation: str
    notes: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    stand_in: bool = False
    keep: bool = True


def newest_os() -> str:
    """Return the newest AXIS OS version for which the course knows measurements."""
    versions = {mark.os for mark in BENCHMARKS}
    return max(versions, key=lambda text: [int(part) for part in text.split(".")])


@dataclass(eq=False)
class Device:
    """What larod-client finds on a camera; shared by all its sessions.

    Attributes:
        soc: The chip.
        os: AXIS OS version.
        devices: Names for larod, in the order of `larod-client -a`; the chip's own
            when none are given.
        faults: What goes wrong on purpose.
        memory: Bytes that a model may take, weights and activations; None: how much a
            camera has left for it is not published, so nothing is refused.
        compile_seconds: The shortened time of a first load, on chips that compile; 0:
            none, and nothing is kept as compiled.
        host: The camera's name in the log.
        may_write: Raises OSError when a file of so many bytes must not be written.
        journal: The newest lines of the system's log.

    Introduced in notebook 13.
    """

    soc: Soc
    os: str = field(default_factory=newest_os)
    devices: tuple[str, ...] = ()
    faults: Faults | None = None
    memory: int | None = None
    compile_seconds: float = 1.0
    host: str = "axis-virtual"
    may_write: Callable[[Path, int], None] = lambda place, size: None
    journal: deque[LogLine] = field(default_factory=lambda: deque(maxlen=_LINES))
    lock: threading.Lock = field(default_factory=threading.Lock)
    _next: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _loaded: OrderedDict[tuple[str, str], Loaded] = field(default_factory=OrderedDict)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Fill in what the chip tells."""
        if not self.devices:
            self.devices = tuple(self.soc.listed_devices.value)
        self._power_failures = self.faults.power_failures if self.faults else 0

    def log(self, text: str, *, process: str = "sh", level: str = "INFO") -> None:
        """Write a line into the journal; larod's backends write through `sh`."""
        now = f"{datetime.now():%b %d %H:%M:%S}"
        pid = None if process == "kernel" else 1841
        self.journal.append(LogLine(now, self.host, level, process, text, pid))

    def load(self, content: bytes, *, digest: str, file: Path, device: str) -> Loaded:
        """Load a model, or take it from memory if it has just been used.

        Args:
            content: The file's bytes.
            digest: That tells this file from any other.
            file: Where it lies on this computer.
            device: One of `devices`.

        Raises:
            Refused: As larod on this chip does it.
        """
        try:
            if self.faults and self.faults.out_of_memory:
                raise _out_of_memory()
            with self._loading:
                loaded = self._loaded.pop((digest, device), None)
                if loaded is None:
                    loaded = load(
                        content,
                        file=file,
                        device=device,
                        soc=self.soc,
                        memory=self.memory,
                    )
                    self._log_all(loaded.log)
                if loaded.keep:
                    self._loaded[digest, device] = loaded
                    while len(self._loaded) > _KEPT:
                        self._loaded.popitem(last=False)
        except Refused as refused:
            self._log_all(refused.log)
            if refused.code == CONNECTION:
                self._log_crash()
            raise
        return loaded

    def run(self, loaded: Loaded, inputs: Sequence[bytes]) -> list[bytes]:
        """Run one job when its turn comes: the device has one job at a time.

        Raises:
            JobFailed: When there is no power, or the model cannot be run.
        """
        with self._turn():
            if self._power_failures > 0:
                self._power_failures -= 1
                # The name and the number are documented, the sentence is not.
                raise JobFailed("LAROD_ERROR_POWER_NOT_AVAILABLE", code=POWER)
            return loaded.execute(inputs)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        # A thread that has just finished would take the lock again at once; behind the
        # second lock it queues like everybody else.
        with self._next:
            self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def _log_all(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.log(text)

    def _log_crash(self) -> None:
        """Write what acap-computer-vision-sdk-examples issue 160 shows."""
        self.log("double free or corruption (out)")
        uptime = time.monotonic() - self._started
        self.log(
            f"[{uptime:12.6f}][ T1845] larod: singleprocq: potentially unexpected "
            "fatal signal 6.",
            process="kernel",
            level="ERR",
        )


def load(
    content: bytes, *, file: Path, device: str, soc: Soc, memory: int | None = None
) -> Loaded:
    """Make a file ready to run on this computer, under the rules of a device.

    Args:
        content: The file's bytes.
        file: Where it lies on this computer.
        device: Name for larod.
        soc: The chip.
        memory: Bytes that weights and activations may take.

    Raises:
        Refused: As larod on this chip does it, or because it is not simulated.

    Introduced in notebook 13.
    """
    if soc.takes_onnx and device == soc.device:
        return _cvflow(content, file=file, soc=soc, device=device)
    if device.endswith(("-native", "-proc")):
        kind = "preprocessing" if device.endswith("-proc") else "a compiled model"
        raise Refused(
            f"simulation: {device} is not simulated, as a computer cannot run {kind} "
            f"of this chip: use {soc.device}"
        )
    model = _parse(content)
    if device in _CPU:
        if _exceeds(model, memory):
            raise Refused(NOT_ALLOCATED)
        return _litert(content, model, simulation=_LITERT)
    if device == _EDGE_TPU:
        return _edge_tpu(content, model, soc=soc)
    if device == _A7_GPU:
        if model.is_edge_tpu_compiled:
            # Reported as a mismatch (acap-native-sdk-examples issue 319), without the
            # text; this one is inferred.
            raise Refused(NO_INTERPRETER)
        return _litert(
            content, model, simulation=f"{_LITERT} stands in for the ARTPEC-7 GPU"
        )
    if device == soc.device:
        return _dlpu(content, model, soc=soc, memory=memory)
    raise Refused(f"simulation: {device} is not simulated: use {soc.device}")


def _parse(content: bytes) -> reading.Model:
    """Read a .tflite file; TFLite builds no interpreter of anything else."""
    try:
        return reading.parse(content)
    except UnusableInput:
        raise Refused(NO_INTERPRETER) from None


def _litert(
    content: bytes, model: reading.Model, *, simulation: str, **more: object
) -> Loaded:
    try:
        interpreter = inference.load(content)
    except UnusableInput as error:
        # LiteRT's constructor raises ValueError, its allocation RuntimeError.
        built = not isinstance(error.__cause__, ValueError)
        raise Refused(NOT_ALLOCATED if built else NO_INTERPRETER) from None
    entries = {entry["index"]: entry for entry in interpreter.get_input_details()}
    ends = [
        (tensor.index, np.dtype(entries[tensor.index]["dtype"]), shape)
        for tensor in model.inputs
        for shape in [tuple(map(int, entries[tensor.index]["shape"]))]
    ]

    def execute(inputs: Sequence[bytes]) -> list[bytes]:
        try:
            for data, (index, dtype, shape) in zip(inputs, ends, strict=True):
                interpreter.set_tensor(index, np.frombuffer(data, dtype).reshape(shape))
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise JobFailed(f"simulation: {_first_line(error)}") from None
        return [interpreter.get_tensor(t.index).tobytes() for t in model.outputs]

    return Loaded(
        inputs=tuple(math.prod(shape) * dtype.itemsize for _, dtype, shape in ends),
        dtypes=tuple(dtype.name for _, dtype, _ in ends),
        outputs=len(model.outputs),
        execute=execute,
        simulation=simulation,
        keep=not any(tensor.is_variable for tensor in model.tensors),
        **more,
    )


def _dlpu(
    content: bytes, model: reading.Model, *, soc: Soc, memory: int | None
) -> Loaded:
    """Load a file on a DLPU that compiles it on the camera."""
    if any(mapping.is_unregistered(operator) for operator in model.operators):
        raise Refused(NO_INTERPRETER)
    targets = mapping.targets(model, soc=soc)
    log = tuple(_fallbacks(model, targets, soc))
    loaded = _litert(content, model, simulation=_LITERT, log=log)
    found = parts(model, accelerated=lambda entry: targets[entry.index] != "cpu")
    if soc.partitions and len(found) > soc.partitions.value:
        text = TOO_MANY_PARTITIONS.format(
            count=len(found),
            limit=soc.partitions.value,
            slow=sum(not part.accelerated for part in found),
        )
        raise Refused(text, log=log)
    if _exceeds(model, memory):
        raise _out_of_memory(log)
    return loaded


def _fallbacks(model: reading.Model, targets: Sequence[str], soc: Soc) -> Iterator[str]:
    """Tell which operators the DLPU leaves to the CPU, in the words of ARTPEC-8.

    Of an operator that a published list lacks nothing is told: lists are not complete.
    Source: acap-native-sdk-examples issue 185. No such line of another chip was found.
    """
    if soc.id != "artpec8":
        return
    numbers = {name: number for number, name in enums.OPERATOR.items()}
    for operator, target in zip(model.operators, targets, strict=True):
        if target == "cpu":
            number = numbers.get(operator.name, enums.CUSTOM)
            yield f"WARNING: Fallback unsupported op {number} to TfLite"
    if count := list(targets).count("cpu"):
        yield f"simulation: {count} of {len(targets)} operators on the CPU"


def _exceeds(model: reading.Model, memory: int | None) -> bool:
    if memory is None:
        return False
    weights = sum(tensor.nbytes for tensor in model.tensors if tensor.is_constant)
    return weights + peak_activations(model)[0] > memory


def _out_of_memory(log: Sequence[str] = ()) -> Refused:
    return Refused(CLOSED, code=CONNECTION, log=log)


def _edge_tpu(content: bytes, model: reading.Model, *, soc: Soc) -> Loaded:
    """Run the file that edgetpu_compiler would be given."""
    if model.is_edge_tpu_compiled:
        raise Refused(
            "simulation: this file is compiled for the Edge TPU, which a computer "
            "cannot execute: upload the file from before edgetpu_compiler"
        )
    if "dlpu" not in mapping.targets(model, soc=soc):
        raise Refused(
            "simulation: edgetpu_compiler is not expected to map any operator of this "
            "file: quantize it to int8, or use cpu-tflite"
        )
    return _litert(
        content,
        model,
        simulation=f"{_LITERT} stands in for the Edge TPU",
        notes=("the file from before edgetpu_compiler runs",),
        stand_in=True,
    )


def _cvflow(content: bytes, *, file: Path, soc: Soc, device: str) -> Loaded:
    """Run the .onnx file that CNNGen would be given, with the .bin's bytes.

    CNNGen's own arithmetic in 8 or 16 bits is not imitated: the numbers are those of
    the float file. Pixels enter as 0..255, as after `idf:0,0,0,0` without `ic`.
    """
    if content[4:8] == b"TFL3":
        raise Refused(
            f"simulation: {device} takes a cavalry binary, not a .tflite file: upload "
            "the .onnx file that CNNGen is given"
        )
    try:
        model = onnx_file.read(file)
        ends = contract.of(model, soc=soc, file=file)
    except UnusableInput as error:
        if isinstance(error.__cause__, ImportError):
            raise Refused(f"simulation: {error}") from None
        # No published source tells how a cavalry binary begins.
        raise Refused(
            "simulation: neither .onnx nor .tflite; if this is a cavalry binary, a "
            "computer cannot execute it: upload the .onnx file that it was made from"
        ) from None
    try:
        with quiet():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        sizes = [
            end.bytes or np.dtype(end.dtype).itemsize * math.prod(end.shape)
            for end in ends.inputs
        ]
    except Exception as error:  # ONNX Runtime's own have no common base
        raise Refused(
            f"simulation: ONNX Runtime cannot run this file: {_first_line(error)}"
        ) from None
    interleaved = [tensor.layout == "interleaved (NHWC)" for tensor in model.inputs]

    def execute(inputs: Sequence[bytes]) -> list[bytes]:
        fed = {
            end.name: _unpacked(data, end, interleaved=swapped)
            for data, end, swapped in zip(inputs, ends.inputs, interleaved, strict=True)
        }
        try:
            results = session.run([end.name for end in ends.outputs], fed)
        except Exception as error:
            raise JobFailed(f"simulation: {_first_line(error)}") from None
        return [
            _packed(values, end)
            for values, end in zip(results, ends.outputs, strict=True)
        ]

    notes = ["the .onnx file that CNNGen is given runs, in float"]
    if not soc.output_stride:
        notes.append(f"how {soc.name} pads outputs is not published: they lie dense")
    return Loaded(
        inputs=tuple(sizes),
        dtypes=tuple(end.dtype for end in ends.inputs),
        outputs=len(ends.outputs),
        execute=execute,
        simulation=f"{_ONNX} stands in for CVflow",
        notes=tuple(notes),
        stand_in=True,
    )


def _unpacked(data: bytes, end: contract.End, *, interleaved: bool) -> np.ndarray:
    """Turn an input's bytes into what the .onnx file takes."""
    values = np.frombuffer(data, end.dtype)
    if end.row_pitch:
        batch, channels, height, width = end.shape
        rows = values.reshape(batch, channels, height, end.row_pitch)
        values = rows[..., :width]
        if interleaved:
            values = values.transpose(0, 2, 3, 1)
    else:
        values = values.reshape(end.shape)
    return np.ascontiguousarray(values, end.file_dtype)


def _packed(values: np.ndarray, end: contract.End) -> bytes:
    """Turn an output into the bytes that the device gives."""
    if not end.stride:
        return np.ascontiguousarray(values).tobytes()
    values = np.asarray(values, end.dtype).reshape(-1, 1)
    missing = end.stride // values.itemsize - 1
    return np.pad(values, ((0, 0), (0, missing))).tobytes()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
