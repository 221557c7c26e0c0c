import json
import os

import numpy as np
import pytest
import torch
import transformers
from transformers.pipelines.pt_utils import KeyDataset

import sam2_hf
from sam2_hf.errors import ConfigError, PromptError
from sam2_hf.pipelines.image import segment
from sam2_hf.pipelines.prompt_file import prompt_record
from sam2_hf.processing.requests import requests_from
from tests.numbers import same_masks
from tests.tiny import micro_model, micro_processor, scene, scene_image

TASK = "promptable-segmentation"
HEIGHT, WIDTH = 60, 90
BOXES = [[10, 5, 50, 30], [0, 0, 80, 50]]


@pytest.fixture(scope="module")
def model():
    return micro_model()


@pytest.fixture(scope="module")
def ask(model):
    return sam2_hf.pipeline(TASK, model=model)


def test_result_is_that_of_segment(ask, model):
    result = ask(scene(HEIGHT, WIDTH), boxes=BOXES, multimask=True)
    expected = segment(model, micro_processor(), scene(HEIGHT, WIDTH), boxes=BOXES, multimask=True)
    assert same_masks(result.masks, expected.masks)
    assert all(map(same_masks, result.alternatives, expected.alternatives)) and len(expected.alternatives) == len(BOXES)
    assert isinstance(ask, transformers.Pipeline)


def test_path_picture_array_tensor_and_dict_give_the_same(ask, tmp_path):
    scene_image(HEIGHT, WIDTH).save(tmp_path / "a.png")
    array = scene(HEIGHT, WIDTH)
    forms = (tmp_path / "a.png", str(tmp_path / "a.png"), scene_image(HEIGHT, WIDTH), array)
    forms = (*forms, torch.from_numpy(array).permute(2, 0, 1), {"image": array, "boxes": BOXES})
    first = ask(forms[0], boxes=BOXES)
    for form in forms:
        assert same_masks(ask(form, boxes=BOXES).masks, first.masks)
    assert (first.source, ask(array, boxes=BOXES).source) == (str(tmp_path / "a.png"), None)


def test_batches_of_pictures_of_any_size_give_what_they_give_one_by_one(ask):
    pictures = [scene(60, 90), scene(40, 120, seed=1), scene(90, 60, seed=2), scene(33, 33, seed=3)]
    clicks = [[[[20, 20]]], [[[30, 10]], [[90, 20]]], [[[10, 70], [40, 20]]], [[[16, 16]]]]
    batched = ask(pictures, points=clicks, batch_size=3)
    single = [ask(picture, points=points) for picture, points in zip(pictures, clicks, strict=True)]
    assert [result.size for result in batched] == [(60, 90), (40, 120), (90, 60), (33, 33)]
    for one, other in zip(batched, single, strict=True):
        assert same_masks(one.masks, other.masks)
        np.testing.assert_allclose(one.iou_scores, other.iou_scores, atol=1e-6)


def test_lists_give_lists_and_generators_and_data_sets_stream(ask):
    pictures = [scene(HEIGHT, WIDTH, seed=seed) for seed in range(3)]
    listed = ask(pictures, points=[40, 30])
    assert isinstance(listed, list)
    taken = []

    def frames():
        for picture in pictures:
            taken.append(1)
            yield {"image": picture}

    streamed = ask(frames(), points=[40, 30])
    first = next(streamed)
    assert len(taken) == 1  # nothing is read ahead
    rows = [{"image": picture, "other": 1} for picture in pictures]
    keyed = ask(KeyDataset(rows, "image"), points=[40, 30], batch_size=2)
    assert not isinstance(keyed, list)
    for results in ([first, *streamed], list(keyed)):
        assert [result.masks for result in results] == [result.masks for result in listed]


class Rows:
    """A data set that has a length, and does not say where it ends."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        return scene(HEIGHT, WIDTH, seed=index)


class Stream:
    """A data set that can only be walked through."""

    def __iter__(self):
        return (scene(HEIGHT, WIDTH, seed=index) for index in range(2))


@pytest.mark.parametrize("data", [Rows(), Stream()])
def test_data_sets_with_a_length_or_without_end_where_they_end(ask, data):
    results = ask(data, points=[40, 30])
    assert [result.masks for result in results] == [ask(Rows()[i], points=[40, 30]).masks for i in range(2)]


class Noting:
    """A data set that notes which processes read it."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        (self.folder / str(os.getpid())).touch()
        return {"image": scene(HEIGHT, WIDTH, seed=index), "points": [40, 30 + index]}


