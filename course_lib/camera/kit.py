"""A kit: a folder to take to a camera, to see whether it computes as a computer does.

It holds a model, inputs as the device takes them, the outputs to expect, and a script
of plain larod-client calls. `judgement` reads what comes back.
"""

import errno
import hashlib
import json
import math
import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.camera import larod
from course_lib.camera.fidelity import compare, residual_adds
from course_lib.dlpu import contract, cvflow, socs
from course_lib.dlpu.contract import End
from course_lib.dlpu.socs import Soc
from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.tflite import exposing, inference, reading
from course_lib.tflite.reading import Model, Tensor

import numpy as np

CPU = "cpu-tflite"
MODEL, EXPOSED = "model", "exposed"
PICTURES = "pictures"
MOST_SAMPLES = 999  # three digits in the names of the files
MOST_BYTES = 2**31  # of one tensor: nothing that a camera holds is larger
_MOST_TEXT = 2**28  # of kit.json
_MOST_AXES = 30  # of a tensor; an array of NumPy 1 has at most 32
_KIT = "kit.json"
_FORMAT = 1
_DTYPES = ("bool", "float16", "float32", "float64")
_DTYPES += tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


@dataclass(frozen=True)
class Output:
    """One output tensor of a kit's file.

    Attributes:
        name: In the file.
        operator: Its producer's place in the graph; None in an .onnx file.
        kind: Name of that operator.
        shape: Sizes.
        dtype: On the device.
        scale, zero_point: Of a quantized tensor, else None.
        strides: Bytes from one value to the next that a dump may have; empty: any.
        exposed: Whether the kit made it an output.

    Introduced in notebook 13.
    """

    name: str
    operator: int | None
    kind: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    strides: tuple[int, ...]
    exposed: bool = False

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Run:
    """One file on one device.

    Attributes:
        device: The larod device.
        variant: "model", or "exposed": the file with more outputs.
        file: What larod-client loads, in the kit's folder.

    Introduced in notebook 13.
    """

    device: str
    variant: str
    file: str

    @property
    def folder(self) -> str:
        """Where its outputs go, from the kit's folder."""
        return f"out/{self.device}/{self.variant}"

    @property
    def title(self) -> str:
        """What to call it."""
        exposed = ", with exposed tensors" if self.variant == EXPOSED else ""
        return f"{self.device}{exposed}"


