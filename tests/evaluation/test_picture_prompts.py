"""Clicks and boxes on one picture: with a network of known answers, and with the micro model."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from sam2_hf.evaluation.metrics import region_similarity, tight_box
from sam2_hf.evaluation.picture_prompts import (
    Answer,
    EncodedPicture,
    box_ious,
    click_curves,
    error_click,
    jittered,
)
from sam2_hf.processing.prompts import ObjectPrompt
from tests.evaluation.toy import HEIGHT, WIDTH, disc
from tests.tiny import micro_model, micro_processor, scene

SIDE = 64


@pytest.fixture(scope="module")
def model():
    return micro_model(image_size=SIDE)


class KnownAnswers:
    """Draws the truth of each object up to a number of its columns: two more with every click, all with a box."""

    size = (HEIGHT, WIDTH)

    def __init__(self, truths: np.ndarray, oracle_candidate: int = 0):
        self.truths, self.oracle_candidate = truths, oracle_candidate
        self.calls: list[tuple[list[ObjectPrompt], object, bool]] = []

    def ask(self, prompts, mask_logits=None, multimask=False):
        copies = [ObjectPrompt(points=list(p.points), labels=list(p.labels), box=p.box) for p in prompts]
        self.calls.append((copies, mask_logits, multimask))
        drawn = np.stack([self._draw(prompt) for prompt in prompts])
        logits = torch.from_numpy(np.where(drawn, 1.0, -1.0))
        candidates = logits[:, None].repeat(1, 3 if multimask else 1, 1, 1)
        if multimask:
            candidates[:, self.oracle_candidate] = torch.from_numpy(np.where(self.truths, 1.0, -1.0))
        return Answer(logits=logits, candidates=candidates, iou_scores=torch.ones(len(prompts)))

    def masks(self, logits):
        return (logits > 0).numpy()

    def _draw(self, prompt: ObjectPrompt) -> np.ndarray:
        x, y = (int(value) for value in prompt.points[0])
        truth = next(truth for truth in self.truths if truth[y, x])
        x0 = tight_box(truth)[0]
        mask = truth.copy()
        mask[:, x0 + 4 * len(prompt.points) :] = False
        return mask


@pytest.fixture
def truths() -> np.ndarray:
    narrow, wide = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
    narrow[5:20, 3:11] = True  # eight columns: perfect after two clicks
    wide[5:20, 20:40] = True  # twenty: after five
    return np.stack([narrow, wide])


def test_curve_follows_the_clicks_and_stays_where_nothing_is_wrong(truths):
    picture = KnownAnswers(truths)
    curves, oracle, predicted, estimated = click_curves(picture, truths, 6)
    assert curves[0].tolist() == [0.5, 1, 1, 1, 1, 1]
    assert curves[1] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert oracle.tolist() == [1.0, 1.0]
    assert estimated.tolist() == [1.0, 1.0]
    assert np.array_equal(predicted, truths)


def test_first_click_asks_for_three_masks_and_later_ones_pass_the_logits_on(truths):
    picture = KnownAnswers(truths)
    click_curves(picture, truths, 6)
    assert [multimask for _, _, multimask in picture.calls] == [True, False, False, False, False]
    assert [len(prompts) for prompts, _, _ in picture.calls] == [2, 2, 1, 1, 1]  # the perfect object is left out
    assert picture.calls[0][1] is None
    shown = picture.calls[2][1] > 0
    assert torch.equal(shown.sum((1, 2)), torch.tensor([15 * 8]))  # of the wide object after its second click
    assert [len(prompts[-1].points) for prompts, _, _ in picture.calls] == [1, 2, 3, 4, 5]


def test_first_click_is_in_the_centre_and_later_ones_in_the_error(truths):
    picture = KnownAnswers(truths)
    click_curves(picture, truths, 2)
    points = picture.calls[-1][0][1].points
    assert points[0] == [27.0, 12.0]
    assert 24 <= points[1][0] < 40
    assert picture.calls[-1][0][1].labels == [1, 1]


def brute_force_click(truth: np.ndarray, predicted: np.ndarray):
    best = None
    for label, region in ((0, predicted & ~truth), (1, truth & ~predicted)):
        outside = np.argwhere(~np.pad(region, 1))
        for y, x in np.argwhere(region):
            depth = np.min(np.hypot(*(outside - (y + 1, x + 1)).T))
            if best is None or depth > best[0]:
                best = (depth, x, y, label)
    return None if best is None else best[1:]


def test_click_on_a_part_of_the_picture_is_that_of_the_whole():
    generator = np.random.default_rng(0)
    for _ in range(40):
        truth, predicted = (ndimage.gaussian_filter(generator.standard_normal((14, 17)), 1.5) > 0.05 for _ in range(2))
        assert error_click(truth, predicted) == brute_force_click(truth, predicted)


def test_nothing_wrong_gives_no_click_and_ties_click_what_is_too_much():
    mask = np.zeros((9, 12), dtype=bool)
    assert error_click(mask, mask) is None
    truth, predicted = mask.copy(), mask.copy()
    truth[2:5, 1:4], predicted[2:5, 7:10] = True, True
    assert error_click(truth, predicted) == (8, 3, 0)
    predicted[:] = False
    predicted[0:2, 7:10] = True  # touches the border, which is outside: no deeper than one pixel
    assert error_click(truth, predicted) == (2, 3, 1)


def test_objects_together_give_what_each_gives_alone(model):
    truths = np.stack([disc(12, 15, 8), disc(20, 40, 5), disc(30, 8, 4)])
    picture = EncodedPicture(model, micro_processor(SIDE), scene(HEIGHT, WIDTH))
    together = click_curves(picture, truths, 3)
    for row in range(3):
        alone = click_curves(picture, truths[row : row + 1], 3)
        assert np.allclose(together[0][row], alone[0][0], atol=0.02)
        assert together[1][row] == pytest.approx(alone[1][0], abs=0.02)


def test_best_of_three_by_truth_is_never_worse(model):
    truths = np.stack([disc(12, 15, 8), disc(20, 40, 5)])
    picture = EncodedPicture(model, micro_processor(SIDE), scene(HEIGHT, WIDTH))
    curves, oracle, _, _ = click_curves(picture, truths, 1)
    assert (oracle >= curves[:, 0]).all()


def test_answers_are_those_of_the_processor_and_the_model(model):
    image, processor = scene(HEIGHT, WIDTH), micro_processor(SIDE)
    answer = EncodedPicture(model, processor, image).ask([ObjectPrompt(box=[8, 4, 40, 30])])
    inputs = processor(images=image, input_boxes=[[[8, 4, 40, 30]]], return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs, multimask_output=False)
    assert torch.allclose(answer.logits, expected.pred_masks[0, :, 0], atol=1e-5)
    assert torch.allclose(answer.iou_scores, expected.iou_scores[0, :, 0], atol=1e-5)


def test_boxes_of_single_pixels_are_asked_too(model):
    truth = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    truth[0, 7, 9] = True
    picture = EncodedPicture(model, micro_processor(SIDE), scene(HEIGHT, WIDTH))
    ious, predicted, _ = box_ious(picture, truth, [tight_box(truth[0])])
    assert ious[0] == region_similarity(predicted[0], truth[0])


def test_void_pixels_are_in_no_answer(model):
    void = disc(18, 27, 10)
    picture = EncodedPicture(model, micro_processor(SIDE), scene(HEIGHT, WIDTH), void)
    assert not (picture.masks(torch.ones(1, 16, 16)) & void).any()
    assert picture.masks(torch.ones(1, 16, 16)).sum() == HEIGHT * WIDTH - void.sum()


def test_jitter_is_repeatable_bounded_and_stays_inside():
    box, size = [10.0, 5.0, 50.0, 25.0], (30, 52)
    boxes = np.array([jittered(box, size, seed, "picture/1") for seed in range(50)])
    assert np.array_equal(boxes, [jittered(box, size, seed, "picture/1") for seed in range(50)])
    assert (abs(boxes - box) <= [4, 2, 4, 2]).all()
    assert boxes[:, 2].max() <= 51
    assert np.std(boxes[:, 0]) > 1
    assert jittered(box, size, 0, "picture/1") != jittered(box, size, 0, "picture/2")
