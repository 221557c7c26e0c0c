"""Augmentation: one draw for a whole clip, masks that stay on their objects, distributions."""

import numpy as np
import pytest
import torch

from sam2_hf.training.transforms import NO_AUGMENTATION, AugmentOptions, RawClip, augment, normalise, resize_masks

STILL = {"jitter": (0, 0, 0), "frame_jitter": (0, 0, 0), "grey": 0}
GEOMETRY = AugmentOptions(**STILL)


def clip(num_frames=3, height=48, width=80, void=False):
    """A bright rectangle on black: its mask is where the picture is bright."""
    masks = torch.zeros(1, num_frames, height, width, dtype=torch.bool)
    masks[:, :, 14:34, 22:60] = True
    frames = (masks[0, :, None] * 200).to(torch.uint8).expand(-1, 3, -1, -1)
    return RawClip(frames=frames, masks=masks, void=masks[0] if void else None, name="made")


def brightness(frames):
    return frames.mean(dim=1)


def agreement(result):
    """IoU of the mask with what is bright."""
    bright = brightness(result.frames) > 150
    inside = result.masks[0]
    return ((bright & inside).sum() / (bright | inside).sum()).item()


def test_nothing_but_the_size_changes_without_augmentation():
    result = augment(clip(), 64, NO_AUGMENTATION, np.random.default_rng(0))
    assert result.frames.shape == (3, 3, 64, 64)
    assert result.masks.shape == (1, 3, 64, 64)
    assert agreement(result) > 0.97
    assert torch.equal(result.frames[0], result.frames[2])


@pytest.mark.parametrize("seed", range(8))
def test_masks_follow_their_objects_through_every_geometry(seed):
    options = AugmentOptions(**STILL, crop=0.7, mosaic=0.0)
    result = augment(clip(void=True), 64, options, np.random.default_rng(seed))
    assert agreement(result) > 0.9
    assert torch.equal(result.void, result.masks[0])
    assert torch.equal(result.frames[0], result.frames[1])
    assert torch.equal(result.masks[:, 0], result.masks[:, 2])


def test_same_seed_same_clip_and_no_global_state():
    before = torch.random.get_rng_state()
    first, second = (augment(clip(), 32, AugmentOptions(), np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first.frames, second.frames)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_input_is_left_alone():
    given = clip()
    copy = given.frames.clone()
    augment(given, 32, AugmentOptions(), np.random.default_rng(1))
    assert torch.equal(given.frames, copy)


def test_half_of_the_clips_are_mirrored():
    half = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    half[..., :16] = True
    given = RawClip(frames=torch.zeros(1, 3, 32, 32, dtype=torch.uint8), masks=half, void=None, name="")
    options = AugmentOptions(**STILL, rotation=0, shear=0)
    flipped = [bool(augment(given, 32, options, np.random.default_rng(seed)).masks[0, 0, 0, -1]) for seed in range(200)]
    assert 75 < sum(flipped) < 125


def test_rotation_keeps_the_proportions_of_the_original_picture():
    """A quarter turn of a 2:1 bar in a 2:1 picture fills the height, not half of the squeezed square."""
    bar = torch.zeros(1, 1, 40, 80, dtype=torch.bool)
    bar[:, :, 18:22, 20:60] = True  # 40 long, 4 thick
    given = RawClip(frames=torch.zeros(1, 3, 40, 80, dtype=torch.uint8), masks=bar, void=None, name="")

    class Quarter:
        def uniform(self, low, high):
            return 90.0 if high > 80 else 0.0

        def random(self):
            return 1.0

        def permutation(self, count):
            return range(count)

    options = AugmentOptions(**STILL, flip=0, rotation=90, shear=1)
    mask = augment(given, 80, options, Quarter()).masks[0, 0]
    assert mask.any(dim=1).sum().item() == pytest.approx(80, abs=4)  # 40 of 40 original rows
    assert mask.any(dim=0).sum().item() == pytest.approx(4, abs=2)  # 4 of 80 original columns


def test_affine_that_loses_an_object_is_skipped_and_counted():
    corner = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    corner[..., 0, 0] = True
    given = RawClip(frames=torch.zeros(1, 3, 64, 64, dtype=torch.uint8), masks=corner, void=None, name="")
    results = [augment(given, 64, GEOMETRY, np.random.default_rng(seed)) for seed in range(30)]
    assert all(result.masks.any() for result in results)
    assert any(result.skipped_affine for result in results)
    assert not augment(clip(), 64, GEOMETRY, np.random.default_rng(0)).skipped_affine


def test_mosaic_shows_four_copies_and_keeps_the_objects_of_one():
    options = AugmentOptions(**STILL, rotation=0, shear=0, mosaic=1.0)
    result = augment(clip(), 64, options, np.random.default_rng(0))
    bright = brightness(result.frames)[0] > 100
    assert result.masks[0, 0].sum().item() == pytest.approx(bright.sum().item() / 4, rel=0.1)
    assert (bright | ~result.masks[0, 0])[result.masks[0, 0]].float().mean() > 0.9


def test_clip_jitter_is_one_draw_and_frame_jitter_is_not():
    whole = AugmentOptions(flip=0, rotation=0, shear=0, jitter=(0.5, 0, 0), frame_jitter=(0, 0, 0), grey=0)
    frames = augment(clip(), 32, whole, np.random.default_rng(1)).frames
    assert torch.equal(frames[0], frames[1])
    single = AugmentOptions(flip=0, rotation=0, shear=0, jitter=(0, 0, 0), frame_jitter=(0.5, 0, 0), grey=0)
    frames = augment(clip(), 32, single, np.random.default_rng(1)).frames
    assert not torch.equal(frames[0], frames[1])


def test_brightness_factors_are_uniform_within_their_bounds():
    options = AugmentOptions(flip=0, rotation=0, shear=0, jitter=(0.2, 0, 0), frame_jitter=(0, 0, 0), grey=0)
    grey = RawClip(
        frames=torch.full((1, 3, 8, 8), 100, dtype=torch.uint8),
        masks=torch.ones(1, 1, 8, 8, dtype=torch.bool),
        void=None,
        name="",
    )
    means = [augment(grey, 8, options, np.random.default_rng(seed)).frames.mean().item() for seed in range(400)]
    assert 80 <= min(means) < 83
    assert 117 < max(means) <= 120
    assert np.mean(means) == pytest.approx(100, abs=2)


def test_grey_clips_have_equal_channels():
    options = AugmentOptions(flip=0, rotation=0, shear=0, jitter=(0, 0, 0), frame_jitter=(0, 0, 0), grey=1)
    colourful = RawClip(
        frames=torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8),
        masks=torch.ones(1, 2, 8, 8, dtype=torch.bool),
        void=None,
        name="",
    )
    frames = augment(colourful, 8, options, np.random.default_rng(0)).frames
    assert torch.allclose(frames[:, 0], frames[:, 2])


def test_masks_shrink_by_majority():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :2, :2] = True
    mask[0, 3, 3] = True
    assert resize_masks(mask, 2).int().tolist() == [[[1, 0], [0, 0]]]


def test_normalisation_is_that_of_the_processor():
    from tests.tiny import micro_processor

    frame = torch.randint(0, 255, (3, 256, 256), dtype=torch.uint8)
    expected = micro_processor().image_processor(frame, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(normalise(frame), expected)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`crop` is 0"):
        AugmentOptions(crop=0)
    with pytest.raises(ValueError, match="`flip` is 2"):
        AugmentOptions(flip=2)
