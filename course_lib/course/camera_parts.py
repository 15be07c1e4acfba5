"""The parts of a report page that tell of a test on a camera."""

from typing import Any

from course_lib.camera.evaluation import Result
from course_lib.course import report

import matplotlib.pyplot as plt
import numpy as np

_MOST_PICTURES = 20


def odd_pictures(result: Result) -> list[report.Part]:
    """Return a table of the pictures that are wrong or differ; empty without one.

    Args:
        result: What `evaluation.run` returned.

    Introduced in notebook 13.
    """
    odd = [
        picture
        for picture in result.pictures
        if picture.camera != picture.computer
        or picture.label not in (None, picture.camera)
    ]
    if not odd:
        return []
    more = f", the first {_MOST_PICTURES}" if len(odd) > _MOST_PICTURES else ""
    rows = [
        [p.name, *map(result.class_text, (p.label, p.camera, p.computer))]
        for p in odd[:_MOST_PICTURES]
    ]
    header = ("picture", "label", "camera", "computer")
    caption = f"{len(odd)} of {len(result.pictures)} pictures{more}"
    return [report.Table(rows, header=header, caption=caption)]


def drawn(result: Result) -> list[report.Part]:
    """Return the plot of a test, and in words what is not worth one.

    Args:
        result: What `evaluation.run` returned.

    Introduced in notebook 13.
    """
    largest = np.array([picture.largest for picture in result.pictures], float)
    most = max(largest[np.isfinite(largest)], default=0.0)
    simulated = "SIMULATION: " if result.timing.simulated else ""
    with plt.style.context("course_lib.course.course"):
        columns = 2 if most else 1
        figure, axes = plt.subplots(1, columns, figsize=(7.2, 2.4), squeeze=False)
        told = [_draw_times(axes[0, 0], result.timing, simulated)]
        if most:
            told.append(_draw_differences(axes[0, 1], result, largest, most))
        for plot in axes.flat:
            plot.xaxis.get_major_locator().set_params(integer=True)
            # Below the plot: inside it would lie on the data.
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.3)}
            plot.legend(**place, ncols=2)
        content = report.drawn(figure)
        plt.close(figure)
    caption = (
        f"{simulated}larod-client tells the mean of a batch of jobs on random input, "
        "no single job's time."
    )
    if most:
        caption += " Right: the camera's outputs beside the computer's."
    parts: list[report.Part] = [report.Figure(content, " ".join(told), caption=caption)]
    if np.isnan(largest).any():
        count = int(np.isnan(largest).sum())
        parts.append(report.Paragraph(f"{count} pictures give values without a size."))
    elif not most:
        parts.append(report.Paragraph("No value of any picture differs."))
    return parts


def _draw_times(plot: Any, timing: Any, simulated: str) -> str:
    """Draw the batches; return them in words."""
    plot.plot(range(1, len(timing.batches) + 1), timing.batches, "o", label="batch")
    plot.axhline(timing.mean, color="C1", linestyle="--", label="mean of all")
    plot.set(xlabel="batch", ylabel="ms a job", title=f"{simulated}batch means")
    plot.set_ylim(0, max(timing.batches) * 1.25 or 1)
    return (
        f"{simulated}{len(timing.batches)} batch means between "
        f"{min(timing.batches):.2f} and {max(timing.batches):.2f} ms."
    )


def _draw_differences(plot: Any, result: Any, largest: Any, most: float) -> str:
    """Draw the largest difference of each picture; return it in words."""
    found = result.pictures
    places = np.arange(1, len(found) + 1)
    apart = np.array([picture.camera != picture.computer for picture in found])
    unit = " or ".join(sorted({o.difference.unit for o in result.outputs}))
    same = "picture" if result.agreement is None else "same top-1"
    for chosen, label, look in (
        (~apart, same, {"marker": "o"}),
        (apart, "another top-1", {"marker": "X", "color": "C1"}),
    ):
        if chosen.any():  # points of no extent leave no room for the axes
            look |= {"linestyle": "", "clip_on": False}
            plot.plot(places[chosen], largest[chosen], label=label, **look)
    plot.set(xlabel="picture", ylabel=unit, title="largest difference of a value")
    plot.set_ylim(0, most * 1.1)
    return (
        f"Right: the largest difference of each of {len(found)} pictures, at most "
        f"{most:.4g} {unit}; {int(apart.sum())} of them have another top-1."
    )
