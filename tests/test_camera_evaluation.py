"""`evaluation` sends the right bytes, reads them back, and judges what came."""

import dataclasses
import hashlib
import json
import math
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from course_lib.camera import evaluation, larod, summary
from course_lib.course.compiled import stand_in
from course_lib.dlpu import contract, cvflow
from course_lib.dlpu.socs import SOCS
from course_lib.errors import UnusableInput
from course_lib.tflite import inference, reading
from course_lib.vision.evaluation import paired_interval, wilson_interval

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"
PERSON = DATA / "person_per_channel.tflite"
SCENE = DATA / "scene_classifier_qat.tflite"


class Camera:
    """Something with the client's interface that runs the file with LiteRT here.

    `change` is applied to each output, `remark` stands behind each time; `reference`
    chooses LiteRT's kernels.
    """

    def __init__(
        self,
        soc="artpec8",
        *,
        change=lambda values: values,
        remark="",
        os="12.2.41",
        reference=False,
    ):
        self.info = SimpleNamespace(
            product="AXIS T1", soc=SOCS[soc], os=os, architecture="aarch64", serial="1"
        )
        self.change, self.remark, self.reference = change, remark, reference
        self.inputs, self.calls, self.closed = [], [], 0

    def devices(self):
        return self.info.soc.device, "cpu-tflite"

    def device(self):
        return self.info.soc.device

    @contextmanager
    def load(self, file, *, device=None, suffix=".tflite"):
        self.loaded = (Path(file), device, suffix)
        self.interpreter = inference.load(file, reference=self.reference)
        try:
            yield self
        finally:
            self.closed += 1

    def run(self, inputs=(), *, rounds=1, warm_up=0, seed=None, output_sizes):
        first = not self.calls
        self.calls.append((rounds, warm_up))
        told = larod.Run(
            load_seconds=25.0 if first else 0.5,
            rounds=rounds,
            mean_milliseconds=5.0 + len(self.calls),
            simulated=self.remark,
        )
        if not inputs:
            return told, [bytes(size) for size in output_sizes]
        (entry,), (answer,) = (
            self.interpreter.get_input_details(),
            self.interpreter.get_output_details(),
        )
        self.inputs.append(inputs[0])
        values = np.frombuffer(inputs[0], entry["dtype"]).reshape(entry["shape"])
        self.interpreter.set_tensor(entry["index"], values)
        self.interpreter.invoke()
        values = self.change(self.interpreter.get_tensor(answer["index"]))
        content = values.tobytes()
        assert [len(content)] == list(output_sizes)
        return told, [content]

    def benchmark(self, rounds, *, warm_up, batches, outputs, progress):
        batches = min(batches, rounds)
        runs, done = [], 0
        for batch in range(batches):
            share = rounds * (batch + 1) // batches - done
            done += share
            runs.append(
                self.run((), rounds=share, warm_up=warm_up, output_sizes=[1])[0]
            )
            progress(done, rounds)
        return tuple(runs)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (20, 6, 6, 3), np.uint8)
    return list(small.repeat(16, 1).repeat(16, 2))


@pytest.fixture(scope="module")
def answers(images):
    return inference.predict(SCENE, np.stack(images), raw=True).argmax(1)


def outcome(camera, images, **options):
    plan = evaluation.plan(camera, SCENE)
    return evaluation.run(camera, plan, images, **options)


@pytest.mark.parametrize("kind", ["reference", "default"])
def test_the_kernels_that_are_nearer_count(images, answers, kind):
    camera = Camera(reference=kind == "reference")
    names = [f"{n}.png" for n in range(20)]
    result = outcome(camera, images, names=names, labels=answers.tolist())
    assert result.problems == ()
    assert result.runtime == f"LiteRT, {kind} kernels"
    (output,) = result.outputs
    assert output.difference.verdict == "identical"
    assert output.spread.mean > 0
    assert [picture.largest for picture in result.pictures] == [0] * 20
    assert result.pictures[3].name == "3.png"
    assert result.agreement == 1
    shares = [
        np.mean(
            inference.predict(SCENE, np.stack(images), raw=True, reference=r).argmax(1)
            == answers
        )
        for r in (kind == "reference", kind != "reference")
    ]
    assert result.accuracy.camera == result.accuracy.computer == shares[0]
    assert result.accuracy.other == shares[1]
    assert camera.closed == 1
    assert camera.loaded == (SCENE, "axis-a8-dlpu-tflite", ".tflite")
    assert camera.inputs == [image.tobytes() for image in images]


