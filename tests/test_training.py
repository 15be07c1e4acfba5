"""Training: it learns, it repeats, and it refuses what cannot work."""

from course_lib.errors import UnusableInput
from course_lib.vision import training

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

tf = pytest.importorskip("tensorflow")


def stripes(count: int, seed: int):
    """Make pictures of noise with a bright stripe: class 0 across, class 1 upright."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, 12, 12, 3), np.uint8)
    labels = np.arange(count) % 2
    for image, label, place in zip(
        images, labels, rng.integers(0, 12, count), strict=True
    ):
        image[(place, slice(None)) if label == 0 else (slice(None), place)] = 255
    return images, labels


def build(*, momentum: float = 0.9, units: int = 2, activation: str = "softmax"):
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((12, 12, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 5, use_bias=False),
            layers.BatchNormalization(momentum=momentum, name="norm"),
            layers.ReLU(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(units, activation=activation),
        ]
    )


def fit(model, data, **changes):
    settings = {"epochs": 8, "seed": 1, "learning_rate": 1e-2} | changes
    return training.train(model, *data, **settings)


@pytest.fixture(scope="module")
def trained():
    model = build()
    history = fit(model, stripes(320, 0), validation=stripes(200, 1))
    return model, history


def test_it_learns_from_chance_to_right(trained):
    images, labels = stripes(200, 2)
    before = (build().predict(images, verbose=0).argmax(1) == labels).mean()
    after = (trained[0].predict(images, verbose=0).argmax(1) == labels).mean()
    assert 0.3 < before < 0.7
    assert after > 0.9


def test_the_history(trained):
    history = trained[1]
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(values) for values in history.values()} == {8}
    assert all(type(v) is float for values in history.values() for v in values)
    assert history["val_accuracy"][-1] > 0.9
    assert history["loss"][-1] < history["loss"][0] / 2


def test_the_rate_decays_to_nothing(trained):
    optimizer = trained[0].optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def test_two_runs_give_the_same_weights_and_another_seed_does_not(trained):
    # The validation of the first run must not matter either.
    again, other = build(), build()
    fit(again, stripes(320, 0))
    fit(other, stripes(320, 0), seed=2)
    for first, second in zip(
        trained[0].get_weights(), again.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    pairs = zip(trained[0].get_weights(), other.get_weights(), strict=True)
    assert any((first != second).any() for first, second in pairs)


def test_nothing_is_printed(capfd):
    fit(build(momentum=0.05), stripes(64, 0), epochs=1)
    assert capfd.readouterr() == ("", "")


def test_several_labels_an_image():
    images, labels = stripes(320, 0)
    both = np.stack([labels == 0, labels == 1, labels == 5], 1).astype(np.float32)
    history = fit(build(units=3, activation="sigmoid"), (images / np.float32(1), both))
    assert history["accuracy"][-1] > 0.9


@pytest.mark.parametrize(("images", "labels"), [(8, 7), (0, 0)])
def test_images_and_labels_must_match(images, labels):
    data = np.zeros((images, 12, 12, 3)), np.zeros(labels, int)
    with pytest.raises(UnusableInput, match=f"{images} images and {labels} labels"):
        fit(build(), data)
    with pytest.raises(UnusableInput, match=f"{images} images and {labels} labels"):
        fit(build(), stripes(320, 0), validation=data)


@pytest.mark.parametrize("nested", [False, True])
def test_a_slow_batch_norm_is_refused_and_the_advice_helps(nested):
    def model(momentum):
        inner = build(momentum=momentum)
        if not nested:
            return inner
        image = tf.keras.Input((12, 12, 3))
        return tf.keras.Model(image, inner(image))

    with pytest.raises(
        ValueError, match=r"norm: momentum 0\.99 over 20 steps"
    ) as error:
        fit(model(0.99), stripes(64, 0), epochs=10)
    advice = training.batch_norm_momentum(20)
    assert "leaves 82% of the initial moving statistics" in str(error.value)
    assert f"momentum={advice}" in str(error.value)
    fit(model(advice), stripes(64, 0), epochs=10)


def test_what_the_rule_prevents(trained, monkeypatch):
    monkeypatch.setattr(training, "_refuse_slow_batch_norm", lambda *_: None)
    slow = fit(build(momentum=0.9999), stripes(320, 0), validation=stripes(200, 1))
    assert slow["loss"] == pytest.approx(trained[1]["loss"])
    assert slow["val_loss"][-1] > 5 * trained[1]["val_loss"][-1]


def test_a_frozen_batch_norm_may_be_slow():
    model = build(momentum=0.99)
    model.get_layer("norm").trainable = False
    fit(model, stripes(64, 0), epochs=1)


@given(st.integers(1, 10_000))
def test_the_momentum_leaves_less_than_one_percent(steps):
    momentum = training.batch_norm_momentum(steps)
    assert momentum**steps < 0.01
    assert momentum == 0.99 or (momentum + 0.001) ** steps >= 0.01 - 1e-12


@given(
    groups=st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(
        lambda groups: len(set(groups)) > 1
    ),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_no_group_is_divided(groups, share, seed):
    groups = np.array(groups)
    first, test = training.split_by_group(groups, share=share, seed=seed)
    assert (first ^ test).all()
    assert first.any()
    assert test.any()
    assert not set(groups[first]) & set(groups[test])
    # Never more than one group beyond what was asked for.
    assert test.sum() < share * len(groups) + np.bincount(groups).max()
    left = np.unique(groups[first])
    assert test.sum() >= share * len(groups) or len(left) == 1
    again = training.split_by_group(groups, share=share, seed=seed)
    np.testing.assert_array_equal(again, (first, test))


def test_the_seed_decides_the_groups():
    groups = np.repeat(np.arange(10), 3)
    tests = {
        tuple(training.split_by_group(groups, share=0.3, seed=seed)[1])
        for seed in range(10)
    }
    assert len(tests) > 3
    assert {sum(test) for test in tests} == {9}


@pytest.mark.parametrize(
    ("groups", "share"), [([1, 1], 0.5), ([], 0.5), ([1, 2], 0), ([1, 2], 1)]
)
def test_what_cannot_be_split(groups, share):
    with pytest.raises(UnusableInput, match="expected two groups or more"):
        training.split_by_group(np.array(groups), share=share, seed=0)
