"""Pictures of a run with masks before and after it: the same for the same seed, whatever the sources are."""

import numpy as np
import pytest
from PIL import Image

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.evaluation.training_examples import (
    FOUND_COLOUR,
    MOST,
    TILE_HEIGHT,
    TILE_WIDTH,
    TRUE_COLOUR,
    Example,
    _window,
    draw_examples,
    examples_sheet,
    masks_from_boxes,
)
from sam2_hf.training.mixing import MixedSource
from sam2_hf.training.sources import ClipSource, SamplingOptions
from sam2_hf.training.transforms import AugmentOptions
from tests.tiny import micro_model, micro_processor


def mixed(count, name="p", size=(40, 60), objects=True, **sampling):
    clips = []
    for number in range(count):
        mask = np.zeros(size, bool)
        mask[5:15, 10 : 20 + number] = objects
        clips.append(ArrayClip(f"{name}{number}", [np.full((*size, 3), 90, np.uint8)] * 2, [{1: mask}] * 2))
    source = ClipSource(clips, SamplingOptions(**sampling))
    return MixedSource(source=source, augment=AugmentOptions(), batch_size=1)


def names(examples):
    return [example.name for example in examples]


def test_the_same_seed_takes_the_same_pictures():
    first, again, other = (draw_examples([mixed(30)], 64, seed) for seed in (1, 1, 2))
    assert names(first) == names(again) != names(other)
    assert len(set(names(first))) == MOST


def test_sources_take_turns_and_small_ones_give_what_they_have():
    found = names(draw_examples([mixed(1, "a"), mixed(9, "b", num_frames=2)], 64, 1))
    assert found[0] == "a0"
    assert all(name.startswith("b") for name in found[1:]) and len(found) == MOST


def test_clips_without_an_object_are_passed_over():
    found = names(draw_examples([mixed(3, "empty", objects=False), mixed(3, "good")], 64, 1))
    assert sorted(found) == ["good0", "good1", "good2"]


def test_large_pictures_are_shown_at_the_size_of_the_model():
    (example,) = draw_examples([mixed(1, size=(400, 600))], 64, 1)
    assert example.picture.size == (64, 43)
    assert example.truth.shape == (43, 64)


def test_a_sheet_has_the_truth_and_both_masks_beside_each_other():
    model, processor = micro_model(image_size=64), micro_processor(64)
    examples = draw_examples([mixed(2)], 64, 1)
    before = masks_from_boxes(model, processor, examples)
    assert [mask.shape for mask in before] == [example.truth.shape for example in examples]
    nothing = [np.zeros_like(mask) for mask in before]
    sheet = np.asarray(examples_sheet(examples, nothing, [~mask for mask in nothing], step=7)).astype(int)
    thirds = np.array_split(sheet, 3, axis=1)
    assert [has(part, TRUE_COLOUR) for part in thirds] == [True, False, False]
    assert [has(part, FOUND_COLOUR) for part in thirds] == [False, False, True]


def has(part, colour):
    """Whether a picture has the colour of an outline."""
    return bool((part == colour).all(axis=-1).any())


@pytest.mark.parametrize("box", [(0, 0, 3, 3), (190, 90, 200, 100), (80, 40, 90, 70), (0, 0, 200, 100)])
def test_a_tile_shows_the_whole_object_and_what_is_around_it(box):
    truth = np.zeros((100, 200), bool)
    truth[box[1] : box[3], box[0] : box[2]] = True
    x0, y0, x1, y1 = _window(truth)
    assert 0 <= x0 <= box[0] and box[2] <= x1 <= 200
    assert 0 <= y0 <= box[1] and box[3] <= y1 <= 100
    assert (x1 - x0) / (y1 - y0) == pytest.approx(min(2, max(TILE_WIDTH / TILE_HEIGHT, (x1 - x0) / 100)), rel=0.05)


def test_a_single_pixel_can_be_shown():
    truth = np.zeros((5, 5), bool)
    truth[4, 0] = True
    example = Example(name="a" * 90, picture=Image.new("RGB", (5, 5)), truth=truth)
    assert examples_sheet([example], [truth], [~truth], 1).size[0] > TILE_WIDTH