def test_times_are_told_apart(images):
    camera = Camera()
    result = outcome(camera, images[:1], rounds=25, warm_up=2)
    # One first load, then ten batches whose rounds add up, then the picture.
    assert camera.calls == [(1, 0), *[(2, 2), (3, 2)] * 5, (1, 0)]
    timing = result.timing
    assert (timing.first_load, timing.later_load) == (25.0, 0.5)
    assert timing.batches == tuple(float(n) for n in range(7, 17))
    assert timing.mean == pytest.approx(
        (2 * sum(range(7, 17, 2)) + 3 * sum(range(8, 18, 2))) / 25
    )
    few = outcome(Camera(), images[:1], rounds=3)
    assert few.timing.rounds == (1, 1, 1)


def test_progress_is_called_as_often_as_it_says(images):
    told = []
    for rounds in (4, 30):
        told.clear()
        outcome(Camera(), images[:3], rounds=rounds, progress=lambda: told.append(1))
        assert len(told) == evaluation.steps(3, rounds=rounds)


def test_accuracy_and_its_interval(images, answers):
    labels = answers.copy()
    labels[:5] = (labels[:5] + 1) % 4
    accuracy = outcome(Camera(), images, labels=labels.tolist()).accuracy
    assert accuracy.camera == accuracy.computer == 0.75
    assert accuracy.camera_interval == wilson_interval(15, 20)
    # No picture tells them apart: so many as the rule of three allows may yet come.
    low, high = accuracy.difference_interval
    assert -low == high == wilson_interval(0, 20)[1]


@pytest.mark.parametrize(
    ("hits", "count", "interval"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998,
    # table I, method 3, and the two ends where the bootstrap has no width.
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),
        (1, 1, (0.2065, 1.0)),
    ],
)
def test_the_interval_is_wilson_s(hits, count, interval):
    assert wilson_interval(hits, count) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize(("lost", "is_lost"), [(1, False), (3, False), (4, True)])
def test_few_pictures_lose_no_accuracy(lost, is_lost):
    """McNemar's test finds a difference in 4 of 4, and none in fewer."""
    camera = np.array([False] * lost)
    low, high = paired_interval(camera, ~camera)
    assert (low, high < 0) == (-1, is_lost)


def test_a_camera_that_answers_wrongly_is_a_finding(images, answers):
    def change(values):
        return np.roll(values, 1, axis=-1)

    result = outcome(Camera(change=change), images, labels=answers.tolist())
    assert result.agreement < 0.5
    assert result.accuracy.camera < 0.5 < result.accuracy.computer == 1
    text = " ".join(result.problems)
    assert "output 0 is wrong: SQNR -" in text
    assert " dB, where 6 are the least" in text
    assert "the camera's accuracy is -" in text
    assert max(picture.largest for picture in result.pictures) > 20
    told = list(summary.lines(result))
    assert any(line.startswith("1. output 0") for line in told)
    assert "nothing wrong" not in told


def test_one_picture_of_twenty_cannot_tell(images, answers):
    seen = []

    def change(values):
        seen.append(1)
        return np.roll(values, 1, axis=-1) if len(seen) == 7 else values

    result = outcome(Camera(change=change), images, labels=answers.tolist())
    assert result.accuracy.camera == pytest.approx(0.95)
    assert not any("accuracy" in problem for problem in result.problems)
    assert any("20 pictures cannot tell" in text for text in result.warnings)


def test_a_simulation_says_so_wherever_a_time_stands(images):
    remark = "simulation: LiteRT on this computer's CPU"
    result = outcome(Camera(remark=remark), images[:2])
    lines = list(summary.lines(result))
    assert lines[0].startswith("scene_classifier_qat.tflite on AXIS T1")
    assert "SIMULATION: the times are no camera's" in lines[1]
    assert remark in lines[1]
    assert "LiteRT against LiteRT: identical by construction" in lines[2]
    rows = summary.rows(result)
    labels = {"first load", "later load", "one job", "batches"}
    assert {label for label, text in rows if "(SIMULATION)" in text} == labels
    both = [label for label, text in rows if "this computer both times" in text]
    assert both == ["output 0", "same top-1"]
    told = summary.as_dict(result)
    assert told["load"]["simulated"] == told["timing"]["simulated"] == remark
    real = summary.as_dict(outcome(Camera(), images[:2]))
    assert real["load"]["simulated"] is real["timing"]["simulated"] is None
    assert "SIMULATION" not in str(real)


