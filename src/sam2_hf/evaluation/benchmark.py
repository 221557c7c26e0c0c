"""How fast, beside a peer and beside what the machine could do: ratios measured side by side in one run.

Every piece of work is done by all contenders in turns, round after round, so that a noisy machine is noisy for both.
Beside each stands its floor: its floating-point operations over the rate of a large matrix product in the same run.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sam2_hf.evaluation.contenders import Contender, Course, Ours, contenders_of
from sam2_hf.evaluation.run_record import device_name, library_versions
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.processor import Sam2Processor

WORKS = ("encode", "click", "clicks", "generate", "track", "stream")
MANY_CLICKS = 64
SHORTEST = 0.2  # seconds that a measurement lasts at least; quicker calls are repeated
RATE_SIDE = 2048  # of the matrices whose product tells the machine's rate
RATE_CALLS = 5
FRAMES = 3  # different pictures that the frames of a course repeat
STREAM_SIDE = 256  # of the model of the stream: what grows does not depend on its size


def _flops_of_attention(query, key, value, *others, out_shape=None, **named) -> int:
    """Of the fused attention of a CPU, by the shapes (rows, heads, tokens, channels) of its inputs."""
    rows, heads, queries, width = query
    return 2 * rows * heads * queries * key[2] * (width + value[3])


UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _flops_of_attention}  # by PyTorch's counter


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is measured.

    Attributes:
        works: of `WORKS`.
        rounds: measurements of each contender, after one that warms up.
        objects: numbers of objects that are tracked together.
        points_per_side: of "generate".
        stream: frames of a stream after which memory is read.
        seed: of weights and pixels.
    """

    works: Sequence[str] = ("encode", "click", "clicks", "track")
    rounds: int = 5
    objects: Sequence[int] = (1, 3, 8)
    points_per_side: int = 16
    stream: Sequence[int] = (100, 1000)
    seed: int = 0

    def __post_init__(self):
        unknown = [name for name in self.works if name not in WORKS]
        if unknown:
            raise ValueError(f"there is no work {unknown[0]!r}; there are {', '.join(WORKS)}")
        if self.rounds < 1:
            raise ValueError(f"`rounds` is {self.rounds}, but it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One piece of work, measured.

    Attributes:
        work: what was done.
        seconds: of each contender, one entry per round.
        floor: seconds that its arithmetic needs at the machine's rate.
        peak_bytes: what each contender allocates at most while it works, beside what it held before.
    """

    work: str
    seconds: dict[str, list[float]]
    floor: float
    peak_bytes: dict[str, int] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median seconds of a contender."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str) -> list[float]:
        """Seconds of a peer over ours, round by round."""
        return [theirs / ours for theirs, ours in zip(self.seconds[name], self.seconds[Ours.name], strict=True)]


class Benchmark:
    """Our model beside a peer that has its weights.

    Args:
        model, processor: what is measured.
        peer: name of the peer, see `contenders.PEERS`.
        peer_dtype: the peer computes in; default: as ours.
    """

    def __init__(
        self,
        model: Sam2Model,
        processor: Sam2Processor,
        options: BenchmarkOptions,
        *,
        peer: str = "none",
        peer_dtype: torch.dtype | None = None,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.model, self.processor, self.options, self.say = model, processor, options, say
        self.peer, self.peer_dtype = peer, peer_dtype or model.dtype
        self.rate = 0.0

    def run(self) -> dict:
        """All measurements as plain values."""
        options = self.options
        self.rate = matrix_rate(self.model.device, self.model.dtype)
        with tempfile.TemporaryDirectory() as folder:
            contenders = contenders_of(Ours(self.model, self.processor), self.peer, Path(folder), self.peer_dtype)
            side = self.model.config.image_size
            generator = torch.Generator().manual_seed(options.seed)
            pixels = [torch.randn(1, 3, side, side, generator=generator) for _ in range(FRAMES)]
            rows, state = self._pictures(contenders, pixels), []
            if "track" in options.works:
                for count in options.objects:
                    row, bytes_of = self._track(contenders, pixels, count)
                    rows.append(row)
                    state.append({"objects": count, **bytes_of})
        record = self._facts() | {"rows": [self._told(row) for row in rows], "state": state}
        if "stream" in options.works:
            record["stream"] = self._stream()
        return record

    # Steps

    def _facts(self) -> dict:
        config = self.model.config
        return {
            "device": device_name(self.model.device),
            "threads": torch.get_num_threads(),
            "dtype": _name(self.model.dtype),
            "peer": self.peer,
            "peer_dtype": None if self.peer == "none" else _name(self.peer_dtype),
            "image_size": config.image_size,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "gflops_per_second": self.rate / 1e9,
            "options": asdict(self.options),
            "versions": library_versions(),
        }

    def _pictures(self, contenders: list[Contender], pixels: list[torch.Tensor]) -> list[Row]:
        works, options, side = self.options.works, self.options, self.model.config.image_size
        rows = []
        if "encode" in works:
            calls = [partial(contender.encode, pixels[0]) for contender in contenders]
            rows.append(self._row("encode a picture", calls, contenders))
        for work, count in (("click", 1), ("clicks", MANY_CLICKS)):
            if work in works:
                title = "one click" if count == 1 else f"{count} clicks in one call"
                clicks = self._clicks(count)
                calls = [partial(contender.click, contender.encode(pixels[0]), *clicks) for contender in contenders]
                rows.append(self._row(title, calls, contenders))
        if "generate" in works:
            noise = torch.rand(side, side, 3, generator=torch.Generator().manual_seed(options.seed))
            picture, per_side = Image.fromarray((255 * noise).byte().numpy()), options.points_per_side
            calls = [partial(contender.generate, picture, per_side) for contender in contenders]
            rows.append(self._row(f"everything, {per_side} x {per_side} clicks", calls, contenders))
        return rows

    def _clicks(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One click for each of so many objects, (1, objects, 1, 2), and their labels."""
        device = self.model.device
        places = torch.linspace(0.1, 0.9, count) * self.model.config.image_size
        points = torch.stack((places, places.flip(0)), dim=-1).reshape(1, count, 1, 2)
        return points.to(device), torch.ones(1, count, 1, dtype=torch.long, device=device)

    def _track(self, contenders: list[Contender], pixels: list[torch.Tensor], count: int) -> tuple[Row, dict]:
        courses = [contender.course(pixels, count) for contender in contenders]
        word = "object" if count == 1 else "objects"
        row = self._row(f"video frame, {count} {word}", [course.step for course in courses], contenders, once=True)
        kept = {c.name: course.record_bytes() for c, course in zip(contenders, courses, strict=True)}
        return row, {"bytes_per_object_and_frame": kept}

    def _row(
        self, work: str, calls: list[Callable[[], object]], contenders: list[Contender], once: bool = False
    ) -> Row:
        """One call of each contender in turns, `rounds` times after those that count arithmetic and memory.

        Args:
            once: a measurement is a single call; else calls are repeated until they last.
        """
        self.say(work)
        floor = self._floor(calls[0])
        peaks = {one.name: peak_bytes(call, self.model.device) for one, call in zip(contenders, calls, strict=True)}
        times = [1 if once else _repeats(call) for call in calls]
        seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for number in range(self.options.rounds):
            turns = list(zip(contenders, calls, times, strict=True))
            for contender, call, repeats in turns if number % 2 == 0 else reversed(turns):
                seconds[contender.name].append(self._seconds(call, repeats))
        return Row(work=work, seconds=seconds, floor=floor, peak_bytes=peaks)

    def _floor(self, call: Callable[[], object]) -> float:
        """Of the arithmetic of the layers as they are written; what saves some of it comes below."""
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
            call()
        return counter.get_total_flops() / self.rate

    def _seconds(self, call: Callable[[], object], repeats: int) -> float:
        gc.collect()
        began = self._now()
        for _ in range(repeats):
            call()
        return (self._now() - began) / repeats

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter()

    def _stream(self) -> list[dict]:
        """Bytes held of one object after so many frames, by a small model with random weights."""
        self.say("stream")
        model = stream_model(self.options.seed)
        pixels = [torch.randn(1, 3, STREAM_SIDE, STREAM_SIDE, generator=torch.Generator().manual_seed(1))]
        with tempfile.TemporaryDirectory() as folder:
            ours = Ours(model, Sam2Processor.from_config(model.config))
            contenders = contenders_of(ours, self.peer, Path(folder), torch.float32)
            return [{"contender": c.name, "held_bytes": self._held(c.course(pixels, 1))} for c in contenders]

    def _held(self, course: Course) -> dict[str, int]:
        found = {}
        for frame in range(1, max(self.options.stream) + 1):
            course.step()
            if frame in self.options.stream:
                found[str(frame)] = course.held_bytes()
        return found

    def _told(self, row: Row) -> dict:
        told: dict = {"work": row.work, "seconds": row.seconds, "floor_seconds": row.floor}
        told["peak_bytes"] = row.peak_bytes
        told["median_seconds"] = {name: row.median(name) for name in row.seconds}
        for name in row.seconds:
            if name != Ours.name:
                ratios = row.ratios(name)
                told["ratio"] = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        return told


def stream_model(seed: int) -> Sam2Model:
    """A small model with random weights that the peers can load too."""
    trunk = {"hidden_size": 16, "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128]}
    trunk |= {"num_attention_heads_per_stage": [1, 2, 4, 8], "global_attention_blocks": [3]}
    config = Sam2Config.tiny(image_size=STREAM_SIDE, vision_config={"backbone_config": trunk})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Sam2Model(config).eval()


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """The most that a call allocates on the device at a time, beside what was there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product, the best of several."""
    first, second = (torch.randn(RATE_SIDE, RATE_SIDE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(RATE_CALLS + 1):
        began = time.perf_counter()
        first @ second
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * RATE_SIDE**3 / best


def markdown(record: dict) -> str:
    """The record as tables."""
    peer = record["peer"]
    head = f"{record['device']}, {record['threads']} threads, {record['dtype']}"
    head += "" if peer == "none" else f"; {peer} in {record['peer_dtype']}"
    rate = f"{record['image_size']} pixels, {record['parameters'] / 1e6:.1f} M parameters, "
    rate += f"{record['gflops_per_second']:.0f} GFLOP/s in a product of matrices"
    parts = [f"{head}. {rate}.", _table(_rows(record, peer))]
    if record["state"]:
        names = list(record["state"][0]["bytes_per_object_and_frame"])
        kept = [[entry["objects"], *entry["bytes_per_object_and_frame"].values()] for entry in record["state"]]
        rows = [[str(count), *(f"{value / 1e6:.2f} MB" for value in values)] for count, *values in kept]
        parts.append(_table([["objects", *(f"{name}: kept of one object and frame" for name in names)], *rows]))
    for entry in record.get("stream", ()):
        held = ", ".join(f"{count / 1e6:.2f} MB after {frames}" for frames, count in entry["held_bytes"].items())
        parts.append(f"{entry['contender']} holds of one object of a stream of {STREAM_SIDE} pixels: {held} frames.")
    return "\n\n".join(parts) + "\n"


def _rows(record: dict, peer: str) -> list[list[str]]:
    """Head and cells of the table of works."""
    has_peer = peer != "none"
    rows = [["work", Ours.name, *([peer, "ratio"] if has_peer else []), "floor", "over its floor", "peak memory"]]
    for row in record["rows"]:
        ours, floor, ratio = row["median_seconds"][Ours.name], row["floor_seconds"], row.get("ratio")
        beside = ["", ""] if has_peer else []
        if ratio is not None:
            told = f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
            beside = [_time(row["median_seconds"][peer]), told]
        peaks = " / ".join(f"{count / 1e6:.0f} MB" for count in row["peak_bytes"].values())
        rows.append([row["work"], _time(ours), *beside, _time(floor), f"{ours / floor:.2f}", peaks])
    return rows


def _table(rows: list[list[str]]) -> str:
    head, *others = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *others])


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _repeats(call: Callable[[], object]) -> int:
    """How often a call must be made to last; this warms it up too."""
    began = time.perf_counter()
    call()
    return max(1, round(SHORTEST / max(time.perf_counter() - began, 1e-6)))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
