"""Quantization-aware training ends in the file that was asked for, or says why not."""

import os
import sys

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion, qat
from course_lib.quiet import quiet
from course_lib.tflite import inference, reading

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
BEFORE = os.environ.get("TF_USE_LEGACY_KERAS")
tf_keras = qat.require_keras2()
tfmot = qat.require_tfmot().quantization.keras
with quiet():
    import keras

SIZE, MEAN, STD = 16, 127.0, 128.0
KERAS = {"keras": keras, "tf_keras": tf_keras}


def pixels(count: int = 16) -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


def inputs(count: int = 16) -> np.ndarray:
    return ((pixels(count) - MEAN) / STD).astype(np.float32)


def functional(kind=keras):
    """Depthwise, a residual addition with ReLU behind it, and a concatenation."""
    layers = kind.layers
    kind.utils.set_random_seed(0)
    image = kind.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="stem")(
        image
    )
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(6, 1, name="project")(y)
    x = layers.ReLU()(layers.Add(name="sum")([x, y]))
    y = layers.Conv2D(4, 3, strides=2, activation="relu", name="halve")(
        layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    )
    x = layers.Concatenate(name="join")([y, layers.MaxPooling2D()(x)])
    x = layers.GlobalAveragePooling2D()(x)
    return kind.Model(image, layers.Dense(3, activation="softmax", name="end")(x))


