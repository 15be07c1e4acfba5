"""What is committed in data/ is what its README says."""

import hashlib
import re

from course_lib.tflite import reading
from course_lib.vision import models

import numpy as np
import pytest

TRAINED_HERE = (
    *("digit_reader_depthwise.npz", "digit_reader_residual.npz"),
    *("scene_classifier.npz", "scene_classifier.onnx", "scene_resnet.npz"),
    *("scene_classifier_float_256.tflite", "scene_classifier_qat.tflite"),
    "scene_detector.npz",
)
README = (models.DATA / "README.md").read_text("utf-8")
FILES = sorted(
    path
    for path in models.DATA.iterdir()
    if path.is_file() and path.name != "README.md" and not path.name.startswith(".")
)


def test_the_readme_lists_exactly_these_files():
    first, second = (set(re.findall(pattern, README, re.M)) for pattern in _ROWS)
    assert first == second == {path.name for path in FILES}


_ROWS = (r"^\| `(\S+)` \| [\d,]+ \|", r"^\| `(\S+)` \| `[0-9a-f]{64}` \|")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_size_and_checksum(path):
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert f"| `{path.name}` | {len(content):,} |" in README
    assert f"| `{path.name}` | `{digest}` |" in README


def test_every_licence_is_here_and_named():
    named = set(re.findall(r"\]\((licences/[^)]+)\)", README))
    present = {
        path.relative_to(models.DATA).as_posix()
        for path in (models.DATA / "licences").iterdir()
    }
    assert named == present
    for path in named:
        text = (models.DATA / path).read_text("utf-8")
        assert re.search("Apache License|Zlib|MIT License", text)


def test_each_file_has_a_licence():
    rows = [row for row in README.splitlines() if re.match(_ROWS[0], row)]
    assert len(rows) == len(FILES)
    ours = [row for row in rows if "](../LICENSE)" in row]
    assert all("](licences/" in row for row in rows if row not in ours)
    # What was trained here stands under the licence of this repository.
    names = {re.match(_ROWS[0], row)[1] for row in ours}
    assert names == set(TRAINED_HERE)


def test_the_folder_is_small():
    everything = (path for path in models.DATA.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in everything) < 26 * 2**20


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("efficientnet_lite0", {"classifier/kernel", "classifier/bias"}),
        ("person_detector", None),
        *((name[:-4], None) for name in TRAINED_HERE if name.endswith(".npz")),
    ],
)
def test_weights_are_plain_numbers(name, half):
    with np.load(models.DATA / f"{name}.npz", allow_pickle=False) as stored:
        dtypes = {key: stored[key].dtype for key in stored.files}
        assert all(np.isfinite(stored[key]).all() for key in stored.files)
    assert set(dtypes.values()) <= {np.dtype("<f2"), np.dtype("<f4")}
    float16 = {key for key, dtype in dtypes.items() if dtype == np.float16}
    assert float16 == (half or set(dtypes))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("digit_reader_depthwise", 60_000),
        ("digit_reader_residual", 60_000),
        ("scene_classifier", 400_000),
        ("scene_resnet", 400_000),
        ("scene_detector", 260_000),
    ],
)
def test_what_is_trained_here_is_small(name, most):
    assert (models.DATA / f"{name}.npz").stat().st_size < most


def test_class_names():
    names = models.imagenet_classes()
    assert len(names) == 1000
    assert (names[285], names[967]) == ("Egyptian cat", "espresso")
    assert all(name == name.strip() != "" for name in names)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("efficientnet_lite0", models.EFFICIENTNET_LITE0_INPUT),
        ("person", models.PERSON_INPUT),
    ],
)
def test_the_tflite_files_are_ready_for_a_camera(name, entry):
    model = reading.read(models.DATA / f"{name}_per_channel.tflite")
    assert model.is_full_integer
    assert model.granularity == "per-channel"
    (image,), (scores,) = model.inputs, model.outputs
    assert image.shape == (1, entry.size, entry.size, 3)
    assert image.dtype == scores.dtype == "uint8"
    # The camera's pixels enter as they are: (pixel − mean) / std is the affine mapping.
    assert (image.scale, image.zero_point) == (1 / entry.std, entry.mean)
    assert (scores.scale, scores.zero_point) == (1 / 256, 0)
