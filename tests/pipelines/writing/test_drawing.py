"""Drawing: extreme pictures, stable colours, every switch of `plot`, texts that stay inside and apart."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from sam2_hf.pipelines.writing.drawing import Style, captions, colour_of, draw_mask, draw_texts, line_width, outline
from sam2_hf.processing.prompts import ObjectPrompt
from tests.pipelines.made_results import HEIGHT, WIDTH, made, shapes
from tests.tiny import scene

RED, GREEN = (255, 0, 0), (0, 128, 0)


def ring(**changes):
    return made(shapes()[:1], image=scene(HEIGHT, WIDTH), **changes)


def drawn(result, **options) -> np.ndarray:
    return np.asarray(result.plot(**options))


@pytest.mark.parametrize("size", [(1, 1), (1, 7000), (40, 7000), (700, 1)])
def test_extreme_sizes_are_drawn_with_everything_on(size):
    result = made(
        np.ones((1, *size), bool),
        labels=("a very long name of a class",),
        class_ids=np.array([0]),
        prompts=(ObjectPrompt(points=[[0.5, 0.5]], labels=[0], box=[0.0, 0.0, 1.0, 1.0]),),
        image=np.zeros((*size, 3), np.uint8),
    )
    assert result.plot(boxes=True, scores=True).size == size[::-1]


def test_narrow_pictures_get_thin_lines():
    assert line_width((1920, 1080)) == 5
    assert line_width((7000, 40)) == 1
    assert line_width((1, 1)) == 1


@pytest.mark.parametrize("mode", ["L", "1", "I;16", "P", "RGBA"])
def test_pictures_without_three_colours_are_drawn_in_colour(mode, tmp_path):
    grey = Image.fromarray(scene(HEIGHT, WIDTH)).convert("L")
    if mode == "I;16":
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "grey.png")
    else:
        grey.convert(mode).save(tmp_path / "grey.png")
    result = made(shapes()[:1], source=str(tmp_path / "grey.png"))
    assert tuple(drawn(result)[10, 20]) == colour_of(1)


def test_an_id_has_the_same_colour_in_every_result_and_another_than_its_neighbours():
    both, alone = made(shapes()[:2], object_ids=(4, 7), image=scene(HEIGHT, WIDTH)), ring(object_ids=(4,))
    assert tuple(drawn(both)[10, 20]) == tuple(drawn(alone)[10, 20]) == colour_of(4)
    assert len({colour_of(number) for number in range(1, 200)}) == 199
    assert colour_of("cat") == colour_of("cat") != colour_of("dog")


def test_palette_is_a_list_in_turn_or_a_colour_by_id():
    assert [colour_of(number, ["red", "#008000"]) for number in (1, 2, 3)] == [RED, GREEN, RED]
    assert colour_of("cat", {"cat": RED}) == RED
    assert colour_of(5, {"cat": RED}) == colour_of(5)
    assert tuple(drawn(ring(), palette=[GREEN])[10, 20]) == GREEN
    with pytest.raises(ValueError, match="`palette` has no colour"):
        ring().plot(palette=[])


def test_masks_and_contours_are_switched_one_by_one():
    picture, mask = scene(HEIGHT, WIDTH), shapes()[0]
    border = outline(mask, 1)
    nothing = drawn(ring(), masks=False, contours=False)
    assert np.array_equal(nothing, picture)
    only_contours = drawn(ring(), masks=False)
    assert np.array_equal(only_contours[~border], picture[~border])
    assert (only_contours[border] == colour_of(1)).all()
    only_masks = drawn(ring(), contours=False, alpha=1.0)
    assert (only_masks[mask] == colour_of(1)).all()
    assert np.array_equal(only_masks[~mask], picture[~mask])


def test_line_is_as_wide_as_asked():
    mask = shapes()[0]
    thick = drawn(ring(), masks=False, line=3, palette=[RED], background="black")
    assert np.array_equal((thick == RED).all(axis=2), outline(mask, 3))


def test_boxes_surround_the_pixels_of_the_mask():
    picture = drawn(ring(), masks=False, contours=False, boxes=True, palette=[RED], background=(0, 0, 0))
    rows, columns = np.nonzero((picture == RED).all(axis=2))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (20, 10, 50, 30)
    empty = made(shapes()[5:], image=scene(HEIGHT, WIDTH))
    assert np.array_equal(drawn(empty, boxes=True, scores=True), scene(HEIGHT, WIDTH))


def test_points_switches_the_prompts():
    prompts = (ObjectPrompt(points=[[70.0, 50.0]], labels=[1], box=[60.0, 40.0, 80.0, 55.0]),)
    on, off = (drawn(ring(prompts=prompts), points=choice) for choice in (True, False))
    assert tuple(on[50, 70]) == tuple(on[40, 60]) == colour_of(1)
    assert np.array_equal(off[40:], scene(HEIGHT, WIDTH)[40:])


def test_labels_and_scores_are_written_where_there_are_some():
    plain = drawn(ring())
    named = ring(labels=("cup",), class_ids=np.array([0]))
    assert np.array_equal(drawn(ring(), labels=False), plain)
    assert np.array_equal(drawn(named, labels=False), plain)
    assert not np.array_equal(drawn(named), plain)
    assert not np.array_equal(drawn(ring(), scores=True), plain)
    assert not np.array_equal(drawn(named, scores=True), drawn(named))


def test_background_takes_the_place_of_the_picture():
    result = made(shapes()[:1])
    picture = drawn(result, background="#102030")
    assert tuple(picture[0, 0]) == (16, 32, 48)
    with pytest.raises(ValueError, match="picture is not kept"):
        result.plot()


def test_texts_do_not_cover_each_other_while_there_is_room():
    image = Image.new("RGB", (200, 120))
    boxes = np.array([[20, 40, 150, 100]] * 3, np.float32)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    draw_texts(image, ["first", "second", "third"], boxes, colours, ImageFont.load_default(size=12))
    pixels = np.asarray(image)
    widths = [(pixels == colour).all(axis=2).any(axis=0).sum() for colour in colours]
    assert min(widths) > 20


def test_large_font_and_wrong_values():
    named = ring(labels=("cup",), class_ids=np.array([0]))
    small, large = (np.count_nonzero(drawn(named, font=size) != drawn(ring())) for size in (8, 30))
    assert large > small
    assert named.plot(font=ImageFont.load_default(size=9)).size == (WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=r"`alpha` is 2, but an opacity is between 0 and 1"):
        named.plot(alpha=2)
    with pytest.raises(ValueError, match="`line` is 0, but"):
        named.plot(line=0)


def test_objects_that_a_class_does_not_tell_apart_are_numbered():
    style = Style()
    several = made(shapes()[:3], object_ids=(4, 9, "left"))
    assert captions(several, style) == ["4", "9", "left"]
    named = made(shapes()[:3], object_ids=(4, 9, 2), labels=("cat", "dog", "cat"), class_ids=np.array([0, 1, 0]))
    assert captions(named, style) == ["cat 4", "dog", "cat 2"]
    assert captions(made(shapes()[:1]), style) == [""]  # one object needs no number
    assert captions(several, Style(labels=False)) == ["", "", ""]


def plainly(pixels, masks, colours, alpha, line):
    """Masks one after the other, by the formula: a mean of two colours inside, then pixels within `line` of outside."""
    pixels = pixels.astype(float)
    for mask, colour in zip(masks, colours, strict=True):
        pixels[mask] = np.floor((1 - alpha) * pixels[mask] + alpha * np.array(colour))
        rim = mask.copy()
        for row, column in np.argwhere(mask):
            steps = [(y, x) for y in range(-line, line + 1) for x in range(-line, line + 1) if abs(y) + abs(x) <= line]
            around = [(row + y, column + x) for y, x in steps]
            rim[row, column] = any(
                not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]) for y, x in around
            )
        pixels[rim] = colour
    return pixels


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_overlapping_masks_are_drawn_by_the_plain_formula(alpha):
    random = np.random.default_rng(1)
    masks = np.zeros((3, 30, 41), bool)
    masks[0, 4:25, 0:30], masks[1, 10:30, 20:41] = True, True
    masks[2] = random.random((30, 41)) > 0.2
    picture = random.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    result = made(masks, image=picture)
    palette = [(255, 0, 7), (13, 200, 90), (0, 0, 255)]
    found = drawn(result, alpha=alpha, line=2, palette=palette, points=False, labels=False)
    assert np.abs(found - plainly(picture, masks, palette, alpha, 2)).max() <= 1


def test_a_mask_is_drawn_into_an_array_and_nothing_beside_it():
    picture, mask = scene(30, 40), np.zeros((30, 40), bool)
    mask[5:12, 8:20] = True
    before = picture.copy()
    draw_mask(picture, np.zeros_like(mask), RED, 0.5)
    assert np.array_equal(picture, before)
    draw_mask(picture, mask, RED, 1.0)
    assert (picture[mask] == RED).all() and np.array_equal(picture[~mask], before[~mask])
