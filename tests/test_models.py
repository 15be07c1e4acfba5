"""The models: right answers, in Keras and as files, in Keras 3 and 2."""

import os
import subprocess
import sys

from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion
from course_lib.tflite import inference
from course_lib.vision import (
    datasets,
    detection,
    detector_training,
    evaluation,
    models,
    scenes,
)

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")


OURS = {
    "digit_reader_depthwise": lambda **settings: models.digit_reader(**settings),
    "digit_reader_residual": lambda **settings: models.digit_reader(
        "residual", **settings
    ),
    "scene_classifier": models.scene_classifier,
    "scene_resnet": models.scene_resnet,
}
DIGIT_READERS = [name for name in OURS if name.startswith("digit_reader_")]
SCENE_MODELS = [name for name in OURS if name.startswith("scene_")]
NAMES = ("efficientnet_lite0", "person_detector", "scene_detector", *OURS)


@pytest.fixture(scope="module")
def ours():
    return {name: build() for name, build in OURS.items()}


@pytest.fixture(scope="module")
def unseen_digits():
    images, labels = datasets.handwritten_digits()
    return images[datasets.DIGITS_TEST], labels[datasets.DIGITS_TEST]


@pytest.fixture(scope="module")
def unseen_scenes():
    """Of a seed that neither training nor its test has."""
    drawn = scenes.generate(300, seed=506, size=models.SCENE_INPUT.size)
    return drawn.images, drawn.person + 2 * drawn.car


@pytest.fixture(scope="module")
def lite0():
    return models.efficientnet_lite0()


@pytest.fixture(scope="module")
def person():
    return models.person_detector()


@pytest.fixture(scope="module")
def detector():
    return models.scene_detector()


@pytest.fixture(scope="module")
def annotated():
    """Scenes of a seed that neither training nor the benchmark has, and their boxes."""
    size = models.SCENE_DETECTOR_INPUT.size
    drawn = scenes.generate(120, seed=1404, size=size)
    return drawn.images, [
        detector_training.as_detections(boxes, size=size) for boxes in drawn.boxes
    ]


@pytest.fixture(scope="module")
def labelled():
    photographs, labels = datasets.labelled_photographs()
    size = models.EFFICIENTNET_LITE0_INPUT.size
    return np.stack([datasets.centre_crop(p, size=size) for p in photographs]), labels


@pytest.fixture(scope="module")
def persons():
    """One picture with a person and two without."""
    photographs = datasets.photographs()
    names = ("astronaut", "cat", "coffee")
    size = models.PERSON_INPUT.size
    return np.stack([datasets.centre_crop(photographs[n], size=size) for n in names])


def keras_scores(model, entry, pixels):
    return model.predict(entry.normalise(pixels), verbose=0)


def test_sizes(lite0, person, detector, ours):
    assert lite0.count_params() == 4_694_024
    assert person.count_params() == 221_794
    assert detector.count_params() == 123_147
    assert {name: model.count_params() for name, model in ours.items()} == {
        "digit_reader_depthwise": 6_810,
        "digit_reader_residual": 8_060,
        "scene_classifier": 78_388,
        "scene_resnet": 128_632,
    }
    for model in (lite0, person, detector, *ours.values()):
        count = sum(array.size for array in models.weights(model.name).values())
        assert count == model.count_params()


def test_lite0_names_the_photographs(lite0, labelled):
    pixels, labels = labelled
    scores = keras_scores(lite0, models.EFFICIENTNET_LITE0_INPUT, pixels)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert (scores.argmax(1) == labels).mean() >= 0.8


def test_the_lite0_file_names_the_photographs(labelled):
    pixels, labels = labelled
    file = models.DATA / "efficientnet_lite0_per_channel.tflite"
    scores = inference.predict(file, pixels)
    assert (scores.argmax(1) == labels).mean() >= 0.8


def test_person_model(person, persons):
    scores = keras_scores(person, models.PERSON_INPUT, persons)
    found = [models.PERSON_CLASSES[i] for i in scores.argmax(1)]
    assert found == ["person", "no person", "no person"]


def test_the_person_file(persons):
    scores = inference.predict(models.DATA / "person_per_channel.tflite", persons)
    found = [models.PERSON_CLASSES[i] for i in scores.argmax(1)]
    assert found == ["person", "no person", "no person"]


@pytest.mark.parametrize("name", DIGIT_READERS)
def test_digit_readers_are_healthy_per_tensor_too(name, ours, unseen_digits):
    pixels, labels = unseen_digits
    scores = keras_scores(ours[name], models.DIGIT_INPUT, pixels)
    right = (scores.argmax(1) == labels).mean()
    assert right >= 0.97
    seen = datasets.handwritten_digits()[0][datasets.DIGITS_TRAINING]
    dataset = calibration.representative_dataset(
        seen[:200], mean=models.DIGIT_INPUT.mean, std=models.DIGIT_INPUT.std
    )
    content = conversion.convert_full_integer(
        ours[name], dataset, granularity="per-tensor"
    )
    integer = (inference.predict(content, pixels).argmax(1) == labels).mean()
    assert abs(integer - right) <= 0.01


