"""Logits at a picture's size that are made when somebody looks at them."""

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from sam2_hf.processing.masks import clean_logits, resize_logits


class LateLogits(Tensor):
    """Logits (objects, masks, height, width) that are resized when anything is asked of them: a tensor to everybody.

    The library's `mask-generation` resizes all candidates before it drops most of them; who knows this class drops
    first, by `low` (objects, masks, h, w) and `full_size` (height, width).
    """

    low: Tensor
    full_size: tuple[int, int]
    _whole: Tensor | None

    @staticmethod
    def __new__(cls, low: Tensor, full_size: tuple[int, int]):
        late = Tensor._make_subclass(cls, low.detach()[:0])
        late.low, late.full_size, late._whole = low, full_size, None
        return late

    def whole(self) -> Tensor:
        """The tensor that this stands for."""
        if self._whole is None:
            self._whole = resize_logits(self.low, self.full_size)
        return self._whole

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            args, kwargs = tree_map_only(LateLogits, LateLogits.whole, (tuple(args), kwargs or {}))
            return func(*args, **kwargs)


def late_masks(
    masks, original_sizes, mask_threshold: float = 0.0, max_hole_area: float = 0.0, max_sprinkle_area: float = 0.0
) -> list[Tensor]:
    """As `post_process_masks` with `binarize=False`, per picture (objects, masks, height, width) logits, made late."""
    late: list[Tensor] = []
    for logits, size in zip(masks, original_sizes, strict=True):
        full_size = (int(size[0]), int(size[1]))
        if isinstance(logits, LateLogits) and max_hole_area <= 0 and max_sprinkle_area <= 0:
            late.append(logits if logits.full_size == full_size else LateLogits(logits.whole(), full_size))
        else:
            cleaned = clean_logits(torch.as_tensor(logits).float(), mask_threshold, max_hole_area, max_sprinkle_area)
            late.append(LateLogits(cleaned, full_size))
    return late
