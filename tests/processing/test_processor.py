import json

import numpy as np
import pytest
import torch

from sam2_hf import Sam2ImageProcessor, Sam2Processor
from sam2_hf.errors import CheckpointError, CheckpointMismatchError
from tests.tiny import IMAGE_SIZE, micro_config, micro_processor, scene, scene_image

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def processor() -> Sam2Processor:
    return micro_processor()


def prepared(processor, **prompts):
    return processor(original_sizes=[(HEIGHT, WIDTH)], return_tensors="pt", **prompts)


def model_pixels(x: float, y: float) -> list[float]:
    return [x / WIDTH * IMAGE_SIZE, y / HEIGHT * IMAGE_SIZE]


POINT = [30, 40]
NESTINGS = {
    "x y": POINT,
    "points": [POINT],
    "objects": [[POINT]],
    "images": [[[POINT]]],
    "tuples": ((((30, 40),),),),
    "array": np.array([[[POINT]]]),
    "float32 array": np.array(POINT, dtype=np.float32),
    "tensor": torch.tensor([[POINT]]),
    "numpy numbers": [np.float32(30), np.int64(40)],
    "list of arrays": [np.array([POINT])],
    "tuple of tensors": (torch.tensor([POINT], dtype=torch.float64),),
}


@pytest.mark.parametrize("nesting", NESTINGS)
def test_every_nesting_of_one_point_means_the_same(processor, nesting):
    """The library drops tuples silently and refuses NumPy numbers and flat points."""
    inputs = prepared(processor, input_points=NESTINGS[nesting])
    assert inputs["input_points"].shape == (1, 1, 1, 2)
    torch.testing.assert_close(inputs["input_points"][0, 0, 0], torch.tensor(model_pixels(30, 40)))
    assert inputs["input_labels"].tolist() == [[[1]]]


def test_two_points_are_one_object():
    inputs = prepared(micro_processor(), input_points=[[30, 40], [50, 20]], input_labels=[1, 0])
    assert inputs["input_points"].shape == (1, 1, 2, 2)
    assert inputs["input_labels"].tolist() == [[[1, 0]]]


def test_ragged_points_are_padded(processor):
    inputs = prepared(processor, input_points=[[[30, 40]], [[50, 20], [60, 10]]])
    assert inputs["input_labels"].tolist() == [[[1, -10], [1, 1]]]
    assert inputs["input_points"][0, 0, 1].tolist() == [-10, -10]


@pytest.mark.parametrize("boxes", [[10, 5, 50, 30], [[10, 5, 50, 30]], [[[10, 5, 50, 30]]], ((10, 5, 50, 30),)])
def test_every_nesting_of_one_box_means_the_same(processor, boxes):
    box = prepared(processor, input_boxes=boxes)["input_boxes"]
    torch.testing.assert_close(box, torch.tensor([[model_pixels(10, 5) + model_pixels(50, 30)]]))


def test_ragged_boxes_are_padded(processor):
    """The library refuses pictures with different numbers of boxes."""
    inputs = processor(
        original_sizes=[(HEIGHT, WIDTH)] * 2,
        input_boxes=[[[10, 5, 50, 30], [1, 2, 3, 4]], [[0, 0, 9, 9]]],
        return_tensors="pt",
    )
    assert inputs["input_boxes"].shape == (2, 2, 4)
    assert inputs["input_boxes"][1, 1].tolist() == [-10] * 4


def test_boxes_and_points_pair_by_object_with_empty_lists_for_none(processor):
    inputs = prepared(processor, input_points=[[[[30, 40]], []]], input_boxes=[[[], [10, 5, 50, 30]]])
    assert inputs["input_labels"].tolist() == [[[1], [-10]]]
    assert inputs["input_boxes"][0, 0].tolist() == [-10] * 4


