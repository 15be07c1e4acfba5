"""The linter's rules: each fires where it must, nowhere else, and says what to do."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from course_lib.dlpu import edgetpu, mapping, onnx_file, rules, socs
from course_lib.tflite import reading

import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from lessons import ROOT
from tiny_models import Graph, conv, custom

sys.path.insert(0, str(ROOT / "tools"))

import make_lint_cases as cases
import make_rules_page as page

PAIRS = [
    pytest.param(entry, soc, id=f"{entry.name}-{soc}")
    for entry in cases.PAIRS
    for soc in entry.socs
]
ARTPEC = ("artpec7", "artpec8", "artpec9")
IMAGE = (1, 8, 8, 3)
FILES = sorted(cases.FOLDER.iterdir())
REAL = os.environ.get("COURSE_REAL_MODELS")
REAL_FILES = sorted(Path(REAL).glob("*.tflite")) if REAL else []


def read(path):
    return (onnx_file if path.suffix == ".onnx" else reading).read(path)


def lint(content, soc, **more):
    return rules.lint(reading.parse(content), soc=soc, **more)


def found(content, soc, rule, **more):
    """Return the findings of one rule."""
    return [f for f in lint(content, soc, **more).findings if f.rule == rule]


def all_findings():
    """Yield what is found in the pairs, in the course's models and in real ones."""
    for path in (*FILES, *sorted((ROOT / "data").glob("*.tflite")), *REAL_FILES):
        model = read(path)
        for soc in socs.SOCS:
            for finding in rules.lint(model, soc=soc).findings:
                yield path.name, soc, finding


# The files


