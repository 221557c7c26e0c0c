"""The neutral record: its keys and their order, no NaN, exact round trips of everything that a result holds."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from sam2_hf.pipelines.records import name_of
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks
from tests.pipelines.made_results import HEIGHT, WIDTH, made, shapes

RECORD_KEYS = (
    *("schema", "item", "video", "frame", "time", "sha1", "size_bytes", "width", "height"),
    *("exif_orientation", "status", "error", "config", "objects"),
)
OBJECT_KEYS = (
    *("id", "detection", "class_id", "class", "prompt", "source", "box_detected", "box", "rle", "area"),
    *("parts", "holes", "scores", "track", "visible", "flags", "attributes"),
)


def full(kind=ImageResult, **changes):
    count = len(shapes())
    prompt = ObjectPrompt(points=[[1 / 3, 2.0]], labels=[1], box=[0.1, 0.2, 30.7, 40.0])
    given = {
        "source": "photos/ä cup.jpg",
        "det_scores": np.array([0.5, np.nan, 0.25, 1, 0, 0.125], np.float32),
        "class_ids": np.array([0, -1, 3, 0, 1, -1]),
        "labels": ("cup", None, "dog", "cup", None, None),
        "prompts": (prompt, None, *[ObjectPrompt()] * 4),
        "alternatives": (Masks.from_dense(shapes()[:3], (HEIGHT, WIDTH)),) * count,
        "timings": {"encode": 40.125, "decode": 1.5},
    }
    return made(shapes(), kind, **{**given, **changes})


def assert_equal(first, second):
    assert type(first) is type(second)
    for name in (field.name for field in fields(first) if field.name not in ("image", "logits")):
        one, other = getattr(first, name), getattr(second, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        elif isinstance(one, float) and np.isnan(one):
            assert np.isnan(other), name
        else:
            assert one == other, name


def rounded(result):
    """A result whose scores have 6 decimals, as records keep them."""
    return type(result).from_json(result.to_json())


def test_keys_stand_in_the_order_of_the_schema():
    record = full().to_dict()
    assert tuple(record)[: len(RECORD_KEYS)] == RECORD_KEYS
    assert record["schema"] == "sam2_hf.annotation/1"
    assert tuple(record["objects"][0])[: len(OBJECT_KEYS)] == OBJECT_KEYS
    assert list(record["objects"][0]["scores"]) == ["det", "iou", "stability", "object", "box_iou", "quality"]


def test_values_are_those_of_the_result():
    ring, parts, *_, empty = full().to_dict()["objects"]
    assert (ring["class"], ring["class_id"], parts["class"], parts["class_id"]) == ("cup", 0, None, None)
    assert (ring["box"], ring["area"], ring["parts"], ring["holes"]) == ([20, 10, 50, 30], 550, 1, 1)
    assert (parts["parts"], empty["parts"], empty["visible"], empty["box"]) == (2, 0, False, [0, 0, 0, 0])
    assert ring["scores"]["object"] == -1.234567 and parts["scores"]["det"] is None
    assert ring["scores"]["quality"] == round(float(full().quality[0]), 6)
    assert (ring["flags"], ring["attributes"], ring["prompt"], ring["track"]) == ([], {}, None, None)


def test_round_trip_through_text_is_exact():
    first = rounded(full())
    text = first.to_json()
    assert "NaN" not in text and "\n" not in text
    assert_equal(first, rounded(first))
    assert rounded(first).to_json() == text
    for name in ("masks", "object_ids", "boxes", "class_ids", "labels", "prompts", "alternatives", "timings", "source"):
        np.testing.assert_equal(getattr(first, name), getattr(full(), name))
    np.testing.assert_allclose(first.iou_scores, full().iou_scores, atol=1e-6)


def test_what_is_not_there_stays_away():
    plain = rounded(made(shapes()))
    assert (plain.prompts, plain.alternatives, plain.source) == ((), (), None)
    nothing = made(shapes()[:0])
    assert nothing.to_dict()["status"] == "empty"
    assert_equal(rounded(nothing), nothing)


def test_ids_that_are_not_whole_numbers_are_kept_beside_a_number():
    named = full(object_ids=("cat", 0, ("left", 2), None, 2.5, -3))
    entries = named.to_dict()["objects"]
    assert [entry["id"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[2]["attributes"] == {"object_id": ["left", 2]}
    assert rounded(named).object_ids == named.object_ids
    assert [entry["id"] for entry in full(object_ids=(9, 4, 2, 7, 1, 3)).to_dict()["objects"]] == [9, 4, 2, 7, 1, 3]
    with pytest.raises(ValueError, match="is a frozenset, which JSON cannot hold"):
        made(shapes()[:1], object_ids=(frozenset(),)).to_dict()


def test_frame_of_a_video_keeps_its_place_and_what_was_seen():
    visible, prompted = np.array([1, 1, 0, 1, 1, 0], bool), np.array([0, 1, 0, 0, 0, 1], bool)
    place = {"frame": 123, "time": 4.1, "source": "a/walk.mp4", "is_visible": visible, "is_prompted": prompted}
    first = rounded(full(VideoFrameResult, object_ids=(3, 4, 5, 6, 7, 9), **place))
    record = json.loads(json.dumps(first.to_dict()))
    assert (record["item"], record["video"]) == ("a/walk.mp4#000123", "a/walk.mp4")
    assert (record["frame"], record["time"]) == (123, 4.1)
    assert [entry["track"] for entry in record["objects"]] == [3, 4, 5, 6, 7, 9]
    assert [entry["visible"] for entry in record["objects"]] == visible.tolist()
    assert_equal(VideoFrameResult.from_dict(record), first)
    assert VideoFrameResult.from_dict({**record, "timings": {}}).timings == {}
    assert ImageResult.from_dict(record).masks == first.masks
    unknown = full(VideoFrameResult, source=None)
    assert unknown.to_dict()["time"] is None and unknown.to_dict()["item"] is None
    assert np.isnan(rounded(unknown).time)


def test_indexing_a_frame_keeps_what_belongs_to_each_object():
    frame = full(VideoFrameResult, is_visible=np.array([1, 0, 1, 0, 1, 0], bool), frame=7)
    part = frame[[2, 1]]
    assert isinstance(part, VideoFrameResult) and part.frame == 7
    assert part.is_visible.tolist() == [True, False] and part.is_prompted.tolist() == [False, False]
    assert frame[frame.is_visible].object_ids == (1, 3, 5)
    assert frame.summary().startswith("6 objects: 2 cup, 1 dog")


def test_logits_follow_indexing_and_are_not_written():
    logits = torch.arange(6.0)[:, None, None].expand(6, 4, 4)
    result = full(logits=logits)
    assert result[[4, 1]].logits[:, 0, 0].tolist() == [4, 1]
    assert result[:0].logits.shape == (0, 4, 4)
    assert result.filter(min_area=1000).logits.shape[0] == len(result.filter(min_area=1000))
    assert result.choose(0, 1).logits is None
    assert "logits" not in result.to_json() and rounded(result).logits is None
    with pytest.raises(ValueError, match=r"\{'logits': 2\}"):
        full(logits=logits[:2])


def test_record_of_another_schema_is_refused():
    with pytest.raises(ValueError, match="the record has schema 'old/0'"):
        ImageResult.from_dict({**full().to_dict(), "schema": "old/0"})


def test_names_of_paths_and_addresses():
    assert name_of("a/b.c.jpg") == "b.c.jpg"
    assert name_of("https://host/a/b.jpg?x=1#y") == "b.jpg"
    assert name_of(None) == ""
