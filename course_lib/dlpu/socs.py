"""What is known of each chip: the facts of socs.toml, each with source and date.

A fact stands in socs.toml and nowhere else. Where sources disagree, the first fact is
the one that the course goes by, and `others` holds what else is said.
"""

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from course_lib.errors import UnusableInput

CONFIDENCES = {
    "stated by Axis": "on Axis's pages, in its code, or by its staff",
    "stated by the vendor": "by the maker of the compiler or of the package",
    "reported by users": "in a public thread",
    "inferred": "from a related fact; unproven",
    "seen by the course": "measured on a computer, or read from a published file",
}


@dataclass(frozen=True)
class Source:
    """A text that facts come from.

    Attributes:
        key: Its name in socs.toml.
        title: What it calls itself.
        url: Where it stands.
        date: Of the text: of its last change where it shows one, else the year.
        read: Day on which its content was last looked at, YYYY-MM-DD.
    """

    key: str
    title: str
    url: str
    date: str
    read: str


@dataclass(frozen=True)
class Fact:
    """One thing that is said of a chip.

    Attributes:
        value: A text, a number, a list or a table of them.
        source: Who says it.
        confidence: A key of `CONFIDENCES`.
        note: What to add.
        others: What other sources say instead.

    Introduced in notebook 01.
    """

    value: Any
    source: Source
    confidence: str
    note: str = ""
    others: tuple["Fact", ...] = ()

    @property
    def date(self) -> str:
        """The date of the source."""
        return self.source.date


@dataclass(frozen=True)
class Product:
    """A camera, as an example of its chip.

    Attributes:
        name: Such as "AXIS Q1656-LE".
        soc: Id of its chip.
        memory_gigabytes: None when no source tells.
        source, confidence, note: As of a `Fact`.

    Introduced in notebook 01.
    """

    name: str
    soc: str
    source: Source
    confidence: str
    memory_gigabytes: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Soc:
    """A chip and what it wants; a field is None when no source tells.

    Attributes:
        id: Name for programs, such as "artpec8".
        name: Name for people, such as "ARTPEC-8".
        accelerator: What runs the model.
        model_file: What the camera loads.
        compile_step: What happens between the .tflite or .onnx file and the chip.
        granularity: "per-tensor", "per-channel", or "none" for a float model.
        dtypes: Types that are accelerated.
        input_dtype: Of the pixels that an application sends.
        layout: "RGB interleaved" (NHWC) or "RGB planar" (NCHW).
        devices: Names for larod; the first is the one to use.
        preprocessing_devices: Names for larod.
        listed_devices: What `larod-client -a` lists, in its order.
        speed, ease: Axis's own labels.
        parameter_name: What `parhandclient getgroup root.Properties.System.Soc` prints.
        vapix_name: What VAPIX's basicdeviceinfo calls it, under "Soc".
        row_pitch: Multiple, in bytes, of a row of pixels.
        width_multiple: Multiple, in pixels, of the input's width.
        output, output_stride: How outputs lie in memory; bytes from value to value.
        max_rank: Dimensions of a tensor; on ARTPEC-7 those that may exceed 1.
        batch: Images at once.
        partitions: Into how many parts a graph may fall.
        filters_multiple: Of which a convolution's filters should be a multiple.
        kernels, strides: Of convolutions, the best or the only ones; see the note.
        convolutions, activations, avoid_operators: What to build a model from.
        slowdown_per_channel: How many times slower per-channel weights are.
        first_load_seconds, later_load_seconds: Of one model, for scale.
        cache: How many compiled models stay.
        example_milliseconds: Of one inference in a log of Axis's; no benchmark.
        compiler_version, runtime_version, cnngen_tflite, onnx_opset: Versions of tools.
        calibration_images: From, to.
        model_parameters: Names of larod's parameters for this chip.
        open_report: A fault that users report.
        operators, more_operators: TFLite operators of a published list; on ARTPEC-9
            the second half is inferred.
        per_channel_operators: Which may have per-channel weights.
        custom_operators: Which a TFLite runtime brings.
        operator_versions: The highest that the compiler knows, by operator.
        open_report_os: Oldest and newest AXIS OS of the open report.
        on_chip_mebibytes: Memory for parameters in the accelerator.
        limits: Under which conditions an operator is accelerated, by name.
        backbones, detectors: Architectures that Axis recommends.
        sdk_architecture: Of the ACAP SDK.

    Introduced in notebook 01.
    """

    id: str
    name: str
    accelerator: Fact
    model_file: Fact
    compile_step: Fact
    granularity: Fact
    dtypes: Fact
    input_dtype: Fact
    layout: Fact
    devices: Fact
    preprocessing_devices: Fact | None = None
    listed_devices: Fact | None = None
    speed: Fact | None = None
    ease: Fact | None = None
    parameter_name: Fact | None = None
    vapix_name: Fact | None = None
    row_pitch: Fact | None = None
    width_multiple: Fact | None = None
    output: Fact | None = None
    output_stride: Fact | None = None
    max_rank: Fact | None = None
    batch: Fact | None = None
    partitions: Fact | None = None
    filters_multiple: Fact | None = None
    kernels: Fact | None = None
    strides: Fact | None = None
    convolutions: Fact | None = None
    activations: Fact | None = None
    avoid_operators: Fact | None = None
    slowdown_per_channel: Fact | None = None
    first_load_seconds: Fact | None = None
    later_load_seconds: Fact | None = None
    cache: Fact | None = None
    example_milliseconds: Fact | None = None
    compiler_version: Fact | None = None
    runtime_version: Fact | None = None
    cnngen_tflite: Fact | None = None
    onnx_opset: Fact | None = None
    calibration_images: Fact | None = None
    model_parameters: Fact | None = None
    open_report: Fact | None = None
    open_report_os: Fact | None = None
    operators: Fact | None = None
    more_operators: Fact | None = None
    per_channel_operators: Fact | None = None
    custom_operators: Fact | None = None
    operator_versions: Fact | None = None
    on_chip_mebibytes: Fact | None = None
    limits: Mapping[str, Fact] = field(default_factory=dict)
    backbones: Fact | None = None
    detectors: Fact | None = None
    sdk_architecture: Fact | None = None

    @property
    def device(self) -> str:
        """The larod device that runs the model."""
        return self.devices.value[0]

    @property
    def takes_onnx(self) -> bool:
        """Whether its compiler reads .onnx, and the camera gets a .bin."""
        return ".onnx" in self.model_file.value

    @property
    def facts(self) -> dict[str, Fact]:
        """The fields that are known, and the limits, by name."""
        every = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        every |= self.limits
        return {name: fact for name, fact in every.items() if isinstance(fact, Fact)}

    @property
    def products(self) -> tuple[Product, ...]:
        """Cameras with this chip; examples, not a list of all."""
        return tuple(product for product in PRODUCTS if product.soc == self.id)


