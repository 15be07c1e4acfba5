"""Train the course's own small models and write their weights into data/.

Run it by hand, without the network: python tools/train_models.py; names of models as
arguments train only these. All four take about 25 minutes of processor time. Another
processor or another TensorFlow gives other digits in the weights, and accuracies that
differ by a few pictures. It prints what data/README.md records: accuracy in float and
after post-training quantization, on digits and scenes that training did not see.
"""

import io
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from course_lib import files
from course_lib.quantization import calibration, conversion
from course_lib.tflite import inference
from course_lib.vision import datasets, models, scenes, training

import numpy as np
from make_data import enter_in_readme

SEED = 0
# Pictures that a file is calibrated with, the first ones of training.
CALIBRATION = 200
SCENES = {"training": (12_000, 504), "test": (2_000, 505)}  # count, seed
# How far augmentation moves a digit: down and to the right, in pixels.
SHIFTS = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))
# Of each cycle: the learning rate falls to 0 and starts again (Loshchilov and Hutter,
# "SGDR", 2017).
EPOCHS = {
    "digit_reader_depthwise": (8,),
    "digit_reader_residual": (8,),
    "scene_classifier": (7, 7),
    "scene_resnet": (7, 7),
}
LEARNING_RATE = 2e-3
BATCH = 32
LABEL_SMOOTHING = 0.05


def main(names: list[str]) -> None:
    """Train the named models, or all."""
    for name in names or EPOCHS:
        model, entry, given, test = task(name)
        started = time.process_time()
        fit(model, entry, *given)
        seconds = time.process_time() - started
        content = io.BytesIO()
        np.savez_compressed(content, **named_weights(model))
        files.write(models.DATA / f"{name}.npz", content.getvalue())
        models.fill(model, models.weights(name))
        print(
            f"{name}: {model.count_params():,} parameters, "
            f"{seconds:.0f} s of processor time"
        )
        for form, right in accuracies(model, entry, given[0][:CALIBRATION], test):
            print(f"  {form}: {right:.4f} of {len(test[0]):,}", flush=True)
    enter_in_readme()


def task(name: str) -> tuple[Any, models.ImageInput, tuple, tuple]:
    """Return an untrained model, its input, training and test: images and labels."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(SEED)
    if name.startswith("digit_reader_"):
        model = models.digit_reader(name.removeprefix("digit_reader_"), trained=False)
        images, labels = datasets.handwritten_digits()
        parts = (datasets.DIGITS_TRAINING, datasets.DIGITS_TEST)
        given, test = ((images[part], labels[part]) for part in parts)
        return model, models.DIGIT_INPUT, given, test
    model = getattr(models, name)(trained=False)
    given, test = (labelled_scenes(*SCENES[part]) for part in ("training", "test"))
    return model, models.SCENE_INPUT, given, test


@cache
def labelled_scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw scenes.

    Returns:
        images uint8 [count, 96, 96, 3]; labels int [count], of `SCENE_CLASSES`.
    """
    size = models.SCENE_INPUT.size
    drawn = scenes.generate(count, seed=seed, size=size, processes=2)
    return drawn.images, drawn.person + 2 * drawn.car


def fit(
    model: Any, entry: models.ImageInput, images: np.ndarray, labels: np.ndarray
) -> None:
    """Train on shifted digits or randomly mirrored scenes, with smoothed labels."""
    import tensorflow as tf

    layers = tf.keras.layers
    entrance = [
        tf.keras.Input(images.shape[1:], dtype="uint8"),
        layers.Rescaling(1 / entry.std, -entry.mean / entry.std),
    ]
    if entry is models.DIGIT_INPUT:
        images = np.concatenate([np.roll(images, s, axis=(1, 2)) for s in SHIFTS])
        labels = np.tile(labels, len(SHIFTS))
    else:
        entrance.append(layers.RandomFlip("horizontal", seed=SEED))
    network = tf.keras.Sequential([*entrance, model])
    one_hot = np.eye(model.output_shape[1], dtype=np.float32)[labels]
    loss = tf.keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING)
    for cycle, epochs in enumerate(EPOCHS[model.name]):
        training.train(
            network,
            images,
            one_hot,
            epochs=epochs,
            seed=SEED + cycle,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            loss=loss,
        )


def named_weights(model: Any) -> dict[str, np.ndarray]:
    """Return a Keras model's weights, float16, as `models.weights` names them."""
    named = {}
    for layer in model.layers:
        for variable, values in zip(layer.weights, layer.get_weights(), strict=True):
            kind = variable.name.rpartition("/")[2].removesuffix(":0")
            kind = kind.removeprefix("moving_").removeprefix("depthwise_")
            named[f"{layer.name}/{kind}"] = values.astype(np.float16)
    return named


def accuracies(
    model: Any, entry: models.ImageInput, pictures: np.ndarray, test: tuple
) -> Iterator[tuple[str, float]]:
    """Yield the share of right answers: float, per-channel, per-tensor."""
    images, labels = test
    scores = model.predict(entry.normalise(images), verbose=0)
    yield "float", np.mean(scores.argmax(1) == labels)
    dataset = calibration.representative_dataset(
        pictures, mean=entry.mean, std=entry.std
    )
    for granularity in ("per-channel", "per-tensor"):
        content = conversion.convert_full_integer(
            model, dataset, granularity=granularity
        )
        scores = inference.predict(content, images)
        yield granularity, np.mean(scores.argmax(1) == labels)


if __name__ == "__main__":
    main(sys.argv[1:])
