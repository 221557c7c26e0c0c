"""Points, boxes and masks to tokens. A box is two points, so the network knows points and masks only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from sam2_hf.modeling.compiling import compilable
from sam2_hf.modeling.configuration import Sam2PromptEncoderConfig
from sam2_hf.modeling.layers import LayerNorm2d, all_rows
from sam2_hf.modeling.outputs import PointLabel, PromptBatch, PromptEmbeddings
from sam2_hf.modeling.position_embedding import FourierEmbedding


class Sam2MaskEmbedding(nn.Module):
    """Mask logits at stride 4 to a map at stride 16."""

    def __init__(self, config: Sam2PromptEncoderConfig):
        super().__init__()
        wide = config.mask_input_channels
        narrow = wide // 4
        self.activation = ACT2FN[config.hidden_act]
        self.conv1 = nn.Conv2d(1, narrow, kernel_size=2, stride=2)
        self.layer_norm1 = LayerNorm2d(narrow, eps=config.layer_norm_eps)
        self.conv2 = nn.Conv2d(narrow, wide, kernel_size=2, stride=2)
        self.layer_norm2 = LayerNorm2d(wide, eps=config.layer_norm_eps)
        self.conv3 = nn.Conv2d(wide, config.hidden_size, kernel_size=1)

    def forward(self, mask_logits: Tensor) -> Tensor:
        """(rows, 1, 4 height, 4 width) to (rows, channels, height, width)."""
        x = self.activation(self.layer_norm1(self.conv1(mask_logits)))
        x = self.activation(self.layer_norm2(self.conv2(x)))
        return self.conv3(x)


class Sam2PromptEncoder(nn.Module):
    """Encodes prompts given in model pixels.

    Args:
        config: widths and the size of the frame of reference.
        shared_embedding: the Fourier features, one module for points and for the grid of the decoder.
    """

    def __init__(self, config: Sam2PromptEncoderConfig, shared_embedding: FourierEmbedding):
        super().__init__()
        self.image_size = config.image_size
        self.mask_input_size = 4 * config.image_size // config.patch_size
        self.shared_embedding = shared_embedding
        self.mask_embed = Sam2MaskEmbedding(config)
        self.no_mask_embed = nn.Embedding(1, config.hidden_size)
        self.point_embed = nn.Embedding(config.num_point_embeddings, config.hidden_size)
        self.not_a_point_embed = nn.Embedding(1, config.hidden_size)

    def forward(self, prompts: PromptBatch, rows: int) -> PromptEmbeddings:
        """Encodes the prompts of `rows` objects."""
        if prompts.mask_logits is not None:
            dense = self.embed_masks(prompts.mask_logits)
        else:
            device = self.shared_embedding.positional_embedding.device
            dense = all_rows(self.no_mask_embed, device)[:, :, None, None]  # (1, channels, 1, 1)
        if prompts.points is not None:
            sparse = self.embed_points(prompts.points, prompts.labels)
        else:
            sparse = dense.new_zeros(rows, 0, dense.shape[1])
        return PromptEmbeddings(sparse=sparse, dense=dense)

    def embed_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """(rows, points, 2) and their labels to (rows, points + 1, channels): a pad that is not a point comes last."""
        points = F.pad(points.float() + 0.5, (0, 0, 0, 1))  # the centre of a pixel
        labels = F.pad(labels.long(), (0, 1), value=int(PointLabel.NOT_A_POINT))
        return self._embed(points, labels)

    @compilable("prompt_encoder", points=(0, 1), labels=(0, 1))
    def _embed(self, points: Tensor, labels: Tensor) -> Tensor:
        position = self.shared_embedding(points / self.image_size).to(self.point_embed.weight.dtype)
        embedded = position + self.point_embed(labels.clamp(min=0))
        is_point = (labels >= 0).unsqueeze(-1)
        return torch.where(is_point, embedded, all_rows(self.not_a_point_embed, labels.device))

    def embed_masks(self, mask_logits: Tensor) -> Tensor:
        """(rows, 1, any height, any width) logits to (rows, channels, height, width)."""
        return self._embed_masks(mask_logits.float())

    @compilable("prompt_encoder", mask_logits=(0,))
    def _embed_masks(self, mask_logits: Tensor) -> Tensor:
        size = (self.mask_input_size, self.mask_input_size)
        if tuple(mask_logits.shape[-2:]) != size:
            mask_logits = F.interpolate(mask_logits, size=size, mode="bilinear", antialias=True)
        return self.mask_embed(mask_logits.to(self.mask_embed.conv1.weight.dtype))
