"""A trained model's way to a camera: convert, judge, repair, lint, card, test, report.

Each step is a function. Lesson 15 takes them one by one; `dlpu report` calls `travel`,
which takes them all. `journey_page` tells what came out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from course_lib.camera import evaluation, findings, virtual
from course_lib.camera.client import CameraError
from course_lib.cli import making
from course_lib.cli.labels import SORTED
from course_lib.dlpu import contract, rules, socs
from course_lib.dlpu.socs import Soc
from course_lib.errors import UnusableInput
from course_lib.files import write
from course_lib.quantization import conversion, repair
from course_lib.quiet import quiet
from course_lib.tflite import comparison, diagnosis, inference
from course_lib.vision.evaluation import paired_interval, wilson_interval

import numpy as np

# From so many pictures on, what a share says is more than luck.
ENOUGH = diagnosis.ENOUGH_IMAGES
# A camera takes its time over each picture, and the comparison over each layer.
ON_CAMERA, IN_LAYERS = 50, 32
_MOST_CLASSES = 20  # that one line names
_CHUNK = 50  # pictures that are float32 at a time
# Every camera has a CPU; the virtual one needs a chip beside it.
_CAMERA_OF_CPU = "artpec8"


@dataclass(frozen=True)
class Pictures:
    """Pictures of the size that a model takes.

    Attributes:
        images: uint8 [N, height, width, channels].
        names: One for each; without them they are numbered.
        labels: int [N], the class of each; None where that is not known.
        classes: Names of the classes, in the model's order; may be empty.
        order: Where that order comes from, in a few words; "" when nobody said.

    Introduced in notebook 15.
    """

    images: np.ndarray
    names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    order: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, chosen: np.ndarray) -> "Pictures":
        """Return some of them, chosen by a mask or by their places."""
        places = np.arange(len(self))[chosen]
        return replace(
            self,
            images=self.images[places],
            names=tuple(self.names[place] for place in places if self.names),
            labels=None if self.labels is None else self.labels[places],
        )

    def by_label(self) -> "Pictures":
        """Return them class by class, as folders of classes hold them."""
        if self.labels is None:
            return self
        return self.take(np.argsort(self.labels, kind="stable"))

    def spread(self, most: int) -> "Pictures":
        """Return at most so many, taken evenly from all."""
        if len(self) <= most:
            return self
        return self.take(np.arange(most) * len(self) // most)


def split(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Divide pictures: every second one calibrates, the others judge.

    A file must not be judged on what set its ranges. Pictures of one place that stand
    side by side are still alike: those of another day or place judge better.

    Raises:
        UnusableInput: When there are fewer than two.

    Example:
        >>> images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
        >>> calibration, judges = split(Pictures(images))
        >>> calibration.images.ravel().tolist(), judges.images.ravel().tolist()
        ([0, 2, 4], [1, 3])

    Introduced in notebook 15.
    """
    if len(pictures) < 2:
        raise UnusableInput(
            f"{len(pictures)} picture: expected two or more, of which every second one "
            "calibrates; or give calibration pictures of their own"
        )
    first = np.arange(len(pictures)) % 2 == 0
    return pictures.take(first), pictures.take(~first)


def unseen(judges: Pictures, calibration: Pictures) -> Pictures:
    """Leave out of the judges what is, pixel by pixel, among the calibration pictures.

    Raises:
        UnusableInput: When none is left.

    Introduced in notebook 15.
    """
    known = {image.tobytes() for image in calibration.images}
    fresh = np.array([image.tobytes() not in known for image in judges.images])
    if not fresh.any():
        raise UnusableInput(
            "all pictures that should judge the file calibrated it too: give others, "
            "or one folder of which every second picture calibrates"
        )
    return judges.take(fresh)


