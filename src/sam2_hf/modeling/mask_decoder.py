"""Masks, their quality, and whether the object is there at all."""

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from sam2_hf.modeling.compiling import compilable, is_compiled
from sam2_hf.modeling.configuration import Sam2MaskDecoderConfig
from sam2_hf.modeling.layers import MLP, LayerNorm2d, add_shared, all_rows
from sam2_hf.modeling.outputs import ImageFeatures, MaskPrediction, PromptEmbeddings
from sam2_hf.modeling.two_way_transformer import Sam2TwoWayTransformer

HEAD_ACTIVATION = "relu"
HYPERNETWORK_DEPTH = 3
OBJECT_SCORE_DEPTH = 3
NUM_OWN_TOKENS = 2  # object score and IoU, before the mask tokens


class Sam2MaskDecoder(nn.Module):
    """Draws one mask per mask token: the single one, then the candidates for ambiguous prompts."""

    def __init__(self, config: Sam2MaskDecoderConfig):
        super().__init__()
        self.config = config
        channels = config.hidden_size
        self.num_mask_tokens = config.num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, channels)
        self.obj_score_token = nn.Embedding(1, channels)
        self.transformer = Sam2TwoWayTransformer(config)

        self.conv_s0 = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(channels, channels // 4, kernel_size=1)
        self.upscale_conv1 = nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = LayerNorm2d(channels // 4, eps=config.layer_norm_eps)
        self.upscale_conv2 = nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2)
        self.activation = ACT2FN[config.hidden_act]

        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, HYPERNETWORK_DEPTH, HEAD_ACTIVATION)
            for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            channels, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth, HEAD_ACTIVATION
        )
        self.pred_obj_score_head = MLP(channels, channels, 1, OBJECT_SCORE_DEPTH, HEAD_ACTIVATION)

    def project_high_res(self, stride_4: Tensor, stride_8: Tensor) -> tuple[Tensor, Tensor]:
        """The two finer pyramid levels in the decoder's widths, done once per picture."""
        return self.conv_s0(stride_4), self.conv_s1(stride_8)

    def forward(
        self, features: ImageFeatures, prompts: PromptEmbeddings, multimask_output: bool, **kwargs
    ) -> MaskPrediction:
        """Decodes `rows` objects of `batch` pictures; see `Sam2Model.decode_masks`."""
        if not multimask_output and self.config.dynamic_multimask_via_stability and not self.training:
            return self._stable_single_mask(self.draw(features, prompts, **kwargs))
        return self.without_fallback(features, prompts, multimask_output, **kwargs)

    def without_fallback(
        self, features: ImageFeatures, prompts: PromptEmbeddings, multimask_output: bool, **kwargs
    ) -> MaskPrediction:
        """As `forward`, with the single mask as it was drawn."""
        everything = self.draw(features, prompts, **kwargs)
        return _take(everything, slice(1, None) if multimask_output else slice(0, 1))

    def draw(self, features: ImageFeatures, prompts: PromptEmbeddings, **kwargs) -> MaskPrediction:
        """All masks of all mask tokens: the single one first, then the candidates."""
        tokens = self._tokens(prompts.sparse)  # (rows, 6 + prompts, channels)
        image = _add_dense(features.image_embedding, prompts.dense).flatten(2).transpose(1, 2)
        position = features.dense_position.flatten(2).transpose(1, 2).to(image.dtype)
        if is_compiled(self, kwargs):  # a graph is made for one layout in memory
            image, position = image.contiguous(), position.contiguous()
        masks, scores, object_scores, mask_tokens = self._draw(
            tokens, image, position, features.high_res_0, features.high_res_1, **kwargs
        )
        return MaskPrediction(
            mask_logits=masks, iou_scores=scores, object_score_logits=object_scores, mask_tokens=mask_tokens
        )

    @compilable("mask_decoder", tokens=(0, 1), image=(0,), high_res_0=(0,), high_res_1=(0,))
    def _draw(
        self, tokens: Tensor, image: Tensor, position: Tensor, high_res_0: Tensor, high_res_1: Tensor, **kwargs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From tokens (rows, tokens, channels) and image tokens (batch or rows, pixels, channels) to a prediction."""
        tokens, image = self.transformer(tokens, image, position, **kwargs)
        height, width = high_res_1.shape[-2] // 2, high_res_1.shape[-1] // 2
        upscaled = self._upscale(image.transpose(1, 2).unflatten(2, (height, width)), high_res_0, high_res_1)
        mask_tokens = tokens[:, NUM_OWN_TOKENS : NUM_OWN_TOKENS + self.num_mask_tokens]
        masks = self._draw_masks(upscaled, mask_tokens)
        scores = self.iou_prediction_head(tokens[:, 1]).sigmoid()
        return masks, scores, self.pred_obj_score_head(tokens[:, 0]), mask_tokens

    def _tokens(self, sparse: Tensor) -> Tensor:
        """Object score, IoU, masks, prompts: (rows, 6 + prompts, channels)."""
        tables = (self.obj_score_token, self.iou_token, self.mask_tokens)
        own = torch.cat([all_rows(table, sparse.device) for table in tables])
        return torch.cat((own.expand(sparse.shape[0], -1, -1), sparse), dim=1)

    def _upscale(self, image: Tensor, high_res_0: Tensor, high_res_1: Tensor) -> Tensor:
        """(rows, channels, height, width) to (rows, channels / 8, 4 height, 4 width)."""
        x = add_shared(self.upscale_conv1(image), high_res_1)
        x = self.activation(self.upscale_layer_norm(x))
        x = add_shared(self.upscale_conv2(x), high_res_0)
        return self.activation(x)

    def _draw_masks(self, upscaled: Tensor, mask_tokens: Tensor) -> Tensor:
        """Each token's weights times the map: (rows, masks, height, width)."""
        per_token = zip(self.output_hypernetworks_mlps, mask_tokens.unbind(1), strict=True)
        weights = torch.stack([mlp(token) for mlp, token in per_token], dim=1)
        return (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])

    def _stable_single_mask(self, everything: MaskPrediction) -> MaskPrediction:
        """The single mask, or the best candidate where it is unstable. The token stays the single one's."""
        masks, scores = everything.mask_logits, everything.iou_scores
        best = scores[:, 1:].argmax(dim=1) + 1
        row = torch.arange(masks.shape[0], device=masks.device)
        stability = stability_of(masks[:, 0], self.config.dynamic_multimask_stability_delta)
        stable = stability >= self.config.dynamic_multimask_stability_thresh
        return MaskPrediction(
            mask_logits=torch.where(stable[:, None, None], masks[:, 0], masks[row, best]).unsqueeze(1),
            iou_scores=torch.where(stable, scores[:, 0], scores[row, best]).unsqueeze(1),
            object_score_logits=everything.object_score_logits,
            mask_tokens=everything.mask_tokens[:, :1],
        )


def stability_of(mask_logits: Tensor, delta: float) -> Tensor:
    """Area above `delta` over area above `-delta`, 1 where the latter is empty: (rows, height, width) to (rows,)."""
    inner = (mask_logits > delta).flatten(1).sum(dim=1)
    outer = (mask_logits > -delta).flatten(1).sum(dim=1)
    return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)


def _add_dense(image_embedding: Tensor, dense: Tensor) -> Tensor:
    """Image map of (batch or rows, ...) plus dense prompt of (1 or rows, ...), kept shared where both allow it."""
    if dense.shape[0] < image_embedding.shape[0]:
        return image_embedding + dense
    return add_shared(dense, image_embedding)


def _take(everything: MaskPrediction, masks: slice) -> MaskPrediction:
    return MaskPrediction(
        mask_logits=everything.mask_logits[:, masks],
        iou_scores=everything.iou_scores[:, masks],
        object_score_logits=everything.object_score_logits,
        mask_tokens=everything.mask_tokens[:, masks],
    )
