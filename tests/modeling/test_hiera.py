import pytest
import torch

from sam2_hf import Sam2Config
from sam2_hf.modeling import hiera
from sam2_hf.modeling.hiera import Sam2HieraTrunk, block_layouts, cut_windows, join_windows, pool_2x2, stage_ends
from sam2_hf.modeling.layers import DropPath
from tests.tiny import micro_config


@pytest.mark.parametrize(
    ("size", "pooling", "windows"),
    [
        ("tiny", [1, 3, 10], [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]),
        ("small", [1, 3, 14], [8, 8, 4, 4, 14, 14, 14, 0, 14, 14, 0, 14, 14, 0, 14, 7]),
        ("large", [2, 8, 44], [8, 8, 8, *[4] * 6, *[16] * 36, 8, 8, 8]),
    ],
)
def test_blocks_stand_where_the_release_has_them(size, pooling, windows):
    config = getattr(Sam2Config, size)().vision_config.backbone_config
    layouts = block_layouts(config)
    for block in config.global_attention_blocks:
        windows[block] = 0
    assert [i for i, layout in enumerate(layouts) if layout.pools] == pooling
    assert [layout.window for layout in layouts] == windows
    assert [layouts[i].out_channels for i in stage_ends(config)] == config.embed_dim_per_stage


def test_drop_path_rises_linearly_to_its_rate():
    trunk = {**micro_config().vision_config.backbone_config.to_dict(), "drop_path_rate": 0.3}
    layouts = block_layouts(type(micro_config().vision_config.backbone_config)(**trunk))
    rates = [layout.drop_path for layout in layouts]
    assert rates == pytest.approx([0.3 * i / 6 for i in range(7)])


@pytest.mark.parametrize(("height", "width", "window"), [(8, 12, 4), (5, 7, 4), (1, 9, 8)])
def test_windows_join_to_what_was_cut(height, width, window):
    feature_map = torch.randn(2, height, width, 3)
    windows, padded = cut_windows(feature_map, window)
    assert windows.shape == (2 * (padded[0] // window) * (padded[1] // window), window, window, 3)
    assert torch.equal(join_windows(windows, padded, (height, width)), feature_map)


def test_windows_come_picture_by_picture_row_by_row():
    feature_map = torch.arange(2 * 4 * 6, dtype=torch.float32).view(2, 4, 6, 1)
    windows, _ = cut_windows(feature_map, 2)
    assert windows[1, :, :, 0].tolist() == [[2, 3], [8, 9]]
    assert windows[3, :, :, 0].tolist() == [[12, 13], [18, 19]]
    assert windows[6, 0, 0, 0] == 24


def test_pooling_takes_the_maximum_of_two_by_two():
    feature_map = torch.tensor([[1.0, 2, 5, 6], [3, 4, 8, 7]]).view(1, 2, 4, 1)
    assert pool_2x2(feature_map).flatten().tolist() == [4, 8]


def test_trunk_gives_four_stages_of_a_picture_that_is_not_square():
    trunk = Sam2HieraTrunk(_eager(micro_config()).vision_config.backbone_config).eval()
    levels = trunk(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [(1, 16, 24, 16), (1, 8, 12, 32), (1, 4, 6, 64), (1, 2, 3, 128)]


def test_position_embedding_is_background_plus_repeated_window():
    trunk = Sam2HieraTrunk(_eager(micro_config()).vision_config.backbone_config)
    torch.nn.init.normal_(trunk.pos_embed_window)
    torch.nn.init.constant_(trunk.pos_embed, 3.0)
    embedding = trunk.position_embedding(16, 24)
    torch.testing.assert_close(embedding[0, 9, 17], 3.0 + trunk.pos_embed_window[0, :, 1, 1])


def _eager(config: Sam2Config) -> Sam2Config:
    config._attn_implementation = "eager"
    return config


def test_dropped_paths_keep_the_mean():
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    kept = layer(torch.ones(4000, 2, 3))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(kept.amin(dim=(1, 2)), kept.amax(dim=(1, 2)))  # whole samples
    assert kept.mean().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("tokens", [1, 100, 700])
def test_strips_give_what_the_whole_map_gives(monkeypatch, batch, tokens):
    """Also where windows do not fit the map, in blocks that pool, and in those that look at everything."""
    torch.manual_seed(0)
    trunk = Sam2HieraTrunk(micro_config().vision_config.backbone_config).eval()
    pixels = torch.randn(batch, 3, 256, 256)
    rows = []
    with torch.inference_mode():
        monkeypatch.setattr(hiera, "STRIP_TOKENS", 10**9)
        whole = trunk(pixels)
        monkeypatch.setattr(hiera, "STRIP_TOKENS", tokens)
        split = hiera.in_strips
        monkeypatch.setattr(hiera, "in_strips", lambda step, maps, n: rows.append(n) or split(step, maps, n))
        strips = trunk(pixels)
    assert rows
    for one, other in zip(whole, strips, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_positions_are_made_anew_where_weights_change_or_learn():
    trunk = Sam2HieraTrunk(micro_config().vision_config.backbone_config).eval()
    with torch.no_grad():
        first = trunk.position_embedding(64, 64)
        assert trunk.position_embedding(64, 64) is first
        trunk.pos_embed.add_(1)
        moved = trunk.position_embedding(64, 64)
        torch.testing.assert_close(moved, first + 1)
        trunk.pos_embed.data.add_(1)  # leaves no trace in the parameter's version
        torch.testing.assert_close(trunk.position_embedding(64, 64), first + 2)
        assert trunk.position_embedding(32, 64).shape == (1, 32, 64, first.shape[-1])
    assert trunk.position_embedding(64, 64).requires_grad


def test_positions_of_inference_can_be_read_where_something_learns():
    trunk = Sam2HieraTrunk(micro_config().vision_config.backbone_config).eval()
    with torch.inference_mode():
        trunk.position_embedding(64, 64)
    with torch.no_grad():
        kept = trunk.position_embedding(64, 64)
    scale = torch.ones(1, requires_grad=True)
    (kept * scale).sum().backward()
    torch.testing.assert_close(scale.grad[0], kept.sum())
