"""Recall of automatic masks: the matching by hand, the protocol with the micro model."""

import numpy as np
import pytest

from sam2_hf import Sam2MaskGenerator
from sam2_hf.datasets.registry import open_dataset
from sam2_hf.evaluation.automatic_masks import THRESHOLDS, AutomaticMasks, iou_matrix, matched
from sam2_hf.evaluation.metrics import region_similarity
from sam2_hf.processing.rle import Masks
from tests.evaluation.toy import picture_data_set
from tests.tiny import micro_model, micro_processor

SIDE = 64
OPTIONS = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 0.95}


def test_mask_by_mask_takes_the_free_object_that_it_overlaps_most():
    overlaps = np.array([[0.9, 0.6], [0.8, 0.3], [0.2, 0.55]])
    found = matched(overlaps, np.array([0.5, 0.58, 0.85]))
    assert found.tolist() == [[True, True], [True, False], [True, False]]  # the second mask finds its object taken
    assert matched(np.array([[0.9, 0.6], [0.8, 0.3]]), np.array([0.58])).tolist() == [[True, False]]
    assert not matched(np.zeros((0, 3)), THRESHOLDS).any()


def test_matrix_is_the_iou_of_every_pair():
    rng = np.random.default_rng(0)
    masks, others = (rng.random((count, 12, 17)) < 0.4 for count in (3, 4))
    found = iou_matrix(Masks.from_dense(masks, (12, 17)), Masks.from_dense(others, (12, 17)))
    expected = [[(mask & other).sum() / (mask | other).sum() for other in others] for mask in masks]
    np.testing.assert_allclose(found, expected)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return open_dataset("masks", picture_data_set(tmp_path_factory.mktemp("pictures"), {"cells": 2}))


def test_protocol_reports_what_the_generator_finds(clips):
    model, processor = micro_model(image_size=SIDE), micro_processor(SIDE)
    protocol = AutomaticMasks(model=model, processor=processor, options=OPTIONS)
    records = [protocol.measure(clip) for clip in clips]
    overall = protocol.results(records, [])["global"]
    found = Sam2MaskGenerator(model, processor, **OPTIONS)(clips[0].frame(0))
    for entry in records[0]["objects"]:
        truth = clips[0].masks(0)[entry["id"]]
        assert entry["score"] == pytest.approx(max(region_similarity(mask, truth) for mask in found.masks))
        assert protocol.shown(clips[0], entry)[2].shape == truth.shape
    objects = [entry for record in records for entry in record["objects"]]
    assert overall["AR@1000"] == pytest.approx(100 * np.mean([entry["recalled"] for entry in objects]))
    assert overall["masks_per_picture"] == pytest.approx(np.mean([r["objects"][0]["masks"] for r in records]))
    assert overall["pictures"] == 2
    assert protocol.table(protocol.results(records, [])).columns[3:] == ("recalled", "best IoU")


def test_nothing_found_is_no_recall(clips):
    protocol = AutomaticMasks(
        model=micro_model(image_size=SIDE),
        processor=micro_processor(SIDE),
        options={**OPTIONS, "pred_iou_thresh": 1.0},
    )
    overall = protocol.results([protocol.measure(clip) for clip in clips], [])["global"]
    assert (overall["AR@1000"], overall["best_mIoU"], overall["masks_per_picture"]) == (0, 0, 0)
