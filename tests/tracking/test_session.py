"""A session keeps its promises: exactness properties, and each defect of other implementations done right."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sam2_hf import Sam2InferenceSession, Sam2Model, TrackingPolicy
from sam2_hf.errors import MissingWeightsError, PromptError, SourceError
from sam2_hf.tracking import tracker
from tests.golden.recipe import golden_scene
from tests.numbers import ROUNDING, alike, differ
from tests.tiny import micro_model, micro_processor

HEIGHT, WIDTH, NUM_FRAMES = 54, 96, 12
SIDE = 64  # of the model's input: the smallest that has all the parts
POLICY = TrackingPolicy()
CLICKS = {1: (30, 20), 2: (70, 40)}


@pytest.fixture(scope="module")
def parts():
    return micro_model(image_size=SIDE), micro_processor(SIDE)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [golden_scene(HEIGHT, WIDTH, frame) for frame in range(40)]


def session_of(parts, frames, **policy) -> Sam2InferenceSession:
    return Sam2InferenceSession(*parts, video=frames, policy=replace(POLICY, **policy))


def click(session, frame=0, object_id=1, at=None, label=1, **more):
    point = CLICKS.get(object_id, (50, 25)) if at is None else at
    return session.add_prompt(frame_index=frame, object_id=object_id, points=[point], labels=[label], **more)


def logits(passed) -> dict[int, torch.Tensor]:
    return {frame.frame_index: frame.mask_logits for frame in passed}


def assert_same(first, second, tolerance=ROUNDING):
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], atol=tolerance, rtol=0)


# Exactness


def test_objects_together_are_objects_one_by_one(parts, frames):
    together = session_of(parts, frames[:NUM_FRAMES])
    for object_id in CLICKS:
        click(together, object_id=object_id)
    found = logits(together.propagate())
    for row, object_id in enumerate(CLICKS):
        alone = session_of(parts, frames[:NUM_FRAMES])
        click(alone, object_id=object_id)
        assert_same({f: x[row : row + 1] for f, x in found.items()}, logits(alone.propagate()))


def test_stream_is_the_whole_video(parts, frames):
    whole = session_of(parts, frames[:NUM_FRAMES])
    click(whole)
    expected = logits(whole.propagate())
    stream = Sam2InferenceSession(*parts, policy=POLICY)
    found = {}
    for index in range(NUM_FRAMES):
        shown = stream.append_frame(frames[index])
        if index == 0:
            shown = click(stream)
        found[index] = shown.mask_logits
    assert_same(found, expected)


def test_iterator_is_the_whole_video_without_being_held(parts, frames):
    whole, stream = session_of(parts, frames[:NUM_FRAMES]), session_of(parts, iter(frames[:NUM_FRAMES]))
    click(whole, frame=2), click(stream, frame=2)
    assert stream.num_frames == 3  # taken as far as they were asked for
    assert_same(logits(stream.propagate()), logits(whole.propagate()))


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("limit", [None, 2])
def test_window_gives_what_keeping_everything_gives(parts, frames, direction, stride, limit):
    found = []
    for keep in ("all", "window"):
        session = session_of(parts, frames, keep=keep, recent_stride=stride, max_prompted_frames=limit)
        for frame in (16, 20, 27):
            click(session, frame=frame, at=(40 + frame, 25))
        found.append(logits(session.propagate(direction, start_frame=20)))
    assert_same(*found)


def test_window_keeps_no_more_than_can_be_read(parts, frames):
    session = session_of(parts, frames, keep="window")
    click(session)
    for frame in session.propagate():
        last = frame.frame_index
        memories = session.tracks[1].memories.values()
        assert sum(memory.spatial is not None for memory in memories) <= 1 + 6
        assert sum(memory.result.object_pointer is not None for memory in memories) <= 1 + 15
        assert sum(memory.result.mask_logits is not None for memory in memories) <= 2
    assert last == len(frames) - 1


@pytest.mark.parametrize("offload", ["state", "video", "all"])
def test_offloading_changes_no_number(parts, frames, offload):
    found = []
    for where in ("none", offload):
        session = session_of(parts, frames[:6], offload=where)
        click(session)
        found.append(logits(session.propagate()))
    assert_same(*found)


def test_encoder_runs_once_per_frame_and_memory_attention_once_per_group(parts, frames, monkeypatch):
    calls = []
    original = parts[0].memory_attention.forward
    monkeypatch.setattr(parts[0].memory_attention, "forward", lambda *a, **k: calls.append(1) or original(*a, **k))
    session = session_of(parts, frames[:8])
    for object_id in (1, 2, 3):
        click(session, object_id=object_id)
    list(session.propagate())
    assert session.frames.encodings == 8
    assert len(calls) == 7  # the prompted frame needs none; three objects are one group


def test_saved_and_loaded_session_goes_on_as_if_nothing_had_happened(parts, frames, tmp_path):
    first = session_of(parts, frames[:NUM_FRAMES])
    click(first), click(first, object_id=2, frame=1)
    list(first.propagate(max_frames=6))
    click(first, frame=4, at=(60, 30), label=0)  # a draft on the way
    first.save(tmp_path / "session.safetensors")
    expected = logits(first.propagate(start_frame=4))
    second = Sam2InferenceSession.load(tmp_path / "session.safetensors", *parts, video=frames[:NUM_FRAMES])
    assert second.object_ids == (1, 2) and second.policy == first.policy
    assert_same(logits(second.propagate(start_frame=4)), expected)


# What other implementations get wrong


def test_correction_on_prompted_frame_survives_propagation(parts, frames):
    session = session_of(parts, frames[:6])
    click(session)
    list(session.propagate())
    corrected = click(session, frame=0, at=(60, 30), label=0).mask_logits
    after = logits(session.propagate())
    assert alike(after[0], corrected)


def test_correction_on_tracked_frame_survives_propagation(parts, frames):
    session = session_of(parts, frames[:6])
    click(session)
    before = logits(session.propagate())
    corrected = click(session, frame=3, at=(60, 30), label=0).mask_logits
    after = logits(session.propagate())
    assert alike(after[3], corrected) and differ(after[3], before[3])
    assert differ(after[4], before[4])


def test_upstream_loses_the_correction(parts, frames):
    session = session_of(parts, frames[:6], keep_corrections=False)
    click(session)
    before = logits(session.propagate())
    click(session, frame=3, at=(60, 30), label=0)
    assert_same(logits(session.propagate()), before)


def test_second_click_uses_the_mask_before_it(parts, frames):
    """The library's own session ignores it: giving two points at once or one after the other is the same there."""
    one_by_one, at_once = session_of(parts, frames[:1]), session_of(parts, frames[:1])
    click(one_by_one)
    second = click(one_by_one, at=(60, 30), label=0, clear_old_points=False)
    both = at_once.add_prompt(frame_index=0, object_id=1, points=[CLICKS[1], (60, 30)], labels=[1, 0])
    assert differ(second.mask_logits, both.mask_logits)
    clean = click(one_by_one, at=(60, 30), label=0, use_previous_mask=False)
    only = click(session_of(parts, frames[:1]), at=(60, 30), label=0)
    assert alike(clean.mask_logits, only.mask_logits)


