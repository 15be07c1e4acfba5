"""Repair EfficientNet-Lite0 for one scale per tensor and write the file into data/.

Run it by hand, without the network: python tools/repair_lite0.py. It is what
`dlpu convert --repair` does, on the course's 100 calibration images and without a
label. It prints what each cure was worth; data/README.md records that.
"""

from course_lib import files
from course_lib.quantization import repair
from course_lib.vision import datasets, models

from make_data import enter_in_readme


def main() -> None:
    """Write data/efficientnet_lite0_repaired.tflite."""
    entry = models.EFFICIENTNET_LITE0_INPUT
    repaired = repair.repair(
        models.efficientnet_lite0(),
        datasets.calibration_images(entry.size),
        mean=entry.mean,
        std=entry.std,
    )
    print(f"judged by {repaired.judges} images")
    for attempt in repaired.attempts:
        kept = "kept" if attempt.kept else ""
        print(
            f"{attempt.cure:22} error {attempt.error:.3f}, as float "
            f"{attempt.agreement:.2f}, {attempt.seconds:4.0f} s {kept}"
        )
    files.write(models.DATA / "efficientnet_lite0_repaired.tflite", repaired.content)
    enter_in_readme()


if __name__ == "__main__":
    main()
