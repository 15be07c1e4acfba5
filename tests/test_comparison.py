"""The comparison measures what it says, on tiny nets and on the real models."""

import math

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion
from course_lib.tflite import comparison, diagnosis, inference, reading
from course_lib.vision import datasets, models

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")


def net(*, prefix="", seed=0, end="softmax", filters=6):
    """A small net with a branch, an addition and a dense end."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(seed)
    entry = tf.keras.Input((12, 12, 3), name=f"{prefix}camera")
    options = {"padding": "same", "activation": "relu"}
    x = layers.Conv2D(filters, 3, name=f"{prefix}first", **options)(entry)
    y = layers.DepthwiseConv2D(3, name=f"{prefix}second", **options)(x)
    x = layers.Add(name=f"{prefix}sum")([x, y])
    x = layers.Conv2D(8, 1, name=f"{prefix}third", **options)(x)
    x = layers.GlobalAveragePooling2D(name=f"{prefix}pool")(x)
    if end == "two":
        outputs = [layers.Dense(3, name=f"{prefix}a")(x), layers.Dense(5)(x)]
        return tf.keras.Model(entry, outputs)
    if end == "boxes":
        scores = layers.Dense(3, activation="softmax", name=f"{prefix}scores")
        boxes = layers.Dense(4, name=f"{prefix}boxes")
        other = layers.Dense(4, name=f"{prefix}other")
        return tf.keras.Model(entry, [boxes(x), scores(x), other(x)])
    size = 1 if end == "sigmoid" else 5
    x = layers.Dense(size, activation=end, name=f"{prefix}last")(x)
    return tf.keras.Model(entry, x)


def pictures(count=12, size=12):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, size, size, 3), np.uint8)


def integers(model, *, granularity="per-tensor", io="uint8"):
    dataset = calibration.representative_dataset(pictures(40), mean=0, std=255)
    return conversion.convert_full_integer(
        model, dataset, granularity=granularity, io=io
    )


@pytest.fixture(scope="module")
def model():
    return net()


@pytest.fixture(scope="module")
def files(model):
    return conversion.convert_float(model), integers(model)


@pytest.fixture(scope="module")
def found(files):
    return comparison.compare(*files, pictures(), std=255)


def test_every_layer_is_matched(found):
    assert [layer.operator for layer in found.layers] == [
        "INPUT",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert found.unmatched_float == found.unmatched_int8 == ()
    assert found.layers[3].inputs == (1, 2)
    assert found.layers[3].worst_input == min(la.sqnr for la in found.layers[1:3])
    assert found.layers[0].sqnr > 100  # pixels enter as they are
    assert found.granularity == "per-tensor"


def test_the_numbers_are_those_of_the_definition(files, found):
    layer = found.layers[4]
    ours, theirs = map(reading.parse, files)
    (a,) = (t for t in ours.tensors if t.name == layer.float_name)
    (b,) = (t for t in theirs.tensors if t.name == layer.int8_name)
    x = np.concatenate(
        [
            inference.intermediates(files[0], p[None] / np.float32(255))[a.index]
            for p in pictures()
        ]
    )
    y = np.concatenate(
        [inference.intermediates(files[1], p[None])[b.index] for p in pictures()]
    )
    y = (y.astype(float) - b.zero_point) * b.scale
    assert layer.sqnr == pytest.approx(
        10 * math.log10((x**2).sum() / ((x - y) ** 2).sum()), abs=1e-3
    )
    low, high = b.real_range
    outside = (x > high + b.scale / 2) | (x < low - b.scale / 2)
    assert layer.saturated == pytest.approx(outside.mean(), abs=1e-12)
    filled = min(x.max(), high) - max(x.min(), low)
    assert layer.used == pytest.approx(filled / (high - low), rel=1e-5)


def test_classes_and_agreement_are_those_of_the_outputs(files, found):
    ours = inference.predict(files[0], pictures() / np.float32(255)).argmax(1)
    theirs = inference.predict(files[1], pictures()).argmax(1)
    assert found.agreement == pytest.approx(np.mean(ours == theirs))
    assert found.float_classes == tuple(np.unique(ours))
    assert found.int8_classes == tuple(np.unique(theirs))
    assert found.compared == "the largest of 5 probabilities"
    labelled = comparison.compare(*files, pictures(), std=255, labels=ours, probes=0)
    assert labelled.float_accuracy == 1
    assert labelled.int8_accuracy == found.agreement
    assert labelled.worst.weights_alone is None


def test_one_layers_weights_alone(model, files, found):
    """The same exchange in Keras: the layer's weights as the integers have them."""
    theirs = reading.parse(files[1])
    kernel, bias = (
        theirs.tensors[i]
        for i in next(o for o in theirs.operators if "DEPTHWISE" in o.name).inputs[1:3]
    )
    twin = tf.keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    layer = twin.get_layer("second")
    changed = [
        kernel.values().astype(np.float32).reshape(3, 3, 6, 1) * kernel.scale,
        bias.values().astype(np.float32) * np.float32(bias.scales),
    ]
    layer.set_weights(changed)
    x = pictures() / np.float32(255)
    logits = [np.log(of.predict(x, verbose=0)) for of in (model, twin)]
    a, b = (of - of.mean(1, keepdims=True) for of in logits)
    expected = 10 * math.log10((a**2).sum() / ((a - b) ** 2).sum())
    assert found.layers[2].weights_alone == pytest.approx(expected, abs=0.1)