def test_two_objects_prompted_in_two_calls_are_both_tracked(parts, frames):
    session = session_of(parts, frames[:3])
    click(session, object_id=1), click(session, object_id=2)
    assert [frame.object_ids for frame in session.propagate()] == [(1, 2)] * 3


def test_video_of_one_frame_works_again_and_again(parts, frames):
    session = session_of(parts, frames[:1], pointer_span="clip")
    for at in ((30, 20), (40, 25), (50, 30)):
        click(session, at=at)
        (frame,) = session.propagate()
        assert frame.mask_logits.isfinite().all() and frame.iou_scores.isfinite().all()


def test_object_joins_at_its_first_prompt(parts, frames):
    session = session_of(parts, frames[:8])
    click(session, object_id=1), click(session, object_id=2, frame=4)
    ids = {frame.frame_index: frame.object_ids for frame in session.propagate()}
    assert ids == {**dict.fromkeys(range(4), (1,)), **dict.fromkeys(range(4, 8), (1, 2))}
    assert set(session.tracks[2].memories) == set(range(4, 8))  # nothing before it pollutes its memory
    both = {frame.frame_index: frame.object_ids for frame in session.propagate("both", start_frame=4)}
    assert 2 in both[0] and 2 in both[7]


def test_late_object_leaves_the_others_as_they_are(parts, frames):
    plain, mixed = session_of(parts, frames[:8]), session_of(parts, frames[:8])
    click(plain), click(mixed), click(mixed, object_id=2, frame=4)
    expected = logits(plain.propagate())
    assert_same({f: x[:1] for f, x in logits(mixed.propagate()).items()}, expected)


def test_new_object_in_a_backward_pass_leaves_the_direction_of_others(parts, frames):
    session = session_of(parts, frames[:8])
    click(session, frame=6)
    passed = session.propagate("backward")
    next(passed), next(passed)
    click(session, object_id=2, frame=4)
    ids = [frame.object_ids for frame in passed]
    assert ids[0] == (1, 2) and len(ids) == 5  # frame 4, where it joins, to frame 0
    assert {int(d) for d in session.tracks[1].visited.values()} == {-1}


