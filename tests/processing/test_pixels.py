import io

import numpy as np
import pytest
import torch
from PIL import Image

from sam2_hf import Sam2ImageProcessor
from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.pixels import open_picture, split_batch, to_pixels
from tests.tiny import scene, scene_image

ROTATED_BY_90 = 6  # EXIF orientation
ORIENTATION_TAG = 0x0112


def test_eight_bit_array_stays_as_it_is():
    picture = scene(40, 60)
    assert torch.equal(to_pixels(picture), torch.from_numpy(picture).permute(2, 0, 1))


@pytest.mark.parametrize(
    "shape", [(3, 40, 60), (40, 60, 3), (1, 40, 60), (40, 60, 1), (40, 60), (40, 60, 4), (4, 40, 60)]
)
def test_layout_is_decided_by_the_channel_axis(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert to_pixels(values).shape == to_pixels(torch.from_numpy(values)).shape == (3, 40, 60)


def test_channels_last_and_first_give_the_same_pixels():
    picture = scene(40, 60)
    assert torch.equal(to_pixels(picture), to_pixels(picture.transpose(2, 0, 1)))


def test_narrow_picture_is_read_by_its_three_channels():
    assert to_pixels(np.zeros((50, 1, 3), np.uint8)).shape == (3, 50, 1)
    assert to_pixels(np.zeros((1, 50, 3), np.uint8)).shape == (3, 1, 50)


def test_ambiguous_layout_needs_a_word():
    picture = np.zeros((3, 50, 3), np.uint8)
    with pytest.raises(SourceError, match="channels first or channels last"):
        to_pixels(picture)
    assert to_pixels(picture, data_format="channels_first").shape == (3, 50, 3)
    assert to_pixels(picture, data_format="channels_last").shape == (3, 3, 50)


def test_sixteen_bit_is_scaled_by_its_range():
    values = np.array([[0, 65535], [32768, 1]], dtype=np.uint16)
    expected = torch.from_numpy(values.astype(np.float32) / 65535)
    for picture in (values, torch.from_numpy(values), Image.fromarray(values)):
        torch.testing.assert_close(to_pixels(picture)[0], expected)


def test_sixteen_bit_png_file_is_not_clipped(tmp_path):
    """Converting such a file to RGB clips it to white, which the library's loader does."""
    values = (np.arange(60 * 40, dtype=np.uint16) * 27).reshape(40, 60)
    Image.fromarray(values).save(tmp_path / "grey16.png")
    torch.testing.assert_close(
        to_pixels(tmp_path / "grey16.png")[1], torch.from_numpy(values.astype(np.float32) / 65535)
    )


def test_floats_in_0_to_1_are_not_divided_again():
    values = np.random.default_rng(0).random((40, 60, 3), dtype=np.float32)
    assert torch.equal(to_pixels(values), torch.from_numpy(values).permute(2, 0, 1))
    assert to_pixels(values.astype(np.float64)).dtype == torch.float32


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_any_mode_becomes_rgb(mode):
    picture = scene_image(40, 60).convert(mode)
    expected = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(to_pixels(picture), expected)


def test_exif_orientation_is_applied(tmp_path):
    picture = scene_image(40, 60)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = ROTATED_BY_90
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = to_pixels(tmp_path / "turned.png")
    assert torch.equal(pixels, to_pixels(picture.transpose(Image.Transpose.ROTATE_270)))
    assert pixels.shape == (3, 60, 40)


def test_file_and_picture_object_are_the_same(tmp_path):
    scene_image(40, 60).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert torch.equal(to_pixels(source), to_pixels(scene(40, 60)))


def test_callers_picture_is_never_edited():
    picture = torch.rand(40, 60, 3)
    before = picture.clone()
    Sam2ImageProcessor(size={"height": 8, "width": 8})(picture, return_tensors="pt")
    assert torch.equal(picture, before)


def test_batches_are_split_into_pictures():
    stack = np.stack([scene(40, 60, seed=i) for i in range(3)])
    assert len(split_batch(stack)) == 3
    assert len(split_batch([stack[0], [stack[1], stack[2]]])) == 3
    assert len(split_batch(stack[0])) == 1


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((0, 60, 3), np.uint8), r"empty: its shape is \(0, 60, 3\)"),
        (np.zeros((40, 60, 5), np.uint8), r"shape \(40, 60, 5\) has no axis of 1, 3 or 4 channels"),
        (np.zeros((40,), np.uint8), r"got shape \(40,\)"),
        (np.full((40, 60, 3), 200.0, np.float32), r"values up to 200\.0; floats must be 0\.\.1 \(or pass uint8\)"),
        (np.full((40, 60, 3), -0.5, np.float32), r"values up to -0\.5"),
        (np.full((40, 60, 3), np.nan, np.float32), r"NaN or infinite"),
        (np.full((40, 60, 3), 300, np.int32), r"values from 300 to 300"),
        (np.zeros((40, 60, 3), bool), r"cannot have dtype bool"),
        (torch.zeros(40, 60, 3, dtype=torch.bool), r"cannot be bool"),
        (np.array([["a"]]), r"cannot have dtype <U1"),
        (Image.new("RGB", (0, 5)), r"empty: its size is 0 x 5"),
        (Image.fromarray(np.full((4, 4), 70000, np.int32)), r"values 70000 to 70000; only 16-bit"),
        (Image.fromarray(np.full((4, 4), 7.0, np.float32)), r"values up to 7\.0"),
        ({"path": "a.png"}, r"cannot be a dict"),
        ("no/such/file.png", r"no/such/file\.png: no such picture file"),
    ],
)
def test_what_cannot_be_read_without_guessing_is_refused(picture, message):
    with pytest.raises(SourceError, match=message):
        to_pixels(picture)


def test_empty_list_is_refused():
    with pytest.raises(SourceError, match="list of pictures is empty"):
        split_batch([])


def test_text_file_with_a_picture_name_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(DecodeError, match=r"a\.png: not a readable picture"):
        open_picture(tmp_path / "a.png")


def test_cut_off_file_is_refused(tmp_path):
    buffer = io.BytesIO()
    scene_image(200, 300).save(buffer, format="JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    with pytest.raises(DecodeError, match="is the file complete"):
        open_picture(tmp_path / "a.jpg")


def test_dark_picture_of_mode_i_is_refused_instead_of_guessed():
    with pytest.raises(SourceError, match="may be 8 or 16 bit"):
        to_pixels(Image.fromarray(np.full((4, 4), 200, np.int32)))


def test_address_that_does_not_answer_is_named():
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:9/a\.png: no answer"):
        to_pixels("http://127.0.0.1:9/a.png")


def test_too_many_pixels_are_named_and_not_taken_for_a_broken_file(tmp_path, monkeypatch):
    scene_image(60, 90).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SourceError, match=r"large\.png: too many pixels .*MAX_IMAGE_PIXELS"):
        to_pixels(tmp_path / "large.png")
