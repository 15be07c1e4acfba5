"""Into which parts a graph falls when some operators run elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

from course_lib.tflite.reading import Model, Operator


@dataclass(frozen=True)
class Part:
    """Operators that run together.

    Attributes:
        accelerated: Whether it is a part for the accelerator.
        operators: Their places in the main graph, in no order that matters.
    """

    accelerated: bool
    operators: frozenset[int]


def parts(model: Model, *, accelerated: Callable[[Operator], bool]) -> list[Part]:
    """Divide the main graph as TFLite does for a delegate.

    The first operator that is ready tells which kind comes first. Operators of that
    kind are taken as far as their inputs are ready, then those of the other kind, in
    turns. Source: tensorflow/lite/graph_info.cc, TensorFlow 2.21. Read on 2026-11-21.

    Args:
        model: The file.
        accelerated: Whether the accelerator takes an operator.

    Returns:
        The parts, in the order in which they run. Operators that wait for each other in
        a circle, which only a damaged file has, are in none.
    """
    kinds = [accelerated(operator) for operator in model.operators]
    waiting = {
        operator.index: {
            producer.index
            for index in operator.inputs
            if (producer := model.producers.get(index)) and producer is not operator
        }
        for operator in model.operators
    }
    followers: dict[int, list[int]] = {}
    for index, needs in waiting.items():
        for need in needs:
            followers.setdefault(need, []).append(index)
    first = [index for index, needs in waiting.items() if not needs]
    ready = {kind: [i for i in first if kinds[i] == kind] for kind in (True, False)}
    kind = kinds[first[0]] if first else False
    found = []
    while ready[kind]:
        taken = set()
        while ready[kind]:
            done = ready[kind].pop()
            taken.add(done)
            for follower in followers.get(done, ()):
                waiting[follower].discard(done)
                if not waiting[follower]:
                    ready[kinds[follower]].append(follower)
        found.append(Part(kind, frozenset(taken)))
        kind = not kind
    return found
