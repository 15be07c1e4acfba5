"""Checks of lesson 11."""

import operator
import tomllib
from collections.abc import Iterable
from typing import Any

from course_lib.course.checks import judge
from course_lib.dlpu import rules
from course_lib.dlpu.socs import SOCS, find
from course_lib.errors import UnusableInput
from course_lib.tflite import reading

# The network of exercise 11.1: filters, classes, and the side of the smallest input.
WIDTHS = (20, 40, 40)
_CLASSES = 4
_SIDE = 96
_ACTIVATIONS = {
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU"),
    *("GELU", "HARD_SWISH", "LOGISTIC", "TANH"),
}
_GROUP = SOCS["artpec9"].filters_multiple.value
_SIX = SOCS["artpec8"].filters_multiple.value
_MOST_PARTS = SOCS["artpec8"].partitions.value
_ISLAND = 3  # operators: DEQUANTIZE, SIN, QUANTIZE
_JOINED = 6  # DEQUANTIZE and SIN twice, CONCATENATION, QUANTIZE


def mended_network(content: bytes) -> None:
    """Check exercise 11.1: a file about which the linter says nothing on ARTPEC-9.

    Args:
        content: Bytes of a `.tflite` file with at least three convolutions in order,
            each with an activation and no fewer filters than `WIDTHS`, with four
            outputs, for pictures of at least 96 by 96.

    Introduced in notebook 11.
    """
    model = _parsed(content)
    findings = rules.lint(model, soc="artpec9").findings if model else ()
    places: dict[str, set[int | None]] = {}
    for finding in findings:
        places.setdefault(finding.rule, set()).add(finding.operator_index)
    left = ", ".join(places)
    filters = _filters(model) if model else []
    # A class head as a convolution has as many filters as there are classes.
    odd = [count for count in filters if count % _GROUP and count != _CLASSES]
    even = len(filters) - len(odd)
    active = _filters(model, active=True) if model else []
    pools = places.get("pooling-limits", ())
    between = ", ".join(str(i) for i in pools if not _ends_in_one_value(model, i))
    side = min(model.inputs[0].shape[1:3], default=0) if model and model.inputs else 0

    def keeps_its_classes(_: Any) -> bool:
        (output,) = model.outputs
        return output.shape == (1, _CLASSES)

    judge(
        "11.1",
        content,
        is_right=lambda _: (
            model
            and not findings
            and _has_in_order(active, WIDTHS)
            and keeps_its_classes(model)
            and side >= _SIDE
        ),
        hints=[
            (lambda _: model is None, "Hand over the bytes of a sound .tflite file."),
            (
                lambda _: tuple(filters) == WIDTHS and len(places) > 5,
                f"This is still the broken network. The linter names {left}.",
            ),
            (
                lambda _: len(filters) < len(WIDTHS),
                f"It has {len(filters)} convolutions left. The exercise is to shape "
                "three, not to take them out.",
            ),
            (
                lambda _: not _has_in_order(filters, WIDTHS),
                "A layer has fewer filters than before: round up, not down.",
            ),
            (
                lambda _: not _has_in_order(active, WIDTHS),
                "A convolution has no activation behind it. Two of them in a row, with "
                "nothing between, compute no more than one.",
            ),
            (
                lambda _: not keeps_its_classes(model),
                f"The output should be one row of {_CLASSES} numbers.",
            ),
            (
                lambda _: side < _SIDE,
                f"The input is {side} pixels wide. The exercise asks for {_SIDE} or "
                "more.",
            ),
            (
                lambda _: "unlisted-operator" in places and _has(model, "SOFTMAX"),
                "A softmax came in. The application can compute it.",
            ),
            (
                lambda _: odd and not any(count % _SIX for count in filters),
                f"These filters are multiples of {_SIX}, which is ARTPEC-8's number.",
            ),
            (
                lambda _: odd and len(odd) < len(filters),
                f"{even} of {len(filters)} convolutions have a suitable number of "
                f"filters, but not those with {', '.join(map(str, odd))}.",
            ),
            (
                lambda _: odd and not any(count % 8 for count in filters),
                "Multiples of 8 leave groups half empty on this chip.",
            ),
            (
                lambda _: "activation" in places and "LEAKY_RELU" in _names(model),
                "One activation is still a LeakyReLU.",
            ),
            (
                lambda _: "activation" in places,
                "One activation suits ARTPEC-8 better than ARTPEC-9: print "
                "soc.facts['activations'].value of both, as the lesson does.",
            ),
            (
                lambda _: set(places) == {"pooling-limits"} and between,
                f"One thing is left, the pooling of operator {between}. It is not the "
                "one at the end: what else makes a map smaller?",
            ),
            (
                lambda _: set(places) == {"pooling-limits"} and _pools_a_maximum(model),
                "One thing is left, the pooling at the end: is it a mean or a maximum?",
            ),
            (
                lambda _: set(places) == {"pooling-limits"},
                "One thing is left, the pooling at the end. Which size has the map "
                "that reaches it, and what makes that size?",
            ),
        ],
        otherwise=f"The linter still names {left}: print each finding's message.",
    )


