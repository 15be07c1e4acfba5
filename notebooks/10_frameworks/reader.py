"""The digit reader of the course, in PyTorch, and what both routes need around it.

The scripts of `litert_torch/` and `onnx2tf/` import this file. The weights are those of
data/digit_reader_depthwise.npz, which Keras trained: whatever then differs between two
files comes from the route, not from another training.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from sklearn.datasets import load_digits
from torch import nn

HERE = Path(__file__).parent
ARTEFACTS = HERE / "artefacts"
WEIGHTS = HERE.parents[1] / "data" / "digit_reader_depthwise.npz"
# Channels and stride of each depthwise-separable block.
BLOCKS = ((32, 1), (48, 2), (48, 1))
# A camera sends red, green and blue. Their share of the brightness (ITU-R BT.601)
# and the division by 255 go into the first kernel, so pixels 0..255 enter.
GREY = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1) / 255
TRAINING, TEST = slice(0, 1200), slice(1200, 1797)
# torch's own default is 1e-5; a batch normalization is wrong with another than its own.
KERAS_EPSILON = 1e-3


class SamePadding(nn.Module):
    """Pad as Keras and TensorFlow do for padding="same", kernel 3, stride 2.

    Of an even map that is one row below and one column on the right, and none above
    and on the left. Conv2d(padding=1) would pad all four sides.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pad the last two axes."""
        return nn.functional.pad(maps, (0, 1, 0, 1))


class Reader(nn.Module):
    """Tell ten digits apart: float32 pixels [N, 3, 16, 16] to probabilities [N, 10]."""

    def __init__(
        self,
        *,
        same_padding: bool = True,
        epsilon: float = KERAS_EPSILON,
        pooling_module: bool = True,
    ):
        super().__init__()
        layers = _convolution(3, 16, kernel=3, stride=2)
        channels = 16
        for filters, stride in BLOCKS:
            layers += _convolution(
                channels, channels, kernel=3, stride=stride, groups=channels
            )
            layers += _convolution(channels, filters)
            channels = filters
        for norm in layers:
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = epsilon
        if same_padding:
            layers = [part for layer in layers for part in _padded_as_same(layer)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1) if pooling_module else None
        self.classifier = nn.Linear(channels, 10)
        self._fill()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the probabilities."""
        maps = self.features(pixels)
        # Two ways to write the same numbers; litert-torch treats them differently.
        pooled = self.pool(maps).flatten(1) if self.pool else maps.mean(dim=(2, 3))
        return torch.softmax(self.classifier(pooled), dim=1)

    def _fill(self) -> None:
        """Put Keras's weights in: kernels as OIHW, dense ones transposed."""
        with np.load(WEIGHTS) as stored:
            weights = {
                name: torch.from_numpy(stored[name].astype(np.float32))
                for name in stored.files
            }
        kernel = weights["stem/kernel"].permute(3, 2, 0, 1)
        weights["stem/kernel"] = (kernel * GREY).permute(2, 3, 1, 0)
        names = ["stem"]
        for block in range(len(BLOCKS)):
            names += [f"block{block}_depthwise", f"block{block}_project"]
        convolutions = [m for m in self.features if isinstance(m, nn.Conv2d)]
        norms = [m for m in self.features if isinstance(m, nn.BatchNorm2d)]
        for name, convolution, norm in zip(names, convolutions, norms, strict=True):
            order = (2, 3, 0, 1) if convolution.groups > 1 else (3, 2, 0, 1)
            convolution.weight.data.copy_(weights[f"{name}/kernel"].permute(order))
            norm.weight.data.copy_(weights[f"{name}_bn/gamma"])
            norm.bias.data.copy_(weights[f"{name}_bn/beta"])
            norm.running_mean.copy_(weights[f"{name}_bn/mean"])
            norm.running_var.copy_(weights[f"{name}_bn/variance"])
        self.classifier.weight.data.copy_(weights["classifier/kernel"].T)
        self.classifier.bias.data.copy_(weights["classifier/bias"])


def _convolution(
    channels: int, filters: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution as one writes it in PyTorch, its norm, and ReLU."""
    settings = {"stride": stride, "padding": kernel // 2, "groups": groups}
    return [
        nn.Conv2d(channels, filters, kernel, bias=False, **settings),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
    ]


def _padded_as_same(layer: nn.Module) -> list[nn.Module]:
    """Give a convolution of stride 2 the padding that its weights were trained with."""
    if getattr(layer, "stride", None) != (2, 2):
        return [layer]
    layer.padding = (0, 0)
    return [SamePadding(), layer]


def digits(part: slice) -> np.ndarray:
    """Return handwritten digits as a camera would send them: uint8 [N, 16, 16, 3].

    Interleaved RGB; the pen is grey, so the three channels are equal.
    """
    cells = np.round(load_digits().images[part] * 255 / 16).astype(np.uint8)
    large = cells.repeat(2, axis=1).repeat(2, axis=2)
    return np.stack([large] * 3, axis=3)


def planar(pixels: np.ndarray) -> torch.Tensor:
    """Return interleaved pixels as the model takes them, float32 [N, 3, 16, 16]."""
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32))


def answers(model: nn.Module) -> np.ndarray:
    """Return a model's probabilities for the digits of the test, [597, 10]."""
    with torch.no_grad():
        return model.eval()(planar(digits(TEST))).numpy()


def judged(model: nn.Module) -> dict[str, float]:
    """Compare a model's answers with those of `Reader()` and with the labels."""
    right, found = answers(Reader()), answers(model)
    labels = load_digits().target[TEST]
    return {
        "right": int((found.argmax(1) == labels).sum()),
        "changed": int((found.argmax(1) != right.argmax(1)).sum()),
        "of": len(labels),
        "largest_difference": float(np.abs(found - right).max()),
    }


def operators(file: Path) -> list[str]:
    """Return the operators of a .tflite file, in their order."""
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(file), experimental_op_resolver_type=kernels)
    return [operator["op_name"] for operator in interpreter._get_ops_details()]


def record(
    route: str, *, packages: tuple[str, ...], made: Iterable[Path], tried: dict
) -> None:
    """Enter a run into artefacts/versions.json: date, versions, files, side results."""
    path = ARTEFACTS / "versions.json"
    runs = json.loads(path.read_text("utf-8")) if path.exists() else {}
    runs[route] = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "files": {
            file.name: {
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in sorted(made)
        },
        "tried": tried,
    }
    path.write_text(json.dumps(runs, indent=2, sort_keys=True) + "\n", "utf-8")
