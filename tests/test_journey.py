"""A model's way to a camera: every chip is reached, every loss and refusal is told."""

import html
import io
import json
import re
from functools import partial
from types import SimpleNamespace

from course_lib.camera import virtual
from course_lib.course import journey, journey_page, laboratory
from course_lib.dlpu import socs
from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.tflite import reading
from course_lib.vision import datasets, models

import numpy as np
import pytest

for package in ("asyncssh", "httpx", "cryptography", "onnxruntime", "tf2onnx"):
    pytest.importorskip(package)
with quiet():
    tf = pytest.importorskip("tensorflow")

COLOURS = ("cherry", "grass", "sky")  # in the order of their names, as folders are


def colour_reader():
    """Return a model that names the strongest of three colours, and is never wrong."""
    layers = tf.keras.layers
    image = tf.keras.Input((16, 32, 3), name="image")
    x = layers.Conv2D(3, 1, name="copy")(image)
    x = layers.AveragePooling2D((16, 32), name="pool")(x)
    x = layers.Dense(3, activation="softmax", name="colour")(layers.Flatten()(x))
    model = tf.keras.Model(image, x, name="colour_reader")
    model.get_layer("copy").set_weights([np.eye(3)[None, None], np.zeros(3)])
    model.get_layer("colour").set_weights([8 * np.eye(3), np.zeros(3)])
    return model


def colour_pictures(count=60):
    rng = np.random.default_rng(0)
    labels = np.arange(count) // 2 % 3
    images = rng.integers(0, 120, (count, 16, 32, 3), np.uint8)
    images[np.arange(count), ..., labels] += 100
    names = tuple(f"{number}.png" for number in range(count))
    return journey.Pictures(images, names, labels, COLOURS)


@pytest.fixture(scope="module")
def reader():
    return colour_reader()


@pytest.fixture(scope="module")
def digits():
    images, labels = datasets.handwritten_digits()
    broken = laboratory.plant_dead_channels(models.digit_reader(), seed=1)
    known = journey.Pictures(images[datasets.DIGITS_TRAINING][:40])
    unseen = datasets.DIGITS_TEST
    return broken, known, journey.Pictures(images[unseen][:100], (), labels[unseen])


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "\n", page))


# Pictures


def test_every_second_picture_calibrates():
    pictures = colour_pictures(7)
    calibration, judges = journey.split(pictures)
    assert calibration.names == ("0.png", "2.png", "4.png", "6.png")
    assert judges.names == ("1.png", "3.png", "5.png")
    assert (judges.images == pictures.images[1::2]).all()
    assert judges.labels.tolist() == pictures.labels[1::2].tolist()
    with pytest.raises(UnusableInput, match="expected two or more"):
        journey.split(pictures.take(np.array([0])))


def test_a_picture_that_calibrated_does_not_judge():
    pictures = colour_pictures(6)
    fresh = journey.unseen(pictures, pictures.take(np.array([1, 4])))
    assert fresh.names == ("0.png", "2.png", "3.png", "5.png")
    with pytest.raises(UnusableInput, match="calibrated it too"):
        journey.unseen(pictures, pictures)


def test_spread_takes_from_all_of_them():
    pictures = colour_pictures(10)
    assert pictures.spread(20) is pictures
    assert pictures.spread(4).names == ("0.png", "2.png", "5.png", "7.png")


# Every chip


@pytest.mark.parametrize("soc", socs.SOCS)
def test_every_chip_is_reached(soc, reader, tmp_path):
    calibration, judges = journey.split(colour_pictures())

    with virtual.start(journey.host_of(socs.SOCS[soc]), compile_seconds=0) as started:
        done = journey.travel(
            reader,
            calibration,
            judges,
            soc=soc,
            folder=tmp_path,
            settings=journey.Settings((127.5,), (127.5,)),
            reach=started.connect,
            most=5,
        )
    chip = socs.SOCS[soc]
    assert done.problems == ()
    assert done.tested.result.plan.device == chip.device
    assert len(done.tested.result.pictures) == 5
    assert done.judged.accuracy("float").hits == 30
    assert done.judged.accuracy().hits == 30
    assert done.verdict == (
        "nothing found against the file; right for 1.00 of the labels; a virtual "
        "camera ran it, which is a SIMULATION"
    )
    if chip.takes_onnx:
        assert done.made.kind == "planar ONNX"
        assert done.made.file.suffix == ".onnx"
        assert any(text.startswith("the compiler of") for text in done.not_run)
        assert done.card.inputs[0].layout == "planar (NCHW)"
    else:
        made = reading.read(done.made.file)
        assert made.is_full_integer
        wanted = chip.granularity.value.replace("none", "per-channel")
        assert made.granularity == wanted
    told = " ".join(done.not_run)
    assert ("edgetpu_compiler" in told) == (soc == "artpec7" and not done.made.compiled)
    page = journey_page.page(done)
    assert str(tmp_path) not in page
    assert "SIMULATION: a virtual camera stood in." in page
    assert chip.device in page
    assert "<h2>On a virtual camera (SIMULATION)</h2>" in page
    commands = journey_page.commands(done)
    assert f"dlpu lint DIR/{done.made.file.name} --soc {soc}" in commands
    assert any(line.startswith("dlpu compare") for line in commands) == (
        not chip.takes_onnx
    )
    for line in commands:
        assert line in text_of(page)
    if soc == "artpec7":
        assert "edgetpu_compiler -s -o . model.tflite" in text_of(page)
    if soc == "cv25":
        assert "onnxparser" in text_of(page) or "cavalry" in text_of(page)
    json.dumps(journey_page.as_dict(done), allow_nan=False)


