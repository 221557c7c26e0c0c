"""One table of parameter names, original layout on the left, Hub layout on the right, used in both directions.

Every pattern is anchored at both ends, so the order of rows cannot matter for what matches. It matters for one thing:
rows stand in the order of the original files, and that is the order in which `to_original` returns tensors.

Placeholders: `{n}` a number, `{x}` one of q k v, `{tail}` weight or bias. Both sides of a row use the same ones.
"""

import re
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from sam2_hf.errors import CheckpointError
from sam2_hf.modeling.position_embedding import FOURIER_COPY, FOURIER_MATRIX

Names = dict[str, Tensor]

_TRUNK = ("image_encoder.trunk.", "vision_encoder.backbone.")
_BLOCK = ("image_encoder.trunk.blocks.{n}.", "vision_encoder.backbone.blocks.{n}.")
_MEMORY_LAYER = ("memory_attention.layers.{n}.", "memory_attention.layers.{n}.")
_FUSER_LAYER = ("memory_encoder.fuser.layers.{n}.", "memory_encoder.memory_fuser.layers.{n}.")
_DECODER = ("sam_mask_decoder.", "mask_decoder.")
_TWO_WAY = ("sam_mask_decoder.transformer.layers.{n}.", "mask_decoder.transformer.layers.{n}.")


def _rows(prefixes: tuple[str, str], *tails: tuple[str, str] | str) -> list[tuple[str, str]]:
    pairs = [(tail, tail) if isinstance(tail, str) else tail for tail in tails]
    return [(prefixes[0] + original, prefixes[1] + hub) for original, hub in pairs]


def _attention(name: str) -> list[tuple[str, str]]:
    return [(f"{name}.{{x}}_proj.{{tail}}",) * 2, (f"{name}.out_proj.{{tail}}", f"{name}.o_proj.{{tail}}")]


def _mlp(original: str, hub: str) -> list[tuple[str, str]]:
    targets = ("proj_in", "layers.0", "proj_out")
    return [(f"{original}.layers.{i}.{{tail}}", f"{hub}.{target}.{{tail}}") for i, target in enumerate(targets)]


