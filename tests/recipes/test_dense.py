"""The dense teacher: it learns which pixels belong together, and its weight falls to nothing."""

import pytest
import torch
from dense import open_loss

from sam2_hf.errors import ConfigError
from sam2_hf.training.batches import collate
from sam2_hf.training.build import build_sources
from sam2_hf.training.config import TrainConfig, from_dict
from sam2_hf.training.mixing import MixedDataset
from tests.tiny import micro_config, micro_model
from tests.training.toy import masks_folder


@pytest.fixture
def batch(tmp_path):
    data = [{"kind": "masks", "root": str(masks_folder(tmp_path, 2))}]
    sources = build_sources(from_dict(TrainConfig, {"output": "o", "model": "m", "data": data}, "test"))
    dataset = MixedDataset(sources, 64, seed=0)
    return collate([dataset[0, 0, item, 0] for item in range(2)])


def features(model, batch):
    return model.encode_image(batch.frames.flatten(0, 1))


def test_it_is_learned_and_reaches_the_encoder(batch):
    model = micro_model(image_size=64)
    torch.manual_seed(0)
    head = open_loss(model.config, {})
    optimiser = torch.optim.AdamW([*model.vision_encoder.parameters(), *head.parameters()], lr=1e-3)
    losses = []
    for _ in range(12):
        loss = head(features(model, batch), batch, 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(value.grad.abs().sum() > 0 for value in model.vision_encoder.backbone.blocks[0].parameters())


def test_its_weight_falls_to_nothing(batch):
    model = micro_model(image_size=64)
    head = open_loss(model.config, {"weight": 0.5, "until": 0.8})
    with torch.no_grad():
        found = features(model, batch)
        whole, half = (head(found, batch, progress) for progress in (0.0, 0.4))
    assert float(half) == pytest.approx(0.5 * float(whole))
    assert head(found, batch, 0.8) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"wait": 1}, "no option 'wait'"), ({"until": 0}, "until 0"), ({"weight": -1}, "weight is -1")],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        open_loss(micro_config(), options)
