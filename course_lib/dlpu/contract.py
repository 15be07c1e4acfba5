"""The contract of a deployed file: what the camera application sends and gets back.

A file is parsed and never run. What a chip adds, such as padded rows, stands in
socs.toml with its source.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib.dlpu import cvflow, edgetpu, onnx_file
from course_lib.dlpu.rules import RULES, ends
from course_lib.dlpu.rules.case import Case
from course_lib.dlpu.socs import Fact, Soc, find, larod_client
from course_lib.errors import UnusableInput
from course_lib.tflite.reading import Model, Tensor

import numpy as np

_FACTS = (
    *("model_file", "compile_step", "devices", "input_dtype", "layout", "row_pitch"),
    *("output", "output_stride"),
)
_MOST_LABELS = 10 * 2**20  # bytes of a file of labels
_LONGEST_LABEL = 500  # C promises string literals of 4095 bytes; UTF-8 has up to 4 each
# Types whose difference from a zero point fits an int64_t without a thought.
QUANTIZED = ("int8", "uint8", "int16", "uint16", "int32")


@dataclass(frozen=True)
class End:
    """One input or output, as the application sees it.

    Attributes:
        kind: "input" or "output".
        index: Its place in the file's list, which is larod's order.
        name: In the file.
        signature_name: What the file's signature calls it; None without signature.
        shape: Sizes; a size that is not fixed stands here as 1.
        shape_signature: The same with -1 where a size is not fixed.
        dtype: What the application sends or gets.
        file_dtype: What the file has; another one when a compiler changes it.
        bytes: Of the whole tensor, padding included; None when no source tells.
        scale: Real size of one integer step; None when there is none, or several.
        zero_point: The integer that stands for real 0.
        scales: How many scales the file has for it.
        layout: "interleaved (NHWC)" or "planar (NCHW)" for an image, else None.
        row_pitch: Bytes from one row of an image to the next, else None.
        stride: Bytes from one value to the next; None when no source tells.
        notes: What else to know, one sentence each.

    Introduced in notebook 11.
    """

    kind: str
    index: int
    name: str
    signature_name: str | None
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    file_dtype: str
    bytes: int | None
    scale: float | None
    zero_point: int | None
    scales: int
    layout: str | None
    row_pitch: int | None
    stride: int | None
    notes: tuple[str, ...] = ()

    @property
    def formula(self) -> str | None:
        """Return "real = (q - zero_point) * scale" with its numbers."""
        if self.scale is None:
            return None
        zero = f"({self.zero_point})" if self.zero_point < 0 else self.zero_point
        return f"real = (q - {zero}) * {number(self.scale)}"

    @property
    def limits(self) -> tuple[tuple[int, float], ...]:
        """Return the smallest and largest integer, each with its real value."""
        if self.scale is None or not re.fullmatch(r"u?int(8|16)", self.dtype):
            return ()
        numbers = np.iinfo(self.dtype)
        whole = (int(numbers.min), int(numbers.max))
        return tuple((q, (q - self.zero_point) * self.scale) for q in whole)

    def real(self, values: Any) -> np.ndarray:
        """Return what integers stand for, in float32 as on the camera.

        Args:
            values: Integers of any shape.

        Returns:
            float32, of the same shape.

        Raises:
            UnusableInput: When there is not exactly one scale.

        Introduced in notebook 11.
        """
        if self.scale is None:
            raise UnusableInput(f"{self.name}: has {self.scales} scales: expected one")
        steps = np.asarray(values, np.int64) - self.zero_point
        return steps.astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class Contract:
    """All that the programmer of a camera application must know of a file.

    Attributes:
        file: As it was given.
        deployed_file: Name of what the camera loads.
        soc: The chip.
        inputs, outputs: In the file's order.
        commands: What makes the deployed file; empty when the file is deployed as it
            is, or the compiler is closed.
        labels: One for each value of the last dimension of an output; may be empty.
        labels_output: The output that they belong to; None when that is not known.
        warnings: What will go wrong, one sentence each.

    Introduced in notebook 11.
    """

    file: str
    deployed_file: str
    soc: Soc
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    commands: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    labels_output: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def larod_client(self) -> str:
        """Return the command that runs the file on a camera with random input."""
        return larod_client(self.soc, self.deployed_file)

    @property
    def facts(self) -> dict[str, Fact]:
        """Return what is known of the chip and matters here, by name."""
        every = ((name, getattr(self.soc, name)) for name in _FACTS)
        return {name: fact for name, fact in every if fact}


def read(file: Path | str, *, soc: Soc | str) -> Model:
    """Read a file with the reader that fits its name and the chip.

    Args:
        file: A .tflite file; for CV25 and CV75 an .onnx file.
        soc: The chip, or its name.

    Raises:
        UnusableInput: When the chip takes other files, or the file is not sound.

    Introduced in notebook 11.
    """
    soc = find(soc) if isinstance(soc, str) else soc
    model = onnx_file.read_either(file, soc=soc)
    _expect_format(model.format, soc, str(file))
    return model


def read_labels(file: Path | str) -> tuple[str, ...]:
    """Read labels, one a line; empty lines at the end do not count.

    Raises:
        UnusableInput: When there is no such file, it is not UTF-8, or a line is empty
            or too long.

    Introduced in notebook 11.
    """
    file = Path(file)
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_LABELS + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UnusableInput(f"{file}: no such file: check the path") from None
    except UnicodeDecodeError:
        raise UnusableInput(f"{file}: not UTF-8: expected one label a line") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnusableInput(
            f"{file}: could not be read ({reason}): check the path"
        ) from None
    if len(content) > _MOST_LABELS:
        raise UnusableInput(
            f"{file}: has more than {_MOST_LABELS} bytes: expected one label a line"
        )
    labels = tuple(line.strip() for line in text.rstrip().split("\n"))
    for number, label in enumerate(labels, start=1):
        if not 0 < len(label) <= _LONGEST_LABEL:
            raise UnusableInput(
                f"{file}: line {number} has {len(label)} characters: expected a label "
                f"of 1 to {_LONGEST_LABEL}"
            )
    return labels


def folders_text(folders: Mapping[str, int]) -> str:
    """Tell which class each folder of labelled pictures is, the first six."""
    most = 6
    ordered = sorted(folders.items(), key=lambda of: of[1])
    shown = [f"{name} is class {number}" for name, number in ordered]
    more = f", ... ({len(shown)} subfolders)" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def of(
    model: Model,
    *,
    soc: Soc | str,
    file: Path | str,
    labels: Sequence[str] | None = None,
) -> Contract:
    """Collect the contract of a file on a chip.

    Args:
        model: From `read`.
        soc: The chip, or its name.
        file: Its path; the camera's file is named after it.
        labels: One for each value of an output's last dimension.

    Returns:
        The contract. For CV25 and CV75 it is that of the compiled .bin.

    Raises:
        UnusableInput: When the chip takes other files, the number of labels is wrong,
            or a size or zero point is impossible.

    Introduced in notebook 11.
    """
    soc = find(soc) if isinstance(soc, str) else soc
    _expect_format(model.format, soc, str(file))
    names = _signature_names(model)
    inputs, outputs = (
        tuple(
            _end(kind, index, tensor, soc, names.get((kind, tensor.index)))
            for index, tensor in enumerate(tensors)
        )
        for kind, tensors in (("input", model.inputs), ("output", model.outputs))
    )
    path = Path(file)
    deployed, commands = path.name, ()
    if soc.takes_onnx:
        deployed = f"{path.stem}_{soc.id}.bin"
    elif soc.id == "artpec7" and not model.is_edge_tpu_compiled:
        deployed = f"{path.stem}_edgetpu.tflite"
        words = edgetpu.command(file, folder=path.parent)
        commands = (edgetpu.shell(words),)
    labels = tuple(labels or ())
    labels_output, warnings = _place(labels, outputs)
    return Contract(
        file=str(file),
        deployed_file=deployed,
        soc=soc,
        inputs=inputs,
        outputs=outputs,
        commands=commands,
        labels=labels,
        labels_output=labels_output,
        warnings=(*_warnings(model, soc, inputs), *warnings),
    )


def as_dict(contract: Contract) -> dict[str, Any]:
    """Return the contract as what JSON can hold.

    Introduced in notebook 11.
    """
    soc = contract.soc
    return {
        "file": contract.file,
        "deployed_file": contract.deployed_file,
        "soc": soc.id,
        "soc_name": soc.name,
        "device": soc.device,
        "larod_client": contract.larod_client,
        "commands": list(contract.commands),
        "inputs": [_end_dict(end) for end in contract.inputs],
        "outputs": [_end_dict(end) for end in contract.outputs],
        "labels": list(contract.labels),
        "labels_output": contract.labels_output,
        "warnings": list(contract.warnings),
        "facts": {name: _fact_dict(fact) for name, fact in contract.facts.items()},
    }


def as_text(contract: Contract) -> str:
    """Return the contract for a person: a label, then what belongs to it.

    Characters that could steer a terminal are replaced.

    Introduced in notebook 11.
    """
    return "\n".join(map(_printable, _lines(contract)))


def as_c(contract: Contract) -> str:
    """Return the contract as a C header of ASCII characters alone.

    It needs no other header than C11's own. Names begin with the name of the file.

    Introduced in notebook 11.
    """
    from course_lib.dlpu import c_header

    return "\n".join(c_header.lines(contract))


def _expect_format(form: str, soc: Soc, file: str) -> None:
    if form == "onnx" and not soc.takes_onnx:
        raise UnusableInput(
            f"{file}: {soc.name} takes .tflite files: convert the model first"
        )
    if form == "tflite" and soc.takes_onnx and not soc.cnngen_tflite:
        raise UnusableInput(
            f"{file}: {soc.name} takes .onnx files: convert the model with "
            f"`dlpu convert --soc {soc.id}`"
        )


def _signature_names(model: Model) -> dict[tuple[str, int], str]:
    names: dict[tuple[str, int], str] = {}
    for signature in model.signatures:
        if signature.subgraph == 0:
            for kind, by_name in (
                ("input", signature.inputs),
                ("output", signature.outputs),
            ):
                for name, tensor in by_name.items():
                    names.setdefault((kind, tensor.index), name)
    return names


def _end(kind: str, index: int, tensor: Tensor, soc: Soc, alias: str | None) -> End:
    """Describe an input or output; a closed compiler changes both."""
    where = f"{kind} {index}"
    shape = tuple(map(abs, tensor.shape))
    if max(math.prod(shape), tensor.nbytes) >= 2**63:
        raise UnusableInput(
            f"{where} has the impossible shape {'x'.join(map(str, shape))}: the file "
            "is damaged; copy or download it again"
        )
    notes = []
    if not shape:
        notes.append("no shape in the file: one value, or known only when it runs")
    elif tensor.is_dynamic:
        notes.append("not all sizes are fixed: the bytes count a size of -1 as 1")
    common = {
        "kind": kind,
        "index": index,
        "name": tensor.name,
        "signature_name": alias,
        "file_dtype": tensor.dtype,
        "scales": len(tensor.scales),
    }
    build = _compiled if soc.takes_onnx else _plain
    return build(common, shape, tensor, soc, notes)


def _plain(
    common: dict[str, Any], shape: tuple, tensor: Tensor, soc: Soc, notes: list[str]
) -> End:
    """Describe an end of a file that the camera loads as it is."""
    one = len(tensor.scales) == 1
    is_input = common["kind"] == "input"
    layout = tensor.layout if is_input else None
    if one and tensor.dtype in (*QUANTIZED, "int64"):
        numbers = np.iinfo(tensor.dtype)
        if not numbers.min <= tensor.zero_point <= numbers.max:
            raise UnusableInput(
                f"{common['kind']} {common['index']} has the zero point "
                f"{tensor.zero_point}: expected {numbers.min} to {numbers.max} for "
                f"{tensor.dtype}; convert the model again"
            )
    size = tensor.nbytes // math.prod(shape) if tensor.nbytes else None
    if re.search(r"int[24]$", tensor.dtype):
        size = None  # several values in a byte
    if layout and tensor.dtype != soc.input_dtype.value:
        notes += _other_pixels(tensor, shape)
    if len(tensor.scales) > 1:
        notes.append(
            f"{len(tensor.scales)} scales along axis {tensor.quantized_dimension}: no "
            "single formula; the file has them"
        )
    elif not one and not tensor.is_float:
        notes.append("no scale: a value is what it says")
    if tensor.dtype in ("string", "unknown", "resource", "variant"):
        notes.append(f"{tensor.dtype}: its size is not in the file")
    row = None
    if layout and size:
        interleaved = layout.startswith("interleaved")
        row = math.prod(shape[2:] if interleaved else shape[3:]) * size
    return End(
        **common,
        shape=shape,
        shape_signature=tensor.shape_signature,
        dtype=tensor.dtype,
        bytes=tensor.nbytes or (0 if 0 in shape else None),
        scale=tensor.scale if one and not tensor.is_float else None,
        zero_point=tensor.zero_point if one and not tensor.is_float else None,
        layout=layout,
        row_pitch=row,
        stride=size,
        notes=tuple(notes),
    )


def _other_pixels(tensor: Tensor, shape: tuple[int, ...]) -> Iterator[str]:
    """Tell what to do with a camera's pixels, which are uint8."""
    if tensor.dtype == "float32":
        picture = math.prod(shape)
        yield (
            f"a camera's picture is uint8, {picture} bytes, a quarter of this: turn "
            "each pixel into a float, or larod answers"
        )
        yield (
            f"`Could not run job: Could only read {picture} out of {tensor.nbytes} "
            "bytes from file descriptor` (acap-computer-vision-sdk-examples issue 15)"
        )
    elif tensor.dtype == "int8":
        yield "a camera's picture is uint8: send each pixel less 128"
    else:
        yield f"a camera's picture is uint8: turn each pixel into {tensor.dtype}"


