"""One mask per object: the best candidate, hidden where the object is not there."""

import torch

from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT, adopt_masks, choose_masks
from sam2_hf.modeling.outputs import MaskPrediction

SCORES = (0.1, 0.0, -0.5, 3.0)


def prediction() -> MaskPrediction:
    rows, generator = len(SCORES), torch.Generator().manual_seed(0)
    return MaskPrediction(
        mask_logits=torch.randn(rows, 3, 4, 4, generator=generator),
        iou_scores=torch.tensor([[0.1, 0.9, 0.5]] * rows),
        object_score_logits=torch.tensor(SCORES)[:, None],
        mask_tokens=torch.arange(3.0)[None, :, None].expand(rows, 3, 2),
    )


def test_objects_are_hidden_from_a_score_of_zero_down():
    given = prediction()
    chosen = choose_masks(given, lambda tokens, scores: tokens)
    for row, score in enumerate(SCORES):
        if score > 0:
            assert torch.equal(chosen.mask_logits[row], given.mask_logits[row, 1])
        else:
            assert (chosen.mask_logits[row] == NO_OBJECT_LOGIT).all()


def test_the_candidate_with_the_best_estimate_gives_mask_score_and_token():
    chosen = choose_masks(prediction(), lambda tokens, scores: tokens)
    assert torch.equal(chosen.iou_scores, torch.full((4,), 0.9))
    assert torch.equal(chosen.object_pointers, torch.ones(4, 2))


def test_a_mask_that_was_given_is_sure_and_an_empty_one_says_absent():
    masks = torch.zeros(2, 1, 16, 16)
    masks[0, :, 4:12, 4:12] = 1
    adopted = adopt_masks(masks, torch.ones(2, 3), torch.full((1, 3), -1.0), 4)
    assert adopted.mask_logits.shape == (2, 4, 4)
    assert (adopted.mask_logits[0, 1:3, 1:3] > 0).all() and (adopted.mask_logits[1] < 0).all()
    assert adopted.object_score_logits[0] > 0 > adopted.object_score_logits[1]
    assert adopted.object_pointers.tolist() == [[1, 1, 1], [-1, -1, -1]]


def test_a_mask_too_thin_for_any_cell_keeps_the_cells_that_it_runs_through():
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 30, 10:50] = 1  # a line, one pixel of the sixteen of a cell
    masks[1, :, 8:40, 8:40] = 1
    adopted = adopt_masks(masks, torch.ones(2, 3), torch.full((1, 3), -1.0), 16)
    found = adopted.mask_logits > 0
    assert found[0].any(dim=0).sum() >= 9 and found[0].any(dim=1).sum() <= 2
    alone = adopt_masks(masks[1:], torch.ones(1, 3), torch.full((1, 3), -1.0), 16)
    assert torch.equal(found[1], alone.mask_logits[0] > 0) and 64 <= found[1].sum() <= 81