@dataclass(frozen=True)
class Settings:
    """How a model wants its pictures, and what is done against lost accuracy.

    Attributes:
        mean, std: The model was trained on (pixel - mean) / std, values of 0 to 255;
            one number, or one a channel.
        channels: "rgb" or "bgr", the order that it was trained on.
        cures: None, "quick" or "thorough", as `dlpu convert` has --repair and
            --thorough.

    Introduced in notebook 15.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)
    channels: str = "rgb"
    cures: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether one mean and std fit into the input's scale and zero point."""
        return len(self.mean) == len(self.std) == 1


@dataclass(frozen=True)
class Made:
    """What was converted for a chip.

    Attributes:
        soc: The chip.
        kind: "full-integer", or "planar ONNX" for CV25 and CV75.
        file: What the camera loads, or what goes into the chip's compiler.
        float_file: The same model as float `.tflite`, which takes pixels 0 to 255.
        unrepaired: The file before the cures; None without cures.
        compiled: What a compiler made of the file; None when none ran.
        told: As `dlpu convert --json` tells it.
        settings: What it was made with.
        normalises: Layer of the model that scales pixels itself; None without one.

    Introduced in notebook 15.
    """

    soc: Soc
    kind: str
    file: Path
    float_file: Path
    unrepaired: Path | None
    compiled: Path | None
    told: dict[str, Any]
    settings: Settings
    normalises: str | None = None


def convert(
    model: Any,
    calibration: Pictures,
    *,
    soc: Soc | str,
    folder: Path,
    name: str = "model",
    settings: Settings = Settings(),
    tell: Callable[[str], None] = lambda text: None,
) -> Made:
    """Make the file that a chip takes, and its float file.

    Args:
        model: A Keras model, what `conversion.read_model` returned, or a path.
        calibration: Pictures that set the ranges of the activations.
        soc: The chip, or its name.
        folder: Where the files go.
        name: Of the files, without suffix.
        settings: What the model was trained on, and whether cures are tried.
        tell: Called with the name of each cure before it is tried.

    Raises:
        UnusableInput: When the model cannot be converted, or cannot be repaired.

    Introduced in notebook 15.
    """
    soc = socs.find(soc) if isinstance(soc, str) else soc
    ordered = making.order(soc, granularity=None, io=None, in_float=False)
    if isinstance(model, str | Path):
        model = conversion.read_model(model)
    _expect_curable(model, ordered, settings)
    whole = conversion.fix_batch(model, mean=settings.mean, std=settings.std)
    fixed, entering = whole, {"mean": 0.0, "std": 1.0}
    if ordered.kind == "full-integer" and settings.is_plain:
        fixed = conversion.fix_batch(model)
        entering = {"mean": settings.mean[0], "std": settings.std[0]}
    float_file = write(folder / f"{name}_float.tflite", conversion.convert_float(whole))
    images, unrepaired, mend = list(calibration.images), None, None
    if settings.cures:
        unrepaired = _unrepaired(folder, name, fixed, images, ordered, entering)
        mend = partial(
            repair.repair,
            model,
            images,
            mean=settings.mean if len(settings.mean) > 1 else settings.mean[0],
            std=settings.std if len(settings.std) > 1 else settings.std[0],
            thorough=settings.cures == "thorough",
            tell=tell,
        )
    file = folder / f"{name}{ordered.suffix}"
    told = making.make(ordered, file, fixed, images, mend=mend, **entering)
    compiled = file.with_name(f"{name}_edgetpu.tflite")
    return Made(
        soc=soc,
        kind=ordered.kind,
        file=file,
        float_file=float_file,
        unrepaired=unrepaired,
        compiled=compiled if told["edge_tpu"] else None,
        told=told,
        settings=settings,
        normalises=whole.normalises,
    )


def _expect_curable(model: Any, ordered: making.Order, settings: Settings) -> None:
    """Refuse cures where they cannot be tried, as `dlpu convert` does."""
    if settings.cures and ordered.kind != "full-integer":
        raise UnusableInput(
            f"--repair: a {ordered.kind} file is made here: expected a full-integer "
            "one, such as --soc artpec8 makes; leave --repair out"
        )
    if settings.cures and hasattr(model, "signatures"):
        raise UnusableInput(
            "--repair cannot see the layers of a SavedModel: expected a Keras model; "
            "save it with model.save('name.keras')"
        )