def test_one_point_serves_all_boxes(processor):
    inputs = prepared(processor, input_points=[[[[30, 40]]]], input_boxes=[[[10, 5, 50, 30], [0, 0, 80, 50]]])
    assert inputs["input_points"].shape == (1, 2, 1, 2)


def test_coordinate_that_looks_like_padding_is_scaled(processor):
    """The library leaves a coordinate of -10 as it is."""
    with pytest.warns(UserWarning, match="outside the picture"):
        inputs = prepared(processor, input_points=[[-10, -10]])
    torch.testing.assert_close(inputs["input_points"][0, 0, 0], torch.tensor(model_pixels(-10, -10)))
    assert inputs["input_labels"].tolist() == [[[1]]]


def test_padded_input_of_the_user_stays_padding(processor):
    inputs = prepared(processor, input_points=[[[[30, 40], [-10, -10]]]], input_labels=[[[1, -10]]])
    assert inputs["input_labels"].tolist() == [[[1, -10]]]
    assert inputs["input_points"][0, 0, 1].tolist() == [-10, -10]


def test_worked_example_of_coordinates():
    processor = Sam2Processor(Sam2ImageProcessor())
    inputs = processor(original_sizes=[(1200, 1800)], input_points=[500, 375], return_tensors="pt")
    torch.testing.assert_close(inputs["input_points"][0, 0, 0], torch.tensor([284.444444, 320.0]))


def test_fractions_are_scaled_by_the_model_size_only(processor):
    inputs = prepared(processor, input_points=[0.5, 0.25], normalized=True)
    assert inputs["input_points"][0, 0, 0].tolist() == [IMAGE_SIZE / 2, IMAGE_SIZE / 4]


def test_size_override_moves_the_prompts_too(processor):
    """The library fixes the prompts' size in the constructor."""
    inputs = processor(
        images=scene_image(HEIGHT, WIDTH), input_points=[30, 40], size={"height": 64, "width": 128}, return_tensors="pt"
    )
    assert inputs["pixel_values"].shape == (1, 3, 64, 128)
    torch.testing.assert_close(inputs["input_points"][0, 0, 0], torch.tensor([30 / WIDTH * 128, 40 / HEIGHT * 64]))


def test_structured_arguments_of_the_library_are_taken(processor):
    inputs = processor(images=scene(), images_kwargs={"size": {"height": 64, "width": 64}}, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)


def test_numpy_is_returned_for_all_fields_if_asked_for(processor):
    """The library returns tensors for prompts whatever is asked for."""
    inputs = processor(images=scene(), input_points=[30, 40], input_boxes=[1, 2, 30, 40], return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in inputs.values())


def test_callers_lists_are_not_changed(processor):
    clicks = [[[30, 40]], [[50, 20], [60, 10]]]
    before = json.dumps(clicks)
    prepared(processor, input_points=clicks)
    assert json.dumps(clicks) == before


def test_pictures_of_different_sizes_scale_their_own_prompts(processor):
    inputs = processor(
        images=[scene_image(60, 90), scene_image(100, 40)],
        input_points=[[[[30, 40]]], [[[30, 40]]]],
        return_tensors="pt",
    )
    torch.testing.assert_close(inputs["input_points"][1, 0, 0], torch.tensor([30 / 40 * 256, 40 / 100 * 256]))


def test_binary_masks_become_logits_of_10(processor):
    mask = np.ones((HEIGHT, WIDTH), bool)
    for masks in (mask, mask[None], [mask[None]], torch.from_numpy(mask).byte() * 255):
        logits = prepared(processor, masks=masks)["input_masks"]
        assert logits.shape == (1, 1, 64, 64)
        torch.testing.assert_close(logits, torch.full_like(logits, 10.0))


def test_logits_pass_as_they_are(processor):
    logits = torch.randn(2, 64, 64) * 40
    assert torch.equal(prepared(processor, input_masks=logits)["input_masks"], logits[None])


def test_saved_and_loaded_processor_prepares_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = Sam2Processor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert (saved["target_size"], saved["point_pad_value"]) == (IMAGE_SIZE, -10)


