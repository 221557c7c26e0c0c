"""What a benchmark measures, and how it is told; never how fast."""

import json

import pytest
import torch

from sam2_hf.errors import ConfigError
from sam2_hf.evaluation.benchmark import (
    WORKS,
    Benchmark,
    BenchmarkOptions,
    Row,
    markdown,
    matrix_rate,
    peak_bytes,
    stream_model,
)
from sam2_hf.evaluation.contenders import REMEMBERED, Ours, check_peer
from sam2_hf.processing.processor import Sam2Processor
from tests.tiny import micro_model, micro_processor

SMALL = BenchmarkOptions(works=("encode", "click", "clicks", "generate", "track"), rounds=2, objects=(1, 2))


@pytest.fixture(scope="module")
def record():
    model = micro_model(image_size=64)
    said: list[str] = []
    found = Benchmark(model, micro_processor(64), SMALL, say=said.append).run()
    assert said == [row["work"] for row in found["rows"]]
    return found


def test_every_work_has_a_measurement_per_round_and_a_floor(record):
    works = ["encode a picture", "one click", "64 clicks in one call", "everything, 16 x 16 clicks"]
    assert [row["work"] for row in record["rows"]] == [*works, "video frame, 1 object", "video frame, 2 objects"]
    for row in record["rows"]:
        assert len(row["seconds"]["sam2_hf"]) == SMALL.rounds and row["floor_seconds"] > 0
        assert "ratio" not in row
    json.dumps(record)


def test_arithmetic_of_more_objects_is_more_and_that_of_a_picture_is_counted(record):
    floors = {row["work"]: row["floor_seconds"] for row in record["rows"]}
    assert floors["64 clicks in one call"] > 10 * floors["one click"]
    assert floors["video frame, 2 objects"] > floors["video frame, 1 object"] > floors["encode a picture"]


def test_tables_tell_each_work_once(record):
    told = markdown(record)
    for row in record["rows"]:
        assert told.count(f"| {row['work']} |") == 1
    assert "| 2 | " in told and "GFLOP/s" in told


def test_a_course_has_its_memory_full():
    model = micro_model(image_size=64)
    course = Ours(model, micro_processor(64)).course([torch.randn(1, 3, 64, 64)], 2)
    tracks = list(course._session.tracks.values())
    assert [len(track.memories) for track in tracks] == [REMEMBERED + 1] * 2
    course.step()
    last = tracks[0].memories[REMEMBERED + 1]
    assert not last.prompted and last.spatial is not None
    assert course.record_bytes() == sum(
        tensor.nbytes
        for tensor in (
            last.spatial,
            last.result.mask_logits,
            last.result.object_pointer,
            last.result.object_score,
            last.result.iou_score,
        )
    )


def test_ratios_are_those_of_each_round():
    row = Row(work="x", seconds={"sam2_hf": [1.0, 2.0], "peer": [3.0, 2.0]}, floor=0.5)
    assert row.ratios("peer") == [3.0, 1.0] and row.median("peer") == 2.5


def test_the_library_stands_beside_us_with_our_weights():
    """In numbers of the same weights: see tests/tracking/test_library.py; here only that both run."""
    model = stream_model(0)
    options = BenchmarkOptions(works=WORKS, rounds=1, points_per_side=2, objects=(2,), stream=(18, 22))
    record = Benchmark(model, Sam2Processor.from_config(model.config), options, peer="transformers").run()
    for row in record["rows"]:
        assert set(row["seconds"]) == {"sam2_hf", "transformers"} and row["ratio"]["lowest"] > 0
    kept = record["state"][0]["bytes_per_object_and_frame"]
    assert kept["sam2_hf"] < kept["transformers"]
    ours, theirs = (entry["held_bytes"] for entry in record["stream"])
    assert ours["22"] == ours["18"] and theirs["22"] > theirs["18"]
    assert "transformers holds of one object" in markdown(record)


def test_peak_is_what_a_call_holds_at_once():
    def call():
        first = torch.zeros(1024, 1024)
        second = first + 1
        del first
        return second * 2

    assert 8 << 20 <= peak_bytes(call, torch.device("cpu")) < 9 << 20


def test_attention_of_a_cpu_is_arithmetic_too():
    query, key = torch.randn(1, 2, 8, 16), torch.randn(1, 2, 32, 16)
    benchmark = Benchmark(micro_model(image_size=64), micro_processor(64), SMALL)
    benchmark.rate = 1.0
    with torch.inference_mode():
        counted = benchmark._floor(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, key))
    assert counted == 2 * 2 * 8 * 32 * (16 + 16)


def test_rate_is_of_the_dtype_that_is_measured():
    assert matrix_rate(torch.device("cpu"), torch.float32) > 1e6


def test_wrong_words_are_refused():
    with pytest.raises(ValueError, match="there is no work 'sleep'"):
        BenchmarkOptions(works=("sleep",))
    with pytest.raises(ValueError, match="must be at least 1"):
        BenchmarkOptions(rounds=0)
    with pytest.raises(ConfigError, match="there is no peer 'jax'"):
        check_peer("jax")
