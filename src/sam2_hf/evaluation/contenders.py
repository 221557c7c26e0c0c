"""What is compared in a benchmark: this package and its peer, behind one face and with the same weights."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sam2_hf.errors import ConfigError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.candidate_counts import NothingFoundWarning
from sam2_hf.pipelines.mask_generation import Sam2MaskGenerator
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import Direction
from sam2_hf.tracking.session import Sam2InferenceSession

PEERS = ("transformers", "none")
PEER_CHANNELS = 64  # of spatial memory, fixed in the library's classes
POINTS_PER_BATCH = 64  # as our generator asks
REMEMBERED = 15  # tracked frames behind the first one: as many maps and pointers as a frame ever looks at


class Course(Protocol):
    """A video in which objects are followed, its memory already full."""

    def step(self) -> None:
        """Follows all objects to the next frame; its encoding is part of it."""

    def record_bytes(self) -> int:
        """Bytes of what is kept of one object on the frame that was followed last."""

    def held_bytes(self) -> int:
        """Bytes of everything that is kept of all objects."""


class Contender(Protocol):
    """Something that segments, timed from outside.

    Attributes:
        name: for people.
        dtype: it computes in.
    """

    name: str
    dtype: torch.dtype

    def encode(self, pixels: Tensor):
        """(1, 3, side, side) to what clicks need."""

    def click(self, encoded, points: Tensor, labels: Tensor) -> None:
        """Clicks (1, objects, points, 2) in model pixels, and their labels, to masks."""

    def generate(self, picture, points_per_side: int) -> None:
        """Everything in a picture."""

    def course(self, pixels: Sequence[Tensor], num_objects: int) -> Course:
        """Objects on the first of some frames, memory full behind it."""


class Ours:
    """This package."""

    name = "sam2_hf"

    def __init__(self, model: Sam2Model, processor: Sam2Processor):
        self.model, self.processor, self.dtype = model.eval(), processor, model.dtype

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> list[Tensor]:
        return self.model.get_image_embeddings(pixels.to(self.model.device, self.dtype))

    @torch.inference_mode()
    def click(self, encoded: list[Tensor], points: Tensor, labels: Tensor) -> None:
        self.model(image_embeddings=encoded, input_points=points, input_labels=labels)

    def generate(self, picture, points_per_side: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingFoundWarning)  # random weights find nothing
            Sam2MaskGenerator(self.model, self.processor, points_per_side=points_per_side)(picture)

    def course(self, pixels: Sequence[Tensor], num_objects: int) -> "OurCourse":
        return OurCourse(self, pixels, num_objects)


class OurCourse:
    """A session whose first frame was copied into its memory as often as memory reaches back."""

    def __init__(self, owner: Ours, pixels: Sequence[Tensor], num_objects: int):
        model = owner.model
        self._pixels, self._frame = pixels, 0
        self._session = Sam2InferenceSession(model, owner.processor, policy=TrackingPolicy(keep="window"))
        side = model.config.image_size
        self._session.frames.size = (side, side)
        for _ in range(REMEMBERED + 1):
            self._append()
        for key in range(num_objects):
            self._session.add_prompt(frame_index=0, object_id=key, points=[[side * (key + 1) / (num_objects + 1)] * 2])
        self._session.commit()
        for track in self._session.tracks.values():
            first = track.memories[0]
            for frame in range(1, REMEMBERED + 1):
                track.memories[frame] = replace(first, prompted=False)
                track.visited[frame] = Direction.FORWARD
        self._frame = REMEMBERED

    def _append(self) -> None:
        frames = self._session.frames
        model = self._session.model
        frames.append(self._pixels[len(frames) % len(self._pixels)].to(model.device, model.dtype))

    def step(self) -> None:
        self._append()
        self._frame += 1
        self._session.step(self._frame)
        self._session.frames.release(before=self._frame - 1)

    def record_bytes(self) -> int:
        track = next(iter(self._session.tracks.values()))
        return _used_bytes(track.memories[self._frame])

    def held_bytes(self) -> int:
        return _held_bytes([track.memories for track in self._session.tracks.values()])


class Transformers:
    """The library's own SAM 2 classes with our weights, saved to a folder.

    Its processors need torchvision, so its mask generation is measured with our model and processor inside.
    """

    name = "transformers"

    def __init__(self, ours: Ours, folder: Path, dtype: torch.dtype):
        from transformers import Sam2Model as NativeModel
        from transformers import Sam2VideoModel as NativeVideoModel

        ours.model.save_pretrained(folder)
        self._ours, self.device, self.dtype = ours, ours.model.device, dtype
        device = self.device
        self._pictures = NativeModel.from_pretrained(folder, dtype=dtype).to(device).eval()
        self._video = NativeVideoModel.from_pretrained(folder, dtype=dtype).to(device).eval()

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> list[Tensor]:
        return self._pictures.get_image_embeddings(pixels.to(self.device, self.dtype))

    @torch.inference_mode()
    def click(self, encoded: list[Tensor], points: Tensor, labels: Tensor) -> None:
        self._pictures(image_embeddings=encoded, input_points=points.to(self.dtype), input_labels=labels)

    def generate(self, picture, points_per_side: int) -> None:
        from sam2_hf.pipelines.registry import pipeline

        options = {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.95, "points_per_batch": POINTS_PER_BATCH}
        find = pipeline("mask-generation", model=self._ours.model, processor=self._ours.processor, **options)
        find(picture, points_per_side=points_per_side)

    def course(self, pixels: Sequence[Tensor], num_objects: int) -> "TransformersCourse":
        return TransformersCourse(self._video, pixels, num_objects)


class TransformersCourse:
    """The library's session, its first frame copied into its memory."""

    def __init__(self, model, pixels: Sequence[Tensor], num_objects: int):
        from transformers import Sam2VideoInferenceSession

        self._model, self._pixels, self._frame = model, pixels, REMEMBERED
        side = model.config.image_size if hasattr(model.config, "image_size") else pixels[0].shape[-1]
        self._session = Sam2VideoInferenceSession(
            video_height=side, video_width=side, inference_device=model.device, dtype=model.dtype
        )
        for _ in range(REMEMBERED + 1):
            self._append()
        for key in range(num_objects):
            index = self._session.obj_id_to_idx(key)
            point = torch.full((1, 1, 1, 2), side * (key + 1) / (num_objects + 1), dtype=model.dtype)
            labels = torch.ones(1, 1, 1, dtype=torch.int32)
            self._session.add_point_inputs(index, 0, {"point_coords": point, "point_labels": labels})
        self._session.obj_with_new_inputs = list(range(num_objects))
        with torch.inference_mode():
            model(inference_session=self._session, frame_idx=0)
        for index, output in self._session.output_dict_per_obj.items():
            for frame in range(1, REMEMBERED + 1):
                output["non_cond_frame_outputs"][frame] = dict(output["cond_frame_outputs"][0])
                self._session.frames_tracked_per_obj[index][frame] = {"reverse": False}

    def _append(self) -> None:
        held = self._session.processed_frames or {}
        self._session.add_new_frame(self._pixels[len(held) % len(self._pixels)][0])

    @torch.inference_mode()
    def step(self) -> None:
        self._append()
        self._frame += 1
        self._model(inference_session=self._session, frame_idx=self._frame)

    def record_bytes(self) -> int:
        return _used_bytes(self._session.output_dict_per_obj[0]["non_cond_frame_outputs"][self._frame])

    def held_bytes(self) -> int:
        return _held_bytes(self._session.output_dict_per_obj)


