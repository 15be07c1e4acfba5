"""Checks of lesson 01."""

from typing import Any

from course_lib.course.checks import judge
from course_lib.dlpu import socs

# What the camera of exercise 1.1 answers, and the time of exercise 1.2.
_ANSWER = "Axis Artpec-8"
_MILLISECONDS = 40


def settings(answer: dict[str, str]) -> None:
    """Check exercise 1.1: granularity, layout and larod device of the camera; exact.

    Introduced in notebook 01.
    """
    soc = socs.find(_ANSWER)
    right = {
        "granularity": soc.granularity.value,
        "layout": soc.layout.value,
        "device": soc.device,
    }
    foreign = {
        other.name: [d for d in other.devices.value if d not in soc.devices.value]
        for other in socs.SOCS.values()
    }
    judge(
        "1.1",
        _unless_open(answer),
        is_right=lambda a: all(a[key] == value for key, value in right.items()),
        hints=[
            (
                lambda a: a["granularity"] == "per-channel",
                "Granularity: per-channel is what ran on ARTPEC-7. Here it loads and "
                "runs, but slowly.",
            ),
            (
                lambda a: a["granularity"] == "none",
                "Granularity: none means a float file, and this DLPU computes with "
                "integers.",
            ),
            (
                lambda a: a["granularity"] != right["granularity"],
                "Granularity: use one of the words of the table above.",
            ),
            (
                lambda a: a["layout"] == "RGB planar",
                "Layout: planar pixels are for the chips with Ambarella's compiler.",
            ),
            (
                lambda a: a["layout"] == "NHWC",
                "Layout: that is its other name; write RGB interleaved, as the table "
                "does.",
            ),
            (
                lambda a: a["layout"] != right["layout"],
                "Layout: use the words of the table above, RGB interleaved or RGB "
                "planar.",
            ),
            *(
                (
                    lambda a, devices=devices: a["device"] in devices,
                    f"Device: that is a name of {name}.",
                )
                for name, devices in foreign.items()
            ),
            (
                lambda a: a["device"] == f"axis-{socs.SOCS['artpec9'].device}",
                "Device: no chip has this name. The number is ARTPEC-9's, the prefix "
                "is not.",
            ),
            (
                lambda a: f"axis-{a['device']}" in soc.devices.value,
                "Device: nearly. On one chip the name has a prefix, on another it has "
                "none; compare with the list.",
            ),
            (
                lambda a: a["device"].endswith("-native"),
                "Device: -native takes a file that is already compiled for the chip.",
            ),
            (
                lambda a: a["device"].endswith("-proc"),
                "Device: -proc converts pictures and runs no model.",
            ),
            (
                lambda a: "cpu" in a["device"],
                "Device: it would run there, on the CPU.",
            ),
            (
                lambda a: a["device"] != right["device"],
                "Device: larod compares the whole name. Take it from the list above.",
            ),
        ],
        otherwise="Give a word for each of granularity, layout and device.",
    )


def best_within(answer: socs.Benchmark) -> None:
    """Check exercise 1.2: the benchmark with the highest mAP within 40 ms; exact.

    Introduced in notebook 01.
    """
    detectors = [row for row in socs.BENCHMARKS if row.metric == "mAP"]
    allowed = [row for row in detectors if row.milliseconds <= _MILLISECONDS]
    highest = max(row.accuracy for row in allowed)
    fastest = min(row.milliseconds for row in allowed)
    judge(
        "1.2",
        answer,
        is_right=lambda a: a in allowed and a.accuracy == highest,
        hints=[
            (
                lambda a: isinstance(a, (list, tuple)),
                "Give the entry itself, not a list.",
            ),
            (
                lambda a: isinstance(a, str),
                "Give the entry of socs.BENCHMARKS, not its name.",
            ),
            (
                lambda a: a.accuracy is None,
                "This row is from the history: its accuracy is not told.",
            ),
            (
                lambda a: a.metric == "top-1",
                "This is a classifier. Its top-1 and a detector's mAP are different "
                "measures, and cannot be compared.",
            ),
            (
                lambda a: a.milliseconds > _MILLISECONDS,
                f"This takes more than {_MILLISECONDS} ms, however accurate it is.",
            ),
            (
                lambda a: a.milliseconds == fastest,
                "This is the fastest. The question is which of those in time is the "
                "most accurate.",
            ),
            (
                lambda a: a in allowed,
                "It is in time, but another detector in time has a higher mAP.",
            ),
        ],
        otherwise="Give one entry of socs.BENCHMARKS.",
    )


def cpu_or_dlpu(answer: dict[str, str]) -> None:
    """Check exercise 1.3: where three applications may run; exact.

    Introduced in notebook 01.
    """
    right = {"A": "cpu", "B": "dlpu", "C": "dlpu"}
    judge(
        "1.3",
        _unless_open(answer),
        is_right=lambda a: all(a[key] == value for key, value in right.items()),
        hints=[
            (
                lambda a: {a[key] for key in right} - {"cpu", "dlpu"},
                "Use the words cpu and dlpu.",
            ),
            (
                lambda a: a["A"] == "dlpu",
                "A: which of the three conditions is broken? The DLPU would work, at "
                "the price of adapting the model.",
            ),
            (
                lambda a: a["B"] == "cpu",
                "B: rare is not enough. The log above has a time of a CPU; compare it "
                "with a tenth of a second.",
            ),
            (
                lambda a: a["C"] == "cpu",
                "C: rare, and nobody waits. Which of the three conditions is left?",
            ),
        ],
        otherwise="Give cpu or dlpu for each of A, B and C.",
    )


def _unless_open(answer: Any) -> Any:
    """Return `...` for a table with a value still to be filled in."""
    if isinstance(answer, dict) and any(value is ... for value in answer.values()):
        return ...
    return answer
