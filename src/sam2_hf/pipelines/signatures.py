"""Functions whose options are those of settings or of other functions: seen in `help()`, checked by name."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps


def arguments_of(source: Callable) -> dict[str, inspect.Parameter]:
    """The fields of a dataclass, or the keyword-only arguments of a function, by name."""
    if is_dataclass(source):
        return {entry.name: _parameter(entry) for entry in fields(source)}
    parameters = inspect.signature(source).parameters
    return {name: entry for name, entry in parameters.items() if entry.kind is inspect.Parameter.KEYWORD_ONLY}


def takes_arguments_of(*sources: Callable, but: tuple[str, ...] = ()) -> Callable:
    """For a function with `**options`: its signature shows the arguments of others, and unknown names are refused.

    Defaults are those of the sources, which get the values; what was not given is not passed on.

    Args:
        sources: dataclasses, or functions with keyword-only arguments.
        but: arguments of them that this function does not take.

    Raises:
        TypeError: at a call with a name that is none of them.
    """
    shown = {name: entry for source in sources for name, entry in arguments_of(source).items() if name not in but}

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        names = {parameter.name for parameter in own}
        added = [entry for name, entry in shown.items() if name not in names]

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
