"""What a rule's function is given, and what it gives back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from course_lib.dlpu import mapping
from course_lib.dlpu.socs import Fact, Soc
from course_lib.tflite.reading import Model, Operator, Tensor

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")  # they change the type of data


@dataclass(frozen=True)
class Found:
    """One place where a rule applies.

    Attributes:
        what: What is there, and what is wanted, with their numbers.
        operator: Where, if it is at an operator.
        tensor: The tensor that shows it.
        severity: If it is another than the rule's.
        fact: What it rests on, if that is another than the rule's.
        fill: Words for the placeholders of the rule's mend.
    """

    what: str
    operator: Operator | None = None
    tensor: Tensor | None = None
    severity: str | None = None
    fact: Fact | None = None
    fill: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One file on one chip.

    Attributes:
        model: The file; an .onnx file too is seen as a `Model`.
        soc: The chip.
        os: Version of AXIS OS, such as (12, 11, 77); None when not told.
    """

    model: Model
    soc: Soc
    os: tuple[int, ...] | None = None

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Return where each operator runs."""
        return mapping.targets(self.model, soc=self.soc)

    @cached_property
    def partitions(self) -> int:
        """Return into how many parts the graph falls."""
        return mapping.partitions(self.model, targets=self.targets)

    @cached_property
    def limits(self) -> tuple[mapping.Limit, ...]:
        """Return the published limits that the file does not keep."""
        return tuple(mapping.limits(self.model, soc=self.soc))

    @cached_property
    def is_integer(self) -> bool:
        """Return whether activations are quantized, at least in part."""
        return self.model.quantization not in ("float", "dynamic-range")

    @cached_property
    def ends(self) -> frozenset[int]:
        """Return the indexes of the graph's inputs and outputs."""
        ends = (*self.model.inputs, *self.model.outputs)
        return frozenset(tensor.index for tensor in ends)

    def output(self, operator: Operator) -> Tensor | None:
        """Return an operator's first output."""
        return next(iter(self.model.outputs_of(operator)), None)

    def converts_an_end(self, operator: Operator) -> bool:
        """Return whether it is what changes the type of an input or an output."""
        touched = self.ends.intersection((*operator.inputs, *operator.outputs))
        return operator.name in CONVERSIONS and bool(touched)

    def reader(self, tensor: Tensor) -> Operator | None:
        """Return the first operator that reads a tensor."""
        readers = self.model.consumers.get(tensor.index)
        return readers[0] if readers else None

    def writer(self, tensor: Tensor) -> Operator | None:
        """Return the operator that writes a tensor."""
        return self.model.producers.get(tensor.index)

    def weights(self, *names: str) -> Iterator[tuple[Operator, Tensor]]:
        """Yield the named operators that have constant weights, each with these."""
        return (entry for entry in self.model.weights() if entry[0].name in names)


Function = Callable[[Case, Fact], Iterator[Found]]
FUNCTIONS: dict[str, Function] = {}


def looks_for(rule: str) -> Callable[[Function], Function]:
    """Register the function that looks for a rule's cases.

    It is given the case and the fact on which the rule rests for this chip.
    """

    def register(function: Function) -> Function:
        FUNCTIONS[rule] = function
        return function

    return register
