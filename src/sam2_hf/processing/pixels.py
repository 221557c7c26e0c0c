"""Any picture a user may hold, in one normal form: (3, height, width), uint8 or float32 in [0, 1].

Nothing is guessed: what could be read in two ways is refused with the remedy.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.addresses import WEB, limited, opened_address

CHANNEL_COUNTS = (1, 3, 4)
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MAX_PICTURE_BYTES = 256 * 1024**2  # behind an address
STEREO_FORMAT = "MPO"  # photographs of telephones that carry a second view: not an animation


def open_picture(source: str | Path) -> Image.Image:
    """Opens a path or URL, decoded and with its EXIF orientation applied.

    Raises:
        SourceError: there is no such file, or the URL does not answer.
        DecodeError: the data is no picture or is cut off.
    """
    data = _fetch(str(source)) if str(source).startswith(WEB) else _local(Path(source))
    return decode_picture(data, str(source))


def decode_picture(data: Path | io.BytesIO, name: str) -> Image.Image:
    """The picture in a file or in memory, decoded and turned as its EXIF data says; of an animation the first frame.

    Args:
        name: of the picture, for messages.

    Raises:
        DecodeError: the data is no picture or is cut off.
    """
    try:
        with Image.open(data) as picture:
            is_animated = getattr(picture, "is_animated", False) and picture.format != STEREO_FORMAT
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except Image.DecompressionBombError as error:
        raise SourceError(
            f"{name}: too many pixels ({error}); make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except Exception as error:  # each format of Pillow raises its own kinds for damaged data
        raise DecodeError(f"{name}: not a readable picture ({error}); is the file complete?") from error
    if is_animated:
        warnings.warn(f"{name}: has several frames, only the first one is read", stacklevel=2)
    return upright


def _local(path: Path) -> Path:
    if path.is_dir():
        raise SourceError(f"{path}: is a folder, not a picture")
    if not path.is_file():
        raise SourceError(f"{path}: no such picture file")
    return path


def _fetch(url: str) -> io.BytesIO:
    with opened_address(url) as response:
        if response.status_code != 200:
            raise SourceError(f"{url}: the server answered {response.status_code}; check the address")
        return io.BytesIO(b"".join(limited(response.iter_bytes(), url, MAX_PICTURE_BYTES)))


def split_batch(images) -> list:
    """A flat list of single pictures from one picture, a list or tuple of pictures, or a 4-D array or tensor."""
    if isinstance(images, (list, tuple)):
        if not images:
            raise SourceError("the list of pictures is empty; pass at least one picture")
        return [single for image in images for single in split_batch(image)]
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        return list(images)
    return [images]


def to_pixels(image, *, data_format: str | None = None, convert_rgb: bool = True) -> Tensor:
    """One picture in normal form.

    Args:
        image: path, URL, PIL image of any mode, or array / tensor (height, width[, c]) or (c, height, width).
        data_format: "channels_first" or "channels_last", needed only where the shape fits both.
        convert_rgb: repeat grey to three channels and drop alpha. False: leave the channels as they are.

    Returns:
        (3, height, width): uint8 as it came, or float32 in [0, 1] from 16-bit and float pictures.

    Raises:
        SourceError: empty, NaN, float outside [0, 1], or a shape or type that no picture has.
    """
    if isinstance(image, (str, Path)):
        image = open_picture(image)
    if isinstance(image, Image.Image):
        image, data_format = _pil_to_array(image, convert_rgb), "channels_last"
    if isinstance(image, np.ndarray):
        image = _array_to_tensor(image)
    if not isinstance(image, Tensor):
        raise SourceError(
            f"a picture cannot be a {type(image).__name__}; pass a path, a URL, a PIL image, or an array or tensor"
        )
    pixels = _channels_first(image, data_format)
    if pixels.numel() == 0:
        raise SourceError(f"the picture is empty: its shape is {tuple(image.shape)}")
    pixels = _unit_range(pixels)
    return _to_rgb(pixels) if convert_rgb else pixels


def _pil_to_array(image: Image.Image, convert_rgb: bool) -> np.ndarray:
    if 0 in image.size:
        raise SourceError(f"the picture is empty: its size is {image.size[0]} x {image.size[1]}")
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BIT_MODES:
        values = np.asarray(image).astype(np.int64)
        found = f"a picture of mode {image.mode!r} has values {values.min()} to {values.max()}"
        if values.min() < 0 or values.max() > 65535:
            raise SourceError(f"{found}; only 16-bit values 0 to 65535 are read")
        if image.mode == "I" and values.max() <= 255:
            raise SourceError(f"{found}, which may be 8 or 16 bit; convert it to mode 'L' or 'I;16'")
        return values.astype(np.uint16)
    if image.mode == "F":
        return np.asarray(image)
    return np.array(image.convert("RGB") if convert_rgb else image)


def _array_to_tensor(array: np.ndarray) -> Tensor:
    if array.dtype == object or array.dtype.kind not in "uif":
        raise SourceError(f"a picture cannot have dtype {array.dtype}; use uint8, uint16 or float in [0, 1]")
    if array.dtype.kind == "u" and array.dtype.itemsize > 2:
        array = array.astype(np.int64)
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def size_of(pixels: Tensor) -> tuple[int, int]:
    """(height, width) of a picture in normal form."""
    height, width = pixels.shape[-2:]
    return height, width


def _channels_first(image: Tensor, data_format: str | None) -> Tensor:
    """(c, height, width), the layout decided by the axis that can be channels."""
    if image.dim() == 2:
        return image.unsqueeze(0)
    if image.dim() != 3:
        raise SourceError(f"a picture must be (height, width) or have three axes, got shape {tuple(image.shape)}")
    if data_format is None:
        data_format = _infer_data_format(tuple(image.shape))
    return image.permute(2, 0, 1) if str(getattr(data_format, "value", data_format)) == "channels_last" else image


def _infer_data_format(shape: tuple[int, ...]) -> str:
    first, last = shape[0], shape[2]
    for counts in ((3,), CHANNEL_COUNTS):
        fits_first, fits_last = first in counts, last in counts
        if fits_first != fits_last:
            return "channels_first" if fits_first else "channels_last"
        if fits_first:
            raise SourceError(
                f"shape {shape} can be channels first or channels last; "
                'pass input_data_format="channels_first" or "channels_last"'
            )
    raise SourceError(f"shape {shape} has no axis of 1, 3 or 4 channels; pass (height, width, 3) or (3, height, width)")


def _unit_range(pixels: Tensor) -> Tensor:
    """uint8 unchanged, everything else as float32 in [0, 1]."""
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.dtype == torch.uint16:
        return pixels.float() / 65535
    if pixels.dtype == torch.bool:
        raise SourceError("a picture cannot be bool; for a mask prompt use `masks`, else pass uint8")
    if not pixels.is_floating_point():
        lowest, highest = int(pixels.min()), int(pixels.max())
        if lowest < 0 or highest > 255:
            raise SourceError(
                f"integer picture has values from {lowest} to {highest}; pass uint8, or uint16 for 16-bit pictures"
            )
        return pixels.to(torch.uint8)
    if not bool(torch.isfinite(pixels).all()):
        raise SourceError("float picture has NaN or infinite values; repair them before the call")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        extreme = high if high > 1 else low
        raise SourceError(f"float picture has values up to {extreme}; floats must be 0..1 (or pass uint8)")
    return pixels.float()


def _to_rgb(pixels: Tensor) -> Tensor:
    channels = pixels.shape[0]
    if channels == 1:
        return pixels.expand(3, -1, -1)
    if channels in (3, 4):
        return pixels[:3]
    raise SourceError(f"a picture must have 1, 3 or 4 channels, got {channels}")