def test_json_can_hold_the_result(images, answers):
    result = outcome(Camera(), images, labels=answers.tolist())
    told = json.loads(json.dumps(summary.as_dict(result), allow_nan=False))
    assert told["camera"] == {
        "product": "AXIS T1",
        "soc": "artpec8",
        "os": "12.2.41",
        "device": "axis-a8-dlpu-tflite",
        "virtual": False,
    }
    assert told["sha256"] == hashlib.sha256(SCENE.read_bytes()).hexdigest()
    assert [found["rule"] for found in told["findings"]] == ["unlisted-operator"]
    assert told["outputs"][0]["sqnr"] is None
    assert told["input"]["bytes"] == 96 * 96 * 3
    assert told["accuracy"]["camera"] == 1
    assert told["outputs"][0]["identical"] == 1
    assert told["outputs"][0]["spread"]["identical"] < 1
    assert len(told["pictures"]) == 20


def test_what_makes_the_numbers_doubtful(images):
    camera = Camera()
    camera.calls.append("the camera knows this file: no first load")
    result = outcome(camera, images[:2])
    assert any("had compiled this file before" in text for text in result.warnings)
    assert dict(summary.rows(result))["first load"] == "0.50 s, from the cache"
    on_cpu = Camera()
    plan = evaluation.plan(on_cpu, PERSON, device="cpu-tflite")
    assert plan.soc is SOCS["cpu"]
    assert plan.report.at_least("error") == ()
    result = evaluation.run(on_cpu, plan, images[:2])
    assert any("nothing here tells about its DLPU" in text for text in result.warnings)


def constant(tmp_path):
    """Write a file that names class 2 whatever it gets."""
    content = reading.read(SCENE)
    tensor = next(t for t in content.tensors if t.dtype == "int32" and t.shape == (4,))
    data = SCENE.read_bytes()
    values = tensor.values().tobytes()
    assert data.count(values) == 1
    file = tmp_path / "constant.tflite"
    file.write_bytes(data.replace(values, np.int32([0, 0, 1 << 20, 0]).tobytes()))
    return file


def test_one_class_for_every_picture_is_a_finding(images, answers, tmp_path):
    names = ("indoor", "street", "landscape", "sea")

    def change(values):
        return np.uint8([[9, 1, 1, 1]])

    camera = outcome(Camera(change=change), images, classes=names)
    assert any(
        "the camera names one class, 0 indoor, for every picture, the computer 3" in p
        for p in camera.problems
    )
    file = constant(tmp_path)

    def collapsed(count, labels=None):
        plan = evaluation.plan(Camera(), file)
        return evaluation.run(Camera(), plan, images[:count], labels=labels)

    both = collapsed(5)
    assert both.agreement == 1
    assert both.problems == (
        "the model names one class, 2, for every picture, on this computer too: unless "
        "they all show it, see lesson 12, `dlpu compare`",
    )
    assert "nothing wrong" not in list(summary.lines(both))
    (labelled,) = collapsed(5, [0, 1, 2, 3, 0]).problems
    assert labelled.endswith("on this computer too: see lesson 12, `dlpu compare`")
    assert collapsed(5, [2] * 5).problems == ()  # they are of that class
    assert collapsed(2).problems == ()
    wrong = collapsed(8, [0, 1, 3, 3, 0, 1, 1, 2])
    assert any("no more often than chance among 4" in text for text in wrong.warnings)


def test_the_last_line_counts_what_stands_above(images):
    result = outcome(Camera(), images[:2])
    assert len(result.warnings) == 1
    assert list(summary.lines(result))[-1] == "no finding; 1 warning above"
    assert dataclasses.replace(result, warnings=()).verdict == "nothing wrong"
    both = dataclasses.replace(result, problems=("a", "b"))
    assert both.verdict == "2 findings; 1 warning above"
    lines = list(summary.lines(both))
    assert lines[1:3] == ["1. a", "2. b"]
    assert lines[3].startswith("warning: the linter warns: unlisted-operator (MEAN)")


def test_numbers_of_one_channel_or_of_each():
    float_file = DATA / "scene_classifier_float_256.tflite"
    plan = evaluation.plan(Camera(), float_file)
    picture = np.zeros((256, 256, 3), np.uint8)
    with pytest.raises(UnusableInput, match="2 and 1 numbers: expected one"):
        evaluation.run(Camera(), plan, [picture], mean=(1.0, 2.0))


