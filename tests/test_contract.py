"""The contract of a deployed file: numbers, labels, warnings, and the C header."""

import re
import shutil
import subprocess

from course_lib.dlpu import contract
from course_lib.dlpu import socs as known
from course_lib.errors import UnusableInput
from course_lib.tflite import reading

import numpy as np
import pytest
import tiny_models
from lessons import ROOT

PERSON = ROOT / "data/person_per_channel.tflite"
KEYWORDS = set(
    re.findall(
        r"\w+",
        "auto break case char const continue default do double else enum extern float "
        "for goto if inline int long register restrict return short signed sizeof "
        "static struct switch typedef union unsigned void volatile while",
    )
)
GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(not GCC, reason="gcc is not on PATH")


def made(content, soc="artpec8", *, file="m.tflite", labels=None):
    return contract.of(reading.parse(content), soc=soc, file=file, labels=labels)


def ends(*outputs, dtype="uint8", shape=(1, 8, 8, 3), name="image", **more) -> bytes:
    """Return a file with one input and outputs of these names and shapes."""
    tensors = [tiny_models.tensor(shape, dtype, name=name, **more)]
    for number, (label, size) in enumerate(outputs or [("out", (1, 4))], start=1):
        scales = {"scales": [number / 256], "zero_points": [number]}
        tensors.append(tiny_models.tensor(size, "uint8", name=label, **scales))
    places = range(1, len(tensors))
    operator = tiny_models.operator("Op", [0], [*places])
    return tiny_models.build((tensors, [operator], [0], [*places]))


