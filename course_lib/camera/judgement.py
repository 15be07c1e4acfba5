"""The judgement of what came back in a kit from a camera.

Every dump is compared with the computer's output, and the DLPU's with the camera's own
CPU's: where both devices are wrong in the same way, the input or the file is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from course_lib.camera.fidelity import (
    COMPUTER,
    FINDINGS,
    VERDICTS,
    Difference,
    compare,
    published,
)
from course_lib.camera.kit import (
    CPU,
    EXPOSED,
    MODEL,
    MOST_BYTES,
    PICTURES,
    Kit,
    Output,
    Run,
    expected_name,
)
from course_lib.dlpu import contract, socs
from course_lib.errors import UnusableInput

import numpy as np


@dataclass(frozen=True)
class Result:
    """One output of one run, judged over all samples that came back.

    Attributes:
        run: Which file on which device.
        against: "computer", or the larod device of the same camera.
        kernels: The computer's kernels that are nearest; "" against a device.
        index: Of the output.
        output: The output.
        samples: How many were compared.
        difference: How far it is, with the verdict.

    Introduced in notebook 13.
    """

    run: Run
    against: str
    kernels: str
    index: int
    output: Output
    samples: int
    difference: Difference


@dataclass(frozen=True)
class Judgement:
    """What the dumps of a camera tell.

    Attributes:
        kit: The kit.
        results: All comparisons, in the order of the script and of the graph.
        problems: Dumps that are missing or of the wrong size, one line each.
        findings: What is not as it should be, one line each.
        remarks: What else to know, one line each.

    Introduced in notebook 13.
    """

    kit: Kit
    results: tuple[Result, ...]
    problems: tuple[str, ...]
    findings: tuple[str, ...]
    remarks: tuple[str, ...]


def judge(kit: Kit) -> Judgement:
    """Compare the dumps in a kit with the expected outputs.

    Each device is compared with the computer, and the DLPU with the camera's own CPU.
    Of the computer's two kinds of kernels the nearer one counts: both are LiteRT, and
    a camera's CPU may run either.

    Args:
        kit: From `read`, with the dumps of its script in `out`.

    Returns:
        The judgement. A dump that is missing or has another size is a problem, and the
        rest is judged.

    Raises:
        UnusableInput: When no dump is there at all.

    Introduced in notebook 13.
    """
    problems: list[str] = []
    dumps = {run: _dumps(kit, run, problems) for run in kit.runs}
    if not any(found for of in dumps.values() for found in of):
        raise UnusableInput(
            f"{kit.folder / 'out'}: no output of a camera: run run.sh on the camera "
            "and copy the folder out back; see README.md in the kit"
        )
    results = []
    for run, of in dumps.items():
        results += _against_computer(kit, run, of)
        if run.device != CPU:
            for other, theirs in dumps.items():
                if (other.device, other.variant) == (CPU, run.variant):
                    results += _against_cpu(kit, run, of, theirs)
    return Judgement(
        kit=kit,
        results=tuple(results),
        problems=tuple(problems),
        findings=tuple(_findings(results)),
        remarks=tuple(_remarks(kit, results)),
    )


def _dumps(kit: Kit, run: Run, problems: list[str]) -> list[dict[int, np.ndarray]]:
    """Read, for each output of a run, the samples that came back whole."""
    outputs = kit.outputs[run.variant]
    found: list[dict[int, np.ndarray]] = [{} for _ in outputs]
    missing, wrong = [], []
    for number in range(kit.count):
        for index, output in enumerate(outputs):
            name = f"{run.folder}/{number:03}.{index}.bin"
            try:
                size = (kit.folder / name).stat().st_size
                if not size:
                    missing.append(name)
                    continue
                stride = _stride(output, size)
                if not stride:
                    wrong.append(f"{name}: {_size_text(outputs, index, size)}")
                    continue
                block = (kit.folder / name).read_bytes()
            except OSError:
                missing.append(name)
                continue
            values = np.frombuffer(block, np.uint8).reshape(output.size, stride)
            dtype = np.dtype(output.dtype).newbyteorder("<")
            values = values[:, : dtype.itemsize].copy().view(dtype)
            found[index][number] = values.astype(output.dtype).reshape(output.shape)
    count = kit.count * len(outputs)
    if len(missing) == count:
        problems.append(
            f"{run.title}: none of {count} dumps: the device did not run {run.file}, "
            "or out was not copied back; what larod-client printed says why"
        )
    elif missing:
        problems.append(
            f"{run.title}: {len(missing)} of {count} dumps missing or empty, the first "
            f"{missing[0]}: run run.sh again"
        )
    if wrong:
        more = f" ({len(wrong)} of {count} such dumps)" if len(wrong) > 1 else ""
        problems.append(f"{wrong[0]}{more}")
    return found


def _stride(output: Output, size: int) -> int:
    """Return the bytes from value to value of a dump; 0 when its size is wrong."""
    stride, rest = divmod(size, output.size)
    itemsize = np.dtype(output.dtype).itemsize
    allowed = stride in output.strides if output.strides else not stride % itemsize
    return stride if not rest and stride and allowed and size <= MOST_BYTES else 0


def _size_text(outputs: Sequence[Output], index: int, size: int) -> str:
    output = outputs[index]
    strides = output.strides or (np.dtype(output.dtype).itemsize,)
    wanted = " or ".join(f"{output.size * stride:,}" for stride in strides)
    others = [n for n, other in enumerate(outputs) if _stride(other, size)]
    hint = "it is cut off" if size < output.size * min(strides) else "it is too long"
    if others:
        hint = f"that is the size of output {others[0]}: are outputs swapped?"
    return f"has {size:,} bytes, expected {wanted}: {hint}"


def _stacked(of: Mapping[int, np.ndarray], numbers: Sequence[int]) -> np.ndarray:
    """Return samples [N, ...] without the batch axis of the file."""
    values = np.stack([of[number] for number in numbers])
    return values[:, 0] if values.ndim > 2 and values.shape[1] == 1 else values


def _expected(
    kit: Kit, variant: str, index: int, numbers: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return the expected samples by the kernels that made them."""
    output = kit.outputs[variant][index]
    dtype = np.dtype(output.dtype).newbyteorder("<")
    found = {}
    for kernels in kit.kernels:
        of = {}
        for number in numbers:
            name = expected_name(kernels, variant, number, index)
            values = np.frombuffer((kit.folder / name).read_bytes(), dtype)
            of[number] = values.astype(output.dtype).reshape(output.shape)
        found[kernels] = _stacked(of, numbers)
    return found


