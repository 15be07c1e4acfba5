"""How well does the scene detector find people and cars, in each chip's form?

Run by hand: python benchmarks/detector.py [SCENES]; 2,000 when no number is given. It
prints mean average precision at an overlap of 0.5 on scenes that training did not see:
float, full-integer with one scale for each output channel and with one for each
tensor, and, on fewer scenes, planar ONNX in ONNX Runtime. data/README.md and lesson 14
quote the figures.
"""

import sys

from course_lib.quantization import calibration, conversion
from course_lib.tflite import inference
from course_lib.vision import detector_training, evaluation, models, scenes

import numpy as np
import onnxruntime

TEST_SEED = 1402
# The first scenes of `tools/train_detector.py`.
CALIBRATION, TRAINING_SEED = 200, 1401
ONNX_SCENES = 300


def main(count: int) -> None:
    """Print one row for each form."""
    entry, model = models.SCENE_DETECTOR_INPUT, models.scene_detector()
    anchors = models.scene_detector_anchors()
    drawn = scenes.generate(count, seed=TEST_SEED, size=entry.size, processes=2)
    truth = [
        detector_training.as_detections(boxes, size=entry.size) for boxes in drawn.boxes
    ]
    print(
        f"{model.count_params():,} parameters; mAP@0.5 on {count:,} scenes of seed "
        f"{TEST_SEED} with {sum(map(len, truth)):,} boxes"
    )

    def report(form: str, outputs: list[np.ndarray]) -> None:
        found = detector_training.detect(outputs, anchors=anchors)
        judged = evaluation.mean_average_precision(found, truth[: len(found)])
        each = ", ".join(
            f"{models.SCENE_DETECTOR_CLASSES[label]} {value:.4f}"
            for label, value in judged.per_class.items()
        )
        print(f"  {form}: {judged.mean:.4f} ({each})", flush=True)

    images = entry.normalise(drawn.images)
    expected = model.predict(images, verbose=0)
    report("float", expected)
    calibrated = scenes.generate(CALIBRATION, seed=TRAINING_SEED, size=entry.size)
    dataset = calibration.representative_dataset(
        calibrated.images, mean=entry.mean, std=entry.std
    )
    for granularity in conversion.GRANULARITIES[::-1]:
        content = conversion.convert_full_integer(
            model, dataset, granularity=granularity
        )
        outputs = inference.predict(content, drawn.images)
        report(f"{granularity}, {len(content):,} bytes", outputs)

    content = conversion.convert_planar_onnx(model)
    session = onnxruntime.InferenceSession(content)
    planar = images[:ONNX_SCENES].transpose(0, 3, 1, 2)
    runs = [session.run(None, {"image": image[None]}) for image in planar]
    outputs = [np.concatenate(of) for of in zip(*runs, strict=True)]
    report(f"float, the first {len(planar)}", [of[:ONNX_SCENES] for of in expected])
    report(f"planar ONNX, the first {len(planar)}, {len(content):,} bytes", outputs)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
