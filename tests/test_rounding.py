"""Rounding with error compensation: on the grid, nearer to float, and said aloud."""

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion, folding, rounding
from course_lib.tflite import inference
from course_lib.vision import datasets, models

import numpy as np
import pytest

keras = pytest.importorskip("keras")
layers = keras.layers
SIZE = 24


def images(count: int, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Return smooth images: neighbours agree, as they do in photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (count, SIZE // 4, SIZE // 4, channels))
    fine = rng.uniform(-0.1, 0.1, (count, SIZE, SIZE, channels))
    return (coarse.repeat(4, 1).repeat(4, 2) + fine).astype(np.float32)


def normed(x, name: str, *, scale: float = 6.0):
    """Add batch normalization whose channels differ `scale`-fold in range."""
    layer = layers.BatchNormalization(name=name)
    x = layer(x)
    rng = np.random.default_rng(len(name))
    channels = x.shape[-1]
    layer.set_weights(
        [
            scale ** rng.uniform(-1, 1, channels),
            rng.normal(0, 0.5, channels),
            rng.normal(0, 0.1, channels),
            rng.uniform(0.2, 1, channels),
        ]
    )
    return x


def branching_net():
    """Return every structure at once: residual, concatenation, nesting, two outputs."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0)(normed(x, "stem_bn"))
    y = layers.DepthwiseConv2D(5, padding="same", name="depthwise")(x)
    y = layers.ReLU(6.0)(normed(y, "depthwise_bn"))
    y = normed(layers.Conv2D(8, 1, name="project")(y), "project_bn")
    x = layers.ReLU()(layers.Add()([x, y]))
    inner_in = keras.Input(x.shape[1:])
    inner_out = layers.Conv2D(
        8, 3, padding="same", dilation_rate=2, activation="relu", name="dilated"
    )(inner_in)
    y = keras.Model(inner_in, inner_out, name="nested")(x)
    x = layers.Concatenate()([x, y, layers.MaxPooling2D(1)(x)])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(24, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply()([x, gate])
    features = layers.Conv2D(12, 1, activation="silu", name="features")(x)
    x = layers.Flatten()(layers.AveragePooling2D(4)(features))
    classes = layers.Dense(5, activation="softmax", name="classes")(x)
    return keras.Model(image, [classes, features], name="branching")


def one_layer(layer, *, channels: int = 3):
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, channels))
    return keras.Model(image, layer(image))


def converted(model, inputs: np.ndarray, *, granularity: str = "per-tensor") -> bytes:
    return conversion.convert_full_integer(
        model, lambda: ([image[None]] for image in inputs), granularity=granularity
    )


def error(model, other, inputs: np.ndarray) -> float:
    """Return the root mean square difference of two models' outputs."""
    return float(np.sqrt(np.mean((np.asarray(model(inputs)) - other(inputs)) ** 2)))


@pytest.fixture(scope="module")
def net():
    return branching_net()


@pytest.fixture(scope="module", params=conversion.GRANULARITIES)
def rounded(request, net):
    result = rounding.round_weights(
        net, images(24), granularity=request.param, samples=1024
    )
    return request.param, *result


def test_the_converter_changes_no_weight(net, rounded):
    granularity, model, changes = rounded
    inputs = images(24)
    names = {
        call.layer.name
        for call in folding.calls(model)
        if call.kind in folding.WEIGHTED
    }
    check = rounding.on_grid(converted(model, inputs, granularity=granularity), model)
    assert check.complete
    assert set(check.found) == names == {change.layer for change in changes}

    plain = folding.fold(net)
    check = rounding.on_grid(converted(plain, inputs, granularity=granularity), plain)
    assert set(check.missing) == names


def test_the_function_stays(net, rounded):
    _, model, _ = rounded
    inputs = images(24, seed=1)
    for expected, found in zip(net(inputs), model(inputs), strict=True):
        expected, found = np.asarray(expected), np.asarray(found)
        assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1 * expected.std()


def test_the_given_model_stays(net):
    before = [np.array(weight) for weight in net.get_weights()]
    rounding.correct_biases(net, images(4), samples=64)
    for old, new in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


LAYERS = {
    "convolution": lambda: layers.Conv2D(16, 3, padding="same", strides=2),
    "valid": lambda: layers.Conv2D(16, (3, 5), activation="relu"),
    "dilated": lambda: layers.Conv2D(16, 3, dilation_rate=(2, 1), padding="same"),
    "grouped": lambda: layers.Conv2D(8, 5, groups=2, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(
        5, depth_multiplier=2, padding="same", activation="relu6"
    ),
    # Pixels of a row are alike, channels of a pixel are not.
    "dense": lambda: keras.Sequential(
        [layers.Reshape((SIZE, SIZE * 4)), layers.Dense(16)]
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_compensation_lowers_the_error(kind):
    model = one_layer(LAYERS[kind](), channels=4)
    fitted, unseen = images(16, channels=4), images(16, seed=1, channels=4)
    plain, _ = rounding.correct_biases(model, fitted)
    compensated, _ = rounding.round_weights(model, fitted, clip_ratios=(1.0,))
    assert error(model, compensated, unseen) < 0.8 * error(model, plain, unseen)


def test_a_large_fan_in_is_compensated_in_parts(monkeypatch):
    monkeypatch.setattr(rounding, "_MOST_INPUTS", 40)
    test_compensation_lowers_the_error("dense")


def test_biases_bring_the_means_back():
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="first")(image)
    x = layers.ReLU(6.0)(normed(x, "first_bn", scale=30))
    x = layers.DepthwiseConv2D(3, use_bias=False, name="second")(x)
    x = layers.ReLU(6.0)(normed(x, "second_bn", scale=30))
    model = keras.Model(image, x)
    inputs = images(32)
    corrected, _ = rounding.correct_biases(model, inputs)
    plain = folding.fold(model)
    for layer in plain.layers[1:]:
        old_bias = layer.get_weights()[1]
        layer.set_weights([corrected.get_layer(layer.name).get_weights()[0], old_bias])
    expected, found, before = (
        np.asarray(of(inputs)).mean((0, 1, 2)) for of in (model, corrected, plain)
    )
    assert np.abs(before - expected).max() > 0.05
    assert np.abs(found - expected).max() < 0.1 * np.abs(before - expected).max()


def test_what_cannot_be_taken_apart_is_named():
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, name="known")(image)
    x = layers.Conv2DTranspose(4, 3, name="transposed")(x)
    x = layers.PReLU(shared_axes=(1, 2), name="slopes")(x)
    model = keras.Model(image, x)
    result, changes = rounding.round_weights(model, images(4), samples=64)
    said = {change.layer: change.what for change in changes}
    assert "Conv2DTranspose" in said["transposed"]
    assert "rounded plainly" in said["transposed"]
    assert said["slopes"] == "left as it is: a PReLU"
    kernel = result.get_layer("transposed").get_weights()[0]
    steps = kernel / np.abs(kernel).max() * 127
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def test_a_seed_decides_all(net):
    first, again, other = (
        rounding.round_weights(net, images(8), seed=seed, samples=128)[0].get_weights()
        for seed in (0, 0, 1)
    )
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("inputs", "settings", "message"),
    [
        (np.zeros((4, SIZE, SIZE, 3), np.uint8), {}, "uint8"),
        (np.zeros((4, SIZE, SIZE, 1), np.float32), {}, "expected float32 images"),
        (np.zeros((0, SIZE, SIZE, 3), np.float32), {}, "(0, 24, 24, 3)"),
        (images(2), {"granularity": "per-layer"}, "per-layer"),
        (images(2), {"clip_ratios": (0.5, 1.5)}, "clip ratios"),
        (images(2), {"clip_ratios": ()}, "clip ratios"),
        (images(2), {"samples": 0}, "samples"),
    ],
)
def test_unusable_input_is_refused(net, inputs, settings, message):
    with pytest.raises(UnusableInput) as refusal:
        rounding.round_weights(net, inputs, **settings)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_two_inputs_are_refused():
    entries = [keras.Input((SIZE, SIZE, 3)) for _ in range(2)]
    model = keras.Model(entries, layers.Add()(entries))
    with pytest.raises(UnusableInput, match="2 inputs"):
        rounding.correct_biases(model, images(2))


def test_the_person_model_comes_nearer_to_float():
    entry = models.PERSON_INPUT
    model = models.person_detector()
    pixels = datasets.calibration_images(entry.size)
    dataset = calibration.representative_dataset(pixels, mean=entry.mean, std=entry.std)
    unseen = datasets.evaluation_images(entry.size).images
    expected = np.asarray(model(entry.normalise(unseen)))
    rounded, _ = rounding.round_weights(model, entry.normalise(pixels), samples=1024)
    errors, kept = [], []
    for candidate in (model, rounded):
        content = conversion.convert_full_integer(
            candidate, dataset, granularity="per-tensor"
        )
        found = inference.predict(content, unseen)
        errors.append(np.abs(found - expected).mean())
        kept.append(np.mean(found.argmax(1) == expected.argmax(1)))
    assert rounding.on_grid(content, rounded).complete
    assert errors[1] < errors[0]
    # One crop in a hundred is a matter of luck.
    assert kept[1] > kept[0] - 0.01