def test_other_names_are_matched_by_order(files, found):
    renamed = integers(net(prefix="other_"))
    again = comparison.compare(files[0], renamed, pictures(), std=255)
    names = [layer.int8_name for layer in again.layers[1:]]
    assert not set(names) & {layer.float_name for layer in again.layers}
    assert [la.sqnr for la in again.layers] == [la.sqnr for la in found.layers]
    assert again.unmatched_float == again.unmatched_int8 == ()


def test_a_layer_that_only_one_file_has_is_named(model, files):
    longer = tf.keras.Model(model.input, tf.keras.ops.abs(model.output))
    again = comparison.compare(
        conversion.convert_float(longer), files[1], pictures(), std=255, probes=0
    )
    (name,) = again.unmatched_float
    assert name.startswith("ABS ")
    assert again.unmatched_int8 == ()


def test_a_relu_of_its_own_counts_with_the_layer_before(files):
    """As in files that a converter did not fuse: the layer ends behind its ReLU."""
    model = reading.parse(files[0])
    fused = comparison._steps(model)
    first = model.operators[0]
    tensors = (*model.tensors, model.tensors[first.outputs[0]])
    parts = [
        _like(first, outputs=(len(model.tensors),), fused_activation_function="NONE"),
        _like(first, name="RELU", inputs=(len(model.tensors),)),
    ]
    split = comparison._steps(
        _with(model, tensors=tensors, operators=(*parts, *model.operators[1:]))
    )
    assert [step.key for step in split] == [step.key for step in fused]
    assert split[0].output is fused[0].output
    assert split[0].fused == "RELU"


def _like(operator, **changes):
    fields = vars(operator) | {
        key: changes.pop(key) for key in ("name", "inputs", "outputs") if key in changes
    }
    return reading.Operator(**(fields | {"options": fields["options"] | changes}))


def _with(model, **changes):
    names = model.__dataclass_fields__
    return reading.Model(**({name: getattr(model, name) for name in names} | changes))


