"""Masks in picture files: what holds them, and what only looks like it."""

import numpy as np
import pytest
from PIL import Image

from sam2_hf.errors import SourceError
from sam2_hf.processing.picture_files import read_binary_mask, read_ids
from tests.tiny import scene_image

DISC = (np.hypot(*np.mgrid[-30:30, -45:45]) < 20).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "jpg"])
def test_black_and_white_is_read_from_every_kind_of_file(tmp_path, suffix):
    path = tmp_path / f"mask.{suffix}"
    Image.fromarray(DISC * 255).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.mean(read_binary_mask(path) != DISC) < 0.02
    assert np.mean((read_ids(path) > 0) != DISC) < 0.02
    assert set(np.unique(read_ids(path))) == {0, 255}


def test_numbers_in_a_jpeg_are_refused(tmp_path):
    """One disc of number 3 was 62 objects."""
    for values in (DISC * 3, DISC * 120):
        Image.fromarray(values).save(tmp_path / "ids.jpg")
        with pytest.raises(SourceError, match="a JPEG does not keep the numbers of objects; save masks as PNG"):
            read_ids(tmp_path / "ids.jpg")


def test_zero_and_one_are_a_mask_and_soft_edges_are_cut_in_the_middle(tmp_path):
    Image.fromarray(DISC).save(tmp_path / "one.png")
    assert np.array_equal(read_binary_mask(tmp_path / "one.png"), DISC)
    soft = Image.fromarray(DISC * 200).resize((180, 120), Image.Resampling.BILINEAR)
    soft.save(tmp_path / "soft.png")
    assert abs(read_binary_mask(tmp_path / "soft.png").mean() - DISC.mean()) < 0.01


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_colour_photograph_is_no_mask(tmp_path, suffix):
    photo = Image.fromarray(np.dstack([np.asarray(scene_image(60, 90))[..., 0], DISC * 200, DISC * 90]))
    photo.save(tmp_path / f"photo.{suffix}")
    for read in (read_binary_mask, read_ids):
        with pytest.raises(SourceError, match="photo"):
            read(tmp_path / f"photo.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_grey_photograph_is_no_mask(tmp_path, suffix):
    scene_image(60, 90).convert("L").save(tmp_path / f"photo.{suffix}")
    with pytest.raises(SourceError, match="this is a grey picture"):
        read_binary_mask(tmp_path / f"photo.{suffix}")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_several_objects_by_number_are_not_one_mask(tmp_path, mode):
    """Of the numbers 1 to 3 those above half were taken for the object."""
    numbers = np.repeat(np.arange(4, dtype=np.uint8), 5)[None].repeat(8, 0)
    picture = Image.fromarray(numbers)
    if mode == "P":
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.save(tmp_path / "ids.png")
    with pytest.raises(SourceError, match="a mask shows one object, this is a picture of the numbers 1, 2, 3"):
        read_binary_mask(tmp_path / "ids.png")
