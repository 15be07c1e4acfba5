"""`dlpu lint`: its three formats, its exit status, its settings, its refusals."""

import json
import subprocess
import sys
from pathlib import Path

from course_lib.cli import dlpu
from course_lib.dlpu import onnx_file, rules, sarif
from course_lib.dlpu import socs as known
from course_lib.errors import UnusableInput
from course_lib.tflite import reading

import jsonschema
import numpy as np
import pytest
import tiny_models
import yaml
from click.testing import CliRunner
from lessons import ROOT

PERSON = ROOT / "data/person_per_channel.tflite"
SCHEMA = json.loads((ROOT / "course_lib/dlpu/lint.schema.json").read_text("utf-8"))
SARIF = json.loads((ROOT / "tests/schemas/sarif-2.1.0.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Run in an empty folder, where no pyproject.toml is found."""
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(dlpu, ["lint", *map(str, arguments)])


def write(tmp_path, content, name="m.tflite"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_the_model_is_not_written_over(tmp_path):
    path = write(tmp_path, tiny_models.conv(), "m.svg")
    for option in ("--output", "--draw"):
        done = run(path, "--soc", "artpec8", option, path)
        assert done.exit_code == 2
        assert "is read here and would be lost" in done.stderr
    assert path.read_bytes() == tiny_models.conv()


# Formats


def test_text_tells_each_rule_once_with_why_and_mend():
    done = run(PERSON, "--soc", "artpec8")
    assert done.exit_code == 0
    assert done.output.count("warning per-channel-weights") == 1
    report = rules.lint(reading.read(PERSON), soc="artpec8")
    repeats = sum(f.rule == "per-channel-weights" for f in report.findings) - 1
    assert f"and {repeats} more: DEPTHWISE_CONV_2D 2, 4" in done.output
    assert "  Mend: convert per-tensor" in done.output
    assert "stated by Axis. Lesson 07." in done.output


@pytest.mark.parametrize("soc", known.SOCS)
def test_json_is_as_its_schema_says_and_the_same_each_time(soc):
    first, second = (run(PERSON, "--soc", soc, "--format", "json") for _ in range(2))
    assert first.output == second.output
    told = json.loads(first.output)
    jsonschema.validate(told, SCHEMA)
    model = reading.read(PERSON)
    assert [entry["operator"] for entry in told["mapping"]] == [
        operator.name for operator in model.operators
    ]
    indexes = [entry["operator_index"] for entry in told["mapping"]]
    assert indexes == list(range(len(model.operators)))
    for finding in told["findings"]:
        assert finding["rule"] in rules.RULES
        assert rules.quoted(finding["tensor"]) in finding["message"]


def test_the_json_is_the_same_in_another_process(tmp_path):
    options = ["--soc", "artpec9", "--format", "json"]
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "course_lib.cli", "lint", PERSON, *options],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("soc", known.SOCS)
def test_sarif_is_as_its_standard_says(soc):
    done = run(PERSON, "--soc", soc, "--format", "sarif")
    told = json.loads(done.output)
    jsonschema.validate(told, SARIF)
    (analysis,) = told["runs"]
    listed = [rule["id"] for rule in analysis["tool"]["driver"]["rules"]]
    for result in analysis["results"]:
        assert listed[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"].endswith("person_per_channel.tflite")
        assert place["region"] == {"startLine": 1}
        assert location["logicalLocations"]
    report = rules.lint(reading.read(PERSON), soc=soc)
    told_places = sum(
        len(result["locations"][0]["logicalLocations"])
        for result in analysis["results"]
    )
    assert told_places == len(report.findings)


def test_sarif_names_a_file_from_the_folder_of_the_project_on(tmp_path):
    (tmp_path / "models").mkdir()
    path = write(tmp_path, tiny_models.conv(), "models/m.tflite")
    told = json.loads(run(path, "--soc", "artpec8", "--format", "sarif").output)
    place = told["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "models/m.tflite"


def test_sarif_holds_several_files_and_quotes_their_names(tmp_path):
    one = write(tmp_path, tiny_models.conv(), "a b#.tflite")
    two = write(tmp_path, tiny_models.conv(dtype="float32"), "two.tflite")
    reports = [
        (path.name, rules.lint(reading.read(path), soc="artpec8"))
        for path in (one, two)
    ]
    told = sarif.log(reports)
    jsonschema.validate(told, SARIF)
    names = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in told["runs"][0]["results"]
    }
    assert names == {"a%20b%23.tflite", "two.tflite"}


def test_a_file_without_findings_makes_a_sarif_log_without_results(tmp_path):
    path = write(tmp_path, tiny_models.two_outputs())
    done = run(path, "--soc", "cpu", "--format", "sarif")
    jsonschema.validate(json.loads(done.output), SARIF)
    assert json.loads(done.output)["runs"][0]["results"] == []


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path):
    path = write(tmp_path, tiny_models.custom("Evil\x1b[2J"))
    done = run(path, "--soc", "artpec8")
    assert done.exit_code == 1
    assert "\x1b" not in done.output


# Exit status and settings


@pytest.mark.parametrize(
    ("fail_on", "status"), [("error", 0), ("warning", 1), ("note", 1)]
)
def test_fail_on_says_what_ends_with_1(fail_on, status):
    assert run(PERSON, "--soc", "artpec8", "--fail-on", fail_on).exit_code == status


def test_an_error_ends_with_1_and_the_report_is_still_written(tmp_path):
    path = write(tmp_path, tiny_models.conv(dtype="float32"))
    out = tmp_path / "lint.sarif"
    done = run(path, "--soc", "artpec8", "--format", "sarif", "--output", out)
    assert done.exit_code == 1
    assert done.output == ""
    jsonschema.validate(json.loads(out.read_text("utf-8")), SARIF)


def test_a_rule_can_be_ignored():
    done = run(PERSON, "--soc", "artpec8", "--ignore", "per-channel-weights")
    assert "per-channel-weights" not in done.output
    assert "kernel-size" in done.output


def test_a_rule_can_be_ignored_for_one_operator():
    words = ["--soc", "artpec9", "--ignore", "unlisted-operator:SOFTMAX"]
    assert "unlisted-operator" in run(PERSON, "--soc", "artpec9").output
    assert "unlisted-operator" not in run(PERSON, *words).output
    assert "unlisted-operator" not in run(PERSON, *words[:-1], words[-1].lower()).output
    other = run(PERSON, *words[:-1], "unlisted-operator:MEAN").output
    assert "unlisted-operator" in other


def test_settings_stand_in_pyproject_and_what_is_typed_comes_first(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dlpu.lint]\nsoc = "artpec8"\nfail-on = "note"\n'
        'ignore = ["kernel-size"]\nos = "12.11"\n',
        "utf-8",
    )
    done = run(PERSON)
    assert done.exit_code == 1
    assert "on ARTPEC-8, AXIS OS 12.11" in done.output
    assert "kernel-size" not in done.output
    assert "on ARTPEC-9" in run(PERSON, "--soc", "artpec9").output
    assert run(PERSON, "--fail-on", "error").exit_code == 0


def test_settings_are_found_above_the_folder(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[tool.dlpu.lint]\nsoc = "cpu"\n')
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert "on CPU" in run(PERSON).output


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[tool.dlpu.lint]\nsocs = 'artpec8'\n", "socs = 'artpec8'"),
        ("[tool.dlpu.lint]\nfail_on = 'note'\n", "unknown key, expected one of soc"),
        ("[tool.dlpu.lint]\nsoc = 8\n", "soc = 8"),
        ("[tool.dlpu.lint]\nsoc = 'cpu'\nfail-on = 'all'\n", "fail-on = 'all'"),
        ("[tool.dlpu.lint]\nsoc = 'cpu'\nignore = ['no-such']\n", "'no-such'"),
        ("[tool\n", "not valid TOML"),
    ],
)
def test_wrong_settings_get_one_line(tmp_path, table, told):
    (tmp_path / "pyproject.toml").write_text(table, "utf-8")
    done = run(PERSON)
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert told in line


