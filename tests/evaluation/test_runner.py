"""Records per clip, shards, and reports."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sam2_hf.errors import SourceError
from sam2_hf.evaluation import report
from sam2_hf.evaluation.clip_records import ClipRecords, safe_name
from sam2_hf.evaluation.contact_sheet import Case, contact_sheet
from sam2_hf.evaluation.runner import OneProcess, Shard, choose_clips, gather, measure_clips
from sam2_hf.evaluation.scores import Table
from tests.evaluation.toy import disc

CLIPS = [SimpleNamespace(name=name) for name in ("a/1", "a/2", "b/1", "c")]


def kept(folder) -> ClipRecords:
    return ClipRecords(folder, "this model")


class CountingProtocol:
    def __init__(self, broken=()):
        self.measured, self.broken = [], broken

    def measure(self, clip) -> dict:
        if clip.name in self.broken:
            raise SourceError(f"{clip.name} is broken")
        self.measured.append(clip.name)
        return {"name": clip.name, "seconds": 0.5, "objects": [{"id": 1}]}

    def results(self, records, missing) -> dict:
        return {"names": [record["name"] for record in records], "missing": missing}


def test_finished_clips_are_not_measured_again(tmp_path):
    measure_clips(CLIPS[:2], CountingProtocol(), kept(tmp_path))
    protocol = CountingProtocol()
    assert measure_clips(CLIPS, protocol, kept(tmp_path)) == {}
    assert protocol.measured == ["b/1", "c"]
    assert kept(tmp_path).read(CLIPS[0])["name"] == "a/1"


def test_records_of_another_model_or_of_other_files_do_not_count(tmp_path):
    measure_clips(CLIPS[:2], CountingProtocol(), kept(tmp_path))
    protocol = CountingProtocol()
    assert len(gather(CLIPS[:2], protocol, ClipRecords(tmp_path, "another model"), {})["missing"]) == 2
    measure_clips(CLIPS[:2], protocol, ClipRecords(tmp_path, "another model"))
    assert protocol.measured == ["a/1", "a/2"]
    picture = tmp_path / "a.png"
    picture.write_bytes(b"1")
    clip = SimpleNamespace(name="a/1", path=picture)
    measure_clips([clip], CountingProtocol(), kept(tmp_path))
    assert kept(tmp_path).read(clip) is not None
    picture.write_bytes(b"12")
    assert kept(tmp_path).read(clip) is None


@pytest.mark.parametrize("name", ["/etc/passwd.jpg", "../../mine.png", "a/../../b", "", ".", "x" * 300, "ü" * 150, "/"])
def test_records_stay_below_their_folder_whatever_a_clip_is_called(tmp_path, name):
    clip, records = SimpleNamespace(name=name), kept(tmp_path / "out")
    records.write(clip, {"name": name})
    assert records.read(clip) == {"name": name}
    assert all((tmp_path / "out" / "clips") in path.parents for path in tmp_path.rglob("*") if path.is_file())
    assert safe_name(name) != safe_name(name + "2")


def test_plain_names_are_kept():
    assert [safe_name(name) for name in ("walk", "cells/1.png", "a b/c")] == ["walk", "cells/1.png", "a b/c"]


def test_broken_clip_is_named_and_the_others_go_on(tmp_path):
    protocol, lines = CountingProtocol(broken=["a/2"]), []
    failed = measure_clips(CLIPS, protocol, kept(tmp_path), lines.append)
    assert failed == {"a/2": "a/2 is broken"}
    assert protocol.measured == ["a/1", "b/1", "c"]
    assert any("a/2 is broken" in line for line in lines)
    results = gather(CLIPS, protocol, kept(tmp_path), failed)
    assert results["names"] == ["a/1", "b/1", "c"]
    assert results["missing"] == [{"name": "a/2", "reason": "a/2 is broken"}]


def test_shards_are_dealt_round_robin_and_make_the_whole(tmp_path):
    for index in range(3):
        measure_clips(Shard(index=index, count=3).of(CLIPS), CountingProtocol(), kept(tmp_path))
    assert gather(CLIPS, CountingProtocol(), kept(tmp_path), {})["names"] == [clip.name for clip in CLIPS]
    assert [clip.name for clip in Shard.parse("1/3").of(CLIPS)] == ["a/2"]
    assert OneProcess().shard.of(CLIPS) == CLIPS


def test_clips_of_other_shards_are_not_there_yet(tmp_path):
    measure_clips(Shard(index=0, count=2).of(CLIPS), CountingProtocol(), kept(tmp_path))
    missing = gather(CLIPS, CountingProtocol(), kept(tmp_path), {})["missing"]
    assert missing == [{"name": name, "reason": "not measured yet"} for name in ("a/2", "c")]


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "-1/2"])
def test_shards_that_do_not_exist_are_refused(text):
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(text)


def test_clips_are_chosen_by_name_or_folder():
    def names(*arguments) -> list[str]:
        return [clip.name for clip in choose_clips(CLIPS, *arguments, lambda clip: clip.name)]

    assert names([], [], None) == ["a/1", "a/2", "b/1", "c"]
    assert names(["a", "c"], ["a/2"], None) == ["a/1", "c"]
    assert names([], ["a"], 1) == ["b/1"]
    with pytest.raises(ValueError, match="no clip 'd'; the first are a/1, a/2"):
        names(["d"], [], None)


RESULTS = {
    "global": {"JF": 51.234, "objects": 2, "videos": None},
    "videos": [{"name": "walk", "unknown_ids": {"7": 3}, "objects": []}],
    "excluded": [{"video": "walk", "id": 2, "reason": "no visible truth", "false_positive_frames": 4}],
    "missing": [{"name": "run", "reason": "no prediction"}],
    "baselines": {"first_mask_repeated": {"JF": 12.3}},
}


def test_report_tells_the_numbers_and_what_was_left_out(tmp_path):
    table = Table(columns=("sequence", "obj", "J&F"), rows=(("Global score", "", 51.2), ("walk, fast", 1, 51.2)))
    report.write_report(RESULTS, table, tmp_path, "A title")
    assert json.loads((tmp_path / "results.json").read_text()) == RESULTS
    assert (tmp_path / "results.csv").read_text().splitlines()[1:] == ["Global score,,51.2", '"walk, fast",1,51.2']
    page = (tmp_path / "report.md").read_text()
    for part in ("# A title", "| JF | 51.23 |", "run: left out, no prediction", "first_mask_repeated", "7 (3 frames)"):
        assert part in page
    assert "1 objects excluded (no visible truth); masks were predicted on 4 of their frames" in page


def test_long_table_is_cut_in_markdown_only(tmp_path):
    table = Table(columns=("n",), rows=tuple((n,) for n in range(100)))
    assert len(report.to_csv(table).splitlines()) == 101
    assert "40 more rows are in `results.csv`" in report.to_markdown(RESULTS, table, "t")


def test_contact_sheet_shows_truth_and_prediction():
    picture = Image.new("RGB", (54, 36), (10, 120, 10))
    cases = [
        Case(picture=picture, truth=disc(18, 27, 9), predicted=disc(18, 31, 9), caption=f"case {n}\nline two")
        for n in range(5)
    ]
    sheet = np.asarray(contact_sheet(cases))
    assert sheet.shape[1] > 4 * 320
    assert (sheet == (255, 255, 255)).all(axis=2).any()
    assert (sheet == (255, 40, 60)).all(axis=2).any()


def test_contact_sheet_takes_empty_masks_and_whole_pictures():
    picture, empty = Image.new("RGB", (900, 7)), np.zeros((7, 900), dtype=bool)
    for truth, predicted in ((empty, empty), (~empty, empty), (empty, ~empty)):
        contact_sheet([Case(picture=picture, truth=truth, predicted=predicted, caption="x")])
    contact_sheet([])


def test_worst_cases_come_first_and_from_several_clips(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(report, "save_contact_sheet", lambda cases, path: shown.extend(cases))
    picture = Image.new("RGB", (54, 36))
    clips = [
        SimpleNamespace(name=name, num_frames=1, frame_name=lambda index: "0", frame=lambda index: picture)
        for name in ("bad", "good")
    ]
    protocol = SimpleNamespace(shown=lambda clip, entry: ("0", disc(9, 9, 3), disc(9, 9, 3)))
    bad = [{"id": n, "score": n / 100} for n in range(6)]
    videos = [{"name": "bad", "objects": bad}, {"name": "good", "objects": [{"id": 1, "worst_J": 95.0}]}]
    report.write_worst_cases({"videos": videos}, clips, protocol, tmp_path, count=5)
    captions = [case.caption.splitlines() for case in shown]
    assert [name for name, _ in captions] == ["bad", "bad", "bad", "good", "bad"]
    assert captions[1][1] == "frame 0, object 1: 1.0"
