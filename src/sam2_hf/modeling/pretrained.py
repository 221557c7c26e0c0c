# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""What loading, saving and initialisation need to know of SAM 2, and the image encoder as a model of its own."""

import math
import pickle
import traceback
from typing import NoReturn

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from sam2_hf.errors import CheckpointError
from sam2_hf.modeling.compiling import compilable
from sam2_hf.modeling.configuration import Sam2Config, Sam2VisionConfig
from sam2_hf.modeling.hiera import Sam2HieraAttention, Sam2HieraBlock, Sam2HieraTrunk
from sam2_hf.modeling.memory_encoder import Sam2MemoryFuserBlock
from sam2_hf.modeling.neck import Sam2Neck
from sam2_hf.modeling.outputs import Sam2VisionEncoderOutput
from sam2_hf.modeling.position_embedding import AxialRotaryTable, FourierEmbedding, SineTable

REFUSED_PICKLE = (
    "holds more than tensors and is not unpickled, because that could run any code; ask for safetensors, or let "
    "whoever made the file save the tensors alone: torch.save(model.state_dict(), ...)"
)
READERS = ("torch/serialization.py", "torch/_weights_only_unpickler.py", "safetensors/torch.py")


class Sam2PreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation for everything in SAM 2."""

    config: Sam2Config
    base_model_prefix = "sam2"
    main_input_name = "pixel_values"
    model_tags = ["sam2", "segment-anything", "mask-generation", "sam2_hf"]  # noqa: RUF012, on the Hub
    input_modalities = ("image",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    supports_gradient_checkpointing = True
    _no_split_modules = ["Sam2HieraBlock", "Sam2TwoWayBlock", "Sam2MemoryAttentionLayer"]  # noqa: RUF012

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in any model of the library, from a folder or a Hub repository.

        Raises:
            CheckpointError: configuration or weights that cannot be read.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except Exception as error:  # each reader of weight files raises its own kinds
            if not isinstance(error, CheckpointError) and _is_of_reading(error):
                _refuse(f"{pretrained_model_name_or_path}: the weights", error)
            raise

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The layers' own defaults of PyTorch, and what SAM 2 does for its embeddings."""
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = 1 / math.sqrt(nn.init._calculate_fan_in_and_fan_out(module.weight)[0])
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, Sam2HieraTrunk):
            init.zeros_(module.pos_embed)
            init.zeros_(module.pos_embed_window)
        elif isinstance(module, Sam2MemoryFuserBlock):
            init.constant_(module.scale, module.initial_scale)
        elif isinstance(module, FourierEmbedding):
            init.normal_(module.positional_embedding, std=module.scale)
        elif isinstance(module, (SineTable, AxialRotaryTable)):
            init.copy_(module.table, module.compute())
        elif isinstance(module, PreTrainedModel):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, std=self.config.initializer_range)


class Sam2VisionModel(Sam2PreTrainedModel):
    """The image encoder alone: trunk and feature pyramid."""

    config: Sam2VisionConfig
    base_model_prefix = "vision_encoder"  # its name in the whole model, so that a checkpoint of that loads here too
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": Sam2HieraBlock,
        "attentions": OutputRecorder(Sam2HieraAttention, index=1),
    }

    def __init__(self, config: Sam2VisionConfig):
        super().__init__(config)
        inherit_attention(config, config.backbone_config)
        self.backbone = Sam2HieraTrunk(config.backbone_config)
        self.neck = Sam2Neck(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.patch_embed

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> Sam2VisionEncoderOutput:
        """Encodes (batch, 3, image_size, image_size), normalised as the processor does.

        Raises:
            ValueError: pixel values of another size than the configuration's.
        """
        size = tuple(self.config.backbone_config.image_size)
        if pixel_values.dim() != 4 or tuple(pixel_values.shape[-2:]) != size:
            raise ValueError(
                f"`pixel_values` must be (batch, {self.config.backbone_config.num_channels}, {size[0]}, {size[1]}), "
                f"got {tuple(pixel_values.shape)}; resize with the processor, or load the model "
                "with another `image_size`"
            )
        deepest, maps = self._encode(pixel_values.to(self.dtype), **kwargs)
        return Sam2VisionEncoderOutput(last_hidden_state=deepest, fpn_hidden_states=maps)

    @compilable("image_encoder", pixel_values=(0,))
    def _encode(self, pixel_values: Tensor, **kwargs) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The trunk's last stage, and the maps of the pyramid."""
        levels = self.backbone(pixel_values, **kwargs)
        return levels[-1], self.neck(levels)


def _is_of_reading(error: Exception) -> bool:
    """Whether an error comes from reading a weight file, and not from what was asked."""
    if isinstance(error, pickle.UnpicklingError) or type(error).__name__ == "SafetensorError":
        return True
    files = [frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)]
    return any(file.endswith(READERS) for file in files)


def _refuse(what: str, error: Exception) -> NoReturn:
    """Raises `CheckpointError` without PyTorch's text where that advises to unpickle anything."""
    if isinstance(error, pickle.UnpicklingError):
        raise CheckpointError(f"{what} are in a file that {REFUSED_PICKLE}") from None
    raise CheckpointError(f"{what} are damaged or cut off; download them again") from error


def inherit_attention(config: PreTrainedConfig, part: PreTrainedConfig) -> None:
    """Parts that are no models of their own use the attention of the model around them, unless one was named."""
    if part._attn_implementation is None:
        part._attn_implementation = config._attn_implementation