def test_backward_pass_starts_at_the_last_prompt_and_reaches_frame_0(parts, frames):
    session = session_of(parts, frames[:8])
    click(session, frame=2), click(session, frame=5)
    assert [frame.frame_index for frame in session.propagate("backward")] == [5, 4, 3, 2, 1, 0]
    assert [frame.frame_index for frame in session.propagate("backward", start_frame=0)] == [0]


def test_span_counts_the_start_frame(parts, frames):
    session = session_of(parts, frames[:8])
    click(session)
    assert [frame.frame_index for frame in session.propagate(max_frames=3)] == [0, 1, 2]
    both = [frame.frame_index for frame in session.propagate("both", start_frame=4, max_frames=3)]
    assert both == [4, 5, 6, 3, 2]


def test_objects_differ_in_what_is_remembered_as_binary(parts, frames):
    """One object's click must not make the memory of the others binary."""
    alone, mixed = session_of(parts, frames[:4]), session_of(parts, frames[:4])
    for session in (alone, mixed):
        click(session)
        list(session.propagate())
    click(mixed, object_id=2, frame=2)
    list(mixed.propagate())
    list(alone.propagate())
    torch.testing.assert_close(
        mixed.tracks[1].memories[2].spatial, alone.tracks[1].memories[2].spatial, atol=1e-5, rtol=0
    )


def test_prompts_are_checked_before_anything_changes(parts, frames):
    session = session_of(parts, frames[:3])
    with pytest.raises(PromptError, match=r"frame 900 is not in the video \(0\.\.2\)"):
        click(session, frame=900)
    with pytest.raises(PromptError, match="frame -1 is not in the video"):
        click(session, frame=-1)
    with pytest.raises(PromptError, match="has NaN"):
        click(session, at=(float("nan"), 1))
    with pytest.raises(PromptError, match="no prompt given"):
        session.add_prompt(frame_index=0, object_id=5)
    with pytest.raises(KeyError, match="there is no object 7"):
        session.clear_prompts(frame_index=0, object_id=7)
    with pytest.raises(PromptError, match="no object has a prompt"):
        session.propagate()
    assert session.object_ids == ()


def test_results_are_snapshots(parts, frames):
    session = session_of(parts, frames[:4])
    click(session), click(session, object_id=2)
    first = next(session.propagate())
    kept = first.mask_logits.clone()
    session.remove_object(2)
    session.reset()
    assert first.object_ids == (1, 2) and torch.equal(first.mask_logits, kept)


def test_cleared_prompt_leaves_nothing_behind(parts, frames):
    session = session_of(parts, frames[:4])
    click(session)
    list(session.propagate())
    session.clear_prompts(frame_index=0, object_id=1)
    again = click(session, at=(60, 30)).mask_logits
    fresh = click(session_of(parts, frames[:4]), at=(60, 30)).mask_logits
    assert alike(again, fresh)


def test_object_without_prompt_does_not_block_the_others(parts, frames):
    session = session_of(parts, frames[:3])
    click(session), click(session, object_id=2)
    session.clear_prompts(frame_index=0, object_id=2)
    with pytest.warns(UserWarning, match=r"left out: \[2\]"):
        passed = session.propagate()
    assert {frame.object_ids for frame in passed} == {(1,)}
    strict = session_of(parts, frames[:3], require_all_prompted=True)
    click(strict), click(strict, object_id=2)
    strict.clear_prompts(frame_index=0, object_id=2)
    with pytest.raises(PromptError, match="object 2 has no prompt"):
        strict.propagate()


def test_objects_come_and_go_during_a_pass(parts, frames):
    session = session_of(parts, frames[:6])
    click(session), click(session, object_id=2)
    passed = session.propagate()
    next(passed)
    session.remove_object(2)
    assert next(passed).object_ids == (1,)
    session.reset()
    with pytest.raises(RuntimeError, match="was reset"):
        next(passed)


def test_removed_object_may_come_back_under_its_id(parts, frames):
    session = session_of(parts, frames[:4])
    click(session, at=(60, 30)), click(session, object_id=2)
    list(session.propagate())
    session.remove_object(1)
    again = click(session, at=(30, 20)).mask_logits[1]
    assert alike(again, click(session_of(parts, frames[:4]), at=(30, 20)).mask_logits[0])


def test_empty_mask_says_that_the_object_is_not_there(parts, frames):
    session = session_of(parts, frames[:2])
    shown = session.add_prompt(frame_index=0, object_id=1, mask=np.zeros((HEIGHT, WIDTH), bool))
    assert not shown.masks.any() and shown.object_score_logits[0] < 0


def test_mask_prompt_is_shown_as_it_is(parts, frames):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:40, 20:60] = 255
    shown = session_of(parts, frames[:2]).add_prompt(frame_index=0, object_id=1, mask=mask)
    inside = shown.masks[0].numpy()
    assert (inside != (mask > 0)).mean() < 0.05 and shown.iou_scores[0] == 1


