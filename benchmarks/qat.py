"""What does quantization-aware training win back, and how long does it take?

Run by hand: python benchmarks/qat.py [MODEL ...], MODEL one of person_detector,
scene_classifier, scene_resnet and efficientnet_lite0; all, when none is named. For each
it prints the float model, post-training quantization with one scale per tensor and one
per channel, rounding with error compensation, and the rounded model trained with one
scale per tensor by distillation: no label is used. Lesson 05 quotes the figures.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_lib.quantization import calibration, conversion, qat, rounding
from course_lib.tflite import inference
from course_lib.vision import datasets, evaluation, models, scenes

import numpy as np

# The scenes that `tools/train_models.py` trains and tests with, without the labels.
TRAINING_SEED, TEST_SEED = 504, 505


@dataclass(frozen=True, eq=False)
class Task:
    """A model, what it is distilled on and what it is judged on.

    Attributes:
        build: Returns the Keras model.
        entry: How it wants its pixels.
        training: Pixels, uint8 [N, size, size, 3], without labels.
        test: Pixels that share no source with training.
        groups: int, the photograph or shot of each of test.
        labels: int, the right classes of test; None judges agreement with float.
        epochs: Passes over training.
        learning_rate: At the first step.
    """

    build: Callable[[], Any]
    entry: models.ImageInput
    training: np.ndarray
    test: np.ndarray
    groups: np.ndarray
    labels: np.ndarray | None
    epochs: int
    learning_rate: float


def main() -> None:
    """Print one table for each model that is asked for."""
    for name in sys.argv[1:] or TASKS:
        run(name, TASKS[name]())


def run(name: str, task: Task) -> None:
    """Print the figures of one model."""
    entry, model = task.entry, task.build()
    inputs, test = entry.normalise(task.training), entry.normalise(task.test)
    expected = model.predict(test, verbose=0).argmax(1)
    what = "agreement with float" if task.labels is None else "accuracy"
    print(
        f"{name}: {what} on {len(test)} images of {len(np.unique(task.groups))} "
        f"sources; distilled on {len(inputs)}"
    )

    def report(way: str, found: np.ndarray, spent: np.ndarray) -> None:
        hits = found == (expected if task.labels is None else task.labels)
        low, high = evaluation.bootstrap_interval(hits, task.groups, seed=0)
        agreement = np.mean(found == expected)
        print(
            f"  {way:16} {np.mean(hits):.4f} ({low:.4f} to {high:.4f}), "
            f"agreement {agreement:.4f}, {spent[0]:.0f} s "
            f"({spent[1]:.0f} s of processor)",
            flush=True,
        )

    report("float", expected, np.zeros(2))
    dataset = calibration.representative_dataset(
        datasets.calibration_images(entry.size)
        if task.labels is None
        else task.training[:200],
        mean=entry.mean,
        std=entry.std,
    )
    for granularity in conversion.GRANULARITIES:
        start = now()
        content = conversion.convert_full_integer(
            model, dataset, granularity=granularity
        )
        spent = now() - start
        found = inference.predict(content, task.test).argmax(1)
        report(f"PTQ {granularity}", found, spent)
    start = now()
    rounded, _ = rounding.round_weights(model, inputs[::8])
    ready = now() - start
    content = conversion.convert_full_integer(
        rounded, dataset, granularity="per-tensor"
    )
    report("PTQ rounded", inference.predict(content, task.test).argmax(1), ready)
    start = now()
    student = qat.prepare(rounded, inputs[::10], mean=entry.mean, std=entry.std)
    ready += now() - start
    found = inference.predict(qat.convert(student), task.test).argmax(1)
    report("QAT untrained", found, ready)
    start = now()
    losses = qat.distil(
        student,
        model,
        inputs,
        epochs=task.epochs,
        seed=0,
        batch_size=64,
        learning_rate=task.learning_rate,
    )
    content = qat.convert(student)
    spent = ready + now() - start
    found = inference.predict(content, task.test).argmax(1)
    report("QAT per-tensor", found, spent)
    print(f"  losses {', '.join(f'{loss:.5f}' for loss in losses)}", flush=True)


def now() -> np.ndarray:
    """Return seconds on the clock and seconds of processor; others may share it."""
    return np.array([time.monotonic(), time.process_time()])


def crops(size: int, *, frames: int, photographs: int) -> np.ndarray:
    """Cut crops from what calibration may see; half of them are mirrored.

    Args:
        size: Height and width of each crop.
        frames: Crops of each street frame.
        photographs: Crops of each photograph.
    """
    rng = np.random.default_rng(0)
    street, named = datasets.street_frames(), datasets.photographs()
    sources = [street[index] for index in datasets.CALIBRATION_FRAMES] * frames
    photos = [named[name] for name in datasets.CALIBRATION_PHOTOGRAPHS]
    sources += [*photos, datasets.annotated_photograph().image] * photographs
    images = [datasets.random_crops(s, 1, size=size, rng=rng)[0] for s in sources]
    images = np.stack(images)
    images[::2] = images[::2, :, ::-1]
    return images


def unseen(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 580 crops of photographs and shots that calibration does not see."""
    rng = np.random.default_rng(1)
    images, groups = [], []
    for group, photo in enumerate(datasets.labelled_photographs()[0]):
        images += datasets.random_crops(photo, 20, size=size, rng=rng)
        groups += [group] * 20
    for frame in datasets.EVALUATION_FRAMES:
        image = datasets.street_frames()[frame]
        images += datasets.random_crops(image, 2, size=size, rng=rng)
        groups += [100 + int(np.searchsorted(datasets.SHOTS, frame, "right"))] * 2
    return np.stack(images), np.array(groups)


def person() -> Task:
    """Distil the person model."""
    entry = models.PERSON_INPUT
    training = crops(entry.size, frames=20, photographs=200)
    test, groups = unseen(entry.size)
    return Task(models.person_detector, entry, training, test, groups, None, 4, 2e-5)


def lite0() -> Task:
    """Distil EfficientNet-Lite0, for as long as patience lasts."""
    entry = models.EFFICIENTNET_LITE0_INPUT
    training = crops(entry.size, frames=2, photographs=40)
    test, groups = unseen(entry.size)
    return Task(models.efficientnet_lite0, entry, training, test, groups, None, 1, 1e-5)


def of_scenes(build: Callable[[], Any]) -> Callable[[], Task]:
    """Return the task of distilling a scene model."""

    def make() -> Task:
        training = scenes.generate(2000, seed=TRAINING_SEED, processes=2).images
        test = scenes.generate(2000, seed=TEST_SEED, processes=2)
        return Task(
            build=build,
            entry=models.SCENE_INPUT,
            training=training,
            test=test.images,
            groups=np.arange(len(test.images)),
            labels=test.person + 2 * test.car,
            epochs=2,
            learning_rate=1e-4,
        )

    return make


TASKS = {
    "person_detector": person,
    "scene_classifier": of_scenes(models.scene_classifier),
    "scene_resnet": of_scenes(models.scene_resnet),
    "efficientnet_lite0": lite0,
}


if __name__ == "__main__":
    main()
