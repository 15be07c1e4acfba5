"""A test on a camera, told: as JSON, as lines, as the rows of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from course_lib.camera import fidelity, findings
from course_lib.camera.evaluation import Plan, Result
from course_lib.dlpu import contract, rules
from course_lib.dlpu.contract import End

import numpy as np


def as_dict(result: Result) -> dict[str, Any]:
    """Return a result as what JSON can hold.

    Introduced in notebook 13.
    """
    timing, accuracy = result.timing, result.accuracy
    simulated = timing.simulated or None
    return {
        **_planned(result.plan),
        "load": {
            "first_seconds": timing.first_load,
            "later_seconds": timing.later_load,
            "simulated": simulated,
        },
        "timing": {
            "mean_milliseconds": timing.mean,
            "batch_means": timing.batches,
            "batch_rounds": timing.rounds,
            "warm_up": timing.warm_up,
            "simulated": simulated,
        },
        "computer": result.runtime,
        "outputs": [
            {
                **{key: getattr(o, key) for key in ("index", "name", "dtype", "shape")},
                **_difference(o.difference),
                "spread": _difference(o.spread) if o.spread else None,
            }
            for o in result.outputs
        ],
        "folders": dict(result.folders) or None,
        "pictures": [asdict(picture) for picture in result.pictures],
        "agreement": result.agreement,
        "accuracy": asdict(accuracy) if accuracy else None,
        "problems": result.problems,
        "warnings": result.warnings,
    }


def refused_as_dict(plan: Plan) -> dict[str, Any]:
    """Return the same keys for a model that was not run, for the linter's errors.

    Introduced in notebook 13.
    """
    measured = ("load", "timing", "computer", "outputs", "folders", "pictures")
    return {
        **_planned(plan),
        **dict.fromkeys((*measured, "agreement", "accuracy")),
        "problems": tuple(findings.errors(plan)),
        "warnings": (),
    }


def _planned(plan: Plan) -> dict[str, Any]:
    entry, report = plan.contract.inputs[0], plan.report
    return {
        "file": str(plan.file),
        "sha256": plan.sha256,
        "uploaded": str(plan.upload),
        "camera": {
            "product": plan.info.product,
            "soc": plan.info.soc.id,
            "os": plan.info.os,
            "device": plan.device,
            "virtual": plan.virtual,
        },
        "lint": {
            **{f"{name}s": _count(report, name) for name in rules.SEVERITIES},
            "partitions": report.partitions,
        },
        "findings": [
            {key: getattr(found, key) for key in ("rule", "severity", "message", "fix")}
            for found in report.at_least("warning")
        ],
        "input": {
            key: getattr(entry, key)
            for key in ("dtype", "shape", "layout", "bytes", "row_pitch")
        },
    }


def _difference(found: fidelity.Difference) -> dict[str, Any]:
    keys = ("values", "identical", "mean", "largest", "unit", "sqnr", "same_top1")
    return {key: getattr(found, key) for key in (*keys, "verdict", "note")}


def lines(result: Result) -> Iterator[str]:
    """Tell a result for a person: findings, warnings, then all the numbers.

    Introduced in notebook 13.
    """
    yield f"{result.plan.file.name} on {_camera_text(result.plan)}"
    for number, problem in enumerate(result.problems, start=1):
        yield f"{number}. {problem}"
    for warning in result.warnings:
        yield f"warning: {warning}"
    yield ""
    width = max(len(label) for label, _ in rows(result))
    for label, text in rows(result):
        yield f"{label:{width}}  {text}"
    yield ""
    yield result.verdict


def rows(result: Result) -> tuple[tuple[str, str], ...]:
    """Return label and text of each thing that a result tells, as a table has them.

    Introduced in notebook 13.
    """
    return tuple(_rows(result))


def _rows(result: Result) -> Iterator[tuple[str, str]]:
    plan, timing, count = result.plan, result.timing, len(result.pictures)
    mark = " (SIMULATION)" if timing.simulated else ""
    both = " (SIMULATION: this computer both times)" if timing.simulated else ""
    yield "model", f"{plan.file.name}, {plan.model.size} bytes"
    yield "SHA-256", plan.sha256
    if plan.upload != plan.file:
        yield "uploaded", plan.upload.name
    yield "camera", _camera_text(plan)
    yield "device", plan.device
    yield "input", _entry(plan.contract.inputs[0])
    yield "lint", _lint(plan.report)
    if timing.first_load is not None:
        cached = ", from the cache" if findings.is_cached(plan, timing) else ""
        yield "first load", f"{_seconds(timing.first_load)}{cached}{mark}"
    if timing.later_load is not None:
        yield "later load", f"{_seconds(timing.later_load)}, median{mark}"
    yield "one job", f"{timing.mean:.2f} ms, mean{mark}"
    low, high = min(timing.batches), max(timing.batches)
    yield (
        "batches",
        f"{len(timing.batches)} of {_range(timing.rounds)} rounds, each "
        f"after {timing.warm_up} for warm-up: means {low:.2f} to {high:.2f} ms{mark}",
    )
    yield "pictures", f"{count}"
    if result.folders:
        yield "labels", contract.folders_text(result.folders)
    yield "computer", result.runtime
    for output in result.outputs:
        name = f"{output.name}: " if len(result.outputs) > 1 else ""
        found = output.difference
        yield f"output {output.index}", f"{name}{_far(found)}: {found.verdict}{both}"
        if output.spread:
            told = f"for scale, LiteRT's two kinds of kernels: {_far(output.spread)}"
            yield f"output {output.index}", told
    if result.agreement is not None:
        share = _share(result.agreement, count)
        yield "same top-1", f"{share} pictures, camera and computer{both}"
    if result.accuracy:
        for name in ("camera", "computer"):
            low, high = getattr(result.accuracy, f"{name}_interval")
            share = _share(getattr(result.accuracy, name), count)
            told = f"{share}; 95 % interval {low:.2f} to {high:.2f}"
            yield f"{name} top-1", f"{told}{both if name == 'camera' else ''}"
        if result.accuracy.other is not None:
            share = _share(result.accuracy.other, count)
            yield "for scale, top-1", f"{share}, with LiteRT's other kernels"


def _camera_text(plan: Plan) -> str:
    return f"{plan.info.product}, {plan.info.soc.name}, AXIS OS {plan.info.os}"


def _entry(entry: End) -> str:
    shape = contract.size_text(entry.shape)
    rows = ""
    if entry.layout.startswith("planar"):
        width = entry.shape[-1] * np.dtype(entry.dtype).itemsize
        rows = f", rows of {width} bytes"
        if entry.row_pitch != width:
            rows += f" padded to {entry.row_pitch} (row pitch)"
    return f"{entry.dtype} {shape}, {entry.layout}{rows}, {entry.bytes} bytes"


def _seconds(value: float) -> str:
    """Return a time that larod-client's clock told, which counts milliseconds."""
    if value >= 0.01:
        return f"{value:.2f} s"
    milliseconds = round(1000 * value)
    return f"{milliseconds} ms" if milliseconds else "under 1 ms"


def _far(found: fidelity.Difference) -> str:
    size = "no finite difference"
    if found.mean is not None:
        size = f"differences {found.mean:.3g} in the mean, {found.largest:.3g} at most"
    return (
        f"{found.identical:.2%} of {found.values} values identical, {size} "
        f"({found.unit})"
    )


def _lint(report: rules.Report) -> str:
    counts = ", ".join(
        findings.plural(_count(report, name), name) for name in rules.SEVERITIES
    )
    if set(report.targets) == {"unknown"}:
        return f"{counts}; what runs where is not known for {report.soc.name}"
    places = ", ".join(
        f"{report.targets.count(target)} {where}"
        for target, where in (
            ("dlpu", "in the DLPU"),
            ("cpu", "on the CPU"),
            ("unknown", "not known"),
        )
        if target in report.targets
    )
    pieces = "in one piece"
    if report.partitions > 1:
        pieces = f"in about {report.partitions} pieces, DLPU and CPU in turn"
    return f"{counts}; operators: {places}; {pieces}"


def _count(report: rules.Report, severity: str) -> int:
    return sum(finding.severity == severity for finding in report.findings)


def _share(share: float, of: int) -> str:
    return f"{share:.2f}, {round(share * of)} of {of}"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
