"""Each cell to copy runs alone, in an empty folder, and does what the lesson says."""

import ast
import re
import subprocess
import sys
import tomllib

from course_lib.quantization import conversion

import numpy as np
import pytest
from lessons import LESSONS, ROOT
from PIL import Image

BOOKS = [book for book in LESSONS if book.tagged("copy")]
# What a user would write below the copied cell; it ends in a line that must be printed.
USE = {
    "03_quantization_by_hand": """
values = np.linspace(-1.0, 3.0, 1001, dtype=np.float32)
scale, zero_point = choose_parameters(values.min(), values.max())
integers = quantize(values, scale, zero_point)
restored = dequantize(integers, scale, zero_point)
assert integers.dtype == np.int8
assert np.abs(restored - values).max() <= scale / 2 + 1e-6
print("done")
""",
    "04_post_training_quantization": """
from pathlib import Path

layers = tf.keras.layers
model = tf.keras.Sequential(
    [tf.keras.Input((24, 32, 3)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()]
)
signature = [tf.TensorSpec((1, 24, 32, 3), tf.float32)]
model.export("saved", input_signature=signature, verbose=False)
content = full_integer("saved", sorted(Path().glob("*.jpg")), (24, 32), 127.5, 127.5)
Path("model.tflite").write_bytes(content)
print("done")
""",
}


def declared() -> set[str]:
    """Return the names under which the packages in pyproject.toml are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    return {"PIL" if name == "pillow" else name for name in names}


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_it_imports_public_packages_only(book):
    (cell,) = book.tagged("copy")
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        for module in modules:
            root = module.split(".")[0]
            assert root in declared() | set(sys.stdlib_module_names), module


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_it_runs_alone(book, tmp_path):
    assert book.slug in USE, f"{book}: say in USE how one would use its copied cell"
    (cell,) = book.tagged("copy")
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    script = tmp_path / "script.py"
    script.write_text(cell.source + "\n\n" + USE[book.slug], "utf-8")
    done = subprocess.run(
        # -I: neither this folder nor the user's packages are importable by accident.
        [sys.executable, "-I", "-c", _WITHOUT_THE_COURSE, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
    for made in tmp_path.glob("*.tflite"):
        conversion.verify_full_integer(
            made.read_bytes(), granularity="per-channel", io="uint8"
        )


# Runs a script in which importing the course's own library fails.
_WITHOUT_THE_COURSE = """
import runpy, sys
sys.modules["course_lib"] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""
