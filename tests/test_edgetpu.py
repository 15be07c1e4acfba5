"""The Edge TPU compiler's command, its report, and how it is run."""

import os
import stat
import sys
import textwrap
import time
from pathlib import Path

from course_lib.cli import dlpu
from course_lib.course.checks import lesson_06
from course_lib.dlpu import edgetpu
from course_lib.errors import UnusableInput
from course_lib.tflite import reading
from course_lib.tflite.reading import EDGE_TPU

import pytest
import tiny_models
from click.testing import CliRunner

# What people posted, word for word; runs of spaces are the compiler's own.
MEMORY = """\
Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 1379 ms.

Input model: model.tflite
Input size: 4.41MiB
Output model: model_edgetpu.tflite
Output size: 5.49MiB
On-chip memory used for caching model parameters: 1.92MiB
On-chip memory remaining for caching model parameters: 1.75KiB
Off-chip memory used for streaming uncached model parameters: 3.23MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 136
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A \
percentage of the model will instead run on the CPU, which is slower.
Number of operations that will run on Edge TPU: 135
Number of operations that will run on CPU: 1
"""  # google-coral/edgetpu issue 427
TABLE = lesson_06.TRANSPOSES.text
LOG = lesson_06.TINY_YOLO.text
WHOLE = lesson_06.MEMORY[2].text
NOT_QUANTIZED = """\
Edge TPU Compiler version 15.0.340273435
Invalid model: heehoo.tflite
Model not quantized
"""  # tensorflow issue 46806
TOO_NEW = """\
Edge TPU Compiler version 16.0.384591198
ERROR: Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'. An older \
version of this builtin might be supported. Are you using an old TFLite binary with a \
newer model?

ERROR: Registration failed.

Invalid model: model_full_integer_quant.tflite
Model could not be parsed
"""  # google-coral/edgetpu issue 845
DYNAMIC = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Attempting to use a delegate that only supports static-sized tensors with a \
graph that has dynamic-sized tensors.
Compilation failed: Model failed in Tflite interpreter. Please ensure model can be \
loaded/run in Tflite interpreter.
Compilation child process completed within timeout period.
Compilation failed!
"""  # google-coral/edgetpu issue 829


def test_command_is_that_of_axis():
    # Axis, tensorflow-to-larod, README, 2026-08-18.
    words = edgetpu.command(
        "training/models/converted_model.tflite", folder="training/models"
    )
    assert edgetpu.shell(words) == (
        "edgetpu_compiler -s -o training/models training/models/converted_model.tflite"
    )


def test_older_cameras_need_an_older_runtime():
    words = edgetpu.command("a.tflite", folder="out", min_runtime_version=13)
    assert words == ["edgetpu_compiler", *["-s", "-m", "13", "-o", "out", "a.tflite"]]


def test_names_survive_a_shell():
    words = edgetpu.command("a b;c.tflite", folder="my out")
    assert edgetpu.shell(words) == "edgetpu_compiler -s -o 'my out' 'a b;c.tflite'"


def test_a_name_is_never_an_option():
    words = edgetpu.command("-a.tflite", folder="-o")
    assert words[2:] == ["-o", "./-o", "./-a.tflite"]


def test_memory():
    report = edgetpu.read_report(MEMORY)
    assert report.version == "15.0.340273435"
    assert report.on_chip_used == round(1.92 * 2**20)
    assert report.on_chip_remaining == 1792
    assert report.off_chip == round(3.23 * 2**20)
    assert (report.subgraphs, report.operators) == (1, 136)
    assert (report.on_tpu, report.on_cpu, report.rows) == (135, 1, ())
    assert report.fits is False


def test_table():
    report = edgetpu.read_report(TABLE)
    assert (report.on_tpu, report.on_cpu) == (2, 153)
    assert len(report.rows) == 10
    assert sum(row.count for row in report.rows) == 155
    assert sum(row.count for row in report.rows if row.on_tpu) == 2
    assert report.share_on_cpu == pytest.approx(153 / 155)
    assert [row.operator for row in report.culprits] == ["TRANSPOSE", "QUANTIZE"]
    assert report.rows[0] == edgetpu.Row("TRANSPOSE", 70, "Operation not supported")
    assert (report.version, report.off_chip, report.fits) == (None, None, None)


def test_the_log_file_has_no_counts_but_the_rows_do():
    report = edgetpu.read_report(LOG)
    assert (report.on_tpu, report.on_cpu) == (19, 6)
    assert {row.operator for row in report.culprits} == {
        "RESIZE_NEAREST_NEIGHBOR",
        "QUANTIZE",
    }


def test_windows_line_ends_and_indentation_do_not_matter():
    text = "\n".join("    " + line for line in LOG.splitlines())
    assert edgetpu.read_report(text) == edgetpu.read_report(LOG)
    assert edgetpu.read_report(LOG.replace("\n", "\r\n")) == edgetpu.read_report(LOG)


def test_a_report_without_table_whose_operators_are_all_mapped():
    report = edgetpu.read_report(WHOLE)
    assert (report.on_tpu, report.on_cpu, report.share_on_cpu) == (50, 0, 0.0)
    assert report.off_chip == round(3.45 * 2**20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no report of edgetpu_compiler: give"),
        ("hello", "no report"),
        (NOT_QUANTIZED, "Model not quantized"),
        (TOO_NEW, "Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'"),
        (DYNAMIC, "dynamic-sized tensors"),
    ],
)
def test_what_is_no_report_is_refused_with_its_reason(text, reason):
    with pytest.raises(UnusableInput) as caught:
        edgetpu.read_report(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


# --- running it: a script stands in for the compiler


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a stand-in for the compiler on the PATH, alone there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(body):
        script = folder / "edgetpu_compiler"
        script.write_text(
            f"#!{sys.executable}\n"
            "import os, sys, time\n"
            "from pathlib import Path\n" + textwrap.dedent(body)
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return install


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "my models" / "lite 0;x.tflite"
    path.parent.mkdir()
    path.write_bytes(b"full-integer")
    return path


GOOD = f"""
    assert sys.argv[1:3] == ["-s", "-o"], sys.argv
    model, out = Path(sys.argv[4]), Path(sys.argv[3])
    assert model.read_bytes() == b"full-integer"
    (out / f"{{model.stem}}_edgetpu.tflite").write_bytes(b"compiled")
    (out / f"{{model.stem}}_edgetpu.log").write_text("log")
    print({TABLE!r})