def test_mean_and_std_are_for_both_sides_or_none(images):
    """A normalisation of one side alone would be called the camera's fault."""
    camera = Camera()
    result = outcome(camera, images[:3], mean=(127.5,), std=(127.5,))
    assert camera.inputs == [image.tobytes() for image in images[:3]]
    assert result.outputs[0].difference.verdict == "identical"
    assert any("--std were not used" in text for text in result.warnings)
    camera = Camera()
    plan = evaluation.plan(camera, DATA / "scene_classifier_float_256.tflite")
    picture = images[0].repeat(3, 0).repeat(3, 1)[:256, :256]
    result = evaluation.run(camera, plan, [picture], mean=(127.5,), std=(127.5,))
    sent = (picture.astype(np.float32) - 127.5) / 127.5
    assert camera.inputs == [sent.tobytes()]
    assert result.outputs[0].difference.identical == 1
    assert not any("not used" in text for text in result.warnings)


def test_times_are_told_in_units_that_show_them():
    told = [summary._seconds(value) for value in (25.0, 0.01, 0.009, 0.0)]
    assert told == ["25.00 s", "0.01 s", "9 ms", "under 1 ms"]


def test_the_linter_judges_for_the_device_and_the_system(images):
    plan = evaluation.plan(Camera("artpec8"), PERSON)
    assert plan.report.os == "12.2.41"
    assert "per-channel-weights" in {f.rule for f in plan.report.findings}
    odd = evaluation.plan(Camera("artpec8", os="beta"), PERSON)
    assert odd.report.os is None
    result = evaluation.run(Camera("artpec8"), plan, images[:2])
    assert any("per-channel-weights" in text for text in result.warnings)
    finding = dataclasses.replace(plan.report.findings[0], severity="error")
    broken = dataclasses.replace(
        plan, report=dataclasses.replace(plan.report, findings=(finding,))
    )
    assert broken.errors == (finding,)
    forced = evaluation.run(Camera("artpec8"), broken, images[:2])
    assert forced.problems[0].startswith("the linter has errors")


# Bytes


def an_end(dtype, shape, layout, *, pitch=None):
    return SimpleNamespace(
        index=0, name="x", dtype=dtype, shape=shape, layout=layout, row_pitch=pitch
    )


