"""Whole jobs on pictures and videos, and their results. Importing it registers our tasks with transformers.

They are registered as soon as the pipelines of transformers are loaded, now or later: most of what is in here needs
none of them, and loading them takes a third of a second.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

LIBRARY_PIPELINES = "transformers.pipelines"
REGISTRY = "sam2_hf.pipelines.registry"  # registers our tasks when it is imported
ITS_OWN = (REGISTRY, "sam2_hf.pipelines.task")


class _RegisterOnceLoaded(MetaPathFinder):
    """Finds the library's pipelines as ever, and registers our tasks when their module has run."""

    def find_spec(self, name, path=None, target=None):
        if name != LIBRARY_PIPELINES or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module) -> None:
                run(module)
                if not any(name in sys.modules for name in ITS_OWN):  # else one of them is loading the library
                    import_module(REGISTRY)

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


if LIBRARY_PIPELINES in sys.modules:
    import_module(REGISTRY)
else:
    sys.meta_path.insert(0, _RegisterOnceLoaded())
