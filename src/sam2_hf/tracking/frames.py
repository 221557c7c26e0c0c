"""Frames of a session: read when they are needed, encoded once, a few encodings kept."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from sam2_hf.errors import SourceError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.outputs import ImageFeatures

FEATURES_KEPT = 2  # encodings of frames, the ones used last


class FrameStore:
    """Pixels and features by frame number, for a whole video or for a stream that grows.

    Args:
        model: encodes the frames.
        preprocess: a picture to pixel_values (1, 3, height, width).
        source: a sequence of pictures, or None for a stream.
        keep_pixels: of a stream, keep every frame; otherwise those that were not released.
        pixels_on_cpu: keep frames of a stream on the CPU.
    """

    def __init__(self, model: Sam2Model, preprocess: Callable, source=None, *, keep_pixels: bool, pixels_on_cpu: bool):
        self.model = model
        self.preprocess = preprocess
        self.source = source
        self.keep_pixels = keep_pixels
        self.pixels_on_cpu = pixels_on_cpu
        self.encodings = 0  # how often the image encoder has run
        self._appended: OrderedDict[int, Tensor] = OrderedDict()
        self._num_appended = 0
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()

    def __len__(self) -> int:
        return self._num_appended + (0 if self.source is None else len(self.source))

    def append(self, pixel_values: Tensor) -> int:
        """Adds a preprocessed frame (1, 3, height, width) at the end and returns its number."""
        frame = len(self)
        self._appended[frame] = pixel_values.cpu() if self.pixels_on_cpu else pixel_values
        self._num_appended += 1
        return frame

    def release(self, before: int) -> None:
        """Drops appended frames before a number, unless all are kept."""
        if not self.keep_pixels:
            for frame in [frame for frame in self._appended if frame < before]:
                del self._appended[frame]

    def skip(self, count: int) -> None:
        """Counts frames of a stream that were seen before and are gone."""
        self._num_appended += count

    def features(self, frame: int) -> ImageFeatures:
        """Features of a frame, encoded unless they are among the last ones used."""
        if frame not in self._features:
            pixel_values = self._pixels(frame).to(device=self.model.device, dtype=self.model.dtype)
            self._features[frame] = self.model.encode_image(pixel_values)
            self.encodings += 1
        self._features.move_to_end(frame)
        while len(self._features) > FEATURES_KEPT:
            self._features.popitem(last=False)
        return self._features[frame]

    def _pixels(self, frame: int) -> Tensor:
        if frame in self._appended:
            return self._appended[frame]
        num_source = 0 if self.source is None else len(self.source)
        if frame < num_source:
            return self.preprocess(self.source[frame])
        kept = ", ".join(map(str, self._appended)) or "none"
        raise SourceError(
            f"frame {frame} of the stream is not kept any more (kept: {kept}); "
            'use TrackingPolicy(keep="all") to go back'
        )

    def clear_features(self) -> None:
        """Drops all encodings."""
        self._features.clear()
