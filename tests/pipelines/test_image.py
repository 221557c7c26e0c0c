import numpy as np
import pytest
import torch

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.image import segment
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.processing.rle import decode_rle
from tests.numbers import same_masks
from tests.tiny import micro_model, micro_processor, scene, scene_image

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def parts():
    return micro_model(), micro_processor()


def test_result_is_what_model_and_processor_give(parts):
    model, processor = parts
    picture = scene(HEIGHT, WIDTH)
    result = segment(model, processor, picture, boxes=[[10, 5, 50, 30], [0, 0, 80, 50]], object_ids=[4, 8])
    inputs = processor(images=picture, input_boxes=[[[10, 5, 50, 30], [0, 0, 80, 50]]], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=False)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0][:, 0].numpy()
    assert same_masks(result.masks, masks)
    assert result.object_ids == (4, 8)
    np.testing.assert_allclose(result.iou_scores, outputs.iou_scores[0, :, 0], atol=1e-6)
    np.testing.assert_allclose(result.object_scores, outputs.object_score_logits[0, :, 0], atol=1e-5)


def test_best_candidate_counts_and_all_are_kept_best_first(parts):
    model, processor = parts
    result = segment(model, processor, scene(HEIGHT, WIDTH), points=[30, 40], multimask=True)
    inputs = processor(images=scene(HEIGHT, WIDTH), input_points=[30, 40], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0][0].numpy()
    order = outputs.iou_scores[0, 0].argsort(descending=True).numpy()
    assert same_masks(result.alternatives[0], masks[order])
    assert same_masks(result.masks[0], masks[order[0]])
    assert result.iou_scores[0] == pytest.approx(float(outputs.iou_scores.max()))


def test_blocks_of_objects_give_what_one_call_gives(parts):
    clicks = [[[[x, y]] for x in (10, 40, 80) for y in (10, 50)]]
    whole = segment(*parts, scene(HEIGHT, WIDTH), points=clicks)
    blocks = segment(*parts, scene(HEIGHT, WIDTH), points=clicks, object_batch=4)
    np.testing.assert_allclose(blocks.iou_scores, whole.iou_scores, atol=1e-6)
    assert same_masks(blocks.masks, whole.masks)


def test_mask_prompts_need_no_points(parts):
    mask = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    mask[0, :30], mask[1, 30:] = 1, 1
    result = segment(*parts, scene(HEIGHT, WIDTH), masks=mask)
    assert len(result) == 2
    assert [np.array_equal(decode_rle(prompt.mask), mask[row]) for row, prompt in enumerate(result.prompts)] == [
        True
    ] * 2
    assert ImageResult.from_json(result.to_json()).prompts == result.prompts


def test_prompts_are_kept_in_pixels_of_the_original(parts):
    result = segment(
        *parts, scene_image(HEIGHT, WIDTH), points=[0.5, 0.25], boxes=[0.1, 0.1, 0.9, 0.5], normalized=True
    )
    assert result.prompts[0].points == [[45.0, 15.0]]
    assert result.prompts[0].box == pytest.approx([9.0, 6.0, 81.0, 30.0])


def test_source_and_timings_are_recorded(parts, tmp_path):
    scene_image(HEIGHT, WIDTH).save(tmp_path / "a.png")
    result = segment(*parts, tmp_path / "a.png", points=[30, 40])
    assert result.source == str(tmp_path / "a.png")
    assert list(result.timings) == ["load", "preprocess", "encode", "decode", "postprocess"]


def test_nothing_asked_is_refused(parts):
    with pytest.raises(PromptError, match="no prompt given"):
        segment(*parts, scene())


def test_picture_of_three_columns_is_no_riddle(parts):
    assert segment(*parts, scene_image(60, 90).crop((0, 0, 3, 60)), points=[1, 30]).size == (60, 3)