def test_the_files_are_as_the_tool_makes_them():
    command = [sys.executable, ROOT / "tools/make_lint_cases.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_files_are_small():
    sizes = [path.stat().st_size for path in cases.FOLDER.iterdir()]
    assert max(sizes) < 4096
    assert sorted(sizes)[int(0.9 * len(sizes))] < 2048


# Values that are not in the file, too many of them, or code that TFLite lacks.
NOT_TO_RUN = ("edge-tpu-memory", "memory.", "edge-tpu-compiled.fail", "unregistered-")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_are_sound(path):
    """A file that a runtime refuses for another reason would prove little."""
    if path.suffix == ".onnx":
        onnx.checker.check_model(onnx.load(path))
    elif not path.name.startswith(NOT_TO_RUN):
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        interpreter.invoke()


@pytest.mark.parametrize("name", ["unregistered-operator", "edge-tpu-compiled"])
def test_tflite_refuses_what_it_does_not_know(name):
    interpreter = Interpreter(model_path=str(cases.FOLDER / f"{name}.fail.tflite"))
    with pytest.raises(RuntimeError, match=r"(?i)custom op|not supported"):
        interpreter.allocate_tensors()


def test_every_rule_has_a_pair_on_every_chip_that_it_claims():
    tried = {(entry.rule, soc) for entry in cases.PAIRS for soc in entry.socs}
    claimed = {(rule.id, soc) for rule in rules.RULES.values() for soc in rule.claims}
    assert tried == claimed
    assert set(rules.RULES) == set(rules.FUNCTIONS)


# Each rule fires on the first and not on the second


@pytest.mark.parametrize(("entry", "soc"), PAIRS)
def test_the_rule_fires_on_the_failing_file(entry, soc):
    report = rules.lint(read(entry.path(True)), soc=soc)
    own = [f for f in report.findings if f.rule == entry.rule]
    assert tuple((f.operator_index, f.tensor) for f in own) == entry.at
    others = {f.rule for f in report.findings} - {entry.rule}
    assert others <= entry.also.get(soc, frozenset())
    errors = {f.rule for f in report.findings if f.severity == "error"}
    assert errors <= {entry.rule}
    claim = rules.RULES[entry.rule].claims[soc]
    assert {f.severity for f in own} <= set(rules.SEVERITIES)
    for finding in own:
        assert list(rules.SEVERITIES).index(finding.severity) >= list(
            rules.SEVERITIES
        ).index(claim.severity)


@pytest.mark.parametrize(("entry", "soc"), PAIRS)
def test_the_rule_does_not_fire_on_the_passing_file(entry, soc):
    report = rules.lint(read(entry.path(False)), soc=soc)
    told = {f.rule for f in report.findings}
    assert entry.rule not in told
    assert told <= entry.also.get(soc, frozenset())


def test_no_allowance_is_left_over():
    for entry in cases.PAIRS:
        for soc, allowed in entry.also.items():
            told = {
                finding.rule
                for fails in (True, False)
                for finding in rules.lint(read(entry.path(fails)), soc=soc).findings
            }
            assert allowed <= told, (entry.name, soc)


def test_ignoring_the_rule_silences_it():
    for entry in cases.PAIRS:
        report = rules.lint(
            read(entry.path(True)), soc=entry.socs[0], ignore=[entry.rule]
        )
        assert entry.rule not in {f.rule for f in report.findings}


# What stands in the table


@pytest.mark.parametrize("rule", rules.RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_has_what_it_needs(rule):
    lessons = tomllib.loads((ROOT / "notebooks/coverage.toml").read_text("utf-8"))
    assert rule.lesson in {entry["slug"] for entry in lessons["lesson"]}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id)
    assert rule.claims
    assert rule.why.endswith((".", "`."))
    assert rule.title[0].isupper()
    assert rule.fix
    assert not rule.title.endswith(".")
    assert not rule.fix.endswith(".")
    for soc, claim in rule.claims.items():
        assert soc in socs.SOCS
        assert claim.severity in rules.SEVERITIES
        assert claim.fact.confidence in socs.CONFIDENCES
        source = claim.fact.source
        assert source is socs.SOURCES[source.key]
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", source.date)
        assert urlsplit(source.url).scheme == "https"


def test_an_error_rests_on_more_than_a_guess():
    """What is merely inferred may be called an error where the reason is known."""
    inferred = {
        (rule.id, soc)
        for rule in rules.RULES.values()
        for soc, claim in rule.claims.items()
        if claim.severity == "error" and claim.fact.confidence == "inferred"
    }
    assert inferred == {
        ("dense-per-channel", "artpec7"),  # the compiler is older than such files
        ("operator-version", "artpec7"),  # users saw four of them refused
        ("dynamic-shape", "artpec9"),  # stated for ARTPEC-7 and -8
    }


def test_every_message_can_be_acted_on():
    count = 0
    for name, soc, finding in all_findings():
        told = f"{name} on {soc}: {finding.message}"
        place = f"{finding.operator} {finding.operator_index}"
        assert finding.message.startswith((f"{place}, ", f"{place}: ")), told
        start = repr(finding.tensor)[:150].rstrip("'")  # very long names are cut
        assert start in finding.message, told
        what = finding.message.split(start, 1)[1].split(": ", 1)[1]
        assert re.search(r"wanted|best", what), told
        assert re.search(r"\d", what), told
        assert "unknown" not in what, told
        assert "  " not in finding.message + finding.fix, told
        assert finding.fix, told
        assert not re.search(r"[{}]", finding.fix), told
        assert finding.source.date, told
        count += 1
    assert count > 300


@pytest.mark.parametrize("rule", rules.RULES.values(), ids=lambda rule: rule.id)
def test_no_mend_names_a_command_that_is_not_there(rule):
    from course_lib.cli import dlpu

    words = re.findall(r"`dlpu ([a-z]+)", rule.fix + rule.why)
    assert set(words) <= set(dlpu.commands)
    options = {
        word
        for text in re.findall(r"`(dlpu convert[^`]*)`", rule.fix)
        for word in re.findall(r"--[a-z]+", text)
    }
    assert options <= {o for p in dlpu.commands["convert"].params for o in p.opts}
    for command in re.findall(r"`(dlpu convert MODEL[^`]*)`", rule.fix):
        assert " -o " in command, "it asks for it"


# Numbers at their borders


@pytest.mark.parametrize(
    ("soc", "filters", "fires"),
    [
        *(("artpec8", n, n % 6 > 0) for n in (1, 5, 6, 16, 17, 18, 19, 264)),
        *(("artpec9", n, n % 16 > 0) for n in (1, 8, 15, 16, 17, 18, 32)),
    ],
)
def test_filters(soc, filters, fires):
    graph = Graph()
    last = graph.convolve(graph.input(IMAGE), filters, kernel=1)
    graph.convolve(last, 48, kernel=1, name="next")
    told = found(graph.file(), soc, "channels-multiple")
    assert bool(told) == fires
    assert all(f"{filters} filters" in finding.message for finding in told)


@pytest.mark.parametrize("soc", ["artpec8", "artpec9"])
def test_a_head_has_as_many_filters_as_its_task_asks_for(soc):
    """A head at the end, one in the middle of the file, and a layer before a dense."""
    graph = Graph()
    body = graph.convolve(graph.input(IMAGE), 48, name="body")
    far = graph.convolve(body, 255, name="far")
    graph.add("LOGISTIC", [far], (1, 8, 8, 255), scale=1 / 256, name="far/scores")
    neck = graph.convolve(body, 17, name="neck")
    near = graph.convolve(neck, 255, name="near")
    flat = graph.add("RESHAPE", [neck, graph.constant([1, 1088], name="to")], (1, 1088))
    dense = graph.dense(flat, 4)
    (told,) = found(graph.file(far + 3, near, dense), soc, "channels-multiple")
    assert "neck/weights" in told.message


@pytest.mark.parametrize(
    ("kernel", "stride", "rule"),
    [
        *(((n, n), 1, None) for n in (1, 2, 3, 5, 7, 9)),
        *(((n, n), 1, "kernel-size") for n in (4, 6, 8, 10, 11)),
        ((1, 3), 1, None),
        ((3, 4), 1, "kernel-size"),
        ((7, 7), 2, None),
        ((9, 9), 2, "stride"),
        ((1, 9), 2, "stride"),
        ((3, 3), 3, "stride"),
        ((3, 3), (1, 2), "stride"),
    ],
)
def test_kernel_and_stride_on_artpec9(kernel, stride, rule):
    graph = Graph()
    graph.convolve(graph.input((1, 32, 32, 1)), 16, kernel=kernel, stride=stride)
    report = lint(graph.file(), "artpec9")
    assert [f.rule for f in report.findings] == ([rule] if rule else [])
    assert report.targets == ("cpu" if rule else "dlpu",)


@pytest.mark.parametrize(
    ("kernel", "stride", "told"),
    [
        ((3, 3), 1, []),
        ((3, 3), 2, []),
        ((1, 1), 1, ["kernel-size"]),
        ((3, 5), 1, ["kernel-size"]),
        ((3, 3), 3, ["stride"]),
        ((3, 3), (2, 1), ["stride"]),
    ],
)
def test_kernel_and_stride_on_artpec8(kernel, stride, told):
    graph = Graph()
    graph.convolve(graph.input((1, 32, 32, 1)), 6, kernel=kernel, stride=stride)
    assert [f.rule for f in lint(graph.file(), "artpec8").findings] == told


@pytest.mark.parametrize(("kernel", "published"), [(6, True), (5, False)])
def test_a_kernel_of_a_published_model_is_told_as_such(kernel, published):
    graph = Graph()
    graph.convolve(graph.input((1, 32, 32, 1)), 6, kernel=kernel)
    (told,) = found(graph.file(), "artpec8", "kernel-size")
    assert (told.severity, "a published model" in told.message) == ("note", published)


def chain(*pattern):
    """Return operators in a row: "d" in the DLPU, "f" an island of three in float."""
    graph = Graph()
    last = graph.input((1, 4))
    for kind in pattern:
        if kind == "f":
            last = graph.add("DEQUANTIZE", [last], (1, 4), dtype="float32")
            last = graph.add("RELU6", [last], (1, 4), dtype="float32")
            last = graph.add("QUANTIZE", [last], (1, 4))
        else:
            last = graph.add("RELU6" if kind == "d" else "SUM", [last], (1, 4))
    return graph.file()


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("d", 1),
        ("dddd", 1),
        ("f", 1),
        ("df", 2),
        ("fd", 2),
        ("dfd", 3),
        ("dffd", 3),  # two islands side by side are one
        ("df" * 8, 16),
        ("df" * 8 + "d", 17),
        ("fd" * 8, 16),
        ("fd" * 8 + "f", 17),
        ("dud", 1),  # unknown does not count
        ("u" * 20, 1),
        ("du" * 20, 1),
        ("dufud", 3),
    ],
)
def test_partitions_of_a_chain(pattern, parts):
    report = lint(chain(*pattern), "artpec8")
    assert report.partitions == parts
    assert ("unknown" in report.targets) == ("u" in pattern)
    told = [f for f in report.findings if f.rule == "partitions"]
    assert bool(told) == (parts > 16)
    assert all(f.severity == "warning" for f in told)


