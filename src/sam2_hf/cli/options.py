"""Options that several commands share, in the panels that `--help` shows."""

from typing import Annotated

import typer

MODEL, OUTPUT, MESSAGES = "Model", "Output", "Messages"
PROMPTS, EVERYTHING = "Prompts", "Everything, without prompts"

PromptFile = Annotated[
    str | None,
    typer.Option(help="prompts.json of an earlier run, or session.json of the browser.", rich_help_panel=PROMPTS),
]
Normalized = Annotated[
    bool, typer.Option("--normalized", help="Points and boxes are fractions 0..1.", rich_help_panel=PROMPTS)
]
Everything = Annotated[
    bool, typer.Option("--everything", help="Find all objects, without prompts.", rich_help_panel=EVERYTHING)
]
PointsPerSide = Annotated[
    int, typer.Option(min=1, help="Clicks along each side; more find smaller objects.", rich_help_panel=EVERYTHING)
]
MinStability = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Least stability of a mask's outline; default: the checkpoint's, else 0.95.",
        rich_help_panel=EVERYTHING,
    ),
]

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Hub id, folder, .pt or .safetensors file; 'auto': a release from cache or Hub, else the small "
        "'embedded' one.",
        rich_help_panel=MODEL,
    ),
]
Revision = Annotated[str | None, typer.Option(help="Revision of the Hub repository.", rich_help_panel=MODEL)]
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "npu", "mlu", "mtia", "musa", "xla", "meta", "vulkan")
DTYPES = ("auto", "fp32", "bf16", "fp16", "float32", "bfloat16", "float16")  # as `sam2_hf.load` takes them


def _known_device(name: str) -> str:
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and not number.isdecimal()):
        raise typer.BadParameter(f"--device takes auto, cpu, cuda, cuda:1, mps or xpu, got {name!r}")
    return name


def known_dtype(name: str | None) -> str | None:
    """The callback of options that take a dtype: refuses other names at once."""
    if name is not None and name not in DTYPES:
        raise typer.BadParameter(f"dtype must be auto, fp32, bf16 or fp16, got {name!r}")
    return name


Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.", callback=_known_device, rich_help_panel=MODEL)
]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.", callback=known_dtype, rich_help_panel=MODEL)]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures encoded at once.", rich_help_panel=MODEL)]
ObjectBatch = Annotated[
    int,
    typer.Option(min=1, help="Objects asked for at once; fewer need less memory.", rich_help_panel=MODEL),
]
Seed = Annotated[int, typer.Option(help="Of all random numbers.", rich_help_panel=MODEL)]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Never ask the Hub; take what is on this machine.", rich_help_panel=MODEL),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Folder to write; default: runs/<command>/<n>.", rich_help_panel=OUTPUT),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of an earlier run.", rich_help_panel=OUTPUT)
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with an interrupted run in --output.", rich_help_panel=OUTPUT),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="List inputs and outputs; load nothing, write nothing.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, no progress.", rich_help_panel=MESSAGES)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.", rich_help_panel=MESSAGES)]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.", rich_help_panel=MESSAGES)]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.", rich_help_panel=MESSAGES)]


def say(message: str, quiet: bool) -> None:
    """A message for people, on stderr; stdout carries the summary only."""
    if not quiet:
        typer.echo(message, err=True)


def listed(values: list[str] | None) -> tuple[str, ...]:
    """Values of a repeatable option that also splits on commas, each once."""
    return tuple(dict.fromkeys(name.strip() for value in values or () for name in value.split(",") if name.strip()))
