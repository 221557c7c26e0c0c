"""The tutorials of transformers' Sam2Video documentation run here, with its numbers where both are right."""

import numpy as np
import pytest
import torch
import transformers

from sam2_hf import Sam2InferenceSession, TrackingPolicy
from sam2_hf.errors import PromptError
from tests.golden.recipe import golden_scene
from tests.numbers import same_masks
from tests.tiny import MICRO_TRUNK, micro_model, micro_processor

HEIGHT, WIDTH, NUM_FRAMES = 54, 96, 5
SIDE = 64


@pytest.fixture(scope="module")
def model():
    return micro_model(image_size=SIDE)


@pytest.fixture(scope="module")
def processor():
    return micro_processor(SIDE)


@pytest.fixture(scope="module")
def video_frames() -> list[np.ndarray]:
    return [golden_scene(HEIGHT, WIDTH, frame) for frame in range(NUM_FRAMES)]


def test_tutorial_of_one_object_runs_and_gives_our_numbers(model, processor, video_frames):
    inference_session = processor.init_video_session(video=video_frames, inference_device="cpu", dtype=torch.float32)
    processor.add_inputs_to_inference_session(
        inference_session=inference_session, frame_idx=0, obj_ids=1, input_points=[[[[30, 20]]]], input_labels=[[[1]]]
    )
    outputs = model(inference_session=inference_session, frame_idx=0)
    sizes = [[inference_session.video_height, inference_session.video_width]]
    assert sizes == [[HEIGHT, WIDTH]]
    first = processor.post_process_masks([outputs.pred_masks], original_sizes=sizes, binarize=False)[0]
    assert first.shape == (1, 1, HEIGHT, WIDTH)
    video_segments = {}
    for output in model.propagate_in_video_iterator(inference_session):
        masks = processor.post_process_masks([output.pred_masks], original_sizes=sizes, binarize=False)[0]
        video_segments[output.frame_idx] = masks
    ours = Sam2InferenceSession(model, processor, video=video_frames)
    shown = ours.add_prompt(frame_index=0, object_id=1, points=[[30, 20]], labels=[1])
    torch.testing.assert_close(shown.mask_logits, first[:, 0])
    for frame in ours.propagate():
        torch.testing.assert_close(frame.mask_logits, video_segments[frame.frame_index][:, 0])
    inference_session.reset_inference_session()
    assert inference_session.obj_ids == []


def test_tutorial_of_several_objects_runs(model, processor, video_frames):
    inference_session = processor.init_video_session(video=video_frames)
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=0,
        obj_ids=[2, 3],
        input_points=[[[[20, 30], [23, 25], [75, 17]], [[40, 15]]]],
        input_labels=[[[1, 1, 0], [1]]],
    )
    outputs = model(inference_session=inference_session, frame_idx=0)
    assert outputs.object_ids == [2, 3] and outputs.pred_masks.shape == (2, 1, 16, 16)
    processor.add_inputs_to_inference_session(
        inference_session=inference_session, frame_idx=0, obj_ids=4, input_boxes=[[[30, 0, 50, 40]]]
    )
    spans = model.propagate_in_video_iterator(inference_session, start_frame_idx=0, max_frame_num_to_track=2)
    found = [(output.frame_idx, output.object_ids) for output in spans]
    assert found == [(frame, [2, 3, 4]) for frame in range(3)]


def test_tutorial_of_streaming_runs(model, processor, video_frames):
    inference_session = processor.init_video_session(inference_device="cpu", dtype=torch.float32)
    found = []
    for frame_idx, frame in enumerate(video_frames):
        inputs = processor(images=frame, return_tensors="pt")
        if frame_idx == 0:
            processor.add_inputs_to_inference_session(
                inference_session=inference_session,
                frame_idx=0,
                obj_ids=1,
                input_points=[[[[30, 20], [25, 22]]]],
                input_labels=[[[1, 1]]],
                original_size=inputs.original_sizes[0],
            )
        output = model(inference_session=inference_session, frame=inputs.pixel_values[0])
        masks = processor.post_process_masks([output.pred_masks], original_sizes=inputs.original_sizes, binarize=False)
        found.append(masks[0])
    whole = Sam2InferenceSession(model, processor, video=video_frames)
    whole.add_prompt(frame_index=0, object_id=1, points=[[30, 20], [25, 22]], labels=[1, 1])
    for frame in whole.propagate():
        torch.testing.assert_close(frame.mask_logits, found[frame.frame_index][:, 0])


