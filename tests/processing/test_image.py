import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.image_utils import PILImageResampling

from sam2_hf import Sam2ImageProcessor
from sam2_hf.errors import SourceError
from tests.numbers import alike
from tests.tiny import scene, scene_image

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SMALL = {"height": 32, "width": 32}


def reference(picture: np.ndarray, side: int) -> torch.Tensor:
    """The original's transform, spelled out."""
    values = torch.from_numpy(picture).permute(2, 0, 1).float().div(255)[None]
    resized = F.interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return (resized - MEAN.view(1, 3, 1, 1)) / STD.view(1, 3, 1, 1)


@pytest.mark.parametrize(("height", "width", "side"), [(90, 60, 32), (20, 30, 64), (1, 50, 32)])
def test_pixels_are_the_originals(height, width, side):
    """Resizing 8-bit values, as the library does, differs by up to 1/255."""
    picture = scene(max(height, 16), max(width, 16))[:height, :width]
    found = Sam2ImageProcessor(size={"height": side, "width": side})(picture, return_tensors="pt")
    assert alike(found["pixel_values"], reference(picture, side)[0][None], 1e-6)
    assert found["original_sizes"].tolist() == [[height, width]]


def test_arrays_tensors_and_pil_images_give_the_same():
    processor, picture = Sam2ImageProcessor(size=SMALL), scene(60, 90)
    kinds = (picture, picture.transpose(2, 0, 1), torch.from_numpy(picture), Image.fromarray(picture))
    results = [processor(kind, return_tensors="pt")["pixel_values"] for kind in kinds]
    assert all(alike(result, results[0], 1e-6) for result in results)


def test_pictures_of_different_sizes_are_one_batch():
    pictures = [scene_image(60, 90), scene_image(100, 40), scene_image(33, 33)]
    found = Sam2ImageProcessor(size=SMALL)(pictures, return_tensors="pt")
    assert found["pixel_values"].shape == (3, 3, 32, 32)
    assert found["original_sizes"].tolist() == [[60, 90], [100, 40], [33, 33]]


def test_tensor_types_are_honoured():
    processor = Sam2ImageProcessor(size=SMALL)
    assert isinstance(processor(scene(60, 90), return_tensors="np")["pixel_values"], np.ndarray)
    assert isinstance(processor(scene(60, 90), return_tensors="np")["original_sizes"], np.ndarray)


def test_bicubic_is_pillows_on_eight_bit_values():
    processor = Sam2ImageProcessor(size=SMALL, resample=PILImageResampling.BICUBIC)
    resized = scene_image(60, 90).resize((32, 32), Image.Resampling.BICUBIC)
    expected = (torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255 - MEAN.view(3, 1, 1)) / STD.view(
        3, 1, 1
    )
    assert alike(processor(scene(60, 90), return_tensors="pt")["pixel_values"][0], expected, 1e-6)
    with pytest.raises(SourceError, match="8-bit pictures only"):
        processor(np.zeros((60, 90, 3), np.float32))


def test_other_resampling_is_refused():
    with pytest.raises(ValueError, match="BILINEAR"):
        Sam2ImageProcessor(size=SMALL, resample=PILImageResampling.NEAREST)(scene(60, 90))


def test_instance_masks_stay_grouped_by_picture():
    """Three instance masks of one picture are one entry of three objects, not three pictures."""
    masks = np.zeros((3, 60, 90), np.uint8)
    masks[0, :30], masks[1, 30:], masks[2, :, :45] = 1, 1, 1
    processor = Sam2ImageProcessor(size=SMALL, mask_size={"height": 8, "width": 8})
    labels = processor(scene(60, 90), segmentation_maps=[masks], return_tensors="pt")["labels"]
    assert labels.shape == (1, 3, 8, 8)
    assert labels[0, 0].sum() == 32 and bool((labels[0, 0, :4] == 1).all())
    id_map = processor(scene(60, 90), segmentation_maps=[masks[0] * 7], return_tensors="pt")["labels"]
    assert id_map.shape == (1, 8, 8) and set(id_map.unique().tolist()) == {0, 7}


def test_one_map_for_two_pictures_is_refused():
    with pytest.raises(SourceError, match="1 segmentation maps for 2 pictures"):
        Sam2ImageProcessor(size=SMALL)([scene(), scene()], segmentation_maps=[np.zeros((60, 90))])


def test_saved_and_loaded_processor_is_equal(tmp_path):
    processor = Sam2ImageProcessor(size=SMALL, image_mean=[0.1, 0.2, 0.3])
    processor.save_pretrained(tmp_path)
    assert Sam2ImageProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()


def test_size_can_be_overridden_at_a_call():
    found = Sam2ImageProcessor(size=SMALL)(scene(), size={"height": 16, "width": 16}, return_tensors="pt")
    assert found["pixel_values"].shape == (1, 3, 16, 16)


def test_segmentation_maps_of_several_pictures_may_be_one_array():
    processor = Sam2ImageProcessor(size=SMALL)
    pictures = [scene(40, 60, seed=seed) for seed in range(3)]
    maps = np.stack([np.full((40, 60), number) for number in range(3)])
    for given in (maps, torch.from_numpy(maps), list(maps)):
        labels = processor(pictures, given, return_tensors="pt")["labels"]
        assert [sorted(one.unique().tolist()) for one in labels] == [[0], [1], [2]] and labels.dim() == 3
    instances = np.stack([maps] * 3)  # (pictures, objects, height, width)
    assert processor(pictures, instances, return_tensors="pt")["labels"].shape[:2] == (3, 3)
    assert processor(pictures[:1], maps, return_tensors="pt")["labels"].shape[:2] == (1, 3)  # objects of one picture
