"""What `dlpu convert` makes for each chip, and what it reports of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from course_lib.cli.inspect import contract
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput

import numpy as np

# Below this agreement on the judging images, a repair is called insufficient.
_ENOUGH = 0.8


@dataclass(frozen=True)
class Order:
    """What to make: what was asked for, and where that is silent, what the chip wants.

    Attributes:
        soc: None when only a granularity was asked for.
        kind: "full-integer", "float" or "planar ONNX".
        granularity: Of a full-integer file.
        io: Type of its input and output.
        warnings: Where the wish is not what the chip wants.
    """

    soc: socs.Soc | None
    kind: str
    granularity: str | None = None
    io: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """Of the file to write."""
        return ".onnx" if self.kind == "planar ONNX" else ".tflite"

    @property
    def needs_images(self) -> bool:
        """Whether calibration images are needed."""
        return self.kind != "float"


def order(
    soc: socs.Soc | None, *, granularity: str | None, io: str | None, in_float: bool
) -> Order:
    """Return what to make; UnusableInput when the wishes exclude each other."""
    if soc is None and granularity is None:
        raise UnusableInput("expected --soc, such as --soc artpec8, or --granularity")
    if in_float:
        if soc is None or soc.id != "cpu" or granularity or io:
            raise UnusableInput(
                "--float: expected with --soc cpu, without --granularity and --io"
            )
        return Order(soc, "float")
    if soc is not None and soc.layout.value == "RGB planar":
        if granularity or io:
            raise UnusableInput(
                f"--granularity and --io do not go with {soc.name}: its compiler "
                "quantizes; leave them out"
            )
        return Order(soc, "planar ONNX")
    own = soc.granularity.value if soc else granularity
    own = "per-channel" if own == "none" else own
    warnings = []
    if soc and soc.id == "artpec8" and granularity == "per-channel":
        fact = soc.granularity
        warnings.append(f"{soc.name} wants {own}: {fact.note} ({fact.source.title})")
    return Order(
        soc, "full-integer", granularity or own, io or "uint8", tuple(warnings)
    )


def make(
    ordered: Order,
    output: Path,
    fixed: Any,
    images: Sequence[np.ndarray],
    *,
    mean: float,
    std: float,
    mend: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Make the files of an order and report on them; see the help of `dlpu convert`.

    Args:
        ordered: What to make.
        output: The file to write; others get names made from it.
        fixed: What `conversion.fix_batch` returned.
        images: Calibration images, uint8 [height, width, channels].
        mean: Subtracted from the images before they enter.
        std: Then they are divided by it.
        mend: `repair.repair` with all but granularity and io; None converts as it is.
    """
    report = {
        "file": str(output),
        "size": 0,
        "granularity": ordered.granularity,
        "images": len(images),
        "warnings": list(ordered.warnings),
        "soc": None,
        "also": [],
        "commands": [],
        "edge_tpu": None,
        "repair": None,
    }
    if ordered.soc:
        report["soc"] = _chip(ordered.soc, output)
    if ordered.kind == "planar ONNX":
        _planar(report, ordered.soc, output, fixed, images)
    elif ordered.kind == "float":
        _tflite(report, output, _convert_float(fixed))
    else:
        dataset = _dataset(report, images, mean=mean, std=std)
        _full_integer(report, ordered, output, fixed, dataset, mend)
    return report


def _chip(soc: socs.Soc, output: Path) -> dict[str, Any]:
    """Collect what an application developer must know of the chip."""
    ending = {
        "artpec7": "_edgetpu.tflite",  # as edgetpu_compiler names it
        "cv25": "_cv25.bin",
        "cv75": "_cv75.bin",
    }.get(soc.id, output.suffix)
    source = soc.granularity.source
    return {
        "id": soc.id,
        "name": soc.name,
        "wants": soc.granularity.value,
        "source": f"{source.title}, {source.date}",
        "device": soc.device,
        "larod_client": socs.larod_client(soc, f"{output.stem}{ending}"),
    }


def _full_integer(
    report: dict[str, Any],
    ordered: Order,
    output: Path,
    fixed: Any,
    dataset: Any,
    mend: Callable[..., Any] | None,
) -> None:
    from course_lib.quantization import conversion

    wanted = {"granularity": ordered.granularity, "io": ordered.io}
    if mend is None:
        content = conversion.convert_full_integer(fixed, dataset, **wanted)
    else:
        repaired = mend(**wanted)
        content, report["repair"] = repaired.content, _repair(repaired)
        report["warnings"] += _doubts(repaired)
    _tflite(report, output, content)
    if ordered.soc and ordered.soc.id == "artpec7":
        _compile(report, output)


