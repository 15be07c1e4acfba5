"""Repair a model that loses its accuracy in int8: try cures, keep what helps.

No labels and, unless asked for, no training. Each cure is judged by the file that comes
out of the converter, run by LiteRT, on images that the cure did not see.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quantization import (
    calibration,
    conversion,
    equalization,
    folding,
    rounding,
)
from course_lib.quantization.folding import Change
from course_lib.quiet import quiet
from course_lib.tflite import inference

import numpy as np

FEWEST_IMAGES = 20
# One image in so many is kept from the cures; with its mirror image it judges them.
_JUDGES = 4
# Cures that promise to keep the float function are held to it on the judging images:
# their outputs may differ by this share. On EfficientNet-Lite0, equalization changes
# one float answer of twenty on images that it did not see, because ReLU6 clips there.
_SAME_FUNCTION = 0.01
# A cure helps when its mean gain over the images is larger than its standard error. A
# stricter rule leaves cures out that halve the error of seven images.
_STANDARD_ERRORS = 1.0
# Of the training that `thorough` adds.
_EPOCHS = 6
_LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Attempt:
    """One cure, and what its file is worth.

    Attributes:
        cure: Its name; "none" is what the converter makes by itself.
        error: Root mean square difference of the outputs from the float model's, as a
            share of theirs; the mean over the judging images. Infinite when LiteRT
            refuses the file; of what it was tried on when there was none.
        agreement: Share of the judging images with the float model's largest output;
            None when the model has several outputs, or none of shape [classes].
        changes: What the cure did, layer by layer.
        seconds: That it took on this computer, with the conversion.
        kept: Whether it is part of the result.
        why: Why it was left out; "" when it was kept.
    """

    cure: str
    error: float
    agreement: float | None
    changes: tuple[Change, ...]
    seconds: float
    kept: bool
    why: str


@dataclass(frozen=True)
class Repaired:
    """A repaired model.

    Attributes:
        content: The bytes of the full-integer file.
        model: The Keras model that the converter made it from.
        attempts: All that was tried, in order.
        judges: How many images judged, the mirrored ones included.
        classes: How many classes the float model names for them: with one class,
            agreement says nothing. None without classes.
    """

    content: bytes
    model: Any
    attempts: tuple[Attempt, ...]
    judges: int
    classes: int | None


def repair(
    model: Any,
    images: Sequence[np.ndarray],
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 255.0,
    granularity: str = "per-tensor",
    io: str = "uint8",
    thorough: bool = False,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Repaired:
    """Make the best full-integer file that the cures give.

    Tried in order of their cost: nothing; dead channels removed; channels equalized;
    biases corrected; weights rounded with error compensation. A cure is kept when it
    makes the outputs better than the best before it, by more than chance explains, and
    neither the mean error nor the agreement is worse.

    Args:
        model: Sequential or functional Keras 3 model with one image input.
        images: Unlabelled and varied, uint8 [height, width, channels] each. All of them
            set the ranges of the activations.
        mean: Subtracted from each pixel; one number, or one a channel, which then
            becomes a layer of the file.
        std: Then each pixel is divided by it.
        granularity: "per-tensor" or "per-channel".
        io: Type of the file's input and output, "uint8" or "int8".
        thorough: Also try what takes many minutes: rounding on mirrored images too, and
            quantization-aware training that distils the float model.
        seed: Decides what is drawn at random.
        tell: Called with the name of each cure before it is tried.

    Raises:
        UnusableInput: When there are fewer than 20 images, or as `folding.fold` and
            `conversion.convert_full_integer` do.

    Introduced in notebook 07.
    """
    if len(images) < FEWEST_IMAGES:
        raise UnusableInput(
            f"{len(images)} images: expected {FEWEST_IMAGES} or more to repair with, "
            "better 100 varied ones"
        )
    if not (
        np.isfinite(mean).all() and np.isfinite(std).all() and np.greater(std, 0).all()
    ):
        raise UnusableInput("mean and std: expected finite numbers, std above 0")
    if len({np.shape(image) for image in images}) > 1:
        raise UnusableInput(
            "the images have several shapes: expected the model's; crop them, with "
            "datasets.centre_crop(image, size=...)"
        )
    if np.ndim(mean) > 0 or np.ndim(std) > 0:
        # Three means and stds have no place in the input's scale.
        model, mean, std = _normalising(model, mean, std), 0.0, 1.0
    bench = _Bench(
        np.stack(images),
        mean=mean,
        std=std,
        granularity=granularity,
        io=io,
        tell=tell,
    )
    sound = bench.try_model("none", lambda: (folding.fold(model), ()))

    # The first two keep the float function, so the second goes on from the first.
    for cure, change in (
        ("dead channels removed", equalization.remove_dead_channels),
        ("channels equalized", equalization.equalize),
    ):
        sound = bench.try_model(
            cure,
            lambda start=sound, do=change: do(start.model, bench.inputs),
            sound,
            keeps_function=True,
        )
    start = bench.best
    settings = {"granularity": granularity, "seed": seed}
    # Means need fewer images than covariances do.
    bench.try_model(
        "biases corrected",
        lambda: rounding.correct_biases(start.model, bench.inputs[::2], **settings),
        start,
    )
    bench.try_model(
        "weights rounded",
        lambda: rounding.round_weights(start.model, bench.inputs, **settings),
        start,
    )
    if thorough:
        both = _with_mirrored(bench.inputs)
        bench.try_model(
            "weights rounded, mirrored images too",
            lambda: rounding.round_weights(
                start.model, both, samples=4 * rounding.SAMPLES, **settings
            ),
            start,
        )
        bench.try_training(start, both, seed)
    return bench.result()


@dataclass(frozen=True)
class _Trial:
    """A cure that was tried, on top of others."""

    cure: str
    path: tuple[str, ...]
    model: Any
    content: bytes
    errors: np.ndarray
    agreement: float | None
    changes: tuple[Change, ...]
    seconds: float
    why: str


class _Bench:
    """Images, the float model's answers to them, and what was tried so far."""

    def __init__(
        self,
        images: np.ndarray,
        *,
        mean: float,
        std: float,
        granularity: str,
        io: str,
        tell: Callable[[str], None],
    ):
        self.granularity, self.io, self.tell = granularity, io, tell
        self.mean, self.std = mean, std
        self.dataset = calibration.representative_dataset(images, mean=mean, std=std)
        entering = np.float32((images - np.float32(mean)) / np.float32(std))
        judges = np.arange(len(images)) % _JUDGES == _JUDGES - 1
        self.inputs, self.judges = entering[~judges], _with_mirrored(entering[judges])
        self.answers: list[np.ndarray] = []
        self.trials: list[_Trial] = []
        self.best: _Trial | None = None

    def try_model(
        self,
        cure: str,
        change: Callable[[], tuple[Any, tuple[Change, ...]]],
        start: _Trial | None = None,
        *,
        keeps_function: bool = False,
    ) -> _Trial:
        """Try a cure that gives a Keras model; return what to go on with."""
        self.tell(cure)
        began = time.perf_counter()
        model, changes = change()
        if start is not None and not changes:
            return self._leave_out(start, cure, (), began, "nothing to do")
        fixed = conversion.fix_batch(model)
        if start is None or keeps_function:
            floats = self._run(conversion.convert_float(fixed))
            self.answers = self.answers or floats
            changed = self._errors(floats).mean()
            if changed > _SAME_FUNCTION:
                why = f"changes the float model's outputs by {100 * changed:.0f} %"
                return self._leave_out(start, cure, changes, began, why)
        content = conversion.convert_full_integer(
            fixed, self.dataset, granularity=self.granularity, io=self.io
        )
        return self._judge(cure, model, content, changes, began, start)

    def try_training(self, start: _Trial, inputs: np.ndarray, seed: int) -> None:
        """Try quantization-aware training, which makes its file by itself."""
        from course_lib.quantization import qat

        cure = "trained with fake quantization"
        self.tell(cure)
        began = time.perf_counter()
        # Training goes on from the best weights so far, towards the float answers.
        try:
            student = qat.prepare(
                self.best.model,
                inputs,
                granularity=self.granularity,
                mean=self.mean,
                std=self.std,
            )
        except UnusableInput as error:
            self._leave_out(start, cure, (), began, str(error))
            return
        qat.distil(
            student,
            start.model,
            inputs,
            epochs=_EPOCHS,
            seed=seed,
            learning_rate=_LEARNING_RATE,
        )
        content = qat.convert(student, granularity=self.granularity, io=self.io)
        changes = tuple(
            Change(layer.name, "trained")
            for layer in start.model.layers
            if type(layer).__name__ in folding.WEIGHTED
        )
        model = qat.to_keras3(student, start.model)
        self._judge(cure, model, content, changes, began, self.best)

    def _leave_out(
        self,
        start: _Trial,
        cure: str,
        changes: tuple[Change, ...],
        began: float,
        why: str,
    ) -> _Trial:
        """Record a cure that was not judged; return what to go on with."""
        seconds = time.perf_counter() - began
        self.trials.append(
            replace(start, cure=cure, changes=changes, seconds=seconds, why=why)
        )
        return start

    def result(self) -> Repaired:
        attempts = tuple(
            Attempt(
                trial.cure,
                float(trial.errors.mean()),
                trial.agreement,
                trial.changes,
                trial.seconds,
                kept=trial.cure in self.best.path,
                why="" if trial.cure in self.best.path else trial.why,
            )
            for trial in self.trials
        )
        return Repaired(
            self.best.content,
            self.best.model,
            attempts,
            len(self.judges),
            len(np.unique(self.answers[0].argmax(1))) if _names(self.answers) else None,
        )

    def _judge(
        self,
        cure: str,
        model: Any,
        content: bytes,
        changes: tuple[Change, ...],
        began: float,
        start: _Trial | None,
    ) -> _Trial:
        try:
            found = self._run(content)
            errors, why = self._errors(found), "no clear gain"
        except UnusableInput:  # LiteRT refuses scales that are too far apart
            found = [np.full_like(answers, np.nan) for answers in self.answers]
            errors, why = np.full(len(self.judges) // 2, np.inf), "LiteRT refuses it"
        agreement = _agreement(found, self.answers)
        helps = self.best is None or _helps(self.best.errors, errors)
        if helps and self.best and (agreement or 0) < (self.best.agreement or 0):
            # The error weighs small values too; an application asks for the largest.
            helps, why = False, "fewer answers as the float model's"
        trial = _Trial(
            cure,
            (*(start.path if start else ()), cure),
            model,
            content,
            errors,
            agreement,
            changes,
            time.perf_counter() - began,
            why,
        )
        if helps:
            self.best = trial = replace(trial, why="helps, a later one more")
        self.trials.append(trial)
        return trial

    def _errors(self, found: list[np.ndarray]) -> np.ndarray:
        """Return the error of each judging image with its mirror image, [N]."""
        errors = [_error(*pair) for pair in zip(found, self.answers, strict=True)]
        # The two are no independent judges.
        return np.mean(errors, axis=0).reshape(2, -1).mean(axis=0)

    def _run(self, content: bytes) -> list[np.ndarray]:
        outputs = inference.predict(content, self.judges)
        return outputs if isinstance(outputs, list) else [outputs]


def _normalising(model: Any, mean: Any, std: Any) -> Any:
    """Return a model that takes pixels 0..255, as a 1×1 depthwise layer makes it."""
    with quiet():
        import keras

        shape = model.input_shape
        channels = shape[-1]
        mean, std = conversion.per_channel(mean, std, channels=channels)
        image = keras.Input(batch_shape=shape, name="pixels")
        layer = keras.layers.DepthwiseConv2D(1, name="normalise")
        outputs = model(layer(image))
        layer.set_weights([(1 / std).reshape(1, 1, channels, 1), -mean / std])
        return keras.Model(image, outputs, name=model.name)


def _with_mirrored(images: np.ndarray) -> np.ndarray:
    return np.concatenate([images, images[:, :, ::-1]])


def _error(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the relative error of each image's output, [N]."""
    axes = tuple(range(1, wanted.ndim))
    power = np.mean(np.square(wanted, dtype=np.float64), axis=axes)
    noise = np.mean(np.square(found - wanted, dtype=np.float64), axis=axes)
    return np.sqrt(noise / np.maximum(power, 1e-12))


def _names(outputs: list[np.ndarray]) -> bool:
    """Return whether a model names classes: one output with a value for each."""
    return len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 1


def _agreement(found: list[np.ndarray], wanted: list[np.ndarray]) -> float | None:
    if not _names(wanted):
        return None
    return float(np.mean(found[0].argmax(1) == wanted[0].argmax(1)))


def _helps(before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether errors fell by more than chance explains.

    Compared image by image, as ratios: a few hard images must not decide alone. Nor may
    many easy ones, whose errors are small: the mean, which people are shown, falls too.
    """
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return bool(np.isfinite(after).all())
    gains = np.log(np.maximum(before, 1e-6) / np.maximum(after, 1e-6))
    chance = _STANDARD_ERRORS * gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() > chance and after.mean() < before.mean())