def _compiled(
    common: dict[str, Any], shape: tuple, tensor: Tensor, soc: Soc, notes: list[str]
) -> End:
    """Describe an end of the .bin that a closed compiler makes of the file."""
    signature = tensor.shape_signature
    layout, row, stride, nbytes = None, None, None, None
    dtype = tensor.dtype
    if common["kind"] == "input":
        layout = tensor.layout
        if layout == "interleaved (NHWC)":
            notes.append(
                f"the file has {size_text(shape)}: the compiler is told planar sizes"
            )
            shape, signature = (_channels_first(s) for s in (shape, signature))
            layout = "planar (NCHW)"
        if layout and math.prod(shape):
            dtype = soc.input_dtype.value
            row = cvflow.row_pitch(shape[3], multiple=soc.row_pitch.value)
            nbytes = math.prod(shape[:3]) * row
            stride = np.dtype(dtype).itemsize
            notes.append(
                "what a pixel stands for is set in the compiler, by `idf` and `ic`"
            )
        else:
            notes.append("no image: ask larodGetTensorPitches how it lies in memory")
    elif soc.output and soc.output_stride:
        dtype = soc.output.value.split(",")[0]
        stride = soc.output_stride.value
        nbytes = math.prod(shape) * stride if shape else None
    else:
        notes.append(
            f"no source tells how {soc.name} gives it: ask larodGetTensorDataType and "
            "larodGetTensorPitches"
        )
    return End(
        **common,
        shape=shape,
        shape_signature=signature,
        dtype=dtype,
        bytes=nbytes,
        scale=None,
        zero_point=None,
        layout=layout,
        row_pitch=row,
        stride=stride,
        notes=tuple(notes),
    )


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    batch, height, width, channels = shape
    return batch, channels, height, width


