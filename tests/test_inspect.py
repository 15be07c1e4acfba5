"""The command `dlpu inspect`."""

import json
import os
import subprocess
import sys
from pathlib import Path

from course_lib.cli import dlpu

import pytest
import tiny_models
from click.testing import CliRunner

REAL = sorted(Path(os.environ.get("COURSE_REAL_MODELS", "absent")).glob("*.tflite"))


def run(*arguments: object):
    return CliRunner().invoke(dlpu, ["inspect", *map(str, arguments)])


@pytest.fixture
def save(tmp_path):
    def save(content: bytes) -> Path:
        path = tmp_path / "x.tflite"
        path.write_bytes(content)
        return path

    return save


def loads(text: str) -> dict:
    """Read strict JSON: NaN and Infinity are not in the standard."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_text(save):
    path = save(tiny_models.conv())
    result = run(path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"file            {path}",
        "size            960 bytes",
        "origin          tiny",
        "                runs from TensorFlow Lite 1.14.0 on",
        "quantization    full-integer, per-channel",
        "weights         CONV_2D: 1 per-channel",
        "                int8, symmetric",
        "input           in",
        "                int8 1x4x4x3, 48 bytes, interleaved (NHWC)",
        "                scale 0.5, zero point 0",
        "                -128 stands for -64.000, 127 for 63.500",
        "output          out",
        "                int8 1x4x4x2, 32 bytes",
        "                scale 0.5, zero point 0",
        "                -128 stands for -64.000, 127 for 63.500",
        "operators       1: 1 CONV_2D",
        "signature       serve(image) -> scores",
    ]


def test_operators(save):
    result = run(save(tiny_models.conv()), "--operators")
    assert result.stdout.splitlines()[-1] == (
        "0.0             CONV_2D v3: int8[1x4x4x3] int8[2x1x1x3] int32[2] -> "
        "int8[1x4x4x2]"
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (tiny_models.conv(dtype="float32"), "quantization    float"),
        (tiny_models.conv(scales=[1.0]), "quantization    full-integer, per-tensor"),
        (tiny_models.conv(signature=[-1, 4, 4, 3]), "dynamic: the bytes count"),
        (tiny_models.conv(dtype="uint8", scales=[1.0], zero_point=3), "asymmetric"),
        (tiny_models.custom("edgetpu-custom-op"), "compiled for the Edge TPU"),
        (tiny_models.custom("Foo"), "custom          Foo: not part of LiteRT"),
        (tiny_models.custom("Foo"), "planar (NCHW)"),
        (tiny_models.custom("Foo"), "0 stands for -1.000, 255 for 0.992"),
        (tiny_models.two_outputs(), "output 1"),
        (tiny_models.two_outputs(), "in float        1 ADD, 1 MUL"),
        (tiny_models.build(([], [], [], []), ([], [], [], [])), "subgraph 1      none"),
        (tiny_models.custom("\x1b[31mred\n"), "1 \ufffd[31mred\ufffd"),
    ],
)
def test_line(save, content, line):
    result = run(save(content))
    assert result.exit_code == 0
    assert line in result.stdout


def test_json_keys_are_stable(save):
    facts = loads(run(save(tiny_models.conv()), "--json", "--operators").stdout)
    assert list(facts) == [
        "file",
        "size",
        "description",
        "converter_version",
        "min_runtime_version",
        "metadata",
        "quantization",
        "inputs",
        "outputs",
        "operators",
        "custom_operators",
        "subgraphs",
        "signatures",
        "operator_list",
    ]
    assert facts["quantization"] == {
        "kind": "full-integer",
        "granularity": "per-channel",
        "full_integer": True,
        "edge_tpu_compiled": False,
        "weights": {"CONV_2D": {"per-channel": 1}},
        "weight_types": {"int8": 1},
        "symmetric": True,
        "float_operators": {},
    }
    assert facts["inputs"] == [
        {
            "name": "in",
            "shape": [1, 4, 4, 3],
            "shape_signature": [1, 4, 4, 3],
            "dynamic": False,
            "dtype": "int8",
            "bytes": 48,
            "layout": "interleaved (NHWC)",
            "scale": 0.5,
            "zero_point": 0,
            "real_range": [-64.0, 63.5],
        }
    ]
    assert facts["operators"] == {"CONV_2D": 1}
    assert facts["subgraphs"] == [{"name": "graph0", "operators": {"CONV_2D": 1}}]
    assert facts["signatures"] == [
        {"name": "serve", "inputs": {"image": "in"}, "outputs": {"scores": "out"}}
    ]
    (operator,) = facts["operator_list"]
    assert list(operator) == [
        "subgraph",
        "index",
        "name",
        "version",
        "inputs",
        "outputs",
    ]
    assert operator["inputs"][1] == {
        "index": 1,
        "dtype": "int8",
        "shape": [2, 1, 1, 3],
        "scales": 2,
    }


def test_help_documents_every_key(save):
    text = run("--help").stdout
    assert "dlpu inspect my_model.tflite" in text
    facts = loads(run(save(tiny_models.conv()), "--json", "--operators").stdout)
    keys = [*facts, *facts["quantization"], *facts["inputs"][0]]
    keys += facts["operator_list"][0]
    assert [key for key in keys if key not in text] == []


@pytest.mark.parametrize("content", [b"", b"text", tiny_models.conv()[:500]])
def test_unusable_file(save, content):
    path = save(content)
    result = run(path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {path}: ")
    assert result.stderr.count("\n") == 1


def test_unusable_path(tmp_path, monkeypatch):
    for path in (tmp_path / "missing", tmp_path, tmp_path / "two\nlines"):
        result = run(path)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    result = run(tmp_path / "x.tflite")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "Permission denied" in result.stderr


def test_imports_neither_tensorflow_nor_the_interpreter(save):
    code = (
        "import sys; from course_lib.cli import dlpu\n"
        "dlpu(['inspect', sys.argv[1]], standalone_mode=False)\n"
        "print({'tensorflow', 'ai_edge_litert.interpreter'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, save(tiny_models.conv())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_closed_pipe_gives_no_traceback(save):
    tensors = [tiny_models.tensor([1], "int8")]
    operators = [tiny_models.operator("Foo", [0], [0])] * 5000  # more than a pipe holds
    path = save(tiny_models.build((tensors, operators, [0], [0])))
    command = [sys.executable, "-m", "course_lib.cli", "inspect", path, "--operators"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(not REAL, reason="COURSE_REAL_MODELS names no folder")
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_real_file(path):
    assert run(path, "--operators").exit_code == 0
    facts = loads(run(path, "--json", "--operators").stdout)
    assert facts["size"] == path.stat().st_size
    assert facts["inputs"][0]["dtype"] == "uint8"
    assert len(facts["operator_list"]) == sum(facts["operators"].values())