def test_objects_of_large_maps_are_tracked_in_parts_with_the_same_numbers(parts, frames, monkeypatch):
    """On a CPU; so that what is made of a few objects stays in its caches."""
    found, rows = [], []
    recall = type(parts[0]).recall

    def noted(self, features, memory=None):
        rows.append(memory)
        return recall(self, features, memory)

    monkeypatch.setattr(type(parts[0]), "recall", noted)
    for side in (tracker.LARGE_SIDE, SIDE):
        monkeypatch.setattr(tracker, "LARGE_SIDE", side)
        rows.clear()
        session = session_of(parts, frames[:4])
        for key in range(5):
            click(session, object_id=key, at=(20 + 10 * key, 20))
        found.append(logits(session.propagate()))
        sizes = {memory.spatial.shape[0] for memory in rows if memory is not None}
        assert sizes == ({5} if side > SIDE else {1, 2})
    assert_same(*found)


def test_an_id_that_equals_nothing_is_refused(parts, frames):
    session = Sam2InferenceSession(*parts, frames)
    with pytest.raises(PromptError, match="NaN"):
        session.add_prompt(frame_index=0, object_id=float("nan"), points=[[10, 10]])
    assert session.object_ids == ()


def test_ids_may_be_anything_hashable(parts, frames):
    session = session_of(parts, frames[:2])
    click(session, object_id="cat", at=(30, 20)), click(session, object_id=np.int64(5), at=(60, 20))
    assert session.object_ids == ("cat", 5)


def test_old_frames_of_a_bounded_stream_are_gone_with_a_word(parts, frames):
    stream = Sam2InferenceSession(*parts)
    for frame in frames[:5]:
        stream.append_frame(frame)
    with pytest.raises(SourceError, match="frame 0 of the stream is not kept any more"):
        click(stream, frame=0)
    click(stream, frame=4)
    assert stream.append_frame(frames[5]).object_ids == (1,)


def test_frame_of_another_size_is_refused(parts, frames):
    stream = Sam2InferenceSession(*parts)
    stream.append_frame(frames[0])
    with pytest.raises(SourceError, match=r"the frame is \(height, width\) \(54, 50\)"):
        stream.append_frame(frames[1][:, :50])


def test_half_precision_tracks_without_pointers_and_with(parts, frames):
    model = micro_model(image_size=SIDE).to(torch.bfloat16)
    session = Sam2InferenceSession(model, parts[1], video=frames[:4])
    click(session, frame=2)
    assert all(frame.mask_logits.isfinite().all() for frame in session.propagate("both"))


def test_training_mode_does_not_break_a_session(parts, frames):
    model = micro_model(image_size=SIDE).train()
    session = Sam2InferenceSession(model, parts[1], video=frames[:3])
    click(session)
    assert len(list(session.propagate())) == 3


def test_image_only_checkpoint_is_refused(parts):
    with pytest.raises(MissingWeightsError, match="cannot follow a video"):
        Sam2InferenceSession(micro_model(image_size=SIDE, image_only=True), parts[1])


