"""Dead channels and unequal ranges: what is changed, what is not, and the function."""

from course_lib.errors import UnusableInput
from course_lib.quantization import equalization, folding
from course_lib.quiet import quiet

import numpy as np
import pytest

SIZE, CHANNELS = 8, 6


@pytest.fixture(scope="module")
def layers():
    with quiet():
        import keras
    keras.utils.set_random_seed(0)
    return keras.layers


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, SIZE, SIZE, 3)).astype(np.float32)


def model(layers, body):
    """Return the model of a function from the input tensor to the output tensor."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, body(image), name="net")


def chain(layers, activation="relu", *, kernel=1, padding="same"):
    """Return conv, depthwise convolution, conv: "made", "between", "read"."""

    def body(x):
        settings = {"activation": activation, "padding": "same"}
        x = layers.Conv2D(CHANNELS, 3, name="made", **settings)(x)
        x = layers.DepthwiseConv2D(3, name="between", **settings)(x)
        return layers.Conv2D(4, kernel, padding=padding, name="read")(x)

    return model(layers, body)


def change_weights(net, name, *, kernel=None, bias=None):
    """Let functions change a layer's kernel and bias in place."""
    old_kernel, old_bias = net.get_layer(name).get_weights()
    for change, values in ((kernel, old_kernel), (bias, old_bias)):
        if change:
            change(values)
    net.get_layer(name).set_weights([old_kernel, old_bias])


def put(index, value):
    """Return a function that sets some entries of an array."""

    def change(values):
        values[index] = value

    return change


def times(index, factor):
    """Return a function that multiplies some entries of an array."""

    def change(values):
        values[index] *= factor

    return change


def kernel(net, name):
    return net.get_layer(name).get_weights()[0]


def same_answers(one, other, inputs):
    old, new = (net.predict(inputs, verbose=0) for net in (one, other))
    return np.abs(old - new).max() <= 1e-4 * np.abs(old).max()


def same_weights(one, other):
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


def test_a_dead_channel_is_removed_where_it_is_made_and_read(layers, inputs):
    net = chain(layers)
    change_weights(net, "made", kernel=put(np.s_[..., 2], 0), bias=put(2, -1))
    change_weights(net, "between", kernel=put(np.s_[:, :, 2], 500))
    change_weights(net, "between", bias=put(2, 0.5))
    before = net.get_weights()
    cured, changes = equalization.remove_dead_channels(net, inputs)
    assert same_answers(net, cured, inputs)
    assert not kernel(cured, "between")[:, :, 2].any()
    # What the dead channel becomes, the constant 0.5, went into the next bias.
    assert not kernel(cured, "read")[:, :, 2].any()
    assert kernel(cured, "between")[:, :, [0, 1, 3]].all()
    assert [change.layer for change in changes] == ["between", "read"]
    assert changes[0].what.startswith("1 of 6 input and 1 of 6 output channels")
    assert "by the weights: largest weight 500, now 0." in changes[0].what
    assert all(map(np.array_equal, net.get_weights(), before))


@pytest.mark.parametrize(
    ("size", "padding", "absorbed"),
    [(1, "same", True), (3, "valid", True), (3, "same", False)],
)
def test_padding_keeps_a_constant_out_of_the_bias(
    layers, inputs, size, padding, absorbed
):
    net = chain(layers, kernel=size, padding=padding)
    change_weights(net, "between", kernel=put(np.s_[:, :, 2], 0), bias=put(2, 0.5))
    cured, changes = equalization.remove_dead_channels(net, inputs)
    assert same_answers(net, cured, inputs)
    assert (not kernel(cured, "read")[:, :, 2].any()) == absorbed
    assert [change.layer for change in changes] == ["read"] * absorbed


@pytest.mark.parametrize("factor", [1, 500])
def test_images_alone_are_believed_only_where_it_helps(layers, inputs, factor):
    net = chain(layers)
    change_weights(net, "made", bias=put(2, -50))
    change_weights(net, "between", kernel=times(np.s_[:, :, 2], factor))
    cured, changes = equalization.remove_dead_channels(net, inputs)
    assert same_answers(net, cured, inputs)
    assert kernel(cured, "between")[:, :, 2].any() == (factor == 1)
    assert all("constant on the inputs" in change.what for change in changes)
    assert bool(changes) == (factor == 500)


def test_weights_near_0_make_a_constant(layers, inputs):
    net = chain(layers)
    change_weights(net, "between", kernel=times(np.s_[:, :, 2], 1e-9), bias=put(2, 0.5))
    change_weights(net, "read", kernel=times(np.s_[:, :, 2], 500))
    cured, (change,) = equalization.remove_dead_channels(net, inputs)
    assert same_answers(net, cured, inputs)
    assert not kernel(cured, "read")[:, :, 2].any()
    assert change.layer == "read"


