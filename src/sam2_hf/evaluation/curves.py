"""Numbers of a curve of IoU against clicks: clicks needed, failures, area under the curve.

A curve holds IoU, 0 to 1, after 1, 2, ... clicks. Clicks that were not needed repeat the last value.
"""

import numpy as np

NOC_LIMIT = 20  # clicks; an object that never gets there counts as this many


def clicks_needed(curve, quality: float) -> int | None:
    """Clicks until IoU is at least `quality`; None: it never is."""
    reached = np.flatnonzero(np.asarray(curve) >= quality)
    return int(reached[0]) + 1 if len(reached) else None


def number_of_clicks(curves, quality: float) -> tuple[float, int]:
    """NoC and NoF: the mean number of clicks, and how many objects failed and count as the limit.

    Args:
        curves: (objects, clicks), at least `NOC_LIMIT` clicks; later ones do not count.
        quality: IoU to be reached.
    """
    needed = [clicks_needed(curve[:NOC_LIMIT], quality) for curve in np.asarray(curves)]
    failures = sum(clicks is None for clicks in needed)
    return float(np.mean([NOC_LIMIT if clicks is None else clicks for clicks in needed])), failures


def area_under_curve(curve) -> float:
    """Area under a mean curve by trapezoids, over the number of steps; the value itself for a single click."""
    curve = np.asarray(curve, dtype=float)
    return float(np.trapezoid(curve) / (len(curve) - 1)) if len(curve) > 1 else float(curve[0])
