"""Bad prompts: each a clear error that names the value and the remedy."""

import numpy as np
import pytest
import torch

from sam2_hf.errors import PromptError
from sam2_hf.processing.prompts import PAD, ObjectPrompt, mask_logits_of, read_prompts, video_mask
from tests.tiny import micro_processor, scene

NAN, INF = float("nan"), float("inf")

CASES = {
    "labels without points": ({"input_labels": [1]}, r"`labels` without `points`"),
    "one label": ({"input_points": [[1, 2], [3, 4]], "input_labels": [1]}, r"object 0: 2 points but 1 labels"),
    "three numbers": ({"input_points": [1, 2, 3]}, r"a point is \(x, y\), got \[1, 2, 3\]"),
    "one number": ({"input_points": 5}, r"`points` is a single number"),
    "five levels": ({"input_points": [[[[[1, 2]]]]]}, r"nested 5 deep, at most 4"),
    "mixed depths": ({"input_points": [[1, 2], [[3, 4]]]}, r"`points` mixes depths"),
    "text": ({"input_points": [["1", "2"]]}, r"holds '1' of type str"),
    "bool": ({"input_points": [[True, False]]}, r"holds True of type bool"),
    "nothing in points": ({"input_points": []}, r"`points` is empty; give at least one, or leave the argument out"),
    "nothing in boxes": ({"input_boxes": [[], []]}, r"`boxes` is empty"),
    "NaN point": ({"input_points": [NAN, 2]}, r"point \[nan, 2\] has NaN or infinite"),
    "infinite point": ({"input_points": [INF, 2]}, r"point \[inf, 2\] has NaN or infinite"),
    "NaN box": ({"input_boxes": [1, NAN, 3, 4]}, r"box \[1, nan, 3, 4\] has NaN"),
    "unknown label": ({"input_points": [1, 2], "input_labels": [4]}, r"label 4 is not a label; use 1 for inside"),
    "box corners of a model": ({"input_points": [1, 2], "input_labels": [2]}, r"label 2 is not a label"),
    "swapped x": ({"input_boxes": [50, 5, 10, 30]}, r"box \[50, 5, 10, 30\] has no area; give the top-left"),
    "swapped y": ({"input_boxes": [10, 30, 50, 5]}, r"has no area"),
    "flat box": ({"input_boxes": [10, 30, 50, 30]}, r"has no area"),
    "three sides": ({"input_boxes": [10, 30, 50]}, r"got 3 numbers: \[10, 30, 50\]"),
    "deep boxes": ({"input_boxes": [[[[1, 2, 3, 4]]]]}, r"`boxes` is nested 4 deep, at most 3"),
    "two objects, three boxes": (
        {"input_points": [[[1, 2]], [[3, 4]]], "input_boxes": [[0, 0, 9, 9]] * 3},
        r"`points` has 2 objects but `boxes` has 3 objects; give one entry per object \(an empty list for none\)",
    ),
    "labels of one object, points of two": (
        {"input_points": [[[1, 2]], [[3, 4]]], "input_labels": [1, 1]},
        r"`points` has 2 objects but `labels` has 1",
    ),
    "neither point nor box": (
        {"input_points": [[[[1, 2]], []]], "input_boxes": [[[0, 0, 9, 9], []]]},
        r"object 1 of picture 0 has neither a point nor a box",
    ),
    "far outside": ({"input_points": [9010, 40]}, r"point \(9010, 40\) is far outside .*\(width 90, height 60\)"),
    "far left": ({"input_points": [-500, 40]}, r"point \(-500, 40\) is far outside"),
    "box far outside": ({"input_boxes": [0, 0, 400, 40]}, r"point \(400, 40\) is far outside"),
    "fractions far outside": ({"input_points": [30, 40], "normalized": True}, r"far outside .*fractions 0\.\.1"),
    "logits and masks": ({"input_masks": np.ones((1, 8, 8)), "masks": np.ones((8, 8))}, r"not both"),
    "NaN logits": ({"input_masks": np.full((1, 64, 64), NAN)}, r"`input_masks` has NaN or infinite"),
    "grey mask": ({"masks": np.arange(12).reshape(3, 4)}, r"`masks` must be binary, but holds 0, 1, 2, 3"),
    "flat mask": ({"masks": np.ones(9)}, r"`masks` must be \(height, width\) or .*, got \(9,\)"),
}