def test_two_prompts_in_two_calls_are_both_answered(model, processor, video_frames):
    """The library forgets the first one."""
    inference_session = processor.init_video_session(video=video_frames)
    ids = [1, 2]
    for object_id, x in zip(ids, (30, 70), strict=True):
        processor.add_inputs_to_inference_session(
            inference_session, frame_idx=0, obj_ids=object_id, input_points=[[[[x, 20]]]], input_labels=[[[1]]]
        )
    assert model(inference_session=inference_session, frame_idx=0).object_ids == ids


def test_late_correction_under_a_window_is_answered_in_the_librarys_form(model, processor, video_frames):
    policy = TrackingPolicy(keep="window")
    inference_session = processor.init_video_session(video=video_frames * 4, policy=policy)
    processor.add_inputs_to_inference_session(inference_session, 0, 1, input_points=[[[[30, 20]]]])
    list(model.propagate_in_video_iterator(inference_session))
    processor.add_inputs_to_inference_session(inference_session, 12, 1, input_points=[[[[70, 20]]]])
    assert model(inference_session=inference_session, frame_idx=12).pred_masks.shape == (1, 1, 16, 16)


def test_callers_ids_are_not_changed_and_counts_are_checked(model, processor, video_frames):
    """The library empties the caller's list."""
    inference_session = processor.init_video_session(video=video_frames)
    ids = [1, 2]
    points = [[[[30, 20]], [[70, 20]]]]
    processor.add_inputs_to_inference_session(inference_session, 0, ids, input_points=points, input_labels=[[[1], [1]]])
    list(model.propagate_in_video_iterator(inference_session))
    assert ids == [1, 2]
    with pytest.raises(PromptError, match="`points` has 2 objects but `obj_ids` has 1"):
        processor.add_inputs_to_inference_session(inference_session, 0, [1], input_points=points)
    with pytest.raises(PromptError, match="need 4 levels"):
        processor.add_inputs_to_inference_session(inference_session, 0, [1], input_points=[[[30, 20]]])


def test_session_belongs_to_one_model(model, processor, video_frames):
    inference_session = processor.init_video_session(video=video_frames)
    processor.add_inputs_to_inference_session(inference_session, 0, 1, input_points=[[[[30, 20]]]])
    model(inference_session=inference_session, frame_idx=0)
    with pytest.raises(ValueError, match="belongs to another model"):
        micro_model(image_size=SIDE)(inference_session=inference_session, frame_idx=0)