def test_normalisation_in_the_float_files_graph(model, files):
    """`dlpu convert --float` puts it there: then pixels enter both files."""
    inside = conversion.convert_float(
        conversion.fix_batch(model, mean=(10.0, 20.0, 30.0), std=200.0)
    )
    start = comparison.normalises(reading.parse(inside))
    assert start is not None
    assert np.allclose(start[1], 1 / 200)
    assert np.allclose(start[2], np.array([-10, -20, -30]) / 200)
    assert comparison.normalises(reading.parse(files[0])) is None
    plain = conversion.convert_float(conversion.fix_batch(model, mean=0, std=255))
    again = comparison.compare(plain, files[1], pictures(), mean=0, std=1)
    assert again.layers[0].sqnr > 100
    assert again.output_sqnr > 20
    assert again.unmatched_float == again.unmatched_int8 == ()
    # The reverse: three means make a layer of the int8 file.
    dataset = calibration.representative_dataset(pictures(40), mean=0, std=1)
    fixed = conversion.fix_batch(model, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    told = conversion.convert_full_integer(fixed, dataset, granularity="per-tensor")
    reverse = comparison.compare(files[0], told, pictures(), mean=0, std=255)
    assert reverse.output_sqnr > 20
    assert reverse.unmatched_int8 == ()


def test_int8_input_and_half_floats(model, found):
    again = comparison.compare(
        conversion.convert_float(model, float16=True),
        integers(model, io="int8"),
        pictures(),
        std=255,
        probes=0,
    )
    assert again.layers[0].sqnr > 100
    assert len(again.layers) == len(found.layers)
    assert again.output_sqnr == pytest.approx(found.output_sqnr, abs=1)


def test_one_score_and_several_outputs():
    for end, compared in (
        ("sigmoid", "the one score above or below 0.5"),
        ("two", "the largest of 3 values, which are no probabilities"),
        ("boxes", "the largest of 3 probabilities"),
    ):
        other = net(end=end)
        again = comparison.compare(
            conversion.convert_float(other), integers(other), pictures(), std=255
        )
        sizes = {again.compared, again.compared.replace("of 5", "of 3")}
        assert compared in sizes
        assert again.output_sqnr > 15
        assert diagnosis.diagnose(again) == ()


def test_dead_channels_are_found(model):
    dead = tf.keras.models.clone_model(model)
    dead.set_weights(model.get_weights())
    kernel, bias = dead.get_layer("first").get_weights()
    kernel[..., 0], bias[0] = 0, -1
    dead.get_layer("first").set_weights([kernel, bias])
    kernel, bias = dead.get_layer("second").get_weights()
    kernel[:, :, 0] = 1000 * np.abs(kernel).max()
    dead.get_layer("second").set_weights([kernel, bias])
    again = comparison.compare(
        conversion.convert_float(dead), integers(dead), pictures(), std=255
    )
    layer = again.layers[2]
    assert layer.dead == 1
    assert layer.dead_ratio == pytest.approx(1000, rel=0.3)
    assert layer.channel_ratio < 5
    assert again.worst is layer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 7}, "the weights have nothing in common"),
        ({"filters": 4}, "match"),
        ({"end": "sigmoid"}, "gives"),
    ],
)
def test_another_model_is_refused_in_one_line(files, change, words):
    with pytest.raises(UnusableInput, match="not the same model") as caught:
        comparison.compare(files[0], integers(net(**change)), pictures(), std=255)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(files):
    for first, second, words in (
        (files[1], files[1], "expected a float"),
        (files[0], files[0], "expected an int8"),
    ):
        with pytest.raises(UnusableInput, match=words):
            comparison.compare(first, second, pictures())
    with pytest.raises(UnusableInput, match="expected uint8"):
        comparison.compare(*files, pictures() / 255)
    with pytest.raises(UnusableInput, match="2 labels for 12 images"):
        comparison.compare(*files, pictures(), labels=[0, 1])
    with pytest.raises(UnusableInput, match=r"classes 0\.\.4"):
        comparison.compare(*files, pictures(), std=255, labels=[5] * 12, probes=0)
    with pytest.raises(UnusableInput, match="std above 0"):
        comparison.compare(*files, pictures(), std=0)
    with pytest.raises(UnusableInput, match="expected 1, or 3"):
        comparison.compare(*files, pictures(), mean=(1, 2), std=255)
    with pytest.raises(UnusableInput, match="so pass"):
        comparison.compare(*files, pictures(size=10), std=255)


def test_the_person_detector_is_healthy():
    size = models.PERSON_INPUT.size
    images = datasets.evaluation_images(size).images[::15]
    if reading.read(models.DATA / "person_per_channel.tflite").inputs[0].shape[3] == 1:
        images = np.rint(images.mean(3, keepdims=True)).astype(np.uint8)
    found = comparison.compare(
        conversion.convert_float(models.person_detector()),
        models.DATA / "person_per_channel.tflite",
        images,
        mean=models.PERSON_INPUT.mean,
        std=models.PERSON_INPUT.std,
    )
    assert found.unmatched_float == found.unmatched_int8 == ()
    assert found.agreement >= 0.9
    assert diagnosis.diagnose(found) == ()


def test_the_layer_that_breaks_efficientnet_lite0():
    """Per-tensor, rounding the 288 weights of one layer does most of the harm."""
    entry = models.EFFICIENTNET_LITE0_INPUT
    fixed = conversion.fix_batch(models.efficientnet_lite0())
    normalisation = {"mean": entry.mean, "std": entry.std}
    dataset = calibration.representative_dataset(
        datasets.calibration_images(entry.size)[::8], **normalisation
    )
    in_float = conversion.convert_float(fixed)
    images = datasets.evaluation_images(entry.size).images[::50]
    per_tensor = comparison.compare(
        in_float,
        conversion.convert_full_integer(fixed, dataset, granularity="per-tensor"),
        images,
        **normalisation,
        probes=4,
    )
    assert "block0_depthwise" in per_tensor.worst.name
    assert per_tensor.worst.weights_alone < per_tensor.output_sqnr + 6 < 16
    assert sum(la.granularity is not None for la in per_tensor.layers) == 50
    (cause,) = diagnosis.diagnose(per_tensor)
    assert cause.id == "unequal-ranges"
    assert "block0_depthwise" in cause.layer
    per_channel = comparison.compare(
        in_float,
        models.DATA / "efficientnet_lite0_per_channel.tflite",
        images,
        **normalisation,
        probes=0,
    )
    assert per_channel.output_sqnr > per_tensor.output_sqnr + 6
    assert diagnosis.diagnose(per_channel) == ()
