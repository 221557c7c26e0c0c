"""Grids, crops, suppression and candidates: worked values, brute force, and every edge."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from sam2_hf.processing.candidates import clean_mask, ends_at_crop, inclusive_boxes, is_stable
from sam2_hf.processing.crops import crops_of, layer_grids, point_grid
from sam2_hf.processing.library_generation import filter_masks, from_run_lengths, run_lengths
from sam2_hf.processing.suppression import box_ious, box_suppression


def test_grid_runs_row_by_row():
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert [len(grid) for grid in layer_grids(8, 2, 2)] == [64, 16, 4]
    assert len(layer_grids(2, 2, 4)[2]) == 1


def test_crops_of_an_odd_picture_are_as_worked_out():
    boxes = [crop.box for crop in crops_of((301, 400), 1, 0.341333)]
    assert boxes == [
        (0, 0, 400, 301),
        (0, 0, 251, 202),
        (0, 100, 251, 301),
        (149, 0, 400, 202),
        (149, 100, 400, 301),
    ]


def slow_suppression(boxes, scores, threshold):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        if all(float(box_ious(boxes[index : index + 1], boxes[k : k + 1])) <= threshold for k in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("block", [3, 1000])
def test_suppression_equals_the_obvious_form_in_any_block_size(monkeypatch, block):
    monkeypatch.setattr("sam2_hf.processing.suppression.BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        corner = torch.rand(40, 2, generator=generator) * 20
        boxes = torch.cat((corner, corner + torch.rand(40, 2, generator=generator) * 15), dim=1)
        scores = (torch.rand(40, generator=generator) * 8).round()  # ties
        assert box_suppression(boxes, scores, 0.3).tolist() == slow_suppression(boxes, scores, 0.3)


def test_suppression_of_nothing_and_of_boxes_without_area():
    assert box_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    assert box_suppression(torch.zeros(3, 4), torch.tensor([1.0, 3.0, 2.0]), 0.5).tolist() == [1, 2, 0]


def test_boxes_have_inclusive_maxima_and_empty_masks_zeros():
    mask = torch.tensor([[0, 1, 1], [0, 0, 1]], dtype=torch.bool)
    assert inclusive_boxes(torch.stack((mask, torch.zeros_like(mask)))).tolist() == [[1, 0, 2, 1], [0, 0, 0, 0]]


def test_masks_at_a_crop_s_side_are_cut_off_unless_it_is_the_picture_s():
    boxes = torch.tensor([[30, 30, 60, 60], [120, 30, 180, 60], [0, 30, 60, 60]])
    assert ends_at_crop(boxes, (0, 0, 200, 200), (200, 400)).tolist() == [False, True, False]
    assert ends_at_crop(boxes, (0, 0, 200, 200), (200, 400), margin=10).tolist() == [False, False, False]


def test_stability_of_an_empty_mask_is_zero_and_not_kept():
    logits = torch.stack((torch.full((2, 2), -5.0), torch.tensor([[-2.0, -0.5], [0.5, 2.0]])))
    stability, keep = is_stable(logits, 0.3, 0.0, 1.0)
    assert stability.tolist() == pytest.approx([0, 1 / 3])
    assert keep.tolist() == [False, True]
    assert is_stable(logits, 0, 0.0, 1.0)[1].all()


def test_cleaning_removes_parts_and_fills_holes_below_the_limit():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False  # hole of 4
    mask[15, 15:18] = True  # speck of 3
    cleaned = clean_mask(mask, 4)
    assert not cleaned[15].any()
    assert not cleaned[5:7, 5:7].any()  # 4 is not below 4
    assert clean_mask(mask, 5)[5:7, 5:7].all()


def test_cleaning_keeps_the_largest_part_where_all_are_small():
    mask = np.zeros((10, 10), bool)
    mask[1, 1:3] = mask[6, 2:6] = True
    cleaned = clean_mask(mask, 50)
    assert cleaned.sum() == 4
    assert ndimage.label(cleaned)[1] == 1
    assert not clean_mask(np.zeros((4, 4), bool), 3).any()


def test_run_lengths_of_the_worked_mask():
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert run_lengths(mask)["counts"] == [2, 1, 1, 2]
    for other in (mask, ~mask, np.zeros((2, 3), bool), np.ones((2, 3), bool)):
        assert np.array_equal(from_run_lengths(run_lengths(other)), other)


def test_filtered_masks_lie_in_the_picture():
    logits = torch.full((1, 1, 120, 200), -5.0)
    logits[..., 50:60, 90:100] = 5.0
    size, crop = (200, 300), (50, 40, 250, 160)
    rles, scores, boxes = filter_masks(logits, torch.tensor([[0.95]]), size, crop)
    mask = from_run_lengths(rles[0])
    assert mask[90:100, 140:150].all()
    assert mask.sum() == 100
    assert boxes.tolist() == [[140, 90, 149, 99]]
    assert scores.tolist() == pytest.approx([0.95])
    assert filter_masks(logits, torch.tensor([[0.5]]), size, crop)[0] == []
