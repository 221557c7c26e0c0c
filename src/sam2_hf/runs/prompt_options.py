"""Prompts and lists as plain values, by their content: a file that was changed is another file."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sam2_hf.processing.prompts import ObjectPrompt, as_tensor

DIGEST = 16  # letters


def plain_requests(requests: Iterable[ObjectPrompt]) -> list[dict]:
    """Requests as JSON has them, their masks as digests."""
    return [_plain(request) for request in requests]


def list_digests(sources: Sequence[str], suffixes: tuple[str, ...]) -> dict[str, str]:
    """Digests of the lists among the sources: their boxes are prompts."""
    files = [Path(source) for source in sources if source.lower().endswith(suffixes)]
    return {str(file): _digest(file.read_bytes()) for file in files if file.is_file()}


def _plain(request: ObjectPrompt) -> dict:
    given: dict = {"id": request.object_id, "frame": request.frame, "label": request.label}
    given |= {"points": request.points, "labels": request.labels, "box": request.box}
    if request.mask is not None and (kept := request.kept) is not None:
        given["mask"] = _digest(json.dumps(kept.mask, sort_keys=True).encode())
    if request.mask_logits is not None:
        given["mask_logits"] = _digest(as_tensor(request.mask_logits).float().numpy().tobytes())
    return given


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST]