def run(header: str, body: str, folder) -> str:
    """Compile a program that includes the header, and return what it prints."""
    (folder / "card.h").write_text(header, "ascii")
    source = folder / "main.c"
    source.write_text(
        '#include "card.h"\n#include "card.h"\n#include <stdio.h>\n'
        f"int main(void)\n{{\n{body}\n    return 0;\n}}\n"
    )
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    program = folder / "main"
    command = [GCC, *flags, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return subprocess.run(
        [program], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout


# Numbers


def test_person_on_artpec8():
    told = contract.of(contract.read(PERSON, soc="artpec8"), soc="artpec8", file=PERSON)
    (image,), (scores,) = told.inputs, told.outputs
    assert image.shape == (1, 96, 96, 3)
    assert (image.dtype, image.bytes, image.row_pitch) == ("uint8", 27648, 288)
    assert image.layout == "interleaved (NHWC)"
    assert scores.formula == "real = (q - 0) * 0.00390625"
    assert scores.limits == ((0, 0.0), (255, 0.99609375))
    assert scores.real([0, 128]).tolist() == [0.0, 0.5]
    assert told.larod_client == known.larod_client(
        known.SOCS["artpec8"], "person_per_channel.tflite"
    )


@pytest.mark.parametrize("soc", known.SOCS)
def test_every_fact_has_source_and_date(soc):
    is_onnx = soc == "cv75"
    model = _onnx_like((1, 3, 300, 300)) if is_onnx else reading.parse(ends())
    told = contract.of(model, soc=soc, file="m.onnx" if is_onnx else "m.tflite")
    text = contract.as_text(told)
    for fact in contract.as_dict(told)["facts"].values():
        assert fact["source"]["url"].startswith("https://")
        assert fact["source"]["date"]
    numbers = {int(number) for number in re.findall(r"\[(\d+), ", text)}
    assert numbers == set(range(1, len(numbers) + 1))
    for number in numbers:
        assert f"\n[{number}] " in text
    assert known.SOCS[soc].device in text


def test_a_negative_zero_point_has_parentheses():
    told = made(tiny_models.conv(dtype="int8", zero_point=-3))
    assert told.inputs[0].formula == "real = (q - (-3)) * 0.5"
    assert told.inputs[0].limits == ((-128, -62.5), (127, 65.0))
    assert "send each pixel less 128" in contract.as_text(told)
    assert "_INPUT_0_ZERO_POINT (-3)\n" in contract.as_c(told)


def test_a_float_input_tells_what_larod_answers_with_this_files_numbers():
    told = made(ends(dtype="float32", shape=(1, 256, 256, 3)))
    text = contract.as_text(told)
    assert told.inputs[0].bytes == 4 * 196608
    assert (
        "`Could not run job: Could only read 196608 out of 786432 bytes from file "
        "descriptor`"
    ) in text
    assert told.inputs[0].row_pitch == 256 * 3 * 4


def test_several_scales_and_none_are_said_so():
    several = made(ends(scales=[0.5, 0.25, 1.0], zero_points=[0, 0, 0], axis=3))
    assert several.inputs[0].scale is None
    assert "3 scales along axis 3" in contract.as_text(several)
    none = made(ends())
    assert none.inputs[0].scale is None
    assert "no scale: a value is what it says" in contract.as_text(none)
    with pytest.raises(UnusableInput, match="has 0 scales"):
        none.inputs[0].real(1)


def test_a_dynamic_size_counts_as_one():
    told = made(ends(signature=(-1, 8, 8, 3)))
    assert told.inputs[0].bytes == 8 * 8 * 3
    assert "count a size of -1 as 1" in contract.as_text(told)


def test_no_shape_is_said_so():
    told = made(ends(("out", ())))
    assert "no shape in the file" in contract.as_text(told)


def test_outputs_stand_in_the_files_order_and_a_strange_order_is_warned_of():
    told = made(ends(("head:1", (1, 4)), ("head:0", (1, 8))))
    assert [end.name for end in told.outputs] == ["head:1", "head:0"]
    assert any("names count in another order" in w for w in told.warnings)
    assert made(ends(("head:0", (1, 4)), ("head:1", (1, 8)))).warnings == ()


def test_signature_names_stand_beside_the_files():
    told = made(tiny_models.conv())
    assert told.inputs[0].signature_name == "image"
    assert "out (signature: scores)" in contract.as_text(told)


@pytest.mark.parametrize(("channels", "warned"), [(1, False), (3, True)])
def test_planes_where_the_chip_wants_pixels(channels, warned):
    told = made(ends(shape=(1, channels, 8, 8)))
    assert told.inputs[0].row_pitch == 8
    assert any("wants RGB interleaved" in w for w in told.warnings) == warned


def test_impossible_zero_point_and_shape_are_refused():
    with pytest.raises(UnusableInput, match="zero point 256: expected 0 to 255"):
        made(ends(scales=[1.0], zero_points=[256]))
    with pytest.raises(UnusableInput, match="impossible shape"):
        made(ends(shape=(2**31 - 1, 2**31 - 1, 1000)))


# Compilers


def test_artpec7_deploys_what_the_compiler_made():
    told = made(ends(), "artpec7", file="my model.tflite")
    assert told.deployed_file == "my model_edgetpu.tflite"
    assert told.commands == ("edgetpu_compiler -s -o . 'my model.tflite'",)
    assert "'my model_edgetpu.tflite'" in told.larod_client
    ready = made(
        tiny_models.custom("edgetpu-custom-op"), "artpec7", file="m_edgetpu.tflite"
    )
    assert ready.deployed_file == "m_edgetpu.tflite"
    assert ready.commands == ()


def test_a_file_for_the_edge_tpu_is_not_for_others():
    told = made(tiny_models.custom("edgetpu-custom-op"), "artpec9")
    assert any("ARTPEC-9 has none" in warning for warning in told.warnings)


def _onnx_like(shape, *, dtype="float32", outputs=((1, 1001),)):
    """Return a model as `onnx_file.read` makes it."""
    image = reading.Tensor(0, "images", shape, shape, dtype)
    results = tuple(
        reading.Tensor(n, f"out{n}", size, size, "float32")
        for n, size in enumerate(outputs, start=1)
    )
    return reading.Model(
        name="g",
        tensors=(image, *results),
        operators=(),
        inputs=(image,),
        outputs=results,
        size=1,
        description="",
        subgraphs=(),
        metadata={},
        signatures=(),
        format="onnx",
        opset=17,
    )


def test_cv25_has_planes_padded_rows_and_padded_values():
    told = contract.of(_onnx_like((1, 3, 300, 300)), soc="cv25", file="a/m.onnx")
    (image,), (scores,) = told.inputs, told.outputs
    assert told.deployed_file == "m_cv25.bin"
    assert (image.dtype, image.file_dtype) == ("uint8", "float32")
    assert (image.row_pitch, image.bytes) == (320, 3 * 300 * 320)
    assert (scores.stride, scores.bytes) == (32, 32032)
    text = contract.as_text(told)
    assert "20 bytes of padding" in text
    assert "sources disagree, 32032 or 4004 bytes" in text
    assert "or: float32, without padding" in text


def test_cv75_does_not_pretend_to_know():
    told = contract.of(_onnx_like((1, 3, 320, 320)), soc="cv75", file="m.onnx")
    assert told.inputs[0].row_pitch == 320
    assert told.outputs[0].bytes is None
    assert "no source tells how CV75 gives it" in contract.as_text(told)
    assert "_OUTPUT_0_BYTES" not in contract.as_c(told)


def test_cv25_turns_a_tflite_files_pixels_into_planes():
    told = made(ends(shape=(1, 30, 50, 3)), "cv25")
    assert told.inputs[0].shape == (1, 3, 30, 50)
    assert told.inputs[0].row_pitch == 64
    assert any("CNNGen 2.7" in warning for warning in told.warnings)


def test_files_for_other_chips_are_refused():
    with pytest.raises(UnusableInput, match=r"CV75 takes \.onnx files"):
        made(ends(), "cv75")
    with pytest.raises(UnusableInput, match=r"ARTPEC-8 takes \.tflite files"):
        contract.of(_onnx_like((1, 3, 8, 8)), soc="artpec8", file="m.onnx")
    with pytest.raises(UnusableInput, match=r"ARTPEC-8 takes \.tflite files"):
        contract.read("absent.onnx", soc="artpec8")
    with pytest.raises(UnusableInput, match="no such file"):
        contract.read("absent.tflite", soc="artpec8")


# Labels


def test_labels_belong_to_the_output_with_as_many_values():
    content = ends(("boxes", (1, 10, 4)), ("scores", (1, 10, 3)))
    told = made(content, labels=["a", "b", "c"])
    assert told.labels_output == 1
    assert "3 of output 1: 0 a, 1 b, 2 c" in contract.as_text(told)


@pytest.mark.parametrize(
    ("count", "words"),
    [(3, "add its line"), (5, "5 labels, but the last dimension of output 0 is 4")],
)
def test_a_wrong_number_of_labels_is_refused(count, words):
    with pytest.raises(UnusableInput, match=words) as caught:
        made(ends(), labels=["x"] * count)
    assert ("background" in str(caught.value)) == (count == 3)


def test_labels_that_fit_two_outputs_or_none_are_warned_of():
    both = made(ends(("a", (1, 4)), ("b", (1, 4))), labels=list("wxyz"))
    assert both.labels_output is None
    assert "fit outputs 0, 1" in both.warnings[-1]
    detector = made(ends(("a", (1, 25, 85))), labels=["x"] * 80)
    assert "not checked" in detector.warnings[-1]


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"a\nb\n", ("a", "b")),
        (b"\xef\xbb\xbfa\r\nb c\r\n\r\n", ("a", "b c")),
        ("blåbär".encode(), ("blåbär",)),
    ],
)
def test_labels_are_read(tmp_path, content, labels):
    (tmp_path / "l.txt").write_bytes(content)
    assert contract.read_labels(tmp_path / "l.txt") == labels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1 has 0"),
        (b"a\n\nb\n", "line 2 has 0"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 501, "has 501 characters"),
        (b"x\n" * (6 * 2**20), "more than"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, content, words):
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(UnusableInput, match=words) as caught:
        contract.read_labels(tmp_path / "l.txt")
    assert "\n" not in str(caught.value)


