import math

import pytest
import torch

from sam2_hf.modeling.position_embedding import (
    AxialRotaryTable,
    FourierEmbedding,
    SineTable,
    sine_encoding_1d,
    sine_encoding_2d,
)
from tests.numbers import alike, differ

CHANNELS, HEIGHT, WIDTH = 16, 5, 7


def test_sine_2d_equals_the_formula_cell_by_cell():
    encoding = sine_encoding_2d(CHANNELS, HEIGHT, WIDTH)
    half = CHANNELS // 2
    for row, column, m in ((0, 0, 0), (4, 2, 1), (2, 6, 3)):
        y, x = (
            2 * math.pi * (p + 1) / (n + 1e-6) / 10000 ** (2 * m / half) for p, n in ((row, HEIGHT), (column, WIDTH))
        )
        expected = [math.sin(y), math.cos(y), math.sin(x), math.cos(x)]
        found = encoding[[2 * m, 2 * m + 1, half + 2 * m, half + 2 * m + 1], row, column]
        torch.testing.assert_close(found, torch.tensor(expected))


def test_sine_1d_has_all_sines_before_all_cosines():
    encoding = sine_encoding_1d(torch.tensor([0.0, 0.5]), 8)
    assert encoding[0].tolist() == [0.0] * 4 + [1.0] * 4
    torch.testing.assert_close(encoding[1, 0], encoding[1, 1])  # every frequency occurs twice
    torch.testing.assert_close(encoding[1, 2], torch.tensor(0.5 / 100).sin())


def test_fourier_features_of_a_grid_are_those_of_its_cell_centres():
    embedding = FourierEmbedding(CHANNELS, scale=1.0)
    grid = embedding.grid(HEIGHT, WIDTH)
    assert grid.shape == (1, CHANNELS, HEIGHT, WIDTH)
    centre = torch.tensor([(6 + 0.5) / WIDTH, (2 + 0.5) / HEIGHT])
    torch.testing.assert_close(grid[0, :, 2, 6], embedding(centre))


def test_rotation_turns_neighbouring_channels_by_column_then_row():
    table = AxialRotaryTable(CHANNELS, HEIGHT, WIDTH, theta=10000.0)
    tokens = torch.zeros(1, HEIGHT * WIDTH, CHANNELS)
    tokens[..., 0::2] = 1.0  # each pair is (1, 0), so the result is (cos, sin)
    turned = table(tokens)[0, 3 * WIDTH + 5]
    frequencies = [10000.0 ** (-4 * i / CHANNELS) for i in range(CHANNELS // 4)]
    angles = torch.tensor([5 * f for f in frequencies] + [3 * f for f in frequencies])
    torch.testing.assert_close(turned[0::2], angles.cos())
    torch.testing.assert_close(turned[1::2], angles.sin())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tables_stay_float32_when_the_model_is_cast(dtype):
    fourier = FourierEmbedding(CHANNELS, scale=1.0)
    matrix = fourier.positional_embedding.clone()
    tables = torch.nn.ModuleList(
        [fourier, SineTable(CHANNELS, HEIGHT, WIDTH), AxialRotaryTable(CHANNELS, HEIGHT, WIDTH, 10000.0)]
    ).to(dtype)
    assert {buffer.dtype for buffer in tables.buffers()} == {torch.float32}
    assert torch.equal(fourier.positional_embedding, matrix)


def test_points_one_pixel_apart_differ_in_a_bfloat16_model():
    embedding = FourierEmbedding(256, scale=1.0).to(torch.bfloat16)
    first, second = embedding(torch.tensor([[500.5, 375.5], [501.5, 375.5]]) / 1024)
    assert differ(first, second)
    exact = FourierEmbedding(256, scale=1.0)
    exact.load_state_dict(embedding.state_dict())
    assert alike(exact(torch.tensor([500.5, 375.5]) / 1024), first)


def test_fourier_features_are_float32_under_autocast():
    embedding = FourierEmbedding(CHANNELS, scale=1.0)
    points = torch.rand(4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = embedding(points)
    assert alike(under, embedding(points))
