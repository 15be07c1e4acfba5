"""Each anchor learns what the truth says, and a step of training lowers the loss."""

from course_lib.errors import UnusableInput
from course_lib.vision import detection, detector_training, models, scenes
from course_lib.vision.detection import Detections
from course_lib.vision.detector_training import IGNORED

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

ANCHORS = models.scene_detector_anchors()
SIZE = models.SCENE_DETECTOR_INPUT.size


@pytest.fixture(scope="module")
def drawn():
    return scenes.generate(32, seed=1403, size=SIZE)


@pytest.fixture(scope="module")
def truths(drawn):
    return [detector_training.as_detections(b, size=SIZE) for b in drawn.boxes]


def perfect(truth):
    """Say what `targets` wants, sure of it; what is ignored says nothing."""
    codes, classes = detector_training.targets(truth, anchors=ANCHORS)
    scores = np.eye(3, dtype=np.float32)[np.maximum(classes, 0)]
    return codes, scores, classes


def truth_of(*boxes, label=1):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Detections(boxes, np.ones(count, np.float32), np.full(count, label))


def test_the_truth_is_the_scenes_boxes_in_order(drawn, truths):
    for boxes, truth in zip(drawn.boxes, truths, strict=True):
        assert [scenes.LABELS[label - 1] for label in truth.classes] == [
            box.label for box in boxes
        ]
        corners = [(b.top, b.left, b.bottom, b.right) for b in boxes]
        np.testing.assert_allclose(
            truth.boxes * SIZE, np.array(corners).reshape(-1, 4), atol=1e-4
        )
    assert any(len(truth) == 0 for truth in truths)
    assert models.SCENE_DETECTOR_CLASSES[1:] == scenes.LABELS


def test_what_the_targets_say_is_decoded_to_the_true_boxes(truths):
    outputs = [np.stack(of) for of in zip(*map(perfect, truths), strict=True)][:2]
    found = detector_training.detect(outputs, anchors=ANCHORS, confidence=0.5, iou=0.9)
    for boxes, truth in zip(found, truths, strict=True):
        if len(truth) == 0:
            assert len(boxes) == 0
            continue
        overlaps = detection.iou(truth.boxes, boxes.boxes)
        same = truth.classes[:, None] == boxes.classes
        assert ((overlaps > 0.999) & same).any(1).all()
        assert ((overlaps > 0.999) & same).any(0).all()


def test_anchors_learn_by_their_overlap():
    anchors = np.array(
        [
            [0.5, 0.5, 0.2, 0.2],  # the box itself
            [0.5, 0.55, 0.2, 0.2],  # overlap 0.6
            [0.5, 0.575, 0.2, 0.2],  # 0.4545
            [0.5, 0.65, 0.2, 0.2],  # 0.143
        ],
        np.float32,
    )
    box = (0.4, 0.4, 0.6, 0.6)
    codes, classes = detector_training.targets(truth_of(box, label=2), anchors=anchors)
    assert classes.tolist() == [2, 2, IGNORED, 0]
    np.testing.assert_allclose(codes[0], 0, atol=1e-5)
    np.testing.assert_allclose(codes[1], [0, -2.5, 0, 0], atol=1e-4)
    assert not codes[2:].any()


def test_no_box_is_left_out_however_badly_an_anchor_fits():
    tiny = (0.30, 0.30, 0.33, 0.33)
    codes, classes = detector_training.targets(truth_of(tiny), anchors=ANCHORS)
    (best,) = np.flatnonzero(classes > 0)
    found = detection.ssd_boxes(codes[[best]], ANCHORS[[best]])
    np.testing.assert_allclose(found, [tiny], atol=1e-5)


def test_a_picture_without_boxes_is_background():
    codes, classes = detector_training.targets(truth_of(), anchors=ANCHORS)
    assert not codes.any()
    assert not classes.any()


def test_mirroring_twice_changes_nothing_and_once_mirrors_the_pixels(drawn, truths):
    moved = 0
    for image, boxes, truth in zip(drawn.images, drawn.boxes, truths, strict=True):
        once = detector_training.mirrored(truth)
        twice = detector_training.mirrored(once)
        np.testing.assert_allclose(twice.boxes, truth.boxes, atol=1e-6)
        assert len(image) == SIZE
        for box, (_, x1, _, x2) in zip(boxes, once.boxes * SIZE, strict=True):
            left, right = round(float(x1)), round(float(x2))
            np.testing.assert_array_equal(
                image[:, ::-1][:, left:right], image[:, box.left : box.right][:, ::-1]
            )
            moved += left != box.left
    assert moved > 10


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(UnusableInput, match=r"negative is 0\.6 and positive 0\.5"):
        detector_training.targets(truth_of(), anchors=ANCHORS, negative=0.6)


