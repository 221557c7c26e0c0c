"""Functions whose options are the fields of settings: seen in `help()`, checked by name."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps


def takes_fields_of(*classes: type) -> Callable:
    """For a function with `**options`: its signature shows the fields of dataclasses, and unknown names are refused.

    Defaults are those of the dataclasses, which make the settings; what was not given is not passed on.

    Raises:
        TypeError: at a call with a name that is none of them.
    """
    shown = {entry.name: entry for settings in classes for entry in fields(settings)}

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        names = {parameter.name for parameter in own}
        added = [_parameter(entry) for name, entry in shown.items() if name not in names]

        @wraps(function)
        def call(*args, **kwargs):
            unknown = next((name for name in kwargs if name not in names and name not in shown), None)
            if unknown is not None:
                close = difflib.get_close_matches(unknown, [*names, *shown], n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(shown)}"
                raise TypeError(f"{function.__qualname__}() takes no {unknown!r}{hint}")
            return function(*args, **kwargs)

        call.__signature__ = signature.replace(parameters=[*own, *added])
        return call

    return decorate


def _parameter(entry) -> inspect.Parameter:
    default = entry.default if entry.default is not MISSING else entry.default_factory()
    return inspect.Parameter(entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=entry.type)
