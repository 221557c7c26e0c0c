"""`pytest --other-rounding`: every layer rounds a little differently from call to call, as other kernels would.

A test that fails only with it compares the floats of two computations for equality, or hangs on a tie.
"""

import pytest
import torch
from torch import nn

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm)
RELATIVE = 2.0**-23  # one unit in the last place of float32


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--other-rounding", action="store_true", help="let every layer round differently at each call")


@pytest.fixture(autouse=True, scope="session")
def _other_rounding(request: pytest.FixtureRequest):
    """Moves every float32 output of a layer by at most one unit in its last place."""
    if not request.config.getoption("--other-rounding"):
        yield
        return
    generator = torch.Generator().manual_seed(0)  # of its own: the tests' random numbers stay as they are

    def round_otherwise(layer: nn.Module, inputs, output):
        if not isinstance(layer, LAYERS) or output.dtype != torch.float32 or output.device.type != "cpu":
            return None
        if torch.compiler.is_compiling():
            return None
        steps = torch.randint(-1, 2, output.shape, generator=generator)
        return output * (1 + RELATIVE * steps)

    handle = nn.modules.module.register_module_forward_hook(round_otherwise)
    yield
    handle.remove()
