"""The command line that was typed, for the report that it made."""

import shlex

from course_lib.cli import pictures

import click
from click.core import ParameterSource


def command_line() -> str:
    """Return the running command, without what was left to its default."""
    context = click.get_current_context()
    words = ["dlpu", context.command.name]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if source is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[parameter.name]
        is_option = isinstance(parameter, click.Option)
        if is_option and parameter.is_flag:
            # Two flags may share a value, as --repair and --thorough do.
            chosen = value is True or value == parameter.flag_value
            words += parameter.opts[:1] if chosen else []
            continue
        words += parameter.opts[:1] if is_option else []
        words.append(pictures.text(value) if isinstance(value, tuple) else str(value))
    return shlex.join(words)
