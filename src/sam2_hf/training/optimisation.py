"""Which parameter learns how fast: layer-wise decay, weight decay, freezing, schedule, averaging."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from sam2_hf.errors import ConfigError
from sam2_hf.modeling.hiera import Sam2HieraBlock
from sam2_hf.modeling.layers import DropPath, LayerNorm2d
from sam2_hf.modeling.model import Sam2Model

ENCODER = "vision_encoder."
TRUNK = "vision_encoder.backbone."
POSITION = "pos_embed"
BLOCK = re.compile(r"^vision_encoder\.backbone\.blocks\.(\d+)\.")
PARTS = {  # what `freeze` takes beside prefixes of parameter names
    "image_encoder": (ENCODER,),
    "trunk": (TRUNK,),
    "prompt_encoder": ("prompt_encoder.", "shared_image_embedding."),
    "mask_decoder": ("mask_decoder.",),
    "memory": (
        *("memory_", "mask_downsample.", "no_memory_positional_encoding", "no_object_pointer"),
        *("object_pointer_proj.", "occlusion_spatial_embedding_parameter"),
        "temporal_positional_encoding_projection_layer.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserOptions:
    """AdamW as the recipe has it.

    Attributes:
        learning_rate: of everything but the image encoder.
        encoder_learning_rate: of the image encoder.
        final_share: the learning rate falls along a cosine to this share.
        warmup_steps: linear from 0; the recipe has none.
        layer_decay: factor per block of the trunk, counted from its end; 1 for none.
        weight_decay: not for biases, norms and embeddings.
        decay_like_upstream: decay also the norms of maps, embeddings and layer scales, as the original does.
        clip_norm: limit of the global gradient norm; 0 for none.
    """

    learning_rate: float = 5e-6
    encoder_learning_rate: float = 3e-6
    final_share: float = 0.1
    warmup_steps: int = 0
    layer_decay: float = 0.9
    weight_decay: float = 0.1
    decay_like_upstream: bool = False
    clip_norm: float = 0.1

    def __post_init__(self):
        for name in ("learning_rate", "encoder_learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` is {getattr(self, name)}, but it must be above 0")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"`layer_decay` is {self.layer_decay}, but it must be in (0, 1]")


def freeze(model: Sam2Model, parts: Iterable[str]) -> None:
    """Takes parts out of training: no gradient, and in no parameter group.

    Args:
        parts: "image_encoder", "trunk", "prompt_encoder", "mask_decoder", "memory", or prefixes of parameter names.

    Raises:
        ConfigError: a part that matches no parameter.
    """
    for part in parts:
        prefixes = PARTS.get(part, (part,))
        matched = [parameter for name, parameter in model.named_parameters() if name.startswith(prefixes)]
        if not matched:
            raise ConfigError(f"`freeze` names {part!r}, which matches nothing; parts are {', '.join(PARTS)}")
        for parameter in matched:
            parameter.requires_grad_(False)


def set_dropout(model: Sam2Model, drop_path: float | None, memory_dropout: float | None) -> None:
    """Regularisation of this run; the saved configuration keeps its own."""
    blocks = [module for module in model.modules() if isinstance(module, Sam2HieraBlock)]
    if drop_path is not None:
        for index, block in enumerate(blocks):
            for module in block.modules():
                if isinstance(module, DropPath):
                    module.rate = drop_path * index / max(len(blocks) - 1, 1)
    if memory_dropout is not None and not model.config.image_only:
        for module in model.memory_attention.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = memory_dropout
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = memory_dropout


def is_frozen(module: nn.Module) -> bool:
    """Whether no parameter of a module learns."""
    return not any(parameter.requires_grad for parameter in module.parameters())


def layer_factor(name: str, num_blocks: int, decay: float) -> float:
    """Share of the learning rate that a parameter gets by its depth in the trunk."""
    if not name.startswith(TRUNK) or POSITION in name:
        return 1.0
    block = BLOCK.match(name)
    layer = int(block.group(1)) + 1 if block else 0
    return decay ** (num_blocks + 1 - layer)


def names_without_decay(model: nn.Module, like_upstream: bool = False) -> set[str]:
    """Parameters that weight decay leaves alone."""
    excluded = set()
    for prefix, module in model.named_modules():
        is_norm = isinstance(module, nn.LayerNorm)
        if like_upstream:
            is_norm = type(module) is nn.LayerNorm and not isinstance(module, LayerNorm2d)
        is_embedding = isinstance(module, nn.Embedding) and not like_upstream
        if is_norm or is_embedding:
            excluded |= {f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False)}
    for name, parameter in model.named_parameters():
        is_free = not like_upstream and (parameter.dim() == 1 or _is_embedding_parameter(name))
        if "bias" in name or is_free:
            excluded.add(name)
    return excluded


def _is_embedding_parameter(name: str) -> bool:
    """Embeddings that are parameters of their own: positions, absence, time."""
    last = name.rsplit(".", 1)[-1]
    return last.startswith(("pos_embed", "no_", "occlusion_", "memory_temporal", "positional_embedding"))


def parameter_groups(model: Sam2Model, options: OptimiserOptions, extra: nn.Module | None = None) -> list[dict]:
    """Groups for the optimiser, disjoint, covering every parameter that learns.

    Args:
        extra: learns with the model without being part of it.
    """
    num_blocks = sum(model.config.vision_config.backbone_config.blocks_per_stage)
    without = names_without_decay(model, options.decay_like_upstream)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        base = options.encoder_learning_rate if name.startswith(ENCODER) else options.learning_rate
        rate = base * layer_factor(name, num_blocks, options.layer_decay)
        groups.setdefault((rate, 0.0 if name in without else options.weight_decay), []).append(parameter)
    if extra is not None:
        groups.setdefault((options.learning_rate, 0.0), []).extend(extra.parameters())
    return [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def learning_rate_share(step: int, total: int, options: OptimiserOptions) -> float:
    """Share of each group's learning rate at a step: linear up, then a cosine down to `final_share`."""
    if step < options.warmup_steps:
        return (step + 1) / options.warmup_steps
    progress = min(1.0, (step - options.warmup_steps) / max(1, total - options.warmup_steps))
    return options.final_share + (1 - options.final_share) / 2 * (1 + math.cos(math.pi * progress))


class WeightAverage:
    """An exponential average of the weights, which is what is saved as the model.

    Args:
        model: whose parameters are followed.
        decay: share of the average that stays at every step; it grows to this over the first steps.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.named_parameters():
            self.values[name].lerp_(value.detach(), 1 - decay)

    @torch.no_grad()
    def exchange(self, model: nn.Module) -> None:
        """Swaps the model's weights with the average; a second call swaps them back."""
        for name, value in model.named_parameters():
            average = self.values[name].clone()
            self.values[name].copy_(value)
            value.copy_(average)

    def state_dict(self) -> dict:
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]
        for name, value in state["values"].items():
            self.values[name].copy_(value)
