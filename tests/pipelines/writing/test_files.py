"""Files are there whole or not at all; frames wait on disk."""

import pytest

from sam2_hf.errors import OutputExistsError
from sam2_hf.pipelines.writing.files import Spool, check_free, name_of, whole_file, write_whole


def test_file_that_fails_leaves_the_earlier_one(tmp_path):
    path = write_whole(tmp_path / "deep" / "a.txt", b"first", overwrite=False)

    def failing():
        with whole_file(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_files_and_filled_folders_are_taken_and_empty_folders_are_free(tmp_path):
    check_free(tmp_path, overwrite=False)
    check_free(tmp_path / "absent", overwrite=False)
    (tmp_path / "a.txt").touch()
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(OutputExistsError, match="exists already"):
            check_free(path, overwrite=False)
        check_free(path, overwrite=True)


def test_spool_gives_frames_in_order_and_the_newest_record_of_each(tmp_path):
    spool = Spool(tmp_path)
    for frame, record in ((5, "five"), (2, ["two"]), (5, {"again": 5}), (0, None)):
        spool.put(frame, record)
    assert list(spool) == [(0, None), (2, ["two"]), (5, {"again": 5})]
    assert (len(spool), spool.frames, spool[2]) == (3, [0, 2, 5], ["two"])
    spool.put(1, "one")  # after reading
    assert spool[1] == "one"
    spool.close()
    assert not list(tmp_path.iterdir())


def test_names_of_paths_and_addresses():
    assert name_of("a/b.c.jpg") == "b.c.jpg"
    assert name_of("https://host/a/b.jpg?x=1#y") == "b.jpg"
    assert name_of(None) == ""
