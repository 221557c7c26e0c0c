import numpy as np
import pytest
from PIL import Image

from sam2_hf.cli.prompt_options import prompts_of, read_mask, read_options, read_video_options
from sam2_hf.errors import PromptError


def test_points_without_an_id_are_one_object_and_boxes_one_each():
    first, second = read_options(["1,2", "3,4,-"], ["0,0,9,9", "1,1,8,8"], [])
    assert first == {"id": 1, "frame": 0, "points": [[1, 2], [3, 4]], "labels": [1, 0], "box": [0, 0, 9, 9]}
    assert second == {"id": 2, "frame": 0, "points": [], "labels": [], "box": [1, 1, 8, 8]}


def test_frames_and_ids_stand_in_front():
    prompts = read_video_options(["40@2:410,80,-", "3,4"], ["0@7:1,2,3,4"], ["40@2:m.png"])
    assert prompts == [
        {"frame": 0, "id": 1, "points": [[3, 4]], "labels": [1]},
        {"frame": 0, "id": 7, "points": [], "labels": [], "box": [1, 2, 3, 4]},
        {"frame": 40, "id": 2, "points": [[410, 80]], "labels": [0], "mask": "m.png"},
    ]


def test_prompts_have_their_masks_and_one_record_per_object_and_frame(tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    first, second = prompts_of(read_video_options(["1@2:3,4"], [], [f"5@7:{tmp_path / 'm.png'}"]))
    assert (first.object_id, first.frame, first.points, first.mask) == (2, 1, [[3, 4]], None)
    assert (second.object_id, second.frame) == (7, 5) and np.array_equal(second.mask, np.eye(8))


@pytest.mark.parametrize("text", ["1", "1,2,3,4", "a,b", "1,,2"])
def test_text_that_is_no_point_is_refused(text):
    with pytest.raises(PromptError, match="write --point x,y"):
        read_options([text], [], [])


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P"])
def test_mask_files_of_every_kind_are_read(tmp_path, mode):
    mask = np.zeros((6, 9), np.uint8)
    mask[2:4, 3:8] = 1
    picture = Image.fromarray(mask * 255).convert(mode) if mode != "P" else Image.fromarray(mask)
    if mode == "P":  # as data sets write object numbers: a dark colour of the palette
        picture.putpalette([0, 0, 0, 40, 0, 0])
    picture.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(str(tmp_path / "mask.png")), mask)