@dataclass(frozen=True)
class Kit:
    """A folder to take to a camera, and what must come back.

    Attributes:
        folder: Where it is.
        soc: The chip that it is for.
        model: Name that the user's file had.
        made: Date.
        tool: Name and version of what made it.
        inputs: Name, dtype, shape, bytes and so on of each input, as the device takes
            it.
        count: How many samples.
        source: "pictures", or "random, seed 0".
        kernels: What made the expected outputs: "reference" and "default" of LiteRT,
            or "onnxruntime".
        outputs: Of each variant, in the file's order.
        spread: How far the default kernels are from the reference ones on this
            computer, for each output of the model; empty with one kind of kernels.

    Introduced in notebook 13.
    """

    folder: Path
    soc: Soc
    model: str
    made: str
    tool: str
    inputs: tuple[dict[str, Any], ...]
    count: int
    source: str
    kernels: tuple[str, ...]
    outputs: Mapping[str, tuple[Output, ...]]
    spread: tuple[dict[str, Any], ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """What the script runs: the DLPU first, then the camera's CPU."""
        devices = [self.soc.device]
        if not self.soc.takes_onnx and CPU not in devices:
            devices.append(CPU)
        return tuple(
            Run(device, variant, _file(self.soc, variant, device))
            for variant in self.outputs
            for device in devices
        )

    @property
    def camera_bytes(self) -> int:
        """How many bytes the kit takes on the camera: models, inputs and dumps."""
        files = {run.file: _own_file(self.soc, run.variant) for run in self.runs}
        models = sum((self.folder / own).stat().st_size for own in files.values())
        dumps = sum(
            output.size * max(output.strides or (4,))
            for run in self.runs
            for output in self.outputs[run.variant]
        )
        inputs = sum(entry["bytes"] for entry in self.inputs)
        return models + self.count * (inputs + dumps)

    @property
    def to_compile(self) -> dict[str, str]:
        """The kit's files that another compiler must see first, and what it makes."""
        pairs = ((_own_file(self.soc, run.variant), run.file) for run in self.runs)
        return {own: made for own, made in pairs if own != made}


def _own_file(soc: Soc, variant: str) -> str:
    return f"{variant}.onnx" if soc.takes_onnx else f"{variant}.tflite"


def _file(soc: Soc, variant: str, device: str) -> str:
    """Name what a device loads: three chips want a compiled file."""
    if soc.takes_onnx:
        return f"{variant}.bin"
    if soc.id == "artpec7" and device == soc.device:
        return f"{variant}_edgetpu.tflite"
    return f"{variant}.tflite"


def picture_shape(model: Model) -> tuple[int, int, int]:
    """Return height, width and channels of the one picture that a file takes.

    Raises:
        UnusableInput: When it takes something else.

    Introduced in notebook 13.
    """
    layout = model.inputs[0].layout if len(model.inputs) == 1 else None
    if not layout or model.inputs[0].shape[0] != 1:
        raise UnusableInput(
            "the model does not take one picture: expected one input [1, height, "
            "width, channels]; leave --images out for random input"
        )
    sizes = model.inputs[0].shape[1:]
    return sizes if layout.startswith("interleaved") else (*sizes[1:], sizes[0])


def make(
    model: Path | str,
    folder: Path | str,
    *,
    soc: Soc | str,
    pictures: Sequence[np.ndarray] = (),
    count: int = 4,
    seed: int = 0,
    expose: str = "adds",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Kit:
    """Make a kit: nothing is there before all of it is.

    The expected outputs come from LiteRT's reference kernels, which define what is
    right, and from its default ones, which are what a computer or camera runs; for
    CV25 and CV75 from ONNX Runtime with the float file.

    Args:
        model: A .tflite file; for CV25 and CV75 an .onnx file that takes pixels 0 to
            255, as `dlpu convert` writes it.
        folder: The kit; must not exist.
        soc: The chip, or its name.
        pictures: uint8 [height, width, channels], from `picture_shape`; without them
            the input is random.
        count: Samples, when they are random.
        seed: Of the random input.
        expose: Which tensors inside become outputs of a second file: "adds" for those
            of `residual_adds`, "all", or "none". An .onnx file has no second one.
        mean: A float input of a .tflite file gets (pixel - mean) / std: one number, or
            one a channel; empty: 0. Without mean and std a float input takes no
            pictures: what a pixel becomes is not in the file.
        std: See mean; empty: 1.

    Raises:
        UnusableInput: When the file, the pictures or the folder cannot be used.

    Introduced in notebook 13.
    """
    path, folder = Path(model), Path(folder)
    soc = socs.find(soc) if isinstance(soc, str) else soc
    if folder.exists() or folder.is_symlink():
        raise UnusableInput(f"{folder}: is there already: name a new folder")
    if not 0 < (len(pictures) or count) <= MOST_SAMPLES:
        raise UnusableInput(
            f"{len(pictures) or count} inputs: expected 1 to {MOST_SAMPLES}"
        )
    file = contract.read(path, soc=soc)
    if soc.takes_onnx and (file.format != "onnx" or expose == "all"):
        raise UnusableInput(
            f"{path}: for {soc.name}, expected an .onnx file and no exposed tensors: "
            "its compiler is closed"
        )
    told = contract.of(file, soc=soc, file=path)
    content = path.read_bytes()
    variants = {MODEL: content}
    if file.format == "tflite":
        tensors = _to_expose(file, expose)
        if tensors:
            variants[EXPOSED] = exposing.expose(content, tensors)
    scaling = _scaling(file, pictures, mean=mean, std=std)
    samples = _samples(file, pictures, count=count, seed=seed, scaling=scaling)
    blocks = {
        f"in/{number:03}.{index}.bin": _as_sent(value, end, soc)
        for number, sample in enumerate(samples)
        for index, (value, end) in enumerate(zip(sample, told.inputs, strict=True))
    }
    expected = {
        (kernels, variant): _answers(of, samples, told.outputs, kernels=kernels)
        for kernels in _kernels(soc)
        for variant, of in variants.items()
    }
    _check_exposed(expected, len(file.outputs))
    for (kernels, variant), answers in expected.items():
        for index, values in enumerate(answers):
            for number, value in enumerate(values):
                name = expected_name(kernels, variant, number, index)
                blocks[name] = _little(value).tobytes()
    kit = Kit(
        folder=folder,
        soc=soc,
        model=path.name,
        made=date.today().isoformat(),
        tool=f"dlpu-course {version('dlpu-course')}",
        inputs=tuple(_input(end) | scaling for end in told.inputs),
        count=len(samples),
        source=PICTURES if len(pictures) else f"random, seed {seed}",
        kernels=_kernels(soc),
        outputs={
            variant: tuple(
                _outputs(of, file, told.outputs, expected[_kernels(soc)[0], variant])
            )
            for variant, of in variants.items()
        },
        spread=tuple(_spread(expected)),
    )
    for variant, of in variants.items():
        blocks[_own_file(soc, variant)] = of
    blocks["run.sh"] = "".join(f"{line}\n" for line in _script(kit)).encode()
    blocks["README.md"] = "".join(f"{line}\n" for line in _readme(kit)).encode()
    blocks[_KIT] = _description(kit, blocks)
    files.write_folder(kit.folder, blocks, empty=[run.folder for run in kit.runs])
    return kit


def _kernels(soc: Soc) -> tuple[str, ...]:
    return ("onnxruntime",) if soc.takes_onnx else ("reference", "default")


def _to_expose(model: Model, which: str) -> list[int]:
    """Return what can be shown: tensors of fixed size that operators compute."""
    if which == "adds":
        operators = residual_adds(model)
    else:
        operators = model.operators if which == "all" else ()
    present = {tensor.index for tensor in model.outputs}
    return [
        tensor.index
        for operator in operators
        for tensor in model.outputs_of(operator)
        if tensor.index not in present
        and tensor.dtype in _DTYPES
        and tensor.nbytes
        and not tensor.is_variable
    ]


def _scaling(
    model: Model,
    pictures: Sequence[np.ndarray],
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, list[float]]:
    """Return what turns pixels into a float input; nothing when there is nothing."""
    if not len(mean) and not len(std):
        return {}
    if not len(pictures):
        raise UnusableInput(
            "mean and std: are for pictures, and the input is random: give pictures, "
            "or leave mean and std out"
        )
    channels = picture_shape(model)[-1]
    entry = model.inputs[0]
    if model.format == "onnx" or not entry.is_float:
        raise UnusableInput(
            f"mean and std: the model takes pixels as they are ({entry.dtype}): leave "
            "mean and std out"
        )
    scaling = {"mean": list(mean or (0.0,)), "std": list(std or (1.0,))}
    if not all(len(of) in (1, channels) for of in scaling.values()) or not all(
        value > 0 for value in scaling["std"]
    ):
        raise UnusableInput(
            f"mean and std: expected one number each, or {channels}, one a channel; "
            "std above 0"
        )
    return scaling


def _samples(
    model: Model,
    pictures: Sequence[np.ndarray],
    *,
    count: int,
    seed: int,
    scaling: Mapping[str, list[float]],
) -> list[list[np.ndarray]]:
    """Return the inputs of each sample as the file takes them, [1, ...]."""
    if len(pictures):
        picture_shape(model)  # tells when it takes none
        return [[_from_pixels(image, model, scaling)] for image in pictures]
    generator = np.random.default_rng(seed)
    return [
        [_random(generator, tensor, model.format) for tensor in model.inputs]
        for _ in range(count)
    ]


def _from_pixels(
    image: np.ndarray, model: Model, scaling: Mapping[str, list[float]]
) -> np.ndarray:
    (entry,) = model.inputs
    if scaling:  # before the channels may come first
        image = (image - np.array(scaling["mean"])) / np.array(scaling["std"])
    planar = entry.layout.startswith("planar")
    pixels = (image.transpose(2, 0, 1) if planar else image)[None]
    if entry.dtype == "uint8":
        return pixels
    if entry.dtype == "int8":
        return (pixels ^ 128).view(np.int8)  # each pixel less 128
    if scaling or (model.format == "onnx" and entry.dtype == "float32"):
        return pixels.astype(entry.dtype)  # the .onnx has its own normalisation
    raise UnusableInput(
        f"the model takes {entry.dtype}: what a pixel becomes is not in the file; give "
        "--mean and --std, or leave --images out for random input; 0 and 1 are for a "
        "model that normalises by itself"
    )


def _random(generator: np.random.Generator, entry: Tensor, form: str) -> np.ndarray:
    shape = tuple(map(abs, entry.shape))
    if entry.dtype not in _DTYPES:
        raise UnusableInput(f"{entry.name}: has the type {entry.dtype}: not supported")
    if form == "onnx" and entry.layout:
        return generator.integers(0, 256, shape).astype(entry.dtype)  # pixels
    dtype = np.dtype(entry.dtype)
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    ends = np.iinfo(dtype)
    return generator.integers(ends.min, ends.max, shape, dtype=dtype, endpoint=True)


def _little(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("<"))


def _as_sent(value: np.ndarray, end: End, soc: Soc) -> bytes:
    """Return an input's bytes as the device takes them."""
    if not soc.takes_onnx:
        return _little(value).tobytes()
    if not end.layout:
        raise UnusableInput(
            f"{end.name}: is no picture: no source tells how it lies in the memory of "
            f"{soc.name}"
        )
    pixels = value.astype(np.uint8)
    if pixels.shape != end.shape:  # an interleaved .onnx: the compiler makes it planar
        pixels = cvflow.planar(pixels)
    return cvflow.pad_rows(pixels[0], pitch=soc.row_pitch.value).tobytes()


def _answers(
    content: bytes,
    samples: list[list[np.ndarray]],
    ends: Sequence[End],
    *,
    kernels: str,
) -> list[list[np.ndarray]]:
    """Run a file; return for each output its values for each sample."""
    if kernels == "onnxruntime":
        runs = [
            # CVflow gives floats, also for an ArgMax.
            [
                value.astype(end.dtype if end.dtype in _DTYPES else value.dtype)
                for value, end in zip(values, ends, strict=True)
            ]
            for values in _run_onnx(content, samples)
        ]
    else:
        runs = list(_run_tflite(content, samples, reference=kernels == "reference"))
    return [list(of) for of in zip(*runs, strict=True)]


def _run_onnx(
    content: bytes, samples: list[list[np.ndarray]]
) -> list[list[np.ndarray]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise UnusableInput(
            "the package onnxruntime is missing: install the extra `camera`, with "
            "`pip install '.[camera]'` in a clone of the course"
        ) from error
    try:
        with quiet():
            session = onnxruntime.InferenceSession(
                content, providers=["CPUExecutionProvider"]
            )
            names = [entry.name for entry in session.get_inputs()]
            return [
                session.run(None, dict(zip(names, sample, strict=True)))
                for sample in samples
            ]
    except Exception as error:  # onnxruntime has no common class of its errors
        reason = " ".join(str(error).split())
        raise UnusableInput(f"ONNX Runtime cannot run this file: {reason}") from error


def _run_tflite(
    content: bytes, samples: list[list[np.ndarray]], *, reference: bool
) -> Iterator[list[np.ndarray]]:
    model = reading.parse(content)
    interpreter = inference.load(content, reference=reference)
    for sample in samples:
        try:
            for tensor, value in zip(model.inputs, sample, strict=True):
                interpreter.set_tensor(tensor.index, value)
            interpreter.invoke()
            yield [interpreter.get_tensor(tensor.index) for tensor in model.outputs]
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UnusableInput(f"LiteRT cannot run this file: {reason}") from error


def _check_exposed(expected: dict, count: int) -> None:
    """Make sure that more outputs do not change the old ones."""
    plain = expected.get(("reference", MODEL))
    more = expected.get(("reference", EXPOSED))
    if more and not all(
        np.array_equal(a, b)
        for ours, theirs in zip(plain, more[:count], strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ):
        raise UnusableInput(
            "the file gives other outputs when tensors inside are exposed: take "
            "--expose none"
        )


def _input(end: End) -> dict[str, Any]:
    told = asdict(end)
    keys = ("name", "shape", "dtype", "layout", "row_pitch")
    return {key: told[key] for key in (*keys, "scale", "zero_point")} | {
        "bytes": told["bytes"] or 0
    }


def _outputs(
    content: bytes, model: Model, ends: Sequence[End], answers: list[list[np.ndarray]]
) -> Iterator[Output]:
    """Describe the outputs of a variant, with the shapes that they really have."""
    if model.format == "tflite":
        model = reading.parse(content)
    for index, (tensor, values) in enumerate(zip(model.outputs, answers, strict=True)):
        if str(values[0].dtype) not in _DTYPES:
            raise UnusableInput(
                f"output {index} has the type {values[0].dtype}: not supported"
            )
        if len({value.shape for value in values}) > 1:
            raise UnusableInput(
                f"output {index} has another shape for each input: not supported"
            )
        producer = model.producers.get(tensor.index)
        strides = (values[0].dtype.itemsize,)
        if model.format == "onnx":  # Axis's two examples disagree: padded, and dense
            strides = (*strides, ends[index].stride) if ends[index].stride else ()
        one = len(tensor.scales) == 1
        yield Output(
            name=tensor.name,
            operator=producer.index if producer and strides else None,
            kind=producer.name if producer else "",
            shape=values[0].shape,
            dtype=str(values[0].dtype),
            scale=tensor.scale if one else None,
            zero_point=tensor.zero_point if one else None,
            strides=strides,
            exposed=index >= len(ends),
        )


def _spread(expected: dict) -> Iterator[dict[str, Any]]:
    if ("default", MODEL) in expected:
        for ours, theirs in zip(
            expected["reference", MODEL], expected["default", MODEL], strict=True
        ):
            found = compare(np.stack(ours), np.stack(theirs))
            yield {
                key: getattr(found, key)
                for key in ("identical", "mean", "largest", "unit")
            }


def _script(kit: Kit) -> Iterator[str]:
    """Return lines for sh; the names in them are the kit's own, none a stranger's."""
    yield f"# {kit.tool}: {kit.soc.name}. In this folder, on the camera: sh run.sh"
    yield "# A device that refuses a file does not stop the lines after it."
    for run in kit.runs:
        yield f"# {run.title}"
        for number in range(kit.count):
            inputs = [f"in/{number:03}.{n}.bin" for n in range(len(kit.inputs))]
            outputs = [
                f"{run.folder}/{number:03}.{n}.bin"
                for n in range(len(kit.outputs[run.variant]))
            ]
            # Since AXIS OS 12 larod-client writes only into files that exist.
            yield shlex.join(["touch", *outputs])
            yield shlex.join(
                larod.command(
                    run.file, device=run.device, inputs=inputs, outputs=outputs
                )
            )


def _readme(kit: Kit) -> Iterator[str]:
    yield f"# Does {kit.soc.name} compute what a computer computes?"
    yield ""
    yield f"Made by {kit.tool} on {kit.made}: {kit.count} inputs ({kit.source})."
    for own, made in kit.to_compile.items():
        yield f"First compile `{own}` for the camera; put the result here as `{made}`."
    for index, told in enumerate(kit.spread):
        yield (
            f"Output {index}, default against reference kernels on this computer: "
            f"{told['identical']:.2%} identical, largest difference "
            f"{told['largest']:g} {told['unit']}."
        )
    for entry in kit.inputs:
        if "mean" in entry:
            yield f"A value is (pixel - mean) / std: {entry['mean']}, {entry['std']}."
    yield ""
    names = ["run.sh", *dict.fromkeys(run.file for run in kit.runs), "in", "out"]
    yield "1. In this folder, on your computer: `ssh USER@CAMERA mkdir /tmp/kit`, then"
    yield f"   `scp -r {' '.join(names)} USER@CAMERA:/tmp/kit/`"
    yield "2. `ssh USER@CAMERA`, then `cd /tmp/kit`, then `sh run.sh`, then `exit`"
    yield "3. In this folder, on your computer: `scp -r USER@CAMERA:/tmp/kit/out .`"
    yield "4. There too: `dlpu kit --compare .`"
    yield "5. On the camera, `rm -r /tmp/kit`"
    yield ""
    yield "Another port than 22: `ssh -p PORT`, but `scp -P PORT`."
    if kit.soc.products:
        yield (
            f"`dlpu camera --soc {kit.soc.id}` runs a virtual camera and prints a "
            "FILE: `ssh -F FILE`, `scp -F FILE`, with `camera` for USER@CAMERA."
        )
        for own, made in kit.to_compile.items():
            yield (
                f"It cannot run what a compiler makes: for it alone, copy `{own}` to "
                f"`{made}`."
            )


def _description(kit: Kit, blocks: dict[str, bytes]) -> bytes:
    told = {
        "format": _FORMAT,
        "soc": kit.soc.id,
        **{
            key: getattr(kit, key)
            for key in ("model", "made", "tool", "inputs", "count", "source")
        },
        "kernels": kit.kernels,
        "outputs": {
            variant: [asdict(output) for output in outputs]
            for variant, outputs in kit.outputs.items()
        },
        "runs": [asdict(run) | {"folder": run.folder} for run in kit.runs],
        "spread": kit.spread,
        "files": {
            name: {"bytes": len(block), "sha256": hashlib.sha256(block).hexdigest()}
            for name, block in sorted(blocks.items())
        },
    }
    return (json.dumps(told, indent=2) + "\n").encode()


def read(folder: Path | str) -> Kit:
    """Read a kit and check that its files are as they were made.

    Raises:
        UnusableInput: When it is no kit, or one of its own files has changed.

    Introduced in notebook 13.
    """
    folder = Path(folder)
    try:
        told = json.loads(_content(folder / _KIT, most=_MOST_TEXT))
        if told["format"] != _FORMAT:
            raise UnusableInput(
                f"{folder / _KIT}: has the format {told['format']}: expected {_FORMAT};"
                " compare with the version of the course that made the kit"
            )
        kit = Kit(
            folder=folder,
            soc=socs.find(str(told["soc"])),
            **{key: str(told[key]) for key in ("model", "made", "tool", "source")},
            inputs=tuple(
                dict(entry, bytes=int(entry["bytes"] or 0)) for entry in told["inputs"]
            ),
            count=_count(told["count"]),
            kernels=_kernels(socs.find(str(told["soc"]))),
            outputs={
                variant: tuple(_output(entry) for entry in told["outputs"][variant])
                for variant in (MODEL, EXPOSED)
                if variant in told["outputs"]
            },
            spread=tuple(told["spread"]),
        )
        sums = {name: str(entry["sha256"]) for name, entry in told["files"].items()}
    except FileNotFoundError:
        raise UnusableInput(
            f"{folder}: no {_KIT} in it: expected a folder that `dlpu kit` made"
        ) from None
    except OSError as error:
        raise UnusableInput(
            f"{folder / _KIT}: could not be read ({error.strerror}): expected a folder "
            "that `dlpu kit` made"
        ) from None
    except UnusableInput:
        raise
    except (
        *(ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RecursionError),
    ) as error:
        raise UnusableInput(
            f"{folder / _KIT}: is damaged ({type(error).__name__}): copy it again"
        ) from None
    _check_sums(kit, sums)
    return kit


def _content(file: Path, *, most: int) -> bytes:
    """Read a file of a stranger's kit: no pipe, no device, nothing endless."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return file.read_bytes()


def _count(told: Any) -> int:
    if not 1 <= int(told) <= MOST_SAMPLES:
        raise ValueError(f"{told} samples")
    return int(told)


def _output(told: Mapping[str, Any]) -> Output:
    shape = tuple(int(size) for size in told["shape"])
    dtype = str(told["dtype"])
    strides = tuple(int(stride) for stride in told["strides"])
    if (
        dtype not in _DTYPES
        or min((1, *shape, *strides)) < 1
        or len(shape) > _MOST_AXES
        or 8 * math.prod(shape) > MOST_BYTES
    ):
        raise ValueError(f"{dtype} {shape}")
    return Output(
        name=str(told["name"]),
        operator=None if told["operator"] is None else int(told["operator"]),
        kind=str(told["kind"]),
        shape=shape,
        dtype=dtype,
        scale=told["scale"],
        zero_point=told["zero_point"],
        strides=strides,
        exposed=bool(told["exposed"]),
    )


def expected_name(kernels: str, variant: str, number: int, index: int) -> str:
    """Name the file with an expected output of a sample."""
    return f"expected/{kernels}/{variant}/{number:03}.{index}.bin"


def _own_files(kit: Kit) -> Iterator[tuple[str, int | None]]:
    """Return the files that the comparison rests on, with sizes that must fit."""
    for variant in kit.outputs:
        yield _own_file(kit.soc, variant), None
    for number in range(kit.count):
        for index in range(len(kit.inputs)):
            yield f"in/{number:03}.{index}.bin", None
        for kernels in kit.kernels:
            for variant, outputs in kit.outputs.items():
                for index, output in enumerate(outputs):
                    size = output.size * np.dtype(output.dtype).itemsize
                    yield expected_name(kernels, variant, number, index), size


def _check_sums(kit: Kit, sums: Mapping[str, str]) -> None:
    """Check the kit's own files; what comes back from the camera has no checksum."""
    for name, size in _own_files(kit):
        try:
            block = _content(kit.folder / name, most=MOST_BYTES)
        except OSError as error:
            raise UnusableInput(
                f"{kit.folder / name}: could not be read ({error.strerror}): the kit "
                "is not whole; copy it again"
            ) from None
        found = hashlib.sha256(block).hexdigest()
        if found != sums.get(name) or len(block) != (size or len(block)):
            raise UnusableInput(
                f"{kit.folder / name}: is not what `dlpu kit` wrote: copy it again, or "
                "make a new kit"
            )
