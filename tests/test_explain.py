"""`dlpu explain`: its formats, where its text comes from, its refusals."""

import json

from course_lib.cli import dlpu, explain

import pytest
from click.testing import CliRunner

READ = "Could only read 196608 out of 786432 bytes from file descriptor"


def run(*arguments, stdin=None):
    return CliRunner().invoke(dlpu, ["explain", *arguments], input=stdin)


def test_it_is_a_command():
    assert dlpu.commands["explain"] is explain.explain


def test_text():
    done = run(READ)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "The input has fewer bytes than the model wants"
    assert lines[1] == f"  message    {READ}"
    assert "  confidence inferred" in lines
    assert "  run        dlpu card MODEL.tflite --soc SOC" in lines
    assert "  lesson     13" in lines
    assert "acap-computer-vision-sdk-examples/issues/15" in done.output
    assert "2022-03-08, read on 2026-11-21" in done.output
    assert "float32" in done.output


def test_words_need_no_quotation_marks():
    assert run(*READ.split()).output == run(READ).output


def test_a_message_may_begin_like_an_option():
    done = run("-15", "LAROD_ERROR_POWER_NOT_AVAILABLE")
    assert done.exit_code == 0
    assert done.output.startswith("There is no power")


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input(arguments):
    log = f"09:00 larod: {READ}\n09:01 larod: Could not allocate tensors\n".encode()
    done = run(*arguments, stdin=log + b"\xff\xfe\x00")
    assert done.exit_code == 0
    assert done.output.count("  message    ") == 2


def test_json():
    done = run("--json", f"{READ}\nFallback unsupported op 32 to TfLite")
    assert done.exit_code == 0
    told = json.loads(done.output)["explanations"]
    assert [one["id"] for one in told] == ["input-too-short", "operator-falls-back"]
    assert [one["note"] for one in told] == [False, True]
    assert set(told[0]) == {
        "cause", "command", "confidence", "decoded", "id", "lesson", "matched", "next",
        "count", "note", "sources", "title",
    }  # fmt: skip
    assert set(told[0]["sources"][0]) == {"date", "key", "read", "title", "url"}
    keys = " ".join(run("--help").output.split())
    assert all(key in keys for key in told[0])
    assert json.loads(done.output)["unknown"] == {"count": 0, "first": None}


def test_what_is_not_known_is_said():
    done = run("could not load model bert-base")
    assert done.exit_code == 1
    assert done.output.startswith("not known: could not load model bert-base\n")
    assert run("x" * 5000).output.startswith("not known: xxxxxxx")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("larod: something new", "journalctl -u larod"),
        ("axis-a8-dlpu-tflite: something new", "journalctl -u larod"),
        ("Edge TPU Compiler: something new", "google-coral/edgetpu"),
        ("ValueError: Unknown layer. keras.saving", "keras-team/keras"),
        ("tensorflow.python.framework.errors_impl.NotFoundError", "/tensorflow"),
        ("sshd: something new", "man ssh"),
        ("pip: ERROR: No matching distribution found for x==1", "pypa.io"),
        ("hello world", "the program that printed it"),
    ],
)
def test_where_to_look_fits_the_text(text, place):
    done = run(text)
    assert done.exit_code == 1
    assert place in done.output
    assert ("journalctl" in done.output) == (place == "journalctl -u larod")


def test_a_file_is_not_taken_for_a_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "err").write_text("Could not allocate tensors")
    (tmp_path / "my log").write_text("Could not allocate tensors")
    done = run("err")
    assert done.exit_code == 2
    assert done.output == "Error: err is a file: dlpu explain < err\n"
    assert "dlpu explain < 'my log'" in run("my log").output
    assert run("err", "my").exit_code == 1
    assert run("Could not allocate tensors").exit_code == 0


def test_what_is_left_of_a_log_is_said():
    log = f"{READ}\napp: ERROR: new\n"
    assert run(READ).output.count("not known") == 0
    done = run(stdin=log)
    assert done.exit_code == 0
    assert done.output.endswith(
        "\n\n1 more line looks like an error and is not known:\n  app: ERROR: new\n"
    )
    done = run(stdin=log + "app: reading failed\n")
    assert "2 more lines look like errors and are not known; the first:" in done.output
    told = json.loads(run("--json", stdin=log).output)
    assert told["unknown"] == {"count": 1, "first": "app: ERROR: new"}


def test_one_explanation_for_many_lines():
    line = "sh[1841]: WARNING: Fallback unsupported op {} to TfLite\n"
    output = run(stdin="".join(map(line.format, [3] * 17 + [4] * 8))).output
    assert output.count("  message    ") == 1
    assert "  lines      25\n" in output
    assert "CONV_2D (17 times)" in output
    assert "othing is broken" not in output
    assert "  lines " not in run(READ).output


def test_what_is_not_known_in_json():
    done = run("--json", "could not load model bert-base")
    assert done.exit_code == 1
    unknown = {"count": 0, "first": None}
    assert json.loads(done.output) == {"explanations": [], "unknown": unknown}


@pytest.mark.parametrize("stdin", [b"", b" \n\t\n"])
def test_nothing_is_refused(stdin):
    done = run(stdin=stdin)
    assert done.exit_code == 2
    assert done.output.startswith("Error: TEXT: empty")
    assert len(done.output.splitlines()) == 1


def test_an_empty_argument_is_refused():
    assert run("").exit_code == 2


def test_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(explain, "_LIMIT", 100)
    done = run(stdin=b"x" * 101)
    assert done.exit_code == 2
    assert "tail -n" in done.output
    assert len(done.output.splitlines()) == 1


def test_a_terminal_is_not_steered():
    hostile = "Could not find device name '\x1b]0;title\x07\x1b[2J\x9b' and instance 0"
    for text in (hostile, f"unknown \x1b[2J {hostile[:20]}"):
        output = run(text, "\x07").output
        assert not set(output) & {"\x1b", "\x07", "\x9b"}