@pytest.mark.parametrize("case", CASES)
def test_prompt_that_cannot_be_meant_is_refused(case):
    prompts, message = CASES[case]
    with pytest.raises(PromptError, match=message):
        micro_processor()(original_sizes=[(60, 90)], return_tensors="pt", **prompts)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (
            {"input_points": [[[1, 2]]]},
            r"`points` is nested 3 deep; for 2 pictures it needs \[image\]",
        ),
        ({"input_points": [[[[1, 2]]]]}, r"`points` has entries for 1 pictures, but there are 2"),
        ({"input_boxes": [[1, 2, 3, 4]]}, r"`boxes` is nested 2 deep; for 2 pictures it needs"),
        ({"input_points": [[[[1, 2]]], []]}, r"`points` has no object for picture 1"),
        ({"masks": [np.ones((2, 4, 4)), np.ones((1, 4, 4))]}, r"equally many objects in every picture"),
    ],
)
def test_nesting_must_be_unambiguous_for_several_pictures(prompts, message):
    with pytest.raises(PromptError, match=message):
        micro_processor()(images=[scene(), scene()], return_tensors="pt", **prompts)


def test_picture_without_points_stands_beside_one_with_points():
    prompts = {"input_points": [[[]], [[[40, 30]]]], "input_boxes": [[[5, 5, 30, 30]], [[5, 5, 30, 30]]]}
    batch = micro_processor()(images=[scene(), scene()], return_tensors="pt", **prompts)
    assert batch["input_labels"].tolist() == [[[PAD]], [[1]]]


def test_neither_pictures_nor_sizes_is_refused():
    with pytest.raises(ValueError, match="pass `images`, or `original_sizes`"):
        micro_processor()(input_points=[1, 2])


def test_points_on_the_border_are_inside():
    images = micro_processor()(original_sizes=[(60, 90)], input_points=[[0, 0], [90, 60]], return_tensors="pt")
    assert images["input_points"].max() == 256


def test_point_just_outside_warns():
    with pytest.warns(UserWarning, match=r"1 points lie outside the picture, first \(100, 40\)"):
        micro_processor()(original_sizes=[(60, 90)], input_points=[100, 40])


def test_fractions_without_a_word_warn():
    with pytest.warns(UserWarning, match="pass normalized=True"):
        micro_processor()(original_sizes=[(60, 90)], input_points=[[0.3, 0.5]])


def test_no_prompts_are_no_objects():
    assert read_prompts(2) == [[], []]


def test_mask_of_another_size_is_resized_as_logits():
    mask = np.zeros((100, 200), np.uint8)
    mask[:, 100:] = 255
    logits = mask_logits_of(mask, (8, 8))
    assert logits.shape == (1, 8, 8)
    assert logits[0, 0, [0, 7]].tolist() == pytest.approx([-10, 10])


MODEL_CASES = {
    "both pixels and embeddings": ({"pixel_values": torch.zeros(1), "image_embeddings": []}, r"exactly one of"),
    "nothing": ({}, r"exactly one of `pixel_values` and `image_embeddings`"),
    "two maps": ({"image_embeddings": [torch.zeros(1)] * 2}, r"the three maps of an earlier output, got 2"),
    "other size": ({"pixel_values": torch.zeros(1, 3, 64, 64)}, r"\(batch, 3, 256, 256\), got \(1, 3, 64, 64\)"),
}


@pytest.fixture(scope="module")
def model():
    from tests.tiny import micro_model

    return micro_model()


@pytest.mark.parametrize("case", MODEL_CASES)
def test_model_refuses_pictures_that_cannot_be_meant(model, case):
    inputs, message = MODEL_CASES[case]
    with pytest.raises(ValueError, match=message):
        model(**inputs)


