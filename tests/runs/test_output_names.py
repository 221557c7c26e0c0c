"""Names of output files."""

import pytest

from sam2_hf.errors import OutputExistsError
from sam2_hf.runs.output_names import output_names

SUFFIXES = (".jpg", ".png")


def test_names_mirror_the_tree_and_pictures_of_one_stem_keep_their_suffix():
    keys = ["a.jpg", "a.png", "sub/a.JPG", "sub/b.c.png", "clip.mp4#000012", "d"]
    assert output_names(keys, SUFFIXES) == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "sub/a.JPG": "sub/a",
        "sub/b.c.png": "sub/b.c",
        "clip.mp4#000012": "clip.mp4#000012",
        "d": "d",
    }


def test_names_do_not_depend_on_who_comes_first():
    keys = ["b.png", "a.jpg", "a.png", "b.jpg", "c.png"]
    assert output_names(keys, SUFFIXES) == output_names(keys[::-1], SUFFIXES)


def test_a_picture_named_like_a_file_of_the_run_keeps_its_suffix():
    assert output_names(["run.png", "sub/run.png"], SUFFIXES) == {"run.png": "run.png", "sub/run.png": "sub/run"}


def test_two_pictures_of_one_key_are_refused():
    with pytest.raises(OutputExistsError, match=r"a\.png: two pictures of one name"):
        output_names(["a.png", "a.png"], SUFFIXES)