def test_bytes_as_the_device_takes_them():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
    shape, nhwc = (1, 2, 3, 3), "interleaved (NHWC)"
    sent = evaluation.as_sent(image, an_end("uint8", shape, nhwc))
    assert sent.tobytes() == image.tobytes()
    sent = evaluation.as_sent(image, an_end("int8", shape, nhwc))
    assert sent.dtype == np.int8
    assert sent.ravel()[:2].tolist() == [-128, -114]
    assert (sent[0].astype(int) == image.astype(int) - 128).all()
    mean, std = (10, 20, 30), (2, 4, 8)
    sent = evaluation.as_sent(image, an_end("float32", shape, nhwc), mean=mean, std=std)
    assert sent.dtype == np.float32
    assert sent[0, 0, 1].tolist() == [16.0, 9.0, 5.0]
    sent = evaluation.as_sent(
        image, an_end("uint8", (1, 3, 2, 3), "planar (NCHW)", pitch=32)
    )
    assert sent.shape == (1, 3, 2, 32)
    padded = cvflow.pad_rows(cvflow.planar(image[None])[0])
    assert sent.tobytes() == padded.tobytes()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (an_end("uint8", (1, 4, 4, 3), "interleaved (NHWC)"), "a picture of 2x3x3"),
        (an_end("uint8", (1, 2, 3, 1), "interleaved (NHWC)"), "the model takes 2x3x1"),
        (an_end("int16", (1, 2, 3, 3), "interleaved (NHWC)"), "takes int16"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(end, words):
    with pytest.raises(UnusableInput, match=words):
        evaluation.as_sent(np.zeros((2, 3, 3), np.uint8), end)


def test_outputs_are_read_padded_or_not():
    end = SimpleNamespace(
        index=0, name="y", dtype="float32", shape=(1, 3), stride=32, bytes=96
    )
    values = np.float32([[1, 2, 3]])
    assert (evaluation.as_values(values.tobytes(), end) == values).all()
    padded = np.zeros((3, 8), np.float32)
    padded[:, 0] = values
    assert (evaluation.as_values(padded.tobytes(), end) == values).all()
    with pytest.raises(UnusableInput, match="gave 13 bytes: expected 96"):
        evaluation.as_values(bytes(13), end)


def test_the_reference_is_run_from_the_same_picture_as_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file, kernel = planar_file(onnx, tmp_path, (1, 3, 6, 10))
    camera = Camera("cv25", os="11.11.181")
    plan = evaluation.plan(camera, file, virtual=True)
    assert plan.size == (6, 10, 3)
    image = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    end = plan.contract.outputs[0]
    values = image.transpose(2, 0, 1).reshape(-1).astype(np.float32) @ kernel
    sent = []

    class Device(Camera):
        @contextmanager
        def load(self, file, *, device=None, suffix=".tflite"):
            assert suffix == ".onnx"
            yield self

        def run(self, inputs=(), *, rounds=1, warm_up=0, seed=None, output_sizes):
            told = larod.Run(
                rounds=rounds, mean_milliseconds=1.0, simulated="simulation"
            )
            sent.extend(inputs)
            content = np.zeros((4, end.stride // 4), np.float32)
            content[:, 0] = values
            return told, [content.tobytes()]

    result = evaluation.run(
        Device("cv25"),
        plan,
        [image],
        labels=[int(values.argmax())],
        mean=(127.5,),
        std=(127.5,),
    )
    assert any("takes uint8, the pixels as they" in text for text in result.warnings)
    assert any("compiler for CV25 quantizes" in text for text in result.warnings)
    told = dict(summary.rows(result))
    assert "rows of 10 bytes padded to 32 (row pitch), 576 bytes" in told["input"]
    assert told["lint"].endswith("what runs where is not known for CV25")
    assert len(sent[0]) == 3 * 6 * 32
    assert result.accuracy.camera == result.accuracy.computer == 1
    assert result.outputs[0].difference.largest <= 1e-2
    assert result.timing.first_load is None
    assert result.timing.later_load is None


def test_what_a_compiler_made_is_looked_at(tmp_path):
    onnx = pytest.importorskip("onnx")
    planar, _ = planar_file(onnx, tmp_path, (1, 3, 6, 10))
    unknown, model = tmp_path / "model.bin", tmp_path / "made_edgetpu.tflite"
    unknown.write_bytes(bytes(range(256)))
    model.write_bytes(stand_in())
    hidden = tmp_path / "hidden.bin"
    hidden.write_bytes(planar.read_bytes())
    plan = evaluation.plan
    cv25, artpec7 = Camera("cv25"), Camera("artpec7")
    assert plan(cv25, planar, compiled=unknown).upload == unknown
    assert plan(artpec7, PERSON, compiled=model).upload == model
    assert plan(artpec7, PERSON, compiled=model, virtual=True).upload == PERSON
    gpu = Camera("artpec7")
    gpu.devices = lambda: ("google-edge-tpu-tflite", "axis-a7-gpu-tflite")
    assert plan(gpu, PERSON, device="axis-a7-gpu-tflite").upload == PERSON
    for camera, file, compiled, words in (
        (cv25, planar, None, "give that one with --compiled"),
        (artpec7, PERSON, None, "ARTPEC-7 loads person_per_channel_edgetpu.tflite"),
        (cv25, planar, hidden, "is of the kind .onnx: expected the .bin"),
        (cv25, planar, SCENE, "is of the kind .tflite: expected the .bin"),
        (artpec7, PERSON, PERSON, "has no operator edgetpu-custom-op"),
        (artpec7, SCENE, model, "has outputs uint8 1x2, the model uint8 1x4"),
        (Camera(), PERSON, unknown, "loads person_per_channel.tflite as it is"),
    ):
        with pytest.raises(UnusableInput) as caught:
            plan(camera, file, compiled=compiled)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_camera_that_calls_itself_virtual_is_one(tmp_path):
    model = tmp_path / "made_edgetpu.tflite"
    model.write_bytes(stand_in())
    camera = Camera("artpec7")
    assert evaluation.plan(camera, PERSON, compiled=model).upload == model
    camera.info.product = "AXIS T1 Network Camera (virtual, SIMULATION)"
    for compiled in (None, model):
        plan = evaluation.plan(camera, PERSON, compiled=compiled)
        assert plan.virtual
        assert plan.upload == PERSON


def test_a_virtual_artpec7_says_what_a_real_one_needs(images, tmp_path):
    def warnings(compiled=None):
        camera = Camera("artpec7", remark="simulation")
        plan = evaluation.plan(camera, PERSON, compiled=compiled, virtual=True)
        return evaluation.run(camera, plan, images[:1]).warnings

    assert any("needs the file that edgetpu_compiler" in text for text in warnings())
    made = tmp_path / "made_edgetpu.tflite"
    made.write_bytes(stand_in())
    assert any("was looked at and not run" in text for text in warnings(made))
    assert not any("not compiled" in text for text in warnings(made))


def test_an_onnx_file_that_takes_no_pixels_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file, _ = planar_file(onnx, tmp_path, (1, 3, 6, 10), kind=onnx.TensorProto.INT8)
    camera = Camera("cv25")
    plan = evaluation.plan(camera, file, virtual=True)
    with pytest.raises(UnusableInput, match="takes int8: expected float32, which gets"):
        evaluation.run(camera, plan, [np.zeros((6, 10, 3), np.uint8)])


def planar_file(onnx, folder, shape, *, kind=None):
    """Write an .onnx file: one matrix over all pixels, four scores."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    size = math.prod(shape)
    kernel = np.random.default_rng(1).normal(0, 0.01, (size, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["cast"], to=real),
            helper.make_node("Flatten", ["cast"], ["flat"]),
            helper.make_node("MatMul", ["flat", "kernel"], ["scores"]),
        ],
        "g",
        [helper.make_tensor_value_info("image", kind or real, shape)],
        [helper.make_tensor_value_info("scores", real, (1, 4))],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 7
    file = folder / "planar.onnx"
    onnx.save(model, file)
    return file, kernel


# What a user may get wrong


@pytest.mark.parametrize(
    ("soc", "device", "words"),
    [
        ("cv25", None, "takes what a compiler makes of an .onnx file"),
        ("cv75", None, "--device cpu-tflite"),
        ("artpec8", "a9-dlpu-tflite", "has no such device: expected one of axis-a8"),
    ],
)
def test_the_wrong_file_or_device_is_refused_in_one_line(soc, device, words):
    with pytest.raises(UnusableInput) as caught:
        evaluation.plan(Camera(soc), SCENE, device=device, virtual=True)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("soc", ["cv25", "cv75"])
def test_a_compiled_file_is_not_the_model(tmp_path, soc):
    file = tmp_path / f"model_{soc}.bin"
    file.write_bytes(b"cavalry")
    with pytest.raises(UnusableInput) as caught:
        evaluation.plan(Camera(soc), file)
    assert "give the .onnx that it was made from" in str(caught.value)
    assert "this one with --compiled" in str(caught.value)


def test_a_tflite_file_goes_to_the_cpu_of_cv25(images):
    camera = Camera("cv25")
    plan = evaluation.plan(camera, SCENE, device="cpu-tflite")
    result = evaluation.run(camera, plan, images[:2])
    assert camera.inputs[0] == images[0].tobytes()
    assert result.problems == ()


def test_labels_that_the_model_does_not_have_are_refused(images):
    with pytest.raises(UnusableInput, match="the model has classes"):
        outcome(Camera(), images[:2], labels=[9, 4])
    with pytest.raises(UnusableInput, match="1 labels for 2 pictures"):
        outcome(Camera(), images[:2], labels=[1])
    with pytest.raises(UnusableInput, match="there is no picture"):
        outcome(Camera(), [])


def test_the_output_of_the_classes_is_chosen_or_alone():
    ends = contract.of(reading.read(SCENE), soc="artpec8", file=SCENE).outputs
    wide = dataclasses.replace(ends[0], index=1, shape=(1, 10, 4))
    choose = evaluation.classes_at
    assert choose(ends, None, needed=True) == 0
    assert choose((ends[0], wide), 0, needed=True) == 0
    assert choose((ends[0], wide), None, needed=False) is None
    for chosen, words in (
        (None, "those that fit: 0"),
        (1, "--output 1: is 1x10x4"),
        (2, "the model has outputs 0 to 1"),
    ):
        with pytest.raises(UnusableInput, match=words):
            choose((ends[0], wide), chosen, needed=True)


def test_without_a_mean_time_nothing_is_invented(images):
    class Silent(Camera):
        def benchmark(self, rounds, **options):
            return (larod.Run(),)

    with pytest.raises(UnusableInput, match="told no mean execution time"):
        outcome(Silent(), images[:1])
