"""`Sam2ImageProcessor`: pictures to `pixel_values`, without torchvision, exactly as SAM 2 does it.

The resize works on float values with antialiasing (resizing 8-bit values rounds, and differs). Tensors on a
GPU stay there.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor, get_size_dict
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs, Unpack

from sam2_hf.errors import CheckpointError, SourceError
from sam2_hf.processing import library_generation
from sam2_hf.processing.late_masks import late_masks
from sam2_hf.processing.masks import post_process_masks
from sam2_hf.processing.pixels import split_batch, to_pixels

ASKED_BY_PIPELINE = {"mask_threshold", "reshaped_input_sizes", "binarize"}  # what the library's mask-generation passes
KNOWN_TO_LOAD = ("embedded", "auto")  # names of `sam2_hf.load`
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


class Sam2ImageProcessorKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
    """Keyword arguments of `Sam2ImageProcessor` beyond the library's own.

    mask_size (`dict[str, int]`): height and width of the decoder's masks, the size of `labels`.
    mask_generation (`dict[str, float]`): thresholds that a checkpoint recommends for finding everything, by their names
        in `sam2_hf.pipelines.generator_options`; None: the original's.
    """

    mask_size: int | dict[str, int] | None
    mask_generation: dict[str, float] | None


class Sam2ImageProcessor(BaseImageProcessor):
    """Pictures of any kind and size to (batch, 3, height, width) in the model's size.

    PIL images (EXIF orientation applied), paths, URLs, arrays and tensors; 8-bit, 16-bit and floats in [0, 1]; grey,
    palette, CMYK and alpha become RGB. `resample=PILImageResampling.BICUBIC` resizes 8-bit values with Pillow, as the
    original does for folders of JPEG frames; it is for comparing with published numbers.
    """

    valid_kwargs = Sam2ImageProcessorKwargs
    model_input_names = ["pixel_values"]  # noqa: RUF012
    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 1024, "width": 1024}  # noqa: RUF012
    mask_size = {"height": 256, "width": 256}  # noqa: RUF012
    mask_generation = None
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """As in any image processor of the library, from a folder or a Hub repository.

        Raises:
            CheckpointError: the name of a weight file, or one that `sam2_hf.load` knows.
        """
        check_is_repository(pretrained_model_name_or_path)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    def __init__(self, **kwargs: Unpack[Sam2ImageProcessorKwargs]):
        super().__init__(**kwargs)
        self._set_attributes(**kwargs)

    def _standardize_kwargs(self, mask_size=None, **kwargs) -> dict:
        kwargs = super()._standardize_kwargs(**kwargs)
        if mask_size is not None and not isinstance(mask_size, SizeDict):
            mask_size = SizeDict(**get_size_dict(mask_size, param_name="mask_size"))
        return {**kwargs, "mask_size": mask_size}

    def preprocess(self, images, segmentation_maps=None, **kwargs: Unpack[Sam2ImageProcessorKwargs]) -> BatchFeature:
        """Preprocesses one picture or a batch of pictures of any sizes.

        Args:
            images: path, URL, PIL image, array, tensor, or a list of these.
            segmentation_maps: per picture an id map (height, width) or instance masks (objects, height, width), as a
                list, or for several pictures as one array with the pictures first; they become `labels` at `mask_size`,
                grouped by picture.

        Returns:
            `pixel_values` (batch, 3, height, width), `original_sizes` (batch, 2) as (height, width) after EXIF
            rotation, and `labels` if segmentation maps were given.

        Raises:
            SourceError: a picture that cannot be read without guessing.
        """
        return super().preprocess(images, segmentation_maps, **kwargs)

    def _preprocess_image_like_inputs(
        self, images, segmentation_maps=None, *, do_convert_rgb, input_data_format, device=None, **kwargs
    ) -> BatchFeature:
        pictures = [
            to_pixels(image, data_format=input_data_format, convert_rgb=bool(do_convert_rgb))
            for image in split_batch(images)
        ]
        features = self._preprocess([picture.to(device) if device else picture for picture in pictures], **kwargs)
        if segmentation_maps is not None:
            features["labels"] = _labels(
                segmentation_maps, len(pictures), kwargs["mask_size"], kwargs["return_tensors"]
            )
        return features

    def _preprocess(self, images: list[Tensor], *, return_tensors=None, **kwargs) -> BatchFeature:
        sizes = torch.tensor([picture.shape[-2:] for picture in images], dtype=torch.int64)
        pixels = [self._one(picture, **kwargs) for picture in images]
        stackable = all(picture.shape == pixels[0].shape for picture in pixels)
        if return_tensors is not None and not stackable:
            raise SourceError(
                "pictures of different sizes cannot be stacked with do_resize=False; call them one by one"
            )
        data: dict = {"pixel_values": torch.stack(pixels) if stackable else pixels, "original_sizes": sizes}
        return BatchFeature(data=data if str(return_tensors) != "np" else {k: v.cpu().numpy() for k, v in data.items()})

    def _one(
        self,
        picture: Tensor,
        *,
        do_resize: bool,
        size: SizeDict,
        resample: PILImageResampling,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean,
        image_std,
        **kwargs,
    ) -> Tensor:
        """One picture, uint8 or float in [0, 1], to the model's size and range."""
        if do_resize and resample == PILImageResampling.BICUBIC:
            picture = _resize_as_pillow(picture, size)
        values = _rescale(picture, rescale_factor) if do_rescale else picture.float()
        if do_resize and resample != PILImageResampling.BICUBIC:
            values = _resize(values, size, resample)
        return _normalize(values, image_mean, image_std) if do_normalize else values

    def post_process_masks(self, masks, original_sizes, **kwargs) -> list[Tensor]:
        """`pred_masks` to masks at the pictures' own sizes; see `sam2_hf.processing.masks.post_process_masks`."""
        if kwargs.keys() == ASKED_BY_PIPELINE and not kwargs["binarize"] and len(masks) == len(original_sizes):
            return late_masks(masks, original_sizes, kwargs["mask_threshold"])
        return post_process_masks(masks, original_sizes, **kwargs)

    # What the library's `mask-generation` pipeline calls

    def generate_crop_boxes(self, image, target_size: int, *args, **kwargs):
        """Crops and grids of clicks; see `sam2_hf.processing.library_generation`."""
        return library_generation.generate_crop_boxes(image, target_size, *args, **kwargs)

    def filter_masks(self, masks: Tensor, iou_scores: Tensor, original_size, cropped_box_image, *args, **kwargs):
        """Good, stable masks that their crop has not cut off; see `sam2_hf.processing.library_generation`."""
        return library_generation.filter_masks(masks, iou_scores, original_size, cropped_box_image, *args, **kwargs)

    def post_process_for_mask_generation(self, all_masks, all_scores, all_boxes, crops_nms_thresh: float = 0.7):
        """What is left after suppression; see `sam2_hf.processing.library_generation`."""
        return library_generation.post_process_for_mask_generation(all_masks, all_scores, all_boxes, crops_nms_thresh)


