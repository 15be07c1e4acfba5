"""Distil the scene classifier with one scale per tensor and write the file into data/.

Run it by hand, without the network: python tools/train_students.py. It needs no label;
the labels of the test scenes only judge. It prints what data/README.md records.
"""

import time

from course_lib import files
from course_lib.quantization import calibration, conversion, qat
from course_lib.tflite import inference
from course_lib.vision import models, scenes

import numpy as np
from make_data import enter_in_readme

# Count and seed. The test scenes are those of tools/train_models.py; the others are new
# to the float model too.
LEARN, TEST = (2_000, 508), (2_000, 505)
CALIBRATION = 200
EPOCHS, LEARNING_RATE, SEED = 3, 1e-4, 0


def main() -> None:
    """Write data/scene_classifier_qat.tflite."""
    entry, model = models.SCENE_INPUT, models.scene_classifier()
    images = scenes.generate(LEARN[0], seed=LEARN[1], processes=2).images
    inputs = entry.normalise(images)
    started = time.process_time()
    student = qat.prepare(model, inputs[::10], mean=entry.mean, std=entry.std)
    qat.distil(
        student, model, inputs, epochs=EPOCHS, seed=SEED, learning_rate=LEARNING_RATE
    )
    content = qat.convert(student)
    seconds = time.process_time() - started
    print(f"distilled on {LEARN[0]:,} scenes, {seconds:.0f} s of processor time")
    files.write(models.DATA / "scene_classifier_qat.tflite", content)

    test = scenes.generate(TEST[0], seed=TEST[1], processes=2)
    labels = test.person + 2 * test.car
    scores = model.predict(entry.normalise(test.images), verbose=0)
    expected = scores.argmax(1)
    print(f"float: accuracy {np.mean(expected == labels):.4f}")
    dataset = calibration.representative_dataset(
        images[:CALIBRATION], mean=entry.mean, std=entry.std
    )
    made = {
        f"PTQ {granularity}": conversion.convert_full_integer(
            model, dataset, granularity=granularity
        )
        for granularity in conversion.GRANULARITIES
    }
    for name, file in {**made, "QAT per-tensor": content}.items():
        found = inference.predict(file, test.images).argmax(1)
        print(
            f"{name}: accuracy {np.mean(found == labels):.4f}, "
            f"agreement with float {np.mean(found == expected):.4f}"
        )
    enter_in_readme()


if __name__ == "__main__":
    main()