TENSOR_CASES = {
    "labels without points": ({"input_labels": torch.ones(1, 1, 1)}, r"`input_labels` without `input_points`"),
    "points of three axes": ({"input_points": torch.zeros(1, 1, 2)}, r"must be \(batch, objects, points, 2\)"),
    "labels of other objects": (
        {"input_points": torch.zeros(1, 2, 1, 2), "input_labels": torch.ones(1, 1, 1)},
        r"`input_labels` has shape \(1, 1, 1\), but `input_points` needs \(1, 2, 1\)",
    ),
    "other batch": ({"input_points": torch.zeros(2, 1, 1, 2)}, r"are for 2 pictures, but there are 1"),
    "boxes of three numbers": ({"input_boxes": torch.zeros(1, 1, 3)}, r"must be \(batch, objects, 4\)"),
    "other objects": (
        {"input_points": torch.zeros(1, 2, 1, 2), "input_boxes": torch.ones(1, 3, 4)},
        r"\(batch, objects\) \(1, 2\) but `input_boxes` \(1, 3\)",
    ),
    "0 and 1 as logits": ({"input_masks": torch.ones(1, 1, 64, 64)}, r"holds only 0 and 1.*give a binary mask"),
    "masks of another size": ({"input_masks": torch.randn(1, 1, 60, 90)}, r"must be \(batch, objects, 64, 64\)"),
    "masks of other objects": (
        {"input_points": torch.zeros(1, 3, 1, 2), "input_masks": torch.randn(1, 2, 64, 64)},
        r"`input_masks` has 2 objects, the other prompts have 3",
    ),
    "all padding": (
        {"input_points": torch.zeros(1, 1, 1, 2), "input_labels": torch.full((1, 1, 1), -10)},
        r"every object is padding",
    ),
}


@pytest.mark.parametrize("case", TENSOR_CASES)
def test_model_refuses_prompts_that_cannot_be_meant(model, case):
    prompts, message = TENSOR_CASES[case]
    maps = [torch.zeros(1, 8, 64, 64), torch.zeros(1, 16, 32, 32), torch.zeros(1, 64, 16, 16)]
    with pytest.raises(ValueError, match=message):
        model(image_embeddings=maps, **prompts)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"input_points": torch.zeros(1, 1, 1, 2), "input_labels": torch.full((1, 1, 1), 4)}, r"holds 4; labels are 1"),
        ({"input_points": torch.zeros(1, 1, 1, 2), "input_labels": torch.full((1, 1, 1), 0.9)}, r"holds 0\.9"),
        ({"input_points": torch.full((1, 1, 1, 2), NAN)}, r"`input_points` has NaN"),
        ({"input_boxes": torch.full((1, 1, 4), INF)}, r"`input_boxes` has NaN or infinite"),
    ],
)
def test_model_checks_values_of_prompts(model, prompts, message):
    maps = [torch.zeros(1, 8, 64, 64), torch.zeros(1, 16, 32, 32), torch.zeros(1, 64, 16, 16)]
    with pytest.raises(ValueError, match=message):
        model(image_embeddings=maps, **prompts)


@pytest.mark.parametrize("size", [64, 256, 1024])
@pytest.mark.parametrize("width", [1, 2, 40])
def test_thin_masks_stay_where_they_are_and_are_not_absent(size, width):
    mask = np.zeros((900, 1200), np.uint8)
    mask[100:800, 601 : 601 + width] = 1
    found = video_mask(mask, size)
    rows, columns = found.nonzero(as_tuple=True)
    assert abs(float(columns.float().mean() + 0.5) / size - (601 + width / 2) / 1200) < 1 / size
    assert abs(len(rows.unique()) / size - 700 / 900) < 3 / size
    dot = np.zeros((900, 1200), np.uint8)
    dot[450, 600] = 1
    assert video_mask(dot, size).any()
    assert not video_mask(np.zeros((900, 1200)), size).any()


def test_fractions_become_pixels_of_width_and_height():
    prompt = ObjectPrompt(points=[[0.5, 0.25]], labels=[1], box=[0.1, 0.2, 0.5, 1.0]).in_pixels((40, 200))
    assert prompt.points == [[100, 10]] and prompt.box == pytest.approx([20, 8, 100, 40])
