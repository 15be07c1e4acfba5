"""The one error of this library that speaks to the user."""


class UnusableInput(ValueError):
    """What the user gave cannot be used.

    The message is one line: what was wrong, what was expected, what to do. The command
    `dlpu` prints it without a traceback and ends with exit status 2.
    """