def test_without_a_camera_the_page_says_so(reader, tmp_path):
    pictures = colour_pictures()
    unlabelled = journey.Pictures(pictures.images[1::2])
    calibration = pictures.take(pictures.labels >= 0)
    with pytest.raises(UnusableInput, match="calibrated it too"):
        journey.travel(reader, calibration, unlabelled, soc="cpu", folder=tmp_path)
    done = journey.travel(
        reader,
        pictures.take(np.arange(60) % 2 == 0),
        unlabelled,
        soc="artpec9",
        folder=tmp_path,
    )
    assert done.tested is None
    assert done.verdict == "nothing found against the file; no camera has run it"
    assert done.not_run == (
        "accuracy: the pictures have no labels",
        "the file, on a camera",
    )
    page = text_of(journey_page.page(done))
    assert "No camera was asked." in page
    assert "SIMULATION" not in page
    assert "No answer of any picture changed." in page
    assert dict(journey_page.figures(done))["agreement, full-integer, after"] == (
        "1.00 (30 of 30; 0.89 to 1.00)"
    )


# What goes wrong


def test_a_loss_is_found_explained_and_repaired(digits, tmp_path):
    broken, calibration, judges = digits
    go = partial(
        journey.travel, broken, calibration, judges, soc="artpec8", folder=tmp_path
    )
    lost = go()
    assert lost.judged.is_lost
    assert lost.verdict.startswith("not ready: ")
    assert [cause.id for cause in lost.causes] == ["dead-channels"]
    falls = next(text for text in lost.problems if "the accuracy falls" in text)
    assert falls.endswith("--repair tries the cures of lesson 07")
    page = text_of(journey_page.page(lost))
    assert "Where it was lost" in page
    assert f"Weakest layer: {lost.compared.worst.operator}" in page
    assert "dead-channels: Weights of channels that never act" in page

    tried = []
    mended = go(settings=journey.Settings(cures="quick"), tell=tried.append)
    assert mended.problems == ()
    assert "trying dead channels removed" in tried
    assert mended.compared is None
    before, after = (mended.judged.accuracy(name) for name in ("unrepaired", "made"))
    assert before.value < 0.5 < 0.9 < after.value
    assert mended.judged.agreement("unrepaired").value < 0.5
    figures = dict(journey_page.figures(mended))
    assert figures["cures kept"].startswith("dead channels removed")
    page = text_of(journey_page.page(mended))
    assert "Where it was lost" not in page
    assert "The cures, judged among themselves by 20 of the calibration" in page


def test_a_wrong_normalisation_shows_in_the_float_model(digits, tmp_path):
    _, calibration, judges = digits
    done = journey.travel(
        models.digit_reader(),
        calibration,
        judges,
        soc="artpec9",
        folder=tmp_path,
        settings=journey.Settings((127.5,), (1000.0,)),
    )
    assert done.judged.accuracy("float").value < 0.5
    assert any("the float model" in text for text in done.problems)


def test_what_the_linter_calls_an_error_is_not_run(tmp_path):
    layers = tf.keras.layers
    image = tf.keras.Input((16, 32, 3), name="image")
    x = layers.Flatten()(layers.AveragePooling2D((16, 32))(image))
    scores = layers.Dense(3, activation="softmax")(x)
    boxes = layers.Rescaling(640.0)(layers.Dense(4, activation="sigmoid")(x))
    model = tf.keras.Model(image, layers.Concatenate()([boxes, scores]))
    calibration, judges = journey.split(colour_pictures())
    judges = journey.Pictures(judges.images)
    with virtual.start("artpec8", compile_seconds=0) as started:
        done = journey.travel(
            model,
            calibration,
            judges,
            soc="artpec8",
            folder=tmp_path,
            reach=started.connect,
        )
    assert done.tested.reason == "not run: the linter has errors"
    assert "the linter finds 1 error: shared-scale" in done.problems
    assert "the file, on a camera" in done.not_run
    page = text_of(journey_page.page(done))
    assert "error: shared-scale" in page
    assert "Not run: the linter has errors." in page


