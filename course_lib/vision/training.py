"""Train a small model silently, so that a second run gives the same weights."""

import math
from collections.abc import Callable
from typing import Any

from course_lib.errors import UnusableInput

import numpy as np

_LEFT_OVER = 0.01  # share of the initial moving statistics when training ends


def train(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    loss: str | Callable | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, list[float]]:
    """Train with Adam and a cosine decay of the learning rate.

    From here on, the process is deterministic; seed it before building the model too.

    Args:
        model: Keras model that ends in a softmax, or in sigmoids for several labels.
        images: uint8 or float32 [N, height, width, channels], as the model takes them.
        labels: int [N], one class an image; or float [N, classes], each 0 to 1.
        epochs: Passes over the images.
        seed: Decides the order of the images, and all else that is random.
        batch_size: Images a step.
        learning_rate: At the first step; it falls to 0 at the last.
        loss: Keras loss; None takes the cross-entropy that fits the labels.
        validation: Images and labels, judged after each epoch.

    Returns:
        "loss", "accuracy", and the same of validation after "val_": one value an epoch.

    Raises:
        UnusableInput: When images and labels differ in number, or there are none.
        ValueError: When a layer's momentum is more than `batch_norm_momentum`.
    """
    import tensorflow as tf

    for some, theirs in [(images, labels), *([validation] if validation else [])]:
        if not len(some) == len(theirs) > 0:
            found = f"{len(some)} images and {len(theirs)} labels"
            raise UnusableInput(f"{found}: expected as many of each, and one or more")
    steps = epochs * math.ceil(len(images) / batch_size)
    _refuse_slow_batch_norm(model, steps)

    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    metrics = tf.keras.metrics
    if np.issubdtype(np.asarray(labels).dtype, np.integer):
        usual, accuracy = "sparse_categorical", metrics.SparseCategoricalAccuracy
    else:
        usual, accuracy = "binary", metrics.BinaryAccuracy
    rate = tf.keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(rate),
        loss=loss or f"{usual}_crossentropy",
        metrics=[accuracy("accuracy")],
    )
    settings = {"epochs": epochs, "batch_size": batch_size, "verbose": 0}
    fitted = model.fit(images, labels, validation_data=validation, **settings)
    return {name: [float(v) for v in of] for name, of in fitted.history.items()}


def batch_norm_momentum(steps: int) -> float:
    """Return the largest momentum with which moving statistics settle in so many steps.

    After n steps, momentum**n is left of a layer's initial mean 0 and variance 1, which
    it uses outside training. With 1 % or more left, validation can look like chance
    although the model has learned. Keras's default, 0.99, needs 459 steps.

    Example:
        >>> batch_norm_momentum(100), batch_norm_momentum(459)
        (0.954, 0.99)
    """
    largest = _LEFT_OVER ** (1 / max(steps, 1))
    return min((math.ceil(1000 * largest) - 1) / 1000, 0.99)


def split_by_group(
    groups: np.ndarray, *, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into training and test, with each group wholly in one of them.

    Frames of one scene look alike: divided, the test would measure memory.

    Args:
        groups: int [N], the group of each image.
        share: Of the images, that test takes: whole groups until it is reached.
        seed: Decides which groups.

    Returns:
        Two bool masks [N]: training, test.

    Raises:
        UnusableInput: When there are fewer than two groups, or share is not in (0, 1).
    """
    groups = np.asarray(groups)
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2 or not 0 < share < 1:
        found = f"{len(names)} groups, share {share}"
        raise UnusableInput(f"{found}: expected two groups or more, a share in (0, 1)")
    order = np.random.default_rng(seed).permutation(len(names))[1:]
    taken_before = np.cumsum(sizes[order]) - sizes[order]
    test = np.isin(groups, names[order[taken_before < share * len(groups)]])
    return ~test, test


def _refuse_slow_batch_norm(model: Any, steps: int) -> None:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            _refuse_slow_batch_norm(layer, steps)
        momentum = getattr(layer, "momentum", 0.0)
        if layer.trainable and momentum**steps >= _LEFT_OVER:
            raise ValueError(
                f"{layer.name}: momentum {momentum} over {steps} steps leaves "
                f"{momentum**steps:.0%} of the initial moving statistics: build it "
                f"with momentum={batch_norm_momentum(steps)}, train longer or freeze it"
            )