@dataclass(frozen=True)
class Benchmark:
    """A published time and accuracy: Axis's, not measured by the course.

    Attributes:
        soc: Id of the chip.
        product: Camera.
        task: "classification" or "detection".
        model: Name.
        os: AXIS OS version.
        milliseconds: One inference on random input, nothing before or after it.
        source, confidence, note: As of a `Fact`.
        training: How it was quantized, where told.
        metric: "top-1" (ImageNet) or "mAP" (COCO); "" when only the time is told.
        accuracy: In percent. Of detectors it was measured on a computer.

    Introduced in notebook 01.
    """

    soc: str
    product: str
    task: str
    model: str
    os: str
    milliseconds: float
    source: Source
    confidence: str
    training: str = ""
    metric: str = ""
    accuracy: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Contradiction:
    """A question to which the sources give different answers.

    Attributes:
        topic: The question.
        socs: Ids of the chips that it concerns.
        lesson: The lesson that treats it.
        claims: The answers.
        course: Which answer the course goes by.

    Introduced in notebook 01.
    """

    topic: str
    socs: tuple[str, ...]
    lesson: str
    claims: tuple[Fact, ...]
    course: str


@dataclass(frozen=True)
class Recommendation:
    """Something that Axis's pages recommend, and its state today.

    Attributes:
        name: What is recommended.
        kind: "detector", "trained models" or "training code".
        recommended_for: Ids of the chips.
        status: Its state, from the source.
        source, confidence, note: As of a `Fact`.

    Introduced in notebook 02.
    """

    name: str
    kind: str
    recommended_for: tuple[str, ...]
    status: str
    source: Source
    confidence: str
    note: str = ""


@dataclass(frozen=True)
class Architecture:
    """One member of a family that grows in input size, depth and width.

    Attributes:
        name: Such as "EfficientNet-Lite0".
        size: Height and width of its input.
        million_parameters: Weights.
        million_multiplications: For one picture.
        top_1: ImageNet accuracy in percent, float; `top_1_int8` after PTQ.
        source, confidence: As of a `Fact`.

    Introduced in notebook 02.
    """

    name: str
    size: int
    million_parameters: float
    million_multiplications: float
    top_1: float
    top_1_int8: float
    source: Source
    confidence: str