def test_what_the_camera_refuses_is_a_finding(reader, tmp_path):
    calibration, judges = journey.split(colour_pictures())
    faults = virtual.Faults(out_of_memory=True)
    with virtual.start("artpec8", compile_seconds=0, faults=faults) as started:
        done = journey.travel(
            reader,
            calibration,
            judges,
            soc="artpec8",
            folder=tmp_path,
            reach=started.connect,
        )
    assert done.tested.result is None
    (problem,) = done.problems
    assert problem.startswith("the camera did not run the file: ")
    assert "not ready: 1 finding" in journey_page.page(done)
    assert journey_page.as_dict(done)["camera_refused"] == problem


def test_a_camera_with_another_chip_is_refused(reader, tmp_path):
    calibration, judges = journey.split(colour_pictures())
    made = journey.convert(reader, calibration, soc="artpec8", folder=tmp_path)
    with (
        virtual.start("artpec9") as started,
        started.connect() as camera,
        pytest.raises(UnusableInput, match="expected --soc artpec9"),
    ):
        journey.on_camera(camera, made, judges, is_virtual=True)


def test_an_outer_problem_of_the_camera_is_told(reader, tmp_path):
    from test_camera_evaluation import Camera

    calibration, judges = journey.split(colour_pictures())
    made = journey.convert(reader, calibration, soc="artpec9", folder=tmp_path)
    judged = journey.judge(made, judges)
    camera = Camera("artpec9", change=lambda values: values[..., ::-1])
    tested = journey.on_camera(camera, made, judges, is_virtual=False)
    done = journey.collect(made, judged, calibration=30, tested=tested)
    assert any(text.startswith("on the camera: ") for text in done.problems)
    page = text_of(journey_page.page(done))
    assert "SIMULATION" not in page
    assert "On the camera" in page
    assert re.search(r"\d+ of 30 pictures", page)  # those that differ
    sound = journey.on_camera(Camera("artpec9"), made, judges, is_virtual=False)
    done = journey.collect(made, judged, calibration=30, tested=sound)
    assert done.verdict.endswith("; AXIS T1 ran it")
    assert done.not_run == ()


# Verdicts


def judged(real, made, labels=None, count=3):
    answers = {"float": np.array(real), "made": np.array(made)}
    labels = None if labels is None else np.array(labels)
    images = np.zeros((len(real), 1, 1, 1), np.uint8)
    return journey.Judged(journey.Pictures(images, labels=labels), answers, count)


def test_a_loss_is_told_from_chance():
    real = np.arange(20) % 3
    few, many = real.copy(), np.arange(200) % 3
    few[:2] = (few[:2] + 1) % 3
    assert judged(real, few).agreement().value == 0.9
    assert not judged(real, few).is_lost
    changed = many.copy()
    changed[:20] = (changed[:20] + 1) % 3
    lost = judged(many, changed)
    assert lost.agreement().value == 0.9
    (told,) = lost.losses()
    assert told == (
        "the file answers as the float model for 0.90 (180 of 200; 0.85 to 0.93): "
        "less than 0.95"
    )


def test_an_accuracy_is_lost_by_pairs():
    labels = np.arange(300) % 3
    worse = labels.copy()
    worse[:10] = (worse[:10] + 1) % 3
    found = judged(labels, worse, labels)
    assert found.agreement().interval[1] > 0.95
    (told,) = found.losses()
    assert told.startswith("the accuracy falls from 1.00 to 0.97")
    assert not judged(worse, labels, labels).is_lost  # gained


@pytest.mark.parametrize(
    ("real", "made", "labels", "words"),
    [
        ([0] * 20, [0] * 20, None, ["the float model names one class, 0"]),
        ([0] * 20, [0] * 20, [0] * 20, []),
        ([0, 1] * 10, [1] * 20, None, ["the converted file names one class, 1"]),
        ([0, 0], [0, 0], None, []),
        (
            np.arange(20) % 3,
            np.arange(20) % 3,
            np.arange(20) // 2 % 3,
            ["no more often than chance among 3 classes"],
        ),
        (
            np.arange(20) % 3,
            np.arange(20) % 3,
            (np.arange(20) + 1) % 3,
            ["less often than chance among 3 classes"],
        ),
    ],
)
def test_what_no_conversion_mends_is_told(real, made, labels, words):
    told = list(judged(real, made, labels).collapses())
    assert len(told) == len(words)
    for text, word in zip(told, words, strict=True):
        assert word in text


