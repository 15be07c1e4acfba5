"""`dlpu card`: its formats, its refusals."""

import json
import os
import random
import subprocess
import sys

from course_lib.cli import dlpu
from course_lib.dlpu import socs as known

import pytest
import tiny_models
from click.testing import CliRunner
from lessons import ROOT

PERSON = ROOT / "data/person_per_channel.tflite"


def run(*arguments):
    return CliRunner().invoke(dlpu, ["card", *map(str, arguments)])


def strict(text):
    """Read JSON as the standard has it, without NaN and Infinity."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_text(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("nobody\nperson\n")
    done = run(PERSON, "--soc", "artpec8", "--labels", labels)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == f"{PERSON} on ARTPEC-8"
    assert "           uint8 1x96x96x3, 27648 bytes" in lines
    assert "           0 stands for 0, 255 for 0.996094" in lines
    assert "labels     2 of output 0: 0 nobody, 1 person" in lines
    assert len(lines) <= 40


@pytest.mark.parametrize("soc", [soc for soc in known.SOCS if soc != "cv75"])
def test_json_is_strict_sorted_and_the_same_each_time(soc):
    first, second = (run(PERSON, "--soc", soc, "--format", "json") for _ in range(2))
    assert first.exit_code == 0
    assert first.output == second.output == run(PERSON, "--soc", soc, "--json").output
    told = strict(first.output)
    assert list(told) == sorted(told)
    assert told["soc"] == soc
    assert told["inputs"][0]["index"] == 0


def test_help_names_every_key():
    told = strict(run(PERSON, "--soc", "artpec8", "--json").output)
    text = run("--help").output
    for key in (*told, *told["inputs"][0], *told["facts"]["layout"]):
        assert key in text, key


def test_json_has_no_infinity(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.conv(dtype="uint8", scales=[3e38], zero_point=255))
    strict(run(path, "--soc", "artpec8", "--json").output)


def test_output_is_written_whole_or_not_at_all(tmp_path):
    header = tmp_path / "card.h"
    done = run(PERSON, "--soc", "artpec8", "--format", "c", "--output", header)
    assert (done.exit_code, done.output) == (0, "")
    shown = run(PERSON, "--soc", "artpec8", "--format", "c").output
    assert header.read_text("ascii") == shown
    assert [path.name for path in tmp_path.iterdir()] == ["card.h"]
    absent = tmp_path / "absent" / "card.h"
    assert run(PERSON, "--soc", "artpec8", "-o", absent).exit_code == 2


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path):
    target, link, pipe = (tmp_path / name for name in ("card.txt", "link", "pipe"))
    try:
        link.symlink_to(target)
        os.mkfifo(pipe)
    except (AttributeError, OSError):
        pytest.skip("this system makes no links or pipes")
    assert run(PERSON, "--soc", "artpec8", "-o", link).exit_code == 0
    assert link.is_symlink()
    assert "person_per_channel.tflite on ARTPEC-8" in target.read_text()
    done = run(PERSON, "--soc", "artpec8", "-o", pipe)
    assert (done.exit_code, pipe.is_fifo()) == (2, True)
    assert "pipe: not a file" in done.stderr


def test_ctrl_c_is_no_finding(monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("course_lib.dlpu.contract.read", stopped)
    done = run(PERSON, "--soc", "artpec8")
    assert done.exit_code == 2
    assert done.stderr == "Error: stopped before the end; start it again\n"


def test_what_is_read_is_not_written_over(tmp_path):
    model, labels = tmp_path / "m.tflite", tmp_path / "labels.txt"
    model.write_bytes(PERSON.read_bytes())
    labels.write_text("person\nnone\n")
    for output in (model, labels, tmp_path / ".." / tmp_path.name / "m.tflite"):
        done = run(model, "--soc", "artpec8", "--labels", labels, "-o", output)
        assert done.exit_code == 2
        assert "is read here and would be lost" in done.stderr
    assert model.read_bytes() == PERSON.read_bytes()
    assert labels.read_text() == "person\nnone\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--soc: missing"),
        (["--soc", "artpec6"], "not known"),
        (["--soc", "cv75"], "CV75 takes .onnx files"),
        (["--soc", "artpec8", "--labels", "absent"], "no such file"),
        (["--soc", "artpec8", "--json", "--format", "c"], "choose one"),
    ],
)
def test_bad_arguments_give_one_line(arguments, words):
    done = run(PERSON, *arguments)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_damaged_files_give_one_line_and_no_traceback(tmp_path):
    whole = tiny_models.conv()
    dice = random.Random(4)
    path = tmp_path / "m.tflite"
    refused = 0
    for number in range(150):
        content = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            content[dice.randrange(8, len(content))] = dice.randrange(256)
        path.write_bytes(
            content[: dice.randrange(len(content))] if number % 3 else content
        )
        form = ("text", "json", "c")[number % 3]
        done = run(path, "--soc", ("artpec8", "cv25")[number % 2], "--format", form)
        assert done.exit_code in (0, 2), done.exception
        refused += done.exit_code == 2
        if done.exit_code == 2:
            assert done.stderr.count("\n") == 1
    assert refused


def test_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    image = value("images", onnx.TensorProto.FLOAT, ["N", 3, 300, 300])
    scores = value("scores", onnx.TensorProto.FLOAT, [1, 1001])
    node = onnx.helper.make_node("Relu", ["images"], ["scores"])
    graph = onnx.helper.make_graph([node], "g", [image], [scores])
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    told = strict(run(path, "--soc", "cv25", "--json").output)
    assert told["deployed_file"] == "m_cv25.bin"
    assert told["inputs"][0]["bytes"] == 3 * 300 * 320
    assert told["inputs"][0]["dynamic"]
    assert told["outputs"][0]["bytes"] == 32032
    refused = run(path, "--soc", "artpec9")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    path.write_bytes(path.read_bytes()[:40])
    refused = run(path, "--soc", "cv25")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_tensorflow_is_not_imported():
    code = (
        "import sys\nfrom course_lib.cli import dlpu\n"
        f"dlpu(['card', {str(PERSON)!r}, '--soc', 'artpec8'], standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
