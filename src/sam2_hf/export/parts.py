"""The four parts of the model as tensors in, tensors out: what is exported.

    image-encoder     pixels                                          -> maps of a picture
    decoder           maps, clicks, an earlier mask                   -> masks, scores, object pointers
    memory-encoder    maps, masks, scores                             -> memory
    memory-attention  maps, a bank of memories and pointers           -> maps that know the memory

The bank has a fixed number of slots. Which of them are filled is said per object, and empty ones are left out of the
softmax exactly, so objects with memories of different lengths go through together.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from sam2_hf.modeling.layers import split_heads
from sam2_hf.modeling.memory_attention import CURRENT_POSITION_WEIGHT
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT
from sam2_hf.modeling.outputs import ImageFeatures, MemoryBatch, PointLabel, PromptBatch, PromptEmbeddings
from sam2_hf.modeling.position_embedding import AxialRotaryTable

ROWS, POINTS = "objects", "points"  # the axes whose size is free


@dataclass(frozen=True, kw_only=True)
class BankSize:
    """How many slots the bank has.

    Attributes:
        memory_frames: maps of recent frames and one prompted frame, as `num_maskmem` counts them.
        max_prompted: prompted frames that are looked at.
        pointer_span: frames that object pointers reach back; prompted frames have theirs beside these.
    """

    memory_frames: int
    max_prompted: int
    pointer_span: int

    @property
    def pointers(self) -> int:
        """Slots for object pointers."""
        return self.max_prompted + self.pointer_span

    @property
    def maps(self) -> int:
        """Slots for maps: the prompted frames, and the recent ones beside them."""
        return self.max_prompted + self.memory_frames - 1


class Part(nn.Module):
    """A part of the model.

    Attributes:
        inputs, outputs: names, in the order of `forward`; free axes of inputs are in `axes`.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]

    def __init__(self, model: Sam2Model, bank: BankSize):
        super().__init__()
        self.model, self.bank = model, bank

    def sample(self, rows: int, points: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs with `rows` objects of `points` clicks each, made up."""
        raise NotImplementedError

    def dynamic_shapes(self) -> tuple[dict | None, ...]:
        """As `torch.export.export` takes them."""
        dims = {ROWS: Dim(ROWS, min=1, max=1024), POINTS: Dim(POINTS, min=1, max=1024)}
        free = (self.axes.get(entry, {}) for entry in self.inputs)
        return tuple({axis: dims[name] for axis, name in axes.items()} or None for axes in free)

    def _maps(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        grid, width = self.model.config.grid_size, self.model.config.hidden_size
        shapes = ((width, grid), (width // 8, 4 * grid), (width // 4, 2 * grid))
        embedding, *fine = (self._noise(generator, 1, channels, side, side) for channels, side in shapes)
        return embedding, fine[0], fine[1]

    def _noise(self, generator: torch.Generator, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(self.model.dtype)


class ImageEncoder(Part):
    """One picture to its maps."""

    name = "image-encoder"
    inputs = ("pixel_values",)
    outputs = ("image_embedding", "picture_embedding", "high_res_0", "high_res_1")
    axes = {}  # noqa: RUF012

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, side, side) to the raw map, the map of a picture without memory, and the two finer maps."""
        raw = self.model.encode_image(pixel_values)
        return raw.image_embedding, self.model.recall(raw).image_embedding, raw.high_res_0, raw.high_res_1

    def sample(self, rows: int, points: int, seed: int = 0) -> tuple[Tensor, ...]:
        side = self.model.config.image_size
        return (self._noise(torch.Generator().manual_seed(seed), 1, 3, side, side),)


class Decoder(Part):
    """Prompts on the maps of a picture or frame to masks."""

    name = "decoder"
    inputs = ("embedding", "high_res_0", "high_res_1", "points", "labels", "mask_input", "has_mask_input")
    outputs = ("masks", "iou_scores", "object_scores", "object_pointers")
    axes = {  # noqa: RUF012
        "embedding": {0: ROWS},
        "points": {0: ROWS, 1: POINTS},
        "labels": {0: ROWS, 1: POINTS},
        "mask_input": {0: ROWS},
        "has_mask_input": {0: ROWS},
    }

    def forward(
        self,
        embedding: Tensor,
        high_res_0: Tensor,
        high_res_1: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, ...]:
        """Four masks per object: the single one, steadied as the model does, and three candidates.

        Args:
            embedding: (objects, channels, height, width), a picture's repeated or what memory attention gives.
            high_res_0, high_res_1: of the picture, first axis 1.
            points: (objects, points, 2) as (x, y) in model pixels.
            labels: (objects, points) int64 of `PointLabel`: 1 inside, 0 outside, 2 and 3 corners of a box, -1 no point.
            mask_input: (objects, 1, height, width) logits of an earlier mask, at stride 4.
            has_mask_input: (objects,) bool; where False `mask_input` is not looked at.

        Returns:
            masks (objects, 4, height, width) logits at stride 4, IoU (objects, 4), object score (objects, 1), and with
            memory weights the pointer of each mask (objects, 4, channels).
        """
        model = self.model
        features = ImageFeatures(
            image_embedding=embedding,
            high_res_0=high_res_0,
            high_res_1=high_res_1,
            dense_position=model.get_image_wide_positional_embeddings(),
        )
        encoded = model.encode_prompts(PromptBatch(points=points, labels=labels, mask_logits=mask_input), 1)
        no_mask = model.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        dense = torch.where(has_mask_input[:, None, None, None], encoded.dense, no_mask)
        prompts = PromptEmbeddings(sparse=encoded.sparse, dense=dense)
        drawn = model.mask_decoder.draw(features, prompts)
        single = drawn
        if model.config.mask_decoder_config.dynamic_multimask_via_stability:
            single = model.mask_decoder._stable_single_mask(drawn)
        masks = torch.cat((single.mask_logits[:, :1], drawn.mask_logits[:, 1:]), dim=1)
        scores = torch.cat((single.iou_scores[:, :1], drawn.iou_scores[:, 1:]), dim=1)
        found = masks, scores, drawn.object_score_logits
        if model.config.image_only:
            return found
        return *found, model.object_pointers(drawn.mask_tokens, drawn.object_score_logits[..., None])

    def sample(self, rows: int, points: int, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        embedding, high_res_0, high_res_1 = self._maps(generator)
        side = self.model.config.image_size
        return (
            embedding.repeat(rows, 1, 1, 1) + 0.1 * self._noise(generator, rows, 1, 1, 1),
            high_res_0,
            high_res_1,
            (torch.rand(rows, points, 2, generator=generator) * side).to(torch.float32),
            torch.randint(int(PointLabel.NOT_A_POINT), 4, (rows, points), generator=generator),
            self._noise(generator, rows, 1, side // 4, side // 4),
            torch.arange(rows) % 2 == 1,
        )


class MemoryEncoder(Part):
    """Masks on their frame to what is remembered of them."""

    name = "memory-encoder"
    inputs = ("image_embedding", "masks", "object_scores", "is_prompted")
    outputs = ("memory",)
    axes = {"masks": {0: ROWS}, "object_scores": {0: ROWS}, "is_prompted": {0: ROWS}}  # noqa: RUF012

    def forward(self, image_embedding: Tensor, masks: Tensor, object_scores: Tensor, is_prompted: Tensor) -> Tensor:
        """To (objects, memory channels, height, width).

        Args:
            image_embedding: the raw map of the frame, first axis 1.
            masks: (objects, 1, height, width) logits at stride 4.
            object_scores: (objects, 1); a mask whose score is not above 0 is taken for empty.
            is_prompted: (objects,) bool, whether the mask answers a prompt.
        """
        size = (self.model.config.image_size, self.model.config.image_size)
        seen = torch.where(object_scores[..., None, None] > 0, masks.float(), NO_OBJECT_LOGIT)
        full = F.interpolate(seen, size=size, mode="bilinear", align_corners=False)
        nothing = image_embedding.new_zeros(1)
        features = ImageFeatures(
            image_embedding=image_embedding, high_res_0=nothing, high_res_1=nothing, dense_position=nothing
        )
        return self.model.memorize(features, full, object_scores, is_prompted)

    def sample(self, rows: int, points: int, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        side = self.model.config.image_size // 4
        return (
            self._maps(generator)[0],
            8 * self._noise(generator, rows, 1, side, side),
            self._noise(generator, rows, 1),
            torch.arange(rows) % 2 == 0,
        )


class MemoryAttention(Part):
    """The map of a frame and a bank of memories to a map per object that knows its memory."""

    name = "memory-attention"
    inputs = ("image_embedding", "memory", "memory_time", "has_memory", "pointers", "pointer_time", "has_pointer")
    outputs = ("embedding",)
    axes = {entry: {0: ROWS} for entry in inputs[1:]}  # noqa: RUF012

    def forward(
        self,
        image_embedding: Tensor,
        memory: Tensor,
        memory_time: Tensor,
        has_memory: Tensor,
        pointers: Tensor,
        pointer_time: Tensor,
        has_pointer: Tensor,
    ) -> Tensor:
        """To (objects, channels, height, width).

        Args:
            image_embedding: the raw map of the frame, first axis 1.
            memory: (objects, maps, memory channels, height, width) of the memory encoder; zeros where there is none.
            memory_time: (objects, maps) int64: 0 for a prompted frame, else its slot, the largest the newest frame.
            has_memory: (objects, maps) bool; at least one map per object.
            pointers: (objects, pointers, channels); zeros where there is none.
            pointer_time: (objects, pointers), the distance in frames over the span of pointers.
            has_pointer: (objects, pointers) bool.
        """
        model, attention = self.model, self.model.memory_attention
        batch = MemoryBatch(spatial=memory, spatial_time=memory_time, pointers=pointers, pointer_time=pointer_time)
        tokens, position, num_pointers = model._memory_tokens(batch)
        height, width = image_embedding.shape[-2:]
        parts = num_pointers // self.bank.pointers
        is_there = torch.cat(
            (has_memory.repeat_interleave(height * width, dim=1), has_pointer.repeat_interleave(parts, dim=1)), dim=1
        )
        bias = torch.where(is_there, 0.0, -torch.inf).to(tokens.dtype)[:, None, None]  # exactly nothing after softmax
        current = image_embedding.flatten(2).transpose(1, 2)
        current = current + CURRENT_POSITION_WEIGHT * model.current_position.table.flatten(1).T.to(current.dtype)
        current = current.expand(memory.shape[0], -1, -1)
        rotary = attention.rotary_emb
        for layer in attention.layers:
            normed = layer.layer_norm1(current)
            current = current + layer.self_attn(normed, normed, normed, rotary)
            normed = layer.layer_norm2(current)
            current = current + _attend(layer.cross_attn_image, normed, tokens, position, rotary, num_pointers, bias)
            current = current + layer.linear2(layer.activation(layer.linear1(layer.layer_norm3(current))))
        return attention.layer_norm(current).transpose(1, 2).unflatten(2, (height, width))

    def sample(self, rows: int, points: int, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        config, bank = self.model.config, self.bank
        grid, width = config.grid_size, config.memory_encoder_output_channels
        slot = torch.arange(bank.maps)
        filled = 1 + torch.arange(rows)[:, None]
        return (
            self._maps(generator)[0],
            self._noise(generator, rows, bank.maps, width, grid, grid),
            (slot % bank.memory_frames).expand(rows, -1).contiguous(),
            slot < filled,
            self._noise(generator, rows, bank.pointers, config.hidden_size),
            torch.rand(rows, bank.pointers, generator=generator),
            torch.arange(bank.pointers) < 2 * filled,
        )


def _attend(
    module: nn.Module,
    query: Tensor,
    memory: Tensor,
    position: Tensor,
    rotary: AxialRotaryTable,
    num_pointers: int,
    bias: Tensor,
) -> Tensor:
    """Attention to memory as `Sam2RotaryAttention`, with a bias (rows, 1, 1, tokens) that leaves empty slots out."""
    turned = rotary(split_heads(module.q_proj(query), module.num_heads))
    keys = split_heads(module.k_proj(memory + position), module.num_heads)
    keys = module._rotate_frames(keys, rotary, num_pointers)
    values = split_heads(module.v_proj(memory), module.num_heads)
    attended = F.scaled_dot_product_attention(turned, keys, values, attn_mask=bias)
    return module.o_proj(attended.transpose(1, 2).flatten(2))


PARTS: dict[str, type[Part]] = {part.name: part for part in (ImageEncoder, Decoder, MemoryEncoder, MemoryAttention)}