# Refusals


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([PERSON], "--soc: missing"),
        ([PERSON, "--soc", "hi3519"], "not known, expected one of cpu, artpec7"),
        ([PERSON, "--soc", "artpec8", "--ignore", "x"], "rule 'x': not known"),
        (
            [PERSON, "--soc", "artpec8", "--ignore", "kernel-sizes"],
            "did you mean kernel-size",
        ),
        (
            [PERSON, "--soc", "artpec8", "--ignore", "kernel-size:conv"],
            "operator 'conv' in 'kernel-size:conv': not known",
        ),
        ([PERSON, "--soc", "artpec8", "--os", "new"], "expected a version"),
        (["none.tflite", "--soc", "artpec8"], "no such file"),
        ([ROOT / "README.md", "--soc", "artpec8"], "not a .tflite file"),
        (["none.onnx", "--soc", "cv25"], "no such file"),
        (["none.onnx", "--soc", "artpec8"], "takes .tflite files"),
        ([PERSON, "--soc", "artpec8", "--run-compiler"], "artpec7 alone"),
        ([PERSON, PERSON, "--soc", "artpec8", "--format", "json"], "takes one MODEL"),
        ([PERSON, "--soc", "artpec8", "--draw", "x.gif"], "ends in .svg or .png"),
    ],
)
def test_a_users_mistake_gets_one_line_and_status_2(arguments, told):
    done = run(*arguments)
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert told in line


