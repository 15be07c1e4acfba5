"""The figures of lesson 01: how a model reaches each chip, and what is published.

They are drawn from the facts in `course_lib.dlpu.socs`. Every function draws one new
figure in the style of the course and leaves it open.
"""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

from course_lib.dlpu.socs import SOCS, Benchmark, Soc

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Bbox

# Where the four columns of boxes stand, and how wide a box is; a row has height 1.
_COLUMNS = (0.0, 1.3, 2.95, 4.6)
_HALF_WIDTHS = (0.45, 0.62, 0.72, 0.55)
_MARKERS = "osD^vP"
# Where a label may stand beside its point, in points of 1/72 inch: the first that fits.
_PLACES = ((7, -3), (-7, -3), (0, 7), (0, -13), (9, 6), (9, -12), (-9, 6), (-9, -12))


def file_for(soc: Soc) -> str:
    """Name the file that you make for a chip, before any chip maker's compiler.

    Example:
        >>> file_for(SOCS["artpec8"]), file_for(SOCS["cv25"])
        ('int8 .tflite, per-tensor', 'float .onnx, RGB planar')

    Introduced in notebook 01.
    """
    if soc.layout.value == "RGB planar":
        return "float .onnx, RGB planar"
    if soc.granularity.value == "none":
        return "float .tflite"
    return f"int8 .tflite, {soc.granularity.value}"


def conversion_paths(socs: Iterable[Soc]) -> Axes:
    """Draw which file each chip gets, and what happens between the file and the chip.

    Args:
        socs: The chips; those that share a file are put side by side.

    Introduced in notebook 01.
    """
    chips: dict[str, list[Soc]] = {}
    for soc in socs:
        chips.setdefault(file_for(soc), []).append(soc)
    ordered = [soc for group in chips.values() for soc in group]
    rows = {soc.id: float(row) for row, soc in enumerate(ordered)}
    _, axes = plt.subplots(figsize=(7, 0.68 * len(rows) + 0.4))
    steps: dict[tuple[str, str], list[Soc]] = {}
    for soc in ordered:
        steps.setdefault((file_for(soc), soc.compile_step.value), []).append(soc)

    start = (0, _middle(ordered, rows))
    _box(axes, *start, "TensorFlow\nmodel", colour="0.9")
    for file, group in chips.items():
        made = (1, _middle(group, rows))
        _box(axes, *made, file.replace(", ", "\n"), colour="#cfe3f1")
        _arrow(axes, start, made)
    for (file, step), group in steps.items():
        done = (2, _middle(group, rows))
        told = step.replace(", ", "\n") if step != "none" else "no further step"
        _box(axes, *done, _wrapped(told), colour="#fbe6c8")
        _arrow(axes, (1, _middle(chips[file], rows)), done)
        for soc in group:
            end = (3, rows[soc.id])
            _box(axes, *end, soc.name, colour="#d3ecdf", bold=True)
            _arrow(axes, done, end)
    titles = ("you train", "you convert", "then", "it runs on")
    for x, title in zip(_COLUMNS, titles, strict=True):
        axes.text(x, -0.72, title, ha="center", fontsize=10, color="0.35")
    axes.set(xlim=(-0.5, 5.2), ylim=(len(rows) - 0.5, -0.95))
    axes.axis("off")
    return axes


def accuracy_and_latency(benchmarks: Sequence[Benchmark]) -> Axes:
    """Plot published accuracy against published latency, one labelled point a row.

    Args:
        benchmarks: All with an accuracy, of one metric.

    Introduced in notebook 01.
    """
    figure, axes = plt.subplots(figsize=(7, 4))
    for number, soc in enumerate(SOCS.values()):
        mine = [row for row in benchmarks if row.soc == soc.id]
        if mine:
            x = [row.milliseconds for row in mine]
            y = [row.accuracy for row in mine]
            look = {"color": f"C{number}", "marker": _MARKERS[number]}
            axes.plot(x, y, linestyle="", label=soc.name, **look)
    (metric,) = {row.metric for row in benchmarks}
    longest = max(row.milliseconds for row in benchmarks)
    axes.set(xlabel="milliseconds for one inference", ylabel=f"{metric} in %")
    axes.set(xlim=(0, 1.35 * longest))
    axes.margins(y=0.12)
    axes.legend(loc="best", fontsize=9)
    figure.canvas.draw()
    points = [(row.milliseconds, row.accuracy) for row in benchmarks]
    centres = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    taken.append(axes.get_legend().get_window_extent())
    for row, point in zip(benchmarks, points, strict=True):
        taken.append(_label(axes, _name(row, benchmarks), point, taken))
    return axes


