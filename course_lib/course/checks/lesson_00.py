"""Checks of lesson 00."""

from course_lib.course.checks import judge


def bytes_of_input(answer: int) -> None:
    """Check exercise 0.1: bytes of one uint8 RGB image of 96 by 96 pixels; exact.

    Introduced in notebook 00.
    """
    side, channels = 96, 3
    judge(
        "0.1",
        answer,
        is_right=lambda a: a == side * side * channels,
        hints=[
            (
                lambda a: a == side * side,
                "That is one byte a pixel: a pixel has three colour channels.",
            ),
            (
                lambda a: a == side * side * channels * 4,
                "That is four bytes a value: uint8 takes one, float32 takes four.",
            ),
            (
                lambda a: a == side * side * channels * 8,
                "That counts bits: divide by 8.",
            ),
        ],
        otherwise="Multiply height, width, channels and the bytes of one value.",
    )