def test_published_files_are_read(tmp_path):
    """As the releases have them: two small files, the names of the library's own classes."""
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"point_pad_value": -10, "processor_class": "Sam2VideoProcessor", "target_size": 1024})
    )
    image_processor = Sam2ImageProcessor().to_dict() | {"image_processor_type": "Sam2ImageProcessorFast"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(image_processor))
    loaded = Sam2Processor.from_pretrained(tmp_path)
    assert isinstance(loaded.image_processor, Sam2ImageProcessor)
    assert loaded.image_processor.size == {"height": 1024, "width": 1024}


def test_size_that_contradicts_the_model_is_refused(tmp_path):
    micro_processor(512).save_pretrained(tmp_path)
    micro_config().save_pretrained(tmp_path)
    with pytest.raises(CheckpointMismatchError, match=r"resizes to 512, but config\.json says image_size 256"):
        Sam2Processor.from_pretrained(tmp_path)
    assert Sam2Processor.from_pretrained(tmp_path, size={"height": 256, "width": 256}).target_size == 256


def test_half_precision_inputs_keep_clicks_where_they_are():
    processor = Sam2Processor(Sam2ImageProcessor())
    inputs = processor(images=scene(), input_points=[51.3, 27.7], input_boxes=[1, 2, 51.3, 27.7], return_tensors="pt")
    expected = {name: inputs[name].clone() for name in ("input_points", "input_boxes")}
    half = inputs.to(torch.bfloat16)
    assert half["pixel_values"].dtype == torch.bfloat16
    assert half["input_labels"].dtype == torch.int64
    for name, tensor in expected.items():
        assert torch.equal(half[name], tensor)


def test_single_label_of_a_single_point_is_a_number(processor):
    assert prepared(processor, input_points=[30, 40], input_labels=0)["input_labels"].tolist() == [[[0]]]


def test_size_of_a_single_picture_may_be_flat(processor):
    assert processor(original_sizes=(60, 90), input_points=[30, 40])["original_sizes"].tolist() == [[60, 90]]


def test_lists_of_tensors_are_masks_whatever_their_dtype(processor):
    logits = [torch.randn(64, 64, requires_grad=True), torch.randn(64, 64).bfloat16()]
    assert prepared(processor, input_masks=[torch.stack([entry.float() for entry in logits])])["input_masks"].shape
    assert prepared(processor, input_masks=logits[:1])["input_masks"].shape == (1, 1, 64, 64)
    assert prepared(processor, masks=[torch.ones(8, 8)])["input_masks"].shape == (1, 1, 64, 64)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("input_point", "did you mean 'input_points'"),
        ("input_bboxes", "did you mean 'input_boxes'"),
        ("text", "SAM 2 takes no text"),
        ("zzzzz", "leave it out"),
    ],
)
def test_unknown_names_are_refused(name, hint):
    """The library warns, and gives an output without prompts."""
    with pytest.raises(TypeError, match=rf"takes no '{name}'; {hint}"):
        micro_processor()(images=scene(60, 90), **{name: [[30, 20]]})


def test_arguments_of_the_image_half_are_known_under_their_names_and_as_a_group():
    processor = micro_processor()
    for given in ({"do_normalize": False}, {"images_kwargs": {"do_normalize": False}}, {"device": "cpu"}):
        assert processor(images=scene(60, 90), return_tensors="pt", **given)["pixel_values"].shape == (1, 3, 256, 256)


@pytest.mark.parametrize("kind", [Sam2Processor, Sam2ImageProcessor])
@pytest.mark.parametrize("name", ["embedded", "auto", "sam2.1_hiera_tiny.pt", "weights.safetensors"])
def test_names_of_load_are_told_apart_from_repositories_at_once(kind, name):
    with pytest.raises(CheckpointError, match=rf"use sam2_hf\.load\('{name}'\)"):
        kind.from_pretrained(name)
