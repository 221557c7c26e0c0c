"""PNG folders are read back and compared with the masks."""

import json

import numpy as np
import pytest
from PIL import Image

from sam2_hf.datasets import mask_folders
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.mask_files import DavisPngs, IndexPngs, ObjectNumbers, SavPngs
from sam2_hf.processing.id_pictures import davis_palette
from tests.pipelines.made_results import clip, made, moving


def written(sink, frames) -> None:
    for result in frames:
        sink.write(result)
    sink.close()


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_davis_folder_is_read_by_the_evaluation_with_the_lowest_id_on_top(tmp_path):
    written(DavisPngs(tmp_path), clip(object_ids=(5, 3)))
    masks = mask_folders.read_masks(tmp_path)
    assert isinstance(masks, mask_folders.PaletteMasks)
    assert masks.frames == [f"{frame:05d}" for frame in range(6)]
    for frame in range(6):
        first, second = moving(frame) if frame else (moving(0)[0], np.zeros((60, 90), bool))
        assert np.array_equal(masks.mask(f"{frame:05d}", 3), second)
        assert np.array_equal(masks.mask(f"{frame:05d}", 5), first & ~second)
    with Image.open(tmp_path / "00000.png") as image:
        assert image.mode == "P" and image.getpalette() == davis_palette()
    assert not (tmp_path / "ids.json").exists()


def test_names_get_numbers_in_the_order_of_their_appearance(tmp_path):
    written(DavisPngs(tmp_path), clip(object_ids=("dog", "cat")))
    assert json.loads((tmp_path / "ids.json").read_text()) == {"1": "dog", "2": "cat"}
    assert np.array_equal(pixels(tmp_path / "00001.png") == 1, moving(1)[0])
    written(DavisPngs(tmp_path), clip(object_ids=(1, 2)))
    assert not (tmp_path / "ids.json").exists()  # an earlier run's


def test_numbers_are_never_given_twice():
    numbers = ObjectNumbers(largest=4, what="palette")
    assert [numbers[key] for key in ("a", 3, 1, 700, "a", 3)] == [1, 3, 2, 4, 1, 3]
    assert numbers.renamed == {1: "a", 2: 1, 3: 3, 4: 700}
    with pytest.raises(ValueError, match="a palette has 4 object numbers, there are more objects"):
        numbers["b"]
    assert ObjectNumbers()[True] == 1 and ObjectNumbers()[900] == 900


def test_number_255_is_left_to_pixels_that_do_not_count(tmp_path):
    written(DavisPngs(tmp_path), clip(object_ids=(255, 2)))
    assert set(np.unique(pixels(tmp_path / "00000.png"))) == {0, 1}
    assert json.loads((tmp_path / "ids.json").read_text()) == {"1": "255", "2": "2"}


def test_sav_folder_keeps_overlaps_and_has_every_object_on_every_frame(tmp_path):
    written(SavPngs(tmp_path), clip(object_ids=(1, 12)))
    masks = mask_folders.read_masks(tmp_path)
    assert isinstance(masks, mask_folders.ObjectMasks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001", "012"]
    for frame in range(6):
        name = f"{frame:05d}"
        expected = moving(frame) if frame else np.stack([moving(0)[0], np.zeros((60, 90), bool)])
        assert np.array_equal(masks.mask(name, 1), expected[0])
        assert np.array_equal(masks.mask(name, 12), expected[1])
        assert set(np.unique(pixels(tmp_path / "001" / f"{name}.png"))) == {0, 1}


def test_sav_writes_zeros_for_an_object_that_was_taken_out(tmp_path):
    frames = list(clip(4))
    written(SavPngs(tmp_path), [*frames[:3], frames[3][:1]])
    assert pixels(tmp_path / "002" / "00003.png").any() == False  # noqa: E712
    assert np.array_equal(pixels(tmp_path / "001" / "00003.png"), moving(3)[0])


def test_index_pictures_have_the_smaller_object_on_top_and_large_numbers(tmp_path):
    dense = np.zeros((2, 20, 30), bool)
    dense[0, 2:6, 2:6] = True
    dense[1] = True
    for ids, mode in (((1, 2), "P"), ((1, 700), "I;16")):
        written(IndexPngs(tmp_path), [made(dense, VideoFrameResult, object_ids=ids)])
        values = pixels(tmp_path / "00000.png")
        assert (values == 1).sum() == 16 and (values == ids[1]).sum() == 584
        with Image.open(tmp_path / "00000.png") as image:
            assert image.mode == mode


@pytest.mark.parametrize("kind", [DavisPngs, SavPngs, IndexPngs])
def test_frame_that_comes_again_replaces_the_earlier_one(kind, tmp_path):
    frames = list(clip(3))
    corrected = made(moving(2), VideoFrameResult, frame=1)
    written(kind(tmp_path / "once"), [frames[0], corrected, frames[2]])
    written(kind(tmp_path / "again"), [*frames, corrected])
    names = sorted(path.relative_to(tmp_path / "once") for path in (tmp_path / "once").rglob("*.png"))
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
