"""What the exit code of a command means."""

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of every command; 2 is typer's own for wrong usage."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NO_INPUT = 3
    SOME_FAILED = 4
    BELOW = 5
    MODEL = 6
    OUTPUT = 7
    MEMORY = 8
    INTERRUPTED = 130


def code_for(error: BaseException) -> ExitCode:
    """The code for an error that reached the top of a command."""
    from sam2_hf import errors
    from sam2_hf.runs.memory import is_out_of_memory

    codes = (
        (KeyboardInterrupt, ExitCode.INTERRUPTED),
        ((errors.PromptError, errors.ConfigError), ExitCode.USAGE),
        (errors.SourceError, ExitCode.NO_INPUT),
        (errors.CheckpointError, ExitCode.MODEL),
        (errors.MissingWeightsError, ExitCode.MODEL),
        (errors.MissingExtraError, ExitCode.MODEL),
        ((FileExistsError, NotADirectoryError, errors.ConfigChangedError), ExitCode.OUTPUT),
    )
    if is_out_of_memory(error):
        return ExitCode.MEMORY
    return next((code for kind, code in codes if isinstance(error, kind)), ExitCode.UNEXPECTED)
