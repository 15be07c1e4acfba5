"""A model on a camera: its times, its outputs beside the computer's, its accuracy.

The camera may be a real one or a virtual one: the calls are the same, and every time
that a virtual one tells is marked as a simulation.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.camera import fidelity, findings, larod
from course_lib.camera.client import CameraError
from course_lib.dlpu import contract, cvflow, onnx_file, rules
from course_lib.dlpu.contract import Contract, End
from course_lib.dlpu.socs import SOCS, Soc
from course_lib.errors import UnusableInput
from course_lib.tflite import reading
from course_lib.tflite.reading import Model, Tensor
from course_lib.vision.evaluation import paired_interval, wilson_interval

import numpy as np

BATCHES = 10


@dataclass(frozen=True)
class Plan:
    """What is going to run where, after all that can be checked without running it.

    Attributes:
        file: The model that the computer runs.
        upload: What the camera loads: the same file, or what a compiler made of it.
        compiled: What a compiler made of the file; None where none was given.
        virtual: Whether the camera is a virtual one.
        sha256: Of the file, in hex.
        info: Product, SoC and AXIS OS of the camera.
        device: Name of the larod device.
        soc: The chip whose contract holds on that device.
        model: The file, read.
        contract: Bytes and layout of inputs and outputs.
        report: What the linter says.

    Introduced in notebook 13.
    """

    file: Path
    upload: Path
    compiled: Path | None
    virtual: bool
    sha256: str
    info: Any
    device: str
    soc: Soc
    model: Model
    contract: Contract
    report: rules.Report

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width and channels of the picture that the model takes."""
        shape = self.contract.inputs[0].shape
        if self.contract.inputs[0].layout.startswith("planar"):
            return shape[2], shape[3], shape[1]
        return shape[1:]

    @property
    def errors(self) -> tuple[rules.Finding, ...]:
        """What the linter calls an error."""
        return self.report.at_least("error")


@dataclass(frozen=True)
class Timing:
    """Times as larod-client tells them.

    Attributes:
        first_load: Seconds of the first load, the compiler on the device included; None
            where it was not told.
        later_loads: Seconds of each load after it.
        batches: Mean milliseconds of a job, one number for each batch of rounds.
        rounds: Of each batch.
        warm_up: Jobs before each batch that do not count.
        simulated: What larod-client of a virtual camera says about the time; "" on a
            camera.

    Introduced in notebook 13.
    """

    first_load: float | None
    later_loads: tuple[float, ...]
    batches: tuple[float, ...]
    rounds: tuple[int, ...]
    warm_up: int
    simulated: str

    @property
    def later_load(self) -> float | None:
        """Median of the later loads, in seconds."""
        return float(np.median(self.later_loads)) if self.later_loads else None

    @property
    def mean(self) -> float:
        """Mean of all rounds, in milliseconds."""
        return float(np.average(self.batches, weights=self.rounds))


