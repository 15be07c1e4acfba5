"""How much does EfficientNet-Lite0 keep when one shot of a clip calibrates it?

Run by hand, about two minutes: python benchmarks/calibration_sets.py. Lesson 04 quotes
the figures. The last three shots are also among the images that are judged on.
"""

from course_lib.quantization import calibration, conversion
from course_lib.tflite import inference
from course_lib.vision import datasets, models

import numpy as np


def main() -> None:
    """Print, for each shot, the agreement with the float model."""
    entry = models.EFFICIENTNET_LITE0_INPUT
    model = conversion.fix_batch(models.efficientnet_lite0())
    images = datasets.evaluation_images(entry.size).images
    expected = inference.predict(
        conversion.convert_float(model), entry.normalise(images)
    ).argmax(1)
    frames = datasets.street_frames()
    for number, (first, end) in enumerate(
        zip(datasets.SHOTS, datasets.SHOTS[1:], strict=False)
    ):
        for step, which in ((1, "all frames"), (2, "every second frame")):
            shot = [
                datasets.centre_crop(frame, size=entry.size)
                for frame in frames[first:end:step]
            ]
            dataset = calibration.representative_dataset(
                shot, mean=entry.mean, std=entry.std
            )
            content = conversion.convert_full_integer(model, dataset)
            found = inference.predict(content, images).argmax(1)
            kept = np.mean(found == expected)
            print(f"shot {number}, {which} ({len(shot)}): keeps {kept:.2f}")


if __name__ == "__main__":
    main()