def test_a_channel_near_its_clip_is_alive(layers, inputs):
    net = chain(layers)
    # Never above 0 on the inputs, but less than the margin away.
    made = net.get_layer("made")
    change_weights(net, "made", bias=put(2, 0))
    import keras

    entering = keras.ops.conv(inputs, made.kernel, padding="same")[..., 2]
    highest = float(keras.ops.max(entering)) + float(keras.ops.std(entering))
    change_weights(net, "made", bias=put(2, -highest))
    change_weights(net, "between", kernel=times(np.s_[:, :, 2], 500))
    assert equalization.remove_dead_channels(net, inputs)[1] == ()


@pytest.mark.parametrize("both", [False, True])
def test_after_an_addition_a_channel_is_dead_if_both_are(layers, inputs, both):
    def body(x):
        settings = {"activation": "relu", "padding": "same"}
        one = layers.Conv2D(CHANNELS, 3, name="one", **settings)(x)
        two = layers.Conv2D(CHANNELS, 3, name="two", **settings)(x)
        return layers.Conv2D(4, 3, name="read")(layers.Add()([one, two]))

    net = model(layers, body)
    for name in ("one", "two")[: 1 + both]:
        change_weights(net, name, kernel=put(np.s_[..., 2], 0), bias=put(2, -1))
    cured, _ = equalization.remove_dead_channels(net, inputs)
    assert same_answers(net, cured, inputs)
    assert kernel(cured, "read")[:, :, 2].any() == (not both)


def branches(layers):
    """Return a net whose "made" is read through pooling, concatenation, flattening."""

    def body(x):
        settings = {"activation": "relu", "padding": "same"}
        made = layers.Conv2D(CHANNELS, 3, name="made", **settings)(x)
        other = layers.Conv2D(2, 3, name="other", **settings)(x)
        x = layers.Concatenate()([other, made])
        x = layers.Flatten()(layers.MaxPooling2D(4)(x))
        return layers.Dense(4, activation="softmax", name="read")(x)

    return model(layers, body)


def test_a_channel_is_followed_through_pooling_concatenation_and_flattening(
    layers, inputs
):
    net = branches(layers)
    change_weights(net, "made", kernel=put(np.s_[..., 1], 0), bias=put(1, -1))
    cured, (change,) = equalization.remove_dead_channels(net, inputs)
    rows = kernel(cured, "read").any(1).reshape(2, 2, 8)
    # Two channels of the other branch stand in front.
    assert not rows[:, :, 3].any()
    assert rows[:, :, [0, 1, 2, 4, 5, 6, 7]].all()
    assert change.what.startswith("4 of 32 input and 0 of 4 output channels")


def ranges(net):
    """Return the largest weight of each channel where it is made and where read."""
    made, read = kernel(net, "made"), kernel(net, "read")
    read = read.reshape(2, 2, 8, 4)[:, :, 2:].transpose(2, 0, 1, 3)
    return np.abs(made).max((0, 1, 2)), np.abs(read).max((1, 2, 3))


def test_equalization_follows_channels_and_makes_both_ranges_equal(layers, inputs):
    net = branches(layers)
    change_weights(net, "made", kernel=times(np.s_[..., 1], 100))
    change_weights(net, "made", bias=put(1, 3))
    cured, changes = equalization.equalize(net, inputs)
    assert same_answers(net, cured, inputs)
    assert np.allclose(*ranges(cured), rtol=0.01)
    assert not np.allclose(*ranges(net), rtol=0.5)
    assert "made" in {change.layer for change in changes}
    assert all("channels divided by" in change.what for change in changes)


@pytest.mark.parametrize("activation", ["relu", "relu6", "linear"])
def test_equalization_undoes_unequal_ranges_along_a_chain(layers, inputs, activation):
    net = chain(layers, activation)
    factors = np.exp(np.linspace(-3, 3, CHANNELS))
    change_weights(net, "made", kernel=times(..., factors / 20))
    change_weights(net, "between", kernel=times(..., 1 / factors[:, None]))
    cured, changes = equalization.equalize(net, inputs)
    assert same_answers(net, cured, inputs)
    assert [change.layer for change in changes] == ["made", "between"]
    before, after = (np.abs(kernel(n, "between")).max((0, 1, 3)) for n in (net, cured))
    assert after.max() / after.min() < 0.1 * before.max() / before.min()