def _unrepaired(
    folder: Path,
    name: str,
    fixed: Any,
    images: Sequence[np.ndarray],
    ordered: making.Order,
    entering: dict[str, float],
) -> Path:
    from course_lib.quantization import calibration

    content = conversion.convert_full_integer(
        fixed,
        calibration.representative_dataset(images, **entering),
        granularity=ordered.granularity,
        io=ordered.io,
    )
    return write(folder / f"{name}_unrepaired.tflite", content)


@dataclass(frozen=True)
class Share:
    """A share of pictures, with its 95 % interval by Wilson.

    Introduced in notebook 15.
    """

    hits: int
    count: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Where the share of all such pictures lies; they count as independent."""
        return wilson_interval(self.hits, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.value:.2f} ({self.hits} of {self.count}; {low:.2f} to {high:.2f})"
        )


# The files of a journey as they are compared, in order: before, between, after.
FILES = ("float", "unrepaired", "made")


@dataclass(frozen=True)
class Judged:
    """What the files say to pictures that did not calibrate them.

    Attributes:
        pictures: The judges.
        answers: By "float", "made" and, after cures, "unrepaired": the class with the
            largest value, int [N]. Empty when no output has one value a class.
        class_count: Values of that output; 0 without one.

    Introduced in notebook 15.
    """

    pictures: Pictures
    answers: dict[str, np.ndarray]
    class_count: int

    def agreement(self, name: str = "made") -> Share | None:
        """Return how often a file answers as the float file; None without classes."""
        if name not in self.answers:
            return None
        return _share(self.answers[name] == self.answers["float"])

    def accuracy(self, name: str = "made") -> Share | None:
        """Return how often a file is right; None without labels or classes."""
        if name not in self.answers or self.pictures.labels is None:
            return None
        return _share(self.answers[name] == self.pictures.labels)

    @cached_property
    def difference(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the accuracy, made less float, by pairs."""
        if not self.answers or self.pictures.labels is None:
            return None
        made, real = (
            self.answers[name] == self.pictures.labels for name in ("made", "float")
        )
        return paired_interval(made, real)

    @property
    def is_lost(self) -> bool:
        """Whether more was lost on the way to the file than chance explains."""
        return any(True for _ in self.losses())

    def losses(self) -> Iterator[str]:
        """Tell what was lost, one sentence each."""
        agreement = self.agreement()
        if agreement and agreement.interval[1] < diagnosis.KEPT_AGREEMENT:
            yield (
                f"the file answers as the float model for {agreement}: less than "
                f"{diagnosis.KEPT_AGREEMENT:.2f}"
            )
        if self.difference and self.difference[1] < 0:
            low, high = self.difference
            yield (
                f"the accuracy falls from {self.accuracy('float').value:.2f} to "
                f"{self.accuracy().value:.2f}, interval of the difference {low:+.2f} "
                f"to {high:+.2f}"
            )

    def collapses(self) -> Iterator[str]:
        """Tell what of the model, or of its labels, no conversion can mend."""
        if not self.answers:
            return
        named = {name: set(found.tolist()) for name, found in self.answers.items()}
        labels = self.pictures.labels
        shown = None if labels is None else set(np.asarray(labels).tolist())
        for name, what in (("float", "float model"), ("made", "converted file")):
            is_new = name == "float" or len(named["float"]) > 1
            if len(self.pictures) >= findings.SEVERAL and len(named[name]) == 1:
                only = findings.class_text(*named[name], self.pictures.classes)
                if is_new and named[name] != shown:
                    yield f"the {what} names one class, {only}, for every picture"
        accuracy = self.accuracy("float")
        if not accuracy or len(self.pictures) < ENOUGH:
            return
        chance = 1 / self.class_count
        low, high = accuracy.interval
        right = f"the float model is right for {accuracy}"
        among = f"among {self.class_count} classes"
        if high < chance:
            yield (
                f"{right}: less often than chance {among}: the classes are probably in "
                f"another order; {_order(self.pictures)}"
            )
        elif low <= chance:
            yield (
                f"{right}: no more often than chance {among}; are mean and std those "
                "of the training, and do the labels fit?"
            )
        elif self.pictures.order == SORTED:
            yield from self._exchanged()

    def _exchanged(self) -> Iterator[str]:
        """Tell of two classes whose labels were exchanged by their sorted names."""
        labels, answers = np.asarray(self.pictures.labels), self.answers["float"]
        counts = np.zeros((self.class_count, self.class_count), int)
        np.add.at(counts, (labels, answers), 1)
        right = np.diag(counts)
        gains = counts + counts.T - right - right[:, None]
        first, second = np.unravel_index(gains.argmax(), gains.shape)
        changed = np.where(labels == first, second, labels)
        changed[labels == second] = first
        low, _ = paired_interval(answers == changed, answers == labels)
        if gains[first, second] > 0 and low > 0:
            pair = " and ".join(
                findings.class_text(int(of), self.pictures.classes)
                for of in sorted((first, second))
            )
            yield (
                f"the float model would be right for {np.mean(answers == changed):.2f} "
                f"and not {np.mean(answers == labels):.2f} if {pair} changed places: "
                f"{_order(self.pictures)}"
            )


