"""Weights between two models: the picture parts and the memory by shares of their own."""

import pytest
import torch
from blend import main

from sam2_hf import Sam2Model, Sam2Processor
from tests.tiny import saved_micro


def test_each_part_has_its_share(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        saved_micro(tmp_path / name, 64, seed=seed)
    first, second, out = (str(tmp_path / name) for name in ("a", "b", "out"))
    main([first, second, out, "--pictures", "0.75", "--memory", "0"])
    a, b, mixed = (Sam2Model.from_pretrained(folder).state_dict() for folder in (first, second, out))
    name = "vision_encoder.backbone.patch_embed.projection.weight"
    assert not torch.equal(a[name], b[name])
    torch.testing.assert_close(mixed[name], 0.25 * a[name] + 0.75 * b[name])
    memory = [name for name in a if name.startswith("memory_")]
    assert memory
    assert all(torch.equal(mixed[name], a[name]) for name in memory)
    assert Sam2Processor.from_pretrained(out).image_processor.size["height"] == 64
    with pytest.raises(SystemExit, match="is there already"):
        main([first, second, out])
