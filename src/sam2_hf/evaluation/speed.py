"""How fast and how large: frames per second of tracking, seconds per picture, decoder calls, memory of long streams.

The protocol of the original's benchmark: one video, one click on frame 0, pixels on the device beforehand, whole passes
of which the first do not count. Encoding and resizing of logits to the video's size are inside the clock, decoding of
files and preprocessing are not.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2_hf.evaluation.run_record import device_name, library_versions
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.session import Sam2InferenceSession

CLICK_GRID = (3, 5)  # clicks of several objects: rows and columns of a grid over the picture


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """How much is measured.

    Attributes:
        passes: through the video, the discarded ones included.
        discarded: first passes that do not count.
        object_counts: numbers of objects that are tracked together.
        calls: repetitions of single calls.
        stream_lengths: frames after which memory is read; the same frames come again and again.
        compiled: measure with compiled modules too.
        autocast: bfloat16 for a float32 model.
    """

    passes: int = 25
    discarded: int = 5
    object_counts: Sequence[int] = (1, 2, 4, 8, 16)
    calls: int = 20
    stream_lengths: Sequence[int] = (100, 1000)
    compiled: bool = False
    autocast: bool = False

    def __post_init__(self):
        if not 0 <= self.discarded < self.passes:
            raise ValueError(f"`discarded` is {self.discarded}, but it must be less than the {self.passes} passes")


class SpeedTest:
    """A model, and a video whose pixels are on its device.

    Args:
        frames: pictures of one size.
    """

    def __init__(self, model: Sam2Model, processor: Sam2Processor, frames: Sequence, options: SpeedOptions):
        self.model, self.processor, self.options = model, processor, options
        inputs = [processor.image_processor(frame, return_tensors="pt") for frame in frames]
        self.size = tuple(inputs[0]["original_sizes"][0].tolist())
        self._pixels = [one["pixel_values"].to(model.device, model.dtype) for one in inputs]

    def run(self) -> dict:
        """All measurements as plain values."""
        options = self.options
        with self._precision():
            record = self._facts() | self._single_calls()
            counts = {str(count): self._tracking(count) for count in options.object_counts}
            record["tracking"] = counts
            record["frames_per_second"] = next(iter(counts.values()))["frames_per_second"]
            record["stream_memory"] = self._stream_memory()
            if options.compiled:
                with _compiled(self.model):
                    record["compiled"] = self._single_calls() | self._tracking(options.object_counts[0])
        return record

    # Steps

    def _facts(self) -> dict:
        options, config = self.options, self.model.config
        return {
            "device": device_name(self.model.device),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "autocast": options.autocast,
            "image_size": config.image_size,
            "video_size": list(self.size),
            "frames": len(self._pixels),
            "prompted_frames": 1,
            "passes": options.passes - options.discarded,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "versions": library_versions(),
        }

    @torch.inference_mode()
    def _single_calls(self) -> dict:
        """Seconds of an image encoding and of a decoder call with one click."""
        device, side = self.model.device, self.model.config.image_size
        embeddings = self.model.get_image_embeddings(self._pixels[0])
        click = {
            "input_points": torch.full((1, 1, 1, 2), side / 2, device=device),
            "input_labels": torch.ones(1, 1, 1, dtype=torch.long, device=device),
        }
        encode = self._seconds(lambda: self.model.get_image_embeddings(self._pixels[0]))
        decode = self._seconds(lambda: self.model(image_embeddings=embeddings, **click))
        return {"image_encode_seconds": encode, "decoder_calls_per_second": 1 / decode}

    def _seconds(self, call: Callable) -> float:
        """Mean seconds of a call, after as many that warm it up."""
        self._repeat(call)
        started = self._now()
        self._repeat(call)
        return (self._now() - started) / self.options.calls

    def _repeat(self, call: Callable) -> None:
        for _ in range(self.options.calls):
            call()

    def _tracking(self, num_objects: int) -> dict:
        """Frames per second of whole passes with so many objects."""
        options, seconds = self.options, 0.0
        session = self._session()
        self._reset_peak()
        for number in range(options.passes):
            started = self._now()
            self._one_pass(session, num_objects)
            if number >= options.discarded:
                seconds += self._now() - started
        frames = len(self._pixels) * (options.passes - options.discarded)
        return {
            "objects": num_objects,
            "seconds": seconds,
            "frames_per_second": frames / seconds,
            "peak_bytes": self._peak_bytes(),
        }

    def _session(self) -> Sam2InferenceSession:
        """A session whose frames are on the device already."""
        session = Sam2InferenceSession(self.model, self.processor, policy=TrackingPolicy(keep="all"))
        session.frames.size = self.size
        for pixel_values in self._pixels:
            session.frames.append(pixel_values)
        return session

    def _one_pass(self, session: Sam2InferenceSession, num_objects: int) -> None:
        session.reset()
        session.frames.clear_features()
        for object_id in range(num_objects):
            session.add_prompt(frame_index=0, object_id=object_id, points=[self._place(object_id)])
        for frame in session.propagate():
            del frame  # its logits are at the video's size

    def _place(self, object_id: int) -> list[float]:
        rows, columns = CLICK_GRID
        row, column = divmod(object_id % (rows * columns), columns)
        height, width = self.size
        return [width * (column + 0.5) / columns, height * (row + 0.5) / rows]

    def _stream_memory(self) -> list[dict]:
        """What a stream holds after so many frames; it must not grow."""
        session = Sam2InferenceSession(self.model, self.processor, policy=TrackingPolicy(keep="window"))
        session.frames.size = self.size
        self._reset_peak()
        readings = []
        with torch.inference_mode():
            for number in range(max(self.options.stream_lengths, default=0)):
                self._next_frame(session, number)
                if number + 1 in self.options.stream_lengths:
                    held = held_bytes(session)
                    readings.append({"frames": number + 1, "held_bytes": held, "peak_bytes": self._peak_bytes()})
                    self._reset_peak()
        return readings

    def _next_frame(self, session: Sam2InferenceSession, number: int) -> None:
        session.frames.append(self._pixels[number % len(self._pixels)])
        if number == 0:
            session.add_prompt(frame_index=0, object_id=0, points=[self._place(7)])
        for _ in session.propagate(start_frame=number, max_frames=1):
            pass

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter()

    def _reset_peak(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.model.device)

    def _peak_bytes(self) -> int | None:
        """Peak memory of the device since the last reset; None on the CPU, which does not count it."""
        is_counted = self.model.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.model.device) if is_counted else None

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """TF32 allowed and, if asked for, bfloat16 autocast."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.options.autocast):
                yield
        finally:
            torch.set_float32_matmul_precision(before)


def held_bytes(session: Sam2InferenceSession) -> int:
    """Bytes of all tensors that a session remembers of its objects."""
    total = 0
    for track in session.tracks.values():
        for memory in track.memories.values():
            result = memory.result
            tensors = (memory.spatial, result.mask_logits, result.object_pointer, result.object_score, result.iou_score)
            total += sum(_bytes(tensor) for tensor in tensors if tensor is not None)
    return total


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


@contextmanager
def _compiled(model: Sam2Model) -> Iterator[None]:
    """The model's parts compiled, and as they were afterwards."""
    model.compile_for_inference()
    try:
        yield
    finally:
        model.uncompile()