def _place(
    labels: tuple[str, ...], outputs: tuple[End, ...]
) -> tuple[int | None, list[str]]:
    """Find the output that labels belong to, by the number of its last dimension."""
    if not labels:
        return None, []
    sizes = [end.shape_signature[-1] if end.shape_signature else -1 for end in outputs]
    fitting = [number for number, size in enumerate(sizes) if size == len(labels)]
    if len(fitting) == 1:
        return fitting[0], []
    if fitting:
        return None, [
            f"{len(labels)} labels fit outputs {', '.join(map(str, fitting))}: which "
            "one they name is not in the file"
        ]
    if len(outputs) == 1 and sizes[0] > 0:
        end = outputs[0]
        if math.prod(end.shape) == sizes[0]:
            hint = (
                "; models with one value more often begin with a background class: "
                "add its line"
                if sizes[0] == len(labels) + 1
                else ""
            )
            raise UnusableInput(
                f"{len(labels)} labels, but the last dimension of output 0 is "
                f"{sizes[0]}: expected one label for each{hint}"
            )
    return None, [
        f"{len(labels)} labels, but no output has that last dimension: which values "
        "they name is not checked"
    ]


def _warnings(model: Model, soc: Soc, inputs: tuple[End, ...]) -> Iterator[str]:
    """Tell what will go wrong with this file on this chip."""
    if model.is_edge_tpu_compiled and soc.id != "artpec7":
        yield (
            f"compiled for the Edge TPU: {soc.name} has none; take the file as it was "
            "before edgetpu_compiler"
        )
    wanted = soc.layout.value.removeprefix("RGB ")
    for end in inputs:
        gray = end.layout and end.shape[_channel_axis(end)] == 1
        if end.layout and not gray and not end.layout.startswith(wanted):
            yield (
                f"input {end.index} is {end.layout}, and {soc.name} wants "
                f"{soc.layout.value}: see `dlpu lint`"
            )
    claim = RULES["output-order"].claims.get(soc.id)
    if claim:
        for found in ends.output_order(Case(model=model, soc=soc), claim.fact):
            yield f"the outputs' names count in another order: {found.what}"
    if model.format == "tflite" and soc.cnngen_tflite:
        yield (
            f"a .tflite file needs CNNGen {soc.cnngen_tflite.value} or older: prefer "
            f"the .onnx of `dlpu convert --soc {soc.id}`"
        )


