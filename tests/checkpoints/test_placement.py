"""Where a model is loaded to, and in which numbers."""

import pytest
import torch

from sam2_hf.checkpoints import loading
from sam2_hf.checkpoints.loading import LARGE, load
from tests.tiny import saved_micro


@pytest.mark.parametrize(
    ("side", "has_units", "dtype", "found"),
    [
        (LARGE, True, "auto", torch.bfloat16),
        (LARGE, False, "auto", torch.float32),
        (256, True, "auto", torch.float32),
        (LARGE, True, "fp32", torch.float32),
        (256, True, "bf16", torch.bfloat16),
    ],
)
def test_auto_is_bfloat16_where_a_cpu_is_faster_in_it(monkeypatch, tmp_path, side, has_units, dtype, found):
    monkeypatch.setattr(loading, "has_matrix_units", lambda: has_units)
    folder = saved_micro(tmp_path, image_size=side)
    model, _, line = load(folder, device="cpu", dtype=dtype)
    assert model.dtype == found
    assert line.endswith(str(found).removeprefix("torch."))


def test_units_are_only_those_of_kernels_that_may_use_them(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not loading.has_matrix_units()
