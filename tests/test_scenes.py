"""The camera scenes: the same for a seed, and labels and boxes that are never wrong."""

from dataclasses import replace

from course_lib.vision import scenes
from course_lib.vision._scenes import background, light, staging
from course_lib.vision._scenes.drawing import Sprite, Thing

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def many():
    return scenes.generate(240, seed=7)


def test_images_and_labels_have_the_promised_form(many):
    assert many.images.shape == (240, 96, 96, 3)
    assert many.images.dtype == np.uint8
    assert many.person.shape == many.car.shape == (240,)
    assert many.person.dtype == many.car.dtype == bool
    assert len(many) == len(many.boxes) == 240


def test_the_same_seed_draws_the_same_scenes(many):
    again = scenes.generate(20, seed=7)
    assert np.array_equal(again.images, many.images[:20])
    assert again.boxes == many.boxes[:20]
    assert np.array_equal(again.person, many.person[:20])
    assert np.array_equal(again.car, many.car[:20])


def test_two_processes_draw_the_same_scenes(many):
    again = scenes.generate(40, seed=7, processes=2)
    assert np.array_equal(again.images, many.images[:40])
    assert again.boxes == many.boxes[:40]


def test_another_seed_draws_other_scenes(many):
    other = scenes.generate(20, seed=8)
    change = np.abs(other.images.astype(int) - many.images[:20])
    assert change.mean(axis=(1, 2, 3)).min() > 5


def test_no_two_scenes_are_alike(many):
    small = many.images[:, ::8, ::8].reshape(len(many), -1).astype(int)
    for index in range(len(many) - 1):
        assert np.abs(small[index + 1 :] - small[index]).mean(axis=1).min() > 3


def test_a_label_is_true_exactly_where_a_box_has_it(many):
    for index, boxes in enumerate(many.boxes):
        labels = {box.label for box in boxes}
        assert labels <= set(scenes.LABELS)
        assert many.person[index] == ("person" in labels)
        assert many.car[index] == ("car" in labels)


def test_boxes_lie_in_the_frame_and_are_not_tiny(many):
    for box in (box for boxes in many.boxes for box in boxes):
        assert 0 <= box.top < box.bottom <= 96
        assert 0 <= box.left < box.right <= 96
        assert box.bottom - box.top >= 7
        assert 0.45 <= box.visible <= 1


def test_all_four_combinations_are_common_and_independent(many):
    for person in (False, True):
        for car in (False, True):
            share = np.mean((many.person == person) & (many.car == car))
            assert 0.15 < share < 0.35


def test_people_and_cars_come_in_many_sizes(many):
    for label in scenes.LABELS:
        heights = [
            box.bottom - box.top
            for boxes in many.boxes
            for box in boxes
            if box.label == label
        ]
        assert np.percentile(heights, 90) > 1.6 * np.percentile(heights, 10)
        assert len(set(heights)) > 20


def test_light_varies_from_night_to_day(many):
    brightness = many.images.mean(axis=(1, 2, 3))
    assert np.percentile(brightness, 5) < 70
    assert np.percentile(brightness, 95) > 130
    grey = (many.images[..., 0] == many.images[..., 2]).mean(axis=(1, 2)) > 0.9
    assert 0.03 < grey.mean() < 0.2  # infrared


@pytest.mark.parametrize("size", [48, 64, 97])
def test_other_sizes(size):
    drawn = scenes.generate(6, seed=1, size=size)
    assert drawn.images.shape == (6, size, size, 3)
    for box in (box for boxes in drawn.boxes for box in boxes):
        assert box.bottom <= size
        assert box.right <= size


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"count": 0}, "count is 0, expected a whole number 1 or more"),
        ({"count": 2.5}, "count is 2.5, expected a whole number"),
        ({"count": True}, "count is True, expected a whole number"),
        ({"seed": -1}, "seed is -1, expected a whole number 0 or more"),
        ({"seed": None}, "seed is None, expected a whole number"),
        ({"size": 16}, "size is 16, expected a whole number from 32 to 512"),
        ({"size": 1024}, "size is 1024, expected a whole number from 32 to 512"),
        ({"background_seed": -3}, "background_seed is -3, expected a whole number 0"),
    ],
)
def test_bad_arguments_are_named_with_their_rule(arguments, rule):
    arguments = {"count": 1, "seed": 0, **arguments}
    with pytest.raises(ValueError, match=rule) as caught:
        scenes.generate(arguments.pop("count"), **arguments)
    assert "\n" not in str(caught.value)


# One camera, one place.


def _structure(images):
    """How strong the edges of the mean picture are: what moves averages out."""
    mean = images.astype(float).mean(axis=0)
    return np.abs(np.diff(mean, axis=0)).mean()


def test_a_static_background_stays_while_people_and_cars_change():
    static = scenes.generate(24, seed=3, background_seed=5)
    free = scenes.generate(24, seed=3)
    assert _structure(static.images) > 1.5 * _structure(free.images)
    assert 0 < static.person.sum() < 24
    assert 0 < static.car.sum() < 24
    brightness = static.images.mean(axis=(1, 2, 3))
    assert np.ptp(brightness) > 30


