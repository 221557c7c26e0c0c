"""Methods of parts that `Sam2Model.compile_for_inference` compiles, and when they are used.

Such a method takes tensors whose changing axes (rows, tokens) are named. They are marked where they are larger than 1,
because PyTorch makes a graph of its own for a size of 1; so a part has a graph for one object and one for several,
however many these are. Compiled is what computes, not what a model is: its state dict, its files and its copies know
nothing of it.
"""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder", "memory_attention", "memory_encoder")
COMPILED = "_compiled_parts"  # the attribute of a module whose parts are compiled
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")  # results lie in memory that the next run writes into


@dataclass(frozen=True, kw_only=True)
class CompileSettings:
    """How parts are compiled; see `Sam2Model.compile_for_inference`."""

    backend: str | Callable = "inductor"
    mode: str | None = None
    dynamic: bool = True
    options: dict[str, Any] | None = None

    @property
    def reuses_results(self) -> bool:
        """Whether a run may overwrite what the one before it returned."""
        return self.mode in CUDA_GRAPH_MODES or bool((self.options or {}).get("triton.cudagraphs"))

    def compile(self, method: Callable) -> Callable:
        """The method compiled by PyTorch; nothing is made before its first call."""
        how: dict[str, Any] = {"backend": self.backend, "mode": self.mode, "options": self.options}
        if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
            how["isolate_recompiles"] = True  # each has a limit of its own, which models would share otherwise
        return torch.compile(method, dynamic=None if self.dynamic else False, **how)


@dataclass
class CompiledParts:
    """The compiled methods of one module, by name. A copy has none, and neither has what is read from a file."""

    settings: CompileSettings = field(default_factory=CompileSettings)
    methods: dict[str, Callable] = field(default_factory=dict)

    def __deepcopy__(self, memo) -> "CompiledParts":
        return CompiledParts()

    def __reduce__(self):
        return CompiledParts, ()


def compilable(part: str, **free: tuple[int, ...]) -> Callable:
    """A method that takes tensors, by position, and gives tensors, so that a model can compile it.

    It gets keyword arguments of the library where it is not compiled, and none where it is.

    Args:
        part: which of `PARTS` it belongs to; all such methods of a module belong to one.
        free: the axes of each tensor whose sizes change from call to call, by the tensor's name.
    """

    def decorate(method: Callable) -> Callable:
        names = list(inspect.signature(method).parameters)[1:]
        axes = [free.get(name, ()) for name in names]

        @wraps(method)
        def call(module: nn.Module, *arguments, **kwargs):
            if not is_compiled(module, kwargs):
                return method(module, *arguments, **kwargs)
            parts: CompiledParts = module.__dict__[COMPILED]
            if parts.settings.dynamic:
                arguments = tuple(map(_marked, arguments, axes))
            return _run(parts, method.__name__, arguments)

        call.compiled_with = part  # type: ignore[attr-defined]
        return call

    return decorate


def is_compiled(module: nn.Module, kwargs: dict) -> bool:
    """Whether a call of the module's methods goes to what was compiled.

    It does not where gradients are wanted, in training, where somebody else records a graph, and where the library is
    asked for attentions or hidden states, which its hooks collect layer by layer.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    parts = module.__dict__.get(COMPILED)
    is_used = parts is not None and bool(parts.methods)
    return is_used and not (torch.is_grad_enabled() or module.training or any(kwargs.values()))


def compile_parts(model: nn.Module, settings: CompileSettings, parts: Collection[str] = PARTS) -> None:
    """Compiles these parts of a model and no others; what is compiled in the same way stays as it is."""
    made = {}
    for module in model.modules():
        old: CompiledParts | None = module.__dict__.get(COMPILED)
        kept = old.methods if old is not None and old.settings == settings else {}
        names = _compilable_methods(type(module), parts)
        made[module] = {name: kept.get(name) or settings.compile(_unwrapped(module, name)) for name in names}
    uncompile_parts(model)  # all of them are made, or nothing changes
    for module, methods in made.items():
        if methods:
            module.__dict__[COMPILED] = CompiledParts(settings, methods)


def uncompile_parts(model: nn.Module) -> None:
    """Takes that back."""
    for module in model.modules():
        module.__dict__.pop(COMPILED, None)


def _compilable_methods(kind: type, parts: Collection[str]) -> list[str]:
    named = ((name, inspect.getattr_static(kind, name)) for name in dir(kind))
    return [name for name, method in named if getattr(method, "compiled_with", None) in parts]


def _unwrapped(module: nn.Module, name: str) -> Callable:
    return getattr(type(module), name).__wrapped__.__get__(module)


def _marked(argument, axes: tuple[int, ...]):
    """The argument, its changing axes marked on an object of its own."""
    changing = [axis for axis in axes if argument.shape[axis] > 1] if isinstance(argument, Tensor) else []
    if not changing:
        return argument
    marked = argument.detach()
    torch._dynamo.maybe_mark_dynamic(marked, changing)
    return marked


def _run(parts: CompiledParts, name: str, arguments: tuple):
    on_gpu = any(isinstance(argument, Tensor) and argument.is_cuda for argument in arguments)
    if not (on_gpu and parts.settings.reuses_results):
        return parts.methods[name](*arguments)
    torch.compiler.cudagraph_mark_step_begin()
    return tree_map_only(Tensor, torch.clone, parts.methods[name](*arguments))