KEY_MAP: list[tuple[str, str]] = [
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    *_rows(_TRUNK, "pos_embed", "pos_embed_window", ("patch_embed.proj.{tail}", "patch_embed.projection.{tail}")),
    *_rows(
        _BLOCK,
        ("norm1.{tail}", "layer_norm1.{tail}"),
        "attn.qkv.{tail}",
        "attn.proj.{tail}",
        ("norm2.{tail}", "layer_norm2.{tail}"),
        ("mlp.layers.0.{tail}", "mlp.proj_in.{tail}"),
        ("mlp.layers.1.{tail}", "mlp.proj_out.{tail}"),
        "proj.{tail}",
    ),
    ("image_encoder.neck.convs.{n}.conv.{tail}", "vision_encoder.neck.convs.{n}.{tail}"),
    ("mask_downsample.{tail}", "mask_downsample.{tail}"),
    *_rows(
        _MEMORY_LAYER,
        *_attention("self_attn"),
        *_attention("cross_attn_image"),
        "linear1.{tail}",
        "linear2.{tail}",
        ("norm1.{tail}", "layer_norm1.{tail}"),
        ("norm2.{tail}", "layer_norm2.{tail}"),
        ("norm3.{tail}", "layer_norm3.{tail}"),
    ),
    ("memory_attention.norm.{tail}", "memory_attention.layer_norm.{tail}"),
    *(
        (
            f"memory_encoder.mask_downsampler.encoder.{3 * i + j}.{{tail}}",
            f"memory_encoder.mask_downsampler.layers.{i}.{m}.{{tail}}",
        )
        for i in range(4)
        for j, m in enumerate(("conv", "layer_norm"))
    ),
    ("memory_encoder.mask_downsampler.encoder.12.{tail}", "memory_encoder.mask_downsampler.final_conv.{tail}"),
    ("memory_encoder.pix_feat_proj.{tail}", "memory_encoder.feature_projection.{tail}"),
    *_rows(
        _FUSER_LAYER,
        ("gamma", "scale"),
        ("dwconv.{tail}", "depthwise_conv.{tail}"),
        ("norm.{tail}", "layer_norm.{tail}"),
        ("pwconv1.{tail}", "pointwise_conv1.{tail}"),
        ("pwconv2.{tail}", "pointwise_conv2.{tail}"),
    ),
    ("memory_encoder.out_proj.{tail}", "memory_encoder.projection.{tail}"),
    ("sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    ("sam_prompt_encoder.point_embeddings.{n}.weight", "prompt_encoder.point_embed.{n}"),  # the rows of one tensor
    ("sam_prompt_encoder.not_a_point_embed.weight", "prompt_encoder.not_a_point_embed.weight"),
    *(
        (f"sam_prompt_encoder.mask_downscaling.{i}.{{tail}}", f"prompt_encoder.mask_embed.{name}.{{tail}}")
        for i, name in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3"))
    ),
    ("sam_prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
    *_rows(
        _TWO_WAY,
        *_attention("self_attn"),
        ("norm1.{tail}", "layer_norm1.{tail}"),
        *_attention("cross_attn_token_to_image"),
        ("norm2.{tail}", "layer_norm2.{tail}"),
        ("mlp.layers.0.{tail}", "mlp.proj_in.{tail}"),
        ("mlp.layers.1.{tail}", "mlp.proj_out.{tail}"),
        ("norm3.{tail}", "layer_norm3.{tail}"),
        ("norm4.{tail}", "layer_norm4.{tail}"),
        *_attention("cross_attn_image_to_token"),
    ),
    *_rows(_DECODER, *((f"transformer.{a}", f"transformer.{b}") for a, b in _attention("final_attn_token_to_image"))),
    *_rows(
        _DECODER,
        ("transformer.norm_final_attn.{tail}", "transformer.layer_norm_final_attn.{tail}"),
        "iou_token.weight",
        "mask_tokens.weight",
        "obj_score_token.weight",
        ("output_upscaling.0.{tail}", "upscale_conv1.{tail}"),
        ("output_upscaling.1.{tail}", "upscale_layer_norm.{tail}"),
        ("output_upscaling.3.{tail}", "upscale_conv2.{tail}"),
        "conv_s0.{tail}",
        "conv_s1.{tail}",
        *_mlp("output_hypernetworks_mlps.{n}", "output_hypernetworks_mlps.{n}"),
        *_mlp("iou_prediction_head", "iou_prediction_head"),
        *_mlp("pred_obj_score_head", "pred_obj_score_head"),
    ),
    *_mlp("obj_ptr_proj", "object_pointer_proj"),
    ("obj_ptr_tpos_proj.{tail}", "temporal_positional_encoding_projection_layer.{tail}"),
]

POINT_EMBEDDING = "prompt_encoder.point_embed.weight"
_PLACEHOLDERS = {"n": r"\d+", "x": "[qkv]", "tail": "weight|bias"}


def to_hub(original: Names) -> Names:
    """Renames an original state dict. Nothing is transposed or rescaled; four point embeddings become one tensor.

    Raises:
        CheckpointError: a name that no SAM 2 checkpoint has.
    """
    hub = {hub_name(name): tensor for name, tensor in original.items()}
    rows = sorted(name for name in hub if _point_embedding_row(name) is not None)
    if rows:
        hub[POINT_EMBEDDING] = torch.cat([hub.pop(name) for name in rows])
    if FOURIER_MATRIX in hub:
        hub[FOURIER_COPY] = hub[FOURIER_MATRIX].clone()
    return hub


def to_original(hub: Names) -> Names:
    """Renames a Hub state dict into the order of the original files, with one copy of the Fourier matrix.

    Raises:
        CheckpointError: a name that no SAM 2 checkpoint has, or two copies of the Fourier matrix that differ.
    """
    hub = with_fourier_copies(hub)
    hub.pop(FOURIER_COPY, None)
    if POINT_EMBEDDING in hub:
        embeddings = hub.pop(POINT_EMBEDDING)
        hub.update({f"prompt_encoder.point_embed.{row}": embeddings[row : row + 1] for row in range(len(embeddings))})
    renamed = {original_name(name): tensor for name, tensor in hub.items()}
    return {name: renamed[name].contiguous().clone() for name in sorted(renamed, key=_original_order)}


def with_fourier_copies(hub: Names) -> Names:
    """A Hub state dict with both copies of the Fourier matrix, restored from the other where one is missing."""
    hub = dict(hub)
    if FOURIER_MATRIX in hub and FOURIER_COPY in hub and not torch.equal(hub[FOURIER_MATRIX], hub[FOURIER_COPY]):
        raise CheckpointError(
            f"{FOURIER_MATRIX} and {FOURIER_COPY} differ, but they are one matrix; the file is damaged"
        )
    for name, other in ((FOURIER_MATRIX, FOURIER_COPY), (FOURIER_COPY, FOURIER_MATRIX)):
        if name not in hub and other in hub:
            hub[name] = hub[other].clone()
    return hub


def hub_name(original: str) -> str:
    """Hub name of one original name; the four point embeddings get a row number at the end."""
    return _rename(original, source=0)


def original_name(hub: str) -> str:
    """Original name of one Hub name."""
    return _rename(hub, source=1)


def _rename(name: str, source: int) -> str:
    for row, match in _matches(name, source):
        return KEY_MAP[row][1 - source].format(**match.groupdict())
    layout = ("original", "Hub")[source]
    raise CheckpointError(f"{name!r} is not a parameter of SAM 2 in the {layout} layout")


def _matches(name: str, source: int) -> Iterator[tuple[int, re.Match]]:
    for row, pattern in enumerate(_patterns(source)):
        if match := pattern.fullmatch(name):
            yield row, match


@cache
def _patterns(source: int) -> list[re.Pattern]:
    return [_compile(row[source]) for row in KEY_MAP]


def _compile(template: str) -> re.Pattern:
    parts = re.split(r"\{(\w+)\}", template)
    groups = [f"(?P<{part}>{_PLACEHOLDERS[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts)]
    return re.compile("".join(groups))


def _point_embedding_row(name: str) -> str | None:
    prefix, _, row = name.rpartition(".")
    return row if prefix == POINT_EMBEDDING.removesuffix(".weight") and row.isdigit() else None


def _original_order(name: str) -> tuple:
    """Sorts as the original files do: repeated modules one after the other, their parts in the order of the table."""
    row, match = next(_matches(name, source=0))
    stem, repeated, _ = KEY_MAP[row][0].partition("{n}")
    first = (
        next(i for i, (original, _) in enumerate(KEY_MAP) if original.startswith(stem + repeated)) if repeated else row
    )
    found = match.groupdict()
    return first, int(found.get("n", 0)), row, "qkv".find(found.get("x", "q")), found.get("tail") == "bias"