def test_clicks_and_propagation_give_the_librarys_numbers(tmp_path, video_frames):
    """Clicks, several objects and forward passes are what the library gets right."""
    widths = {"vision_config": {"fpn_hidden_size": 128, "backbone_config": MICRO_TRUNK}}
    ours = micro_model(memory_encoder_output_channels=64, **widths)  # the library knows 64 channels only
    ours.save_pretrained(tmp_path)
    native = transformers.Sam2VideoModel.from_pretrained(tmp_path).eval()
    processor = micro_processor()
    pixels = processor(images=video_frames, return_tensors="pt")["pixel_values"]
    theirs = transformers.Sam2VideoInferenceSession(
        video=pixels, video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32
    )
    # as the library does: no holes filled, memory kept in bfloat16
    policy = TrackingPolicy(fill_hole_area=0, memory_dtype=torch.bfloat16)
    session = Sam2InferenceSession(ours, processor, video=video_frames, policy=policy)
    clicks = {1: (30, 20), 2: (70, 40)}
    for object_id, (x, y) in clicks.items():
        index = theirs.obj_id_to_idx(object_id)
        point = torch.tensor([[[[x / WIDTH * 256, y / HEIGHT * 256]]]])
        theirs.add_point_inputs(
            index, 0, {"point_coords": point, "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
        )
        session.add_prompt(frame_index=0, object_id=object_id, points=[[x, y]], labels=[1])
    theirs.obj_with_new_inputs = list(clicks)
    native(inference_session=theirs, frame_idx=0)
    expected = {output.frame_idx: output.pred_masks for output in native.propagate_in_video_iterator(theirs)}
    for frame in session.propagate():
        found = [session.tracks[key].memories[frame.frame_index].result.mask_logits for key in clicks]
        reference = expected[frame.frame_index][:, 0]
        torch.testing.assert_close(torch.stack(found), reference, atol=1e-4, rtol=0)


def test_session_can_be_asked_before_a_model_was_called(processor, video_frames):
    session = processor.init_video_session(video=video_frames)
    assert (session.num_frames, session.video_height, session.video_width) == (NUM_FRAMES, HEIGHT, WIDTH)
    assert (session.obj_ids, session.get_obj_num()) == ([], 0)
    assert len(session.processed_frames) == NUM_FRAMES and session.get_frame(2).shape == (3, SIDE, SIDE)
    stream = processor.init_video_session()
    assert (stream.num_frames, stream.video_height) == (None, None)
    with pytest.raises(ValueError, match="knows no model yet"):
        stream.session.propagate()


def test_names_of_the_librarys_session_answer(model, processor, video_frames):
    session = processor.init_video_session()
    pixels = processor(images=video_frames[:2], return_tensors="pt")["pixel_values"]
    assert [session.add_new_frame(pixels[0]), session.add_new_frame(pixels[1:])] == [0, 1]
    processor.add_inputs_to_inference_session(session, 0, ["cat", 7], input_boxes=[[[8, 8, 40, 40], [30, 8, 60, 40]]])
    assert model(inference_session=session, frame_idx=0).object_ids == ["cat", 7]
    assert (session.obj_id_to_idx(7), session.obj_idx_to_id(0)) == (1, "cat")
    assert torch.equal(session.get_frame(1), pixels[1]) and session.num_frames == 2
    assert (session.inference_device, session.dtype) == (model.device, model.dtype)
    with pytest.raises(KeyError, match="there is no object 9"):
        session.obj_id_to_idx(9)
    with pytest.raises(ValueError, match="the next is 2"):
        session.add_new_frame(pixels[0], frame_idx=5)


def test_placements_become_our_policy_and_nothing_is_swallowed(model, processor, video_frames):
    gpu = {"inference_device": "cuda", "video_storage_device": "cpu"}
    for extra, offload in (({}, "video"), ({"inference_state_device": "cpu"}, "all")):
        assert processor.init_video_session(video_frames, **gpu, **extra)._policy.offload == offload
    assert processor.init_video_session(video_frames, inference_device="cpu")._policy.offload == "none"
    with pytest.raises(TypeError, match="max_vision_feature_cache_size"):
        processor.init_video_session(video_frames, max_vision_feature_cache_size=2)
    session = processor.init_video_session(video_frames, inference_device="cuda")
    with pytest.raises(ValueError, match="made for cuda, but the model is on cpu"):
        model(inference_session=session, frame_idx=0)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (1, HEIGHT, WIDTH), (1, 1, HEIGHT, WIDTH), "list", "batch"])
def test_mask_of_one_object_may_have_axes_around_it(model, processor, video_frames, shape):
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[10:40, 20:60] = 1
    given = {"list": [mask], "batch": [mask[None]]}.get(shape) if isinstance(shape, str) else mask.reshape(shape)
    session = processor.init_video_session(video=video_frames)
    processor.add_inputs_to_inference_session(session, 0, 1, input_masks=given)
    shown = model(inference_session=session, frame_idx=0).pred_masks[0, 0] > 0
    assert bool(shown[4:11, 4:9].all()) and not bool(shown[:, 12:].any())
    with pytest.raises(PromptError, match="`mask` has 1 objects but `obj_ids` has 2"):
        processor.add_inputs_to_inference_session(session, 0, [1, 2], input_masks=given)


def test_masks_of_several_objects_are_one_array_or_a_list(model, processor, video_frames):
    masks = torch.zeros(2, HEIGHT, WIDTH)
    masks[0, 5:25, 5:40], masks[1, 30:50, 50:90] = 1, 1
    found = []
    for given in (masks, masks[None], list(masks), [mask[None] for mask in masks]):
        session = processor.init_video_session(video=video_frames)
        processor.add_inputs_to_inference_session(session, 0, [1, 2], input_masks=given)
        found.append(model(inference_session=session, frame_idx=0).pred_masks > 0)
    assert all(same_masks(other, found[0]) for other in found[1:])