def test_channels_at_the_clip_of_relu6_stay_as_they_are(layers, inputs):
    net = chain(layers, "relu6")
    change_weights(net, "made", kernel=times(np.s_[..., :3], 100))
    change_weights(net, "made", kernel=times(np.s_[..., 3:], 0.01))
    cured, _ = equalization.equalize(net, inputs)
    assert same_answers(net, cured, inputs)
    old, new = kernel(net, "made"), kernel(cured, "made")
    assert np.array_equal(old[..., :3], new[..., :3])
    assert (np.abs(new[..., 3:]) > 2 * np.abs(old[..., 3:])).all()
    assert cured.get_layer("made").activation.__name__ == "relu6"


def test_relu6_is_scaled_up_to_its_clip_and_no_further(layers, inputs):
    net = chain(layers, "relu6")
    change_weights(net, "between", kernel=times(..., 1000))
    cured, _ = equalization.equalize(net, inputs)
    assert same_answers(net, cured, inputs)
    import keras

    made = keras.Model(cured.inputs, cured.get_layer("made").output)
    highest = made.predict(inputs, verbose=0).max((0, 1, 2))
    assert np.allclose(highest, 6 * equalization.BELOW_CLIP, rtol=0.01)


def test_what_an_addition_an_output_or_another_layer_reads_keeps_its_range(
    layers, inputs
):
    def body(x):
        settings = {"activation": "relu", "padding": "same"}
        one = layers.Conv2D(CHANNELS, 3, name="one", **settings)(x)
        two = layers.Conv2D(CHANNELS, 3, name="two", **settings)(one)
        x = layers.Add()([one, two])
        soft = layers.Conv2D(CHANNELS, 1, activation="sigmoid", name="soft")(x)
        out = layers.Conv2D(CHANNELS, 1, name="out")(soft)
        return [out, layers.Conv2D(4, 1, name="last")(out)]

    net = model(layers, body)
    for name in ("one", "two", "soft", "out"):
        change_weights(net, name, kernel=times(np.s_[..., 1], 50))
    cured, changes = equalization.equalize(net, inputs)
    assert changes == ()
    assert same_weights(cured, net)


def test_two_readers_share_one_factor(layers, inputs):
    def body(x):
        x = layers.Conv2D(CHANNELS, 3, activation="relu", name="made")(x)
        one = layers.Conv2D(4, 1, name="one")(x)
        return layers.Concatenate()([one, layers.Conv2D(4, 1, name="two")(x)])

    net = model(layers, body)
    change_weights(net, "made", kernel=times(np.s_[..., 1], 50))
    cured, (change,) = equalization.equalize(net, inputs)
    assert same_answers(net, cured, inputs)
    assert change.layer == "made"
    one, two = (
        kernel(cured, n)[:, :, 1] / kernel(net, n)[:, :, 1] for n in ("one", "two")
    )
    assert np.allclose(one, one.mean(), rtol=1e-5)
    assert np.allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize(
    "cure", [equalization.remove_dead_channels, equalization.equalize]
)
def test_where_nothing_is_to_do_the_model_stays(layers, inputs, cure):
    healthy, _ = equalization.equalize(chain(layers), inputs)
    cured, changes = cure(healthy, inputs)
    assert changes == ()
    assert same_weights(cured, healthy)
    assert cured is not healthy


def test_batch_normalization_is_folded_first(layers, inputs):
    def body(x):
        x = layers.Conv2D(CHANNELS, 3, name="made", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
        return layers.Conv2D(4, 3, name="read")(x)

    net = model(layers, body)
    norm = net.get_layer("norm")
    gamma, *rest = norm.get_weights()
    norm.set_weights([gamma * np.geomspace(0.01, 100, CHANNELS), *rest])
    cured, changes = equalization.equalize(net, inputs)
    assert len(changes) == 1
    assert same_answers(net, cured, inputs)
    assert not any("BatchNorm" in call.kind for call in folding.calls(cured))


@pytest.mark.parametrize(
    "cure", [equalization.remove_dead_channels, equalization.equalize]
)
@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 8, 8, 1), (8, 8, 3)])
def test_inputs_that_do_not_fit_are_refused(layers, cure, shape):
    with pytest.raises(UnusableInput, match=r"expected calibration inputs for \[N, 8"):
        cure(chain(layers), np.zeros(shape, np.float32))


def test_a_changed_answer_is_refused(layers, inputs, monkeypatch):
    monkeypatch.setattr(equalization, "_SAME", 0.0)
    net = chain(layers)
    change_weights(net, "made", kernel=times(np.s_[..., 1], 1000 / 3))
    with pytest.raises(UnusableInput, match="its answers would change by"):
        equalization.equalize(net, inputs)