@dataclass(frozen=True)
class Output:
    """One output tensor of the camera beside the computer's, over all pictures.

    Attributes:
        index, name, shape, dtype: As the contract tells them.
        difference: Of the camera's values from this computer's.
        spread: Of LiteRT's default kernels from its reference ones, on this computer:
            what other rounding alone makes; None for an .onnx file.

    Introduced in notebook 13.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    difference: fidelity.Difference
    spread: fidelity.Difference | None


@dataclass(frozen=True)
class Picture:
    """One picture's answers.

    Attributes:
        name: Of its file.
        label: Its class, where that is known.
        camera, computer: The class with the largest value, where an output has one
            value a class.
        largest: Largest difference of a value, in steps for integers; None when one is
            NaN or infinite.

    Introduced in notebook 13.
    """

    name: str
    label: int | None
    camera: int | None
    computer: int | None
    largest: float | None


@dataclass(frozen=True)
class Accuracy:
    """Share of the pictures whose largest value is their class.

    Attributes:
        camera, computer: Shares.
        other: The share of LiteRT's other kind of kernels; None for an .onnx file.
        camera_interval, computer_interval: 95 % intervals of the shares, by Wilson.
        difference_interval: The same of camera less computer, picture by picture.

    Introduced in notebook 13.
    """

    camera: float
    computer: float
    other: float | None
    camera_interval: tuple[float, float]
    computer_interval: tuple[float, float]
    difference_interval: tuple[float, float]


@dataclass(frozen=True)
class Result:
    """What a test found.

    Attributes:
        plan: What ran where.
        timing: Times of random input.
        runtime: What ran the file on this computer: ONNX Runtime, or LiteRT with those
            of its two kinds of kernels, reference or default, that are nearer to the
            camera. Both are LiteRT, and a camera's CPU may run either.
        outputs: One for each output tensor.
        pictures: One for each picture.
        classes: Values in the output that names them; None without one.
        agreement: Share of the pictures that both name alike; None without classes.
        accuracy: None without labels.
        problems: What is wrong, one sentence each; empty when nothing is.
        warnings: What makes the numbers doubtful, one sentence each.
        names: Of the classes, in the model's order; may be empty.
        folders: The class of each folder of pictures; empty without labels.

    Introduced in notebook 13.
    """

    plan: Plan
    timing: Timing
    runtime: str
    outputs: tuple[Output, ...]
    pictures: tuple[Picture, ...]
    classes: int | None
    agreement: float | None
    accuracy: Accuracy | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    names: tuple[str, ...] = ()
    folders: Mapping[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """How many findings and warnings there are, in a few words."""
        if not self.problems and not self.warnings:
            return "nothing wrong"
        found = (
            findings.plural(len(self.problems), "finding")
            if self.problems
            else "no finding"
        )
        if not self.warnings:
            return f"{found} above"
        return f"{found}; {findings.plural(len(self.warnings), 'warning')} above"

    def class_text(self, number: int | None) -> str:
        """Return a class as its number, and its name where that is known."""
        if number is None:
            return ""
        return findings.class_text(number, self.names)


def read(file: Path | str, *, soc: Soc) -> Model:
    """Read the model that this computer runs for a chip.

    Raises:
        UnusableInput: When the chip takes other files, or this computer cannot run it.

    Introduced in notebook 13.
    """
    file = Path(file)
    if soc.takes_onnx and file.suffix.lower() == ".bin":
        raise UnusableInput(
            f"{file}: a compiled file, which this computer cannot run: give the .onnx "
            "that it was made from, and this one with --compiled"
        )
    if soc.takes_onnx and file.suffix.lower() != ".onnx":
        raise UnusableInput(
            f"{file}: the DLPU of {soc.name} takes what a compiler makes of an .onnx "
            f"file: make one with `dlpu convert --soc {soc.id}`, or take the CPU with "
            f"--device {SOCS['cpu'].device}"
        )
    model = contract.read(file, soc=soc)
    if model.is_edge_tpu_compiled:
        raise UnusableInput(
            f"{file}: compiled for the Edge TPU, which this computer cannot run: give "
            "the file from before edgetpu_compiler, and this one with --compiled"
        )
    return model


def plan(
    camera: Any,
    file: Path | str,
    *,
    device: str | None = None,
    compiled: Path | str | None = None,
    virtual: bool = False,
) -> Plan:
    """Look a model up for a camera: the device, the contract, what the linter says.

    Args:
        camera: From `client.connect`, or a virtual camera's `connect`.
        file: A .tflite file; an .onnx file for the DLPU of CV25 and CV75.
        device: Name of a larod device; None takes the DLPU's.
        compiled: What the camera loads where a compiler makes it of `file`: a .bin on
            CV25 and CV75, `_edgetpu.tflite` on ARTPEC-7.
        virtual: The camera is a virtual one, as one that calls itself so always is. It
            runs `file` itself instead; the compiled file is looked at, where there is
            one, and not uploaded.

    Raises:
        UnusableInput: When the chip takes other files, the camera has no such device,
            the model does not take one picture, or another model was compiled.

    Introduced in notebook 13.
    """
    file = Path(file)
    info = camera.info
    virtual = virtual or info.product.endswith(larod.VIRTUAL)
    device = _device(camera, info, device)
    soc = SOCS["cpu"] if device == SOCS["cpu"].device else info.soc
    model = read(file, soc=soc)
    told = contract.of(model, soc=soc, file=file)
    _expect_picture(told, file)
    compiled = None if compiled is None else Path(compiled)
    needed = told.deployed_file != file.name and device == soc.device
    if compiled:
        if not needed and not device.endswith("-native"):
            raise UnusableInput(
                f"--compiled {compiled}: {device} loads {file.name} as it is: leave "
                "--compiled out"
            )
        _expect_compiled(compiled, model, soc)
    elif needed and not virtual:
        raise UnusableInput(
            f"{file}: {soc.name} loads {told.deployed_file}, which a compiler makes of "
            "this file (`dlpu card` tells how): give that one with --compiled"
        )
    return Plan(
        file=file,
        upload=compiled if compiled and not virtual else file,
        compiled=compiled,
        virtual=virtual,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        info=info,
        device=device,
        soc=soc,
        model=model,
        contract=told,
        report=rules.lint(model, soc=soc, os=_version(info.os)),
    )


def run(
    camera: Any,
    plan: Plan,
    images: Sequence[np.ndarray],
    *,
    names: Sequence[str] = (),
    labels: Sequence[int] | None = None,
    classes: Sequence[str] = (),
    folders: Mapping[str, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: int | None = None,
    rounds: int = 100,
    warm_up: int = 5,
    progress: Callable[[], None] = lambda: None,
) -> Result:
    """Run a model on a camera and on this computer, and compare them.

    Args:
        camera: As for `plan`.
        plan: From `plan`.
        images: uint8 [height, width, channels] each, of `plan.size`.
        names: One for each image.
        labels: The class of each image.
        classes: Names of the classes, in the model's order.
        folders: The class of each folder of pictures, to be told.
        mean: A float input on the camera gets (pixel - mean) / std, and so does the
            computer's; one number, or one for each channel; None for 0. Any other
            input takes the pixels, on both sides, and a warning says so.
        std: See mean; None for 1.
        output: Index of the output with one value for each class; None takes the only
            one.
        rounds: Jobs on random input, in `BATCHES` batches.
        warm_up: Jobs before each batch that do not count.
        progress: Called as often as `steps` says.

    Raises:
        UnusableInput: When the inputs do not fit; `client.CameraError` when the camera
            does not do what was asked.

    Introduced in notebook 13.
    """
    if not len(images):
        raise UnusableInput("there is no picture: give at least one")
    entry, ends = plan.contract.inputs[0], plan.contract.outputs
    place = classes_at(ends, output, needed=labels is not None)
    if labels is not None:
        _expect_labels(labels, len(images), ends[place])
    is_unused = entry.dtype != "float32" and bool(mean or std)
    mean, std = ((0.0,), (1.0,)) if is_unused else (mean or (0.0,), std or (1.0,))
    if not {len(mean), len(std)} <= {1, plan.size[2]}:
        raise UnusableInput(
            f"--mean and --std: {len(mean)} and {len(std)} numbers: expected one, or "
            f"one for each of {findings.plural(plan.size[2], 'channel')}"
        )
    as_sent(images[0], entry, mean=mean, std=std)  # tells what does not fit
    computers = _computers(plan)
    got, expected = [], {runtime: [] for runtime in computers}
    suffix = plan.upload.suffix.lower()
    with camera.load(plan.upload, device=plan.device, suffix=suffix) as loaded:
        first, sizes = _first_run(loaded, ends)
        progress()
        batches = loaded.benchmark(
            rounds,
            warm_up=warm_up,
            batches=BATCHES,
            outputs=len(ends),
            progress=lambda done, of: progress(),
        )
        for image in images:
            sent = as_sent(image, entry, mean=mean, std=std)
            _, contents = loaded.run([sent.tobytes()], output_sizes=sizes)
            got.append([as_values(c, e) for c, e in zip(contents, ends, strict=True)])
            for runtime, compute in computers.items():
                expected[runtime].append(compute(image, sent))
            progress()
    return _judged(
        plan,
        _timing(first, batches, warm_up),
        {runtime: _stacked(values) for runtime, values in expected.items()},
        _stacked(got),
        names=names or [str(number) for number in range(len(images))],
        labels=labels,
        place=place,
        classes=tuple(classes),
        folders=folders or {},
        is_unused=is_unused,
    )


def steps(images: int, *, rounds: int = 100) -> int:
    """Return how often `run` calls `progress`.

    Introduced in notebook 13.
    """
    return 1 + min(BATCHES, rounds) + images


def as_sent(
    image: np.ndarray,
    entry: End,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
) -> np.ndarray:
    """Turn a picture into the array whose bytes the device takes.

    Args:
        image: uint8 [height, width, channels].
        entry: The input, from the contract.
        mean: A float32 input gets (pixel - mean) / std.
        std: See mean.

    Returns:
        uint8 as it is, int8 less 128, or float32; planar where the chip wants that, its
        rows padded with zeros to the row pitch. Contiguous in memory.

    Raises:
        UnusableInput: When the image has another size, or the input another type.

    Introduced in notebook 13.
    """
    if entry.dtype not in ("uint8", "int8", "float32"):
        raise UnusableInput(
            f"input {entry.name}: takes {entry.dtype}: expected uint8, int8 or float32"
        )
    pixels = np.asarray(image)
    if entry.dtype == "int8":
        pixels = (pixels.astype(np.int16) - 128).astype(np.int8)
    elif entry.dtype == "float32":
        pixels = _real(pixels, mean, std)
    if entry.layout.startswith("planar"):
        pixels = pixels.transpose(2, 0, 1)
    if pixels.shape != entry.shape[1:]:
        raise UnusableInput(
            f"a picture of {contract.size_text(np.shape(image))}: the model takes "
            f"{contract.size_text(entry.shape[1:])}, {entry.layout}; crop it first"
        )
    if entry.layout.startswith("planar"):
        padding = entry.row_pitch // pixels.itemsize - pixels.shape[2]
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, padding)))
    return np.ascontiguousarray(pixels[None])


def as_values(content: bytes, end: End) -> np.ndarray:
    """Read the bytes of an output as an array of the contract's shape.

    For CV25 the sources disagree whether values are padded: the number of bytes tells.

    Args:
        content: What the device wrote.
        end: The output, from the contract.

    Raises:
        UnusableInput: When the number of bytes fits neither.

    Introduced in notebook 13.
    """
    count, dtype = math.prod(end.shape), np.dtype(end.dtype).newbyteorder("<")
    if len(content) == count * dtype.itemsize:
        values = np.frombuffer(content, dtype)
    elif end.stride and len(content) == count * end.stride and dtype == np.float32:
        values = cvflow.read_output(content, count, stride=end.stride)
    else:
        raise UnusableInput(
            f"output {end.index}: the camera gave {len(content)} bytes: expected "
            f"{_bytes(end)} for {end.dtype} {contract.size_text(end.shape)}; is this "
            "the file that it loaded?"
        )
    return values.reshape(end.shape)


def _expect_compiled(file: Path, model: Model, soc: Soc) -> None:
    """Refuse what no compiler made of this model, as far as a computer can tell."""
    if soc.takes_onnx:
        for kind, reader in ((".tflite", reading.read), (".onnx", onnx_file.read)):
            if _is_read(reader, file):
                raise UnusableInput(
                    f"--compiled {file}: is of the kind {kind}: expected the .bin that "
                    f"the compiler for {soc.name} writes"
                )
    elif soc.id == "artpec7":
        made = reading.read(file)
        if not made.is_edge_tpu_compiled:
            raise UnusableInput(
                f"--compiled {file}: has no operator {reading.EDGE_TPU}: expected the "
                "file that edgetpu_compiler writes"
            )
        for kind in ("inputs", "outputs"):
            ours, theirs = (_ends_text(getattr(m, kind)) for m in (model, made))
            if ours != theirs:
                raise UnusableInput(
                    f"--compiled {file}: has {kind} {theirs}, the model {ours}: "
                    "expected what edgetpu_compiler made of this model"
                )


def _is_read(reader: Callable[[Path], Model], file: Path) -> bool:
    try:
        return bool(reader(file).operators)
    except UnusableInput:
        return False


def _ends_text(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{t.dtype} {contract.size_text(t.shape)}" for t in tensors)


def _device(camera: Any, info: Any, wanted: str | None) -> str:
    if wanted is None:
        return camera.device()
    known = camera.devices()
    if wanted not in known:
        raise UnusableInput(
            f"--device {wanted}: {info.product} has no such device: expected one of "
            f"{', '.join(known)}"
        )
    return wanted


def _expect_picture(told: Contract, file: Path) -> None:
    inputs = told.inputs
    if len(inputs) != 1 or not inputs[0].layout or inputs[0].shape[0] != 1:
        shapes = ", ".join(contract.size_text(end.shape_signature) for end in inputs)
        raise UnusableInput(
            f"{file}: takes {shapes}: expected one input with one picture"
        )


def _version(text: str) -> str | None:
    """Return the version if the linter can read it; a beta's may be anything."""
    return text if rules.version(text) else None


