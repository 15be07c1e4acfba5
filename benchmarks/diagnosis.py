"""Does the diagnosis name the cause that was planted, on nets it has never seen?

Run by hand, with the seeds to judge on:

    python benchmarks/diagnosis.py 11 12 13 14 15

Two architectures, depthwise-separable and residual, are trained on handwritten digits
for each seed, once with ReLU and once with SiLU. The thresholds in
course_lib/tflite/diagnosis.py were chosen on the seeds 0 to 2 and 10, and on no others.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from course_lib.course import laboratory
from course_lib.quantization import conversion
from course_lib.tflite import comparison, diagnosis
from course_lib.vision import datasets

import numpy as np

ARCHITECTURES = ("separable", "residual")
STD = 255.0
TRAINED_ON = 1400
CALIBRATED_ON = 100
COMPARED_ON = 64


@dataclass(frozen=True)
class Case:
    """A float file, an int8 file, and what was done to them ("" for nothing)."""

    cause: str
    what: str
    float_file: bytes
    int8_file: bytes
    images: np.ndarray
    labels: np.ndarray | None = None


def network(architecture: str, *, activation: str = "relu", momentum: float = 0.9):
    """Build a net for 16×16 grey pictures of ten classes."""
    import tensorflow as tf

    layers = tf.keras.layers

    def bend(x: Any, layer: Any) -> Any:
        x = layers.BatchNormalization(momentum=momentum)(layer(x))
        return layers.Activation(activation)(x)

    entry = tf.keras.Input((16, 16, 1))
    x = bend(entry, layers.Conv2D(16, 3, padding="same", use_bias=False))
    for filters in (16, 32, 32):
        strides = 2 if filters > x.shape[-1] else 1
        if architecture == "separable":
            depthwise = layers.DepthwiseConv2D(
                3, strides, padding="same", use_bias=False
            )
            x = bend(x, depthwise)
            x = bend(x, layers.Conv2D(filters, 1, use_bias=False))
        else:
            first = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)
            y = bend(x, first)
            second = layers.Conv2D(filters, 3, padding="same", use_bias=False)
            y = layers.BatchNormalization(momentum=momentum)(second(y))
            if strides == 2:
                x = layers.Conv2D(filters, 1, strides, use_bias=False)(x)
                x = layers.BatchNormalization(momentum=momentum)(x)
            x = layers.Activation(activation)(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return tf.keras.Model(entry, layers.Dense(10, activation="softmax")(x))


def couples(model: Any) -> list[tuple[Any, Any]]:
    """Return each batch norm whose activation one convolution reads, and that one."""
    found = []
    for layer in model.layers:
        if type(layer).__name__ != "BatchNormalization":
            continue
        after = [node.operation for node in layer._outbound_nodes]
        if len(after) != 1 or type(after[0]).__name__ != "Activation":
            continue
        readers = [node.operation for node in after[0]._outbound_nodes]
        if len(readers) == 1 and "Conv2D" in type(readers[0]).__name__:
            found.append((layer, readers[0]))
    return found


def scale_channels(norm: Any, reader: Any, factors: np.ndarray) -> None:
    """Enlarge channels behind a batch norm and take it back in the layer that reads."""
    gamma, beta, *rest = norm.get_weights()
    norm.set_weights([gamma * factors, beta * factors, *rest])
    kernel = reader.get_weights()
    kernel[0] = kernel[0] / factors[:, None]
    reader.set_weights(kernel)


def outliers(model: Any, rng: np.random.Generator) -> Any:
    """Let one channel before each SiLU reach far, as they do in large SiLU nets."""
    for norm, reader in couples(model):
        factors = np.ones(len(norm.get_weights()[0]))
        factors[rng.integers(len(factors))] = rng.uniform(80, 160)
        scale_channels(norm, reader, factors)
    return model


def one_answer(model: Any, rng: np.random.Generator) -> Any:
    """Favour one class so much that no picture changes the answer."""
    kernel, bias = model.layers[-1].get_weights()
    bias[rng.integers(len(bias))] += 50
    model.layers[-1].set_weights([kernel, bias])
    return model


def with_boxes(model: Any, rng: np.random.Generator) -> Any:
    """Put boxes of 0 to 640 and the scores into one output."""
    import tensorflow as tf

    layers = tf.keras.layers
    pooled = model.layers[-1].input
    dense = layers.Dense(4, activation="sigmoid")
    boxes = layers.Rescaling(640.0)(dense(pooled))
    dense.set_weights(
        [rng.normal(0, 1, w.shape).astype("float32") for w in dense.get_weights()]
    )
    return tf.keras.Model(model.input, layers.Concatenate()([boxes, model.output]))


def calibrations(images: np.ndarray) -> dict[str, Callable]:
    """Return good and bad representative datasets by name."""
    some = images[:CALIBRATED_ON]
    noise = np.random.default_rng(0).integers(0, 256, some.shape, np.uint8)

    def real(pixels: np.ndarray, std: float = STD) -> Callable:
        values = (pixels / std).astype(np.float32)
        return lambda: ([value[None]] for value in values)

    return {
        "good": real(some),
        "dark pictures": real(some // 6),
        "0..255 for 0..1": real(some, 1.0),
        "flat grey pictures": real(np.full_like(some, 128)),
        "noise, not normalised": real(noise, 1.0),
    }


def cases(seed: int, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple]:
    """Yield architecture and case: each cause, and the healthy nets."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    images, labels = images[order], labels[order]
    held_out = images[-COMPARED_ON:], labels[-COMPARED_ON:]
    seen = calibrations(images)
    bad = [name for name in seen if name != "good"]

    floats: dict[int, tuple[Any, bytes, Any]] = {}

    def made(model: Any, cause: str, what: str, granularity: str, **options: Any):
        data = seen[options.pop("calibration", "good")]
        given = options.pop("labels", None)
        if id(model) not in floats:  # one net serves several cases
            fixed = conversion.fix_batch(model)
            floats[id(model)] = fixed, conversion.convert_float(fixed), model
        fixed, in_float, _ = floats[id(model)]
        return Case(
            cause,
            f"{what}, {granularity}",
            in_float,
            conversion.convert_full_integer(fixed, data, granularity=granularity),
            held_out[0],
            given,
        )

    for architecture in ARCHITECTURES:

        def learn(activation: str, *, epochs: int, momentum: float = 0.9) -> Any:
            tf.keras.utils.set_random_seed(seed)
            model = network(architecture, activation=activation, momentum=momentum)  # noqa: B023
            adam = tf.keras.optimizers.Adam(3e-3)
            model.compile(adam, "sparse_categorical_crossentropy", jit_compile=False)
            x = images[:TRAINED_ON].astype(np.float32) / STD
            model.fit(x, labels[:TRAINED_ON], epochs=epochs, batch_size=64, verbose=0)
            return model

        plain, smooth = (learn(name, epochs=6) for name in ("relu", "silu"))

        def copy(model: Any) -> Any:
            twin = tf.keras.models.clone_model(model)
            twin.set_weights(model.get_weights())
            return twin

        both = ("per-tensor", "per-channel")
        one = both[seed % 2]
        for granularity in both:
            yield architecture, made(plain, "", "healthy", granularity)
        yield architecture, made(smooth, "", "healthy SiLU", one)
        kind = bad[(seed + 2 * ARCHITECTURES.index(architecture)) % len(bad)]
        yield architecture, made(plain, "calibration", kind, one, calibration=kind)
        factor = float(rng.uniform(100, 400))
        model = laboratory.plant_dead_channels(plain, factor=factor, seed=seed)
        what = f"x {factor:.0f}"
        yield architecture, made(model, "dead-channels", what, "per-tensor")
        model = laboratory.plant_unequal_ranges(plain, seed=seed)
        yield architecture, made(model, "unequal-ranges", "e^+-3.5", "per-tensor")
        model = with_boxes(copy(plain), rng)
        yield architecture, made(model, "shared-scale", "boxes of 640", one)
        if seed % 2:
            model, given = learn("relu", epochs=1, momentum=0.999), held_out[1]
            what = "batch norm not settled, labels"
        else:
            model, given = one_answer(copy(plain), rng), None
            what = "one answer, no labels"
        yield architecture, made(model, "float-model", what, one, labels=given)
        model = outliers(copy(smooth), rng)
        yield architecture, made(model, "silu", "outliers", one)


def main(seeds: list[int]) -> None:
    """Print what was planted and what was found, and how often that is the same."""
    digits = datasets.handwritten_digits()
    planted = named = clean = healthy = 0
    for seed in seeds:
        for architecture, case in cases(seed, *digits):
            found = comparison.compare(
                case.float_file,
                case.int8_file,
                case.images,
                std=STD,
                labels=case.labels,
            )
            causes = [cause.id for cause in diagnosis.diagnose(found)]
            first = causes[0] if causes else ""
            right = first == case.cause
            if case.cause:
                planted, named = planted + 1, named + right
            else:
                healthy, clean = healthy + 1, clean + right
            print(
                f"{seed:2} {architecture:9} {case.cause or 'nothing wrong':14} "
                f"{case.what:40} {'ok  ' if right else 'MISS'} "
                f"{', '.join(causes) or 'nothing wrong'}  (agreement "
                f"{-1 if found.agreement is None else found.agreement:.2f}, "
                f"{found.output_sqnr:.1f} dB)",
                flush=True,
            )
    print(f"named {named} of {planted} planted causes; {clean} of {healthy} clean")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [0, 1, 2])
