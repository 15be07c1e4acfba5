"""Train an SSD on drawn scenes: which anchor learns which box, the loss, the loop.

An SSD says four codes and a score for each class at each of its anchors. Training
needs the same from the truth: `targets` gives every anchor a box or the background.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.vision import detection, scenes
from course_lib.vision.detection import Detections
from course_lib.vision.models import ImageInput

import numpy as np

IGNORED = -1  # the class of an anchor that is neither box nor background


def as_detections(boxes: Sequence[scenes.Box], *, size: int) -> Detections:
    """Return the true boxes of a scene as a perfect detector would find them.

    Args:
        boxes: One element of `Scenes.boxes`.
        size: Height and width of the scene in pixels.

    Returns:
        Corners from 0 to 1, scores 1, and classes as SSD counts them: 1 person, 2 car.

    Example:
        >>> box = scenes.Box("car", top=40, left=20, bottom=60, right=80, visible=1.0)
        >>> truth = as_detections([box], size=80)
        >>> truth.boxes.tolist(), truth.classes.tolist()
        ([[0.5, 0.25, 0.75, 1.0]], [2])

    Introduced in notebook 14.
    """
    corners = [(box.top, box.left, box.bottom, box.right) for box in boxes]
    classes = [1 + scenes.LABELS.index(box.label) for box in boxes]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4) / np.float32(size),
        np.ones(len(boxes), np.float32),
        np.array(classes, int),
    )


def targets(
    truth: Detections,
    *,
    anchors: np.ndarray,
    positive: float = 0.5,
    negative: float = 0.4,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell each anchor what it should say about one picture.

    An anchor learns the box that it overlaps most, if by `positive` or more. The best
    anchor of each box learns it in any case, so that no box is left out. Below
    `negative` an anchor learns background; what lies between learns nothing.

    Args:
        truth: The boxes of the picture; their scores are not looked at.
        anchors: float [A, 4]: centre y, centre x, height, width.
        positive: Intersection over union.
        negative: Intersection over union, at most `positive`.

    Returns:
        Codes, float32 [A, 4], 0 where no box is learned; and classes, int [A], with 0
        for background and `IGNORED` for nothing.

    Raises:
        UnusableInput: `negative` is above `positive`, or a box has no area.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2016, section 2.2, for the
    matching; Lin et al., "Focal loss for dense object detection", 2017, section 4, for
    what is ignored.

    Introduced in notebook 14.
    """
    if not 0 <= negative <= positive <= 1:
        raise UnusableInput(
            f"negative is {negative} and positive {positive}; expected 0 <= negative <="
            " positive <= 1: an anchor below the first is background"
        )
    codes = np.zeros((len(anchors), 4), np.float32)
    classes = np.zeros(len(anchors), int)
    if not len(truth):
        return codes, classes
    half = anchors[:, 2:] / 2
    corners = np.hstack([anchors[:, :2] - half, anchors[:, :2] + half])
    overlaps = detection.iou(corners, truth.boxes)
    box_of, overlap = overlaps.argmax(1), overlaps.max(1)
    best = overlaps.argmax(0)
    box_of[best], overlap[best] = np.arange(len(truth)), 1
    learns = overlap >= positive
    classes[overlap >= negative] = IGNORED
    classes[learns] = truth.classes[box_of[learns]]
    codes[learns] = detection.ssd_codes(truth.boxes[box_of[learns]], anchors[learns])
    return codes, classes


def ssd_loss(
    codes: Any,
    scores: Any,
    *,
    true_codes: Any,
    true_classes: Any,
    focus: float = 2.0,
) -> Any:
    """Return how wrong an SSD's outputs are: boxes plus classes, for each box learned.

    Codes: smooth L1 where an anchor learns a box. Scores: the focal loss, a binary
    cross-entropy in which an answer that is right already counts little. Without it a
    thousand anchors of background drown the few that learn a box.

    Args:
        codes: float [N, A, 4], what the model says.
        scores: Sigmoids [N, A, 1 + classes], column 0 is background.
        true_codes: float [N, A, 4] of `targets`.
        true_classes: int [N, A] of `targets`.
        focus: An answer's weight is its error to this power; 0 is the cross-entropy.

    Returns:
        Scalar tensor.

    Source: Girshick, "Fast R-CNN", 2015, for smooth L1; Lin et al., "Focal loss for
    dense object detection", 2017, with its weights of 0.25 and 0.75.

    Introduced in notebook 14.
    """
    import tensorflow as tf

    true_classes = tf.convert_to_tensor(true_classes)
    learns = tf.cast(true_classes > 0, tf.float32)
    counts = tf.cast(true_classes != IGNORED, tf.float32)
    boxes = tf.maximum(tf.reduce_sum(learns), 1.0)

    error = tf.abs(codes - true_codes)
    smooth = tf.where(error < 1, error**2 / 2, error - 0.5)
    box_loss = tf.reduce_sum(smooth * learns[..., None]) / boxes

    said = tf.clip_by_value(scores, 1e-6, 1 - 1e-6)
    wanted = tf.one_hot(true_classes, scores.shape[-1])
    right = tf.where(wanted > 0, said, 1 - said)
    weight = tf.where(wanted > 0, 0.25, 0.75) * (1 - right) ** focus
    entropy = -weight * tf.math.log(right) * counts[..., None]
    return box_loss + tf.reduce_sum(entropy) / boxes