@pytest.mark.parametrize(
    ("islands", "parts"),
    [
        ((0,), 1),
        ((1,), 3),  # before, island, after
        ((1, 1), 3),  # both islands are ready at once
        ((0, 1), 3),
        ((1, 1, 1, 1, 1, 1, 1, 1), 3),
        ((2, 1), 5),
        ((2, 2, 2), 5),
        ((3, 1, 2), 7),
        ((8,), 17),
    ],
)
def test_partitions_of_branches(islands, parts):
    graph = Graph()
    first = graph.add("RELU6", [graph.input((1, 4))], (1, 4))
    ends = []
    for count in islands:
        last = first
        for _ in range(count):
            last = graph.add("DEQUANTIZE", [last], (1, 4), dtype="float32")
            last = graph.add("QUANTIZE", [last], (1, 4))
            last = graph.add("RELU6", [last], (1, 4))
        ends.append(last)
    graph.add("CONCATENATION", ends, (1, 4 * len(ends)), axis=1)
    assert lint(graph.file(), "artpec8").partitions == parts


def test_an_island_beside_the_main_way_is_one_part():
    graph = Graph()
    image = graph.input((1, 4))
    main = graph.add("RELU6", [image], (1, 4))
    side = graph.add("DEQUANTIZE", [main], (1, 4), dtype="float32")
    for _ in range(5):
        main = graph.add("RELU6", [main], (1, 4))
    report = lint(graph.file(main, side), "artpec8")
    assert report.targets.count("cpu") == 1
    assert report.partitions == 2


def test_a_circle_of_operators_does_not_hang():
    graph = Graph()
    image = graph.input((1, 4))
    other = graph.tensor((1, 4), name="later")
    graph.add("ADD", [image, other], (1, 4), name="sum")
    graph.operators[0].outputs.append(other)
    assert lint(graph.file(), "artpec8").partitions in (0, 1)


@pytest.mark.parametrize(("size", "fires"), [(4, False), (5, True), (6, True)])
def test_rank_on_artpec9(size, fires):
    shape = (1,) * (size - 2) + (4, 3)
    graph = Graph()
    graph.add("RELU6", [graph.input((1, 12))], shape)
    assert bool(found(graph.file(), "artpec9", "rank")) == fires


@pytest.mark.parametrize(
    ("shape", "fires"),
    [
        ((1, 128, 128, 3), False),  # the page's own two examples
        ((3, 128, 128, 1), True),
        ((1, 1, 4, 4, 3), False),
        ((1, 2, 4, 4, 3), True),
    ],
)
def test_rank_on_artpec7(shape, fires):
    graph = Graph()
    graph.add("RELU6", [graph.input(shape)], shape)
    assert bool(found(graph.file(), "artpec7", "rank")) == fires


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((1, 16_000), True),
        ((1, 16_001), False),
        ((1, 1, 10), True),
    ],
)
def test_softmax_on_artpec7(shape, wanted):
    graph = Graph()
    graph.add("SOFTMAX", [graph.input(shape)], shape, beta=1.0)
    (entry,) = edgetpu.predict(reading.parse(graph.file()))
    assert entry.on_tpu == wanted
    told = found(graph.file(), "artpec7", "edge-tpu-mapping")
    assert bool(told) == (not wanted)
    assert all(re.search(r"1600[01]|16000", f.message) for f in told)


@pytest.mark.parametrize(("side", "fires"), [(1, False), (7, False), (8, True)])
def test_padding_on_artpec9(side, fires):
    graph = Graph()
    cases._pad(graph, graph.input((1, 4, 4, 1)), side)
    told = found(graph.file(), "artpec9", "operator-limits")
    assert bool(told) == fires
    assert found(graph.file(), "artpec9", "explicit-pad")


@pytest.mark.parametrize("name", ["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"])
@pytest.mark.parametrize(
    ("before", "after", "fires"),
    [
        ((8, 8), (15, 15), False),
        ((8, 8), (16, 16), False),
        ((8, 8), (17, 17), True),
        ((8, 8), (14, 14), True),
        ((8, 8), (8, 8), True),
        ((8, 8), (16, 15), False),
        ((8, 8), (16, 17), True),
        ((1, 1), (33, 33), True),
    ],
)
def test_resize_on_artpec9(name, before, after, fires):
    graph = Graph()
    size = graph.constant(after, name="size")
    graph.add(name, [graph.input((1, *before, 3)), size], (1, *after, 3))
    assert bool(found(graph.file(), "artpec9", "resize-limits")) == fires


@pytest.mark.parametrize(
    ("code", "side", "kernel", "stride", "padding", "fires"),
    [
        ("MAX_POOL_2D", 8, 2, 2, "VALID", False),
        ("MAX_POOL_2D", 7, 2, 2, "VALID", True),
        ("MAX_POOL_2D", 7, 2, 2, "SAME", False),
        ("MAX_POOL_2D", 7, 3, 2, "SAME", False),
        ("MAX_POOL_2D", 417, 3, 2, "SAME", False),
        ("MAX_POOL_2D", 419, 3, 2, "SAME", True),
        ("MAX_POOL_2D", 8, 4, 4, "VALID", True),
        ("MAX_POOL_2D", 20, 9, 1, "VALID", False),
        ("MAX_POOL_2D", 20, 10, 1, "VALID", True),
        ("MAX_POOL_2D", 20, 17, 1, "SAME", False),
        ("MAX_POOL_2D", 20, 18, 1, "SAME", True),
        ("AVERAGE_POOL_2D", 8, 3, 1, "SAME", False),
        ("AVERAGE_POOL_2D", 8, 3, 2, "SAME", True),
        ("AVERAGE_POOL_2D", 7, 7, 1, "VALID", False),
        ("AVERAGE_POOL_2D", 8, 8, 8, "VALID", False),
        ("AVERAGE_POOL_2D", 9, 9, 1, "VALID", True),
    ],
)
def test_pooling_on_artpec9(code, side, kernel, stride, padding, fires):
    graph = Graph()
    graph.add(
        code,
        [graph.input((1, side, side, 3))],
        (1, 1, 1, 3),
        filter_height=kernel,
        filter_width=kernel,
        stride_h=stride,
        stride_w=stride,
        padding=padding,
    )
    assert bool(found(graph.file(), "artpec9", "pooling-limits")) == fires


