"""Masks on disk: palettes, packing, layouts."""

import numpy as np
import pytest
from PIL import Image

from sam2_hf.datasets.mask_folders import ObjectMasks, PaletteMasks, read_masks, truth_folders
from sam2_hf.datasets.mask_writers import ObjectWriter, PaletteWriter, lowest_on_top
from sam2_hf.errors import SourceError
from sam2_hf.processing.id_pictures import davis_palette
from tests.evaluation.toy import disc, moving_ids, write_objects, write_palette

SIZE = (36, 54)


def test_palette_starts_as_the_format_says():
    palette = np.array(davis_palette()).reshape(256, 3).tolist()
    assert palette[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[8] == [64, 0, 0]
    assert palette[255] == [224, 224, 192]
    assert len({tuple(colour) for colour in palette}) == 256


def test_lowest_id_wins_where_masks_overlap():
    ids = lowest_on_top({7: disc(12, 20, 9), 3: disc(16, 24, 9)}, SIZE)
    assert (ids[disc(16, 24, 9)] == 3).all()
    assert (ids[disc(12, 20, 9) & ~disc(16, 24, 9)] == 7).all()


def test_written_ids_come_back_with_the_given_palette(tmp_path):
    palette = list(range(256)) * 3
    writer = PaletteWriter(tmp_path, SIZE, palette)
    writer.write("00004", {1: disc(12, 20, 9), 255: disc(30, 40, 4)})
    writer.write("00005", {})
    with Image.open(tmp_path / "00004.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == palette
    masks = PaletteMasks(tmp_path, void=False)
    assert masks.frames == ["00004", "00005"]
    assert masks.object_ids("00004") == {1, 255}
    assert masks.object_ids("00005") == set()
    assert np.array_equal(masks.mask("00004", 255), disc(30, 40, 4))


def test_more_than_255_objects_make_a_16_bit_file(tmp_path):
    PaletteWriter(tmp_path, SIZE).write("0", {255: disc(12, 20, 5), 256: disc(30, 10, 4), 300: disc(30, 40, 4)})
    masks = PaletteMasks(tmp_path)
    assert masks.object_ids("0") == {255, 256, 300}  # 255 is no void here
    assert masks.void("0") is None


def test_objects_are_written_to_folders_of_their_names(tmp_path):
    writer = ObjectWriter(tmp_path, SIZE, {1: "000", 2: "001"})
    writer.write("00000", {1: disc(12, 20, 9), 2: disc(16, 24, 9)})
    writer.write("00001", {2: disc(16, 24, 9)})
    masks = read_masks(tmp_path)
    assert isinstance(masks, ObjectMasks)
    assert list(masks.objects) == [0, 1]
    assert np.array_equal(masks.mask("00000", 0), disc(12, 20, 9))
    assert not masks.mask("00001", 0).any()
    assert np.array_equal(masks.mask("00001", 1), disc(16, 24, 9))


def test_layout_is_recognised_by_the_entries(tmp_path):
    assert isinstance(read_masks(write_palette(tmp_path / "davis", moving_ids(3))), PaletteMasks)
    assert isinstance(read_masks(write_objects(tmp_path / "sav", moving_ids(3))), ObjectMasks)


@pytest.mark.parametrize("place", ["{video}", "Annotations/{video}", "Annotations/480p/{video}", "{video}/Annotations"])
def test_videos_are_found_in_every_known_place(tmp_path, place):
    for video in ("bear", "00012"):
        write_palette(tmp_path / place.format(video=video), moving_ids(3))
    assert set(truth_folders(tmp_path)) == {"bear", "00012"}
    assert all(len(PaletteMasks(folder).frames) == 3 for folder in truth_folders(tmp_path).values())


def test_folder_without_videos_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no folder of masks"):
        truth_folders(tmp_path)
    with pytest.raises(SourceError, match="no such folder"):
        truth_folders(tmp_path / "absent")


def test_colour_picture_holds_no_ids(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "0.png")
    with pytest.raises(SourceError, match="one number per pixel, got RGB"):
        PaletteMasks(tmp_path).object_ids("0")
