"""The training data at training size: same names, smaller files, masks whose ids are kept."""

import numpy as np
import pytest
from pack import main, pack, shrunk_ids
from PIL import Image

from sam2_hf.datasets.registry import open_dataset
from tests.golden.recipe import golden_scene, golden_scene_ids
from tests.training.toy import davis_folder


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    (root / "photos" / "set").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(golden_scene(80, 112, seed=number)).save(root / "photos" / "set" / f"p{number}.jpg")
        ids = Image.fromarray(golden_scene_ids(80, 112, seed=number))
        ids.save(root / "photos" / "set" / f"p{number}.mask.png")
    davis_folder(root / "videos", clips=1, frames=2, size=(80, 112))
    (root / "cutouts").mkdir()
    Image.new("RGBA", (90, 40), (9, 200, 30, 120)).save(root / "cutouts" / "one.webp")
    return root


def test_what_is_packed_opens_as_what_it_was_made_from(data, tmp_path):
    pack(data, tmp_path / "out", side=56, quality=90)
    for kind, part in (("masks", "photos"), ("davis", "videos")):
        for before, after in zip(open_dataset(kind, data / part), open_dataset(kind, tmp_path / "out" / part),
                                 strict=True):  # fmt: skip
            assert (after.name, after.labelled_frames) == (before.name, before.labelled_frames)
            assert after.size == (40, 56)
            assert set(after.object_ids) == set(before.object_ids)
            for key, mask in after.masks(0).items():
                assert abs(mask.mean() - before.masks(0)[key].mean()) < 0.02
            pixels = np.asarray(before.frame(0).resize((56, 40), Image.Resampling.BOX), float)
            assert np.abs(np.asarray(after.frame(0)) - pixels).mean() < 12


def test_alpha_stays(data, tmp_path):
    pack(data, tmp_path / "out", side=30, quality=90)
    with Image.open(tmp_path / "out" / "cutouts" / "one.webp") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (30, 13))
        assert abs(int(np.asarray(picture)[5, 5, 3]) - 120) < 8


def test_thin_ids_lose_to_what_covers_most_of_a_pixel():
    ids = np.array([[0, 0, 7, 7], [0, 3, 7, 7]], np.uint8)
    assert shrunk_ids(ids, (1, 2)).tolist() == [[0, 7]]
    many = np.arange(20 * 20).reshape(20, 20)
    assert shrunk_ids(many, (10, 10)).shape == (10, 10)
    assert set(shrunk_ids(many, (10, 10)).ravel()) <= set(many.ravel())


def test_too_large_a_result_is_an_error_that_says_what_helps(data, tmp_path, capsys):
    with pytest.raises(SystemExit, match="lower --side or --quality"):
        main([str(data), str(tmp_path / "out"), "--limit-mb", "0.0001"])
    assert "MB" in capsys.readouterr().out


def test_a_folder_that_is_there_is_left_alone(data, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="is there already"):
        pack(data, tmp_path / "out", side=30, quality=90)
    with pytest.raises(SystemExit, match="holds none of"):
        pack(tmp_path / "out", tmp_path / "other", side=30, quality=90)
