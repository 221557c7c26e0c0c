"""Linear layers with their bias and activation in one pass over the result, where the CPU's library has that.

It is what compiled models use (oneDNN, through PyTorch); elsewhere, and wherever somebody else has a say in the layer
(gradients, autocast, hooks, adapters, offloaded weights), the layer is called as it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as _modules

SCHEMA = (
    "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"
)
FUSED = {None: ("none", ""), "gelu": ("gelu", "none"), "relu": ("relu", "")}  # activation -> attribute and algorithm


def _fused_operation():
    """PyTorch's fused operation, None in builds without it or with another signature."""
    try:
        operation = torch.ops.mkldnn._linear_pointwise.default
    except (AttributeError, RuntimeError):
        return None
    return operation if str(operation._schema) == SCHEMA else None


FUSED_CALL = _fused_operation()


def is_free(layer: nn.Module, x: Tensor) -> bool:
    """Whether a layer on a CPU may be replaced by its arithmetic: nothing but its weights decides what it does."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    weight = layer.weight
    is_plain = type(layer) in (nn.Linear, nn.Conv2d) and weight.device.type == "cpu" and weight.dtype == x.dtype
    has_hooks = bool(layer._forward_hooks or layer._forward_pre_hooks or "forward" in layer.__dict__)
    return is_plain and not has_hooks and not _modules._has_any_global_hook() and not torch.is_autocast_enabled("cpu")


def linear(layer: nn.Linear, x: Tensor, activation: str | None = None) -> Tensor:
    """`activation(layer(x))`, (..., in) to (..., out).

    Args:
        activation: None, "gelu" or "relu".
    """
    if is_free(layer, x):
        return _product(x, layer.weight, layer.bias, activation)
    y = layer(x)
    return y if activation is None else getattr(F, activation)(y)


def pointwise(conv: nn.Conv2d, feature_map: Tensor) -> Tensor:
    """A convolution of 1 x 1 on a channels-last map, (n, height, width, in) to (n, height, width, out)."""
    if is_free(conv, feature_map):
        return _product(feature_map, conv.weight.flatten(1), conv.bias)
    return conv(feature_map.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> Tensor:
    if FUSED_CALL is None or not _is_supported(x.dtype):
        y = F.linear(x, weight, bias)
        return y if activation is None else getattr(F, activation)(y)
    attribute, algorithm = FUSED[activation]
    rows = x.reshape(-1, x.shape[-1])
    return FUSED_CALL(rows, weight, bias, attribute, [], algorithm).unflatten(0, x.shape[:-1])


def _is_supported(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32
