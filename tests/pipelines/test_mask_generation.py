"""Everything in a picture: the original's masks in its order, every aspect ratio, crops, empty results, batches."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import sam2_hf
from sam2_hf import Sam2ImageProcessor, Sam2Model, Sam2Processor
from sam2_hf.errors import ConfigError
from sam2_hf.pipelines.candidate_counts import CandidateCounts, NothingFoundWarning
from sam2_hf.pipelines.generator_options import THRESHOLDS, GeneratorOptions
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from tests.golden.recipe import golden_scene
from tests.numbers import same_masks
from tests.parity import GOLDEN, converted
from tests.tiny import micro_model, micro_processor, scene

REFERENCE = json.loads((GOLDEN / "automatic_masks_sam2.1_micro.json").read_text())


@pytest.fixture(scope="module")
def golden_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    return Sam2Model.from_pretrained(converted("2.1", "micro", REFERENCE["object_score_bias"], folder)).eval()


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_masks_equal_the_original_in_its_order(golden_model, case):
    facts, expected = REFERENCE["scene"], REFERENCE["cases"][case]["masks"]
    picture = golden_scene(facts["height"], facts["width"], seed=facts["seed"])
    generator = Sam2MaskGenerator(golden_model, micro_processor(), **REFERENCE["cases"][case]["arguments"])
    result = generator(picture)
    assert len(result) == len(expected)
    for index, record in enumerate(expected):
        x0, y0, x1, y1 = result.boxes[index]
        assert [x0, y0, x1 - x0 - 1, y1 - y0 - 1] == record["bbox"]
        assert result.areas[index] == pytest.approx(record["area"], rel=1e-3)
        assert result.iou_scores[index] == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert result.stability[index] == pytest.approx(record["stability_score"], abs=1e-4)
        assert result.prompts[index].points == pytest.approx(np.array(record["point_coords"]), abs=1e-3)


# Logic, on a small model that finds something everywhere

EVERYTHING = {"pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}


@pytest.fixture(scope="module")
def model():
    return micro_model(image_size=64)


def generator(model, **options):
    return Sam2MaskGenerator(model, micro_processor(64), **{"points_per_side": 3, **EVERYTHING, **options})


def equal(first, second) -> bool:
    return same_masks(first.masks, second.masks) and np.allclose(first.iou_scores, second.iou_scores, atol=1e-5)


@pytest.mark.parametrize("size", [(24, 96), (96, 24), (33, 47)])
def test_every_part_of_a_picture_is_asked_about(model, size):
    """A 4:1 picture too: transformers' own grid leaves out 44 % of a 16:9 one."""
    height, width = size
    result = generator(model)(scene(*size))
    points = {tuple(np.round(prompt.points[0], 3)) for prompt in result.prompts}
    line = [(i + 0.5) / 3 for i in range(3)]
    expected = {(round(x * width, 3), round(y * height, 3)) for x in line for y in line}
    assert points <= {tuple(np.float64(v) for v in point) for point in expected}
    assert result.masks.size == size


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"batch_size": 3, "crop_n_layers": 1}])
def test_a_batch_of_pictures_equals_one_by_one(model, options):
    pictures = [scene(40, 60, seed) for seed in range(3)] + [scene(30, 90, 9)]
    make = generator(model, stability_score_thresh=0.3, stability_score_offset=0.03, **options)
    found = make(pictures)
    assert all(0 < len(here) < 27 * (5 if options.get("crop_n_layers") else 1) for here in found)
    assert all(equal(here, make(picture)) for here, picture in zip(found, pictures, strict=True))


@pytest.mark.parametrize("count", [1, 7, 64])
def test_points_per_batch_changes_nothing(model, count):
    picture = scene(40, 60)
    few, all_at_once = (generator(model, points_per_batch=n)(picture) for n in (count, 9))
    assert equal(few, all_at_once)


def test_nothing_found_is_an_empty_result(model):
    with pytest.warns(NothingFoundWarning):
        result = generator(model, pred_iou_thresh=0.999, crop_n_layers=1)(scene(40, 60))
    assert len(result) == 0
    assert result.boxes.shape == (0, 4)
    assert result.plot().size == (60, 40)


