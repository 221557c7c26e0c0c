"""Python files that a recipe brings along beside it."""

import importlib.util
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from sam2_hf.errors import ConfigError, SourceError


def opener(path: Path, signature: str, returned: str) -> Callable:
    """The function of a file.

    Args:
        signature: of the function, as messages show it.
        returned: what it returns, for messages.

    Raises:
        SourceError: there is no such file.
        ConfigError: it has no such function.
    """
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file, but the run takes {returned} from it")
    found = getattr(_module(path), signature.partition("(")[0], None)
    if not callable(found):
        raise ConfigError(f"{path}: has no function `{signature}` that returns {returned}")
    return found


def _module(path: Path):
    """The file as a module; files beside it can be imported by it, and classes of it by worker processes."""
    name = f"sam2_hf_recipe_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
