"""Checks of the exercises, one file a lesson.

A check says *not answered yet*, *correct*, or *not yet* with the misconception that it
recognised. It never raises and never prints the answer.
"""

from collections.abc import Callable, Sequence
from typing import Any

Hint = tuple[Callable[[Any], Any], str]


def judge(
    exercise: str,
    answer: Any,
    *,
    is_right: Callable[[Any], Any],
    hints: Sequence[Hint] = (),
    otherwise: str,
) -> None:
    """Print what an answer to an exercise is worth.

    Args:
        exercise: Its number, such as "3.1".
        answer: What the learner gave; `...`, or a tuple with `...`, is no answer yet.
        is_right: Tells whether the answer is correct.
        hints: Misconceptions in the order in which they are tried: how to recognise
            one, and what to tell.
        otherwise: Told when nothing was recognised, and when the answer is of a kind
            that cannot be judged.

    Example:
        >>> judge("0.1", ..., is_right=lambda a: a == 4, otherwise="Add two and two.")
        Exercise 0.1: not answered yet.
        >>> judge("0.1", 5, is_right=lambda a: a == 4, otherwise="Add two and two.")
        Exercise 0.1: not yet. Add two and two.
    """
    parts = answer if isinstance(answer, (tuple, list)) else (answer,)
    if any(part is ... for part in parts):
        print(f"Exercise {exercise}: not answered yet.")
    elif _holds(is_right, answer):
        print(f"Exercise {exercise}: correct.")
    else:
        told = (text for recognises, text in hints if _holds(recognises, answer))
        print(f"Exercise {exercise}: not yet. {next(told, otherwise)}")


def _holds(condition: Callable[[Any], Any], answer: Any) -> bool:
    """Evaluate a condition; an answer of an unexpected kind does not fulfil it."""
    try:
        return bool(condition(answer))
    except Exception:  # a learner's answer may be anything at all
        return False