def _against_computer(
    kit: Kit, run: Run, of: list[dict[int, np.ndarray]]
) -> Iterator[Result]:
    measured = published(kit.soc, device=run.device)
    for index, output in enumerate(kit.outputs[run.variant]):
        numbers = sorted(of[index])
        if not numbers:
            continue
        got = _stacked(of[index], numbers)
        kernels, difference = min(
            (
                (kernels, compare(values, got, published=measured))
                for kernels, values in _expected(
                    kit, run.variant, index, numbers
                ).items()
            ),
            key=lambda pair: _distance(pair[1]),
        )
        if difference.verdict == "wrong" and not difference.note:
            note = _swapped(kit, run, index, numbers, got)
            difference = replace(difference, note=note)
        yield Result(run, COMPUTER, kernels, index, output, len(numbers), difference)


def _distance(difference: Difference) -> tuple[float, float]:
    mean = math.inf if difference.mean is None else difference.mean
    return mean, -difference.identical


def _swapped(
    kit: Kit, run: Run, index: int, numbers: Sequence[int], got: np.ndarray
) -> str:
    """Tell whether a wrong output is another one of the same form."""
    outputs = kit.outputs[run.variant]
    for other, output in enumerate(outputs):
        if other == index or (output.dtype, output.size) != (
            outputs[index].dtype,
            outputs[index].size,
        ):
            continue
        for values in _expected(kit, run.variant, other, numbers).values():
            if compare(values.reshape(got.shape), got).verdict != "wrong":
                return f"it is output {other}: the order of the outputs is another"
    return ""


