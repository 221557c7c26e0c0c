import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam2_hf.processing.masks import (
    boxes_of,
    clean_logits,
    fill_holes,
    post_process_masks,
    small_components,
    stability_scores,
    suppress_overlaps,
)


def logits_with(*rectangles: tuple[int, int, int, int], value: float = 5.0) -> torch.Tensor:
    """(1, 1, 16, 16) of -5 with rectangles (y0, x0, y1, x1) of another value; later ones win."""
    logits = torch.full((1, 1, 16, 16), -5.0)
    for index, (y0, x0, y1, x1) in enumerate(rectangles):
        logits[..., y0:y1, x0:x1] = value if index % 2 == 0 else -5.0
    return logits


def test_masks_are_resized_logits_above_the_threshold():
    logits = torch.randn(1, 2, 3, 16, 16)
    masks = post_process_masks(logits, [(33, 57)])
    expected = F.interpolate(logits[0], (33, 57), mode="bilinear", align_corners=False) > 0
    assert masks[0].dtype == torch.bool and torch.equal(masks[0], expected)


def test_pictures_of_a_batch_get_their_own_sizes():
    masks = post_process_masks(torch.randn(2, 1, 3, 16, 16), torch.tensor([[20, 30], [40, 10]]))
    assert [tuple(mask.shape) for mask in masks] == [(1, 3, 20, 30), (1, 3, 40, 10)]


def test_logits_can_be_had_unthresholded():
    logits = torch.randn(1, 1, 1, 16, 16)
    assert torch.equal(post_process_masks(logits, [(16, 16)], binarize=False)[0], logits[0])


def test_holes_up_to_the_limit_are_filled_and_larger_ones_stay():
    """The library accepts these arguments and ignores them."""
    logits = logits_with((2, 2, 14, 14), (4, 4, 6, 6), value=5.0)  # a hole of 4
    logits[..., 8:12, 8:12] = -5.0  # a hole of 16
    cleaned = clean_logits(logits, 0.0, max_hole_area=4, max_sprinkle_area=0)
    assert bool((cleaned[..., 4:6, 4:6] == 10.0).all())
    assert torch.equal(cleaned[..., 8:12, 8:12], logits[..., 8:12, 8:12])
    assert torch.equal(clean_logits(logits, 0.0, max_hole_area=3, max_sprinkle_area=0), logits)


def test_holes_of_a_video_are_whatever_is_not_above_zero():
    logits = torch.full((1, 8, 8), 2.0)
    logits[0, 2, 2], logits[0, 5, 5] = -0.5, 0.0
    filled = fill_holes(logits, 4)
    assert (filled > 0).all()
    assert torch.equal(filled[logits > 0], logits[logits > 0])


def test_sprinkles_up_to_the_limit_are_removed():
    logits = logits_with((2, 2, 10, 10))
    logits[..., 13, 13] = 5.0
    cleaned = clean_logits(logits, 0.0, max_hole_area=0, max_sprinkle_area=1)
    assert cleaned[0, 0, 13, 13] == -10.0
    assert bool((cleaned[..., 2:10, 2:10] == 5.0).all())


def test_components_touch_over_corners():
    mask = np.eye(4, dtype=bool)
    assert not small_components(mask, max_area=3).any()
    assert np.array_equal(small_components(mask, max_area=4), mask)


def test_sprinkles_are_found_before_holes_are_filled():
    logits = logits_with((2, 2, 9, 9), (4, 4, 7, 7))
    logits[..., 5, 5] = 5.0  # a speck in a hole of 8
    cleaned = clean_logits(logits, 0.0, max_hole_area=8, max_sprinkle_area=1)
    assert cleaned[0, 0, 5, 5] == -10.0 and cleaned[0, 0, 4, 4] == 10.0


def test_each_pixel_belongs_to_the_object_with_the_highest_logit():
    logits = torch.tensor([3.0, 1.0, -4.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2).clone()
    logits[1, 0, 0, 0] = 9.0
    kept = suppress_overlaps(logits)
    assert kept[:, 0, 0, 0].tolist() == [-10.0, 9.0, -10.0]
    assert kept[:, 0, 1, 1].tolist() == [3.0, -10.0, -10.0]
    masks = post_process_masks(logits[None], [(2, 2)], apply_non_overlapping_constraints=True)[0]
    assert masks.sum(dim=0).max() == 1


def test_boxes_lie_on_pixel_edges():
    masks = torch.zeros(3, 10, 20, dtype=torch.bool)
    masks[0, 2:5, 3:9] = True
    masks[1, 9, 19] = True
    assert boxes_of(masks).tolist() == [[3, 2, 9, 5], [19, 9, 20, 10], [0, 0, 0, 0]]


def test_stability_of_the_worked_example():
    logits = torch.tensor([[-2.0, -0.5, 0.5, 2.0]])
    assert stability_scores(logits) == pytest.approx(1 / 3)
    assert stability_scores(torch.full((2, 2), -9.0)) == 0.0  # nothing anywhere, no NaN


def test_no_objects_give_no_masks():
    assert post_process_masks([torch.zeros(0, 3, 16, 16)], [(20, 30)])[0].shape == (0, 3, 20, 30)


def test_wrong_counts_and_axes_are_refused():
    with pytest.raises(ValueError, match="2 pictures in `masks`, but 1 in `original_sizes`"):
        post_process_masks(torch.zeros(2, 1, 1, 4, 4), [(4, 4)])
    with pytest.raises(ValueError, match=r"must be \(objects, masks, height, width\), got \(1, 4, 4\)"):
        post_process_masks(torch.zeros(1, 1, 4, 4), [(4, 4)])