@pytest.mark.parametrize(
    ("shape", "axes", "fires"),
    [
        ((1, 7, 7, 4), [1, 2], False),
        ((1, 8, 8, 4), [-3, -2], False),
        ((1, 6, 6, 4), [1, 2], True),
        ((1, 7, 8, 4), [1, 2], True),
        ((1, 7, 7, 4), [3], True),
    ],
)
def test_mean_on_artpec9(shape, axes, fires):
    graph = Graph()
    at = graph.constant(axes, name="axes")
    graph.add("MEAN", [graph.input(shape), at], (1, shape[-1]))
    assert bool(found(graph.file(), "artpec9", "pooling-limits")) == fires


@pytest.mark.parametrize(("width", "more"), [(300, 20), (320, 0), (31, 1), (33, 31)])
@pytest.mark.parametrize("soc", ["cv25", "cv75"])
def test_width_on_cv(soc, width, more):
    graph = Graph()
    shape = (1, 3, 240, width)
    graph.add("RELU6", [graph.input(shape, "float32")], shape, dtype="float32")
    told = found(graph.file(), soc, "row-width")
    assert bool(told) == bool(more)
    assert all(f"{more} bytes" in f.message for f in told)


def test_operator_versions_at_the_table_and_above():
    highest = socs.find("artpec7").operator_versions.value
    for number, names in highest.items():
        for name in names:
            for version, fires in ((int(number), False), (int(number) + 1, True)):
                graph = Graph()
                graph.add(name, [graph.input((1, 4))], (1, 4), version=version)
                told = found(graph.file(), "artpec7", "operator-version")
                assert bool(told) == fires, (name, version)
                assert all(f"wanted {number} or lower" in f.message for f in told)


def test_an_operator_that_the_compiler_never_knew():
    graph = Graph()
    graph.add("GELU", [graph.input((1, 4))], (1, 4))
    (told,) = found(graph.file(), "artpec7", "operator-version")
    assert "version 1, wanted an operator that it knows" in told.message
    assert "ReLU" in told.fix
    graph = Graph()
    graph.add("SIGN", [graph.input((1, 4))], (1, 4))
    (told,) = found(graph.file(), "artpec7", "operator-version")
    assert "replace the layer" in told.fix


# ARTPEC-9's other limits


def limit_depth_multiplier(graph, breaks):
    image = graph.input((1, 8, 8, 8))
    graph.convolve(image, 16 if breaks else 8, code="DEPTHWISE_CONV_2D")


def limit_rescale(graph, breaks):
    scale = 1 / 255 / 64 / (65536 if breaks else 65000)
    graph.convolve(graph.input(IMAGE), 16, scale=scale)


def limit_joined_channels(graph, breaks):
    shape = (1, 4, 4, 8 if breaks else 16)
    ends = [graph.input(shape, name=name) for name in "ab"]
    out = (1, 4, 4, 2 * shape[-1])
    graph.add("CONCATENATION", ends, out, axis=3 if breaks else -1)


def limit_joined_scale(graph, breaks):
    ends = [graph.input((1, 4), name=name, scale=1.28) for name in "ab"]
    scale = 0.0099 if breaks else 0.0101
    graph.add("CONCATENATION", ends, (1, 8), axis=1, scale=scale)


