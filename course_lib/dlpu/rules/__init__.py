"""The linter: what will this chip do with this file?

A rule is data, in rules.toml: what it is about, why, how to mend it, for which chips
and on what source; and a small function in a module beside this one, which looks for
it. A file is parsed and never run.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from course_lib.dlpu.mapping import REGISTERED
from course_lib.dlpu.rules import ends, layers, numbers, whole  # noqa: F401  (register)
from course_lib.dlpu.rules.case import FUNCTIONS, Case, Found
from course_lib.dlpu.rules.layers import version
from course_lib.dlpu.socs import SOURCES, Fact, Soc, Source, find
from course_lib.errors import UnusableInput
from course_lib.tflite.enums import OPERATOR
from course_lib.tflite.reading import Model, Tensor

SEVERITIES = {
    "error": "will not load, gives wrong results or leaves the accelerator idle",
    "warning": "slow or doubtful",
    "note": "worth knowing",
}
# More than a large model for a camera has (MobileNetV2: 66 operators that refer to 249
# tensors), and as much as can be judged in about a second.
_MOST = {
    "operators": 10_000,
    "inputs and outputs": 1_000,
    "references to tensors": 100_000,
    "characters in the names of tensors": 3_000_000,
}
_NAME = 1000  # characters of a tensor's name in a message


@dataclass(frozen=True)
class Claim:
    """How severe a rule is for a chip, and on what that rests.

    Attributes:
        severity: A key of `SEVERITIES`.
        fact: What is known, with source, date and confidence.
    """

    severity: str
    fact: Fact


@dataclass(frozen=True)
class Rule:
    """One thing that the linter looks for.

    Attributes:
        id: Name, as `--ignore` takes it.
        title: What it is about.
        why: Why it matters.
        fix: How to mend it; may have placeholders such as {soc}.
        lesson: The lesson that teaches it.
        on: What to add to `why` for some chips.
        mends: What {mend} in `fix` stands for, by operator, and for any "other".
        claims: By the id of a chip; chips that are not there are not concerned.

    Introduced in notebook 11.
    """

    id: str
    title: str
    why: str
    fix: str
    lesson: str
    claims: Mapping[str, Claim]
    on: Mapping[str, str] = field(default_factory=dict)
    mends: Mapping[str, str] = field(default_factory=dict)

    def why_on(self, soc: Soc) -> str:
        """Return why it matters on a chip."""
        return " ".join(filter(None, (self.why, self.on.get(soc.id))))


@dataclass(frozen=True)
class Finding:
    """One place in a file where a rule applies.

    Attributes:
        rule: Id of the rule.
        severity: A key of `SEVERITIES`.
        confidence: A key of `course_lib.dlpu.socs.CONFIDENCES`.
        operator_index: Place of the operator in the main graph; None for a file
            without operators.
        operator: Its name.
        tensor: Name of the tensor that shows it.
        message: Where, what was found, what is wanted.
        fix: How to mend it.
        source: Who says so.

    Introduced in notebook 11.
    """

    rule: str
    severity: str
    confidence: str
    operator_index: int | None
    operator: str | None
    tensor: str | None
    message: str
    fix: str
    source: Source


@dataclass(frozen=True)
class Report:
    """What the linter says of a file on a chip.

    Attributes:
        soc: The chip.
        os: Version of AXIS OS, as it was given.
        findings: Errors first, then in the order of the rules and of the file.
        operators: Names, in the file's order.
        targets: "dlpu", "cpu" or "unknown" for each operator.
        partitions: Into how many parts the graph falls; an estimate.

    Introduced in notebook 11.
    """

    soc: Soc
    os: str | None
    findings: tuple[Finding, ...]
    operators: tuple[str, ...]
    targets: tuple[str, ...]
    partitions: int

    def at_least(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings that are as severe as this, or more."""
        order = list(SEVERITIES)
        most = order.index(severity)
        return tuple(f for f in self.findings if order.index(f.severity) <= most)


def lint(
    model: Model,
    *,
    soc: Soc | str,
    os: str | None = None,
    ignore: Iterable[str] = (),
) -> Report:
    """Tell what a chip will do with a file, without running it.

    Args:
        model: From `reading.read`, or `onnx_file.read` for CV25 and CV75.
        soc: The chip, or its name.
        os: Version of AXIS OS, such as "12.11"; some reports concern some versions.
        ignore: Ids of rules to leave out; "unlisted-operator:MEAN" leaves a rule out
            for one operator.

    Raises:
        UnusableInput: When the chip or a rule is not known, the version is none, or the
            file is damaged or has more operators than any camera could run.

    Introduced in notebook 11.
    """
    soc = find(soc) if isinstance(soc, str) else soc
    numbers_of_os, ignored = check_options(os=os, ignore=ignore)
    _refuse_floods(model)
    case = Case(model, soc, numbers_of_os)
    findings = [
        _finding(case, rule, claim, found)
        for rule in RULES.values()
        if (rule.id,) not in ignored and (claim := rule.claims.get(soc.id))
        for found in FUNCTIONS[rule.id](case, claim.fact)
        if not (found.operator and (rule.id, found.operator.name) in ignored)
    ]
    order = list(SEVERITIES)
    findings.sort(key=lambda finding: order.index(finding.severity))
    return Report(
        soc=soc,
        os=os,
        findings=tuple(findings),
        operators=tuple(operator.name for operator in model.operators),
        targets=case.targets,
        partitions=case.partitions,
    )


