"""Masks in folders against true masks in folders, in both layouts."""

import json

import numpy as np
import pytest
from PIL import Image

from sam2_hf.datasets.mask_folders import truth_folders
from sam2_hf.errors import SourceError
from sam2_hf.evaluation.baselines import FirstMaskRepeated
from sam2_hf.evaluation.folder_scores import ScoringRules, score_folders, score_video
from sam2_hf.evaluation.scores import score_table
from tests.evaluation.toy import HEIGHT, WIDTH, disc, moving_ids, write_objects, write_palette

FRAMES = 8


def shifted(frames: list[np.ndarray], by: int = 1) -> list[np.ndarray]:
    return [np.roll(ids, by, axis=1) for ids in frames]


@pytest.fixture
def palettes(tmp_path):
    """Two videos: truth and prediction in the DAVIS layout."""
    truth, predicted = tmp_path / "truth", tmp_path / "predicted"
    for name, by in (("walk", 1), ("run", 2)):
        write_palette(truth / name, moving_ids(FRAMES))
        write_palette(predicted / name, shifted(moving_ids(FRAMES), by))
    return truth, predicted


def score(truth, predicted, rules=None, **more) -> dict:
    return score_folders(truth_folders(truth), truth_folders(predicted), rules, **more)


def objects(results: dict, video: str) -> dict[int, dict]:
    return {one["id"]: one for one in next(v for v in results["videos"] if v["name"] == video)["objects"]}


def test_global_score_is_the_mean_over_objects_not_videos(palettes):
    results = score(*palettes)
    scores = [one for video in results["videos"] for one in video["objects"]]
    assert len(scores) == results["global"]["objects"] == 6
    assert results["global"]["J"] == pytest.approx(np.mean([one["J"] for one in scores]))
    assert results["global"]["JF"] == pytest.approx((results["global"]["J"] + results["global"]["F"]) / 2)
    assert results["global"]["videos"] == 2
    assert results["global"]["frames"] == 2 * (FRAMES - 2)


def test_later_object_counts_from_where_it_is_seen(palettes):
    found = objects(score(*palettes), "walk")
    assert {key: one["frames"] for key, one in found.items()} == {1: 6, 2: 6, 5: 5}
    assert found[2]["visible_frames"] == 3
    everything = objects(score(*palettes, ScoringRules(skip_first_and_last=False)), "walk")
    assert {key: one["frames"] for key, one in everything.items()} == {1: 8, 2: 8, 5: 6}


def test_later_object_counts_from_where_the_prediction_sees_it(palettes):
    truth, predicted = palettes
    early = moving_ids(FRAMES)
    early[1][disc(10, 45, 5)] = 5  # one frame too early
    write_palette(predicted / "walk", early)
    found = objects(score(truth, predicted), "walk")
    assert found[5]["frames"] == 6
    assert found[5]["J"] == pytest.approx(100 * 5 / 6)


def test_vanished_object_scores_on_frames_without_it(palettes):
    truth, predicted = palettes
    found = objects(score(truth, truth), "walk")
    assert found[2]["J"] == found[2]["F"] == 100.0
    stays = [np.where(disc(27, 30, 6) & (ids == 0), 2, ids).astype(np.uint8) for ids in moving_ids(FRAMES)]
    write_palette(predicted / "walk", stays)
    assert objects(score(truth, predicted), "walk")[2]["J"] == pytest.approx(100 * 3 / 6)


def test_both_layouts_give_equal_numbers_when_objects_are_there_from_the_start(tmp_path):
    frames = [np.where(ids == 5, 0, ids).astype(np.uint8) for ids in moving_ids(FRAMES)]
    moved = shifted(frames)
    palette = score_video(
        "a", write_palette(tmp_path / "p", frames), write_palette(tmp_path / "q", moved), ScoringRules()
    )
    single = score_video(
        "a", write_objects(tmp_path / "o", frames, (1, 2)), write_objects(tmp_path / "r", moved, (1, 2)), ScoringRules()
    )
    assert palette.objects == single.objects
    assert palette.frames == single.frames == FRAMES - 2


def test_objects_of_their_own_files_may_overlap(tmp_path):
    for folder in ("truth", "predicted"):
        for object_id, mask in ((0, disc(12, 20, 9)), (1, disc(16, 24, 9))):
            own = tmp_path / folder / f"{object_id:03d}"
            own.mkdir(parents=True)
            for index in range(4):
                Image.fromarray(mask).save(own / f"{index:05d}.png")
    result = score_video("a", tmp_path / "truth", tmp_path / "predicted", ScoringRules())
    assert [(one.object_id, one.jf) for one in result.objects] == [(0, 100.0), (1, 100.0)]


def test_object_that_the_truth_never_shows_is_listed_with_its_false_positives(tmp_path):
    frames = [ids * (ids == 1) for ids in moving_ids(FRAMES)]
    truth = write_objects(tmp_path / "truth" / "a", frames, (1, 2))
    wrong = [np.where(disc(27, 30, 6), 2, ids).astype(np.uint8) for ids in frames]
    predicted = write_objects(tmp_path / "predicted" / "a", wrong, (1, 2))
    result = score_video("a", truth, predicted, ScoringRules())
    assert [one.object_id for one in result.objects] == [1]
    assert result.excluded == ({"id": 2, "reason": "no visible truth", "false_positive_frames": 6},)
    assert json.loads(json.dumps(result.to_dict()))["excluded"] == list(result.excluded)  # plain numbers


