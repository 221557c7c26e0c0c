"""The checkpoint that ships: small, complete, nothing special about it, and good enough to be of use."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_hf import EMBEDDED_CHECKPOINT, Sam2Config, Sam2InferenceSession, Sam2Model, Sam2Processor
from sam2_hf.evaluation.metrics import region_similarity
from scripts.render_demo_clip import render

FOLDER = Path(EMBEDDED_CHECKPOINT)
MAX_BYTES = 12_000_000


@pytest.fixture(scope="module")
def model():
    return Sam2Model.from_pretrained(EMBEDDED_CHECKPOINT)


@pytest.fixture(scope="module")
def processor():
    return Sam2Processor.from_pretrained(EMBEDDED_CHECKPOINT)


def test_it_is_small_and_loads_whole():
    assert (FOLDER / "model.safetensors").stat().st_size <= MAX_BYTES
    _, report = Sam2Model.from_pretrained(EMBEDDED_CHECKPOINT, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_its_configuration_is_an_ordinary_one():
    saved = json.loads((FOLDER / "config.json").read_text())
    config = Sam2Config.from_pretrained(EMBEDDED_CHECKPOINT)
    assert saved["model_type"] == "sam2_video"
    assert 256 <= config.image_size <= 512
    assert Sam2Config.from_dict(saved).to_dict() == config.to_dict()
    assert config.version == "2.1"


def shapes_on_a_wall(seed):
    """A picture with a disk on a background that it never saw, and the disk's mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:240, :360]
    centre, radius = rng.uniform((70, 80), (170, 280)), rng.uniform(30, 60)
    mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
    picture = np.where(mask[..., None], rng.integers(0, 255, 3), rng.integers(0, 255, 3)) + rng.normal(
        0, 8, (240, 360, 1)
    )
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def test_a_box_and_a_click_find_a_shape(model, processor):
    for seed in range(4):
        picture, mask = shapes_on_a_wall(seed)
        y, x = np.argwhere(mask).mean(axis=0)
        rows, columns = np.nonzero(mask)
        box = [[float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())]]
        for prompt, several in (({"input_boxes": box}, False), ({"input_points": [[float(x), float(y)]]}, True)):
            inputs = processor(images=picture, **prompt, return_tensors="pt")
            with torch.no_grad():
                outputs = model(**inputs, multimask_output=several)
            masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0][0]
            best = masks[outputs.iou_scores[0, 0].argmax()].numpy()
            assert region_similarity(best, mask) > 0.7


def test_it_follows_the_object_of_the_demo(model, processor):
    frames, ids = render(2)
    session = Sam2InferenceSession(model, processor, video=list(frames))
    session.add_prompt(frame_index=0, object_id=3, mask=ids[0] == 3)
    overlaps = [region_similarity(frame.masks[0].numpy(), ids[frame.frame_index] == 3) for frame in session.propagate()]
    still = [region_similarity(ids[0] == 3, truth == 3) for truth in ids]
    assert np.mean(overlaps) > np.mean(still) + 0.1


def test_the_librarys_image_model_loads_it():
    """Its video model does not: it holds memory to 64 channels. README says both."""
    from transformers import Sam2Model as NativeModel
    from transformers import Sam2VideoModel as NativeVideoModel

    _, found = NativeModel.from_pretrained(EMBEDDED_CHECKPOINT, output_loading_info=True)
    assert not found["missing_keys"] and not found["mismatched_keys"]
    with pytest.raises(RuntimeError, match="mismatched"):
        NativeVideoModel.from_pretrained(EMBEDDED_CHECKPOINT)
