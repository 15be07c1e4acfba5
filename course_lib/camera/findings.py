"""What of a test on a camera is a finding, and what makes its numbers doubtful.

Each function yields lines: what was seen, what it means, what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from course_lib.camera import fidelity
from course_lib.dlpu import rules

if TYPE_CHECKING:
    from course_lib.camera.evaluation import Accuracy, Output, Picture, Plan, Timing

# So many pictures with one answer are a finding: two may well show the same thing.
SEVERAL = 3


def is_lost(accuracy: Accuracy) -> bool:
    """Return whether camera and computer differ by more than chance."""
    low, high = accuracy.difference_interval
    return not low <= 0 <= high


def problems(
    plan: Plan, outputs: Sequence[Output], accuracy: Accuracy | None
) -> Iterator[str]:
    """Tell what is wrong: these make the exit status of `dlpu test`."""
    yield from errors(plan)
    for output in outputs:
        found = output.difference
        if found.verdict in fidelity.FINDINGS:
            sqnr = "" if found.sqnr is None else f"SQNR {found.sqnr:.1f} dB"
            if sqnr and found.sqnr < fidelity.WRONG_SQNR:
                sqnr += f", where {fidelity.WRONG_SQNR:g} are the least"
            told = ", ".join(filter(None, (found.note, sqnr)))
            yield f"output {output.index} is {fidelity.VERDICTS[found.verdict]}: {told}"
    if accuracy and is_lost(accuracy):
        low, high = accuracy.difference_interval
        yield (
            f"the camera's accuracy is {accuracy.camera - accuracy.computer:+.2f} from "
            f"the computer's, interval {low:+.2f} to {high:+.2f}"
        )


def errors(plan: Plan) -> Iterator[str]:
    """Tell the linter's errors."""
    if plan.errors:
        yield f"the linter has errors: {_rules(plan.errors)}; see `dlpu lint`"


def _rules(findings: Sequence[rules.Finding]) -> str:
    """Return "unlisted-operator (2 GELU, MEAN), input-type (CONV_2D)"."""
    places: dict[str, Counter[str]] = {}
    for finding in findings:
        places.setdefault(finding.rule, Counter())[finding.operator or "file"] += 1
    return ", ".join(
        f"{rule} ({', '.join(_times(*of) for of in operators.items())})"
        for rule, operators in sorted(places.items())
    )


def _times(name: str, count: int) -> str:
    return name if count == 1 else f"{count} {name}"


def collapsed(pictures: Sequence[Picture], names: Sequence[str]) -> Iterator[str]:
    """Tell of a model that names one class, whatever the pictures show."""
    camera, computer, labels = (
        {getattr(picture, of) for picture in pictures}
        for of in ("camera", "computer", "label")
    )
    if len(pictures) < SEVERAL or len(camera) > 1 or camera in ({None}, labels):
        return
    named = class_text(*camera, names)
    if computer != camera:
        yield (
            f"the camera names one class, {named}, for every picture, the computer "
            f"{plural(len(computer), 'class', 'classes')}"
        )
        return
    shown = "" if labels != {None} else "unless they all show it, "
    yield (
        f"the model names one class, {named}, for every picture, on this computer too: "
        f"{shown}see lesson 12, `dlpu compare`"
    )


def simulations(plan: Plan, timing: Timing) -> Iterator[str]:
    """Tell what of a virtual camera is no camera's, and what a real one needs."""
    if timing.simulated:
        yield (
            f"SIMULATION: the times are no camera's; larod-client says "
            f"({timing.simulated})"
        )
        runtime = "ONNX Runtime" if plan.model.format == "onnx" else "LiteRT"
        yield (
            f"SIMULATION: the outputs are computed by this computer both times, "
            f"{runtime} against {runtime}: identical by construction"
        )
    if timing.simulated and plan.soc.takes_onnx:
        yield (
            f"SIMULATION: the compiler for {plan.soc.name} quantizes, and that is not "
            "simulated: a camera's outputs may differ"
        )
    if plan.virtual and plan.compiled:
        yield (
            f"{plan.compiled.name} was looked at and not run: a virtual camera runs "
            f"{plan.file.name}"
        )
    elif plan.virtual and plan.device == plan.soc.device and plan.contract.commands:
        yield (
            "not compiled: a real camera needs the file that edgetpu_compiler writes"
        )


def doubts_of_the_file(
    plan: Plan, timing: Timing, outputs: Sequence[Output]
) -> Iterator[str]:
    """Tell what of the file and of its runs makes the numbers doubtful."""
    if plan.soc is not plan.info.soc:
        yield f"{plan.device} is the camera's CPU: nothing here tells about its DLPU"
    doubts = [f for f in plan.report.at_least("warning") if f.severity == "warning"]
    if doubts:
        yield f"the linter warns: {_rules(doubts)}; see `dlpu lint`"
    if is_cached(plan, timing):
        yield (
            "the first load took no longer than the others: the camera had compiled "
            "this file before"
        )
    for output in outputs:
        if output.difference.verdict == "not judged":
            yield f"output {output.index} {fidelity.VERDICTS['not judged']}"


def is_cached(plan: Plan, timing: Timing) -> bool:
    """Return whether the camera had compiled the file before the first load."""
    first, later = timing.first_load, timing.later_load
    if not plan.soc.first_load_seconds or first is None or later is None:
        return False
    return first <= 2 * later


def doubts_of_the_pictures(
    plan: Plan,
    pictures: Sequence[Picture],
    accuracy: Accuracy | None,
    *,
    count: int | None,
    is_unused: bool,
) -> Iterator[str]:
    """Tell what of the pictures, labels and options makes the numbers doubtful."""
    if is_unused:
        entry = plan.contract.inputs[0]
        less = "less 128" if entry.dtype == "int8" else "as they are"
        yield (
            f"--mean and --std were not used: the camera takes {entry.dtype}, the "
            f"pixels {less}"
        )
    if not accuracy:
        return
    if accuracy.camera != accuracy.computer and not is_lost(accuracy):
        yield (
            f"the accuracies differ by {accuracy.camera - accuracy.computer:+.2f}: "
            f"{len(pictures)} pictures cannot tell whether that means anything"
        )
    if len(pictures) >= SEVERAL and accuracy.computer <= 1 / count:
        yield (
            f"this computer is right no more often than chance among {count} classes: "
            "do the labels fit the model?"
        )


def class_text(number: int, names: Sequence[str]) -> str:
    """Return a class as text: its number, and its name where one is known."""
    return f"{number} {names[number]}" if number < len(names) else str(number)


def plural(count: int, what: str, many: str = "") -> str:
    """Return a number and its noun."""
    return f"{count} {what if count == 1 else many or f'{what}s'}"