def test_object_of_the_first_frame_only_is_excluded(tmp_path):
    frames = [ids.copy() for ids in moving_ids(FRAMES)]
    frames[0][30:, :5] = 9
    result = score_video(
        "a", write_palette(tmp_path / "t", frames), write_palette(tmp_path / "p", frames), ScoringRules()
    )
    assert [one.object_id for one in result.objects] == [1, 2, 5]
    assert result.excluded == ({"id": 9, "reason": "no frame to evaluate", "false_positive_frames": 0},)


@pytest.mark.parametrize("write", [write_palette, write_objects])
def test_clip_of_two_frames_has_nothing_to_evaluate(tmp_path, write):
    folder = write(tmp_path / "two", moving_ids(FRAMES)[:2])
    result = score_video("two", folder, folder, ScoringRules())
    assert result.objects == ()
    assert {entry["reason"] for entry in result.excluded} == {"no frame to evaluate"}
    results = score_folders({"two": folder}, {"two": folder})
    assert results["global"]["JF"] is None
    assert score_table(results).rows == (("Global score", "", "", "", ""),)


def test_void_pixels_count_neither_for_nor_against(tmp_path):
    frames = moving_ids(FRAMES)
    void = disc(12, 30, 9)
    truth = write_palette(tmp_path / "truth", [np.where(void, 255, ids).astype(np.uint8) for ids in frames])
    predicted = write_palette(tmp_path / "predicted", [np.where(void, 1, ids).astype(np.uint8) for ids in frames])
    assert {one.object_id: one.j for one in score_video("a", truth, predicted, ScoringRules()).objects} == {
        1: 100.0, 2: 100.0, 5: 100.0
    }  # fmt: skip
    kept = score_video("a", truth, predicted, ScoringRules(void=False))
    assert {one.object_id for one in kept.objects} == {1, 2, 5, 255}
    assert next(one.j for one in kept.objects if one.object_id == 255) == 0.0


def test_ids_that_only_the_prediction_has_are_counted(palettes):
    truth, predicted = palettes
    frames = moving_ids(FRAMES)
    for ids in frames[3:5]:
        ids[:3, :3] = 77
    write_palette(predicted / "walk", frames)
    results = score(truth, predicted)
    assert next(v for v in results["videos"] if v["name"] == "walk")["unknown_ids"] == {"77": 2}
    assert 77 not in objects(results, "walk")


def test_missing_video_is_an_error_that_names_it_or_is_reported(palettes):
    truth, predicted = palettes
    (predicted / "walk").rename(predicted.parent / "elsewhere")
    with pytest.raises(SourceError, match="no prediction for 1 of 2 videos: walk"):
        score(truth, predicted)
    results = score(truth, predicted, allow_missing=True)
    assert results["missing"] == [{"name": "walk", "reason": "no prediction"}]
    assert results["global"]["videos"] == 1


@pytest.mark.parametrize("frame", ["00003", "00001"])
def test_missing_file_of_an_evaluated_frame_is_an_error(palettes, frame):
    truth, predicted = palettes
    (predicted / "run" / f"{frame}.png").unlink()
    with pytest.raises(SourceError, match=f"{frame}.png: there is no mask for this frame"):
        score(truth, predicted)
    results = score(truth, predicted, allow_missing=True)
    assert [entry["name"] for entry in results["missing"]] == ["run"]


def test_files_of_other_frames_are_ignored(palettes):
    truth, predicted = palettes
    before = score(truth, predicted)
    (predicted / "run" / "00000.png").unlink()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(predicted / "run" / "00099.png")
    assert score(truth, predicted)["global"] == before["global"]


def test_prediction_of_another_size_is_an_error(palettes):
    truth, predicted = palettes
    write_palette(predicted / "run", [ids[:, :-1] for ids in moving_ids(FRAMES)])
    with pytest.raises(SourceError, match=rf"\({HEIGHT}, {WIDTH - 1}\), the truth \({HEIGHT}, {WIDTH}\)"):
        score(truth, predicted)


def test_object_file_with_three_values_is_refused(tmp_path):
    folder = tmp_path / "000"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(folder / f"{index}.png")
    with pytest.raises(SourceError, match="more than two values"):
        score_video("a", tmp_path, tmp_path, ScoringRules())


@pytest.mark.slow
def test_several_processes_give_what_one_gives(palettes):
    assert score(*palettes, workers=2) == score(*palettes)


def test_curves_hold_every_evaluated_frame(palettes):
    results = score(*palettes, ScoringRules(curves=True))
    curve = next(v for v in results["videos"] if v["name"] == "walk")["curves"]["1"]
    assert [one["frame"] for one in curve] == [f"{index:05d}" for index in range(1, FRAMES - 1)]
    assert np.mean([one["J"] for one in curve]) == pytest.approx(objects(results, "walk")[1]["J"])


@pytest.mark.parametrize("write", [write_palette, write_objects])
def test_first_mask_repeated_is_perfect_while_nothing_moves(tmp_path, write):
    folder = write(tmp_path / "a", moving_ids(FRAMES))
    result = score_video("a", folder, None, ScoringRules(), baseline=FirstMaskRepeated)
    by_id = {one.object_id: one for one in result.objects}
    assert by_id[5].j == 100.0
    assert by_id[2].j == pytest.approx(50.0)  # it is gone on half of the evaluated frames
    assert 0 < by_id[1].j < 60


def test_table_has_the_global_line_first_and_one_decimal(palettes):
    table = score_table(score(*palettes))
    assert table.columns == ("sequence", "obj", "J&F", "J", "F")
    assert table.rows[0][0] == "Global score"
    assert [row[:2] for row in table.rows[1:]] == [(name, key) for name in ("run", "walk") for key in (1, 2, 5)]
    assert all(value == round(value, 1) for row in table.rows for value in row[2:])
