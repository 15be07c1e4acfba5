"""Folding keeps the function and brings the form of a `.tflite` file."""

from course_lib.errors import UnusableInput
from course_lib.quantization import folding
from course_lib.quiet import quiet
from course_lib.vision import models

import numpy as np
import pytest

with quiet():
    import keras

layers = keras.layers


def scrambled(model, seed=0):
    """Give every variable a random value; variances stay positive."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            values = layer.get_weights()
            layer.set_weights([rng.uniform(0.5, 1.5, v.shape) for v in values])
        elif not isinstance(layer, keras.Model):
            values = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.3, v.shape) for v in values])
    return model


def same_function(model, shape=(16, 16, 3)):
    """Assert that folding changes no answer; return the folded model."""
    folded = folding.fold(model)
    inputs = np.random.default_rng(1).uniform(-1, 1, (5, *shape)).astype(np.float32)
    before = model.predict(inputs, verbose=0)
    after = folded.predict(inputs, verbose=0)
    for one, other in zip(
        *(v if isinstance(v, list) else [v] for v in (before, after)), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)
    return folded


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def block(x, filters):
    x = layers.Conv2D(filters, 1, use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    return layers.Activation("relu")(layers.BatchNormalization(scale=False)(x))


def test_batch_norm_and_relu_become_part_of_the_layer():
    image = keras.Input((16, 16, 3))
    x = layers.Dropout(0.5)(block(image, 4))
    x = layers.Dense(5, use_bias=False)(layers.GlobalAveragePooling2D()(x))
    folded = same_function(
        scrambled(keras.Model(image, layers.BatchNormalization(center=False)(x)))
    )
    assert kinds(folded) == [
        "InputLayer",
        "Conv2D",
        "DepthwiseConv2D",
        "GlobalAveragePooling2D",
        "Dense",
    ]
    assert [layer.activation.__name__ for layer in folded.layers if layer.weights] == [
        "relu6",
        "relu",
        "linear",
    ]


def test_a_result_that_others_read_is_not_folded_away():
    image = keras.Input((16, 16, 3))
    raw = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    normed = layers.BatchNormalization(name="norm")(raw)
    x = layers.ReLU()(normed)
    outputs = [layers.Add()([raw, x]), layers.Concatenate()([normed, x]), x]
    folded = same_function(scrambled(keras.Model(image, outputs)))
    # The batch norm of a tensor with two readers becomes a convolution of its own.
    assert kinds(folded).count("DepthwiseConv2D") == 1
    assert "ReLU" in kinds(folded)


def test_nested_models_are_unrolled_and_names_stay_unique():
    def part(seed):
        entry = keras.Input((16, 16, 3))
        made = layers.Conv2D(3, 3, padding="same", name="conv")(entry)
        return scrambled(
            keras.Model(entry, layers.BatchNormalization()(made)), seed=seed
        )

    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(0.5, -1)(image)
    x = part(2)(layers.RandomFlip()(part(1)(x)))
    folded = same_function(keras.Model(image, layers.ReLU(max_value=3)(x)))
    assert [layer.name for layer in folded.layers if layer.weights] == [
        "conv",
        "conv_2",
    ]
    assert "ReLU" in kinds(folded)  # its bound is neither none nor 6


def test_sequential_and_operations_and_doubled_models():
    sequential = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Activation("relu6"),
        ]
    )
    assert kinds(same_function(scrambled(sequential))) == ["InputLayer", "Conv2D"]
    image = keras.Input((16, 16, 3))
    same_function(scrambled(keras.Model(image, block(image * 2.0 + 1.0, 3) / 3.0)))
    assert kinds(same_function(folding.fold(sequential)))[1:] == ["Conv2D"]


@pytest.mark.parametrize("build", [models.efficientnet_lite0, models.person_detector])
def test_real_models(build):
    model = build()
    before = model.get_weights()
    folded = same_function(model, shape=model.input_shape[1:])
    assert "BatchNormalization" not in kinds(folded)
    assert "ReLU" not in kinds(folded)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def shared():
    image = keras.Input((16, 16, 3))
    conv = layers.Conv2D(3, 1, name="twice")
    return keras.Model(image, conv(conv(image)))


def nested_twice():
    entry = keras.Input((16, 16, 3))
    inner = keras.Model(entry, layers.Conv2D(3, 1)(entry), name="inner")
    image = keras.Input((16, 16, 3))
    return keras.Model(image, inner(inner(image)))


class Subclassed(keras.Model):
    pass


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (shared, "layer twice is used 2 times"),
        (nested_twice, "inner is used twice"),
        (Subclassed, "Subclassed is a subclassed model"),
        (lambda: keras.Sequential([layers.Dense(3)]), "no declared input"),
        (lambda: 3, "expected a Keras 3 model"),
    ],
)
def test_what_cannot_be_folded_is_refused_in_one_line(model, told):
    with pytest.raises(UnusableInput, match=told) as error:
        folding.fold(model())
    assert "\n" not in str(error.value)
