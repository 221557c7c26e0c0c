"""Logits that are resized late are tensors to whoever asks."""

import io

import numpy as np
import pytest
import torch

from sam2_hf.processing.image import Sam2ImageProcessor
from sam2_hf.processing.late_masks import LateLogits
from sam2_hf.processing.library_generation import filter_masks, from_run_lengths
from sam2_hf.processing.masks import post_process_masks
from tests.numbers import alike, same_masks

SIZE = (33, 57)
AS_THE_PIPELINE_ASKS = {"mask_threshold": 0.0, "reshaped_input_sizes": None, "binarize": False}


@pytest.fixture
def low() -> torch.Tensor:
    return torch.randn(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 4


def test_only_the_pipelines_own_call_gives_late_ones(low):
    processor = Sam2ImageProcessor()
    asked = processor.post_process_masks(low, [SIZE], **AS_THE_PIPELINE_ASKS)
    assert [type(masks) for masks in asked] == [LateLogits]
    again = processor.post_process_masks(asked, [SIZE], **AS_THE_PIPELINE_ASKS)
    assert again[0] is asked[0]
    assert type(processor.post_process_masks(low, [SIZE], binarize=False)[0]) is torch.Tensor


def test_they_are_tensors_to_everybody(low):
    late = LateLogits(low[0], SIZE)
    whole = post_process_masks(low, [SIZE], binarize=False)[0]
    assert tuple(late.shape) == (4, 3, *SIZE) and late.dtype == torch.float32 and len(late) == 4
    assert isinstance(late, torch.Tensor)
    for found in (late + 0, late[:], late.clone(), torch.cat([late]), torch.from_numpy(late.numpy())):
        assert type(found) is torch.Tensor
        assert alike(found, whole)
    assert alike(torch.from_numpy(np.asarray(late)), whole)
    file = io.BytesIO()
    torch.save(late.clone(), file)


def test_filtering_keeps_the_same_of_late_and_of_whole_logits(low):
    scores = torch.linspace(0.5, 1, 12).reshape(4, 3)
    asked = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.3}
    box = (0, 0, SIZE[1], SIZE[0])
    late = filter_masks(LateLogits(low[0], SIZE), scores, SIZE, box, **asked)
    whole = filter_masks(post_process_masks(low, [SIZE], binarize=False)[0], scores, SIZE, box, **asked)
    assert 0 < len(late[0]) < 12 and len(late[0]) == len(whole[0])
    assert torch.equal(late[1], whole[1])
    for first, second in zip(late[0], whole[0], strict=True):
        assert same_masks(from_run_lengths(first), from_run_lengths(second))
