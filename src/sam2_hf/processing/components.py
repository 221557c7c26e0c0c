"""Connected parts of masks. SciPy is imported with the first mask that needs it: not every command has one."""

import numpy as np


def numbered_parts(mask: np.ndarray, corners_join: bool = False) -> np.ndarray:
    """Connected parts of a bool mask (height, width), numbered from 1; 0 is everything outside the mask.

    Args:
        corners_join: pixels that meet at a corner only are one part.
    """
    from scipy import ndimage

    return ndimage.label(mask, structure=np.ones((3, 3)) if corners_join else None)[0]
