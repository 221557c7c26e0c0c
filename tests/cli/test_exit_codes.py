"""What an error at the top of a command means."""

import pytest
import torch

from sam2_hf import errors
from sam2_hf.cli.exit_codes import ExitCode, code_for


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a mistake of ours"), ExitCode.UNEXPECTED),
        (RuntimeError("shapes do not match"), ExitCode.UNEXPECTED),
        (errors.PromptError(), ExitCode.USAGE),
        (errors.ConfigError(), ExitCode.USAGE),
        (errors.DecodeError(), ExitCode.NO_INPUT),
        (errors.CheckpointMismatchError(), ExitCode.MODEL),
        (errors.MissingExtraError(), ExitCode.MODEL),
        (errors.OutputExistsError(), ExitCode.OUTPUT),
        (errors.ConfigChangedError(), ExitCode.OUTPUT),
        (MemoryError(), ExitCode.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), ExitCode.MEMORY),
        (RuntimeError("MPS backend out of memory"), ExitCode.MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"), ExitCode.MEMORY),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_every_error_has_its_code(error, code):
    assert code_for(error) == code