def test_other_processes_read_and_prepare_pictures(ask, tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    alone = list(ask(Noting(here)))
    together = list(ask(Noting(elsewhere), num_workers=2, batch_size=2))
    assert all(same_masks(one.masks, other.masks) for one, other in zip(alone, together, strict=True))
    assert [path.name for path in here.iterdir()] == [str(os.getpid())]
    assert str(os.getpid()) not in [path.name for path in elsewhere.iterdir()] and len(list(elsewhere.iterdir())) == 2


def test_each_stage_does_its_part_of_the_work(ask):
    whole = ask(scene(HEIGHT, WIDTH), boxes=BOXES, multimask=True)
    prepared = ask.preprocess(scene(HEIGHT, WIDTH), boxes=BOXES)
    assert prepared["pixel_values"].shape == (1, 3, 256, 256)
    answered = ask.forward(prepared, multimask=True)
    assert answered["answer"].outputs["pred_masks"].shape == (2, 3, 64, 64)
    assert same_masks(ask.postprocess(answered).masks, whole.masks)
    assert set(whole.timings) == {"load", "preprocess", "encode", "decode", "postprocess"}


def test_an_empty_list_gives_an_empty_list(ask):
    assert ask([], points=[40, 30]) == []


def test_prompts_of_later_frames_are_refused(ask, tmp_path):
    record = prompt_record(
        requests_from(objects=[{"id": 1, "points": [4, 3]}, {"id": 2, "frame": 40, "points": [4, 3]}])
    )
    (tmp_path / "prompts.json").write_text(json.dumps(record))
    with pytest.raises(PromptError, match="prompts on frame 40; pictures have frame 0 only"):
        ask(scene(HEIGHT, WIDTH), prompts=tmp_path / "prompts.json")


def test_arguments_that_would_be_ignored_or_mistaken_are_refused(model):
    with pytest.raises(ConfigError, match="leave out `dtype`"):
        sam2_hf.pipeline(TASK, model=model, dtype="bf16")
    with pytest.raises(ConfigError, match="got NoneType"):
        sam2_hf.pipeline(TASK, model=None)
    both = (micro_processor(), micro_processor().image_processor)
    made = [sam2_hf.pipeline(TASK, model=model, processor=processor) for processor in both]
    made.append(sam2_hf.pipeline(TASK, model=model, image_processor=both[1]))
    assert {pipe.image_processor.size["height"] for pipe in made} == {256}


def test_every_picture_of_a_generator_may_have_prompts_of_its_own(ask):
    entries = [{"image": scene(HEIGHT, WIDTH), "objects": [{"id": 7, "box": BOXES[0], "label": "cat"}]}]
    entries += [{"image": scene(HEIGHT, WIDTH), "points": [40, 30]}]
    first, second = ask(iter(entries))
    assert (first.object_ids, first.labels, first.class_ids.tolist()) == ((7,), ("cat",), [0])
    assert (second.object_ids, second.labels) == ((1,), (None,))


def test_objects_with_and_without_masks_go_together(ask):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:40, 20:70] = 1
    objects = [{"id": 1, "mask": mask}, {"id": 2, "box": BOXES[0]}, {"id": 3, "mask": mask[:30], "points": [40, 20]}]
    result = ask(scene(HEIGHT, WIDTH), objects=objects)
    alone = [ask(scene(HEIGHT, WIDTH), objects=[entry]) for entry in objects]
    assert result.object_ids == (1, 2, 3)
    assert [result.masks.rle[row] for row in range(3)] == [one.masks.rle[0] for one in alone]


def test_logits_can_be_given_back_and_trained_on(ask):
    result = ask(scene(HEIGHT, WIDTH), points=[40, 30], return_logits=True)
    assert result.logits.shape == (1, 64, 64) and not result.logits.is_inference()
    again = ask(scene(HEIGHT, WIDTH), points=[40, 30], mask_logits=result.logits)
    assert again.masks != result.masks
    assert ask(scene(HEIGHT, WIDTH), points=[40, 30]).logits is None


def test_no_prompt_is_an_error_unless_it_is_allowed(ask):
    with pytest.raises(PromptError, match="no prompt given"):
        ask(scene(HEIGHT, WIDTH))
    assert len(ask(scene(HEIGHT, WIDTH), allow_no_prompt=True)) == 1


def test_wrong_words_are_refused(ask):
    with pytest.raises(TypeError, match="takes no 'pionts'; did you mean 'points'"):
        ask(scene(HEIGHT, WIDTH), pionts=[1, 2])
    with pytest.raises(PromptError, match="no 'image' in"):
        ask([{"picture": scene(HEIGHT, WIDTH)}], points=[1, 2])
    with pytest.raises(PromptError, match="there is no 'point'"):
        ask([{"image": scene(HEIGHT, WIDTH), "point": [1, 2]}])
    with pytest.raises(ConfigError, match="no task 'image-segmentation'"):
        sam2_hf.pipeline("image-segmentation", model="embedded")


def test_options_of_the_pipeline_hold_for_every_call(model):
    ask = sam2_hf.pipeline(TASK, model=model, multimask=True, batch_size=2)
    assert len(ask(scene(HEIGHT, WIDTH), points=[40, 30]).alternatives) == 1
    assert ask(scene(HEIGHT, WIDTH), points=[40, 30], multimask=False).alternatives == ()


def test_pipeline_loads_a_folder(tmp_path, model, ask):
    micro_processor().save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    loaded = sam2_hf.pipeline(TASK, model=tmp_path, device="cpu", dtype=torch.float32)
    assert same_masks(loaded(scene(HEIGHT, WIDTH), boxes=BOXES).masks, ask(scene(HEIGHT, WIDTH), boxes=BOXES).masks)


def test_foreign_models_are_refused_by_name():
    from sam2_hf.pipelines.picture_task import PromptableSegmentationPipeline

    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16, patch_size=8
    )
    with pytest.raises(TypeError, match=r"needs sam2_hf\.Sam2Model, got .*ViTModel"):
        PromptableSegmentationPipeline(model=transformers.ViTModel(config), device=-1)


def test_classes_have_one_number_in_all_pictures(model):
    ask = sam2_hf.pipeline(TASK, model=model)
    names = (("cat", None), ("dog", "cat"), ("bird",))
    entries = [
        {"image": scene(60, 90), "objects": [{"box": [5, 5, 50, 40], "label": name} for name in picture]}
        for picture in names
    ]
    for batch_size in (1, 3):
        found = [result.class_ids.tolist() for result in ask(entries, batch_size=batch_size)]
        assert found == [[0, -1], [1, 0], [2]]
    assert ask.classes == ["cat", "dog", "bird"]