def check_peer(name: str) -> None:
    """Raises `ConfigError` for a peer that is not known."""
    if name not in PEERS:
        raise ConfigError(f"there is no peer {name!r}; there are {', '.join(PEERS)}")


def contenders_of(ours: Ours, peer: str, folder: Path, dtype: torch.dtype) -> list[Contender]:
    """Ours, and the peer of that name with our weights, which go through a folder.

    Raises:
        ConfigError: there is no such peer, or it cannot load a model of this form.
    """
    check_peer(peer)
    channels = ours.model.config.memory_encoder_output_channels
    if peer == "transformers" and channels != PEER_CHANNELS:
        raise ConfigError(
            f"transformers loads models with {PEER_CHANNELS} memory channels only, this one has {channels}; "
            "measure a release with --size, or this model alone with --peer none"
        )
    return [ours, Transformers(ours, folder, dtype)] if peer == "transformers" else [ours]


def _tensors(record) -> Iterator[Tensor]:
    """All tensors below a record."""
    if isinstance(record, Tensor):
        yield record
    elif isinstance(record, dict):
        for value in record.values():
            yield from _tensors(value)
    elif isinstance(record, (list, tuple)):
        for value in record:
            yield from _tensors(value)
    elif is_dataclass(record):
        for entry in fields(record):
            yield from _tensors(getattr(record, entry.name))


def _used_bytes(record) -> int:
    """Bytes of the values below a record."""
    return sum(tensor.nbytes for tensor in _tensors(record))


def _held_bytes(record) -> int:
    """Bytes of the storages below a record, each counted once: a small view of a large tensor holds all of it."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(record)}
    return sum(storages.values())
