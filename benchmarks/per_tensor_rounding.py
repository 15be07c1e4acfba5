"""What does choosing the roundings give back to a model with one scale per tensor?

Run by hand: python benchmarks/per_tensor_rounding.py [MODEL ...]. A MODEL is
efficientnet_lite0, person_detector, or the path of a .keras file, whose pixels are
normalised with --mean and --std; without one, both models of the course are judged.
Lesson 07 quotes the figures.

Fitted on `datasets.calibration_images`; judged on 36 crops of each of foolbox's 20
photographs and on 100 crops of the clip's last three shots, none of which the cures
or the converter saw. A classifier is judged by how often its class is the float
model's, any other model by its output's error, in percent of what the float output
varies. Intervals are of a bootstrap over photographs and shots.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from course_lib.quantization import calibration, conversion, rounding
from course_lib.quiet import quiet
from course_lib.tflite import inference
from course_lib.vision import datasets, evaluation, models

import numpy as np

CROPS_OF_A_PHOTOGRAPH = 36
CROPS_OF_THE_CLIP = 100
SEED = 20261121
KNOWN = {
    "efficientnet_lite0": (models.efficientnet_lite0, models.EFFICIENTNET_LITE0_INPUT),
    "person_detector": (models.person_detector, models.PERSON_INPUT),
}


def main() -> None:
    """Print one line for each way, for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(KNOWN), metavar="MODEL")
    parser.add_argument("--mean", type=float, default=127.5)
    parser.add_argument("--std", type=float, default=127.5)
    given = parser.parse_args()
    for name in given.models:
        model, entry = loaded(name, given.mean, given.std)
        judge_ways(name, model, entry)


def loaded(name: str, mean: float, std: float) -> tuple[Any, models.ImageInput]:
    """Return a model and how its pixels are normalised."""
    if name in KNOWN:
        build, entry = KNOWN[name]
        with quiet():
            return build(), entry
    with quiet():
        import keras

        model = keras.models.load_model(name, compile=False)
    return model, models.ImageInput(model.inputs[0].shape[1], mean, std)


def held_out(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crops that nothing is fitted on, and their photograph or shot.

    Returns:
        uint8 [820, size, size, 3]; int [820], 100 and more for a shot of the clip.
    """
    rng = np.random.default_rng(SEED)
    images, groups = [], []
    for group, photo in enumerate(datasets.labelled_photographs()[0]):
        images += datasets.random_crops(
            photo, CROPS_OF_A_PHOTOGRAPH, size=size, rng=rng
        )
        groups += [group] * CROPS_OF_A_PHOTOGRAPH
    frames = datasets.street_frames()
    first, end = datasets.EVALUATION_FRAMES.start, datasets.EVALUATION_FRAMES.stop
    for index in np.linspace(first, end - 1, CROPS_OF_THE_CLIP).astype(int):
        images += datasets.random_crops(frames[index], 1, size=size, rng=rng)
        shot = np.searchsorted(datasets.SHOTS, index, side="right")
        groups.append(100 + int(shot))
    return np.stack(images), np.array(groups)


def judge_ways(name: str, model: Any, entry: models.ImageInput) -> None:
    """Print how near each way comes to the float model."""
    images, groups = held_out(entry.size)
    pixels = datasets.calibration_images(entry.size)
    inputs = entry.normalise(pixels)
    dataset = calibration.representative_dataset(pixels, mean=entry.mean, std=entry.std)
    expected = inference.predict(
        conversion.convert_float(model), entry.normalise(images)
    )
    measure = agreement if is_classifier(model) else feature_error
    what = "agreement" if measure is agreement else "error, %"
    print(f"{Path(name).stem}: {what} on {len(images)} held-out crops")
    for way, (granularity, cure) in WAYS.items():
        begun = time.perf_counter()
        cured = cure(model, inputs) if cure else model
        seconds = time.perf_counter() - begun
        content = conversion.convert_full_integer(
            cured, dataset, granularity=granularity
        )
        values = measure(inference.predict(content, images), expected)
        low, high = evaluation.bootstrap_interval(values, groups, seed=0)
        of_photos, of_street = values[groups < 100], values[groups >= 100]
        line = (
            f"  {way:27} {values.mean():7.3f} [{low:.3f}, {high:.3f}]  "
            f"photographs {of_photos.mean():.3f}  street {of_street.mean():.3f}"
        )
        if cure:
            grid = rounding.on_grid(content, cured)
            whole = len(grid.found) + len(grid.missing)
            line += f"  {seconds:4.0f} s  {len(grid.found)} of {whole} unchanged"
        print(line, flush=True)


def is_classifier(model: Any) -> bool:
    """Return whether the model ends in a softmax."""
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    return type(last).__name__ == "Softmax" or (
        getattr(activation, "__name__", "") == "softmax"
    )


def agreement(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return which classes are the float model's, bool [N]."""
    return found.argmax(1) == expected.argmax(1)


def feature_error(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return each crop's root mean square error, % of the float outputs' deviation."""
    axes = tuple(range(1, expected.ndim))
    return 100 * np.sqrt(np.mean((found - expected) ** 2, axis=axes)) / expected.std()


# What each way converts to, and what it does before.
WAYS = {
    "per-channel": ("per-channel", None),
    "per-tensor": ("per-tensor", None),
    "per-tensor, biases": (
        "per-tensor",
        lambda model, inputs: rounding.correct_biases(model, inputs)[0],
    ),
    "per-tensor, rounding": (
        "per-tensor",
        lambda model, inputs: rounding.round_weights(model, inputs)[0],
    ),
}


if __name__ == "__main__":
    main()