@pytest.mark.parametrize(
    ("name", "least"), [("scene_classifier", 0.78), ("scene_resnet", 0.82)]
)
def test_scene_models_tell_people_and_cars(name, least, ours, unseen_scenes):
    pixels, labels = unseen_scenes
    scores = keras_scores(ours[name], models.SCENE_INPUT, pixels)
    assert scores.shape == (len(labels), len(models.SCENE_CLASSES))
    assert (scores.argmax(1) == labels).mean() >= least
    # No class is left out: each is found more often than not.
    for label in range(len(models.SCENE_CLASSES)):
        assert (scores[labels == label].argmax(1) == label).mean() > 0.5


def test_the_detector_has_two_outputs_and_a_row_for_each_anchor(detector):
    anchors = models.scene_detector_anchors()
    assert anchors.shape == (1575, 4)
    assert [tuple(output.shape) for output in detector.outputs] == [
        (None, len(anchors), 4),
        (None, len(anchors), len(models.SCENE_DETECTOR_CLASSES)),
    ]
    assert list(detector.output_names) == ["boxes", "scores"]
    # Each map's rows are cell by cell, as the anchors are.
    rows = [layer.output.shape[1] for layer in detector.layers if "_rows" in layer.name]
    assert sum(rows) == 2 * len(anchors)


def test_the_anchors_fit_the_scenes(annotated):
    anchors = models.scene_detector_anchors()
    half = anchors[:, 2:] / 2
    corners = np.hstack([anchors[:, :2] - half, anchors[:, :2] + half])
    boxes = np.concatenate([truth.boxes for truth in annotated[1]])
    best = detection.iou(boxes, corners).max(1)
    assert (best >= 0.5).mean() >= 0.93
    assert best.min() >= 0.25


def test_the_detector_finds_people_and_cars_per_tensor_too(detector, annotated):
    images, truth = annotated
    entry, anchors = models.SCENE_DETECTOR_INPUT, models.scene_detector_anchors()

    def precision(outputs):
        found = detector_training.detect(outputs, anchors=anchors)
        return evaluation.mean_average_precision(found, truth)

    right = precision(keras_scores(detector, entry, images))
    assert right.mean >= 0.75
    assert min(right.per_class.values()) >= 0.65
    dataset = calibration.representative_dataset(
        images[:40], mean=entry.mean, std=entry.std
    )
    content = conversion.convert_full_integer(
        detector, dataset, granularity="per-tensor"
    )
    integer = precision(inference.predict(content, images))
    assert abs(integer.mean - right.mean) <= 0.03


def test_an_untrained_detector_has_the_same_layers_and_finds_nothing(detector):
    untrained = models.scene_detector(trained=False)
    names = [[layer.name for layer in m.layers] for m in (detector, untrained)]
    assert names[0] == names[1]
    grey = np.zeros((1, 160, 160, 3), np.float32)
    _, scores = untrained.predict(grey, verbose=0)
    assert scores[..., 1:].max() < 0.1


@pytest.mark.parametrize("name", OURS)
def test_untrained_models_have_the_same_layers_and_random_weights(name, ours):
    tf.keras.utils.set_random_seed(0)
    first, second = OURS[name](trained=False), OURS[name](trained=False)
    described = [
        [(type(layer).__name__, layer.name, layer.output.shape) for layer in m.layers]
        for m in (ours[name], first)
    ]
    assert described[0] == described[1]
    kernels = [
        m.get_layer("stem").get_weights()[0] for m in (ours[name], first, second)
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(kernels[a], kernels[b])


def test_each_architecture_has_what_it_is_there_for(ours):
    layers = tf.keras.layers
    found = {
        name: {type(layer) for layer in model.layers} for name, model in ours.items()
    }
    depthwise = {name for name in OURS if layers.DepthwiseConv2D in found[name]}
    added = {name for name in OURS if layers.Add in found[name]}
    joined = {name for name in OURS if layers.Concatenate in found[name]}
    limited = {
        name
        for name, model in ours.items()
        if any(getattr(layer, "max_value", None) for layer in model.layers)
    }
    assert depthwise == {"digit_reader_depthwise", "scene_classifier"}
    assert added == {"digit_reader_residual", *SCENE_MODELS}
    assert joined == {"scene_resnet"}
    assert limited == {"scene_classifier"}


def test_an_unknown_digit_reader_is_refused():
    with pytest.raises(UnusableInput, match="'dense': expected 'depthwise' or 'resid"):
        models.digit_reader("dense")


@pytest.mark.parametrize(
    ("model", "layer", "stride"),
    [
        ("efficientnet_lite0", "stem", 2),
        ("efficientnet_lite0", "block0_depthwise", 1),
        ("efficientnet_lite0", "block0_project", 1),
        ("person_detector", "stem", 2),
        ("person_detector", "block1_depthwise", 2),
        ("digit_reader_depthwise", "block1_depthwise", 2),
        ("scene_classifier", "block0_depthwise", 2),
        ("scene_resnet", "block3_shortcut", 2),
        ("scene_detector", "last_depthwise", 2),
    ],
)
def test_folding_batch_norm_changes_no_output(model, layer, stride, request):
    fixture = {
        "efficientnet_lite0": "lite0",
        "person_detector": "person",
        "scene_detector": "detector",
    }.get(model)
    if fixture:
        keras_model = request.getfixturevalue(fixture)
    else:
        keras_model = request.getfixturevalue("ours")[model]
    kernel, bias = models.fold_batch_norm(models.weights(model), layer)
    assert kernel.shape == models.weights(model)[f"{layer}/kernel"].shape
    depthwise = "depthwise" in layer
    channels = kernel.shape[2]
    x = np.random.default_rng(0).normal(size=(2, 12, 12, channels)).astype(np.float32)
    convolution, norm = (keras_model.get_layer(n) for n in (layer, f"{layer}_bn"))
    expected = norm(convolution(x), training=False).numpy()
    apply = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
    strides = (1, stride, stride, 1)
    found = (apply(x, kernel, strides=strides, padding="SAME") + bias).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_every_convolution_can_be_folded():
    for model in NAMES:
        weights = models.weights(model)
        for name in (key.split("/")[0] for key in weights if key.endswith("_bn/gamma")):
            layer = name.removesuffix("_bn")
            kernel, bias = models.fold_batch_norm(weights, layer)
            outputs = kernel.shape[2] if "depthwise" in layer else kernel.shape[3]
            assert bias.shape == (outputs,)


def test_fill_refuses_what_does_not_fit(person):
    weights = dict(models.weights("person_detector"))
    del weights["classifier/bias"]
    with pytest.raises(KeyError, match="classifier/bias"):
        models.fill(person, weights)


def python(code: str, *arguments, **environment) -> None:
    subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment,
        check=True,
    )


