"""A deeper trunk computes the same at first, and learns in its new blocks."""

import pytest
import torch
from deepen import deepen, main, order_of_blocks

from sam2_hf import Sam2Model, Sam2Processor
from tests.tiny import micro_model, micro_processor


def test_new_blocks_are_spread_behind_those_of_their_stage():
    spread = order_of_blocks([1, 2, 4, 1], [0, 0, 2, 1])
    assert [block for block, is_new in spread if not is_new] == list(range(8))
    assert [at for at, (_, is_new) in enumerate(spread) if is_new] == [5, 8, 10]
    assert (4, True) in spread and (3, True) not in spread  # the first block of a stage pools: its neighbour is copied


def test_the_deeper_model_computes_the_same_and_its_new_blocks_learn(tmp_path):
    model = micro_model(image_size=64)
    stages = model.config.vision_config.backbone_config.blocks_per_stage
    model.save_pretrained(tmp_path / "model")
    micro_processor(64).save_pretrained(tmp_path / "model")
    main([str(tmp_path / "model"), str(tmp_path / "out"), "--new", "0", "0", "2", "1"])
    deeper = Sam2Model.from_pretrained(tmp_path / "out").eval()
    found = deeper.config.vision_config.backbone_config.blocks_per_stage
    assert found == [count + new for count, new in zip(stages, (0, 0, 2, 1), strict=True)]
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        old, new = model.get_image_embeddings(pixels), deeper.get_image_embeddings(pixels)
    for one, other in zip(old, new, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    sum(level.square().sum() for level in deeper.get_image_embeddings(pixels)).backward()
    blocks = deeper.vision_encoder.backbone.blocks
    silent = [block for block in blocks if not block.mlp.proj_out.weight.any()]
    assert len(silent) == 3 and all(block.mlp.proj_out.weight.grad.any() for block in silent)
    assert Sam2Processor.from_pretrained(tmp_path / "out").image_processor.size["height"] == 64
    with pytest.raises(SystemExit, match="is there already"):
        main([str(tmp_path / "model"), str(tmp_path / "out"), "--new", "0", "0", "1", "0"])


def test_a_number_for_every_stage_is_needed():
    with pytest.raises(ValueError):
        deepen(micro_model(image_size=64), [0, 0, 1])
