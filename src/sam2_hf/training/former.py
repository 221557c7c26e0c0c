"""What configurations of earlier versions said: left out where it did nothing, refused with the remedy where it did."""

from typing import Any

FORMER_KINDS = {
    "scenes": (
        'moved to the recipes: write "kind": "python" and "root": "scenes.py", with recipes/scenes.py and its '
        'scene_*.py beside this configuration, and what stood in "scenes" as "options": {"scene": {...}}'
    ),
}
_DENSE = (
    'the dense teacher moved to the recipes: write "extra_loss": {"root": "dense.py", "options": '
    '{"weight": 1.0, "until": 1.0}}, with recipes/dense.py beside this configuration'
)
FORMER_FIELDS = {"dense_weight": _DENSE, "dense_until": _DENSE}
LISTS = ("data", "validation", "library")


def without_former(values: Any) -> Any:
    """A run, or an entry of its data, as plain values without fields that are no more and did nothing in it.

    `scenes` stood in every entry and was read for scenes only, whose kind is refused by itself; a dense teacher of
    weight 0 taught nothing.
    """
    if not isinstance(values, dict):
        return values
    idle = {"scenes"} if values.get("dense_weight") else {"scenes", "dense_weight", "dense_until"}
    kept = {name: value for name, value in values.items() if name not in idle}
    for name in LISTS:
        if isinstance(kept.get(name), list):
            kept[name] = [without_former(entry) for entry in kept[name]]
    return kept
