"""`dlpu doctor`: does this machine run the course?"""

import json

from course_lib.cli import dlpu

import click


@dlpu.command(short_help="Tell whether this machine runs the course.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Tell whether this machine runs the course, and what to do if not.

    TensorFlow is really imported, which takes about ten seconds.
    Exit status 1 when something failed; "absent" is no fault.

    \b
    Example:
      dlpu doctor
      dlpu doctor --json | jq '.checks[] | select(.status == "FAILED")'
    """  # noqa: D301  (click needs the control character)
    from course_lib.course import doctor as examination

    checks = examination.examine()
    healthy = examination.healthy(checks)
    if as_json:
        report = {"healthy": healthy, "checks": examination.as_dicts(checks)}
        click.echo(json.dumps(report, indent=2))
    else:
        for check in checks:
            click.echo(f"{check.status:7} {check.name}: {check.detail}")
            if check.fix:
                click.echo(f"{'':7} -> {check.fix}")
    raise SystemExit(0 if healthy else 1)
