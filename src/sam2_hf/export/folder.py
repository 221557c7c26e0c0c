"""A folder of exported parts: written whole, checked before it has its names, with a manifest."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from sam2_hf.disk.whole import check_free, whole_folder, write_json
from sam2_hf.errors import CheckpointMismatchError, ConfigError, MissingExtraError
from sam2_hf.export.parts import PARTS, BankSize, Decoder, Part
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.outputs import PointLabel
from sam2_hf.processing.processor import Sam2Processor

SCHEMA = "sam2_hf.export/1"
MANIFEST = "manifest.json"
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}
MEMORY_PARTS = ("memory-encoder", "memory-attention")
OLDEST_OPSET = 18  # older ones lack what the graphs are made of
TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2}  # root mean square of the error over that of the values
TRACED, CHECKED = (3, 5), ((1, 1), (2, 4))  # objects and points while tracing, and while checking

STEPS = {
    "picture": [
        "resize to image.size x image.size on float values, antialiased bilinear; (value - mean) / std, value in 0..1",
        "image-encoder, once per picture",
        "decoder with embedding = picture_embedding repeated per object; points scaled by image.size / picture size",
        "mask 0 for boxes, several clicks and corrections; for one click the best of 1..3 by iou_scores",
        "resize the logits bilinearly to the picture; inside is above 0",
    ],
    "prompted frame": [
        "as for a picture; score = object_scores; where it is not above 0 the object is not there",
        "memory-encoder with is_prompted = true and the chosen mask; keep memory and the pointer of the chosen mask",
    ],
    "tracked frame": [
        "image-encoder; memory-attention with image_embedding and the bank: prompted frames with memory_time 0, the "
        "frame n before with memory.newest_time + 1 - n; pointers with their distance in frames / memory.pointer_span",
        "decoder with embedding = its output, one point with label -1, has_mask_input = false",
        "the best of masks 1..3 by iou_scores if tracking.multimask, else mask 0",
        "memory-encoder with is_prompted = false; keep memory and pointer; forget what no slot reaches any more",
    ],
}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and how.

    Attributes:
        format: "onnx", or "torch" for `torch.export.load`.
        parts: of `PARTS`; None: all that the checkpoint has weights for.
        memory_frames: slots of the bank, one for prompted frames and the rest for recent ones; None: the model's.
        max_prompted: prompted frames that are looked at.
        opset: of ONNX.
        check: run the files on other numbers of objects and points and compare with the model.
        half: float16 weights and maps.
    """

    format: str = "onnx"
    parts: tuple[str, ...] | None = None
    memory_frames: int | None = None
    max_prompted: int = 4
    opset: int = OLDEST_OPSET
    check: bool = True
    half: bool = False

    def __post_init__(self):
        if self.format not in SUFFIXES:
            raise ConfigError(f"`format` is one of {', '.join(SUFFIXES)}, got {self.format!r}")
        unknown = next((part for part in self.parts or () if part not in PARTS), None)
        if unknown is not None:
            raise ConfigError(f"there is no part {unknown!r}; parts are {', '.join(PARTS)}")
        if self.opset < OLDEST_OPSET:
            raise ConfigError(f"`opset` is {self.opset}; it must be at least {OLDEST_OPSET}")
        if self.max_prompted < 1:
            raise ConfigError(f"`max_prompted` is {self.max_prompted}; it must be at least 1")


