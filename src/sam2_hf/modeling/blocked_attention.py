"""Attention in blocks with values narrower than keys, for float32 on a CPU, where the fused kernels want equal widths.

The largest score and the sum of each query are carried from block to block of keys, so no matrix of all scores exists.
"""

import torch
from torch import Tensor

QUERIES, KEYS = 512, 1024  # of a block: its scores stay in the caches of a core


def blocked_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention without a mask, scaled by the width of the keys.

    Args:
        query: (rows, queries, key_channels).
        key: (rows, keys, key_channels).
        value: (rows, keys, value_channels).

    Returns:
        (rows, queries, value_channels).
    """
    query = query * query.shape[-1] ** -0.5
    attended = value.new_empty(*query.shape[:2], value.shape[-1])
    for row in range(query.shape[0]):
        for start in range(0, query.shape[1], QUERIES):
            block = slice(start, start + QUERIES)
            attended[row, block] = _attend(query[row, block], key[row], value[row])
    return attended


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """All keys for one block of queries."""
    highest = query.new_full((query.shape[0], 1), -torch.inf)
    total = torch.zeros_like(highest)
    attended = value.new_zeros(query.shape[0], value.shape[-1])
    for keys, values in zip(key.split(KEYS), value.split(KEYS), strict=True):
        scores = query @ keys.T
        new_highest = torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
        weights = scores.sub_(new_highest).exp_()
        fading = (highest - new_highest).exp_()
        total = total.mul_(fading).add_(weights.sum(dim=-1, keepdim=True))
        attended = attended.mul_(fading).addmm_(weights, values)
        highest = new_highest
    return attended.div_(total)