def test_classes_in_another_order_are_told():
    labels = np.arange(40) % 2
    found = judged(1 - labels, 1 - labels, labels, count=2)
    names = ("car", "no car")
    of = journey.replace(found.pictures, classes=names, order="sorted folder names")
    (told,) = journey.replace(found, pictures=of).collapses()
    assert "less often than chance among 2 classes" in told
    assert told.endswith(
        "the classes are probably in another order; the sorted folder names gave 0 "
        "car, 1 no car; --classes FILE gives the model's order"
    )


def test_two_classes_in_exchanged_order_are_told():
    labels = np.arange(80) % 4
    answers = np.array([1, 0, 2, 3])[labels]
    names = ("car", "person", "truck", "van")

    def told(answers, order):
        found = judged(answers, answers, labels, count=4)
        of = journey.replace(found.pictures, classes=names, order=order)
        return list(journey.replace(found, pictures=of).collapses())

    (one,) = told(answers, "sorted folder names")
    assert "right for 1.00 and not 0.50 if 0 car and 1 person changed places" in one
    assert one.endswith("--classes FILE gives the model's order")
    assert told(answers, "by --classes") == []
    weak = np.where(np.arange(80) < 40, labels, answers)  # half of two classes
    assert told(weak, "sorted folder names") == []


@pytest.mark.parametrize(("changed", "words"), [(1, "-0.03 (chance);"), (20, "-0.50;")])
def test_a_change_that_may_be_chance_is_called_so(changed, words):
    labels = np.arange(40) % 3
    worse = labels.copy()
    worse[:changed] = (worse[:changed] + 1) % 3
    done = SimpleNamespace(
        judged=judged(labels, worse, labels),
        made=SimpleNamespace(kind="full-integer", told={"repair": None}),
    )
    told = [getattr(part, "text", "") for part in journey_page._before_and_after(done)]
    assert any(f"The accuracy changes by {words}" in text for text in told)


def test_settings_that_cannot_be(reader, tmp_path):
    calibration, judges = journey.split(colour_pictures())
    cured = journey.Settings(cures="quick")
    with pytest.raises(UnusableInput, match="a planar ONNX file is made here"):
        journey.convert(
            reader, calibration, soc="cv25", folder=tmp_path, settings=cured
        )
    made = journey.convert(reader, calibration, soc="artpec9", folder=tmp_path)
    wrong = journey.Pictures(judges.images, labels=judges.labels + 1)
    with pytest.raises(UnusableInput, match=r"labels reach 1\.\.3"):
        journey.judge(made, wrong)
    with pytest.raises(UnusableInput, match="--output 1"):
        journey.judge(made, judges, output=1)


def test_three_means_are_in_both_files(reader, tmp_path):
    calibration, judges = journey.split(colour_pictures())
    settings = journey.Settings((120.0, 115.0, 100.0), (60.0, 60.0, 55.0))
    made = journey.convert(
        reader, calibration, soc="artpec9", folder=tmp_path, settings=settings
    )
    assert reading.read(made.file).inputs[0].scale == 1.0
    assert journey.judge(made, judges).agreement().hits == 30


def test_a_model_without_classes_is_compared_by_its_layers(tmp_path):
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    image = tf.keras.Input((16, 32, 3), name="image")
    maps = layers.Conv2D(4, 3, padding="same", activation="relu6")(image)
    model = tf.keras.Model(image, layers.Conv2D(2, 1)(maps))
    pictures = colour_pictures()
    calibration, judges = journey.split(journey.Pictures(pictures.images))
    done = journey.travel(model, calibration, judges, soc="artpec9", folder=tmp_path)
    assert done.judged.agreement() is None
    assert done.compared.output_sqnr > 12
    assert "output against float" in dict(journey_page.figures(done))
    assert "No output has one value a class" in journey_page.page(done)


def test_what_is_kept_has_every_picture_as_the_model_takes_it(reader, tmp_path):
    from PIL import Image

    calibration, judges = journey.split(colour_pictures())
    bgr = journey.Settings(channels="bgr")
    made = journey.convert(
        reader, calibration, soc="artpec9", folder=tmp_path, settings=bgr
    )
    found = journey.judge(made, judges)
    done = journey.collect(made, found, calibration=len(calibration))
    kept = journey_page.keep(done, calibration)
    assert set(kept) >= {"model.tflite", "model_float.tflite", "classes.txt"}
    assert len([name for name in kept if name.startswith("calibration/")]) == 30
    assert kept["classes.txt"] == b"cherry\ngrass\nsky\n"
    name = f"judges/{judges.labels[3]}/0003.png"
    pixels = np.asarray(Image.open(io.BytesIO(kept[name])))
    assert (pixels[..., ::-1] == judges.images[3]).all()
    assert journey_page.empty_folders(done) == ["judges/0", "judges/1", "judges/2"]