def _against_cpu(
    kit: Kit,
    run: Run,
    of: list[dict[int, np.ndarray]],
    cpu: list[dict[int, np.ndarray]],
) -> Iterator[Result]:
    measured = published(kit.soc, device=run.device, against=CPU)
    for index, output in enumerate(kit.outputs[run.variant]):
        numbers = sorted(of[index].keys() & cpu[index].keys())
        if numbers:
            difference = compare(
                *(_stacked(dumps[index], numbers) for dumps in (cpu, of)),
                published=measured,
            )
            yield Result(run, CPU, "", index, output, len(numbers), difference)


def _in_graph_order(result: Result) -> float:
    operator = result.output.operator
    return math.inf if operator is None else operator


def _findings(results: Sequence[Result]) -> Iterator[str]:
    """Tell the first tensor of each comparison that is not as it should be."""
    groups: dict[tuple[Run, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.run, result.against), []).append(result)
    for (run, against), of in groups.items():
        bad = [entry for entry in of if entry.difference.verdict in FINDINGS]
        if not bad:
            continue
        first = min(bad, key=_in_graph_order)
        what = f"output {first.index}, {contract.short(first.output.name)}"
        if len(of) > 1:
            where = f" (operator {first.output.operator}, {first.output.kind})"
            what = (
                f"{len(bad)} of {len(of)} tensors, the first in the graph {what}"
                f"{where if first.output.operator is not None else ''}"
            )
        note = f"; {first.difference.note}" if first.difference.note else ""
        verdict = VERDICTS[first.difference.verdict]
        yield f"{run.title}, against {against}: {verdict}: {what}{note}"


def _strides(kit: Kit) -> Iterator[str]:
    """Tell how far apart the camera put the values of each output."""
    for run in kit.runs:
        for index, output in enumerate(kit.outputs[run.variant]):
            for path in sorted((kit.folder / run.folder).glob(f"*.{index}.bin")):
                size = path.stat().st_size
                stride = _stride(output, size)
                if stride:
                    padded = stride > np.dtype(output.dtype).itemsize
                    yield (
                        f"output {index} has {size:,} bytes, one value every {stride}: "
                        f"{'padded' if padded else 'no padding'}"
                    )
                    break


def _remarks(kit: Kit, results: Sequence[Result]) -> Iterator[str]:
    yield (
        "the dumps do not tell what made them: those of a virtual camera are a "
        "SIMULATION and prove nothing about a chip"
    )
    measured = list(
        dict.fromkeys(
            entry.difference.published
            for entry in results
            if entry.difference.published is not None
        )
    )
    for entry in measured:
        yield (
            f"judged by {entry.device} against {entry.against}: "
            f"{entry.identical:.2%} identical, mean {entry.mean:g}, largest "
            f"{entry.largest} steps; {entry.model}; {entry.source.title}, "
            f"{entry.source.date} ({entry.confidence})"
        )
    if measured:
        yield "that is one model on one camera: close to it does not mean right"
    if kit.soc.takes_onnx:  # whose sources disagree
        yield from _strides(kit)
    wrong = {
        entry.run.device for entry in results if entry.difference.verdict == "wrong"
    }
    for entry in socs.FIDELITY:
        if (entry.soc, entry.mean) == (kit.soc.id, None) and entry.device in wrong:
            yield (
                f"known of {entry.device}, with {entry.model}: {entry.note}; "
                f"{entry.source.title}, {entry.source.date} ({entry.confidence})"
            )
    unknown = dict.fromkeys(
        f"{entry.run.device} against {entry.against}"
        for entry in results
        if entry.difference.verdict == "not judged"
    )
    for pair in unknown:
        yield f"not judged: no measurement of {pair} has been published for this output"
    if kit.source != PICTURES:
        yield (
            "the input is random: it shows wrong arithmetic, and hides a wrong layout "
            "or order of colours; make a kit with --images for these"
        )
    for device in {run.device: None for run in kit.runs}:
        plain, more = (
            [
                entry.difference.verdict in FINDINGS
                for entry in results
                if (entry.run.device, entry.run.variant) == (device, variant)
                and entry.against == COMPUTER
                and not entry.output.exposed
            ]
            for variant in (MODEL, EXPOSED)
        )
        if any(plain) and more and not any(more):
            yield (
                f"{device}: right with exposed tensors, and not without: compare with "
                "acap-native-sdk-examples issue 508; the exposed file is its way around"
            )