def limit_split_channels(graph, breaks):
    parts = 4 if breaks else 2
    axis = graph.constant(3, name="axis")
    shape = (1, 4, 4, 32 // parts)
    graph.add("SPLIT", [axis, graph.input((1, 4, 4, 32))], shape, num_splits=parts)


def limit_logistic_scale(graph, breaks):
    scale = 1 / 255 if breaks else 1 / 256
    graph.add("LOGISTIC", [graph.input((1, 4))], (1, 4), scale=scale)


def limit_tanh_scale(graph, breaks):
    scale = 1 / 127 if breaks else 1 / 128
    graph.add("TANH", [graph.input((1, 4))], (1, 4), scale=scale)


def limit_leaky_relu(graph, breaks):
    alpha = 1.0 if breaks else 0.99
    graph.add("LEAKY_RELU", [graph.input((1, 4))], (1, 4), alpha=alpha)


def limit_product(graph, breaks):
    image = graph.input((1, 4))
    other = image if breaks else graph.constant(3, "uint8", name="three")
    graph.add("MUL", [image, other], (1, 4))


def limit_padded_channels(graph, breaks):
    pads = [[0, 0], [1, 1], [1, 1], [0, 1 if breaks else 0]]
    paddings = graph.constant(pads, name="paddings")
    graph.add("PAD", [graph.input((1, 4, 4, 3)), paddings], (1, 6, 6, 4))


LIMITS = {name: made for name, made in globals().items() if name.startswith("limit_")}


@pytest.mark.parametrize("build", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("breaks", [True, False])
def test_a_limit_of_artpec9(build, breaks):
    graph = Graph()
    build(graph, breaks)
    told = found(graph.file(), "artpec9", "operator-limits")
    assert len(told) == breaks
    for finding in told:
        _, what = finding.message.split(f"{finding.tensor!r}: ")
        assert re.search(r"\d.*, wanted", what)


# Scales that are joined


def joined(scale, *, between=("QUANTIZE", "RESHAPE"), code="LOGISTIC", tail="logits"):
    graph = Graph()
    boxes = graph.input((1, 4), scale=scale, name="boxes")
    last = graph.input((1, 4), name=tail)
    last = graph.add(code, [last], (1, 4), scale=1 / 256)
    for name in between:
        last = graph.add(name, [last], (1, 4), scale=scale)
    graph.add("CONCATENATION", [boxes, last], (1, 8), axis=1, scale=scale)
    return graph.file()


@pytest.mark.parametrize("soc", ["artpec7", "artpec8", "artpec9", "cpu"])
@pytest.mark.parametrize("code", ["LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("between", [(), ("RESHAPE",), ("QUANTIZE", "RESHAPE")])
def test_a_scale_is_followed_to_the_scores(soc, code, between):
    (told,) = found(joined(2.51, between=between, code=code), soc, "shared-scale")
    assert told.severity == "error"
    assert told.operator == "CONCATENATION"


@pytest.mark.parametrize(
    ("scale", "severity"),
    [(1 / 255, None), (1 / 65, None), (1 / 63, "warning"), (0.51, "error")],
)
def test_how_many_steps_are_left_for_scores(scale, severity):
    told = found(joined(scale), "artpec8", "shared-scale")
    assert [f.severity for f in told] == ([severity] if severity else [])


def test_boxes_alone_may_have_a_large_scale():
    assert not found(joined(2.51, code="RELU6"), "artpec8", "shared-scale")
    assert not found(joined(2.51, between=("ADD",)), "artpec8", "shared-scale")


def scores(graph):
    """Return two tensors of scores, (1, 4)."""
    logits = graph.input((1, 4), name="logits")
    return [
        graph.add("LOGISTIC", [logits], (1, 4), scale=1 / 256, name=name)
        for name in ("likelihood", "classes")
    ]


def by_slice(graph):
    places = [graph.constant(at, name=str(at)) for at in ([0, 0], [1, 2], [1, 1])]
    return graph.add("STRIDED_SLICE", [scores(graph)[0], *places], (1, 2))


def by_split(graph):
    axis = graph.constant(1, name="axis")
    return graph.add("SPLIT", [axis, scores(graph)[0]], (1, 4), num_splits=1)


def by_join(graph):
    return graph.add("CONCATENATION", scores(graph), (1, 8), axis=1, name="joined")


def by_product(graph):
    return graph.add("MUL", scores(graph), (1, 4), scale=1 / 256)


def scaled_up(graph):
    size = graph.constant([[128]], "uint8", scale=5.0, name="size")
    return graph.add("MUL", [scores(graph)[0], size], (1, 4))


def with_other_values(graph):
    ends = [scores(graph)[0], graph.input((1, 4), name="other")]
    return graph.add("CONCATENATION", ends, (1, 8), axis=1, name="mixed")


def in_a_circle(graph):
    last = graph.add("RESHAPE", [graph.input((1, 4), name="other")], (1, 4))
    graph.operators[-1].inputs[:] = [last]
    return last


@pytest.mark.parametrize(
    ("build", "fires"),
    [
        *((build, True) for build in (by_slice, by_split, by_join, by_product)),
        *((build, False) for build in (scaled_up, with_other_values, in_a_circle)),
    ],
)
def test_what_is_made_of_scores_alone_is_followed(build, fires):
    graph = Graph()
    ends = [graph.input((1, 4), scale=2.51, name="boxes"), build(graph)]
    graph.add("CONCATENATION", ends, (1, 12), axis=1, scale=2.51, name="rows")
    told = found(graph.file(), "artpec8", "shared-scale")
    assert [f.message.split(",")[0] for f in told] == (
        [f"CONCATENATION {len(graph.operators) - 1}"] if fires else []
    )


# Activations


def silu(own):
    graph = Graph()
    image = graph.input((1, 4))
    other = graph.input((1, 4), name="other")
    gate = graph.add("LOGISTIC", [image], (1, 4), scale=1 / 256)
    graph.add("MUL", [image if own else other, gate], (1, 4))
    return graph.file()


@pytest.mark.parametrize("soc", ["artpec8", "artpec9"])
def test_silu_is_told_and_a_plain_logistic_is_not(soc):
    (told,) = found(silu(True), soc, "activation")
    assert (told.operator, told.operator_index) == ("LOGISTIC", 0)
    assert "SiLU" in told.message
    assert not found(silu(False), soc, "activation")


@pytest.mark.parametrize("fused", ["NONE", "RELU6", "RELU", "RELU_N1_TO_1"])
def test_fused_activations(fused):
    graph = Graph()
    graph.convolve(graph.input(IMAGE), 48, activation=fused)
    assert not found(graph.file(), "artpec8", "activation")
    told = found(graph.file(), "artpec9", "activation")
    assert bool(told) == (fused in ("RELU", "RELU_N1_TO_1"))


@pytest.mark.parametrize("code", ["LEAKY_RELU", "PRELU", "ELU", "GELU", "HARD_SWISH"])
def test_activations_without_zeros(code):
    graph = Graph()
    graph.add(code, [graph.input((1, 4))], (1, 4))
    (told,) = found(graph.file(), "artpec8", "activation")
    assert told.severity == "warning"


# The open report


RESIDUAL = cases.residual_add(True)


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        (None, "warning"),
        ("12", "warning"),
        ("11.11", None),
        ("11", None),
        ("12.9", None),
        ("12.9.99", None),
        ("12.10", "warning"),
        ("12.10.1", "warning"),
        ("12.11", "warning"),
        ("12.11.72", "warning"),
        ("12.11.77", "warning"),
        ("12.11.78", "note"),
        ("12.12", "note"),
        ("13.0", "note"),
        ("13", "note"),
    ],
)
def test_the_residual_add_depends_on_the_version(version, severity):
    told = found(RESIDUAL, "artpec9", "residual-add", os=version)
    assert [f.severity for f in told] == ([severity] if severity else [])


@pytest.mark.parametrize("soc", ["artpec7", "artpec8", "cpu"])
def test_the_residual_add_concerns_one_chip(soc):
    assert not found(RESIDUAL, soc, "residual-add")


def test_what_is_no_residual_add():
    graph = Graph()
    image = graph.input(IMAGE)
    offset = graph.constant([[[[3] * 3]]], "uint8", scale=1 / 255, name="offset")
    graph.convolve(graph.add("ADD", [image, offset], IMAGE), 16)
    assert not found(graph.file(), "artpec9", "residual-add")
    graph = Graph()
    image = graph.input(IMAGE)
    total = graph.add("ADD", [image, image], IMAGE)
    graph.add("RELU6", [total], IMAGE)
    assert not found(graph.file(), "artpec9", "residual-add")


# Custom operators


def detector(dtype="float32"):
    """Return boxes and scores that go into TFLite's postprocessing."""
    graph = Graph()
    ends = [
        graph.add("RELU6", [graph.input(shape, name=name)], shape, name=f"{name}/head")
        for name, shape in (("boxes", (1, 2, 4)), ("scores", (1, 2, 3)))
    ]
    if dtype == "float32":
        ends = [
            graph.add("DEQUANTIZE", [end], graph.tensors[end].shape, dtype=dtype)
            for end in ends
        ]
    return graph.file(*graph.postprocess(*ends))


@pytest.mark.parametrize("soc", ARTPEC)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_postprocessing_is_a_note(soc, dtype):
    report = lint(detector(dtype), soc)
    (told,) = [f for f in report.findings if f.rule == "custom-operator"]
    assert told.severity == "note"
    told = {f.rule for f in report.findings}
    assert not told & {"float-operator", "not-full-integer", "output-type"}
    assert not report.at_least("error")
    assert report.targets[-1] == "cpu"


@pytest.mark.parametrize("soc", [*ARTPEC, "cpu"])
@pytest.mark.parametrize("code", ["FlexErf", "FlexDeformableConv2D", "MyOwn"])
def test_flex_and_custom_operators_will_not_load(soc, code):
    (told,) = found(custom(code), soc, "unregistered-operator")
    assert told.severity == "error"
    assert ("Flex" in told.message) == code.startswith("Flex")
    assert not found(custom(code), soc, "custom-operator")


@pytest.mark.parametrize("soc", socs.SOCS)
@pytest.mark.parametrize("code", ["MyOwn", "TFLite_Detection_PostProcess"])
def test_a_graph_of_custom_operators_alone_is_no_crash(soc, code):
    graph = Graph()
    image = graph.input(IMAGE, "float32")
    graph.add(code, [image], (1, 4), dtype="float32")
    told = {f.rule for f in lint(graph.file(), soc).findings}
    assert not told & {"not-full-integer", "float-operator"}


@pytest.mark.parametrize("soc", socs.SOCS)
def test_float_in_the_body_of_a_loop_is_no_crash(soc):
    graph = Graph()
    state = graph.input((1, 4), "float32")
    settings = {"cond_subgraph_index": 1, "body_subgraph_index": 1}
    graph.add("WHILE", [state], (1, 4), dtype="float32", **settings)
    body = Graph()
    body.add("RELU6", [body.input((1, 4), "float32")], (1, 4), dtype="float32")
    lint(graph.file(others=[body]), soc)


@pytest.mark.parametrize("soc", socs.SOCS)
def test_a_graph_without_operators_is_no_crash(soc):
    graph = Graph()
    image = graph.input(IMAGE)
    report = lint(graph.file(image), soc)
    assert (report.targets, report.partitions) == ((), 0)


@pytest.mark.parametrize("name", socs.find("cpu").custom_operators.value)
def test_what_a_runtime_brings_is_known(name):
    assert not found(custom(name), "artpec8", "unregistered-operator")


def test_what_a_compiled_file_leaves_on_the_cpu_is_told():
    graph = Graph()
    last = graph.add(reading.EDGE_TPU, [graph.input((1, 4))], (1, 4), name="tpu")
    last = graph.add("LEAKY_RELU", [last], (1, 4), name="after", alpha=0.1)
    graph.add("TFLite_Detection_PostProcess", [last], (1, 4), name="post")
    (told,) = found(graph.file(), "artpec7", "edge-tpu-mapping")
    assert (told.operator_index, told.tensor) == (1, "after")
    assert "one of 2 operators" in told.message
    assert len(found(graph.file(), "artpec7", "custom-operator")) == 1


def test_a_compiled_file_is_at_home_on_artpec7():
    content = cases.edge_tpu_compiled(True)
    assert not lint(content, "artpec7").findings
    assert lint(content, "artpec8").at_least("error")


# Types and shapes


def test_an_lstm_with_a_16_bit_state_is_fine_on_artpec7():
    graph = Graph()
    image = graph.input((1, 28, 28))
    state = graph.tensor((1, 20), "int16", name="state")
    graph.add("UNIDIRECTIONAL_SEQUENCE_LSTM", [image, state], (1, 28, 20))
    report = lint(graph.file(), "artpec7")
    assert not report.findings
    assert report.targets == ("dlpu",)
    assert found(graph.file(), "artpec8", "integer-type")


@pytest.mark.parametrize(
    ("signature", "soc", "severity"),
    [
        ((-1, 8, 8, 3), "artpec7", "error"),
        ((-1, 8, 8, 3), "artpec8", "warning"),
        ((-1, 8, 8, 3), "artpec9", "warning"),
        ((-1, -1, 8, 3), "artpec8", "error"),
        ((1, 8, -1, 3), "artpec9", "error"),
    ],
)
def test_a_dynamic_batch_is_milder_than_other_sizes(signature, soc, severity):
    graph = Graph()
    image = graph.input(IMAGE, signature=signature)
    graph.add("RELU6", [image], IMAGE, signature=signature)
    (told,) = found(graph.file(), soc, "dynamic-shape")
    assert told.severity == severity
    assert told.tensor == "image"
    assert not found(graph.file(), soc, "batch")


def test_a_dynamic_size_inside_is_told_where_it_begins():
    graph = Graph()
    graph.add("RELU6", [graph.input(IMAGE)], IMAGE, signature=(1, -1, -1, 3))
    (told,) = found(graph.file(), "artpec8", "dynamic-shape")
    assert told.tensor == "relu6"


@pytest.mark.parametrize(
    ("dtype", "severity"), [("uint8", None), ("int8", "note"), ("float32", "warning")]
)
@pytest.mark.parametrize("soc", ARTPEC)
def test_the_input_type(soc, dtype, severity):
    told = found(conv(dtype=dtype), soc, "input-type")
    assert [f.severity for f in told] == ([severity] if severity else [])


@pytest.mark.parametrize("soc", [*ARTPEC, "cpu"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_image_has_no_planes(soc, channels):
    graph = Graph()
    shape = (1, channels, 8, 8)
    graph.add("RELU6", [graph.input(shape)], shape)
    assert bool(found(graph.file(), soc, "planar-input")) == (channels > 1)


@pytest.mark.parametrize(
    ("scale", "zero_point", "fires"),
    [
        (1 / 255, 0, False),
        (1 / 128, 128, False),
        (1 / 127.5, 127, False),
        (1.0, 0, False),
        (0.0187, 114, False),
        (1 / 255**2, 0, True),
        (2.0, 0, True),
        (0.1, 0, True),
    ],
)
def test_the_input_scale(scale, zero_point, fires):
    graph = Graph()
    graph.add("RELU6", [graph.input(IMAGE, scale=scale, zero_point=zero_point)], IMAGE)
    assert bool(found(graph.file(), "artpec8", "input-scale")) == fires


@pytest.mark.parametrize(
    ("names", "fires"),
    [
        (("Call:0", "Call:1", "Call:2"), False),
        (("Call:1", "Call:0", "Call:2"), True),
        (("Identity", "Identity_1", "Identity_2"), False),
        (("Identity_2", "Identity", "Identity_1"), True),
        (("Call:9", "Call:10"), False),
        (("Call:10", "Call:9"), True),
        (("boxes", "classes"), False),
    ],
)
def test_the_order_of_outputs(names, fires):
    graph = Graph()
    image = graph.input((1, 4))
    outputs = [graph.add("RELU6", [image], (1, 4), name=name) for name in names]
    told = found(graph.file(*outputs), "artpec8", "output-order")
    assert bool(told) == fires


@pytest.mark.parametrize(
    ("order", "fires"),
    [((0, 2, 3, 1), True), ((0, 3, 1, 2), True), ((0, 2, 1, 3), False)],
)
def test_which_transposes_are_told(order, fires):
    graph = Graph()
    to = graph.constant(order, name="order")
    graph.add("TRANSPOSE", [graph.input(IMAGE), to], (1, 8, 8, 3))
    assert bool(found(graph.file(), "artpec8", "transposes")) == fires


@pytest.mark.parametrize(("name", "settings"), [("a", {}), ("b", {"weight_scale": 1})])
def test_per_channel_convolutions_are_for_artpec9(name, settings):
    graph = Graph()
    scales = [(n + 1) / 512 for n in range(16)]
    graph.convolve(graph.input(IMAGE), 16, **{"weight_scale": scales, **settings})
    assert not found(graph.file(), "artpec9", "per-channel-weights")
    told = found(graph.file(), "artpec8", "per-channel-weights")
    assert bool(told) == (name == "a")


# Published kinds of models


def yolo(soc, *, stem=None, filters=None, silu=False, pixels=False):
    """Return the zoo's YOLOv5 in small: int8 within, uint8 at the ends, ReLU6.

    The zoo's two files differ in the first kernel and in the numbers of filters. Rows
    are four sides of a box and four scores, all cut from one sigmoid.

    Args:
        soc: For which chip it is shaped, where nothing else is said.
        stem: Side of the first kernel.
        filters: Of the layers but the head.
        silu: Has SiLU behind the first layer, as YOLOv5 is made, in place of ReLU6.
        pixels: Gives boxes of 0..640, as YOLOv5 is made, in place of 0..1.
    """
    stem = stem or (5 if soc == "artpec9" else 6)
    filters = filters or (16 if soc == "artpec9" else 18)
    image, map_, half = (1, 32, 32, 3), (1, 16, 16, filters), (1, 8, 8, filters)
    near = {"dtype": "int8", "scale": 1 / 255, "zero_point": -128}
    # The zoo's own scale where boxes lie in 0..1.
    joint = {**near, "scale": 640 / 255 if pixels else 0.0041905}
    graph = Graph()

    last = graph.add("QUANTIZE", [graph.input(image)], image, name="in", **near)
    pads = graph.constant([[0, 0], [2, 2], [2, 2], [0, 0]], name="paddings")
    last = graph.add("PAD", [last, pads], (1, 36, 36, 3), **near)
    last = graph.convolve(
        last,
        filters,
        kernel=stem,
        stride=2,
        padding="VALID",
        name="stem",
        activation="NONE" if silu else "RELU6",
    )
    if silu:
        shape = graph.tensors[last].shape
        gate = graph.add("LOGISTIC", [last], shape, name="gate", **near)
        last = graph.add("MUL", [last, gate], shape, name="gated", **near)
    skip = graph.convolve(last, filters, kernel=1, name="skip")
    branch = graph.convolve(skip, filters, name="branch")
    total = graph.add("ADD", [skip, branch], map_, **near)
    low = graph.convolve(total, filters, stride=2, name="low")
    settings = {"filter_height": 5, "filter_width": 5, "stride_h": 1, "stride_w": 1}
    low = graph.add("MAX_POOL_2D", [low], half, padding="SAME", **settings, **near)
    size = graph.constant([16, 16], name="size")
    up = graph.add("RESIZE_NEAREST_NEIGHBOR", [low, size], map_, **near)
    both = (*map_[:3], 2 * filters)
    last = graph.add("CONCATENATION", [up, total], both, axis=3, name="neck", **near)
    last = graph.convolve(last, 24, kernel=1, activation="NONE", name="head")
    unit = {**near, "scale": 1 / 256}
    last = graph.add("LOGISTIC", [last], (1, 16, 16, 24), **unit)
    last = graph.add("QUANTIZE", [last], (1, 16, 16, 24), name="joint", **joint)
    to = graph.constant([1, 768, 8], name="to")
    rows = graph.add("RESHAPE", [last, to], (1, 768, 8), **joint)
    steps = graph.constant([1, 1, 1], name="steps")
    four = (1, 768, 4)
    slices = []
    for name, start in (("sides", 0), ("scores", 4)):
        first = graph.constant([0, 0, start], name=f"{name}/from")
        after = graph.constant([1, 768, start + 4], name=f"{name}/to")
        inputs = [rows, first, after, steps]
        slices.append(graph.add("STRIDED_SLICE", inputs, four, name=name, **joint))
    size = graph.constant(1, "int8", scale=640 if pixels else 1, name="size")
    boxes = graph.add("MUL", [slices[0], size], four, name="boxes", **joint)
    grid = graph.constant([[[1] * 4]], "int8", scale=1 / 64, name="grid")
    boxes = graph.add("ADD", [boxes, grid], four, name="moved", **joint)
    ends = [boxes, slices[1]]
    last = graph.add("CONCATENATION", ends, (1, 768, 8), name="rows", axis=2, **joint)
    graph.add("QUANTIZE", [last], (1, 768, 8), name="out", scale=joint["scale"])
    return graph.file()


def mobilenet():
    """Return MobileNetV2 of TensorFlow 1 in small: uint8, per-tensor, residuals."""
    graph = Graph()
    last = graph.input((1, 224, 224, 3), scale=1 / 128, zero_point=128)
    last = graph.convolve(last, 32, stride=2, name="stem")
    for block, stride in enumerate((2, 1, 2, 2, 2, 1)):
        before = last
        last = graph.convolve(last, 48, kernel=1, name=f"expand{block}")
        settings = {"code": "DEPTHWISE_CONV_2D", "stride": stride}
        last = graph.convolve(last, 48, **settings, name=f"depth{block}")
        settings = {"kernel": 1, "activation": "NONE"}
        last = graph.convolve(last, 24, **settings, name=f"project{block}")
        if stride == 1:
            shape = graph.tensors[last].shape
            last = graph.add("ADD", [before, last], shape, name=f"add{block}")
    return graph, last


def classifier(soc):
    graph, last = mobilenet()
    _, side, _, channels = graph.tensors[last].shape
    last = graph.add(
        "AVERAGE_POOL_2D",
        [last],
        (1, 1, 1, channels),
        filter_height=side,
        filter_width=side,
        stride_h=1,
        stride_w=1,
        padding="VALID",
    )
    last = graph.convolve(last, 10, kernel=1, activation="NONE", name="logits")
    to = graph.constant([1, 10], name="to")
    last = graph.add("RESHAPE", [last, to], (1, 10))
    graph.add("SOFTMAX", [last], (1, 10), scale=1 / 256, beta=1.0)
    return graph.file()


def ssd(soc):
    graph, last = mobilenet()
    _, side, _, _ = graph.tensors[last].shape
    count = side * side
    ends = []
    for name, values in (("boxes", 4), ("classes", 3)):
        head = graph.convolve(last, values, kernel=1, activation="NONE", name=name)
        to = graph.constant([1, count, values], name=f"{name}/to")
        shape = (1, count, values)
        head = graph.add("RESHAPE", [head, to], shape, name=f"{name}/flat")
        head = graph.add("CONCATENATION", [head], shape, axis=1, name=f"{name}/all")
        if values == 3:
            head = graph.add("LOGISTIC", [head], shape, scale=1 / 256)
        ends.append(head)
    return graph.file(*graph.postprocess(*ends))


@pytest.mark.parametrize("soc", ARTPEC)
@pytest.mark.parametrize("build", [classifier, ssd, yolo])
def test_published_kinds_of_models_get_no_error(build, soc):
    report = lint(build(soc), soc)
    assert not report.at_least("error")
    assert not [f for f in report.findings if f.rule == "partitions"]
    assert "cpu" not in report.targets[:5]


YOLO_RULES = ("channels-multiple", "kernel-size", "activation", "shared-scale")


def told_of_yolo(shaped_for, soc, **changes):
    """Return what YOLOv5's own rules say: rule, severity, operator's output."""
    content = yolo(shaped_for, **changes)
    model = reading.parse(content)
    return {
        (
            f.rule,
            f.severity,
            model.outputs_of(model.operators[f.operator_index])[0].name,
        )
        for f in rules.lint(model, soc=soc).findings
        if f.rule in YOLO_RULES
    }


# ARTPEC-8 prefers 3x3; the zoo's file has 1x1 all the same, and a stem of 6x6.
KERNELS_8 = {("kernel-size", "note", name) for name in ("stem", "skip", "head")}


def test_yolov5_as_the_zoo_has_it_keeps_its_own_rules():
    assert told_of_yolo("artpec8", "artpec8") == KERNELS_8
    assert told_of_yolo("artpec9", "artpec9") == set()


def test_yolov5_for_the_other_chip_breaks_filters_and_stem():
    layers = ("stem", "skip", "branch", "low")  # and not the head
    filters = {("channels-multiple", "note", name) for name in layers}
    stem = {("kernel-size", "warning", "stem")}
    assert told_of_yolo("artpec8", "artpec9") == filters | stem
    assert told_of_yolo("artpec9", "artpec8") == filters | KERNELS_8


def test_yolov5_as_it_is_made_has_silu_and_boxes_in_pixels():
    made = {"stem": 6, "filters": 16, "silu": True, "pixels": True}
    scale = ("shared-scale", "error", "rows")
    stem = ("kernel-size", "warning", "stem")
    silu = ("activation", "note", "gate")
    assert told_of_yolo("artpec9", "artpec9", **made) == {scale, stem, silu}
    layers = ("stem", "skip", "branch", "low")
    filters = {("channels-multiple", "note", name) for name in layers}
    silu = ("activation", "warning", "gate")
    assert told_of_yolo("artpec8", "artpec8", **made) == {
        *(scale, silu),
        *filters,
        *KERNELS_8,
    }


# Everything but these is published for the three chips, or made for the Edge TPU alone.
COMPILED = [path for path in REAL_FILES if path.stem.endswith("_edgetpu")]
PUBLISHED = [
    path for path in REAL_FILES if path.name.startswith(("mobilenet_v2", "tf2_"))
]


@pytest.mark.skipif(not REAL, reason="COURSE_REAL_MODELS is not set")
@pytest.mark.parametrize("soc", ARTPEC)
def test_published_models_get_no_error(soc):
    assert PUBLISHED
    for path in PUBLISHED:
        report = rules.lint(reading.read(path), soc=soc)
        assert not report.at_least("error"), path.name


@pytest.mark.skipif(not REAL, reason="COURSE_REAL_MODELS is not set")
@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.name)
def test_the_prediction_is_what_the_compiler_did(path):
    model = reading.read(path.with_name(path.name.replace("_edgetpu", "")))
    truth = edgetpu.mapped(model, compiled=reading.read(path))
    wrong = [
        f"{entry.operator} {entry.operator_index}: {entry.reason or 'mapped'}"
        for entry, on_tpu in zip(edgetpu.predict(model), truth, strict=True)
        if entry.on_tpu != on_tpu
    ]
    assert not wrong


def test_the_mapping_of_a_graph_that_leaves_and_returns():
    """On ARTPEC-7 what depends on a refused operator stays behind, and no more."""
    graph = Graph()
    image = graph.add("RELU6", [graph.input(IMAGE)], IMAGE, name="first")
    refused = graph.add("LEAKY_RELU", [image], IMAGE, alpha=0.1)
    after = graph.add("RELU6", [refused], IMAGE, name="after")
    beside = graph.add("RELU6", [image], IMAGE, name="beside")
    graph.add("ADD", [after, beside], IMAGE)
    model = reading.parse(graph.file())
    targets = mapping.targets(model, soc=socs.find("artpec7"))
    assert targets == ("dlpu", "cpu", "cpu", "dlpu", "cpu")


# The page


def test_the_page_of_rules_is_fresh():
    assert page.PAGE.read_text("utf-8") == page.text(), "run tools/make_rules_page.py"


def test_the_page_has_every_rule_and_every_source():
    text = page.PAGE.read_text("utf-8")
    for rule in rules.RULES.values():
        assert text.count(f"\n## {rule.id}\n") == 1
        assert rule.title in text
        for claim in rule.claims.values():
            assert claim.fact.source.url in text
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    for target in re.findall(r"\]\((?!#|https)([^)]+)\)", text):
        assert (page.PAGE.parent / target).exists(), target


def test_a_stale_page_is_found(tmp_path):
    stale = tmp_path / "rules.md"
    stale.write_text("# old")
    command = [sys.executable, ROOT / "tools/make_rules_page.py", "--check"]
    fresh = subprocess.run(command, capture_output=True, text=True)
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    done = subprocess.run([*command, "--to", stale], capture_output=True, text=True)
    assert done.returncode == 1
    assert "make_rules_page" in done.stdout