def _channel_axis(end: End) -> int:
    return 3 if end.layout.startswith("interleaved") else 1


def _end_dict(end: End) -> dict[str, Any]:
    told = asdict(end)
    del told["kind"]
    return {
        **told,
        "dynamic": -1 in end.shape_signature,
        "formula": end.formula,
        "limits": [{"q": q, "real": real} for q, real in end.limits],
    }


def _fact_dict(fact: Fact) -> dict[str, Any]:
    source = {key: getattr(fact.source, key) for key in ("title", "url", "date")}
    return {
        "value": fact.value,
        "confidence": fact.confidence,
        "note": fact.note,
        "source": {**source, "read": fact.source.read},
        "others": [_fact_dict(other) for other in fact.others],
    }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def short(name: str) -> str:
    """Cut a name that is too long for a line."""
    return name if len(name) <= 70 else f"{name[:67]}..."


def number(value: float) -> str:
    """Return digits that give the same float32 again."""
    return f"{value:.9g}"


def size_text(shape: tuple[int, ...]) -> str:
    """Return "1x96x96x3"."""
    return "x".join(map(str, shape)) or "scalar"


# Text


def _lines(contract: Contract) -> Iterator[str]:
    yield f"{contract.file} on {contract.soc.name}"
    yield ""
    sources: list[Any] = []
    label = None
    for name, text, facts in _entries(contract):
        cited = []
        for fact in facts:
            if fact.source not in sources:
                sources.append(fact.source)
            number = sources.index(fact.source) + 1
            cited.append(f"[{number}, {fact.confidence}]")
        shown = "" if name == label else name
        yield " ".join([f"{shown:<10} {text}", *cited]).rstrip()
        label = name
    yield ""
    for number, source in enumerate(sources, start=1):
        yield f"[{number}] {source.title}, {source.date}, read {source.read}"
        yield f"    {source.url}"