def test_damaged_files_get_one_line(tmp_path):
    content = PERSON.read_bytes()
    for size in (0, 7, 8, 1000, len(content) // 2):
        done = run(write(tmp_path, content[:size]), "--soc", "artpec9")
        assert done.exit_code == 2
        assert len(done.output.splitlines()) == 1
    done = run(write(tmp_path, b"\x08\x09garbage", "m.onnx"), "--soc", "cv25")
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1


# .onnx


def planar_onnx(*, opset=17, shape=(1, 3, 8, 32), quantized=False):
    import onnx
    from onnx import TensorProto, helper

    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, (4, 3, 1, 1), np.ones(12, np.float32)
    )
    nodes = [helper.make_node("Conv", ["image", "w"], ["y"])]
    if quantized:
        nodes.append(helper.make_node("QuantizeLinear", ["y", "s"], ["q"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    return onnx.ModelProto.SerializeToString(model)


def found(tmp_path, content, soc="cv25"):
    path = write(tmp_path, content, "m.onnx")
    return {f.rule for f in rules.lint(onnx_file.read(path), soc=soc).findings}


def test_an_onnx_file_as_the_guides_make_it_has_no_findings(tmp_path):
    assert found(tmp_path, planar_onnx()) == set()
    assert found(tmp_path, planar_onnx(), soc="cv75") == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"opset": 13}, "onnx-opset"),
        ({"shape": (1, 3, 8, 30)}, "row-width"),
        ({"shape": (1, 32, 32, 3)}, "interleaved-input"),
        ({"shape": (2, 3, 8, 32)}, "batch"),
        ({"shape": ("n", 3, 8, 32)}, "dynamic-shape"),
        ({"quantized": True}, "already-quantized"),
    ],
)
def test_an_onnx_file_is_looked_at_by_the_same_rules(tmp_path, change, rule):
    assert found(tmp_path, planar_onnx(**change)) == {rule}


def test_onnx_operators_are_unknown_because_the_compiler_is_closed(tmp_path):
    path = write(tmp_path, planar_onnx(), "m.onnx")
    told = json.loads(run(path, "--soc", "cv25", "--format", "json").output)
    jsonschema.validate(told, SCHEMA)
    assert told["mapping"] == [
        {"operator_index": 0, "operator": "Conv", "target": "unknown"}
    ]


@pytest.mark.parametrize("soc", ["cv25", "cv75"])
def test_no_finding_for_a_closed_compiler_is_no_praise(tmp_path, soc):
    told = run(write(tmp_path, planar_onnx(), "m.onnx"), "--soc", soc).output
    assert "no findings" in told
    assert "1 unknown; parts not known" in told
    known = sum(soc in rule.claims for rule in rules.RULES.values())
    assert f"says little; {known} of {len(rules.RULES)} rules are for it" in told
    known = run(PERSON, "--soc", "artpec8").output
    assert "says little" not in known
    assert "unknown; about " in known


def test_reading_onnx_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnusableInput, match=r"pip install dlpu-course\[convert\]"):
        onnx_file.read("m.onnx")


# What other projects copy


def test_the_hook_runs_this_command_on_model_files():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert hook["entry"] == "dlpu lint"
    assert hook["files"] == r"\.tflite$"
    done = run(PERSON, PERSON, "--soc", "artpec9")  # a hook names several files
    assert done.output.count("person_per_channel.tflite on ARTPEC-9") == 2


def test_the_workflow_calls_the_command_with_options_that_it_has(tmp_path):
    text = (ROOT / "examples/ci/github-actions.yml").read_text("utf-8")
    steps = yaml.safe_load(text)["jobs"]["lint"]["steps"]
    (line,) = [s["run"] for s in steps if s.get("run", "").startswith("dlpu lint")]
    words = line.replace("PATH/TO/MODEL.tflite", str(PERSON)).split()[2:]
    assert run(*words).exit_code == 0
    assert Path("lint.sarif").is_file()
    uploads = [s for s in steps if "upload-sarif" in s.get("uses", "")]
    assert uploads[0]["with"]["sarif_file"] == "lint.sarif"
