"""Measure how long the camera scenes take: `python benchmarks/scene_generation.py`.

The aim is 2,000 scenes in under 10 seconds, in one process.
"""

import argparse
import time

from course_lib.vision.scenes import generate


def main() -> None:
    """Draw scenes and print the time that one takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    generate(1, seed=0, size=options.size)  # the textures are made once
    wall, processor = time.perf_counter(), time.process_time()
    generate(options.count, seed=1, size=options.size)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"{options.count} scenes of {options.size} × {options.size}: {wall:.1f} s, "
        f"{processor:.1f} s of processor time, "
        f"{1000 * processor / options.count:.1f} ms a scene"
    )


if __name__ == "__main__":
    main()