def _order(pictures: Pictures) -> str:
    """Tell what order the classes have, and how to give another."""
    if pictures.order == SORTED:
        return (
            f"the {SORTED} gave {class_list(pictures.classes)}; --classes FILE gives "
            "the model's order"
        )
    if pictures.classes:
        return f"{class_list(pictures.classes)} were given"
    return "is each label the model's number of its class?"


def class_list(classes: Sequence[str]) -> str:
    """Return the classes with their numbers, as one line: the first 20.

    Introduced in notebook 15.
    """
    told = [f"{number} {name}" for number, name in enumerate(classes[:_MOST_CLASSES])]
    more = [f"{len(classes) - len(told)} more"] if len(told) < len(classes) else []
    return ", ".join(told + more)


def _share(hits: np.ndarray) -> Share:
    return Share(int(hits.sum()), len(hits))


def judge(made: Made, pictures: Pictures, *, output: int | None = None) -> Judged:
    """Ask the float file and the made ones about pictures that did not calibrate them.

    Args:
        made: From `convert`.
        pictures: The judges; see `unseen`.
        output: Index of the output with one value a class; None takes the only one.

    Raises:
        UnusableInput: When the pictures or labels do not fit the model.

    Introduced in notebook 15.
    """
    ends = card(made).outputs
    place = evaluation.classes_at(ends, output, needed=pictures.labels is not None)
    if place is None:
        return Judged(pictures, {}, 0)
    count = int(np.prod(ends[place].shape))
    labels = pictures.labels
    if labels is not None and not 0 <= np.min(labels) <= np.max(labels) < count:
        raise UnusableInput(
            f"labels reach {np.min(labels)}..{np.max(labels)}: the model has classes "
            f"0..{count - 1}; name the subfolders by these numbers, or give --classes"
        )
    files = {"float": made.float_file, "made": made.file}
    if made.unrepaired:
        files["unrepaired"] = made.unrepaired
    answers = {
        name: _top1(_outputs(file, pictures.images, place))
        for name, file in files.items()
    }
    return Judged(pictures, answers, count)


def _top1(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).argmax(1)