def test_a_generator_that_keeps_nothing_says_which_threshold_it_was(model):
    with pytest.warns(NothingFoundWarning, match=r"27 fell to pred_iou_thresh=0\.9 \(the best has 0\.54"):
        generator(model, pred_iou_thresh=0.9)(scene(40, 60))
    with pytest.warns(NothingFoundWarning, match=r"27 fell to stability_score_thresh=0\.9; ") as caught:
        generator(model, stability_score_thresh=0.9)([scene(40, 60), scene(40, 60, 1)])
    assert [str(one.message).partition(": ")[0] for one in caught] == ["picture 0", "picture 1"]


def test_the_thresholds_that_it_proposes_keep_some(model):
    strict = {"pred_iou_thresh": 0.9, "stability_score_thresh": 0.9, "stability_score_offset": 0.03}
    why = next(generator(model, **strict).results([scene(40, 60)])).why_empty
    proposed = {name: float(re.search(rf"; .*{name}=([0-9.]+)", why)[1]) for name in THRESHOLDS[:2]}
    assert 0 < proposed["pred_iou_thresh"] < 0.9
    assert 0 < proposed["stability_score_thresh"] < 0.9
    result = generator(model, **strict | proposed)(scene(40, 60))
    assert 0 < len(result) < 27
    assert result.why_empty is None


def test_counts_add_up():
    counts = CandidateCounts(GeneratorOptions(), by_iou=8, by_stability=3, by_crop=1)
    counts.seen(torch.linspace(0, 0.7, 12), torch.linspace(0.2, 0.9, 12))
    iou, stability = "8 fell to pred_iou_thresh=0.8 (the best has 0.70)", "3 fell to stability_score_thresh=0.95"
    proposal = "pred_iou_thresh=0.57 and stability_score_thresh=0.72 would keep about 3"
    assert counts.why_empty().startswith(f"of 12 candidates {iou}, {stability}, 1 were cut off by a crop; {proposal}")
    assert CandidateCounts(GeneratorOptions()).why_empty() is None


# Thresholds that a checkpoint recommends


def recommending(**thresholds) -> Sam2Processor:
    return Sam2Processor(Sam2ImageProcessor(**micro_processor(64).image_processor.to_dict() | {
        "mask_generation": thresholds}))  # fmt: skip


def test_recommended_thresholds_travel_with_the_processor(model, tmp_path):
    recommending(pred_iou_thresh=0.41, stability_score_thresh=0.7).save_pretrained(tmp_path)
    loaded = Sam2Processor.from_pretrained(tmp_path)
    assert loaded.image_processor.mask_generation == {"pred_iou_thresh": 0.41, "stability_score_thresh": 0.7}
    options = Sam2MaskGenerator(model, loaded).options
    assert (options.pred_iou_thresh, options.stability_score_thresh) == (0.41, 0.7)
    assert options.box_nms_thresh == 0.7


def test_what_is_given_wins_over_what_is_recommended(model):
    options = Sam2MaskGenerator(model, recommending(pred_iou_thresh=0.41), pred_iou_thresh=0.8).options
    assert options.pred_iou_thresh == 0.8


def test_without_a_recommendation_the_original_s_thresholds_hold(model):
    options = Sam2MaskGenerator(model, micro_processor(64)).options
    assert (options.pred_iou_thresh, options.stability_score_thresh) == (0.8, 0.95)


@pytest.mark.parametrize(
    ("block", "message"),
    [({"iou": 0.5}, "names 'iou'; thresholds are pred_iou_thresh"), ({"pred_iou_thresh": "low"}, "must be a number")],
)
def test_a_recommendation_that_means_nothing_is_refused(model, block, message):
    with pytest.raises(ConfigError, match=message):
        Sam2MaskGenerator(model, recommending(**block))


def test_our_pipeline_passes_the_recommendation_to_the_library_s(model):
    processor = recommending(pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=0.5)
    picture = Image.fromarray(scene(36, 64))
    loose = sam2_hf.pipeline("mask-generation", model, processor=processor)
    assert len(loose(picture, points_per_crop=3)["masks"]) > 0
    assert len(loose(picture, points_per_crop=3, pred_iou_thresh=0.9999)["masks"]) == 0
    strict = sam2_hf.pipeline("mask-generation", model, processor=processor, pred_iou_thresh=0.9999)
    assert len(strict(picture, points_per_crop=3)["masks"]) == 0