def latency_by_version(series: Mapping[str, Sequence[Benchmark]]) -> Axes:
    """Plot how a published latency moved from one AXIS OS version to the next.

    Args:
        series: Name to rows of one model on one camera.

    Introduced in notebook 01.
    """
    every = {row.os for rows in series.values() for row in rows}
    versions = sorted(every, key=_version)
    _, axes = plt.subplots(figsize=(7, 3.2))
    for (name, rows), marker in zip(series.items(), _MARKERS, strict=False):
        ordered = sorted(rows, key=lambda row: _version(row.os))
        x = [versions.index(row.os) for row in ordered]
        y = [row.milliseconds for row in ordered]
        axes.plot(x, y, marker=marker, markersize=5, label=name)
    axes.set_xticks(range(len(versions)), versions, fontsize=9)
    axes.set(xlabel="AXIS OS", ylabel="milliseconds", ylim=(0, None))
    axes.legend(loc="upper left", fontsize=9)
    return axes


def _wrapped(text: str) -> str:
    return "\n".join(fill(line, 24) for line in text.splitlines())


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _middle(group: Sequence[Soc], rows: Mapping[str, float]) -> float:
    return sum(rows[soc.id] for soc in group) / len(group)


def _box(
    axes: Axes, column: int, row: float, text: str, *, colour: str, bold: bool = False
) -> None:
    half = _HALF_WIDTHS[column]
    style = {"boxstyle": "round,pad=0.02", "facecolor": colour, "edgecolor": "0.4"}
    box = FancyBboxPatch(
        (_COLUMNS[column] - half, row - 0.33), 2 * half, 0.66, linewidth=0.8, **style
    )
    axes.add_patch(box)
    weight = "bold" if bold else "normal"
    axes.text(
        _COLUMNS[column], row, text, ha="center", va="center", fontsize=9, weight=weight
    )


def _arrow(axes: Axes, start: tuple[int, float], end: tuple[int, float]) -> None:
    axes.annotate(
        "",
        (_COLUMNS[end[0]] - _HALF_WIDTHS[end[0]] - 0.02, end[1]),
        (_COLUMNS[start[0]] + _HALF_WIDTHS[start[0]] + 0.02, start[1]),
        arrowprops={"arrowstyle": "-|>", "color": "0.4", "shrinkA": 0, "shrinkB": 0},
    )


def _name(row: Benchmark, benchmarks: Sequence[Benchmark]) -> str:
    """Name a row by its model, and by what tells it from rows of the same chip."""
    same = [r for r in benchmarks if (r.soc, r.model) == (row.soc, row.model)]
    if len(same) == 1:
        return row.model
    products = {r.product for r in same}
    what = row.product.removeprefix("AXIS ") if len(products) > 1 else row.training
    return f"{row.model}, {what}"


def _label(
    axes: Axes, text: str, point: tuple[float, float], taken: Sequence[Bbox]
) -> Bbox:
    """Write a label beside its point, at the first place where it covers nothing."""
    label = axes.annotate(text, point, (0, 0), textcoords="offset points", fontsize=9)
    for right, up in _PLACES:
        label.set_position((right, up))
        label.set_ha("center" if right == 0 else "left" if right > 0 else "right")
        box = label.get_window_extent()
        inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
        if inside and not any(box.overlaps(other) for other in taken):
            break
    return box
