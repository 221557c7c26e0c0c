"""Layers in one pass give what the layers give, and step back where somebody else has a say."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sam2_hf.modeling import fused
from sam2_hf.modeling.blocked_attention import KEYS, QUERIES, blocked_attention
from sam2_hf.modeling.fused import is_free, linear, pointwise
from tests.tiny import micro_model

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("activation", [None, "gelu", "relu"])
@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 4, 8), (0, 8)])
def test_a_fused_layer_gives_what_the_layer_gives(dtype, activation, shape):
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 6).to(dtype), torch.randn(shape).to(dtype)
    expected = layer(x) if activation is None else getattr(F, activation)(layer(x))
    with torch.inference_mode():
        found = linear(layer, x, activation)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_without_the_fused_operation_the_result_is_the_same(monkeypatch):
    layer, x = nn.Linear(8, 6), torch.randn(3, 8)
    with torch.inference_mode():
        expected = linear(layer, x, "gelu")
        monkeypatch.setattr(fused, "FUSED_CALL", None)
        torch.testing.assert_close(linear(layer, x, "gelu"), expected)


def test_a_convolution_of_one_pixel_is_a_product():
    conv, maps = nn.Conv2d(4, 6, 1), torch.randn(2, 3, 5, 4)
    with torch.inference_mode():
        found = pointwise(conv, maps)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), conv(maps.permute(0, 3, 1, 2)))


def test_layers_with_hooks_gradients_or_other_kinds_are_called_as_they_are():
    layer, x = nn.Linear(8, 6), torch.randn(3, 8)
    assert not is_free(layer, x)  # gradients
    with torch.inference_mode():
        assert is_free(layer, x)
        assert not is_free(layer.to(torch.bfloat16), x)
        layer.float()
        handle = layer.register_forward_hook(lambda module, args, output: output + 1)
        torch.testing.assert_close(linear(layer, x), F.linear(x, layer.weight, layer.bias) + 1)
        handle.remove()
        assert is_free(layer, x)

        class Other(nn.Linear):
            pass

        assert not is_free(Other(8, 6), x)
        with torch.autocast("cpu", torch.bfloat16):
            assert not is_free(layer, x)


@pytest.mark.parametrize(("queries", "keys"), [(3, 5), (QUERIES, KEYS), (QUERIES + 7, 2 * KEYS + 3)])
def test_blocks_give_the_attention_of_the_whole(queries, keys):
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, n, 16, generator=generator) for n in (queries, keys))
    value = torch.randn(2, keys, 4, generator=generator)
    query[0, 0] *= 100  # one that looks at a single key
    expected = torch.softmax(query @ key.transpose(1, 2) / 4, dim=-1) @ value
    torch.testing.assert_close(blocked_attention(query, key, value), expected, atol=2e-5, rtol=1e-5)


def test_memory_is_read_alike_by_all_implementations():
    """Values projected before or after they are added up, by blocks, by the fused kernel and written out."""
    from tests.modeling.test_model import memory_of

    model = micro_model()
    with torch.inference_mode():
        features = model.encode_image(torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
        memory = memory_of(model, features, rows=3, frames=2, num_pointers=2)
        found = model.recall(features, memory).image_embedding
    with torch.no_grad(), torch.enable_grad():
        one_pass = model.recall(features_of(features), memory).image_embedding.detach()
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        written_out = model.recall(features, memory).image_embedding
    torch.testing.assert_close(found, one_pass, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, written_out, atol=1e-5, rtol=1e-5)


def features_of(features):
    """The same outside of inference mode."""
    return features.with_embedding(features.image_embedding.clone())