def counted_parts(parts: int, most: int) -> None:
    """Check exercise 11.2: parts of two parallel islands, most islands in a row; exact.

    Introduced in notebook 11.
    """
    right = (_MOST_PARTS - 1) // 2

    def given(answer: tuple) -> tuple[int, int]:
        first, second = map(operator.index, answer)
        return first, second

    judge(
        "11.2",
        (parts, most),
        is_right=lambda a: given(a) == (3, right),
        hints=[
            (
                lambda a: given(a)[0] == 5,
                "parts: did you convert with a float input and output? They add two "
                "parts. Two islands in a row would give five as well; here the "
                "Concatenate makes them one.",
            ),
            (
                lambda a: given(a)[0] == 4,
                "parts: did you count two islands? Which operators stand between the "
                "two SIN and the CONCATENATION?",
            ),
            (
                lambda a: given(a)[0] in (1, 2),
                "parts: the DLPU works before the island and after it.",
            ),
            (
                lambda a: given(a)[0] == _JOINED,
                "parts: so many operators has the island. As they are connected on the "
                "CPU, they are one part.",
            ),
            (
                lambda a: given(a)[0] != 3,
                "parts: go through the graph in turns: all that the DLPU can compute, "
                "then all that the CPU can, and so on.",
            ),
            (
                lambda a: given(a)[1] == _MOST_PARTS,
                "most: the DLPU's parts between the islands count as well.",
            ),
            (
                lambda a: given(a)[1] == _MOST_PARTS // 2,
                "most: one part too many. There is one more on the DLPU than there "
                "are islands.",
            ),
            (
                lambda a: given(a)[1] == _MOST_PARTS // _ISLAND,
                "most: the three operators of an island are one part together.",
            ),
            (
                lambda a: given(a)[1] == right - 1,
                "most: did you convert with a float input and output? They add two "
                "parts.",
            ),
            (
                lambda a: given(a)[1] > right,
                "most: such a file has more parts than the limit.",
            ),
            (
                lambda a: given(a)[1] < right,
                "most: such a file loads, and so does one with more islands.",
            ),
        ],
        otherwise="Give two integers.",
    )


