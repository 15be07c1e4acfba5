"""Run a .tflite file on this computer with LiteRT, sample by sample.

How long that takes says nothing about a camera.
"""

from collections.abc import Iterator
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.tflite import reading

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def load(
    model: bytes | Path | str,
    *,
    threads: int = 2,
    reference: bool = False,
    keep_all: bool = False,
) -> Interpreter:
    """Make an interpreter, ready to run.

    Args:
        model: A file's bytes or its path.
        threads: CPU threads.
        reference: Use the reference kernels, which are slow and define what is right,
            instead of the optimized ones.
        keep_all: Keep the tensors between the operators, which otherwise share memory.

    Raises:
        UnusableInput: When the file is damaged or LiteRT cannot run it.

    Introduced in notebook 03.
    """
    return _load(
        *_content(model), threads=threads, reference=reference, keep_all=keep_all
    )


def predict(
    model: bytes | Path | str,
    inputs: np.ndarray,
    *,
    raw: bool = False,
    reference: bool = False,
    threads: int = 2,
) -> np.ndarray | list[np.ndarray]:
    """Run a model with one input on many samples, one after the other.

    Args:
        model: A file's bytes or its path.
        inputs: Samples [N, ...]. What already has the file's dtype passes as it is;
            real numbers are quantized with the scale and zero point of a quantized
            input.
        raw: Return quantized outputs as the integers that they are.
        reference: Use LiteRT's reference kernels.
        threads: CPU threads.

    Returns:
        Outputs [N, ...], a list in the file's order if it has several. Quantized ones
        are converted to float32 unless `raw`.

    Raises:
        UnusableInput: When the file cannot be run, or the inputs do not fit it.

    Introduced in notebook 04.
    """
    content, file = _content(model)
    interpreter = _load(content, file, threads=threads, reference=reference)
    results = [
        [_output(interpreter, tensor, raw) for tensor in file.outputs]
        for _ in _runs(interpreter, file, np.asarray(inputs))
    ]
    try:
        outputs = [
            # An output without a batch axis gets one.
            np.concatenate(of) if of[0].shape[:1] == (1,) else np.stack(of)
            for of in zip(*results, strict=True)
        ]
    except ValueError as error:
        raise UnusableInput(
            f"the samples give outputs of different shapes ({error}): pass one by one"
        ) from error
    return outputs[0] if len(outputs) == 1 else outputs


def intermediates(
    model: bytes | Path | str,
    sample: np.ndarray,
    *,
    reference: bool = False,
    threads: int = 2,
) -> dict[int, np.ndarray]:
    """Run one sample and return every tensor that is computed, by its index.

    Args:
        model: A file's bytes or its path.
        sample: One sample with its batch axis, [1, ...], as `predict` takes it.
        reference: Use LiteRT's reference kernels.
        threads: CPU threads.

    Returns:
        The input and what each operator wrote, as stored: integers stay integers.
        `reading.parse(model).tensors[index]` tells the rest.

    Raises:
        UnusableInput: As `predict`, and when there is not exactly one sample.

    Introduced in notebook 03.
    """
    content, file = _content(model)
    sample = np.asarray(sample)
    if len(sample) != 1:
        raise UnusableInput(f"{len(sample)} samples: expected one, [1, ...]")
    interpreter = _load(
        content, file, threads=threads, reference=reference, keep_all=True
    )
    for _ in _runs(interpreter, file, sample):
        pass
    computed = {tensor.index for tensor in file.inputs}
    computed.update(i for operator in file.operators for i in operator.outputs)
    return {index: interpreter.get_tensor(index) for index in sorted(computed)}


def _content(model: bytes | Path | str) -> tuple[bytes, reading.Model]:
    """Read a file in a way that survives damage before LiteRT, in C++, sees it."""
    if isinstance(model, (str, Path)):
        file = reading.read(model)
        return Path(model).read_bytes(), file
    return model, reading.parse(model)


def _load(
    content: bytes,
    file: reading.Model,
    *,
    threads: int,
    reference: bool,
    keep_all: bool = False,
) -> Interpreter:
    kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    try:
        with quiet():
            interpreter = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=keep_all,
            )
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        if file.custom_operators:
            names = ", ".join(file.custom_operators)
            raise UnusableInput(
                f"LiteRT cannot run this file: its operators {names} are not part of "
                "LiteRT; run the file it was made from"
            ) from error
        raise _cannot_run(error) from error
    return interpreter


def _cannot_run(error: Exception) -> UnusableInput:
    reason = " ".join(str(error).split())
    return UnusableInput(f"LiteRT cannot run this file on this computer: {reason}")


def _runs(
    interpreter: Interpreter, file: reading.Model, inputs: np.ndarray
) -> Iterator[None]:
    """Run every sample; yield when its outputs can be read."""
    if len(file.inputs) != 1:
        raise UnusableInput(
            f"the file has {len(file.inputs)} inputs: expected one; use `load` instead"
        )
    (entry,) = file.inputs
    expected = entry.shape_signature
    if expected[:1] not in ((1,), (-1,)):
        raise UnusableInput(
            f"the file takes {expected}: expected a batch of 1; use `load` instead"
        )
    if inputs.ndim != len(expected) or any(
        size not in (-1, given)
        for size, given in zip(expected[1:], inputs.shape[1:], strict=True)
    ):
        raise UnusableInput(
            f"inputs have shape {inputs.shape}: the file takes {expected}, so pass "
            f"{('N', *expected[1:])}".replace("'", "")
        )
    if len(inputs) == 0:
        raise UnusableInput("there are no samples: pass at least one")
    try:
        if entry.is_dynamic:
            interpreter.resize_tensor_input(entry.index, (1, *inputs.shape[1:]))
            interpreter.allocate_tensors()
        for sample in inputs:
            interpreter.set_tensor(entry.index, _as_stored(sample[None], entry))
            interpreter.invoke()
            yield
    except RuntimeError as error:
        raise _cannot_run(error) from error


def _as_stored(values: np.ndarray, entry: reading.Tensor) -> np.ndarray:
    """Return a sample in the dtype of the file's input."""
    if values.dtype == entry.dtype:
        return values
    if not np.issubdtype(values.dtype, np.floating) or (
        not entry.scales and not entry.is_float
    ):
        raise UnusableInput(
            f"inputs are {values.dtype}: the file takes {entry.dtype}; pass that, or "
            "real numbers as the model was trained on"
        )
    if entry.is_float:
        return values.astype(entry.dtype)
    if not np.isfinite(values).all():
        raise UnusableInput("inputs contain NaN or infinity: they have no integer")
    # As LiteRT's QUANTIZE does it: float32, halves away from zero.
    steps = (values.astype(np.float32) / np.float32(entry.scale)).astype(np.float64)
    steps = np.trunc(steps + np.copysign(0.5, steps)) + entry.zero_point
    ends = np.iinfo(entry.dtype)
    return np.clip(steps, ends.min, ends.max).astype(entry.dtype)


def _output(interpreter: Interpreter, tensor: reading.Tensor, raw: bool) -> np.ndarray:
    values = interpreter.get_tensor(tensor.index)
    if raw or not tensor.scales:
        return values
    steps = values.astype(np.float32) - np.float32(tensor.zero_point)
    return steps * np.float32(tensor.scale)