def export(
    model: Sam2Model,
    processor: Sam2Processor,
    folder: str | Path,
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes parts of a model for other runtimes, and `manifest.json`, which says how they fit together.

    Numbers of objects and points are free; the number of memories is fixed, and empty slots are said to be empty.

    Args:
        model: is cast for `half`, so pass one that nobody else uses.
        processor: whose sizes and colours the manifest tells.
        overwrite: replace files of these names.
        say: called with a line per part.

    Returns:
        the folder.

    Raises:
        ConfigError: options that the model cannot have.
        MissingExtraError: ONNX is not installed.
        MissingWeightsError: memory parts of a checkpoint for pictures.
        CheckpointMismatchError: a file does not compute what the model computes; nothing is written.
        OutputExistsError: there is something and `overwrite` is False.
    """
    options, folder = options or ExportOptions(), Path(folder)
    check_free(folder, overwrite)
    _require_libraries(options)
    bank, names = _bank(model, options), _names(model, options)
    dtype = torch.float16 if options.half else torch.float32
    model = model.to(device="cpu", dtype=dtype).eval()
    if model.config._attn_implementation != "sdpa":
        model.set_attn_implementation("sdpa")
    with whole_folder(folder) as hidden, torch.no_grad(), _quiet():
        records = {}
        for name in names:
            part = PARTS[name](model, bank).eval()
            file = hidden / f"{name}{SUFFIXES[options.format]}"
            inputs = part.sample(*TRACED)
            _write(part, inputs, file, options)
            error = _check(part, file, options, dtype) if options.check else None
            records[name] = _record(part, inputs, file) | ({} if error is None else {"relative_error": error})
            size = f"{file.stat().st_size / 2**20:.1f} MiB"
            say(f"{file.name}: {size}" + ("" if error is None else f", as the model to {error:.1e}"))
        write_json(hidden / MANIFEST, _manifest(model, processor, bank, options, records))
    return folder


def _require_libraries(options: ExportOptions) -> None:
    missing = [name for name in NEEDED[options.format] if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f'export to ONNX needs {", ".join(missing)}: pip install "sam2_hf[export]"')


def _bank(model: Sam2Model, options: ExportOptions) -> BankSize:
    config = model.config
    frames = config.num_maskmem if options.memory_frames is None else options.memory_frames
    if not 2 <= frames <= config.num_maskmem:
        raise ConfigError(f"`memory_frames` is {frames}; this model has places for 2 to {config.num_maskmem}")
    span = config.max_object_pointers_in_encoder - 1
    return BankSize(memory_frames=frames, max_prompted=options.max_prompted, pointer_span=span)


def _names(model: Sam2Model, options: ExportOptions) -> tuple[str, ...]:
    if options.parts is None:
        return tuple(name for name in PARTS if not (model.config.image_only and name in MEMORY_PARTS))
    if any(name in MEMORY_PARTS for name in options.parts):
        model.require_memory()
    return tuple(name for name in PARTS if name in options.parts)


def _write(part: Part, inputs: tuple[Tensor, ...], file: Path, options: ExportOptions) -> None:
    program = torch.export.export(part, inputs, dynamic_shapes=part.dynamic_shapes())
    if options.format == "torch":
        torch.export.save(program, file)
        return
    exported = torch.onnx.export(
        program,
        (),
        dynamo=True,
        input_names=list(part.inputs),
        output_names=_outputs(part),
        opset_version=options.opset,
        verbose=False,
    )
    exported.save(file, external_data=False)  # type: ignore[union-attr]  # a program, because no file was named


def _outputs(part: Part) -> list[str]:
    """Names of what it gives: a checkpoint for pictures has no pointers."""
    is_shorter = isinstance(part, Decoder) and part.model.config.image_only
    return list(part.outputs[:-1] if is_shorter else part.outputs)


def _check(part: Part, file: Path, options: ExportOptions, dtype: torch.dtype) -> float:
    """The largest error of any output, relative to its values."""
    run = _runner(file, options.format, part.inputs)
    worst = 0.0
    for seed, (objects, points) in enumerate(CHECKED, start=1):
        inputs = part.sample(objects, points, seed)
        for name, expected, found in zip(_outputs(part), _as_list(part(*inputs)), run(inputs), strict=True):
            if options.half and name in ("masks", "iou_scores"):  # which mask steadies mask 0 hangs on a rounding
                expected, found = expected[:, 1:], found[:, 1:]
            error = _relative(expected.float(), found.float())
            if not error <= TOLERANCE[dtype]:
                raise CheckpointMismatchError(
                    f"{part.name}: output {name!r} of the exported file is off by {error:.1e} of its size for "
                    f"{objects} objects, more than {TOLERANCE[dtype]:.0e}; nothing was written. "
                    "Try another opset, or float32"
                )
            worst = max(worst, error)
    return worst


def _relative(expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        return float("inf")
    return float((expected - found).square().mean().sqrt() / expected.square().mean().sqrt().clamp(min=1e-12))


def _runner(file: Path, kind: str, names: Sequence[str]) -> Callable[[tuple[Tensor, ...]], list[Tensor]]:
    if kind == "torch":
        module = torch.export.load(file).module()
        return lambda inputs: _as_list(module(*inputs))
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors only: halves that it folds in float32 are none
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    known = {entry.name for entry in session.get_inputs()}

    def run(inputs: tuple[Tensor, ...]) -> list[Tensor]:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True) if name in known}
        return [torch.from_numpy(found) for found in session.run(None, given)]

    return run


def _as_list(found) -> list[Tensor]:
    return list(found) if isinstance(found, (tuple, list)) else [found]


def _record(part: Part, inputs: tuple[Tensor, ...], file: Path) -> dict:
    shapes = [list(value.shape) for value in inputs]
    for shape, name in zip(shapes, part.inputs, strict=True):
        for axis, free in part.axes.get(name, {}).items():
            shape[axis] = free
    described = [
        {"name": name, "shape": shape, "dtype": str(value.dtype).removeprefix("torch.")}
        for name, shape, value in zip(part.inputs, shapes, inputs, strict=True)
    ]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"file": file.name, "sha256": digest, "inputs": described, "outputs": _outputs(part)}


def _manifest(
    model: Sam2Model, processor: Sam2Processor, bank: BankSize, options: ExportOptions, parts: dict[str, dict]
) -> dict:
    config, pictures = model.config, processor.image_processor
    memory = {
        "maps": bank.maps,
        "recent": bank.memory_frames - 1,
        "max_prompted": bank.max_prompted,
        "newest_time": config.num_maskmem - 1,
        "pointers": bank.pointers,
        "pointer_span": bank.pointer_span,
        "channels": config.memory_encoder_output_channels,
    }
    return {
        "schema": SCHEMA,
        "version": config.version,
        "format": options.format,
        "opset": options.opset if options.format == "onnx" else None,
        "dtype": "float16" if options.half else "float32",
        "image": {
            "size": config.image_size,
            "mean": list(pictures.image_mean),
            "std": list(pictures.image_std),
            "grid": config.grid_size,
            "mask_size": config.low_res_mask_size,
            "channels": config.hidden_size,
        },
        "memory": None if config.image_only else memory,
        "tracking": {"multimask": bool(config.multimask_output_for_tracking)},
        "labels": {label.name.lower(): int(label) for label in PointLabel if label is not PointLabel.PAD},
        "parts": parts,
        "steps": STEPS,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself and of libraries that are not needed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
