"""What the five verbs of the model hand to each other, and what `forward` returns.

Rows are objects of pictures, picture by picture: `rows = batch * objects`. A field of `batch` entries beside fields of
`rows` entries is shared by the objects of a picture, never copied for them.
"""

import enum
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


class PointLabel(enum.IntEnum):
    """What a point says. PAD is the library's convention for ragged batches; it never reaches the network."""

    PAD = -10
    NOT_A_POINT = -1
    BACKGROUND = 0
    FOREGROUND = 1
    BOX_TOP_LEFT = 2
    BOX_BOTTOM_RIGHT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """Everything the rest of the model needs of pictures.

    Attributes:
        image_embedding: (batch, channels, height, width) at stride 16. As `encode_image` gives it, *raw*: nothing of
            the memory is in it. As `recall` gives it, conditioned; its first axis is then `rows`.
        high_res_0: (batch, channels / 8, 4 height, 4 width), stride 4.
        high_res_1: (batch, channels / 4, 2 height, 2 width), stride 8.
        dense_position: (1, channels, height, width), the Fourier encoding of the grid, as the decoder reads it.
    """

    image_embedding: Tensor
    high_res_0: Tensor
    high_res_1: Tensor
    dense_position: Tensor

    def with_embedding(self, image_embedding: Tensor) -> "ImageFeatures":
        """The same pictures with another stride-16 map."""
        return replace(self, image_embedding=image_embedding)

    def of_picture(self, index: int) -> "ImageFeatures":
        """Features of one picture of the batch, as views."""
        one = slice(index, index + 1)
        return ImageFeatures(
            image_embedding=self.image_embedding[one],
            high_res_0=self.high_res_0[one],
            high_res_1=self.high_res_1[one],
            dense_position=self.dense_position,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBatch:
    """Prompts of `rows` objects that have equally many points.

    Attributes:
        points: (rows, points, 2) as (x, y) in model pixels, or None for no point tokens at all.
        labels: (rows, points) of `PointLabel`, without PAD.
        mask_logits: (rows, 1, height, width) logits; resized to stride 4 if they have another size. None: no mask.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    mask_logits: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEmbeddings:
    """Encoded prompts.

    Attributes:
        sparse: (rows, tokens, channels); without points tokens is 0.
        dense: (rows, channels, height, width) of mask prompts, or (1, channels, 1, 1) where there is no mask.
    """

    sparse: Tensor
    dense: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPrediction:
    """What the decoder says about `rows` objects.

    Attributes:
        mask_logits: (rows, masks, 4 height, 4 width) at stride 4, not clamped, not gated by the object score.
        iou_scores: (rows, masks), the estimate of each mask's IoU in [0, 1].
        object_score_logits: (rows, 1), above 0 where the object is visible.
        mask_tokens: (rows, masks, channels), from which `object_pointers` makes what memory keeps of the object.
    """

    mask_logits: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor
    mask_tokens: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPrediction:
    """One mask per object, as memory keeps it.

    Attributes:
        mask_logits: (rows, 4 height, 4 width) float32 at stride 4; -1024 everywhere where the object is absent.
        iou_scores: (rows,), the estimate of the mask's IoU; not hidden where the object is absent.
        object_score_logits: (rows,), above 0 where the object is visible.
        object_pointers: (rows, channels).
    """

    mask_logits: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor
    object_pointers: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBatch:
    """What `rows` objects with equally long memories remember.

    Attributes:
        spatial: (rows, frames, memory_channels, height, width), maps written by `memorize`.
        spatial_time: (rows, frames) int64: 0 for a prompted frame, else its slot 1 ... num_maskmem - 1, where the
            largest is the adjacent frame.
        pointers: (rows, pointers, channels) object pointers; pointers may be 0.
        pointer_time: (rows, pointers), the signed distance in frames over the pointer span.
    """

    spatial: Tensor
    spatial_time: Tensor
    pointers: Tensor
    pointer_time: Tensor


@dataclass
class Sam2VisionEncoderOutput(BaseModelOutputWithPooling):
    """Output of the image encoder; there is no `pooler_output`.

    Attributes:
        last_hidden_state: (batch, height, width, channels), the trunk's last stage at stride 32.
        fpn_hidden_states: three maps (batch, channels, height, width) at strides 4, 8 and 16.
        fpn_position_encoding: their sine encodings, each (batch, channels, height, width).
        hidden_states: the input of the first block and the output of every block, (batch, height, width, channels).
        attentions: softmax weights of every block, (batch * windows, heads, queries, keys).
    """

    fpn_hidden_states: tuple[torch.Tensor, ...] | None = None
    fpn_position_encoding: tuple[torch.Tensor, ...] | None = None


@dataclass
class Sam2ImageSegmentationOutput(ModelOutput):
    """Output of `Sam2Model.forward` for pictures.

    Attributes:
        loss: scalar, with `labels`: the mean over objects of 20 focal + dice + IoU error + object score.
        iou_scores: (batch, objects, masks), the estimate of each mask's IoU in [0, 1].
        pred_masks: (batch, objects, masks, height, width) logits at stride 4.
        object_score_logits: (batch, objects, 1), above 0 where the object is visible.
        image_embeddings: three maps to be passed back as `image_embeddings=`: strides 4 and 8 after the decoder's
            projections, and stride 16 with the no-memory embedding added.
        vision_hidden_states: as in `Sam2VisionEncoderOutput`, with `output_hidden_states=True`.
        vision_attentions: as in `Sam2VisionEncoderOutput`, with `output_attentions=True`.
        mask_decoder_attentions: softmax weights of the decoder, per group of objects with equally many points and per
            layer: tokens to themselves, tokens to image, image to tokens; last, tokens to image once more. Each is
            (rows, heads, queries, keys).
    """

    loss: torch.Tensor | None = None
    iou_scores: torch.Tensor | None = None
    pred_masks: torch.Tensor | None = None
    object_score_logits: torch.Tensor | None = None
    image_embeddings: tuple[torch.Tensor, ...] | None = None
    vision_hidden_states: tuple[torch.Tensor, ...] | None = None
    vision_attentions: tuple[torch.Tensor, ...] | None = None
    mask_decoder_attentions: tuple[torch.Tensor, ...] | None = None
