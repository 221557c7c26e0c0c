"""What is had without a model: the bar that a model has to clear."""

import numpy as np

from sam2_hf.datasets.mask_folders import ObjectMasks, PaletteMasks
from sam2_hf.errors import MissingExtraError

GRABCUT_ROUNDS = 5


class FirstMaskRepeated:
    """Masks of a video in which every object stays where it first was.

    Args:
        truth: where the objects' first masks come from.
    """

    def __init__(self, truth: PaletteMasks | ObjectMasks):
        self._truth = truth
        self.objects = getattr(truth, "objects", {})
        self._first: dict[int, tuple[str, np.ndarray]] = {}
        if isinstance(truth, PaletteMasks):
            for frame in truth.frames:
                for object_id in truth.object_ids(frame) - self._first.keys():
                    self._first[object_id] = (frame, truth.mask(frame, object_id))
        else:
            self._first = {object_id: self._first_of(object_id) for object_id in truth.objects}

    def object_ids(self, frame: str) -> set[int]:
        """Objects that a frame shows."""
        return {object_id for object_id, (first, _) in self._first.items() if frame >= first}

    def mask(self, frame: str, object_id: int) -> np.ndarray:
        """(height, width) bool."""
        first, mask = self._first[object_id]
        return mask if frame >= first else np.zeros_like(mask)

    def _first_of(self, object_id: int) -> tuple[str, np.ndarray]:
        frames = self._truth.frames_of(object_id)
        masks = ((frame, self._truth.mask(frame, object_id)) for frame in frames)
        found = next(((frame, mask) for frame, mask in masks if mask.any()), None)
        return found or (frames[0], self._truth.mask(frames[0], object_id))


def grabcut(image: np.ndarray, box: list[int]) -> np.ndarray:
    """GrabCut from a box [x0, y0, x1, y1] with inclusive maxima, on an RGB picture: (height, width) bool.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError('grabcut() needs OpenCV: pip install "sam2_hf[camera]"') from error
    x0, y0, x1, y1 = box
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[y0 : y1 + 1, x0 : x1 + 1] = True
    if inside.all() or inside.sum() < 4:
        return inside  # no background to learn from, or too little to learn
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(bgr, labels, None, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