def train(
    model: Any,
    images: np.ndarray,
    truth: Sequence[Detections],
    *,
    entry: ImageInput,
    anchors: np.ndarray,
    epochs: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
) -> Iterator[float]:
    """Train an SSD with Adam and a cosine decay; mirror every second picture.

    From here on, the process is deterministic; seed it before building the model too.

    Args:
        model: Keras model with the outputs codes and scores, as `scene_detector`.
        images: uint8 [N, size, size, 3].
        truth: The true boxes of each image.
        entry: How the model wants its pixels.
        anchors: float [A, 4].
        epochs: Passes over the images.
        seed: Decides the order of the images and which are mirrored.
        batch_size: Images a step; those left over wait for the next epoch.
        learning_rate: At the first step; it falls to 0 at the last.

    Yields:
        The mean loss of each epoch, when it is over.

    Raises:
        UnusableInput: Images and truth differ in number, or are less than a batch.

    Introduced in notebook 14.
    """
    if not len(images) == len(truth) >= batch_size:
        raise UnusableInput(
            f"{len(images)} images and {len(truth)} truths; expected as many of each,"
            f" and a batch of {batch_size} or more"
        )
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    steps = len(images) // batch_size
    rate = tf.keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
    optimizer = tf.keras.optimizers.Adam(rate)
    random = np.random.default_rng(seed)

    @tf.function
    def step(pixels: Any, true_codes: Any, true_classes: Any) -> Any:
        inputs = (tf.cast(pixels, tf.float32) - entry.mean) / entry.std
        with tf.GradientTape() as tape:
            codes, scores = model(inputs, training=True)
            loss = ssd_loss(
                codes, scores, true_codes=true_codes, true_classes=true_classes
            )
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    for _ in range(epochs):
        order = random.permutation(len(images))[: steps * batch_size]
        losses = []
        for batch in order.reshape(steps, batch_size):
            pixels, wanted = images[batch], [truth[k] for k in batch]
            for k in np.flatnonzero(random.random(batch_size) < 0.5):
                pixels[k], wanted[k] = pixels[k, :, ::-1], mirrored(wanted[k])
            answers = [targets(one, anchors=anchors) for one in wanted]
            losses.append(step(pixels, *map(np.stack, zip(*answers, strict=True))))
        yield float(np.mean(losses))


def mirrored(truth: Detections) -> Detections:
    """Exchange left and right.

    Example:
        >>> box = Detections(np.array([[0, 0, 1, 0.25]]), np.ones(1), np.ones(1, int))
        >>> mirrored(box).boxes.tolist()
        [[0.0, 0.75, 1.0, 1.0]]
    """
    y1, x1, y2, x2 = truth.boxes.T
    boxes = np.stack([y1, 1 - x2, y2, 1 - x1], axis=1)
    return Detections(boxes, truth.scores, truth.classes)


def boxes_and_scores(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sort a detector's two outputs, which every converter orders as it likes.

    Args:
        outputs: Two arrays [..., 4] and [..., another number], in any order.

    Returns:
        The codes of the boxes, then the scores.

    Raises:
        UnusableInput: There are not two, or not one of them has 4 columns.

    Introduced in notebook 14.
    """
    codes = [output for output in outputs if output.shape[-1] == 4]
    scores = [output for output in outputs if output.shape[-1] != 4]
    if len(codes) != 1 or len(scores) != 1:
        raise UnusableInput(
            f"the outputs have the shapes {[np.shape(o) for o in outputs]}; expected"
            " two, one of them with 4 columns: give the outputs of a file that ends"
            " before its post-processing"
        )
    return codes[0], scores[0]


def detect(
    outputs: Sequence[np.ndarray],
    *,
    anchors: np.ndarray,
    confidence: float = 0.02,
    iou: float = 0.5,
) -> list[Detections]:
    """Decode what an SSD says about many pictures.

    Args:
        outputs: float codes [N, A, 4] and scores [N, A, 1 + classes], in any order.
        anchors: float [A, 4].
        confidence: Boxes below this score are dropped; low, to draw a whole curve of
            precision and recall.
        iou: Overlap that non-maximum suppression allows within a class.

    Returns:
        For each picture its boxes, the best first.

    Raises:
        UnusableInput: As `boxes_and_scores` and `detection.ssd`.

    Introduced in notebook 14.
    """
    codes, scores = boxes_and_scores(outputs)
    return [
        detection.nms(
            detection.ssd(*pair, anchors=anchors, confidence=confidence), iou=iou
        )
        for pair in zip(codes, scores, strict=True)
    ]