def test_labels_that_are_not_there_or_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UnusableInput):
            contract.read_labels(path)


# C


@needs_gcc
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [
        ("uint8", 1 / 255, 127),
        ("uint8", 1.0, 0),
        ("int8", 2 / 255, -128),
        ("int16", 1e-38, 5),
        ("uint8", -0.3, 3),
        ("int8", 3.4028234e38, 127),
        ("uint8", 1e-45, 0),
        ("int32", 0.007, 2**31 - 1),
    ],
)
def test_c_gives_the_same_float32_as_python(dtype, scale, zero_point, tmp_path):
    quantization = {"scales": [scale], "zero_points": [zero_point]}
    told = made(ends(dtype=dtype, **quantization))
    limits = np.iinfo(dtype)
    values = [limits.min, limits.min + 1, 0, 1, 77, limits.max - 1, limits.max]
    body = "\n".join(
        f'    printf("%a\\n", (double)m_input_0_real(({dtype}_t){value}L));'
        for value in map(int, values)
    )
    with np.errstate(over="ignore"):
        expected = told.inputs[0].real(values)
    answer = run(contract.as_c(told), body, tmp_path).split()
    assert [float.fromhex(word) for word in answer] == expected.tolist()


@needs_gcc
def test_c_reads_padded_values_at_either_stride(tmp_path):
    told = contract.of(_onnx_like((1, 3, 8, 8)), soc="cv25", file="m.onnx")
    body = (
        "    float values[1001 * 8] = {0};\n"
        "    values[8] = 2.5f; values[1] = 1.5f;\n"
        '    printf("%g %d\\n", (double)m_output_0_real(values, 1), '
        "M_OUTPUT_0_BYTES);"
    )
    header = contract.as_c(told)
    assert run(header, body, tmp_path) == "2.5 32032\n"
    header = f"#define M_OUTPUT_0_STRIDE 4\n{header}"
    header = f"#ifndef TWICE\n#define TWICE\n{header}\n#endif"
    assert run(header, body, tmp_path) == "1.5 4004\n"