def check_options(
    *, os: str | None, ignore: Iterable[str]
) -> tuple[tuple[int, ...] | None, set[tuple[str, ...]]]:
    """Return the version as numbers and the rules to ignore, or refuse them.

    Raises:
        UnusableInput: When a rule is not known, or the version is none.
    """
    operators = {known.upper(): known for known in (*OPERATOR.values(), *REGISTERED)}
    ignored = set()
    for entry in ignore:
        name, *operator = entry.split(":", 1)
        if name not in RULES:
            raise UnusableInput(f"rule {name!r}: {_unknown(name, RULES)}")
        if operator and operator[0].upper() not in operators:
            raise UnusableInput(
                f"operator {operator[0]!r} in {entry!r}: "
                f"{_unknown(operator[0].upper(), operators)}"
            )
        ignored.add((name, *(operators[word.upper()] for word in operator)))
    numbers_of_os = version(os) if os else None
    if os and not numbers_of_os:
        raise UnusableInput(f"AXIS OS {os!r}: expected a version such as 12.11")
    return numbers_of_os, ignored


def _unknown(name: str, known: Iterable[str]) -> str:
    """Say what names there are; of many, those that are like it."""
    import difflib

    close = difflib.get_close_matches(name, known)
    if close:
        return f"not known, did you mean {' or '.join(close)}?"
    names = list(known)
    shown = ", ".join(names) if len(names) < 50 else "a name as the findings print it"
    return f"not known, expected one of {shown}"


def _refuse_floods(model: Model) -> None:
    """Refuse a file whose tables share what they point to, and so take for ever."""
    graphs = model.subgraphs or (model,)
    operators = [(graph, o) for graph in graphs for o in graph.operators]
    counts = [
        len(operators),
        sum(len(graph.inputs) + len(graph.outputs) for graph in graphs),
        sum(len(o.inputs) + len(o.outputs) for _, o in operators),
    ]
    for count, (what, most) in zip(counts, _MOST.items(), strict=False):
        if count > most:
            raise UnusableInput(_flood(count, what, most))
    named = sum(len(t.name) for graph, o in operators for t in graph.tensors_of(o))
    named += sum(len(t.name) for graph in graphs for t in graph.inputs + graph.outputs)
    what, most = list(_MOST.items())[-1]
    if named > most:
        raise UnusableInput(_flood(named, what, most))


def _flood(count: int, what: str, most: int) -> str:
    return (
        f"the file has {count} {what}, expected at most {most}: copy it again, or give "
        "a part of the model"
    )


def _finding(case: Case, rule: Rule, claim: Claim, found: Found) -> Finding:
    fact = found.fact or claim.fact
    operator = found.operator
    other = rule.mends.get("other", "")
    mend = rule.mends.get(operator.name, other) if operator else other
    return Finding(
        rule=rule.id,
        severity=found.severity or claim.severity,
        confidence=fact.confidence,
        operator_index=operator.index if operator else None,
        operator=operator.name if operator else None,
        tensor=found.tensor.name if found.tensor else None,
        message=f"{_place(case, found)}: {found.what}",
        fix=rule.fix.format(
            soc=case.soc.id,
            mend=mend.format(soc=case.soc.id),
            convert=convert(case.soc),
            **found.fill,
        ),
        source=fact.source,
    )


def convert(soc: Soc) -> str:
    """Return the command that makes a file anew for a chip, and what its words mean."""
    suffix = ".onnx" if soc.takes_onnx else ".tflite"
    return (
        f"`dlpu convert MODEL.keras --soc {soc.id} --images FOLDER --mean M --std S "
        f"-o model{suffix}`, where the model was trained on (pixel - M) / S: 0 and 255 "
        "for 0..1, 127.5 twice for -1..1, 0 and 1 if it rescales pixels itself"
    )


def _place(case: Case, found: Found) -> str:
    """Return "CONV_2D 3, weights 'kernel'" and the like."""
    words = []
    if found.operator:
        words.append(f"{found.operator.name} {found.operator.index}")
    if found.tensor:
        words.append(f"{_role(case, found.tensor)} {quoted(found.tensor.name)}")
    return ", ".join(words) or "the file"


def quoted(name: str) -> str:
    """Return a tensor's name as messages show it: quoted, and cut where it is long."""
    return repr(name if len(name) <= _NAME else f"{name[:_NAME]}…")


def _role(case: Case, tensor: Tensor) -> str:
    if any(tensor is entry for entry in case.model.inputs):
        return "input"
    if any(tensor is entry for entry in case.model.outputs):
        return "output"
    return "constant" if tensor.is_constant else "tensor"


def _claims(entries: list[dict[str, Any]]) -> dict[str, Claim]:
    claims = {}
    for entry in entries:
        for name in entry["socs"]:
            if "fact" in entry:
                fact = find(name).facts[entry["fact"]]
            else:
                fact = Fact("", SOURCES[entry["source"]], entry["confidence"])
            claims[name] = Claim(entry["severity"], fact)
    return claims


def _rule(entry: dict[str, Any]) -> Rule:
    claims = _claims(entry["claims"])
    return Rule(**{**entry, "claims": MappingProxyType(claims)})


_TABLE = tomllib.loads((Path(__file__).parent / "rules.toml").read_text("utf-8"))

RULES: Mapping[str, Rule] = MappingProxyType(
    {entry["id"]: _rule(entry) for entry in _TABLE["rule"]}
)
