"""Code of the original implementation, with its classes' names, gives the original's answers."""

import json

import numpy as np
import pytest
import torch

from sam2_hf import Sam2Model
from sam2_hf.errors import PromptError
from sam2_hf.pipelines.original_names import SAM2AutomaticMaskGenerator, SAM2ImagePredictor
from sam2_hf.processing.rle import decode_rle
from tests.golden.recipe import golden_scene
from tests.parity import GOLDEN, converted
from tests.tiny import micro_model, micro_processor, scene

AUTOMATIC = json.loads((GOLDEN / "automatic_masks_sam2.1_micro.json").read_text())


@pytest.fixture(scope="module")
def predictor():
    predictor = SAM2ImagePredictor(micro_model())
    predictor.set_image(scene(60, 90))
    return predictor


def test_everything_is_recorded_as_the_original_does(tmp_path):
    model = Sam2Model.from_pretrained(converted("2.1", "micro", AUTOMATIC["object_score_bias"], tmp_path)).eval()
    facts, case = AUTOMATIC["scene"], AUTOMATIC["cases"]["grid_6_crops"]
    picture = golden_scene(facts["height"], facts["width"], seed=facts["seed"])
    records = SAM2AutomaticMaskGenerator(model, **case["arguments"]).generate(picture)
    assert len(records) == len(case["masks"])
    for found, expected in zip(records, case["masks"], strict=True):
        assert (found["bbox"], found["crop_box"]) == (expected["bbox"], expected["crop_box"])
        assert found["area"] == found["segmentation"].sum() == pytest.approx(expected["area"], rel=1e-3)
        assert found["predicted_iou"] == pytest.approx(expected["predicted_iou"], abs=1e-4)
        assert found["point_coords"] == pytest.approx(np.array(expected["point_coords"]), abs=1e-3)


@pytest.mark.parametrize("mode", ["uncompressed_rle", "coco_rle"])
def test_forms_of_masks_are_the_same_masks(mode):
    options = {"points_per_side": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0}
    model, picture = micro_model(image_size=64), scene(40, 60)
    dense = SAM2AutomaticMaskGenerator(model, **options).generate(picture)
    coded = SAM2AutomaticMaskGenerator(model, output_mode=mode, **options).generate(picture)
    assert len(dense) == len(coded) > 0
    for one, other in zip(dense, coded, strict=True):
        assert np.mean(decode_rle(other["segmentation"]) != one["segmentation"]) < 2e-3
    with pytest.raises(ValueError, match="`output_mode` must be one of binary_mask"):
        SAM2AutomaticMaskGenerator(model, output_mode="polygons")


def test_one_click_gives_three_masks_in_the_originals_shapes(predictor):
    masks, scores, low = predictor.predict(point_coords=np.array([[40, 30]]), point_labels=np.array([1]))
    assert (masks.shape, masks.dtype, scores.shape, low.shape) == ((3, 60, 90), bool, (3,), (3, 64, 64))
    best = low[scores.argmax()][None]
    again = predictor.predict(
        point_coords=[[40, 30], [5, 5]], point_labels=[1, 0], mask_input=best, multimask_output=False
    )
    assert again[0].shape == (1, 60, 90)
    logits = predictor.predict(point_coords=[[40, 30]], point_labels=[1], return_logits=True)[0]
    assert logits.dtype == np.float32 and np.mean((logits > 0) != masks) < 2e-3


def test_several_boxes_have_an_axis_of_objects_and_fractions_are_taken(predictor):
    boxes = np.array([[5, 5, 40, 40], [30, 10, 80, 50]], dtype=float)
    masks, scores, low = predictor.predict(box=boxes, multimask_output=False)
    assert (masks.shape, scores.shape, low.shape) == ((2, 1, 60, 90), (2, 1), (2, 1, 64, 64))
    one = predictor.predict(box=boxes[1] / [90, 60, 90, 60], multimask_output=False, normalize_coords=False)
    assert np.abs(one[2] - low[1]).max() < 1e-4


def test_numbers_are_those_of_model_and_processor(predictor):
    processor = micro_processor()
    inputs = processor(images=scene(60, 90), input_points=[[40, 30], [60, 20]], input_labels=[1, 0])
    with torch.no_grad():
        expected = predictor.model(**inputs)
    _, scores, low = predictor.predict(point_coords=[[40, 30], [60, 20]], point_labels=[1, 0])
    assert np.abs(low - expected.pred_masks[0, 0].clamp(-32, 32).numpy()).max() < 1e-4
    assert np.abs(scores - expected.iou_scores[0, 0].numpy()).max() < 1e-5
    assert predictor.get_image_embedding().shape == (1, 64, 16, 16)


def test_wrong_calls_are_refused(predictor):
    with pytest.raises(RuntimeError, match="no picture was set"):
        SAM2ImagePredictor(predictor.model).predict(point_coords=[[1, 2]], point_labels=[1])
    with pytest.raises(PromptError, match="outside"):
        predictor.predict(point_coords=[[9000, 30]], point_labels=[1])


def test_models_are_loaded_by_every_name_that_load_knows():
    assert SAM2ImagePredictor.from_pretrained("embedded").model.config.image_size == 256
    assert (
        SAM2AutomaticMaskGenerator.from_pretrained("embedded", points_per_side=2).generator.options.points_per_side == 2
    )
