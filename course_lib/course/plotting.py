"""The figures that recur in the lessons.

Every function draws one new figure in the style of the course and leaves it open, so
that a cell may add to it before `plt.show()`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes


def rounding_error(values: np.ndarray, restored: np.ndarray, *, scale: float) -> Axes:
    """Plot what quantizing and dequantizing does to values, with the half-step band.

    Args:
        values: Real values in rising order.
        restored: The same after the round trip.
        scale: Real size of one integer step.

    Introduced in notebook 03.
    """
    _, axes = plt.subplots()
    axes.axhspan(-0.5, 0.5, color="C2", alpha=0.15, label="within half a step")
    axes.plot(values, (restored - values) / scale, linewidth=1, label="error")
    axes.set(xlabel="real value", ylabel="error in steps")
    axes.legend()
    return axes


def channel_ranges(kernel: np.ndarray, *, axis: int, scale: float) -> Axes:
    """Plot the largest weight of every channel against the step of a shared scale.

    Args:
        kernel: Float weights.
        axis: The axis of the output channels.
        scale: The one scale that all channels would share.

    Introduced in notebook 03.
    """
    channels = np.moveaxis(np.abs(kernel), axis, 0).reshape(kernel.shape[axis], -1)
    largest = np.sort(channels.max(axis=1))[::-1]
    _, axes = plt.subplots()
    axes.axhline(127 * scale, color="C1", linestyle="--", label="127 shared steps")
    axes.axhline(scale, color="C1", label="1 shared step")
    axes.plot(largest, ".", color="C0", label="largest weight of a channel")
    axes.plot(0, largest[0], "o", color="C0")
    axes.set(yscale="log", ylim=(scale / 3, 500 * scale))
    axes.set(xlabel="channels, widest first", ylabel="magnitude")
    axes.legend(loc="upper right", ncols=3, fontsize=8)
    return axes


def sqnr_by_layer(curves: Mapping[str, Sequence[float]]) -> Axes:
    """Plot how the signal-to-quantization-noise ratio develops through a network.

    Args:
        curves: Name to SQNR in dB, one number a layer, in the order of execution.

    Introduced in notebook 03.
    """
    _, axes = plt.subplots()
    for (name, values), marker in zip(curves.items(), "osv^D", strict=False):
        axes.plot(range(1, len(values) + 1), values, marker=marker, label=name)
    for line in axes.lines:
        line.set(markersize=4, linewidth=1.2)
    axes.set(xlabel="layer", ylabel="SQNR in dB", ylim=(0, None))
    axes.legend()
    return axes


def feature_maps(maps: Mapping[str, np.ndarray], *, limits: tuple) -> list[Axes]:
    """Show versions of one feature map side by side in the same grey scale.

    Args:
        maps: Title to [height, width].
        limits: What is drawn black and what is drawn white.

    Introduced in notebook 03.
    """
    _, grid = plt.subplots(1, len(maps), figsize=(2 * len(maps), 2.4), squeeze=False)
    for axes, (title, values) in zip(grid[0], maps.items(), strict=True):
        axes.imshow(values, vmin=limits[0], vmax=limits[1], interpolation="nearest")
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(visible=False)
    return list(grid[0])


def layer_chain(model: Any) -> Axes:
    """Draw the layers of a small Keras model as boxes, with the shapes between them.

    Layers at the same depth stand above one another.

    Args:
        model: Functional Keras model; a few layers are legible, tens are not.

    Introduced in notebook 02.
    """
    depth, place, makers = {}, {}, {}
    for layer in model.layers:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        found = [tensor._keras_history.operation for tensor in inputs]
        makers[layer.name] = [maker.name for maker in found if maker is not layer]
        depth[layer.name] = 1 + max((depth[m] for m in makers[layer.name]), default=-1)
    _, axes = plt.subplots(figsize=(8.4, 1.7))
    for layer in model.layers:
        column = depth[layer.name]
        peers = [name for name in depth if depth[name] == column]
        place[layer.name] = column, (len(peers) - 1) / 2 - peers.index(layer.name)
        kind = type(layer).__name__.replace("Layer", "")
        kind = kind.replace("Pooling2D", "\nPooling2D")
        shape = "×".join(map(str, layer.output.shape[1:]))
        box = {"boxstyle": "round", "facecolor": "#e8f1f8", "edgecolor": "C0"}
        centre = {"ha": "center", "va": "center", "fontsize": 7}
        axes.text(*place[layer.name], f"{kind}\n{shape}", bbox=box, **centre)
        for maker in makers[layer.name]:
            ends = zip(place[maker], place[layer.name], strict=True)
            axes.plot(*ends, color="0.5", linewidth=1, zorder=0)
    axes.set(xlim=(-0.5, max(depth.values()) + 0.5), ylim=(-1, 1))
    axes.axis("off")
    return axes
