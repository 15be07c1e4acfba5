"""The contract of a deployed file: what the camera application sends and gets back.

A file is parsed and never run. What a chip adds, such as padded rows, stands in
socs.toml with its source.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib.dlpu import cvflow, edgetpu
from course_lib.dlpu.rules import RULES, ends
from course_lib.dlpu.rules.case import Case
from course_lib.dlpu.socs import Fact, Soc, find, larod_client
from course_lib.errors import UnusableInput
from course_lib.tflite import reading
from course_lib.tflite.reading import Model, Tensor

import numpy as np

_FACTS = (
    *("model_file", "compile_step", "devices", "input_dtype", "layout", "row_pitch"),
    *("output", "output_stride"),
)
_MOST_LABELS = 10 * 2**20  # bytes of a file of labels
_LONGEST_LABEL = 500  # C promises string literals of 4095 bytes; UTF-8 has up to 4 each
# Types whose difference from a zero point fits an int64_t without a thought.
_QUANTIZED = ("int8", "uint8", "int16", "uint16", "int32")


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
        return f"real = (q - {zero}) * {_number(self.scale)}"

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
    is_onnx = Path(file).suffix.lower() == ".onnx"
    _expect_format("onnx" if is_onnx else "tflite", soc, str(file))
    if is_onnx:
        from course_lib.dlpu import onnx_file

        return onnx_file.read(file)
    return reading.read(file)


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
    if _has_own_compiler(soc):
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
    return "\n".join(_c_lines(contract))


def _has_own_compiler(soc: Soc) -> bool:
    """Return whether the camera gets a .bin instead of the file."""
    return ".onnx" in soc.model_file.value


def _expect_format(form: str, soc: Soc, file: str) -> None:
    if form == "onnx" and not _has_own_compiler(soc):
        raise UnusableInput(
            f"{file}: {soc.name} takes .tflite files: convert the model first"
        )
    if form == "tflite" and _has_own_compiler(soc) and not soc.cnngen_tflite:
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
    build = _compiled if _has_own_compiler(soc) else _plain
    return build(common, shape, tensor, soc, notes)


def _plain(
    common: dict[str, Any], shape: tuple, tensor: Tensor, soc: Soc, notes: list[str]
) -> End:
    """Describe an end of a file that the camera loads as it is."""
    one = len(tensor.scales) == 1
    is_input = common["kind"] == "input"
    layout = tensor.layout if is_input else None
    if one and tensor.dtype in (*_QUANTIZED, "int64"):
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
                f"the file has {_size(shape)}: the compiler is told planar sizes"
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


def _short(name: str) -> str:
    return name if len(name) <= 70 else f"{name[:67]}..."


def _number(value: float) -> str:
    """Return digits that give the same float32 again."""
    return f"{value:.9g}"


def _size(shape: tuple[int, ...]) -> str:
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
    if _has_own_compiler(soc):
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
    also = f" (signature: {_short(alias)})" if alias and alias != end.name else ""
    yield f"{_short(end.name)}{also}", ()
    known = f"{end.bytes} bytes" if end.bytes is not None else "bytes not known"
    yield f"{end.dtype} {_size(end.shape_signature)}, {known}", ()
    compiled = _has_own_compiler(soc)
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
    labels = [f"{n} {_short(label)}" for n, label in enumerate(contract.labels)]
    shown = labels if len(labels) <= 5 else [*labels[:3], "...", labels[-1]]
    place = contract.labels_output
    whose = f" of output {place}" if place is not None else ""
    yield "labels", f"{len(labels)}{whose}: {', '.join(shown)}", ()


# C


def _c_lines(contract: Contract) -> Iterator[str]:
    prefix = _identifier(Path(contract.file).stem) or "model"
    prefix = prefix if prefix[0].isalpha() else f"model_{prefix}"
    upper = prefix.upper()
    every = (*contract.inputs, *contract.outputs)
    name = Path(contract.file).name
    yield f"/* {_comment(name)} on {contract.soc.name}. Written by `dlpu card`. */"
    yield f"#ifndef {upper}_CARD_H"
    yield f"#define {upper}_CARD_H"
    yield ""
    yield "#include <stddef.h>"
    yield "#include <stdint.h>"
    if any(_is_padded(end) for end in every):
        yield "#include <string.h>"
    yield ""
    for warning in contract.warnings:
        yield f"/* WARNING: {_comment(warning)} */"
    for command in contract.commands:
        yield f"/* First compile it: {_comment(command)} */"
    yield f"/* On a camera: {_comment(contract.larod_client)} */"
    yield f"#define {upper}_FILE {_string(contract.deployed_file)}"
    yield f"#define {upper}_DEVICE {_string(contract.soc.device)}"
    yield f"#define {upper}_INPUTS {len(contract.inputs)}"
    yield f"#define {upper}_OUTPUTS {len(contract.outputs)}"
    taken: set[str] = set()
    for ends_ in (contract.inputs, contract.outputs):
        if len(ends_) > 1:
            yield ""
            yield f"/* Place of each {ends_[0].kind} in the file, by its name. */"
            for end in ends_:
                yield f"#define {_index_name(end, upper, taken)} {end.index}"
    for end in every:
        yield ""
        yield from _c_end(end, prefix, contract.soc)
    if contract.labels:
        yield ""
        place = contract.labels_output
        yield f"/* Labels{f' of output {place}' if place is not None else ''}. */"
        yield f"#define {upper}_LABELS {len(contract.labels)}"
        yield f"static const char *const {prefix}_labels[{upper}_LABELS] = {{"
        for number, label in enumerate(contract.labels):
            yield f"    {_string(label)}, /* {number} */"
        yield "};"
    yield ""
    yield f"/* Facts about {contract.soc.name}:"
    for source in dict.fromkeys(fact.source for fact in contract.facts.values()):
        yield f"   {_comment(source.title)}, {source.date}, read {source.read}"
    yield "*/"
    yield f"#endif /* {upper}_CARD_H */"


def _c_end(end: End, prefix: str, soc: Soc) -> Iterator[str]:
    start = f"{prefix.upper()}_{end.kind.upper()}_{end.index}"
    layout = f", {end.layout}" if end.layout else ""
    yield f"/* {end.kind} {end.index}: {_comment(_short(end.name))}"
    kind = f"   {end.dtype} {_size(end.shape_signature)}{layout}."
    told = [_comment(note) for note in end.notes]
    if end.formula:
        told.insert(0, end.formula.replace("*", "x"))
    if not told:
        yield f"{kind} */"
    else:
        yield kind
        for note in told[:-1]:
            yield f"   {note}."
        yield f"   {told[-1]}. */"
    yield f"#define {start}_RANK {len(end.shape)}"
    for axis, size in enumerate(end.shape):
        yield f"#define {start}_DIM_{axis} {size}"
    yield f"#define {start}_VALUES {math.prod(end.shape)}"
    if end.layout:
        planar = end.layout.startswith("planar")
        names = ("HEIGHT", "WIDTH")
        names = ("CHANNELS", *names) if planar else (*names, "CHANNELS")
        for name, size in zip(names, end.shape[1:], strict=True):
            yield f"#define {start}_{name} {size}"
    if end.row_pitch is not None:
        yield f"#define {start}_ROW_PITCH {end.row_pitch}"
    if _is_padded(end):
        others = "; or: ".join(_comment(claim.value) for claim in soc.output.others)
        yield f"/* Bytes from value to value: {_comment(soc.output.value)};"
        yield f"   or: {others}. Ask larodGetTensorPitches; define another if so. */"
        yield f"#ifndef {start}_STRIDE"
        yield f"#define {start}_STRIDE {end.stride}"
        yield "#endif"
        yield f"#define {start}_BYTES ({start}_VALUES * {start}_STRIDE)"
        yield f"static inline float {start.lower()}_real(const void *data, size_t i)"
        yield "{"
        yield "    float real;"
        yield f"    const char *place = (const char *)data + i * {start}_STRIDE;"
        yield "    memcpy(&real, place, sizeof real);"
        yield "    return real;"
        yield "}"
    elif end.bytes is not None:
        yield f"#define {start}_BYTES {end.bytes}"
    if end.scale is not None:
        yield f"#define {start}_SCALE {_literal(end.scale)}"
        yield f"#define {start}_ZERO_POINT {_parenthesized(end.zero_point)}"
    if end.scale is not None and end.dtype in _QUANTIZED:
        yield f"static inline float {start.lower()}_real({end.dtype}_t q)"
        yield "{"
        yield f"    return (float)((int64_t)q - {start}_ZERO_POINT)"
        yield f"           * {start}_SCALE;"
        yield "}"


def _is_padded(end: End) -> bool:
    """Return whether values stand further apart than they are long."""
    known = end.stride is not None and end.bytes is not None
    return known and end.dtype == "float32" and end.stride > 4


def _index_name(end: End, upper: str, taken: set[str]) -> str:
    """Return a name that no other end has; what C cannot spell becomes "_"."""
    word = _identifier(end.signature_name or end.name).upper() or "UNNAMED"
    name = base = f"{upper}_{end.kind.upper()}_INDEX_{word}"
    number = 2
    while name in taken:
        name = f"{base}_{number}"
        number += 1
    taken.add(name)
    return name


def _identifier(text: str) -> str:
    """Return letters, digits and single underscores, none at the ends."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower())[:48].strip("_")


def _comment(text: str) -> str:
    """Return text that can neither end a comment nor continue a line."""
    return re.sub(r"[^A-Za-z0-9 _.,:;=+()<>'`\[\]/#-]", "_", text)


def _string(text: str) -> str:
    """Return a C string of ASCII characters; the rest is octal, as are trigraphs."""
    plain = set(range(32, 127)) - set(b'"\\?')
    content = text.encode("utf-8", "surrogateescape")
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in content) + '"'


def _literal(value: float) -> str:
    """Return a C literal that gives the same float32 again."""
    text = _number(value)
    text += "" if set(text) & set(".e") else ".0"
    return _parenthesized(f"{text}f")


def _parenthesized(value: Any) -> str:
    return f"({value})" if str(value).startswith("-") else str(value)