def ci_settings(text: str) -> None:
    """Check exercise 11.3: the table [tool.dlpu.lint] of a project for ARTPEC-8.

    Args:
        text: TOML.

    Introduced in notebook 11.
    """
    table: Any = None
    try:
        content = tomllib.loads(text)
        table = content.get("tool", {}).get("dlpu", {}).get("lint")
    except (tomllib.TOMLDecodeError, TypeError, AttributeError):
        content = None

    def ignored() -> set[str]:
        # The command takes an operator's name in small letters as well.
        entries = (entry.partition(":") for entry in table["ignore"])
        return {rule + colon + name.upper() for rule, colon, name in entries}

    def chip() -> str | None:
        try:
            return find(table["soc"]).id
        except (KeyError, UnusableInput):
            return None

    judge(
        "11.3",
        text,
        is_right=lambda _: (
            set(table) <= {"soc", "os", "fail-on", "ignore"}
            and chip() == "artpec8"
            and table["fail-on"] == "warning"
            and isinstance(table["ignore"], list)
            and ignored() == {"unlisted-operator:MEAN"}
        ),
        hints=[
            (lambda _: content is None, "This text is not valid TOML."),
            (
                lambda _: not isinstance(table, dict),
                "dlpu reads the table [tool.dlpu.lint] and no other.",
            ),
            (
                lambda _: "fail_on" in table,
                "The key has a hyphen: dlpu refuses fail_on with exit status 2.",
            ),
            (
                lambda _: set(table) - {"soc", "os", "fail-on", "ignore"},
                "dlpu knows the keys soc, os, fail-on and ignore; others end it with "
                "exit status 2.",
            ),
            (lambda _: chip() != "artpec8", "The project ships to ARTPEC-8."),
            (
                lambda _: table.get("fail-on", "error") == "error",
                "Warnings still pass: which severity makes it fail?",
            ),
            (
                lambda _: table["fail-on"] == "note",
                "That fails for notes as well, which is more than was asked for.",
            ),
            (
                lambda _: table["fail-on"] != "warning",
                "fail-on takes error, warning or note.",
            ),
            (
                lambda _: not isinstance(table.get("ignore", []), list),
                "ignore is a list of rules.",
            ),
            (
                lambda _: not table.get("ignore"),
                "Now the tested MEAN stops every build: one rule may be left out.",
            ),
            (
                lambda _: (
                    {entry.split(":")[0] for entry in ignored()} - set(rules.RULES)
                ),
                "ignore takes the names of rules, as the findings print them, not of "
                "operators; dlpu refuses others with exit status 2.",
            ),
            (
                lambda _: ignored() == {"unlisted-operator"},
                "That leaves the rule out for every operator, also for one that nobody "
                "has timed.",
            ),
            (
                lambda _: "unlisted-operator" in ignored(),
                "unlisted-operator is the right rule, but for every operator; and the "
                "other rules were not tested.",
            ),
            (
                lambda _: not any("unlisted-operator" in entry for entry in ignored()),
                "The finding about MEAN comes from another rule.",
            ),
            (
                lambda _: "unlisted-operator:MEAN" not in ignored(),
                "The rule is right; write the operator as the finding prints it: MEAN.",
            ),
            (
                lambda _: len(ignored()) > 1,
                "A rule is ignored about which nothing was tested: its findings will "
                "never be seen again.",
            ),
        ],
        otherwise="Give the text of the table [tool.dlpu.lint].",
    )


def _parsed(content: Any) -> reading.Model | None:
    try:
        return reading.parse(content) if isinstance(content, bytes) else None
    except UnusableInput:
        return None


def _filters(model: reading.Model, *, active: bool = False) -> list[int]:
    """Return the filters of each convolution, or of each that has an activation."""
    return [
        kernel.shape[reading.CHANNEL_AXIS[op.name]]
        for op, kernel in reading.weights(model)
        if op.name == "CONV_2D" and (not active or _is_active(model, op))
    ]


def _is_active(model: reading.Model, op: reading.Operator) -> bool:
    """Tell whether an activation follows: fused, or an operator, or after an ADD."""
    if op.options.get("fused_activation_function") in _ACTIVATIONS:
        return True
    readers = model.consumers.get(op.outputs[0], [])
    return any(
        reader.name in _ACTIVATIONS
        or (reader.name == "ADD" and _is_active(model, reader))
        for reader in readers
    )


def _has_in_order(filters: Iterable[int], wanted: Iterable[int]) -> bool:
    """Tell whether some of the filters, in order, reach the wanted numbers."""
    left = iter(filters)
    return all(any(now >= old for now in left) for old in wanted)


def _ends_in_one_value(model: reading.Model, index: int) -> bool:
    """Tell whether an operator leaves one value of each map."""
    shape = model.tensors[model.operators[index].outputs[0]].shape
    return len(shape) != 4 or shape[1:3] == (1, 1)


def _pools_a_maximum(model: reading.Model) -> bool:
    """Tell whether a maximum takes a whole map to one value."""
    return any(
        op.name == "MAX_POOL_2D" and _ends_in_one_value(model, op.index)
        for op in model.operators
    )


def _names(model: reading.Model) -> set[str]:
    return {op.name for op in model.operators}


def _has(model: reading.Model, name: str) -> bool:
    return name in _names(model)