@pytest.mark.parametrize(
    "options", [{"max_prompted_frames": 1}, {"recent_stride": 0}, {"keep": "some"}, {"pointer_span": 0}]
)
def test_policy_refuses_values_without_meaning(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` is"):
        TrackingPolicy(**options)


def test_state_of_a_tracked_frame_is_small(parts, frames):
    session = session_of(parts, frames[:3])
    click(session)
    list(session.propagate())
    memory = session.tracks[1].memories[2]
    tensors = (memory.spatial, memory.result.mask_logits, memory.result.object_pointer)
    grid, low = SIDE // 16, SIDE // 4
    expected = 4 * (16 * grid**2 + low**2 + 64)
    assert sum(tensor.untyped_storage().nbytes() for tensor in tensors) == expected  # no position, no high resolution


def test_prompt_may_forget_the_tracked_frames_around_it(parts, frames):
    """The original's option of this kind calls a method that does not exist."""
    session = session_of(parts, frames, forget_around_prompts=True)
    click(session)
    list(session.propagate(max_frames=20))
    click(session, frame=10, at=(60, 30))
    next(session.propagate(start_frame=10, max_frames=1))
    assert sorted(session.tracks[1].memories) == [0, 1, 2, 10, 18, 19]


def test_length_of_the_clip_changes_no_number(parts, frames):
    """The original scales pointers by it: the same frames give other masks in a shorter clip."""
    short, long = session_of(parts, frames[:6]), session_of(parts, frames[:12])
    click(short), click(long)
    expected = logits(long.propagate(max_frames=6))
    assert_same(logits(short.propagate()), expected)


def test_clip_length_matters_where_the_policy_says_so(parts, frames):
    short, long = (session_of(parts, frames[:n], pointer_span="clip") for n in (6, 12))
    click(short), click(long)
    expected = logits(long.propagate(max_frames=6))
    assert differ(logits(short.propagate())[5], expected[5], by=2e-5)  # 3.5e-5: these weights hardly read pointers


def test_click_after_clearing_all_prompts_starts_anew(parts, frames):
    session = session_of(parts, frames[:4], clear_keeps_memory=True)
    click(session)
    list(session.propagate())
    session.clear_prompts(frame_index=0, object_id=1)
    assert not session.tracks[1].prompted
    assert click(session, frame=2, use_previous_mask=False).mask_logits.isfinite().all()


def test_each_object_shows_its_newest_draft(parts, frames):
    session = session_of(parts, frames[:3], keep_corrections=False)
    click(session)
    list(session.propagate())
    corrected = click(session, frame=1, at=(60, 30), label=0)  # a draft as tracked
    both = click(session, object_id=2, frame=1)  # a draft as prompted on the same frame
    assert alike(both.mask_logits[0], corrected.mask_logits[0])


def test_start_outside_the_video_is_refused(parts, frames):
    session = session_of(parts, frames[:4])
    click(session)
    for start in (4, -1):
        with pytest.raises(PromptError, match=f"frame {start} is not in the video"):
            session.propagate(start_frame=start)
    with pytest.raises(ValueError, match="must be 'forward', 'backward' or 'both', got 'sideways'"):
        session.propagate("sideways")
    with pytest.raises(ValueError, match="`max_frames` is 0"):
        session.propagate(max_frames=0)


def test_holes_are_filled_in_what_is_shown_and_not_in_tracked_memory(parts, frames, monkeypatch):
    """Every mask that the decoder draws gets a hole of four low-resolution pixels."""
    hole = (slice(None), slice(4, 6), slice(7, 9))
    decode = parts[0].decode_objects

    def with_a_hole(*args, **kwargs):
        prediction = decode(*args, **kwargs)
        logits = torch.full_like(prediction.mask_logits, 3.0)
        logits[hole] = -3.0
        return replace(prediction, mask_logits=logits)

    monkeypatch.setattr(parts[0], "decode_objects", with_a_hole)
    filled, too_large, off = (session_of(parts, frames[:2], fill_hole_area=area) for area in (4, 3, 0))
    memories = []
    for session, expected in ((filled, 0.1), (too_large, -3.0), (off, -3.0)):
        click(session)
        shown = list(session.propagate())
        memories.append(session.tracks[1].memories[1])
        assert alike(memories[-1].result.mask_logits[hole[1:]], torch.full((2, 2), expected))
        assert bool(shown[1].masks.all()) == (expected > 0)
    assert alike(memories[0].spatial, memories[2].spatial)  # the memory of a tracked frame is of the mask as drawn


def test_grey_masks_are_refused_as_prompts(parts, frames):
    session = session_of(parts, frames[:1])
    with pytest.raises(PromptError, match="must be binary"):
        session.add_prompt(frame_index=0, object_id=1, mask=np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH))
    with pytest.raises(
        PromptError, match=r"`mask` must be \(height, width\), got \(2, 54, 96\); pass one object per call"
    ):
        session.add_prompt(frame_index=0, object_id=1, mask=np.zeros((2, HEIGHT, WIDTH)))
    with pytest.raises(PromptError, match="not both on one frame"):
        session.add_prompt(frame_index=0, object_id=1, mask=np.zeros((HEIGHT, WIDTH)), points=[[1, 2]])
    with pytest.raises(PromptError, match="a box replaces earlier points"):
        click(session)
        session.add_prompt(frame_index=0, object_id=1, box=[1, 2, 30, 40], clear_old_points=False)


def test_memory_of_a_user_mask_goes_through_its_low_resolution_version(parts, frames):
    """The library encodes the full-size mask."""
    model = parts[0]
    session = session_of(parts, frames[:2], fill_hole_area=0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[11:42, 7:50] = 1
    session.add_prompt(frame_index=0, object_id=1, mask=mask)
    next(session.propagate(max_frames=1))
    memory = session.tracks[1].memories[0]
    with torch.no_grad():
        features = session.frames.features(0)
        expected = model.memorize(
            features, memory.result.mask_logits[None, None], torch.ones(1, 1), torch.ones(1, dtype=torch.bool)
        )
    torch.testing.assert_close(memory.spatial, expected[0])


def test_everything_that_grows_is_offloaded(parts, frames):
    """The library leaves the largest part of its state where it is. `meta` stands for another device here."""
    from sam2_hf.tracking.records import FrameMemory, FrameResult, moved

    zero = torch.zeros(())
    result = FrameResult(
        mask_logits=torch.zeros(2, 2), object_pointer=torch.zeros(3), object_score=zero, iou_score=zero
    )
    away = moved(FrameMemory(result=result, spatial=torch.zeros(4, 2, 2), prompted=True), "meta", torch.bfloat16)
    inner = away.result
    tensors = (away.spatial, inner.mask_logits, inner.object_pointer, inner.object_score, inner.iou_score)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert away.spatial.dtype == torch.bfloat16 and inner.object_pointer.dtype == torch.float32


def test_iterator_takes_prompts_on_several_frames_and_in_mid_pass(parts, frames):
    whole, stream = session_of(parts, frames[:10]), session_of(parts, iter(frames[:10]))
    found = []
    for session in (whole, stream):
        click(session), click(session, frame=4, at=(60, 30))
        passed = session.propagate()
        first = next(passed)
        click(session, frame=6, object_id=2)
        found.append({frame.frame_index: frame.mask_logits for frame in (first, *passed)})
    assert_same(*found)
    assert len(stream.frames._appended) <= 2  # what lies behind is let go


def test_refused_prompt_takes_no_frame_of_a_stream(parts, frames):
    stream = session_of(parts, iter(frames[:10]))
    with pytest.raises(PromptError, match="frame 900 is not in the video"):
        click(stream, frame=900)
    assert stream.num_frames == 0
    click(stream)
    with pytest.raises(ValueError, match="cannot be followed backwards"):
        stream.propagate("both")


def test_saved_stream_goes_on_with_draft_and_iterator(parts, frames, tmp_path):
    stream = Sam2InferenceSession(*parts)
    stream.append_frame(frames[0])
    click(stream)
    stream.save(tmp_path / "s.safetensors")
    expected = [stream.append_frame(frame).mask_logits for frame in frames[1:4]]
    again = Sam2InferenceSession.load(tmp_path / "s.safetensors", *parts)
    assert_same(
        dict(enumerate(again.append_frame(frame).mask_logits for frame in frames[1:4])), dict(enumerate(expected))
    )
    fed = Sam2InferenceSession.load(tmp_path / "s.safetensors", *parts, video=iter(frames[1:4]))
    assert_same(dict(enumerate(f.mask_logits for f in fed.propagate(start_frame=1))), dict(enumerate(expected)))
    with pytest.raises(ValueError, match="has a video of its own"):
        fed.append_frame(frames[4])


def test_saved_session_goes_on_with_its_own_model_and_video_only(parts, frames, tmp_path):
    """Another model of the same size and another video of the same size and length are told apart."""
    model, processor = parts
    session = session_of(parts, frames[:4])
    session.add_prompt(frame_index=0, object_id=1, points=[[20, 20]], labels=[1])
    session.save(tmp_path / "s.safetensors")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.mask_decoder.iou_token.weight.add_(0.01)
    with pytest.raises(SourceError, match="saved with another model"):
        Sam2InferenceSession.load(tmp_path / "s.safetensors", other, processor, video=frames[:4])
    turned = frames[:4][::-1] if isinstance(frames, list) else frames[:4].flip(-1)
    with pytest.raises(SourceError, match=r"saved with another video \(frame 0 looks different\)"):
        Sam2InferenceSession.load(tmp_path / "s.safetensors", *parts, video=turned)
    halved = copy.deepcopy(model).to(torch.bfloat16)  # the same weights, rounded
    Sam2InferenceSession.load(tmp_path / "s.safetensors", halved, processor, video=frames[:4])
    Sam2InferenceSession.load(tmp_path / "s.safetensors", *parts, video=frames[:4])


def test_what_cannot_be_saved_or_loaded_is_said_before_anything_is_lost(parts, frames, tmp_path):
    session = session_of(parts, frames[:2])
    click(session, object_id=("cat", 1), at=(30, 20))
    with pytest.raises(ValueError, match=r"object id \('cat', 1\) cannot be saved"):
        session.save(tmp_path / "s.safetensors")
    session.remove_object(("cat", 1))
    click(session, frame=np.int64(0))
    session.save(tmp_path / "s.safetensors")
    with pytest.raises(SourceError, match="saved with image_size 64, the model has 128"):
        Sam2InferenceSession.load(
            tmp_path / "s.safetensors", micro_model(image_size=128), micro_processor(128), video=frames[:2]
        )
    with pytest.raises(SourceError, match="saved with 2 frames"):
        Sam2InferenceSession.load(tmp_path / "s.safetensors", *parts, video=frames[:3])
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="not a saved session"):
        Sam2InferenceSession.load(tmp_path / "x.safetensors", *parts)


def test_reset_before_the_first_frame_ends_a_pass_too(parts, frames):
    session = session_of(parts, frames[:3])
    click(session)
    passed = session.propagate()
    session.reset()
    with pytest.raises(RuntimeError, match="was reset"):
        next(passed)


def test_prompt_says_that_what_would_have_helped_was_forgotten(parts, frames):
    for keep, is_weakened in (("window", True), ("all", False)):
        session = session_of(parts, frames[:20], keep=keep)
        assert not click(session).is_weakened
        list(session.propagate())
        assert click(session, frame=12, at=(60, 30)).is_weakened == is_weakened


# Numbers of other libraries


def test_scalars_of_pytorch_and_numpy_are_numbers(parts, frames):
    """A tensor is equal to no other key, so an object would be new at each prompt, and a frame would never be found."""
    plain, other = session_of(parts, frames[:5]), session_of(parts, frames[:5])
    click(plain, frame=1), click(plain, frame=1, at=(60, 30), label=0, clear_old_points=False)
    one, first = torch.tensor(1), np.int64(1)
    other.add_prompt(frame_index=one, object_id=one, points=[[30, 20]], labels=[1])
    other.add_prompt(frame_index=first, object_id=first, points=[[60, 30]], labels=[0], clear_old_points=False)
    assert other.object_ids == (1,)
    expected = logits(plain.propagate(start_frame=1, max_frames=2))
    found = logits(other.propagate(start_frame=torch.tensor(1), max_frames=torch.tensor(2)))
    assert sorted(found) == [1, 2] and all(type(frame) is int for frame in found)
    assert_same(found, expected)
    other.clear_prompts(frame_index=torch.tensor(1), object_id=torch.tensor(1))
    assert not other.tracks[1].prompts
    other.remove_object(torch.tensor(1))
    assert other.object_ids == ()
    with pytest.raises(PromptError, match="must be hashable"):
        click(other, object_id=[1], at=(1, 2))


# What the configuration says


def seen_by(parts, monkeypatch) -> list:
    """Every MemoryBatch that the model recalls from now on."""
    seen, recall = [], parts[0].recall
    monkeypatch.setattr(
        parts[0], "recall", lambda features, memory=None: seen.append(memory) or recall(features, memory)
    )
    return seen


def configured(**fields):
    return micro_model(image_size=SIDE, **fields), micro_processor(SIDE)


@pytest.mark.parametrize("keep", ["all", "window"])
@pytest.mark.parametrize("slots", [1, 2, 5, 9])
def test_memory_holds_as_many_frames_as_the_configuration_says(frames, monkeypatch, slots, keep):
    parts = configured(num_maskmem=slots)
    seen = seen_by(parts, monkeypatch)
    session = session_of(parts, frames[:14], keep=keep)
    click(session)
    list(session.propagate())
    times = seen[-1].spatial_time[0].tolist()
    assert times == list(range(slots))  # the prompted frame, then recent ones: every row of the table once
    assert parts[0].memory_temporal_positional_encoding.shape[0] == slots


@pytest.mark.parametrize("keep", ["all", "window"])
@pytest.mark.parametrize("pointers", [1, 4, 20])
def test_memory_holds_as_many_pointers_as_the_configuration_says(frames, monkeypatch, pointers, keep):
    parts = configured(max_object_pointers_in_encoder=pointers)
    seen = seen_by(parts, monkeypatch)
    session = session_of(parts, frames[:25], keep=keep)
    click(session)
    list(session.propagate())
    distances = seen[-1].pointer_time[0] * max(pointers - 1, 1)
    assert distances.round().tolist() == [24, *range(1, pointers)]  # of the prompted frame, then of those just passed
    with pytest.raises(
        ValueError, match=f"max_object_pointers_in_encoder={pointers}: it must be at most {pointers - 1}"
    ):
        session_of(parts, frames[:2], pointer_span=pointers)


def test_prompted_frames_are_limited_by_the_configuration_unless_the_policy_says_otherwise(frames, monkeypatch):
    parts = configured(max_cond_frame_num=2)
    seen = seen_by(parts, monkeypatch)
    for limit, expected in ((None, 2), (3, 3)):
        session = session_of(parts, frames[:10], max_prompted_frames=limit)
        for frame in range(4):
            click(session, frame=frame)
        list(session.propagate(start_frame=9))
        assert (seen[-1].spatial_time == 0).sum() == expected


@pytest.mark.parametrize("fields", [{"num_maskmem": 4}, {"max_object_pointers_in_encoder": 5}])
def test_window_is_exact_at_other_lengths_of_memory(frames, fields):
    parts, found = configured(**fields), []
    for keep in ("all", "window"):
        session = session_of(parts, frames[:20], keep=keep, recent_stride=2)
        click(session, frame=10)
        found.append(logits(session.propagate("both")))
    assert_same(*found)


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_model_whose_weights_are_kept_elsewhere_follows_a_video(parts, frames, tmp_path, where):
    accelerate = pytest.importorskip("accelerate")
    if where == "cpu":
        model = accelerate.cpu_offload(micro_model(image_size=SIDE), execution_device="cpu")
    else:
        parts[0].save_pretrained(tmp_path / "model")
        away = {"device_map": {"": "disk"}, "offload_folder": str(tmp_path / "away")}
        model = Sam2Model.from_pretrained(tmp_path / "model", **away)
    assert model.device.type == "meta"
    found = []
    for network in (parts[0], model):
        session = session_of((network, parts[1]), frames[:5])
        click(session)
        session.add_prompt(frame_index=1, object_id=2, mask=np.pad(np.ones((20, 30)), ((10, 24), (40, 26))))
        found.append(logits(session.propagate()))
    assert_same(*found)
    assert model.no_memory_embedding.is_meta  # back where it was


def rewritten(path, change) -> None:
    """Changes the plain part of a saved session."""
    with safe_open(path, "pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state = json.loads(header["state"])
    header["state"] = change(state) or json.dumps(state)
    save_file(tensors, path, header)


@pytest.mark.parametrize("video", ["http://127.0.0.1:9/a.mp4", "rtsp://10.0.0.1/x", 0, ["a"], "/nowhere/clip.mp4"])
def test_saved_session_from_elsewhere_opens_no_address_and_no_camera(parts, frames, tmp_path, video):
    session, path = session_of(parts, frames[:2]), tmp_path / "s.safetensors"
    click(session)
    session.save(path)
    rewritten(path, lambda state: state.update(video=video))
    with pytest.raises(SourceError, match="is not here; pass it as `video`"):
        Sam2InferenceSession.load(path, *parts)
    assert Sam2InferenceSession.load(path, *parts, video=frames[:2]).object_ids == (1,)


DAMAGE = {
    "no json": lambda state: "{",
    "a list": lambda state: "[]",
    "no objects": lambda state: state.pop("objects") and None,
    "no policy": lambda state: state.pop("policy") and None,
    "unknown policy": lambda state: state["policy"].update(speed=1),
    "policy value": lambda state: state["policy"].update(keep="some"),
    "dtype": lambda state: state["policy"].update(memory_dtype="load"),
    "direction": lambda state: state["objects"][0].update(visited={"0": 5}),
    "frame": lambda state: state["objects"][0].update(memories={"first": True}),
    "objects": lambda state: state.update(objects=[1]),
    "no size": lambda state: state.pop("size") and None,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_session_is_refused_in_one_sentence(parts, frames, tmp_path, kind):
    session, path = session_of(parts, frames[:2]), tmp_path / "s.safetensors"
    click(session)
    list(session.propagate())
    session.save(path)
    rewritten(path, DAMAGE[kind])
    with pytest.raises(SourceError, match=r"s\.safetensors: a damaged session"):
        Sam2InferenceSession.load(path, *parts, video=frames[:2])


def test_what_a_user_prints_says_what_it_is(parts, frames):
    session = session_of(parts, frames[:3])
    shown = click(session)
    assert repr(session) == "Sam2InferenceSession(a video, 3 frames of 54 x 96, objects [1])"
    assert repr(shown) == "FrameMasks(frame_index=0, object_ids=(1,), 54 x 96 pixels)"
    assert repr(Sam2InferenceSession(*parts)) == "Sam2InferenceSession(a stream, 0 frames, objects [])"
    other = session.shown(0)
    assert shown == shown and shown != other and shown in [other, shown]


def test_state_under_the_earlier_name_of_its_format_is_still_read(parts, frames, tmp_path):
    session = session_of(parts, frames[:3])
    click(session)
    list(session.propagate())
    session.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert header["format"] == "sam2_hf.tracking_state/1"
    save_file(tensors, tmp_path / "earlier.safetensors", {**header, "format": "sam2_hf.session.1"})
    loaded = Sam2InferenceSession.load(tmp_path / "earlier.safetensors", *parts, video=frames[:3])
    assert loaded.tracks[1].visited == session.tracks[1].visited
    save_file(tensors, tmp_path / "later.safetensors", {**header, "format": "sam2_hf.tracking_state/2"})
    with pytest.raises(SourceError, match=r"format .sam2_hf\.tracking_state/2., expected .sam2_hf\.tracking_state/1."):
        Sam2InferenceSession.load(tmp_path / "later.safetensors", *parts, video=frames[:3])


def test_file_of_prompts_is_not_taken_for_a_state(parts, tmp_path):
    (tmp_path / "prompts.json").write_text('{"schema": "sam2_hf.session/1", "prompts": []}')
    with pytest.raises(SourceError, match="a file of prompts is given as `prompts` or --prompts"):
        Sam2InferenceSession.load(tmp_path / "prompts.json", *parts)
