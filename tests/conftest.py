"""`pytest --other-rounding`: every layer rounds a little differently from call to call, as other kernels would.

A test that fails only with it compares the floats of two computations for equality, or hangs on a tie.
"""

import os
from functools import wraps

import pytest
import torch
from torch import nn

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm)
RELATIVE = 2.0**-23  # one unit in the last place of float32
CAPABILITY = "ATEN_CPU_CAPABILITY"

for _setting in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # servers of the tests are on this machine
    os.environ.pop(_setting, None)  # before the library that reads it is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--other-rounding", action="store_true", help="let every layer round differently at each call")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With kernels of an older CPU PyTorch still packs half-precision weights for the one that is there, and fails."""
    if CAPABILITY in os.environ:
        skipped = pytest.mark.skip(reason=f"half precision mixes kernels of two CPUs under {CAPABILITY}")
        for item in items:
            if "half_precision" in item.name:
                item.add_marker(skipped)


@pytest.fixture(autouse=True, scope="session")
def _other_rounding(request: pytest.FixtureRequest):
    """Moves every float32 output of a layer by at most one unit in its last place."""
    if not request.config.getoption("--other-rounding"):
        yield
        return
    generator = torch.Generator().manual_seed(0)  # of its own: the tests' random numbers stay as they are
    originals = {layer: layer.forward for layer in LAYERS}
    for layer, forward in originals.items():
        layer.forward = _rounding_otherwise(forward, generator)
    yield
    for layer, forward in originals.items():
        layer.forward = forward


def _rounding_otherwise(forward, generator: torch.Generator):
    @wraps(forward)
    def rounded(*args, **kwargs):
        output = forward(*args, **kwargs)
        if torch.compiler.is_compiling() or output.dtype != torch.float32 or output.device.type != "cpu":
            return output
        return output * (1 + RELATIVE * torch.randint(-1, 2, output.shape, generator=generator))

    return rounded
