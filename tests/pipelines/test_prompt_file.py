import json

import numpy as np
import pytest

from sam2_hf.errors import PromptError
from sam2_hf.pipelines.prompt_file import prompt_record, read_prompt_file, requests_of_record
from sam2_hf.processing.requests import requests_from


def test_what_is_written_is_read_again(tmp_path):
    mask = np.zeros((6, 9), bool)
    mask[2:4, 3:8] = True
    asked = requests_from(
        objects=[
            {"id": 1, "points": [[5, 6], [7.5, 8]], "labels": [1, 0], "label": "cat"},
            {"id": 2, "frame": 3, "box": [1, 2, 3, 4], "points": [2, 3]},
            {"id": "dog", "frame": 4, "mask": mask, "box": [3, 2, 8, 4]},
        ]
    )
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(prompt_record(asked, model="embedded", source={"name": "a.mp4", "frames": 9})))
    found = read_prompt_file(path)
    assert [(r.object_id, r.frame, r.label, r.points, r.labels, r.box) for r in found] == [
        (r.object_id, r.frame, r.label, r.points, r.labels, r.box) for r in asked
    ]
    assert found[0].mask is None and np.array_equal(found[2].mask, mask)
    record = json.loads(path.read_text())
    assert (record["schema"], record["source"]["name"], record["source"]["fps"]) == ("sam2_hf.session/1", "a.mp4", None)
    assert [entry["name"] for entry in record["objects"]] == ["cat", None, None]


def test_the_last_box_or_mask_of_a_list_counts():
    entries = [{"box": [1, 2, 3, 4]}, {"x": 5, "y": 6, "label": 1}, {"box": [2, 3, 4, 5]}]
    record = {"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": 1, "list": entries}]}
    (request,) = requests_of_record(record)
    assert (request.box, request.points) == ([2, 3, 4, 5], [[5, 6]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ('{"schema": "other/1"}', "got 'other/1'"),
        ("[]", "got 'list'"),
        ('{"schema": "sam2_hf.session/1"}', "no prompt in it"),
        ('{"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": 1}]}', "prompt 0 has no 'list'"),
        ('{"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": 1, "list": []}]}', "prompt 0 is empty"),
        ('{"schema": "sam2_hf.session/1", "objects": [{}]}', "object 0 has no 'id'"),
        ('{"schema": "sam2_hf.session/1", "prompts": [1]}', "prompt 0 is 1"),
        ('{"schema": "sam2_hf.session/1", "prompts": [{"frame": "a", "object": 1, "list": []}]}', "cannot be 'a'"),
        ('{"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": [1], "list": []}]}', r"cannot be \[1\]"),
        (
            '{"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": 1, "list": [{"mask": {"size": 2}}]}]}',
            "prompt 0: the mask is not COCO run lengths",
        ),
        (
            '{"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": 1, "list": [{"z": 1}]}]}',
            "neither a click",
        ),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "prompts.json"
    path.write_text(content)
    with pytest.raises(PromptError, match=message) as caught:
        read_prompt_file(path)
    assert str(path) in str(caught.value)
    with pytest.raises(PromptError, match="no such file"):
        read_prompt_file(tmp_path / "absent.json")


def test_a_mask_larger_than_any_picture_is_refused_before_it_takes_memory():
    mask = {"size": [60000, 60000], "counts": [0, 60000 * 60000]}
    record = {"schema": "sam2_hf.session/1", "prompts": [{"frame": 0, "object": 1, "list": [{"mask": mask}]}]}
    with pytest.raises(PromptError, match="prompt 0: a mask of 60000 x 60000 pixels; make it smaller"):
        requests_of_record(record)


def test_entries_of_one_object_and_frame_are_one_prompt():
    """A browser that saves every click as an entry loses none of them."""
    entries = [
        {"frame": 0, "object": 1, "list": [{"x": 5, "y": 6, "label": 1}]},
        {"frame": 0, "object": 2, "list": [{"x": 1, "y": 1}]},
        {"frame": 0, "object": 1, "list": [{"x": 7, "y": 8, "label": 0}, {"box": [1, 2, 30, 40]}]},
        {"frame": 3, "object": 1, "list": [{"x": 9, "y": 9}]},
    ]
    first, second, third = requests_of_record({"schema": "sam2_hf.session/1", "prompts": entries})
    assert (first.object_id, first.points, first.labels) == (1, [[5, 6], [7, 8]], [1, 0])
    assert first.box == [1, 2, 30, 40]
    assert (second.object_id, third.object_id, third.frame) == (2, 1, 3)