def _outputs(file: Path, images: np.ndarray, place: int) -> np.ndarray:
    """Return one output of a file for pixels, [N, ...]."""
    run = _onnx(file) if file.suffix == ".onnx" else partial(_litert, file.read_bytes())
    parts = np.array_split(images, -(-len(images) // _CHUNK))
    return np.concatenate([run(part)[place] for part in parts])


def _litert(content: bytes, images: np.ndarray) -> list[np.ndarray]:
    from course_lib.tflite import reading

    (entry,) = reading.parse(content).inputs
    found = inference.predict(content, images.astype(entry.dtype), raw=True)
    return found if isinstance(found, list) else [found]


def _onnx(file: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return what runs a planar ONNX file, picture by picture."""
    with quiet():
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(file), providers=["CPUExecutionProvider"]
        )
    (entry,) = session.get_inputs()

    def run(images: np.ndarray) -> list[np.ndarray]:
        planes = np.float32(images.transpose(0, 3, 1, 2))
        found = [session.run(None, {entry.name: plane[None]}) for plane in planes]
        return [np.concatenate(of) for of in zip(*found, strict=True)]

    return run


def card(made: Made, *, labels: Sequence[str] = ()) -> contract.Contract:
    """Return what a camera application must know of the file: `dlpu card`.

    Introduced in notebook 15.
    """
    model = contract.read(made.file, soc=made.soc)
    return contract.of(model, soc=made.soc, file=made.file.name, labels=labels or None)


def lint(made: Made) -> rules.Report:
    """Return what the linter says of the file on its chip: `dlpu lint`.

    Introduced in notebook 15.
    """
    return rules.lint(contract.read(made.file, soc=made.soc), soc=made.soc)


@dataclass(frozen=True)
class Tested:
    """What a camera said.

    Attributes:
        result: What `evaluation.run` returned; None when it did not come to that.
        reason: Why not, in one line; "" when it did.
        is_virtual: Whether it was a virtual camera: a simulation.

    Introduced in notebook 15.
    """

    result: evaluation.Result | None
    reason: str
    is_virtual: bool


def virtual_camera(soc: Soc | str) -> virtual.VirtualCamera:
    """Start a virtual camera that takes a chip's files: a simulation.

    For the plain CPU, which is no camera's only processor, it is one of another chip.

    Introduced in notebook 15.
    """
    soc = socs.find(soc) if isinstance(soc, str) else soc
    return virtual.start(host_of(soc))


def host_of(soc: Soc) -> Soc:
    """Return the chip of a camera that runs files for this one.

    Introduced in notebook 15.
    """
    return soc if soc.products else socs.SOCS[_CAMERA_OF_CPU]


def expect_soc(camera: Any, soc: Soc) -> None:
    """Refuse a camera with another chip; every camera has a CPU.

    Introduced in notebook 15.
    """
    found = camera.info.soc
    if soc.products and found is not soc:
        raise UnusableInput(
            f"{camera.info.product}: has {found.name}, the file is for {soc.name}: "
            f"expected --soc {found.id}"
        )


def on_camera(
    camera: Any,
    made: Made,
    pictures: Pictures,
    *,
    is_virtual: bool,
    compiled: Path | None = None,
    output: int | None = None,
    most: int = ON_CAMERA,
    rounds: int = 100,
) -> Tested:
    """Run the file on a camera, beside this computer: `dlpu test`.

    Args:
        camera: From `client.connect`, or a virtual camera's `connect`.
        made: From `convert`.
        pictures: Of them `most` are sent, spread evenly over the classes in order, as
            `dlpu test --limit` takes them from folders.
        is_virtual: Whether the camera is a virtual one.
        compiled: What a compiler made of the file, where the chip needs that; None
            takes `made.compiled`.
        output: As for `judge`.
        most: At most so many pictures.
        rounds: Jobs on random input.

    Returns:
        What the camera said, also when it refused the file, or the linter's errors kept
        the file from it.

    Raises:
        UnusableInput: When the camera has another chip, or needs a compiled file.

    Introduced in notebook 15.
    """
    expect_soc(camera, made.soc)
    some = pictures if len(pictures) <= most else pictures.by_label().spread(most)
    try:
        plan = evaluation.plan(
            camera,
            made.file,
            device=None if made.soc.products else made.soc.device,
            compiled=compiled or made.compiled,
            virtual=is_virtual,
        )
        if plan.errors:
            return Tested(None, "not run: the linter has errors", is_virtual)
        result = evaluation.run(
            camera,
            plan,
            some.images,
            names=some.names,
            labels=some.labels,
            classes=some.classes,
            output=output,
            rounds=rounds,
        )
    except CameraError as error:
        return Tested(None, f"the camera did not run the file: {error}", is_virtual)
    return Tested(result, "", is_virtual)


@dataclass(frozen=True)
class Journey:
    """All that is known of a model at the end of its way.

    Attributes:
        made: The files.
        calibration: How many pictures calibrated.
        judged: What the files say to other pictures.
        lint: What the linter says.
        card: What an application must know.
        tested: What a camera said; None when none was asked.
        compared: Layer by layer, when something was lost; else None.
        causes: Of the loss, the likeliest first.
        problems: What is wrong, one sentence each.
        warnings: What makes the numbers doubtful, one sentence each.
        not_run: What nobody has tried yet, one sentence each.

    Introduced in notebook 15.
    """

    made: Made
    calibration: int
    judged: Judged
    lint: rules.Report
    card: contract.Contract
    tested: Tested | None
    compared: comparison.Comparison | None
    causes: tuple[diagnosis.Cause, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    not_run: tuple[str, ...]

    @property
    def is_clear(self) -> bool:
        """Whether enough pictures judged and nothing was found: exit status 0."""
        return not self.problems and len(self.judged.pictures) >= ENOUGH

    @property
    def verdict(self) -> str:
        """Return the answer in one line."""
        count = len(self.judged.pictures)
        if count < ENOUGH:
            found = findings.plural(len(self.problems), "finding")
            return (
                f"not judged: {findings.plural(count, 'picture')}, expected {ENOUGH} "
                f"or more{f'; {found}' if self.problems else ''}"
            )
        if self.problems:
            return f"not ready: {findings.plural(len(self.problems), 'finding')}"
        right = self.judged.accuracy()
        model = f"right for {right.value:.2f} of the labels; " if right else ""
        where = "no camera has run it"
        if self.tested and self.tested.result:
            where = f"{self.tested.result.plan.info.product} ran it"
            if self.tested.is_virtual:
                where = "a virtual camera ran it, which is a SIMULATION"
        return f"nothing found against the file; {model}{where}"


def collect(
    made: Made,
    judged: Judged,
    *,
    calibration: int,
    tested: Tested | None = None,
    warnings: Sequence[str] = (),
) -> Journey:
    """Lint the file, write its card, look for the cause of a loss, and conclude.

    Args:
        made: From `convert`.
        judged: From `judge`.
        calibration: How many pictures calibrated.
        tested: From `on_camera`; None when no camera was asked.
        warnings: What is doubtful already, one sentence each.

    Introduced in notebook 15.
    """
    result = tested.result if tested else None
    report = result.plan.report if result else lint(made)
    told = card(made, labels=judged.pictures.classes)
    compared = causes = None
    if judged.is_lost or not judged.answers:
        compared = _compared(made, judged.pictures)
        causes = diagnosis.diagnose(compared) if compared else ()
    collapses = list(judged.collapses())
    problems = [*collapses, *_losses(made, judged, compared)]
    errors = report.at_least("error")
    if errors:
        count = findings.plural(len(errors), "error")
        names = ", ".join(sorted({error.rule for error in errors}))
        problems.append(f"the linter finds {count}: {names}")
    if tested and not result and not errors:
        problems.append(tested.reason)
    if result:
        known = findings.collapsed(result.pictures, result.names) if collapses else ()
        found = [text for text in result.problems if text not in set(known)]
        problems += [f"on the camera: {text}" for text in found]
    doubts = [*warnings, *made.told["warnings"], *_doubts_of(judged), *told.warnings]
    return Journey(
        made=made,
        calibration=calibration,
        judged=judged,
        lint=report,
        card=told,
        tested=tested,
        compared=compared,
        causes=tuple(causes or ()),
        problems=tuple(problems),
        warnings=tuple(doubts),
        not_run=tuple(_not_run(made, judged, tested)),
    )


def _compared(made: Made, pictures: Pictures) -> comparison.Comparison | None:
    if made.kind != "full-integer":
        return None
    images = pictures.spread(IN_LAYERS).images
    return comparison.compare(made.float_file, made.file, images)


def _losses(
    made: Made, judged: Judged, compared: comparison.Comparison | None
) -> list[str]:
    lost = list(judged.losses())
    if not judged.answers and compared:
        sqnr = compared.output_sqnr
        if sqnr < diagnosis.BROKEN_SQNR:
            lost.append(
                f"the output agrees with the float model's to {sqnr:.1f} dB, where "
                f"{diagnosis.BROKEN_SQNR:g} are the least"
            )
    if lost and made.kind == "full-integer" and not made.settings.cures:
        lost[-1] += "; --repair tries the cures of lesson 07"
    return lost


def _doubts_of(judged: Judged) -> Iterator[str]:
    agreement = judged.agreement()
    if len(judged.pictures) < ENOUGH:
        yield (
            f"{findings.plural(len(judged.pictures), 'picture')} judged the file: take "
            f"{ENOUGH} or more, of all that the model knows"
        )
    elif (
        agreement
        and agreement.interval[0] < diagnosis.KEPT_AGREEMENT
        and not judged.is_lost
    ):
        yield (
            f"the agreement, {agreement}, may be below "
            f"{diagnosis.KEPT_AGREEMENT:.2f}: more pictures would tell"
        )


def _not_run(made: Made, judged: Judged, tested: Tested | None) -> Iterator[str]:
    if judged.pictures.labels is None:
        yield "accuracy: the pictures have no labels"
    if made.soc.takes_onnx:
        yield (
            f"the compiler of {made.soc.name}: it quantizes, so what is judged here is "
            "the float model before it"
        )
    elif made.soc.id == "artpec7" and not made.compiled:
        yield (
            f"edgetpu_compiler, which makes {made.file.stem}_edgetpu.tflite for "
            f"{made.soc.name}: it is not installed here"
        )
    if tested is None or not tested.result:
        yield "the file, on a camera"
    elif tested.is_virtual:
        yield "the file on a real camera: what the virtual one says is a SIMULATION"


def travel(
    model: Any,
    calibration: Pictures,
    judges: Pictures,
    *,
    soc: Soc | str,
    folder: Path,
    name: str = "model",
    settings: Settings = Settings(),
    reach: Callable[[], AbstractContextManager[Any]] | None = None,
    is_virtual: bool = True,
    compiled: Path | None = None,
    output: int | None = None,
    most: int = ON_CAMERA,
    warnings: Sequence[str] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Journey:
    """Go all the way: convert, judge, lint, card and, where one is reached, a camera.

    Args:
        model: As for `convert`.
        calibration: Pictures that set the ranges.
        judges: Other pictures; those among the calibration pictures are left out.
        soc: The chip, or its name.
        folder: Where the files go.
        name: Of the files, without suffix.
        settings: As for `convert`.
        reach: Returns the context of a connected camera; None asks no camera.
        is_virtual: Whether the camera is a virtual one.
        compiled: As for `on_camera`.
        output: As for `judge`.
        most: So many pictures go to the camera.
        warnings: As for `collect`.
        tell: Called with the name of each step.

    Raises:
        UnusableInput: As the steps do.

    Introduced in notebook 15.
    """
    fresh = unseen(judges, calibration)
    if len(fresh) < len(judges):
        same = findings.plural(len(judges) - len(fresh), "picture")
        warnings = (*warnings, f"{same} that calibrated did not judge")
    tell("converting")
    made = convert(
        model,
        calibration,
        soc=soc,
        folder=folder,
        name=name,
        settings=settings,
        tell=lambda cure: tell(f"trying {cure}"),
    )
    tell(f"judging by {findings.plural(len(fresh), 'picture')}")
    judged = judge(made, fresh, output=output)
    tested = None
    if reach:
        tell("testing on the virtual camera" if is_virtual else "testing on the camera")
        with reach() as camera:
            tested = on_camera(
                camera,
                made,
                fresh,
                is_virtual=is_virtual,
                compiled=compiled,
                output=output,
                most=most,
            )
    return collect(
        made, judged, calibration=len(calibration), tested=tested, warnings=warnings
    )