def sequential(kind=keras):
    """Pixels enter as they are; the end is no softmax."""
    layers = kind.layers
    kind.utils.set_random_seed(0)
    return kind.Sequential(
        [
            kind.Input((SIZE, SIZE, 3))
            if kind is keras
            else layers.InputLayer((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 128, offset=-1),
            layers.Conv2D(4, 3, activation="silu", name="first"),
            layers.AveragePooling2D(2),
            layers.UpSampling2D(interpolation="bilinear"),
            layers.Conv2D(2, 1, activation="relu6", name="second"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(2, activation="sigmoid", name="end"),
        ]
    )


@pytest.fixture(scope="module")
def model():
    return functional()


@pytest.fixture(scope="module")
def student(model):
    return qat.prepare(model, inputs(), mean=MEAN, std=STD)


def operators(content: bytes) -> list[str]:
    return [operator.name for operator in reading.parse(content).operators]


def agrees(content: bytes, student, images, fed) -> None:
    """Assert that the file computes what the student was trained to compute."""
    steps = 3 / 256
    found = inference.predict(content, images)
    expected = student.predict(fed, verbose=0)
    np.testing.assert_allclose(found, expected, atol=steps)


@pytest.mark.parametrize("kind", KERAS)
@pytest.mark.parametrize("granularity", conversion.GRANULARITIES)
def test_functional(kind, granularity):
    model = functional(KERAS[kind])
    weights = model.get_weights()
    student = qat.prepare(model, inputs(), granularity=granularity, mean=MEAN, std=STD)
    content = qat.convert(student, granularity=granularity)
    file = reading.parse(content)
    assert (file.inputs[0].scale, file.inputs[0].zero_point) == (1 / 128, 127)
    assert file.inputs[0].shape == (1, SIZE, SIZE, 3)
    # ReLU is in the operators, and the concatenation needs no other scale.
    assert operators(content).count("QUANTIZE") == 2
    assert "RELU" not in operators(content)
    most = max(len(kernel.scales) for _, kernel in reading.weights(file))
    assert (most > 1) == (granularity == "per-channel")
    agrees(content, student, pixels(), inputs())
    for before, after in zip(weights, model.get_weights(), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("kind", KERAS)
def test_sequential_with_pixels_as_they_are(kind):
    images = pixels()
    model = sequential(KERAS[kind])
    student = qat.prepare(model, images.astype(np.float32), mean=0, std=1)
    content = qat.convert(student, io="int8")
    file = reading.parse(content)
    assert (file.inputs[0].scale, file.inputs[0].zero_point) == (1.0, -128)
    assert file.inputs[0].dtype == file.outputs[0].dtype == "int8"
    shifted = (images.astype(int) - 128).astype(np.int8)
    found = inference.predict(content, shifted, raw=True)
    end = file.outputs[0]
    found = (found.astype(float) - end.zero_point) * end.scale
    expected = student.predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(found, expected, atol=4 / 256)
    with pytest.raises(UnusableInput, match="expected no Rescaling"):
        qat.to_keras3(student, model)


def test_ranges_start_near_the_float_model(model, student):
    expected = model.predict(inputs(), verbose=0)
    np.testing.assert_allclose(
        student.predict(inputs(), verbose=0), expected, atol=0.03
    )


def test_distil_lowers_the_loss_and_repeats_itself(model):
    results = []
    for _ in range(2):
        student = qat.prepare(model, inputs(), mean=MEAN, std=STD)
        student.get_layer("quant_end").layer.bias.assign([1.0, -1.0, 0.0])
        losses = qat.distil(
            student,
            model,
            inputs(64),
            epochs=3,
            seed=0,
            batch_size=8,
            learning_rate=0.1,
            temperature=2.0,
        )
        results.append((losses, student.get_weights()))
    (losses, weights), (again, others) = results
    assert losses[-1] < 0.5 * losses[0]
    assert losses == again
    assert all(map(np.array_equal, weights, others))


@pytest.mark.parametrize("named", [False, True])
def test_distil_without_softmax_and_with_two_outputs(named):
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    boxes = keras.layers.Conv2D(4, 1, name="boxes")(x)
    scores = keras.layers.Conv2D(2, 1, activation="sigmoid", name="scores")(x)
    both = {"scores": scores, "boxes": boxes} if named else [boxes, scores]
    teacher = keras.Model(image, both)
    student = qat.prepare(teacher, inputs(), mean=MEAN, std=STD)
    for layer in ("boxes", "scores"):
        student.get_layer(f"quant_{layer}").layer.bias.assign_add(
            tf.ones_like(student.get_layer(f"quant_{layer}").layer.bias)
        )
    losses = qat.distil(
        student, teacher, inputs(64), epochs=3, seed=0, learning_rate=0.05
    )
    assert losses[-1] < 0.5 * losses[0]
    assert len(reading.parse(qat.convert(student)).outputs) == 2


def test_labels_train_it_as_any_keras_model(model):
    student = qat.prepare(model, inputs(), mean=MEAN, std=STD)
    labels = np.arange(64) % 3
    student.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    fitted = student.fit(inputs(64), labels, epochs=2, verbose=0)
    assert fitted.history["loss"][1] < fitted.history["loss"][0]
    qat.convert(student)


def test_a_dead_channel_is_no_obstacle(model):
    dead = keras.models.clone_model(model)
    dead.set_weights(model.get_weights())
    kernel, bias = dead.get_layer("project").get_weights()
    kernel[..., 0] = 0
    dead.get_layer("project").set_weights([kernel, bias])
    for granularity in conversion.GRANULARITIES:
        student = qat.prepare(
            dead, inputs(), granularity=granularity, mean=MEAN, std=STD
        )
        qat.distil(student, dead, inputs(), epochs=1, seed=0)
        content = qat.convert(student, granularity=granularity)
        scales = [s for t in reading.parse(content).tensors for s in t.scales]
        assert np.isfinite(scales).all()
        assert np.isfinite(inference.predict(content, pixels())).all()


def test_the_converter_rounds_nothing_that_training_rounded(model, student):
    content = qat.convert(student)
    dataset = calibration.representative_dataset(pixels(), mean=MEAN, std=STD)
    again = conversion.convert_full_integer(
        qat.to_keras3(student, model), dataset, granularity="per-tensor"
    )
    kernels, others = (
        [kernel.values() for _, kernel in reading.weights(reading.parse(file))]
        for file in (content, again)
    )
    assert all(map(np.array_equal, kernels, others))
    assert len(kernels) == len(others) == 5


def test_keras2_becomes_keras3(tmp_path):
    old = functional(tf_keras)
    new = qat.from_keras2(old)
    assert isinstance(new, keras.Model)
    np.testing.assert_allclose(
        new.predict(inputs(), verbose=0), old.predict(inputs(), verbose=0), atol=1e-5
    )
    old.save(tmp_path / "old.keras")
    read = conversion.read_model(tmp_path / "old.keras")
    np.testing.assert_array_equal(read(inputs()), new(inputs()))
    with pytest.raises(UnusableInput, match="is no Sequential"):
        qat.from_keras2(type("Own", (tf_keras.Model,), {})())


def chain():
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            layers.InputLayer((SIZE, SIZE, 3)),
            layers.Conv2D(4, 3, use_bias=False, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Conv2D(4, 3, name="second"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(2, name="end"),
        ]
    )


def test_own_scheme_of_tfmot_is_per_channel():
    with quiet():
        student = tfmot.quantize_model(chain())
        student(inputs(), training=True)
    qat.convert(student, granularity="per-channel")
    with pytest.raises(UnusableInput, match="layer first: its kernel has 4 scales"):
        qat.convert(student, granularity="per-tensor")


def test_convolutions_that_tfmot_leaves_in_float_are_named():
    with quiet():
        scheme = qat.require_tfmot().quantization.keras.default_8bit
        scheme = scheme.Default8BitQuantizeScheme(disable_per_axis=True)
        student = tfmot.quantize_apply(
            tfmot.quantize_annotate_model(chain()), scheme=scheme
        )
        student(inputs(), training=True)
    with pytest.raises(UnusableInput, match="layer first: its CONV_2D stayed in float"):
        qat.convert(student)


def test_a_layer_without_fake_quantization_is_named():
    annotate = tfmot.quantize_annotate_layer
    with quiet():
        student = chain()
        annotated = tf_keras.models.clone_model(
            student,
            clone_function=lambda layer: (
                layer if layer.name in ("second", "pool") else annotate(layer)
            ),
        )
        student = tfmot.quantize_apply(annotated)
        student(inputs(), training=True)
    with pytest.raises(UnusableInput, match=r"layer (second|pool): its") as caught:
        qat.convert(student, granularity="per-channel")
    assert "\n" not in str(caught.value)


def test_what_has_no_fake_quantization_is_refused():
    image = keras.Input((SIZE, SIZE, 3))
    for layer in (
        keras.layers.LayerNormalization(name="odd"),
        keras.layers.Conv2D(2, 1, activation="elu", name="odd"),
        keras.layers.Activation("gelu", name="odd"),
    ):
        model = keras.Model(image, layer(image))
        with pytest.raises(UnusableInput, match="layer odd"):
            qat.prepare(model, inputs(), mean=MEAN, std=STD)
    with pytest.raises(UnusableInput, match="is a Add"):
        qat.prepare(keras.Model(image, image + 1.0), inputs(), mean=MEAN, std=STD)


def test_wrong_inputs_are_refused(model):
    with pytest.raises(UnusableInput, match="give the mean and std"):
        qat.prepare(model, inputs())
    with pytest.raises(UnusableInput, match="give the mean and std"):
        qat.prepare(model, inputs() / 128, mean=MEAN, std=STD)
    with pytest.raises(UnusableInput, match="expected one or more of"):
        qat.prepare(model, inputs()[:, :8], mean=MEAN, std=STD)
    with pytest.raises(UnusableInput, match="expected one number each"):
        qat.prepare(model, inputs(), mean=(MEAN,) * 3, std=STD)
    with pytest.raises(UnusableInput, match="granularity"):
        qat.prepare(model, inputs(), granularity="per-layer", mean=MEAN, std=STD)
    with pytest.raises(UnusableInput, match="input and output type"):
        qat.convert(model, io="float32")


def test_another_teacher_is_refused(student):
    other = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(UnusableInput, match="prepared from"):
        qat.distil(student, other, inputs(), epochs=1, seed=0)


def test_a_missing_package_is_one_line(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(UnusableInput, match="run `pip install tf-keras`") as caught:
        qat.prepare(model, inputs(), mean=MEAN, std=STD)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    with pytest.raises(UnusableInput, match="install tensorflow-model-optimization"):
        qat.require_tfmot()


@pytest.mark.skipif(BEFORE is not None, reason="the user chose Keras 2")
def test_the_process_stays_as_it_was():
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert tf.keras.Model is keras.Model
