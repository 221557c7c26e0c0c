"""A session's state on disk: one safetensors file, its tensors by name and everything else as JSON in its header.

The video itself is not saved; a path is remembered, anything else is given again when loading. Prompts that are to be
read by people or by another model are files of another kind: `sam2_hf.pipelines.prompt_file`.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sam2_hf.disk.whole import whole_path
from sam2_hf.errors import SourceError
from sam2_hf.tracking.identity import other_frame, same_weights, weights_sample
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import Direction, Draft, FrameMemory, FrameResult, ObjectTrack, Prompt

SCHEMA = "sam2_hf.tracking_state/1"
EARLIER_SCHEMAS = ("sam2_hf.session.1",)  # the same under the name that files of prompts nearly have
PLAIN = (str, int, float)  # ids that come back from JSON as they went in
FACTS = ("policy", "video", "size", "num_frames", "image_size")
MEMORY_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
RESULT_FIELDS = tuple(field.name for field in fields(FrameResult))


def save_state(path: Path, tracks: dict, policy: TrackingPolicy, facts: dict) -> None:
    """Writes tracks, policy and a few plain facts; the file has its name only once it is complete."""
    for object_id in tracks:
        if not isinstance(object_id, PLAIN):
            raise ValueError(f"object id {object_id!r} cannot be saved; use a name or a number")
    tensors: dict[str, Tensor] = {}
    objects = [_pack(track, f"{row}", tensors) for row, track in enumerate(tracks.values())]
    options = asdict(policy)
    if policy.memory_dtype is not None:
        options["memory_dtype"] = str(policy.memory_dtype).removeprefix("torch.")
    header = {"format": SCHEMA, "state": json.dumps({"objects": objects, "policy": options, **facts})}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with whole_path(path) as part:
        save_file(plain, part, header)


def load_state(path: Path) -> tuple[dict, TrackingPolicy, dict]:
    """Tracks, policy and facts of a file that `save_state` wrote.

    Raises:
        SourceError: it is no session of ours.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        hint = "; a file of prompts is given as `prompts` or --prompts" if Path(path).suffix == ".json" else ""
        raise SourceError(f"{path}: not a saved session ({error}){hint}") from error
    if header.get("format") not in (SCHEMA, *EARLIER_SCHEMAS):
        raise SourceError(f"{path}: not a saved session (format {header.get('format')!r}, expected {SCHEMA!r})")
    try:
        state = json.loads(header["state"])
        tracks = [_unpack(entry, f"{row}", tensors) for row, entry in enumerate(state.pop("objects"))]
        facts = {name: state[name] for name in FACTS} | state
        return {track.object_id: track for track in tracks}, _policy(facts.pop("policy")), facts
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise SourceError(f"{path}: a damaged session ({type(error).__name__}: {error})") from error


def _policy(options: dict) -> TrackingPolicy:
    if options["memory_dtype"] is not None:
        options = {**options, "memory_dtype": MEMORY_DTYPES[options["memory_dtype"]]}
    return TrackingPolicy(**options)


def saved_video(path: Path, facts: dict) -> str | None:
    """The file or folder that a saved session names; None for a stream. A file from elsewhere opens nothing but files.

    Raises:
        SourceError: it names no file or folder that is here.
    """
    video = facts["video"]
    if video is None or (isinstance(video, str) and "://" not in video and Path(video).exists()):
        return video
    raise SourceError(f"{path}: its video {video!r} is not here; pass it as `video`")


def session_facts(session) -> dict:
    """What a saved session must find again: the same frames, and the same model."""
    return {
        "video": session.video_path,
        "size": session.size,
        "num_frames": session.num_frames,
        "image_size": session.model.config.image_size,
        "weights": weights_sample(session.model),
        "frames": session.frames.appearance,
    }


def check_facts(path: Path, saved: dict, found: dict) -> None:
    """Raises `SourceError` where a session is opened with another video or model than it was saved with."""
    if saved["image_size"] != found["image_size"]:
        raise SourceError(f"{path}: saved with image_size {saved['image_size']}, the model has {found['image_size']}")
    if "weights" in saved and not same_weights(saved["weights"], found["weights"]):
        raise SourceError(f"{path}: saved with another model (its weights differ); load the one it was saved with")
    if found["num_frames"] == 0:  # a stream, which has not begun again
        return
    size = None if saved["size"] is None else tuple(saved["size"])
    if (found["size"], found["num_frames"]) != (size, saved["num_frames"]):
        raise SourceError(
            f"{path}: saved with {saved['num_frames']} frames of (height, width) {size}, the video has "
            f"{found['num_frames']} of {found['size']}; pass the video it was saved with"
        )
    frame = other_frame(saved.get("frames") or {}, found["frames"] or {})
    if frame is not None:
        raise SourceError(f"{path}: saved with another video (frame {frame} looks different); pass that one")


def _pack(track: ObjectTrack, row: str, tensors: dict[str, Tensor]) -> dict:
    """What is plain of a track; its tensors go by name."""
    for frame, draft in track.drafts.items():
        _pack_result(draft.result, f"{row}.draft.{frame}", tensors)
    for frame, memory in track.memories.items():
        _pack_result(memory.result, f"{row}.memory.{frame}", tensors)
        if memory.spatial is not None:
            tensors[f"{row}.memory.{frame}.spatial"] = memory.spatial
    for frame, prompt in track.prompts.items():
        if prompt.mask is not None:
            tensors[f"{row}.prompt.{frame}.mask"] = prompt.mask
    return {
        "id": track.object_id,
        "prompts": {frame: {"points": p.points, "labels": p.labels} for frame, p in track.prompts.items()},
        "drafts": {frame: draft.as_prompted for frame, draft in track.drafts.items()},
        "memories": {frame: memory.prompted for frame, memory in track.memories.items()},
        "visited": {frame: int(direction) for frame, direction in track.visited.items()},
    }


def _pack_result(result: FrameResult, name: str, tensors: dict[str, Tensor]) -> None:
    for field in RESULT_FIELDS:
        if getattr(result, field) is not None:
            tensors[f"{name}.{field}"] = getattr(result, field)


def _unpack(entry: dict, row: str, tensors: dict[str, Tensor]) -> ObjectTrack:
    def result(name: str) -> FrameResult:
        parts: dict = {field: tensors.get(f"{name}.{field}") for field in RESULT_FIELDS}
        return FrameResult(**parts)

    track = ObjectTrack(entry["id"])
    for frame, prompt in entry["prompts"].items():
        points = tuple(tuple(point) for point in prompt["points"])
        mask = tensors.get(f"{row}.prompt.{frame}.mask")
        track.prompts[int(frame)] = Prompt(points=points, labels=tuple(prompt["labels"]), mask=mask)
    for frame, as_prompted in entry["drafts"].items():
        track.drafts[int(frame)] = Draft(result=result(f"{row}.draft.{frame}"), as_prompted=as_prompted)
    for frame, prompted in entry["memories"].items():
        name = f"{row}.memory.{frame}"
        spatial = tensors.get(f"{name}.spatial")
        track.memories[int(frame)] = FrameMemory(result=result(name), spatial=spatial, prompted=prompted)
    track.visited = {int(frame): Direction(direction) for frame, direction in entry["visited"].items()}
    return track
