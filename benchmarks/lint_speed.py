"""Time `dlpu lint` on a model: `python benchmarks/lint_speed.py MODEL`.

Three programs read the same file, each as a whole process on a warm disk: the bare
read by the schema's generated classes, `dlpu lint`, and TensorFlow's own Analyzer. The
aims: at most 0.3 s more than the bare read, at least 15 times faster than the Analyzer,
and under 150 MB of memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MORE, FASTER, MEGABYTES = 0.3, 15, 150
BARE = """
import sys
from pathlib import Path
from ai_edge_litert import schema_py_generated as schema
model = schema.Model.GetRootAs(Path(sys.argv[1]).read_bytes(), 0)
for g in range(model.SubgraphsLength()):
    graph = model.Subgraphs(g)
    for n in range(graph.OperatorsLength()):
        operator = graph.Operators(n)
        operator.InputsAsNumpy(), operator.OutputsAsNumpy()
        model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
    for n in range(graph.TensorsLength()):
        tensor = graph.Tensors(n)
        tensor.Name(), tensor.ShapeAsNumpy(), tensor.Type()
        tensor.Quantization() and tensor.Quantization().ScaleAsNumpy()
"""
ANALYZER = """
import sys
import tensorflow as tf
tf.lite.experimental.Analyzer.analyze(model_path=sys.argv[1])
"""


def measure(command: list[str], repeats: int) -> tuple[float, float]:
    """Return the median of the seconds of a program, and its most megabytes."""
    seconds, megabytes = [], []
    for _ in range(repeats):
        with tempfile.TemporaryFile() as output:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            seconds.append(time.perf_counter() - start)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode not in (0, 1):  # 1: the linter found something
                output.seek(0)
                sys.exit(output.read().decode(errors="replace"))
        unit = 2**20 if sys.platform == "darwin" else 2**10
        megabytes.append(usage.ru_maxrss / unit)
    return statistics.median(seconds), max(megabytes)


def main() -> None:
    """Print the three times side by side, and whether the aims are met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--soc", default="artpec8")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    python, model = sys.executable, str(options.model)
    options.model.read_bytes()  # warms the disk
    lint = ["lint", model, "--soc", options.soc, "--format", "json"]
    rows = {
        "bare read by the schema": ([python, "-c", BARE, model], options.repeats),
        "dlpu lint": ([python, "-m", "course_lib.cli", *lint], options.repeats),
        "tf.lite Analyzer": ([python, "-c", ANALYZER, model], 3),
    }
    results = {name: measure(*row) for name, row in rows.items()}
    print(f"{options.model.name}, whole processes, medians")
    for name, (seconds, megabytes) in results.items():
        print(f"{name:24} {seconds:7.3f} s {megabytes:6.0f} MB")
    (bare, _), (lint_time, memory), (analyzer, _) = results.values()
    verdicts = {
        f"{lint_time - bare:.3f} s more than the bare read, at most {MORE}": (
            lint_time - bare <= MORE
        ),
        f"{analyzer / lint_time:.1f} times faster than the Analyzer, at least "
        f"{FASTER}": analyzer >= FASTER * lint_time,
        f"{memory:.0f} MB of memory, under {MEGABYTES}": memory < MEGABYTES,
    }
    for text, is_met in verdicts.items():
        print(f"{'yes' if is_met else 'NO':3} {text}")
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    main()