def loss_of(codes, scores, true_codes, true_classes, **settings):
    batch = [np.asarray(a)[None] for a in (codes, scores, true_codes, true_classes)]
    codes, scores, true_codes, true_classes = batch
    return float(
        detector_training.ssd_loss(
            np.float32(codes),
            np.float32(scores),
            true_codes=np.float32(true_codes),
            true_classes=true_classes,
            **settings,
        )
    )


def test_a_perfect_answer_has_no_loss_and_a_wrong_one_has(truths):
    truth = next(truth for truth in truths if len(truth))
    codes, scores, classes = perfect(truth)
    assert loss_of(codes, scores, codes, classes) < 1e-4
    ignored = np.where((classes == IGNORED)[:, None], 0.5, scores)
    assert loss_of(codes + 9 * (classes <= 0)[:, None], ignored, codes, classes) < 1e-4
    assert loss_of(codes + 1, scores, codes, classes) > 1
    assert loss_of(codes, 1 - scores, codes, classes) > 1


def test_the_loss_is_smooth_l1_plus_focal():
    # One anchor learns a car with codes off by 0.5 and 3; one is background.
    codes, true_codes = np.zeros((2, 4)), np.array([[0.5, 3, 0, 0], [7, 7, 7, 7]])
    scores = np.array([[0.1, 0.2, 0.6], [0.9, 0.3, 0.05]])
    classes = np.array([2, 0])
    smooth = 0.5**2 / 2 + 3 - 0.5
    right = np.array([[0.9, 0.8, 0.6], [0.9, 0.7, 0.95]])
    weight = np.array([[0.75, 0.75, 0.25], [0.25, 0.75, 0.75]])
    for focus in (0.0, 2.0):
        expected = smooth - (weight * (1 - right) ** focus * np.log(right)).sum()
        found = loss_of(codes, scores, true_codes, classes, focus=focus)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_outputs_are_told_apart_by_their_columns():
    codes, scores = np.zeros((1, 5, 4)), np.zeros((1, 5, 3))
    for order in ((codes, scores), (scores, codes)):
        found = detector_training.boxes_and_scores(order)
        assert found[0] is codes
        assert found[1] is scores
    for wrong in ((codes,), (codes, codes), (scores, scores)):
        with pytest.raises(UnusableInput, match=r"one of them with 4 columns"):
            detector_training.boxes_and_scores(wrong)


def tiny_detector():
    """One convolution on a 2×2 grid of two anchors."""
    layers = tf.keras.layers
    image = tf.keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 8, strides=8, activation="relu")(image)
    boxes = layers.Reshape((-1, 4))(layers.Conv2D(8, 1)(x))
    scores = layers.Reshape((-1, 3))(layers.Conv2D(6, 1, activation="sigmoid")(x))
    return tf.keras.Model(image, [boxes, scores])


def test_training_learns_and_is_repeatable():
    anchors = detection.ssd_anchors((2,), smallest=0.5, ratios=(1.0,), reduced=False)
    random = np.random.default_rng(0)
    corners = random.integers(2, size=(16, 2)) / 2  # which quarter is white
    images = random.integers(40, size=(16, 16, 16, 3), dtype=np.uint8)
    for image, (y, x) in zip(images, np.int64(corners * 16), strict=True):
        image[y : y + 8, x : x + 8] = 255
    truth = [truth_of((y, x, y + 0.5, x + 0.5)) for y, x in corners]
    entry = models.ImageInput(16, 127.5, 127.5)
    runs = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(0)
        losses = detector_training.train(
            tiny_detector(),
            images,
            truth,
            entry=entry,
            anchors=anchors,
            epochs=12,
            seed=0,
            batch_size=8,
            learning_rate=0.02,
        )
        runs.append(list(losses))
    assert runs[0] == runs[1]
    assert len(runs[0]) == 12
    assert runs[0][-1] < runs[0][0] / 2


def test_too_few_pictures_are_refused(truths):
    with pytest.raises(UnusableInput, match=r"2 images and 2 truths; .* batch of 32"):
        next(
            detector_training.train(
                None,
                np.zeros((2, SIZE, SIZE, 3), np.uint8),
                truths[:2],
                entry=models.SCENE_DETECTOR_INPUT,
                anchors=ANCHORS,
                epochs=1,
                seed=0,
            )
        )
