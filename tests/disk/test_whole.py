"""Files are there whole or not at all, and whoever keeps account is told of them."""

import errno
import resource

import pytest

from sam2_hf.disk.whole import check_free, naming, part_of, told_of_files, whole_file, whole_folder, write_whole
from sam2_hf.errors import OutputExistsError


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


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "ü" * 125 + ".json", "a." + "b" * 253])
def test_longest_names_that_a_disk_takes_can_be_written(tmp_path, name):
    path = write_whole(tmp_path / name, b"data", overwrite=False)
    assert path.read_bytes() == b"data"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_hidden_names_of_two_long_names_are_not_the_same(tmp_path):
    first, second = (part_of(tmp_path / ("x" * 250 + f"{number}.png")) for number in (1, 2))
    assert first != second and first.suffix == ".png"


def test_folder_takes_its_files_together_and_keeps_its_others(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.txt").write_text("old")
    (tmp_path / "model" / "mine.txt").write_text("mine")

    def failing():
        with whole_folder(tmp_path / "model") as part:
            (part / "a.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert (tmp_path / "model" / "a.txt").read_text() == "old"
    with whole_folder(tmp_path / "model") as part:
        (part / "sub").mkdir()
        (part / "a.txt").write_text("new")
        (part / "sub" / "b.txt").write_text("new")
    found = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"model/a.txt": "new", "model/sub/b.txt": "new", "model/mine.txt": "mine"}


def test_full_disk_names_the_file_and_leaves_the_earlier_one(tmp_path):
    path = write_whole(tmp_path / "a.bin", b"first", overwrite=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"a\.bin"):
            write_whole(path, bytes(100_000), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_error_that_names_a_file_keeps_its_name(tmp_path):
    with pytest.raises(OSError, match="other"), naming(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device", "other")


def test_listeners_hear_of_a_file_before_it_has_its_name(tmp_path):
    heard = []
    with told_of_files(lambda path: heard.append((path.name, path.exists()))):
        write_whole(tmp_path / "a.txt", b"1", overwrite=False)
        with whole_folder(tmp_path / "deep") as part:
            (part / "b.txt").write_text("2")
    write_whole(tmp_path / "c.txt", b"3", overwrite=False)
    assert list(dict.fromkeys(heard)) == [("a.txt", False), ("b.txt", False)]
