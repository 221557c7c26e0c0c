"""How a run that was interrupted is gone on with."""

import shlex
import sys
from pathlib import Path


def resume_command(folder: Path) -> str:
    """The command line of this process, changed so that it goes on with the run in `folder`."""
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--overwrite", "--resume")]
    is_named = any(argument.startswith(("-o", "--output")) for argument in arguments)
    return shlex.join(["sam2-hf", *arguments, "--resume", *([] if is_named else ["--output", str(folder)])])