"""
posix = pytest.mark.skipif(os.name == "nt", reason="a script needs a POSIX system")


def test_no_compiler(monkeypatch, model, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert edgetpu.compiler() is None
    with pytest.raises(UnusableInput, match="not found on the PATH: install") as caught:
        edgetpu.compile(model, folder=tmp_path)
    assert edgetpu.shell(edgetpu.command(model, folder=tmp_path)) in str(caught.value)


@posix
def test_compile(install, model, tmp_path, monkeypatch):
    install(GOOD)
    (tmp_path / "out put").mkdir()
    monkeypatch.chdir(tmp_path)
    relative = model.relative_to(tmp_path)
    edgetpu.compile(relative, folder="out put", min_runtime_version=None)
    made = edgetpu.compile(relative, folder="out put")
    assert made.file.name == "lite 0;x_edgetpu.tflite"
    assert made.file.read_bytes() == b"compiled"
    assert made.file.with_suffix(".log").read_text() == "log"
    assert made.report.on_cpu == 153
    assert "TRANSPOSE" in made.text
    assert len(list((tmp_path / "out put").iterdir())) == 2


@posix
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"print({NOT_QUANTIZED!r}); sys.exit(1)", 'status 1 ("Model not quantized")'),
        (f"print({TOO_NEW!r}, file=sys.stderr); sys.exit(1)", "'TRANSPOSE_CONV'"),
        (f"print({DYNAMIC!r}); sys.exit(1)", "dynamic-sized tensors"),
        (f"print({NOT_QUANTIZED!r})", "wrote no lite 0;x_edgetpu.tflite"),
        ("os.kill(os.getpid(), 9)", "exit status -9"),
        ("sys.stdout.buffer.write(bytes(range(256))); sys.exit(3)", "exit status 3"),
    ],
)
def test_failure_is_one_line_and_leaves_nothing(install, model, tmp_path, body, reason):
    install(body)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(UnusableInput) as caught:
        edgetpu.compile(model, folder=folder)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


@posix
def test_a_compiler_that_hangs_is_stopped(install, model, tmp_path):
    install("print('Edge TPU Compiler version 16.0', flush=True); time.sleep(60)")
    with pytest.raises(UnusableInput, match=r"not finished after 0\.5 seconds"):
        edgetpu.compile(model, folder=tmp_path, timeout=0.5)
    assert not list(tmp_path.glob("*_edgetpu*"))


@posix
def test_a_child_that_hangs_is_stopped_too(install, model, tmp_path):
    install(f"""
        if os.fork() == 0:
            Path({str(tmp_path / "child")!r}).write_text(str(os.getpid()))
            time.sleep(60)
        os.wait()
    """)
    with pytest.raises(UnusableInput, match="not finished"):
        edgetpu.compile(model, folder=tmp_path, timeout=1)
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    for _ in range(50):  # Gone, or a zombie that nobody has fetched yet.
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the child still runs")


@posix
def test_an_old_result_survives_a_failure(install, model, tmp_path):
    install("sys.exit(1)")
    old = tmp_path / "lite 0;x_edgetpu.tflite"
    old.write_bytes(b"old")
    with pytest.raises(UnusableInput):
        edgetpu.compile(model, folder=tmp_path)
    assert old.read_bytes() == b"old"


@posix
def test_missing_places(install, model, tmp_path):
    install(GOOD)
    with pytest.raises(UnusableInput, match="no such file"):
        edgetpu.compile(tmp_path / "none.tflite", folder=tmp_path)
    with pytest.raises(UnusableInput, match="is not a folder"):
        edgetpu.compile(model, folder=tmp_path / "none")


@posix
def test_a_compiler_that_cannot_be_run(install, model, tmp_path):
    install(GOOD)
    script = edgetpu.compiler()
    script.write_bytes(b"\x7fELF for another machine")
    with pytest.raises(UnusableInput, match="could not be run"):
        edgetpu.compile(model, folder=tmp_path)


# The prediction held against the compiler


def chain(*names, compiled=0):
    """Return a file of activations in a row; the first are compiled into one."""
    graph = tiny_models.Graph()
    last = graph.input((1, 4))
    if compiled:
        last = graph.add(EDGE_TPU, [last], (1, 4), name=f"{names[compiled - 1]}-out")
    for name in names[compiled:]:
        last = graph.add(name, [last], (1, 4), name=f"{name}-out")
    return graph.file()


@posix
def test_compare_holds_the_prediction_against_the_compiler(install, tmp_path):
    names = ("RELU", "RELU6", "HARD_SWISH", "TANH")
    path = tmp_path / "model.tflite"
    path.write_bytes(chain(*names))
    made = tmp_path / "made.tflite"
    # A compiler that maps one operator less than is predicted.
    made.write_bytes(chain(*names, compiled=1))
    install(
        f"""
        out = Path(sys.argv[3])
        (out / "model_edgetpu.tflite").write_bytes(Path({str(made)!r}).read_bytes())
        print("Number of operations that will run on Edge TPU: 1")
        print("Number of operations that will run on CPU: 3")
        """
    )
    pairs = edgetpu.compare(path, folder=tmp_path)
    assert [prediction.on_tpu for prediction, _ in pairs] == [True, True, False, False]
    assert [truth for _, truth in pairs] == [True, False, False, False]
    assert pairs[3][0].status == edgetpu.AFTER_THE_END

    done = CliRunner().invoke(
        dlpu, ["lint", str(path), "--soc", "artpec7", "--run-compiler"]
    )
    assert "1 of 4 operators on the Edge TPU; the prediction is right for 3" in (
        done.output
    )
    assert "RELU6 1 is on the CPU" in done.output
    assert done.exit_code == 0


def test_run_compiler_without_it_gets_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "model.tflite"
    path.write_bytes(chain("RELU"))
    done = CliRunner().invoke(
        dlpu, ["lint", str(path), "--soc", "artpec7", "--run-compiler"]
    )
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert "not found on the PATH" in line


def test_a_conversion_at_the_start_does_not_end_the_part():
    graph = tiny_models.Graph()
    last = graph.input((1, 4), "float32")
    last = graph.add("QUANTIZE", [last], (1, 4))
    last = graph.add("RELU", [last], (1, 4))
    graph.add("DEQUANTIZE", [last], (1, 4), dtype="float32")
    entries = edgetpu.predict(reading.parse(graph.file()))
    assert [entry.on_tpu for entry in entries] == [False, True, False]


def test_what_does_not_depend_on_an_unmapped_operator_is_mapped_wherever_it_stands():
    graph = tiny_models.Graph()
    start = graph.add("RELU", [graph.input((1, 4))], (1, 4))
    left = graph.add("HARD_SWISH", [start], (1, 4))
    right = graph.add("RELU6", [start], (1, 4))  # after it in the file, beside it
    graph.add("ADD", [left, right], (1, 4))
    entries = edgetpu.predict(reading.parse(graph.file()))
    assert [entry.on_tpu for entry in entries] == [True, False, True, False]
