"""Make data/puzzles: the .tflite files of lesson 12, most of them with one fault each.

Run it by hand; it needs TensorFlow and takes about a minute: python
tools/make_puzzles.py. The lesson and the tests read what is committed. Another
processor or another TensorFlow gives other files and other numbers in the lesson. It
prints size, accuracy and agreement of each file, so whoever wants to solve the
puzzles should not read on.
"""

import hashlib
from typing import Any

from course_lib import files
from course_lib.course import laboratory
from course_lib.quantization import calibration, conversion
from course_lib.quiet import quiet
from course_lib.tflite import inference
from course_lib.vision import datasets, models

import numpy as np

FOLDER = models.DATA / "puzzles"
ENTRY = models.DIGIT_INPUT
SEED = 0
CALIBRATION = 200
# Pixel of calibration pictures that show no digit: in daylight, and by night.
DAY, NIGHT = 128, 20
# Too short for Keras's default momentum, which needs 459 steps: these are 114.
SLOW_MOMENTUM, EPOCHS = 0.99, 3


def main() -> None:
    """Write every file and print what it is worth."""
    images, labels = datasets.handwritten_digits()
    some = images[datasets.DIGITS_TRAINING][:CALIBRATION]
    good = calibration.representative_dataset(some, std=ENTRY.std)
    day, night = (
        calibration.representative_dataset(np.full_like(some, pixel), std=ENTRY.std)
        for pixel in (DAY, NIGHT)
    )
    unscaled = calibration.representative_dataset(some, std=1.0)
    with quiet():
        reader = models.digit_reader("depthwise")
        dead = only(
            reader,
            laboratory.plant_dead_channels(reader, factor=100.0, seed=SEED),
            ("block0_project_bn", "block1_depthwise", "block1_depthwise_bn"),
        )
        unequal = only(
            reader,
            laboratory.plant_unequal_ranges(reader, spread=3.5, seed=SEED),
            ("block1_project_bn", "block2_depthwise"),
        )
        hasty = trained_too_short(images, labels)
    FOLDER.mkdir(exist_ok=True)
    for name, model, dataset in (
        ("reader", reader, good),
        ("a", dead, good),
        ("b", reader, day),
        ("c", reader, unscaled),
        ("d", reader, night),
        ("e", unequal, good),
        ("f", hasty, good),
    ):
        fixed = conversion.fix_batch(model)
        float_file = conversion.convert_float(fixed)
        content = conversion.convert_full_integer(
            fixed, dataset, granularity="per-tensor"
        )
        if name == "reader" or model is not reader:
            files.write(FOLDER / f"{name}_float.tflite", float_file)
        files.write(FOLDER / f"{name}_int8.tflite", content)
        tell(name, float_file, content, images, labels)
    enter_in_readme()


def enter_in_readme() -> None:
    """Write size and checksum of every file into the table of the folder's page."""
    rows = ""
    for path in sorted(FOLDER.glob("*.tflite")):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        rows += f"| `{path.name}` | {len(content):,} | `{digest}` |\n"
    readme = FOLDER / "README.md"
    head, rule, _ = readme.read_text("utf-8").partition("|---|---|---|\n")
    files.write(readme, (head + rule + rows).encode("utf-8"))


def only(healthy: Any, planted: Any, layers: tuple[str, ...]) -> Any:
    """Return the healthy model with these layers taken from the planted one."""
    model = type(healthy).from_config(healthy.get_config())
    for layer in model.layers:
        source = planted if layer.name in layers else healthy
        layer.set_weights(source.get_layer(layer.name).get_weights())
    return model


def trained_too_short(images: np.ndarray, labels: np.ndarray) -> Any:
    """Return a reader whose batch norms still hold much of their initial statistics.

    `training.train` refuses to do that.
    """
    import tensorflow as tf

    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    model = models.digit_reader("depthwise", trained=False)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = SLOW_MOMENTUM
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    part = datasets.DIGITS_TRAINING
    history = model.fit(
        ENTRY.normalise(images[part]), labels[part], epochs=EPOCHS, verbose=0
    )
    print(f"f, as training saw it: {history.history['accuracy'][-1]:.3f}")
    return model


def tell(
    name: str,
    float_file: bytes,
    content: bytes,
    images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Print accuracy and agreement on the digits of the test."""
    images, labels = images[datasets.DIGITS_TEST], labels[datasets.DIGITS_TEST]
    ours = inference.predict(float_file, ENTRY.normalise(images)).argmax(1)
    theirs = inference.predict(content, images).argmax(1)
    print(
        f"{name}: float {np.mean(ours == labels):.3f} in {len(float_file):,} bytes, "
        f"int8 {np.mean(theirs == labels):.3f} in {len(content):,} bytes, "
        f"agreement {np.mean(ours == theirs):.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
