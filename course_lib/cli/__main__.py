"""Lets `python -m course_lib.cli` do what `dlpu` does."""

from course_lib.cli import main

main()