@dataclass(frozen=True)
class Fidelity:
    """How far a camera's output was from another's, for the same input bytes.

    Attributes:
        soc: Id of the chip.
        device: The larod device that was judged.
        against: "computer", or the larod device of the same camera.
        model: What was run.
        identical: Share of the values that were equal, 0 to 1.
        mean, largest: Absolute difference in steps of the quantized output; None where
            it was not reported.
        source, confidence, note: As of a `Fact`.

    Introduced in notebook 13.
    """

    soc: str
    device: str
    against: str
    model: str
    identical: float
    source: Source
    confidence: str
    mean: float | None = None
    largest: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Example:
    """An example application of the ACAP Native SDK.

    Attributes:
        name: Its folder.
        task: "classification", "detection" or "training".
        socs: Ids of the chips that it builds for.
        output: What its model gives.
        source, confidence, note: As of a `Fact`.

    Introduced in notebook 13.
    """

    name: str
    task: str
    socs: tuple[str, ...]
    output: str
    source: Source
    confidence: str
    note: str = ""


def find(name: str) -> Soc:
    """Return a chip by its id, its name, or what a camera calls it.

    Raises:
        UnusableInput: When the name is not known; the message lists the known ones.

    Example:
        >>> find("Axis Artpec-8").id, find("ARTPEC-8").device
        ('artpec8', 'axis-a8-dlpu-tflite')

    Introduced in notebook 01.
    """
    wanted = _plain(name)
    for soc in SOCS.values():
        told = [fact.value for fact in (soc.parameter_name, soc.vapix_name) if fact]
        if wanted in map(_plain, (soc.id, soc.name, *told)):
            return soc
    raise UnusableInput(
        f"SoC {name!r}: not known, expected one of {', '.join(SOCS)}; for another "
        "camera whose `larod-client -a` lists cpu-tflite, take cpu"
    )


def larod_client(
    soc: Soc, file: str, *, device: str | None = None, rounds: int = 100
) -> str:
    """Return the command line that runs a file on a camera with random input.

    `-R` is the number of rounds, `-w` of those before them that do not count, and
    `-i ''` asks for random input. Source: Axis, Test your model.

    Example:
        >>> larod_client(SOCS["artpec8"], "model.tflite")
        "larod-client -g model.tflite -c axis-a8-dlpu-tflite -R 100 -w 5 -i ''"

    Introduced in notebook 01.
    """
    words = ["larod-client", "-g", file, "-c", device or soc.device]
    return shlex.join([*words, "-R", str(rounds), "-w", "5", "-i", ""])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(axis|ambarella)\b", "", name.lower()))


_TABLE = tomllib.loads((Path(__file__).parent / "socs.toml").read_text("utf-8"))

SOURCES: Mapping[str, Source] = MappingProxyType(
    {key: Source(key, **entry) for key, entry in _TABLE["source"].items()}
)


def _sourced(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "source": SOURCES[entry["source"]]}


def _fact(claims: list[dict[str, Any]]) -> Fact:
    first, *others = claims
    return Fact(
        **_sourced(first), others=tuple(Fact(**_sourced(entry)) for entry in others)
    )


def _soc(key: str, entry: dict[str, Any]) -> Soc:
    limits = {name: _fact(claims) for name, claims in entry.pop("limits", {}).items()}
    told = {name: _fact(claims) for name, claims in entry.items() if name != "name"}
    return Soc(key, entry["name"], limits=MappingProxyType(limits), **told)


def _contradiction(entry: dict[str, Any]) -> Contradiction:
    claims = tuple(Fact(**_sourced(claim)) for claim in entry["claims"])
    return Contradiction(**{**entry, "socs": tuple(entry["socs"]), "claims": claims})


SOCS: Mapping[str, Soc] = MappingProxyType(
    {key: _soc(key, entry) for key, entry in _TABLE["soc"].items()}
)
PRODUCTS = tuple(Product(**_sourced(entry)) for entry in _TABLE["product"])
BENCHMARKS = tuple(Benchmark(**_sourced(entry)) for entry in _TABLE["benchmark"])
CONTRADICTIONS = tuple(_contradiction(entry) for entry in _TABLE["contradiction"])
RECOMMENDATIONS = tuple(
    Recommendation(
        **{**_sourced(entry), "recommended_for": tuple(entry["recommended_for"])}
    )
    for entry in _TABLE["recommendation"]
)
FIDELITY = tuple(Fidelity(**_sourced(entry)) for entry in _TABLE["fidelity"])
EXAMPLES = tuple(
    Example(**{**_sourced(entry), "socs": tuple(entry["socs"])})
    for entry in _TABLE["example"]
)
ARCHITECTURES = tuple(
    Architecture(**_sourced(entry)) for entry in _TABLE["architecture"]
)
