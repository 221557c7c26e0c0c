"""One process at a time in a folder. A process that ends in any way, also killed, lets go of it."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from sam2_hf.errors import OutputExistsError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # by the file system: then two runs are not told apart


class FolderLock:
    """Held from `acquire` to `release`.

    Args:
        folder: which must exist.
        shared: with others that share it too, such as the jobs of one evaluation.
    """

    def __init__(self, folder: Path, shared: bool = False):
        self.path, self.shared = folder / LOCK, shared
        self._file = None

    def acquire(self) -> None:
        """Takes the folder.

        Raises:
            OutputExistsError: somebody else has it.
        """
        while self._file is None:
            file = self.path.open("a")
            try:
                _lock(file, self.shared)
            except BlockingIOError:
                file.close()
                raise OutputExistsError(
                    f"{self.path.parent}: another run is writing there; wait for its end, or choose another --output"
                ) from None
            if self._is_current(file):
                self._file = file
            else:  # its owner removed it between our two calls
                file.close()

    def release(self) -> None:
        """Lets go of the folder, and leaves no file behind unless others still share it."""
        if self._file is None:
            return
        with suppress(OSError):  # others have it
            _lock(self._file, shared=False)
            self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None

    def _is_current(self, file) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False


def _lock(file, shared: bool) -> None:
    """Raises BlockingIOError where another process has it."""
    if fcntl is None:
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError as error:
            if not shared:
                raise BlockingIOError(error.errno, str(error)) from error
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
