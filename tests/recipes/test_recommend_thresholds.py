"""Recommended thresholds: what a pair keeps, which pair is best, and that it reaches the generator."""

import json

import numpy as np
import pytest
from PIL import Image
from recommend_thresholds import Candidates, main, recommended, trials

from sam2_hf import Sam2MaskGenerator, Sam2Model, Sam2Processor
from tests.golden.recipe import golden_scene, golden_scene_ids
from tests.tiny import saved_micro


def candidates():
    """Two objects; the first is drawn well twice, the second badly by a sure and well by an unsure candidate."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9.5], [20, 20, 30, 30], [40, 40, 50, 50]], np.float32)
    return Candidates(
        iou=np.array([0.9, 0.85, 0.7, 0.42], np.float32),
        stability=np.array([0.96, 0.9, 0.8, 0.6], np.float32),
        boxes=boxes,
        overlaps=np.array([[0.8, 0.0], [0.7, 0.0], [0.0, 0.3], [0.0, 0.6]]),
    )


def test_a_pair_of_thresholds_keeps_what_reaches_both_and_nothing_twice():
    assert candidates().score(0.8, 0.95) == (1, 2, 1)
    assert candidates().score(0.8, 0.5) == (1, 2, 1)  # the second drawing of the first object is suppressed
    assert candidates().score(0.4, 0.5) == (2, 2, 3)
    assert candidates().score(0.95, 0.5) == (0, 2, 0)


def test_the_best_pair_finds_most_with_few_enough_masks():
    rows = trials([candidates()])
    best = recommended(rows, most_masks=3)
    assert (best["recall"], best["masks"]) == (100, 3)
    assert best["pred_iou_thresh"] <= 0.4
    assert recommended(rows, most_masks=2)["recall"] == 50
    with pytest.raises(SystemExit, match="raise --most-masks"):
        recommended(rows[:1], most_masks=2)


@pytest.mark.parametrize("write", [False, True])
def test_the_block_is_printed_and_written_where_the_generator_reads_it(tmp_path, capsys, write):
    saved_micro(tmp_path / "model", 64)
    (tmp_path / "data").mkdir()
    Image.fromarray(golden_scene(40, 56)).save(tmp_path / "data" / "a.png")
    Image.fromarray(golden_scene_ids(40, 56)).save(tmp_path / "data" / "a.mask.png")
    arguments = [str(tmp_path / "model"), "--root", str(tmp_path / "data"), "--points-per-side", "3"]
    main([*arguments, "--most-masks", "1000", *(["--write", str(tmp_path / "model")] if write else [])])
    block = json.loads(capsys.readouterr().out.partition("  on 1 pictures")[0])
    processor = Sam2Processor.from_pretrained(tmp_path / "model")
    options = Sam2MaskGenerator(Sam2Model.from_pretrained(tmp_path / "model"), processor).options
    wanted = block if write else {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.95}
    assert {name: getattr(options, name) for name in block} == wanted
