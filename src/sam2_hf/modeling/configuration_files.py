# Copyright 2026 The sam2_hf authors. Licensed under the Apache License, Version 2.0.
"""A configuration as it is read from a file: the field that cannot be meant is named with the file, the value and what
it takes.
"""

import json
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Union

from transformers import PreTrainedConfig

from sam2_hf.errors import CheckpointError

WORDS = {
    int: "a whole number",
    float: "a number with a decimal point",
    bool: "true or false",
    str: "a text",
    dict: "an object in braces",
    type(None): "null",
}
OF_THE_LIBRARY = {  # fields of every configuration
    **dict.fromkeys(("model_type", "transformers_version", "problem_type", "_name_or_path"), str | None),
    **dict.fromkeys(("dtype", "torch_dtype", "attn_implementation", "_attn_implementation"), str | dict | None),
    **dict.fromkeys(("id2label", "label2id", "auto_map", "quantization_config"), dict | None),
    **dict.fromkeys(("output_attentions", "output_hidden_states", "return_dict"), bool | None),
    **dict.fromkeys(("num_labels", "chunk_size_feed_forward"), int | None),
    "architectures": list[str] | None,
}
NO_JSON = (json.JSONDecodeError, UnicodeDecodeError)
REMEDY = "correct it, or take the file of the checkpoint anew"


def read_config(read: Callable[[], Any], name: str) -> Any:
    """What the library reads for a configuration, with errors of the file's text that name the file.

    Args:
        name: of the file, or of its folder or repository and the file.

    Raises:
        CheckpointError: it is no JSON, or no JSON object.
    """
    try:
        found = read()
    except (OSError, ValueError) as error:
        problem = error if isinstance(error, NO_JSON) else error.__context__
        if isinstance(problem, NO_JSON):
            raise CheckpointError(f"{name} is not JSON ({problem}); {REMEDY}") from error
        raise
    except (AttributeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{name} does not hold an object of fields; {REMEDY}") from error
    if not isinstance(found[0] if isinstance(found, tuple) else found, dict):
        raise CheckpointError(f"{name} does not hold an object of fields; {REMEDY}")
    return found


def check_config(values: dict[str, Any], config_class: type[PreTrainedConfig], name: str) -> None:
    """Refuses a file that makes no configuration.

    Args:
        values: what the file holds.
        name: of the file, for the error.

    Raises:
        CheckpointError: a field of another kind than it must be, or a value that no model can have.
    """
    for path, value, expected in _wrong_kinds(values, config_class):
        raise CheckpointError(f"{name}: `{path}` is {value!r}, but it must be {expected}; {REMEDY}")
    error = _error(values, config_class)
    if error is not None:
        raise CheckpointError(f"{name}: {_told(values, config_class, error)}; {REMEDY}") from error


def _wrong_kinds(values: dict[str, Any], config_class: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Fields whose value is of another kind than they take: path, value, what they take."""
    parts = {key: part.config_class for key, part in config_class.sub_configs_defaults.items()}
    for field, hint in {**OF_THE_LIBRARY, **config_class.__annotations__}.items():
        if field not in values or typing.get_origin(hint) is typing.ClassVar:
            continue
        value = values[field]
        if not _is_kind(value, hint):
            yield f"{prefix}{field}", value, _words(hint)
        elif field in parts and isinstance(value, dict):
            yield from _wrong_kinds(value, parts[field], f"{prefix}{field}.")


def _is_kind(value, hint) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is_kind(value, kind) for kind in inner)
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(_is_kind(item, inner[0]) for item in value)
    if hint is list or hint is tuple:
        return isinstance(value, (list, tuple))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, hint)


def _words(hint) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if not isinstance(kind, type) or kind in (*WORDS, list)]
        words = [_words(kind) for kind in kinds if kind not in (int, float) or not {int, float} <= set(kinds)]
        return " or ".join(dict.fromkeys([*(["a number"] if {int, float} <= set(kinds) else []), *words]))
    if origin in (list, tuple):
        return f"a list of {_words(inner[0]).removeprefix('a ')}s"
    return WORDS.get(hint, "a list")


def _error(values: dict[str, Any], config_class: type[PreTrainedConfig]) -> Exception | None:
    """Why there is no such configuration; the classes of the library raise whatever Python does."""
    try:
        config_class.from_dict(values)
    except Exception as error:
        return error
    return None


def _told(values: dict[str, Any], config_class: type[PreTrainedConfig], error: Exception, prefix: str = "") -> str:
    """The error with the path and the value of its field: that of the innermost part that fails on its own."""
    for field, part in config_class.sub_configs_defaults.items():
        inside = values.get(field)
        inner = _error(inside, part.config_class) if isinstance(inside, dict) else None
        if inner is not None:
            return _told(inside, part.config_class, inner, f"{prefix}{field}.")
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if text.startswith("`"):
        return f"`{prefix}{text[1:]}"
    for field, value in values.items():
        if _error({key: other for key, other in values.items() if key != field}, config_class) is None:
            return f"`{prefix}{field}` is {value!r}: {text}"
    return f"{prefix.rstrip('.')} {text}".strip()
