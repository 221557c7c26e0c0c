"""`sam2-hf benchmark`: how fast, beside a peer and beside what the machine could do."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.disk.whole import check_free, write_whole
from sam2_hf.errors import ConfigError
from sam2_hf.runs.settings import check_model_name

SIZES = ("tiny", "small", "base_plus", "large")
PEERS = ("transformers", "none")  # of `sam2_hf.evaluation.contenders`
WORKS = ("encode", "click", "clicks", "generate", "track", "stream")


def benchmark(
    size: Annotated[str, typer.Option(help=f"Release, with random weights: {', '.join(SIZES)}.")] = "tiny",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model instead of a size.", rich_help_panel=options.MODEL)
    ] = None,
    peer: Annotated[str, typer.Option(help="transformers (the library's own classes), or none.")] = "none",
    peer_dtype: Annotated[
        str | None,
        typer.Option(
            help="What the peer computes in: fp32, bf16 or fp16; default: as --dtype.", callback=options.known_dtype
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each, in turns.")] = 5,
    objects: Annotated[str, typer.Option(help="Numbers of objects tracked together.")] = "1,3,8",
    work: Annotated[str, typer.Option(help=f"What is measured: {', '.join(WORKS)}.")] = "encode,click,clicks,track",
    stream: Annotated[str, typer.Option(help="stream: frames after which memory is read.")] = "100,1000",
    results: Annotated[Path | None, typer.Option(help="JSON file to write; a .md file gets the tables.")] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
    seed: options.Seed = 0,
    offline: options.Offline = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> None:
    """Measure speed and memory in turns with a peer that has the same weights.

    Example: sam2-hf benchmark --size tiny --peer transformers --objects 1,3 --results benchmark.json
    """
    if size not in SIZES:
        raise typer.BadParameter(f"--size takes {', '.join(SIZES)}, got {size!r}")
    if peer not in PEERS:
        raise ConfigError(f"there is no peer {peer!r}; there are {', '.join(PEERS)}")
    if model is not None:
        check_model_name(model)
    if results is not None:
        check_free(results, overwrite)
    works, counts, frames = work.split(","), _numbers("objects", objects), _numbers("stream", stream)
    if unknown := [name for name in works if name not in WORKS]:
        raise typer.BadParameter(f"--work takes {', '.join(WORKS)}, got {unknown[0]!r}")

    from sam2_hf.checkpoints.loading import placement
    from sam2_hf.evaluation.benchmark import Benchmark, BenchmarkOptions, markdown

    network, processor = _model(model, size, seed, device, dtype, offline)
    test = Benchmark(
        network,
        processor,
        BenchmarkOptions(works=works, rounds=rounds, objects=counts, stream=frames, seed=seed),
        peer=peer,
        peer_dtype=None if peer_dtype is None else placement(str(network.device), peer_dtype)[1],
        say=lambda line: options.say(line, quiet),
    )
    record = test.run()
    text, told = json.dumps(record, indent=2) + "\n", markdown(record)
    if results is not None:
        write_whole(results, (told if results.suffix == ".md" else text).encode(), overwrite)
    typer.echo(json.dumps(record) if as_json else told.rstrip())


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise typer.BadParameter(f"--{name} takes numbers from 1 with commas, got {text!r}")
    return found


def _model(name: str | None, size: str, seed: int, device: str, dtype: str, offline: bool):
    """The model that was named, or one of a release's size with random weights, and its processor."""
    from sam2_hf.checkpoints.loading import load, placement

    if name is not None:
        network, processor, _ = load(name, offline=offline, device=device, dtype=dtype)
        return network.eval(), processor

    import torch

    from sam2_hf.modeling.configuration import Sam2Config
    from sam2_hf.modeling.model import Sam2Model
    from sam2_hf.processing.processor import Sam2Processor

    torch.manual_seed(seed)
    network = Sam2Model(getattr(Sam2Config, size)()).eval().to(*placement(device, dtype))
    return network, Sam2Processor.from_config(network.config)