def check_is_repository(name) -> None:
    """Raises `CheckpointError` for a name that `sam2_hf.load` takes and `from_pretrained` does not."""
    name = str(name or "")
    if (name in KNOWN_TO_LOAD or name.endswith(WEIGHT_SUFFIXES)) and not Path(name).is_dir():
        raise CheckpointError(
            f"{name}: from_pretrained takes a folder or a Hub repository; use sam2_hf.load({name!r}), which returns "
            "model, processor and a line that says which it is"
        )


def _rescale(picture: Tensor, factor: float) -> Tensor:
    """8-bit values to [0, 1]; floats are there already. A true division, because 1 / 255 is no binary number."""
    if picture.dtype != torch.uint8:
        return picture
    return picture.float() / 255 if factor == 1 / 255 else picture.float() * factor


def _resize(values: Tensor, size: SizeDict, resample: PILImageResampling) -> Tensor:
    if resample != PILImageResampling.BILINEAR:
        raise ValueError(f"`resample` must be BILINEAR (2) or BICUBIC (3), got {resample!r}")
    target = (size.height, size.width)
    resized = F.interpolate(values.unsqueeze(0), target, mode="bilinear", align_corners=False, antialias=True)
    return resized.squeeze(0)


def _resize_as_pillow(picture: Tensor, size: SizeDict) -> Tensor:
    if picture.dtype != torch.uint8:
        raise SourceError(
            "bicubic resizing works on 8-bit pictures only; use the default resample for floats and 16 bit"
        )
    image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
    resized = image.resize((size.width, size.height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).to(picture.device)


def _normalize(values: Tensor, mean, std) -> Tensor:
    mean = torch.as_tensor(mean, dtype=values.dtype, device=values.device).view(-1, 1, 1)
    std = torch.as_tensor(std, dtype=values.dtype, device=values.device).view(-1, 1, 1)
    return (values - mean) / std


def _labels(
    segmentation_maps, num_images: int, mask_size: SizeDict, return_tensors
) -> Tensor | np.ndarray | list[Tensor]:
    """Per picture (height, width) or (objects, height, width) at `mask_size`, nearest; stacked if they match."""
    maps = segmentation_maps
    if not isinstance(maps, (list, tuple)):
        is_batch = getattr(maps, "ndim", 0) == 4 or (num_images > 1 and getattr(maps, "ndim", 0) == 3)
        maps = list(maps) if is_batch else [maps]
    if len(maps) != num_images:
        raise SourceError(f"{len(maps)} segmentation maps for {num_images} pictures; give one entry per picture")
    resized = []
    for entry in maps:
        values = torch.as_tensor(np.array(entry) if not isinstance(entry, Tensor) else entry)
        if values.dim() not in (2, 3):
            raise SourceError(
                f"a segmentation map must be (height, width) or (objects, height, width), got {values.dim()} axes"
            )
        stack = values.double().view(1, -1, *values.shape[-2:])
        nearest = F.interpolate(stack, (mask_size.height, mask_size.width), mode="nearest-exact").squeeze(0).long()
        resized.append(nearest if values.dim() == 3 else nearest[0])
    if return_tensors is None or any(labels.shape != resized[0].shape for labels in resized):
        return resized
    stacked = torch.stack(resized)
    return stacked.numpy() if str(return_tensors) == "np" else stacked