def test_a_static_background_is_the_same_for_every_seed_and_count():
    one = scenes.generate(4, seed=3, background_seed=5)
    longer = scenes.generate(6, seed=3, background_seed=5)
    assert np.array_equal(one.images, longer.images[:4])
    elsewhere = scenes.generate(4, seed=3, background_seed=6)
    assert not np.array_equal(one.images, elsewhere.images)


# The measure of a box, on objects whose place is known.


@pytest.fixture(scope="module")
def stage():
    """A camera, an empty site, and overcast daylight without haze."""
    rng = np.random.default_rng(0)
    camera = staging.mount_camera(rng, 192)
    view = background.render(background.make_site(rng, camera), camera, factor=2)
    grey = np.full(3, 200.0)
    weather = light.Weather("day", "overcast", np.ones(3), grey, grey, 1e6, None)
    return camera, view, weather


def _block(label, depth, left, top, right, bottom, colour=(255, 0, 255, 255)):
    """A rectangle on the canvas, which has two pixels for one of the picture."""
    image = Image.new("RGBA", (right - left, bottom - top), colour)
    return Thing(label, np.array([0.0, 0, depth]), depth, Sprite(image, left, top))


def test_a_box_is_exact(stage):
    things = [_block("person", 6.0, 40, 60, 60, 120)]
    _, boxes = scenes._draw(things, *stage)
    assert boxes == (scenes.Box("person", 30, 20, 60, 30, 1.0),)


def test_a_pixel_belongs_to_a_box_if_half_of_it_does(stage):
    things = [_block("person", 6.0, 41, 61, 61, 121)]
    (box,) = scenes._draw(things, *stage)[1]
    # Odd edges: the outer rows and columns are half covered, the corners a quarter.
    assert (box.top, box.left, box.bottom, box.right) == (30, 20, 61, 31)


def test_the_frame_cuts_a_box(stage):
    things = [_block("car", 6.0, -40, 150, 60, 200)]
    (box,) = scenes._draw(things, *stage)[1]
    assert (box.top, box.left, box.bottom, box.right) == (75, 0, 96, 30)
    assert box.visible == pytest.approx(60 * 42 / (100 * 50))


def test_what_stands_in_front_cuts_a_box(stage):
    things = [
        _block("", 4.0, 40, 100, 60, 120, (0, 255, 0, 255)),
        _block("person", 6.0, 40, 60, 60, 120),
    ]
    (box,) = scenes._draw(things, *stage)[1]
    assert (box.top, box.bottom) == (30, 50)
    assert box.visible == pytest.approx(2 / 3)


def test_what_stands_behind_cuts_nothing(stage):
    things = [
        _block("", 9.0, 40, 100, 60, 120, (0, 255, 0, 255)),
        _block("person", 6.0, 40, 60, 60, 120),
    ]
    (box,) = scenes._draw(things, *stage)[1]
    assert box.visible == 1


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(_block("person", 6.0, 100, 60, 120, 120), id="covered"),
        pytest.param(_block("person", 3.0, 185, 60, 205, 120), id="outside the frame"),
        pytest.param(_block("person", 3.0, 20, 60, 26, 72), id="tiny"),
        pytest.param(_block("car", 3.0, 20, 60, 120, 70), id="flat"),
    ],
)
def test_what_nobody_would_see_is_left_out_of_the_picture(stage, hidden):
    front = _block("", 4.0, 90, 50, 130, 105, (0, 255, 0, 255))
    without, _ = scenes._draw([front], *stage)
    picture, boxes = scenes._draw([front, hidden], *stage)
    assert boxes == ()
    assert np.array_equal(picture, without)


def test_what_looks_like_its_background_is_left_out(stage):
    camera, view, weather = stage
    plain = Image.new("RGB", view.canvas.size, (90, 90, 90))
    view = replace(view, canvas=plain, colours=background.planes(plain.reduce(2)))
    things = [_block("person", 6.0, 40, 60, 60, 120, (96, 92, 90, 255))]
    assert scenes._draw(things, camera, view, weather)[1] == ()
    things = [_block("person", 6.0, 40, 60, 60, 120, (160, 92, 60, 255))]
    assert len(scenes._draw(things, camera, view, weather)[1]) == 1


def test_the_camera_inverts_its_own_projection():
    camera = staging.mount_camera(np.random.default_rng(4), 192)
    camera = replace(camera, roll=0.0)
    columns, depths = np.array([20.0, 96.0, 170.0]), np.array([4.0, 7.0, 11.0])
    points = camera.ground(columns, depths)
    seen = camera.project(points)
    assert np.allclose(points[:, 1], 0)
    assert np.allclose(seen[:, 0], columns)
    assert np.allclose(seen[:, 2], depths)
