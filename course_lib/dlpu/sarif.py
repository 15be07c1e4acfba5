"""The linter's findings as SARIF 2.1.0, which code hosts show beside the code.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0",
https://docs.oasis-open.org/sarif/sarif/v2.1.0/. Read on 2026-11-21.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from course_lib.dlpu.rules import RULES, Finding, Report, Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
    "sarif-schema-2.1.0.json"
)


def log(reports: Sequence[tuple[str, Report]]) -> dict[str, Any]:
    """Return the log of one run over some files.

    A model file has no lines: each result stands at line 1 of it, and the operator in
    `logicalLocations`. Findings of one rule in one file are one result.

    Args:
        reports: Pairs of a file's name and the report on it.

    Introduced in notebook 11.
    """
    used = {finding.rule for _, report in reports for finding in report.findings}
    rules = [rule for name, rule in RULES.items() if name in used]
    places = {rule.id: place for place, rule in enumerate(rules)}
    results = [
        _result(file, findings, places[rule])
        for file, report in reports
        for rule, findings in _groups(report)
    ]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "dlpu",
                        "semanticVersion": metadata.version("dlpu-course"),
                        "rules": [_rule(rule, reports) for rule in rules],
                    }
                },
                "results": results,
            }
        ],
    }


def _groups(report: Report) -> list[tuple[str, list[Finding]]]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault((finding.rule, finding.severity), []).append(finding)
    return [(rule, findings) for (rule, _), findings in groups.items()]


def _rule(rule: Rule, reports: Sequence[tuple[str, Report]]) -> dict[str, Any]:
    soc, source = next(
        (report.soc, finding.source)
        for _, report in reports
        for finding in report.findings
        if finding.rule == rule.id
    )
    why = rule.why_on(soc)
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": why},
        "help": {"text": f"{why} Source: {source.title}, {source.date}."},
        "helpUri": source.url,
    }


def _uri(file: str) -> str:
    """Return a path as a code host wants it: from the folder of the project on."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return quote(path.as_posix())


def _result(file: str, findings: list[Finding], place: int) -> dict[str, Any]:
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    physical = {
        "artifactLocation": {"uri": _uri(file)},
        "region": {"startLine": 1},
    }
    logical = [
        {
            "name": f"{finding.operator} {finding.operator_index}",
            "fullyQualifiedName": f"{finding.operator_index}/{finding.tensor or ''}",
            "kind": "function",
        }
        for finding in findings
        if finding.operator_index is not None
    ]
    location: dict[str, Any] = {"physicalLocation": physical}
    if logical:
        location["logicalLocations"] = logical
    return {
        "ruleId": first.rule,
        "ruleIndex": place,
        "level": first.severity,
        "message": {"text": f"{first.message}{more}. Mend: {first.fix}"},
        "locations": [location],
        "partialFingerprints": {
            "ruleAndOperator/v1": f"{first.rule}/{first.operator_index}"
        },
        "properties": {"confidence": first.confidence},
    }
