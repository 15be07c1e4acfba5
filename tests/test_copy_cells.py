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
    "01_meet_the_dlpus": """
listing = '''2026-11-21T10:00:00.018 Connecting to larod...
2026-11-21T10:00:00.036 Connected
2026-11-21T10:00:00.036 Devices:
____________________
 Name                 Instance
 cpu-tflite           0
 cpu-proc             0
 axis-a8-dlpu-tflite  0
 axis-a8-dlpu-native  0
 axis-a8-gpu-proc     0
____________________
'''
assert inference_devices(listing) == [
    "axis-a8-dlpu-tflite", "axis-a8-dlpu-native", "cpu-tflite"
]
vapix = '{"apiVersion": "1.0", "data": {"propertyList": {"Soc": "Axis Artpec-8"}}}'
assert soc_name(vapix) == "Axis Artpec-8"
assert soc_name('root.Properties.System.Soc="Axis Artpec-8"') == "Axis Artpec-8"
print("done")
""",
    "02_train_a_camera_model": """
from pathlib import Path

import numpy as np
from PIL import Image

tf.keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
for name, level in (("dark", 40), ("light", 180)):
    Path("own", name).mkdir(parents=True)
    for number in range(60):
        pixels = rng.integers(level - 30, level + 30, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(Path("own", name, f"{number}.jpg"))
pixels = tf.keras.Input((32, 32, 3))
maps = tf.keras.layers.Conv2D(8, 3, strides=2, activation="relu")(pixels)
backbone = tf.keras.Model(pixels, maps)
before = backbone.get_weights()
model, classes, accuracy = retrain(backbone, "own", 32, 127.5, 127.5, epochs=40)
assert classes == ["dark", "light"]
assert accuracy > 0.8
assert model.output_shape == (None, 2)
assert all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights()))
print("done")
""",
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
    "05_quantization_aware_training": """
import numpy as np
import tf_keras

image = tf_keras.Input((16, 16, 3))
x = layers.Conv2D(8, 3, padding="same", activation="relu6")(image)
y = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
x = layers.Add()([x, layers.Conv2D(8, 1)(y)])
x = layers.Concatenate()([layers.Conv2D(4, 1)(x), layers.MaxPooling2D(1)(x)])
x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))
trained = student(tf_keras.Model(image, x))
rng = np.random.default_rng(0)
trained.compile("adam", "mse")
trained.fit(rng.random((32, 16, 16, 3)), rng.random((32, 3)), verbose=0)
tensors = tf.lite.Interpreter(model_content=full_integer(trained)).get_tensor_details()
counts = {len(tensor["quantization_parameters"]["scales"]) for tensor in tensors}
assert max(counts) == 1, counts
assert tuple(tensors[0]["shape_signature"]) == (1, 16, 16, 3)
assert {tensor["dtype"] for tensor in tensors} == {np.int8, np.uint8, np.int32}
try:
    student(tf_keras.Sequential([tf_keras.Input((8, 8, 3)), layers.ReLU()]))
except AssertionError as refused:
    assert "fold" in str(refused)
else:
    raise SystemExit("a ReLU of its own was not refused")
print("done")
""",
    "06_artpec7": """
import os
import sys
from pathlib import Path

report = '''
Operator                       Count      Status

CONV_2D                        11         Mapped to Edge TPU
CONV_2D                        2          More than one subgraph is not supported
'''
table = read_table(report)
assert table[0] == ("CONV_2D", 11, "Mapped to Edge TPU")
assert mapped(table) == 11 / 13
if os.name != "nt":  # A script stands in for the compiler.
    Path("edgetpu_compiler").write_text(f"#!{sys.executable}\\nprint({report!r})\\n")
    Path("edgetpu_compiler").chmod(0o755)
    os.environ["PATH"] = str(Path.cwd())
    assert read_table(compile_for_edge_tpu("model.tflite", ".")) == table
print("done")
""",
    "07_artpec8": """
import numpy as np
import tensorflow as tf

layers = tf.keras.layers
stack = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)]
model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *stack])
rng = np.random.default_rng(0)
kinds = {}
for per_tensor in (False, True):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.random((1, 8, 8, 3), np.float32)] for _ in range(4)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel = per_tensor
    kinds[per_tensor] = check_for_artpec8(converter.convert())
assert kinds[True] == []
assert {text.partition(": ")[2] for text in kinds[False]} >= {"4 scales"}
content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
assert all(text.endswith(": float32") for text in check_for_artpec8(content))
print("done")
""",
    "08_artpec9": """
import tensorflow as tf

layers = tf.keras.layers
image = tf.keras.Input((16, 16, 3))
start = layers.Conv2D(16, 3, strides=2)(layers.ZeroPadding2D(1)(image))
added = layers.Add()([start, layers.Conv2D(16, 3, padding="same")(start)])
model = tf.keras.Model(image, layers.Conv2D(6, 1)(added))
content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
findings = [text.partition(": ")[2] for text in check_for_artpec9(content)]
assert findings == ["explicit PAD", "6 channels", "reads an ADD, compare with the CPU"]
print("done")
""",
    "09_cv25": """
image = np.random.default_rng(0).integers(0, 256, (4, 300, 3), np.uint8)
planes = np.frombuffer(planar_bytes(image), np.uint8).reshape(3, 4, 320)
assert np.array_equal(planes[:, :, :300].transpose(1, 2, 0), image)
assert not planes[:, :, 300:].any()
values = np.arange(1001, dtype=np.float32)
data = np.pad(values[:, None], ((0, 0), (0, 7))).tobytes()
assert len(data) == 32032
assert np.array_equal(read_values(data, 1001), values)
assert np.array_equal(read_values(values.tobytes(), 1001, stride=4), values)
print("done")
""",
    "11_shape_the_model": """
model = plain_network((20, 40), 3, multiple=16)
convolutions = [e for e in model.layers if isinstance(e, tf.keras.layers.Conv2D)]
assert [layer.filters for layer in convolutions] == [32, 48]
assert (model.input_shape, model.output_shape) == ((1, 32, 32, 3), (1, 3))
content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
file = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=plain)
operators = {entry["op_name"] for entry in file._get_ops_details()}
assert operators == {"CONV_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED"}, operators
print("done")
""",
    "12_test_on_your_computer": """
from pathlib import Path

import tensorflow as tf

tf.keras.utils.set_random_seed(0)
layers = tf.keras.layers
stack = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)]
model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *stack])
pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
inputs = (pixels / 255).astype(np.float32)
Path("files").mkdir()
for name in ("float", "int8"):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if name == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([one[None]] for one in inputs)
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    Path("files", f"{name}.tflite").write_bytes(converter.convert())
found = {"float": answers("files/float.tflite", inputs)}
found["int8"] = answers("files/int8.tflite", pixels)
assert np.array_equal(found["float"], model.predict(inputs, verbose=0).argmax(1))
share, low, high = interval(found["float"] == found["int8"], np.arange(12) // 3)
assert 0 <= low <= share <= high <= 1
assert share > 0.5
assert interval([1, 1, 0, 0], [0, 0, 1, 1]) == (0.5, 0.0, 1.0)
try:
    answers("files/int8.tflite", inputs)
except AssertionError as error:
    assert "uint8" in str(error)
else:
    raise AssertionError("floats were taken for pixels")
print("done")
""",
    "13_test_on_the_camera": """
import asyncio, json, subprocess, sys

import numpy as np

# A camera in another process, since this one may not import the course.
camera = '''
import json, sys
from course_lib.camera import virtual
from course_lib.tflite import inference
from course_lib.vision import models
import numpy as np

file = models.DATA / "scene_classifier_qat.tflite"
picture = np.full((1, 96, 96, 3), 99, np.uint8)
answer = inference.predict(file, picture, raw=True).tolist()
with virtual.start("artpec8", compile_seconds=0) as desk:
    login = {"username": desk.user, "password": desk.password, "port": desk.port}
    known, tmp = desk.known / "known_hosts", desk.root / "tmp"
    told = desk.host, login, str(known), desk.soc.device, str(file), answer
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
    print(len(list(tmp.iterdir())), flush=True)
'''
desk = subprocess.Popen(
    [sys.executable, "-I", "-c", camera],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
host, login, known, device, file, answer = json.loads(desk.stdout.readline())
model = open(file, "rb").read()


def outcome(device, pixels, known):
    run = on_camera(host, model, device, pixels, rounds=3, known_hosts=known, **login)
    try:
        return asyncio.run(run)
    except (asyncssh.ProcessError, asyncssh.HostKeyNotVerifiable) as error:
        return error


picture = np.full((96, 96, 3), 99, np.uint8).tobytes()
mean, output = outcome(device, picture, known)
assert mean > 0
assert [list(output)] == answer
assert isinstance(outcome(device, picture, b""), asyncssh.HostKeyNotVerifiable)
short = outcome(device, picture[1:], known)
assert "Could only read 27647 out of 27648 bytes" in short.stdout
hostile = outcome("x; touch stolen", picture, known)
assert 'Could not find device name "x; touch stolen"' in hostile.stdout
left, _ = desk.communicate("\\n", timeout=30)
assert left.strip() == "0", "something was left on the camera"
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