def _real(
    pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    centred = pixels.astype(np.float32) - np.float32(mean)
    return centred / np.float32(std)


def _bytes(end: End) -> int:
    """Return how many bytes an output has; where no source tells, without padding."""
    if end.bytes is not None:
        return end.bytes
    if not hasattr(np, end.dtype):
        raise UnusableInput(f"output {end.index}: {end.dtype} has no fixed size")
    return math.prod(end.shape) * np.dtype(end.dtype).itemsize


def _computers(
    plan: Plan,
) -> dict[str, Callable[[np.ndarray, np.ndarray], list[np.ndarray]]]:
    """Return what runs the model on this computer, for a picture and what was sent."""
    if plan.model.format == "onnx":
        return {"ONNX Runtime": _onnx(plan)}
    return {
        f"LiteRT, {kind} kernels": _litert(plan, reference=kind == "reference")
        for kind in ("reference", "default")
    }


def _litert(
    plan: Plan, *, reference: bool
) -> Callable[[np.ndarray, np.ndarray], list[np.ndarray]]:
    from course_lib.tflite import inference

    interpreter = inference.load(plan.file, reference=reference)

    def compute(image: np.ndarray, sent: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(plan.model.inputs[0].index, sent)
        try:
            interpreter.invoke()
        except RuntimeError as error:
            raise _cannot_run(plan, "LiteRT", error) from None
        return [interpreter.get_tensor(tensor.index) for tensor in plan.model.outputs]

    return compute


def _onnx(plan: Plan) -> Callable[[np.ndarray, np.ndarray], list[np.ndarray]]:
    """Return what runs an .onnx file; it takes the pixels, as the camera does."""
    from course_lib.quiet import quiet

    with quiet():
        import onnxruntime

        try:
            session = onnxruntime.InferenceSession(
                str(plan.file), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own have no common base
            raise _cannot_run(plan, "ONNX Runtime", error) from None
    (entry,) = plan.model.inputs
    if entry.dtype not in ("uint8", "float16", "float32"):
        raise UnusableInput(
            f"{plan.file}: takes {entry.dtype}: expected float32, which gets the "
            "pixels 0 to 255"
        )
    planar = entry.layout.startswith("planar")

    def compute(image: np.ndarray, sent: np.ndarray) -> list[np.ndarray]:
        values = image.transpose(2, 0, 1) if planar else image
        values = np.ascontiguousarray(values[None], entry.dtype)
        return session.run(None, {entry.name: values})

    return compute


def _cannot_run(plan: Plan, what: str, error: Exception) -> UnusableInput:
    reason = " ".join(str(error).split())
    return UnusableInput(
        f"{plan.file}: {what} cannot run it on this computer: {reason}"
    )


def _first_run(loaded: Any, ends: Sequence[End]) -> tuple[larod.Run, list[int]]:
    """Run once on random input; return the run and the bytes of each output.

    Sources disagree whether CV25 pads its outputs: the camera is asked for both.
    """
    padded = [_bytes(end) for end in ends]
    dense = [math.prod(end.shape) * np.dtype(end.dtype).itemsize for end in ends]
    try:
        return loaded.run((), output_sizes=padded)[0], padded
    except CameraError as error:
        if error.run or padded == dense:  # larod-client failed: sizes are not at fault
            raise
    return loaded.run((), output_sizes=dense)[0], dense


def _stacked(values: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Turn lists of outputs, one list for each picture, into one array an output."""
    return [np.stack(of) for of in zip(*values, strict=True)]


def classes_at(ends: Sequence[End], wanted: int | None, *, needed: bool) -> int | None:
    """Return the output that has one value for each class."""
    if wanted is not None and not 0 <= wanted < len(ends):
        raise UnusableInput(
            f"--output {wanted}: the model has outputs 0 to {len(ends) - 1}"
        )
    fits = [end.index for end in ends if _is_scores(end)]
    if wanted is None and len(ends) == 1 and fits:
        return 0
    if wanted is not None and wanted in fits:
        return wanted
    if wanted is not None:
        shape = contract.size_text(ends[wanted].shape)
        raise UnusableInput(
            f"--output {wanted}: is {shape}: expected one value for each class"
        )
    if needed:
        raise UnusableInput(
            "--labels: no single output has one value for each class: choose one with "
            f"--output; those that fit: {', '.join(map(str, fits)) or 'none'}"
        )
    return None


def _is_scores(end: End) -> bool:
    size = math.prod(end.shape)
    return size > 1 and size == max(end.shape)


def _expect_labels(labels: Sequence[int], count: int, end: End) -> None:
    size = math.prod(end.shape)
    if len(labels) != count:
        raise UnusableInput(f"{len(labels)} labels for {count} pictures: expected one")
    if min(labels) < 0 or max(labels) >= size:
        raise UnusableInput(
            f"labels reach {min(labels)}..{max(labels)}: the model has classes "
            f"0..{size - 1}; name the subfolders by these numbers, or give --classes"
        )


def _timing(first: larod.Run, batches: Sequence[larod.Run], warm_up: int) -> Timing:
    if any(run.mean_milliseconds is None or run.rounds is None for run in batches):
        raise UnusableInput(
            "larod-client told no mean execution time: its output is of a form that "
            "is not known here; run the command by hand"
        )
    return Timing(
        first_load=first.load_seconds,
        later_loads=tuple(
            run.load_seconds for run in batches if run.load_seconds is not None
        ),
        batches=tuple(run.mean_milliseconds for run in batches),
        rounds=tuple(run.rounds for run in batches),
        warm_up=warm_up,
        simulated=next((run.simulated for run in batches if run.simulated), ""),
    )


def _judged(
    plan: Plan,
    timing: Timing,
    expected: dict[str, list[np.ndarray]],
    got: list[np.ndarray],
    *,
    names: Sequence[str],
    labels: Sequence[int] | None,
    place: int | None,
    classes: tuple[str, ...],
    folders: Mapping[str, int],
    is_unused: bool,
) -> Result:
    """Draw the conclusions."""
    published = fidelity.published(plan.info.soc, device=plan.device)
    runtime = min(expected, key=lambda name: _distance(expected[name], got))
    ours = expected[runtime]
    others = [values for name, values in expected.items() if name != runtime]
    outputs = tuple(
        Output(
            end.index,
            end.name,
            end.shape,
            end.dtype,
            difference=fidelity.compare(ours[n], got[n], published=published),
            spread=fidelity.compare(*(of[n] for of in expected.values()))
            if others
            else None,
        )
        for n, end in enumerate(plan.contract.outputs)
    )
    largest = np.max([_apart(a, b).max(1) for a, b in zip(ours, got, strict=True)], 0)
    answers = {"camera": None, "computer": None}
    agreement = accuracy = None
    if place is not None:
        answers = {"camera": _top1(got[place]), "computer": _top1(ours[place])}
        agreement = float(np.mean(answers["camera"] == answers["computer"]))
        if labels is not None:
            other = _top1(others[0][place]) if others else None
            accuracy = _accuracy(answers, np.asarray(labels), other)
    pictures = tuple(
        Picture(
            name=str(name),
            label=None if labels is None else int(labels[number]),
            **{
                key: None if of is None else int(of[number])
                for key, of in answers.items()
            },
            largest=float(largest[number]) if np.isfinite(largest[number]) else None,
        )
        for number, name in enumerate(names)
    )
    count = None if place is None else got[place][0].size
    collapsed = tuple(findings.collapsed(pictures, classes))
    warnings = [
        *findings.simulations(plan, timing),
        *findings.doubts_of_the_file(plan, timing, outputs),
        *findings.doubts_of_the_pictures(
            plan, pictures, accuracy, count=count, is_unused=is_unused
        ),
    ]
    return Result(
        plan=plan,
        timing=timing,
        runtime=runtime,
        outputs=outputs,
        pictures=pictures,
        classes=count,
        agreement=agreement,
        accuracy=accuracy,
        problems=(*findings.problems(plan, outputs, accuracy), *collapsed),
        warnings=tuple(warnings),
        names=classes,
        folders=folders,
    )


def _apart(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    """Return how far each value of each picture is, [pictures, values]."""
    apart = np.abs(expected.astype(np.float64) - got.astype(np.float64))
    return apart.reshape(len(apart), -1)


def _distance(expected: list[np.ndarray], got: list[np.ndarray]) -> float:
    means = [_apart(a, b).mean() for a, b in zip(expected, got, strict=True)]
    return float(np.nan_to_num(sum(means), nan=np.inf))


def _top1(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).argmax(1)


def _accuracy(
    answers: dict[str, np.ndarray], labels: np.ndarray, other: np.ndarray | None
) -> Accuracy:
    camera, computer = (answers[name] == labels for name in ("camera", "computer"))
    count = len(labels)
    return Accuracy(
        camera=float(camera.mean()),
        computer=float(computer.mean()),
        other=None if other is None else float(np.mean(other == labels)),
        camera_interval=wilson_interval(int(camera.sum()), count),
        computer_interval=wilson_interval(int(computer.sum()), count),
        difference_interval=paired_interval(camera, computer),
    )
