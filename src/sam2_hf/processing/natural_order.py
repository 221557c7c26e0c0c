"""The order of names in which people count."""

import re


def natural_key(name: str) -> list:
    """Sorts numbers inside names as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part.lower()) for part in parts if part]
