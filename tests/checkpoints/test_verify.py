"""The comparison after a conversion: it passes rounding, and nothing that is wrong."""

import copy

import pytest
import torch

from sam2_hf import Sam2Model
from sam2_hf.checkpoints.key_map import to_hub
from sam2_hf.checkpoints.verify import compare_outputs, verify_folder
from sam2_hf.errors import CheckpointError
from tests.checkpoints.test_conversion import CONFIG, weights

CONSTANTS = ("memory_attention.rotary_emb.table", "current_position.table", "memory_position.table")
WEIGHTS = (
    "vision_encoder.backbone.blocks.0.attn.qkv.weight",
    "mask_decoder.iou_prediction_head.proj_out.weight",
    "memory_encoder.projection.weight",
    "memory_attention.layers.0.linear1.weight",
    "no_memory_embedding",
)


@pytest.fixture(scope="module")
def model() -> Sam2Model:
    return Sam2Model.from_pretrained(None, config=CONFIG, state_dict=to_hub(weights())).eval()


def test_equal_weights_at_unaligned_addresses_are_alike(model):
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        room = torch.empty(parameter.numel() + 1)  # as in a safetensors file, whose header has any length
        room[1:] = parameter.data.flatten()
        parameter.data = room[1:].view(parameter.shape)
    compare_outputs(model, other)


def test_rounding_of_other_kernels_is_alike(model):
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data = torch.nextafter(parameter.data, torch.zeros(()))
    compare_outputs(model, other)


@pytest.mark.parametrize("name", [*CONSTANTS, *WEIGHTS])
def test_one_per_cent_off_in_one_tensor_is_found(model, name):
    other = copy.deepcopy(model)
    tensor = dict([*other.named_parameters(), *other.named_buffers()])[name]
    tensor.data = tensor.data * 1.01
    with pytest.raises(CheckpointError, match="differ after loading back"):
        compare_outputs(model, other)


def test_outputs_that_are_no_numbers_are_found(model):
    other = copy.deepcopy(model)
    other.no_memory_embedding.data = torch.full_like(other.no_memory_embedding, torch.nan)
    with pytest.raises(CheckpointError, match="mask logits differ after loading back by nan"):
        compare_outputs(model, other)


def test_written_weights_must_be_bit_equal(model, tmp_path):
    model.save_pretrained(tmp_path)
    expected = model.state_dict()
    verify_folder(model, tmp_path, expected)
    name = "mask_decoder.iou_token.weight"
    expected = {**expected, name: torch.nextafter(expected[name], torch.zeros(()))}
    with pytest.raises(CheckpointError, match=f"1 tensors differ after loading back, first {name}"):
        verify_folder(model, tmp_path, expected)
