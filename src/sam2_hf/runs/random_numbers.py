"""Random numbers of a run."""

import random

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Begins the random numbers of Python, NumPy and PyTorch, on every device, at a seed.

    As `transformers.set_seed`, whose module imports what training needs.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
