"""The speed protocol on the CPU: which fields it returns, and that nothing is left changed."""

import pytest
import torch

from sam2_hf.evaluation.speed import SpeedOptions, SpeedTest
from tests.golden.recipe import golden_scene
from tests.tiny import micro_model, micro_processor

SIDE = 64


@pytest.fixture(scope="module")
def record() -> dict:
    frames = [golden_scene(36, 54, index) for index in range(3)]
    options = SpeedOptions(passes=2, discarded=1, object_counts=(1, 3), calls=2, stream_lengths=(20, 40))
    return SpeedTest(micro_model(image_size=SIDE), micro_processor(SIDE), frames, options).run()


def test_every_field_of_the_protocol_is_there(record):
    assert {"device", "dtype", "versions", "image_size", "prompted_frames", "frames", "passes"} < set(record)
    assert record["image_size"] == SIDE
    assert record["video_size"] == [36, 54]
    assert record["image_encode_seconds"] > 0
    assert record["decoder_calls_per_second"] > 0
    assert record["versions"]["torch"] == torch.__version__


def test_speed_is_frames_over_seconds_of_the_passes_that_count(record):
    assert set(record["tracking"]) == {"1", "3"}
    for one in record["tracking"].values():
        assert one["frames_per_second"] == pytest.approx(3 * (2 - 1) / one["seconds"])
        assert one["peak_bytes"] is None  # not counted on a CPU
    assert record["frames_per_second"] == record["tracking"]["1"]["frames_per_second"]


def test_stream_holds_the_same_however_long_it_is(record):
    first, second = record["stream_memory"]
    assert (first["frames"], second["frames"]) == (20, 40)
    assert first["held_bytes"] == second["held_bytes"] > 0


def test_passes_that_all_warm_up_are_refused():
    with pytest.raises(ValueError, match="`discarded` is 5"):
        SpeedOptions(passes=5, discarded=5)


def test_precision_of_products_is_as_before(record):
    assert torch.get_float32_matmul_precision() == "highest"


def test_compiled_parts_are_measured_and_left_as_they_were(monkeypatch):
    model = micro_model(image_size=SIDE)
    compile_for_inference, uncompile, seen = model.compile_for_inference, model.uncompile, []

    def compile_quickly():
        seen.append("compiled")
        return compile_for_inference(backend="eager")

    def undo():
        seen.append("uncompiled")
        return uncompile()

    monkeypatch.setattr(model, "compile_for_inference", compile_quickly)
    monkeypatch.setattr(model, "uncompile", undo)
    frames = [golden_scene(36, 54, index) for index in range(2)]
    options = SpeedOptions(passes=2, discarded=1, object_counts=(1,), calls=1, stream_lengths=(), compiled=True)
    record = SpeedTest(model, micro_processor(SIDE), frames, options).run()
    assert seen == ["compiled", "uncompiled"]
    assert record["compiled"]["frames_per_second"] > 0