def test_weights_and_classes_need_no_tensorflow():
    python(
        """
import sys
from course_lib.vision import models
for name in sys.argv[1:]:
    weights = models.weights(name)
    models.fold_batch_norm(weights, "stem")
models.imagenet_classes()
assert not {"tensorflow", "keras", "tf_keras"} & set(sys.modules)
""",
        *NAMES,
    )


def test_keras_2_builds_the_same_models(
    tmp_path,
    lite0,
    person,
    detector,
    ours,
    labelled,
    persons,
    unseen_digits,
    unseen_scenes,
    annotated,
):
    given = {
        "lite0": models.EFFICIENTNET_LITE0_INPUT.normalise(labelled[0][:3]),
        "person": models.PERSON_INPUT.normalise(persons),
        "pixels": persons,
        "digits": models.DIGIT_INPUT.normalise(unseen_digits[0][:8]),
        "scenes": models.SCENE_INPUT.normalise(unseen_scenes[0][:8]),
        "annotated": models.SCENE_DETECTOR_INPUT.normalise(annotated[0][:4]),
    }
    np.savez(tmp_path / "given.npz", **given)
    python(
        """
import sys
from pathlib import Path
from course_lib.quantization import calibration, conversion
from course_lib.vision import datasets, models
import numpy as np
import tensorflow as tf

assert tf.keras.__name__.startswith(("tf_keras", "keras._tf_keras")), tf.keras.__name__
assert tf.keras.Model.__module__.startswith("tf_keras"), tf.keras.Model.__module__
folder = Path(sys.argv[1])
given = np.load(folder / "given.npz")
person = models.person_detector()
boxes, scores = models.scene_detector().predict(given["annotated"], verbose=0)
np.savez(
    folder / "found.npz",
    lite0=models.efficientnet_lite0().predict(given["lite0"], verbose=0),
    person=person.predict(given["person"], verbose=0),
    boxes=boxes,
    scores=scores,
    **{
        model.name: model.predict(given[pictures], verbose=0)
        for pictures, models_of in (
            ("digits", (models.digit_reader(), models.digit_reader("residual"))),
            ("scenes", (models.scene_classifier(), models.scene_resnet())),
        )
        for model in models_of
    },
)
dataset = calibration.representative_dataset(
    datasets.calibration_images(models.PERSON_INPUT.size),
    mean=models.PERSON_INPUT.mean,
    std=models.PERSON_INPUT.std,
)
content = conversion.convert_full_integer(person, dataset)
(folder / "person.tflite").write_bytes(content)
""",
        tmp_path,
        TF_USE_LEGACY_KERAS="1",
    )
    found = np.load(tmp_path / "found.npz")
    for name, model in (("lite0", lite0), ("person", person)):
        expected = model.predict(given[name], verbose=0)
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    both = detector.predict(given["annotated"], verbose=0)
    for name, expected in zip(("boxes", "scores"), both, strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-3)
    for name, model in ours.items():
        pictures = given["digits" if name in DIGIT_READERS else "scenes"]
        expected = model.predict(pictures, verbose=0)
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    scores = inference.predict(tmp_path / "person.tflite", persons)
    committed = inference.predict(models.DATA / "person_per_channel.tflite", persons)
    np.testing.assert_allclose(scores, committed, atol=2 / 256)
