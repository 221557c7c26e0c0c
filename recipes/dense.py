"""A teacher for the image encoder alone: which pixels belong together, and where objects end.

    "extra_loss": {"root": "dense.py", "options": {"weight": 1.0, "until": 0.3}}

Its weight falls linearly from `weight` to 0 at `until`, a share of all steps (default: 1, the end).

Trained from random weights with mask losses only, the decoder draws nothing for a long time and the encoder learns
nothing meanwhile. This head reads the three feature maps directly, so that every pixel teaches from the first step. It
is no part of the model and is thrown away afterwards.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_hf.errors import ConfigError
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.losses import dice_loss
from sam2_hf.modeling.outputs import ImageFeatures
from sam2_hf.training.batches import ClipBatch

EMBEDDING_WIDTH = 32
BOUNDARY_WEIGHT = 4.0  # of boundary pixels, which are few


class DenseHead(nn.Module):
    """Feature maps to an embedding and a boundary logit per pixel at stride 4.

    Args:
        channels: model width.
        weight: of the loss at the first step.
        until: share of the steps at which it is 0.
    """

    def __init__(self, channels: int, weight: float, until: float):
        super().__init__()
        self.weight, self.until = weight, until
        self.coarse = nn.Conv2d(channels, EMBEDDING_WIDTH, 1)
        self.middle = nn.Conv2d(channels // 4, EMBEDDING_WIDTH, 1)
        self.fine = nn.Conv2d(channels // 8, EMBEDDING_WIDTH, 1)
        self.out = nn.Conv2d(EMBEDDING_WIDTH, EMBEDDING_WIDTH + 1, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, features: ImageFeatures, batch: ClipBatch, progress: float) -> Tensor | None:
        """The weighted loss; None once the weight is 0."""
        weight = self.weight * max(0.0, 1 - progress / self.until)
        return weight * self.loss(features, batch) if weight > 0 else None

    def pixels(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Embeddings (pictures, width, height, width) and boundary logits (pictures, height, width)."""
        size = features.high_res_0.shape[-2:]
        total = self.fine(features.high_res_0)
        for layer, level in ((self.middle, features.high_res_1), (self.coarse, features.image_embedding)):
            total = total + F.interpolate(layer(level), size=size, mode="bilinear", align_corners=False)
        out = self.out(F.gelu(total)).float()
        return out[:, :-1], out[:, -1]

    def loss(self, features: ImageFeatures, batch: ClipBatch) -> Tensor:
        """The mean over objects that are visible on the first frame; a scalar.

        Args:
            features: raw, of all frames of the batch (videos * frames, ...); the first frame of each clip is used.
            batch: the clips.
        """
        first = slice(None, None, batch.num_frames)
        embeddings, boundary = self.pixels(
            ImageFeatures(
                image_embedding=features.image_embedding[first],
                high_res_0=features.high_res_0[first],
                high_res_1=features.high_res_1[first],
                dense_position=features.dense_position,
            )
        )
        truth = F.interpolate(batch.masks[:, :1].float(), size=boundary.shape[-2:], mode="area")[:, 0] >= 0.5
        return self._similarity(embeddings, truth, batch) + self._boundary(boundary, truth, batch)

    def _similarity(self, embeddings: Tensor, truth: Tensor, batch: ClipBatch) -> Tensor:
        """Every pixel against one pixel of the object: is it the same object?"""
        flat = truth.flatten(1)
        is_visible = flat.any(dim=1)
        draws = torch.as_tensor(batch.draws().uniform(), device=flat.device)
        ranks = flat.long().cumsum(dim=1)
        pick = torch.searchsorted(ranks, ((draws * ranks[:, -1]).long() + 1)[:, None]).clamp(max=flat.shape[1] - 1)
        pixels = embeddings.flatten(2)[batch.video_of]  # (objects, width, pixels)
        key = pixels.gather(2, pick[:, None].expand(-1, pixels.shape[1], -1))
        logits = self.scale * (key * pixels).sum(dim=1) / EMBEDDING_WIDTH**0.5 + self.bias
        target = flat.float()
        per_object = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
        per_object = 2 * per_object + dice_loss(logits, target)
        return (per_object * is_visible).sum() / is_visible.sum().clamp(min=1)

    def _boundary(self, logits: Tensor, truth: Tensor, batch: ClipBatch) -> Tensor:
        """Pixels beside another object or the background, of all objects of a picture together."""
        edge = F.max_pool2d(truth[:, None].float(), 3, 1, 1) + F.max_pool2d(-truth[:, None].float(), 3, 1, 1)
        target = torch.zeros_like(logits).index_add_(0, batch.video_of, edge[:, 0]).clamp(max=1)
        known = torch.zeros_like(logits).index_add_(0, batch.video_of, truth.float()).clamp(max=1)
        near = F.max_pool2d(known[:, None], 7, 1, 3)[:, 0]  # objects that were not chosen have boundaries too
        weight = near * (1 + (BOUNDARY_WEIGHT - 1) * target)
        loss = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
        return loss / weight.sum().clamp(min=1)


def open_loss(config: Sam2Config, options: dict) -> DenseHead:
    """The teacher for models of a configuration.

    Raises:
        ConfigError: an option that does not exist, or a value that cannot be meant.
    """
    if unknown := sorted(set(options) - {"weight", "until"}):
        raise ConfigError(f"dense.py: there is no option {unknown[0]!r}; options are weight, until")
    weight, until = options.get("weight", 1.0), options.get("until", 1.0)
    if weight < 0 or not 0 < until <= 1:
        raise ConfigError(f"dense.py: weight is {weight} and until {until}; they must be at least 0, and in (0, 1]")
    return DenseHead(config.hidden_size, weight, until)