def test_crops_are_pasted_where_they_were_cut(model):
    seen = []
    result = generator(model, crop_n_layers=1, progress=lambda done, total: seen.append((done, total)))(scene(80, 120))
    assert seen == [(n, 5) for n in range(1, 6)]
    assert all(mask.shape == (80, 120) for mask in result.masks)
    assert len(result) > 0


def test_explicit_grids_and_sorting(model):
    grid = [np.array([[0.5, 0.5], [0.1, 0.9]])]
    options = {"points_per_side": None, "point_grids": grid}
    areas = generator(model, **options, sort_by="area")(scene(40, 60)).areas
    scores = generator(model, **options, sort_by="predicted_iou")(scene(40, 60)).iou_scores
    assert (np.diff(areas) <= 0).all()
    assert (np.diff(scores) <= 0).all()


def test_small_parts_and_holes_go_in_pixels_of_the_picture(model):
    from scipy import ndimage

    result = generator(model, min_mask_region_area=30)(scene(60, 90))
    for mask in result.masks:
        parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        assert count == 1 or sizes.min() >= 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_per_side": None}, "exactly one of"),
        ({"point_grids": [np.zeros((1, 2))]}, "exactly one of"),
        ({"points_per_side": 0}, "`points_per_side` is 0"),
        ({"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1}, "has 1 layers, but 2"),
        ({"sort_by": "colour"}, "got 'colour'"),
        ({"crop_n_layers": -1}, "must not be negative"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        generator(model, **options)
    with pytest.raises(TypeError):
        generator(model, points_per_row=4)


# transformers' own pipeline


@pytest.fixture(scope="module")
def library(model):
    from transformers import pipeline

    return pipeline("mask-generation", model=model, image_processor=micro_processor(64).image_processor)


LOOSE = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_crop": 3}


@pytest.mark.parametrize("layers", [0, 1])
def test_the_library_s_pipeline_runs_with_and_without_crops(library, layers):
    picture = Image.fromarray(scene(36, 64))
    options = {"crops_n_layers": layers, "crop_n_points_downscale_factor": 2, **LOOSE}
    found = [library(picture, points_per_batch=count, **options) for count in (1, 7, 64)]
    assert len(found[0]["masks"]) > 0
    for result in found:
        assert len(result["masks"]) == len(found[0]["masks"])
        assert same_masks(np.stack(result["masks"]), np.stack(found[0]["masks"]))
        assert result["masks"][0].shape == (36, 64)


def test_the_library_s_pipeline_survives_an_empty_answer(library):
    result = library(Image.fromarray(scene(36, 64)), points_per_crop=2, pred_iou_thresh=0.9999, output_rle_mask=True)
    assert len(result["masks"]) == 0


def test_the_library_s_grid_covers_all_four_corners():
    processor = micro_processor(64).image_processor
    _, points, crops, labels = processor.generate_crop_boxes(Image.fromarray(scene(36, 128)), 64, 1, 512 / 1500, 4, 2)
    assert points.shape == (1, 16, 5, 2)
    assert labels.shape == (1, 16, 5)
    assert points[0, :, 0].amin(dim=0).tolist() == [8, 8]
    assert points[0, :, 0].amax(dim=0).tolist() == [56, 56]
    assert len(crops) == 5


def test_the_library_s_pipeline_really_removes_holes_and_specks(library):
    """Transformers' own processor takes `max_hole_area` and `max_sprinkle_area` and does nothing."""
    picture = Image.fromarray(scene(36, 64))
    as_drawn = library(picture, **LOOSE)["masks"]
    cleaned = library(picture, max_hole_area=40, max_sprinkle_area=40, **LOOSE)["masks"]
    assert sum(parts_and_holes(mask) for mask in as_drawn) > sum(parts_and_holes(mask) for mask in cleaned)


def parts_and_holes(mask: np.ndarray) -> int:
    """How many there are beyond one whole part."""
    eight = np.ones((3, 3))
    return ndimage.label(mask, eight)[1] + ndimage.label(np.pad(~mask, 1, constant_values=True), eight)[1] - 2
