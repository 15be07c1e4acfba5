"""The figure of lesson 12: where a file loses its signal, layer by layer.

It draws one new figure in the style of the course and leaves it open.
"""

import math

from course_lib.tflite.comparison import Comparison

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Exact tensors have no finite SQNR; they are drawn at what 8 bits hold at most.
_CEILING = 48.0


def sqnr_by_layer(comparison: Comparison, *, title: str = "") -> Axes:
    """Draw each layer's SQNR, the output's for its weights alone, and the worst layer.

    Args:
        comparison: What `comparison.compare` returned.
        title: Above the figure.

    Returns:
        The axes; x counts the layers from the input on, y is in dB.

    Introduced in notebook 12.
    """
    layers = comparison.layers
    places = np.arange(len(layers))
    _, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(
        places,
        [_shown(layer.sqnr) for layer in layers],
        "o-",
        markersize=3,
        label="int8 file, this layer's output",
    )
    weighted = [n for n in places if layers[n].weights_alone is not None]
    if weighted:
        axes.plot(
            weighted,
            [_shown(layers[n].weights_alone) for n in weighted],
            "x",
            color="0.5",
            markersize=5,
            label="float file, this layer's weights rounded: the model's output",
        )
    worst = layers.index(comparison.worst)
    alone = comparison.worst.weights_alone
    blamed = comparison.worst_by_weights
    height = _shown(alone if blamed else comparison.worst.sqnr)
    axes.plot(
        worst,
        height,
        "o",
        markersize=13,
        fillstyle="none",
        color="C3",
        label=f"worst: {comparison.worst.operator} {_short(comparison.worst.name)}",
    )
    axes.set(
        xlabel="Layer, in the order of execution",
        ylabel="SQNR (dB)",
        xlim=(-0.5, len(layers) - 0.5),
        ylim=(min(0, axes.get_ylim()[0]), None),
    )
    axes.figure.legend(
        loc="outside upper left", frameon=False, title=title or None, alignment="left"
    )
    return axes


def _shown(ratio: float) -> float:
    return float(np.clip(ratio, -10, _CEILING)) if not math.isnan(ratio) else 0.0


def _short(name: str) -> str:
    """Keep the last parts of a long name."""
    return name if len(name) <= 40 else f"...{name[-37:]}"
