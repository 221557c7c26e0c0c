"""Layer decay, weight decay, freezing, schedule and averaging, by name, on configurations of all sizes."""

import pytest
import torch
from torch import nn

from sam2_hf import Sam2Config, Sam2Model
from sam2_hf.training.optimisation import (
    OptimiserOptions,
    WeightAverage,
    freeze,
    layer_factor,
    learning_rate_share,
    names_without_decay,
    parameter_groups,
)
from tests.tiny import micro_model

RECIPE = OptimiserOptions()
BACKBONE = "vision_encoder.backbone."


@pytest.fixture(scope="module", params=["tiny", "small", "base_plus", "large"])
def release(request):
    with torch.device("meta"):
        return Sam2Model(getattr(Sam2Config, request.param)())


def test_layer_factors_follow_the_depth_of_the_trunk(release):
    blocks = len(release.vision_encoder.backbone.blocks)
    factor = {name: layer_factor(name, blocks, 0.9) for name, _ in release.named_parameters()}
    assert factor[f"{BACKBONE}blocks.{blocks - 1}.attn.qkv.weight"] == pytest.approx(0.9)
    assert factor[f"{BACKBONE}blocks.0.attn.qkv.weight"] == pytest.approx(0.9**blocks)
    assert factor[f"{BACKBONE}patch_embed.projection.weight"] == pytest.approx(0.9 ** (blocks + 1))
    assert factor[f"{BACKBONE}pos_embed"] == factor[f"{BACKBONE}pos_embed_window"] == 1
    assert factor["vision_encoder.neck.convs.0.weight"] == factor["mask_decoder.iou_token.weight"] == 1


def test_groups_are_disjoint_and_cover_everything(release):
    groups = parameter_groups(release, RECIPE)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(release.parameters()))


def test_base_plus_has_the_groups_of_the_original():
    """The original has 55: it keeps position embeddings apart from the neck, whose rate and decay are the same."""
    with torch.device("meta"):
        model = Sam2Model(Sam2Config.base_plus())
    assert len(parameter_groups(model, OptimiserOptions(decay_like_upstream=True))) == 54


def test_decay_leaves_out_biases_norms_and_embeddings(release):
    without = names_without_decay(release)
    for name in (
        f"{BACKBONE}blocks.0.layer_norm1.weight",
        f"{BACKBONE}pos_embed",
        "mask_decoder.upscale_layer_norm.weight",
        "mask_decoder.iou_token.weight",
        "no_memory_embedding",
        "memory_temporal_positional_encoding",
        "memory_encoder.memory_fuser.layers.0.scale",
        "mask_downsample.bias",
    ):
        assert name in without, name
    for name in (
        f"{BACKBONE}blocks.0.attn.qkv.weight",
        "mask_decoder.conv_s0.weight",
        "object_pointer_proj.proj_in.weight",
    ):
        assert name not in without


def test_the_original_decays_norms_of_maps_embeddings_and_scales(release):
    without = names_without_decay(release, like_upstream=True)
    for name in (
        "mask_decoder.upscale_layer_norm.weight",
        "mask_decoder.iou_token.weight",
        "memory_encoder.memory_fuser.layers.0.scale",
        f"{BACKBONE}pos_embed",
    ):
        assert name not in without, name
    assert f"{BACKBONE}blocks.0.layer_norm1.weight" in without
    assert "mask_downsample.bias" in without


def test_frozen_parts_are_in_no_group():
    model = micro_model(image_size=64)
    freeze(model, ("image_encoder", "memory", "mask_decoder.iou_token"))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    prefixes = {name.split(".")[0] for name in learning}
    assert prefixes == {"mask_decoder", "prompt_encoder", "no_memory_embedding", "shared_image_embedding"} & prefixes
    assert "mask_decoder" in prefixes
    assert "mask_decoder.iou_token.weight" not in learning
    grouped = {id(parameter) for group in parameter_groups(model, RECIPE) for parameter in group["params"]}
    assert grouped == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_a_part_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'encoder', which matches nothing"):
        freeze(micro_model(image_size=64), ["encoder"])


def test_schedule_is_a_cosine_to_a_tenth_after_a_linear_start():
    options = OptimiserOptions(warmup_steps=10)
    shares = [learning_rate_share(step, 110, options) for step in range(111)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[9] == shares[10] == 1
    assert shares[60] == pytest.approx(0.55)
    assert shares[110] == pytest.approx(0.1)
    assert learning_rate_share(0, 100, RECIPE) == 1  # the recipe has no warm-up


def test_average_follows_the_weights_and_can_be_exchanged():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    average = WeightAverage(layer, decay=0.5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for _ in range(20):
        average.update(layer)
    average.exchange(layer)
    assert 0.99 < layer.weight.item() < 1.0
    average.exchange(layer)
    assert layer.weight.item() == 1.0


def test_rates_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`learning_rate` is 0"):
        OptimiserOptions(learning_rate=0)
    with pytest.raises(ValueError, match=r"`layer_decay` is 1\.5"):
        OptimiserOptions(layer_decay=1.5)
