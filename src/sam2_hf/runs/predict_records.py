"""`results.jsonl` of a run over pictures: one line per picture that is done, which `--resume` goes by."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from sam2_hf.disk.whole import naming, write_whole
from sam2_hf.runs.predict_outputs import RESULTS


class PictureRecords:
    """Lines of results in a folder; each is `ImageResult.to_dict()` with `key`, `name` and `files` of the picture.

    Args:
        folder: of the run.
        resume: keep the lines of pictures whose files are all there, and drop the others.
    """

    def __init__(self, folder: Path, *, resume: bool):
        self.folder, self.path = folder, folder / RESULTS
        kept = [record for record in self if self._is_whole(record)] if resume else []
        self.done = {record["source"] for record in kept}
        self._order = [record["source"] for record in kept]
        self._replace(kept)
        self._file = self.path.open("a", encoding="utf-8")

    def __iter__(self) -> Iterator[dict]:
        """Records on disk; a line that was being written when the process was killed is left out."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    return

    def add(self, result, *, key: str, name: str, files: Iterable[Path]) -> None:
        """Appends a picture whose files are written."""
        own = {"key": key, "name": name, "files": [file.relative_to(self.folder).as_posix() for file in files]}
        with naming(self.path):
            self._file.write(json.dumps({**result.to_dict(), **own}) + "\n")
            self._file.flush()
        self._order.append(result.source)

    def close(self, order: list[str] | None = None) -> None:
        """Closes the file.

        Args:
            order: sources of all pictures; records are put in this order if they were written in another.
        """
        with naming(self.path):
            self._file.close()
        if order is not None:
            place = {source: number for number, source in enumerate(order)}
            wanted = sorted((source for source in self._order if source in place), key=place.__getitem__)
            if wanted != self._order:
                records = {record["source"]: record for record in self}
                self._replace([records[source] for source in wanted])

    def _is_whole(self, record: dict) -> bool:
        return all((self.folder / file).exists() for file in record["files"])

    def _replace(self, records: list[dict]) -> None:
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in records).encode(), overwrite=True)