NASTY = 'a*/ oops /* "??/\\\n\x1b[2J%s\u202e å'


@needs_gcc
def test_names_of_strangers_cannot_leave_a_comment_or_a_string(tmp_path):
    content = ends(
        (NASTY, (1, 2)), ("a b", (1, 3)), ("a.b", (1, 3)), ("", (1, 3)), name=NASTY
    )
    labels = ['"; system("x', "??/ tri\\"]
    told = made(content, file=f"x/{NASTY.replace('/', '')}.tflite", labels=labels)
    header = contract.as_c(told)
    assert header.isascii()
    found = re.findall(r"#define (\w+INDEX\w+) (\d)", header)
    assert len({name for name, _ in found}) == 4
    prefix = re.search(r"#define (\w+)_CARD_H", header)[1]
    body = (
        f'    printf("%s|%s", {prefix}_FILE, {prefix.lower()}_labels[1]);\n'
        f'    printf("|%s", {prefix.lower()}_labels[0]);'
    )
    expected = f"{told.deployed_file}|{labels[1]}|{labels[0]}"
    assert run(header, body, tmp_path) == expected


@needs_gcc
@pytest.mark.parametrize("file", ["int.tflite", "3.tflite", "_.tflite", "errno.tflite"])
def test_identifiers_are_unique_and_no_keywords(file, tmp_path):
    header = contract.as_c(made(ends(("if", (1, 2)), ("if", (1, 2))), file=file))
    run(header, "    (void)0;", tmp_path)
    pattern = r"#define (\w+)|(\w+)\(|\*const (\w+)\["
    names = ["".join(groups) for groups in re.findall(pattern, header)]
    defined = [name for name in names if name.startswith(names[0][:3])]
    assert len(set(defined)) == len(defined) > 10
    assert not set(names) & KEYWORDS
    assert all(name[0].isalpha() for name in names if name)


@needs_gcc
def test_the_real_file_compiles_with_a_thousand_labels(tmp_path):
    file = ROOT / "data/efficientnet_lite0_per_channel.tflite"
    labels = contract.read_labels(ROOT / "data/imagenet_classes.txt")
    told = contract.of(
        contract.read(file, soc="artpec9"), soc="artpec9", file=file, labels=labels
    )
    name = "efficientnet_lite0_per_channel"
    upper = name.upper()
    body = f"puts({name}_labels[{upper}_LABELS - 1]);\n    puts({upper}_DEVICE);"
    answer = run(contract.as_c(told), body, tmp_path)
    assert answer.splitlines() == [labels[-1], "a9-dlpu-tflite"]


def test_text_replaces_what_steers_a_terminal():
    text = contract.as_text(made(ends((NASTY, (1, 4)), name=NASTY), labels=[NASTY] * 4))
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert "\x1b" not in text