def _entries(contract: Contract) -> Iterator[tuple[str, str, tuple[Fact, ...]]]:
    """Yield label, text, and the facts that the text rests on."""
    soc, facts = contract.soc, contract.facts
    for warning in contract.warnings:
        yield "warning", warning, ()
    yield "deploy", contract.deployed_file, (facts["model_file"],)
    yield "compile", soc.compile_step.value, (facts["compile_step"],)
    for command in contract.commands:
        yield "compile", f"not compiled yet: {command}", ()
    if soc.takes_onnx:
        yield "compile", f"`dlpu convert --soc {soc.id}` prints its command lines", ()
    yield "device", soc.device, (facts["devices"],)
    yield "try it", contract.larod_client, ()
    for end in (*contract.inputs, *contract.outputs):
        for text, facts_of in _end_texts(end, soc):
            yield f"{end.kind} {end.index}", text, facts_of
    if len(contract.outputs) > 1:
        yield "order", "the outputs' numbers are those of the file", ()
    if contract.labels:
        yield from _label_texts(contract)


def _end_texts(end: End, soc: Soc) -> Iterator[tuple[str, tuple[Fact, ...]]]:
    alias = end.signature_name
    also = f" (signature: {short(alias)})" if alias and alias != end.name else ""
    yield f"{short(end.name)}{also}", ()
    known = f"{end.bytes} bytes" if end.bytes is not None else "bytes not known"
    yield f"{end.dtype} {size_text(end.shape_signature)}, {known}", ()
    compiled = soc.takes_onnx
    if end.layout:
        channels = end.shape[_channel_axis(end)]
        colours = "RGB " if channels == 3 else ""
        right = end.layout.startswith(soc.layout.value.removeprefix("RGB "))
        cited = [soc.layout] if right and channels == 3 else []
        if compiled and soc.input_dtype.source != soc.layout.source:
            cited.append(soc.input_dtype)
        yield f"{colours}{end.layout}", tuple(cited)
    if end.row_pitch is not None:
        yield _row_text(end, soc), (soc.row_pitch,) if soc.row_pitch else ()
    if end.formula:
        yield end.formula, ()
    if end.limits:
        (low, first), (high, last) = end.limits
        yield f"{low} stands for {first:.6g}, {high} for {last:.6g}", ()
    elif end.dtype == "float32" and not compiled:
        yield "no scale: a value is the real number", ()
    if compiled and end.kind == "output" and soc.output:
        for number, claim in enumerate((soc.output, *soc.output.others)):
            yield f"{'or: ' if number else ''}{claim.value}", (claim,)
        if end.bytes is not None:
            dense = math.prod(end.shape) * np.dtype(end.dtype).itemsize
            what = f"{end.bytes} or {dense} bytes"
            yield f"sources disagree, {what}: ask larodGetTensorPitches", ()
    for note in end.notes:
        yield note, ()


def _row_text(end: End, soc: Soc) -> str:
    interleaved = end.layout.startswith("interleaved")
    width = end.shape[2 if interleaved else 3]
    channels = end.shape[3] if interleaved else 1
    used = width * channels * end.stride
    padding = end.row_pitch - used
    each = f"{width} pixels of {channels * end.stride} byte"
    each += "s" if channels * end.stride != 1 else ""
    more = f"{padding} bytes of padding" if padding else "no padding"
    return f"row pitch {end.row_pitch} bytes: {each}, {more}"


def _label_texts(contract: Contract) -> Iterator[tuple[str, str, tuple[Fact, ...]]]:
    labels = [f"{n} {short(label)}" for n, label in enumerate(contract.labels)]
    shown = labels if len(labels) <= 5 else [*labels[:3], "...", labels[-1]]
    place = contract.labels_output
    whose = f" of output {place}" if place is not None else ""
    yield "labels", f"{len(labels)}{whose}: {', '.join(shown)}", ()


# C
