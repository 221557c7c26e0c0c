import numpy as np
import pytest
import torch
from PIL import Image

import sam2_hf
from sam2_hf import Sam2InferenceSession, TrackingPolicy, VideoFrameResult
from sam2_hf.errors import PromptError
from tests.golden.recipe import golden_scene
from tests.numbers import same_masks
from tests.tiny import micro_model, micro_processor

HEIGHT, WIDTH, SIDE = 54, 96, 64
FRAMES = [golden_scene(HEIGHT, WIDTH, index) for index in range(9)]
OBJECTS = [{"id": 1, "frame": 0, "box": [20, 10, 60, 40], "label": "cat"}, {"id": 2, "frame": 4, "points": [70, 40]}]


@pytest.fixture(scope="module")
def model():
    return micro_model(image_size=SIDE)


@pytest.fixture(scope="module")
def track(model):
    return sam2_hf.pipeline("video-object-segmentation", model=model)


def test_results_are_those_of_a_session(track, model):
    results = track(FRAMES, objects=OBJECTS)
    assert not isinstance(results, list)
    session = Sam2InferenceSession(model, micro_processor(SIDE), FRAMES)
    session.add_prompt(frame_index=0, object_id=1, box=[20, 10, 60, 40])
    session.add_prompt(frame_index=4, object_id=2, points=[[70, 40]])
    for result, frame in zip(results, session.propagate(), strict=True):
        assert isinstance(result, VideoFrameResult)
        assert (result.frame, result.object_ids) == (frame.frame_index, frame.object_ids)
        assert same_masks(result.masks, frame.masks)
        assert result.labels == ("cat", None)[: len(result)]


def test_each_stage_does_its_part_of_the_work(track):
    prepared = track.preprocess(FRAMES, objects=OBJECTS, stride=2)
    assert len(prepared["frames"]) == 5 and [request.object_id for request in prepared["requests"]] == [1, 2]
    results = list(track.postprocess(track.forward(prepared)))
    whole = list(track(FRAMES, objects=OBJECTS, stride=2))
    assert [result.frame for result in results] == [0, 2, 4, 6, 8]
    assert all(same_masks(one.masks, other.masks) for one, other in zip(results, whole, strict=True))


def test_frames_are_made_one_at_a_time_and_leave_the_grad_mode_alone(track):
    results = track(FRAMES, objects=OBJECTS[:1])
    next(results)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_points_and_boxes_go_on_one_frame(track):
    results = list(track(FRAMES, boxes=[[20, 10, 60, 40], [60, 10, 90, 50]], object_ids=["a", "b"], frame=2))
    assert [result.frame for result in results] == list(range(2, 9))
    assert results[0].object_ids == ("a", "b") and results[0].is_prompted.all()


def test_part_of_a_video_keeps_its_frame_numbers(track):
    objects = [{"id": 1, "frame": 4, "box": [20, 10, 60, 40]}]
    assert [r.frame for r in track(FRAMES, objects=objects, stride=2, end=8, direction="both")] == [4, 6, 2, 0]
    assert [r.frame for r in track(iter(FRAMES), objects=objects, stride=2, max_frames=2)] == [4, 6]
    sampled = list(track(FRAMES, objects=objects, stride=2))
    by_hand = list(track(FRAMES[::2], objects=[{**objects[0], "frame": 2}]))
    assert all(same_masks(r.masks, s.masks) for r, s in zip(sampled, by_hand, strict=True))
    with pytest.raises(PromptError, match="frame 3 is not looked at with a stride of 2; use frame 2 or 4"):
        track(FRAMES, objects=[{**objects[0], "frame": 3}], stride=2)
    with pytest.raises(PromptError, match="frame 8 is not looked at, the video ends before frame 8"):
        track(FRAMES, objects=[{**objects[0], "frame": 8}], end=8)
    with pytest.raises(ValueError, match="`stride` is 0"):
        track(FRAMES, objects=objects, stride=0)


def test_list_of_videos_gives_a_list_of_iterators(track):
    clips = [np.stack(FRAMES[:3]), np.stack(FRAMES[3:7])]
    first, second = track(clips, boxes=[20, 10, 60, 40])
    assert [r.frame for r in first] == [0, 1, 2] and [r.frame for r in second] == [0, 1, 2, 3]
    assert [r.frame for r in track(FRAMES[:2], boxes=[20, 10, 60, 40])] == [0, 1]  # a list of frames is one video


def test_frame_of_a_written_result_is_read_again_from_its_video(track, tmp_path):
    for index, picture in enumerate(FRAMES[:3]):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    last = list(track(str(tmp_path), boxes=[20, 10, 60, 40]))[-1]
    again = VideoFrameResult.from_json(last.to_json())
    assert again.image is None and np.array_equal(again.pixels(), FRAMES[2])


def test_choices_of_tracking_reach_the_session(track):
    given = {"boxes": [[20, 10, 60, 40], [30, 10, 70, 40]]}
    apart = list(track(FRAMES[:3], **given, non_overlap=True))[-1].masks.dense()
    assert not (apart[0] & apart[1]).any()
    whole = list(track(FRAMES[:3], **given, policy=TrackingPolicy(non_overlap=True)))[-1].masks.dense()
    assert same_masks(apart, whole)


def test_wrong_calls_are_refused_before_the_first_frame(track):
    with pytest.raises(PromptError, match="no prompt given"):
        track(FRAMES)
    for wrong in ({"direction": "up"}, {"max_frames": 0}):
        with pytest.raises(ValueError, match="must be"):
            track(FRAMES, objects=OBJECTS[:1], **wrong)
    with pytest.raises(TypeError, match="takes no 'backwards'; did you mean 'backward_start'"):
        track(FRAMES, objects=OBJECTS, backwards=True)
    with pytest.raises(PromptError, match="frame 40 is not in the video"):
        track(FRAMES, objects=[{"id": 1, "frame": 40, "box": [20, 10, 60, 40]}])
    with pytest.raises(PromptError, match="takes no `mask_logits`"):
        track(FRAMES, objects=[{"id": 1, "mask_logits": np.zeros((16, 16))}])


@pytest.mark.parametrize("scale", [1, 2])
def test_mask_that_was_given_is_shown_as_it_was_given(track, scale):
    """The model's grid would round it: on the frame it was given on, the annotation itself is the result."""
    mask = np.zeros((HEIGHT * scale, WIDTH * scale), bool)
    mask[7 * scale : 41 * scale, 13 * scale : 58 * scale] = True
    mask[20 * scale : 21 * scale, 60 * scale : 90 * scale] = True  # thinner than a cell
    objects = [{"id": 1, "frame": 2, "mask": mask}, {"id": 2, "frame": 2, "box": [5, 5, 30, 30]}]
    frames = list(track(FRAMES[:5], objects=objects))
    assert frames[0].frame == 2
    assert np.array_equal(frames[0].masks[0], mask[::scale, ::scale])
    assert frames[0].boxes[0].tolist() == [13, 7, 90, 41] and frames[0].is_visible[0]
    assert frames[0].masks[1].any() and frames[1].masks[0].shape == (HEIGHT, WIDTH)