def _doubts(repaired: Any) -> Iterator[str]:
    """Tell where a repair proves nothing, or is not enough."""
    best = [tried for tried in repaired.attempts if tried.kept][-1]
    if repaired.classes == 1:
        yield (
            "the float model names one class for all judging images: mend the model, "
            "or give images of more classes"
        )
    elif best.agreement is not None and best.agreement < _ENOUGH:
        yield (
            f"the best file answers only {best.agreement:.2f} of the judging images "
            "as the float model does: `dlpu compare` looks for the cause; try "
            "--thorough, more images, or training (lesson 05)"
        )


def _repair(repaired: Any) -> dict[str, Any]:
    """Tell what was tried and what helped."""
    return {
        "judges": repaired.judges,
        "attempts": [
            {
                "cure": attempt.cure,
                "error": round(attempt.error, 4) if isfinite(attempt.error) else None,
                "agreement": attempt.agreement,
                "changed": [asdict(change) for change in attempt.changes],
                "seconds": round(attempt.seconds, 1),
                "kept": attempt.kept,
                "why": attempt.why,
            }
            for attempt in repaired.attempts
        ],
    }


def _dataset(
    report: dict[str, Any], images: Sequence[np.ndarray], *, mean: float, std: float
) -> Any:
    """Return the representative dataset, and report what looks wrong with it."""
    from course_lib.quantization import calibration

    dataset = calibration.representative_dataset(images, mean=mean, std=std)
    findings = calibration.check(
        dataset, expected_range=calibration.input_range(mean=mean, std=std)
    )
    report["warnings"] += [finding.message for finding in findings]
    return dataset


def _tflite(report: dict[str, Any], output: Path, content: bytes) -> None:
    """Write a .tflite file and report its contract."""
    from course_lib.files import write
    from course_lib.tflite import reading

    made = reading.parse(content)
    write(output, content)
    report["size"] = len(content)
    report["kind"] = made.quantization
    report["weights"] = made.weight_counts
    report["input"] = contract(made.inputs[0])
    report["output"] = [contract(tensor) for tensor in made.outputs]


def _convert_float(fixed: Any) -> bytes:
    from course_lib.quantization import conversion

    return conversion.convert_float(fixed)


def _planar(
    report: dict[str, Any],
    soc: socs.Soc,
    output: Path,
    fixed: Any,
    images: Sequence[np.ndarray],
) -> None:
    """Write what goes into Ambarella's compiler, and tell its commands."""
    from course_lib.dlpu import cvflow
    from course_lib.files import write
    from course_lib.quantization import conversion

    depth = fixed.input_shape[3]
    if depth != 3:
        raise UnusableInput(
            f"the model takes images of {depth} channel{'s'[: depth > 1]}: expected 3 "
            f"for {soc.name}, whose calibration images are RGB planar"
        )
    _dataset(report, images, mean=0.0, std=1.0)
    opset = soc.onnx_opset.value
    content = conversion.convert_planar_onnx(fixed, opset=opset)
    older = _convert_float(fixed) if soc.cnngen_tflite else None
    (entry, *_), outputs = conversion.onnx_contract(content)
    folder = output.with_name(f"{output.stem}_calibration")
    lines = cvflow.commands(
        soc=soc.id,
        name=output.stem,
        shape=fixed.input_shape[1:3],
        input_name=entry["name"],
        output_names=[told["name"] for told in outputs],
        folder=folder.name,
    )
    listed = cvflow.write_calibration(folder, np.stack(images))
    report["also"].append(
        f"{folder / listed.name}: {len(images)} planar calibration images"
    )
    if older is not None:
        beside = output.with_name(f"{output.stem}_float.tflite")
        write(beside, older)
        last = soc.cnngen_tflite.value
        report["also"].append(f"{beside}: the same in .tflite, for CNNGen up to {last}")
    write(output, content)
    report["size"] = len(content)
    report["kind"] = f"float ONNX, opset {opset}"
    report["weights"] = {}
    report["input"], report["output"] = entry, outputs
    report["commands"] = lines
    pitch = cvflow.row_pitch(entry["shape"][3], multiple=soc.row_pitch.value)
    if pitch != entry["shape"][3]:
        report["warnings"].append(
            f"rows of {entry['shape'][3]} bytes: {soc.name} wants multiples of "
            f"{soc.row_pitch.value}; the camera's pixels need rows padded to {pitch}, "
            "or choose another width"
        )


def _compile(report: dict[str, Any], output: Path) -> None:
    """Compile for the Edge TPU where the compiler is, or tell its command."""
    from course_lib.dlpu import edgetpu

    if edgetpu.compiler() is None:
        command = edgetpu.command(output, folder=output.parent)
        report["commands"] = [edgetpu.shell(command)]
        return
    compiled = edgetpu.compile(output, folder=output.parent)
    report["also"].append(f"{compiled.file}: compiled for the Edge TPU")
    report["edge_tpu"] = asdict(compiled.report)
