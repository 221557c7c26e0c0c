"""Decoded frames: the same in memory and on disk, made once, made anew when something changed."""

import json
import os
import pickle

import numpy as np
import pytest

from sam2_hf.datasets.registry import open_dataset
from sam2_hf.errors import SourceError
from sam2_hf.training import decoded
from sam2_hf.training.build import build_sources
from sam2_hf.training.config import TrainConfig, from_dict
from sam2_hf.training.decoded import FramesInMemory, FramesOnDisk
from sam2_hf.training.sources import ClipSource, SamplingOptions
from tests.training.toy import davis_folder, masks_folder


@pytest.fixture
def clips(tmp_path):
    return open_dataset("davis", davis_folder(tmp_path / "davis", clips=2, frames=3))


def settings(tmp_path, **data):
    entry = {"kind": "masks", "root": str(tmp_path / "data"), "max_side": 24, **data}
    return from_dict(
        TrainConfig, {"output": "o", "model": "m", "data": [entry], "cache": str(tmp_path / "cache")}, "run"
    )


def same(one, other):
    assert np.array_equal(one.pixels, other.pixels)
    assert one.shares == other.shares
    assert all(np.array_equal(one.masks([key]), other.masks([key])) for key in one.packed)
    assert (one.void is None) == (other.void is None)
    assert one.void is None or np.array_equal(one.void, other.void)


def test_frames_on_disk_equal_those_in_memory(clips, tmp_path):
    memory, disk = FramesInMemory(clips, 28), FramesOnDisk.open(clips, tmp_path / "cache", 28)
    for index in range(2):
        for frame in range(3):
            same(memory.get(index, frame), disk.get(index, frame))
    assert disk.get(0, 0).pixels.shape == (20, 28, 3)


def test_pixels_without_truth_are_kept_on_disk(clips, tmp_path):
    clips[0].void = lambda index: np.eye(40, 56, dtype=bool) if index == 1 else None
    disk = FramesOnDisk.open(clips, tmp_path / "cache", 100)
    assert disk.get(0, 0).void is None
    assert np.array_equal(disk.get(0, 1).void, np.eye(40, 56, dtype=bool))
    sample = ClipSource(clips, SamplingOptions(num_frames=3), frames=disk).sample(0, np.random.default_rng(0))
    assert sample.void.flatten(1).sum(dim=1).tolist() == [0, 40, 0]


def test_no_file_is_decoded_twice(clips, tmp_path, monkeypatch):
    FramesOnDisk.open(clips, tmp_path / "cache", 28)
    monkeypatch.setattr(decoded, "decode", lambda *arguments: pytest.fail("decoded again"))
    again = FramesOnDisk.open(clips, tmp_path / "cache", 28)
    assert again.get(1, 2).pixels.shape == (20, 28, 3)


def test_a_changed_file_or_size_makes_the_folder_anew(clips, tmp_path):
    folder = tmp_path / "cache"
    FramesOnDisk.open(clips, folder, 28)
    before = (folder / "index.json").read_text()
    os.utime(clips[0].files[0], ns=(1, 1))
    FramesOnDisk.open(clips, folder, 28)
    changed = (folder / "index.json").read_text()
    assert changed != before
    assert FramesOnDisk.open(clips, folder, 14).get(0, 0).pixels.shape == (10, 14, 3)


def test_a_folder_that_was_stopped_in_the_middle_is_never_used(clips, tmp_path, monkeypatch):
    real, left = decoded.decode, [2]

    def interrupted(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(decoded, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FramesOnDisk.open(clips, tmp_path / "cache", 28)
    assert not list(tmp_path.glob("cache*"))


def test_a_folder_of_something_else_is_left_alone(clips, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mine.txt").write_text("mine")
    with pytest.raises(SourceError, match="was not made by training"):
        FramesOnDisk.open(clips, tmp_path / "cache", 28)
    assert (tmp_path / "cache" / "mine.txt").read_text() == "mine"


def test_frames_on_disk_travel_to_a_worker_without_their_bytes(clips, tmp_path):
    disk = FramesOnDisk.open(clips, tmp_path / "cache", 100)
    expected = disk.get(1, 1)
    packed = pickle.dumps(disk)
    assert len(packed) < expected.pixels.nbytes
    same(pickle.loads(packed).get(1, 1), expected)


def test_runs_with_other_choices_share_the_folder(tmp_path):
    masks_folder(tmp_path / "data", 4)
    one = build_sources(settings(tmp_path, include=["p1"]))[0].source
    two = build_sources(settings(tmp_path, exclude=["p1"]))[0].source
    assert len(list((tmp_path / "cache").iterdir())) == 1
    names = [source.sample(0, np.random.default_rng(0)).name for source in (one, two)]
    assert names == ["p1", "p0"]
    for source, name in ((one, "p1"), (two, "p0")):
        alone = ClipSource(
            [clip for clip in open_dataset("masks", tmp_path / "data") if clip.name == name], SamplingOptions(), 24
        )
        rngs = [np.random.default_rng(7) for _ in range(2)]
        assert (source.sample(0, rngs[0]).frames == alone.sample(0, rngs[1]).frames).all()


def test_a_frame_that_the_folder_does_not_hold_is_named(clips, tmp_path):
    disk = FramesOnDisk.open(clips, tmp_path / "cache", 28)
    index = tmp_path / "cache" / "index.json"
    content = json.loads(index.read_text())
    del content["clips"]["v1"]
    index.write_text(json.dumps(content))
    with pytest.raises(SourceError, match="holds no frame 0 of v1"):
        FramesOnDisk(tmp_path / "cache", clips).get(1, 0)
    assert disk.get(1, 0).pixels.any()
