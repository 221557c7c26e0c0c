"""The trainer: learns, stops and goes on exactly, freezes, adapts, accumulates, keeps the best."""

import json
import math
import resource
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from sam2_hf import Sam2Model
from sam2_hf.errors import ConfigChangedError, ConfigError, OutputExistsError, SourceError, TrainingError
from sam2_hf.training.build import build_sources
from sam2_hf.training.checkpoints import LOG, STATE, TrainingFolder
from sam2_hf.training.config import TrainConfig, from_dict
from sam2_hf.training.trainer import Sam2Trainer
from sam2_hf.training.validation_loss import mean_loss
from tests.tiny import micro_model, micro_processor
from tests.training.toy import davis_folder, masks_folder

FAST = {"learning_rate": 1e-3, "encoder_learning_rate": 1e-3, "layer_decay": 1.0, "clip_norm": 1.0}


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """accelerate keeps its settings for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def config(tmp_path, output="run", data=None, **changes) -> TrainConfig:
    if data is None:
        root = tmp_path / "pictures"
        data = [{"kind": "masks", "root": str(root if root.exists() else masks_folder(root, 4)), "batch_size": 2}]
    values = {
        "output": str(tmp_path / output),
        "model": "given",
        "data": data,
        "optimiser": FAST,
        "prompts": {"num_corrections": 1},
        "epochs": 3,
        "workers": 0,
        "log_every": 1,
        "memory_dropout": 0.0,
        **changes,
    }
    return from_dict(TrainConfig, values, "test")


def trainer(settings: TrainConfig, model=None, **others) -> Sam2Trainer:
    model = micro_model(image_size=64) if model is None else model
    return Sam2Trainer(model, settings, build_sources(settings), **others)


def log(settings: TrainConfig) -> list[dict]:
    records = [json.loads(line) for line in (Path(settings.output) / LOG).read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "clips_per_second"} for record in records]


def weights(settings: TrainConfig, folder="model") -> dict[str, torch.Tensor]:
    return load_file(f"{settings.output}/{folder}/model.safetensors")


def clip_data(tmp_path, **sampling):
    root = tmp_path / "clips"
    if not root.exists():
        davis_folder(root, 2, frames=4)
    return {"kind": "davis", "root": str(root), "sampling": {"num_frames": 3, **sampling}}


def test_one_clip_can_be_learned_by_heart(tmp_path):
    still = {"flip": 0, "rotation": 0, "shear": 0, "jitter": [0, 0, 0], "frame_jitter": [0, 0, 0], "grey": 0}
    data = [{**clip_data(tmp_path, max_objects=2), "include": ["v0"], "augment": still, "repeat": 50}]
    settings = config(tmp_path, data=data, epochs=1, prompts={"points_probability": 0.0}, max_steps=50)
    trainer(settings).train()
    losses = [record["loss"] for record in log(settings)]
    assert sum(losses[-5:]) / 5 < 0.5 * sum(losses[:5]) / 5


def test_the_result_is_a_folder_that_loads_whole(tmp_path):
    settings = config(tmp_path, epochs=1)
    job = trainer(settings, processor=micro_processor(64))
    job.train()
    loaded, report = Sam2Model.from_pretrained(f"{settings.output}/model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for (name, ours), theirs in zip(job.model.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    """Pictures and clips mixed, dropout on, averaged weights.

    Adam turns a gradient that is zero but for rounding into a whole step, so single weights may differ: what counts is
    how far apart the two runs end, over how far they went.
    """
    masks = {"kind": "masks", "root": str(masks_folder(tmp_path / "pictures", 4)), "batch_size": 2}
    common = {
        "data": [masks, clip_data(tmp_path)],
        "average": 0.9,
        "memory_dropout": 0.1,
        "drop_path": 0.1,
        "max_steps": 9,
        "save_every": 4,
    }
    whole = config(tmp_path, "whole", **common)
    start = micro_model(image_size=64).state_dict()
    trainer(whole).train()

    broken = config(tmp_path, "broken", **common)
    job = trainer(broken)
    original = job._batch

    def until_step_six(*arguments):
        if job.step == 6:
            raise KilledError
        return original(*arguments)

    job._batch = until_step_six
    with pytest.raises(KilledError):
        job.train()
    assert len(log(broken)) == 6
    trainer(broken).train(resume=True)
    for one, other in zip(log(broken), log(whole), strict=True):
        assert one == pytest.approx(other, rel=2e-2, abs=1e-4)
    assert distance(weights(broken), weights(whole)) < 0.05 * distance(weights(whole), start)


def same_step(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether weights moved alike, but for the few whose gradient is zero but for rounding: Adam moves those too."""
    return bool(((first - second).abs() > 2e-4 + 1e-3 * second.abs()).float().mean() < 1e-2)


def distance(first: dict, second: dict) -> float:
    """Between two sets of weights."""
    return math.sqrt(sum(float((first[name] - second[name]).square().sum()) for name in first))


def test_accumulated_batches_are_one_batch(tmp_path):
    """Four pictures with one object each: two batches of two make the step that one batch of four makes."""
    root = masks_folder(tmp_path / "pictures", 4)
    sampling = {"max_objects": 1, "fill_objects": True}
    losses = {}
    for size, accumulate in ((4, 1), (2, 2)):
        data = [{"kind": "masks", "root": str(root), "batch_size": size, "sampling": sampling}]
        boxes = {"box_probability": 1, "num_corrections": 0}
        settings = config(tmp_path, f"run{size}", data=data, accumulate=accumulate, epochs=1, prompts=boxes)
        trainer(settings).train()
        losses[size] = weights(settings)
    for name, value in losses[4].items():
        assert same_step(losses[2][name], value), name


def test_too_little_for_one_step_is_an_error_and_no_finished_run(tmp_path):
    with pytest.raises(ConfigError, match="2 batches in 1 epochs are less than one step of 8; raise `epochs`"):
        trainer(config(tmp_path, accumulate=8, epochs=1))


def changed(before: dict, after: dict) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_frozen_parts_do_not_change(tmp_path):
    settings = config(tmp_path, freeze=["image_encoder", "prompt_encoder"])
    model = micro_model(image_size=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    job = trainer(settings, model)
    job.train()
    assert not model.vision_encoder.training
    assert changed(before, model.state_dict()) == {"mask_decoder", "no_memory_embedding"}


def test_pictures_do_not_touch_the_memory_and_clips_do(tmp_path):
    model = micro_model(image_size=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer(config(tmp_path, "pictures_only", epochs=1), model).train()
    assert not any(name.startswith(("memory", "object_pointer")) for name in changed(before, model.state_dict()))
    model = micro_model(image_size=64)
    trainer(config(tmp_path, "clips_too", data=[clip_data(tmp_path)], epochs=1), model).train()
    assert {"memory_attention", "memory_encoder", "object_pointer_proj"} <= changed(before, model.state_dict())


def test_adapters_learn_alone_and_are_merged(tmp_path):
    freeze = ["image_encoder", "memory", "prompt_encoder", "mask_decoder", "no_memory_embedding"]
    settings = config(tmp_path, lora={"rank": 2}, freeze=freeze)
    model = micro_model(image_size=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    job = trainer(settings, model)
    job.train()
    after = weights(settings)
    moved = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.endswith("attn.qkv.weight") for name in moved)
    loaded = Sam2Model.from_pretrained(f"{settings.output}/model").eval()
    pixels = torch.randn(1, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        ours = model.get_image_embeddings(pixels)[2]
        torch.testing.assert_close(loaded.get_image_embeddings(pixels)[2], ours, atol=1e-5, rtol=1e-4)


def test_checkpointing_changes_no_number(tmp_path):
    results = []
    for name, extra in (
        ("plain", {}),
        (
            "lean",
            {"gradient_checkpointing": True, "rollout": {"checkpoint_corrections": True, "encode_per_frame": True}},
        ),
    ):
        settings = config(tmp_path, name, data=[clip_data(tmp_path)], epochs=1, **extra)
        trainer(settings).train()
        results.append(weights(settings))
    for name, value in results[0].items():
        assert same_step(results[1][name], value), name


def test_bf16_trains(tmp_path):
    settings = config(tmp_path, mixed_precision="bf16", data=[clip_data(tmp_path)], epochs=2)
    trainer(settings).train()
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in weights(settings).values())


LOSS = """
from torch import nn


class Small(nn.Module):
    def __init__(self, width, until):
        super().__init__()
        self.read, self.until = nn.Linear(width, 1), until

    def forward(self, features, batch, progress):
        vectors = features.image_embedding.flatten(2).mean(dim=2)
        return (self.read(vectors) - 3).square().mean() if progress < self.until else None


def open_loss(config, options):
    return Small(config.hidden_size, **options)
"""


def test_a_loss_of_the_recipe_learns_with_the_model_and_is_not_saved_with_it(tmp_path):
    (tmp_path / "mine.py").write_text(LOSS)
    off = {"focal": 0, "dice": 0, "iou": 0, "object_score": 0}
    extra = {"root": str(tmp_path / "mine.py"), "options": {"until": 0.75}}
    settings = config(tmp_path, extra_loss=extra, loss=off, epochs=4)
    model = micro_model(image_size=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer(settings, model).train()
    records = log(settings)
    assert [("extra" in record) for record in records] == [True] * 6 + [False] * 2
    assert records[5]["extra"] < records[0]["extra"]
    assert "vision_encoder" in changed(before, model.state_dict())
    assert set(weights(settings)) == set(before)
    assert "extra.read.weight" in torch.load(Path(settings.output) / STATE, weights_only=True)["model"]


def test_what_begins_with_random_weights_begins_with_those_of_the_seed(tmp_path):
    (tmp_path / "mine.py").write_text(LOSS)
    extra = {"root": str(tmp_path / "mine.py"), "options": {"until": 1}}
    found = {}
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)  # as another caller leaves it
        job = trainer(config(tmp_path, f"run{number}", extra_loss=extra, lora={"rank": 2}, seed=seed))
        parts = job.learner.module.state_dict()
        found[number] = torch.cat([parts[name].flatten() for name in parts if "extra" in name or "lora_A" in name])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_loss_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere\.py: there is no such file, but the run takes a loss from it"):
        trainer(config(tmp_path, extra_loss={"root": "nowhere.py"}))
    (tmp_path / "mine.py").write_text("x = 1")
    with pytest.raises(ConfigError, match=r"mine\.py: has no function `open_loss\(config, options\)`"):
        trainer(config(tmp_path, extra_loss={"root": str(tmp_path / "mine.py")}))


def test_validation_keeps_the_best_model(tmp_path):
    scores = iter([1.0, 3.0, 2.0])
    seen = []

    def validate(model):
        assert not model.training
        seen.append(model.mask_decoder.iou_token.weight.detach().clone())
        return {"score": next(scores)}

    settings = config(tmp_path, average=0.5)
    job = trainer(settings, validate=validate)
    job.train()
    assert torch.equal(weights(settings, "best")["mask_decoder.iou_token.weight"], seen[1])
    assert job.figures == {"score": 2.0}
    assert job.model.training
    assert [record["validation"]["score"] for record in log(settings) if "validation" in record] == [1.0, 3.0, 2.0]


def test_those_who_watch_are_shown_the_model_that_is_saved(tmp_path):
    """At every save and validation, with averaged weights and without dropout."""
    seen = []

    def kept(step, model):
        assert not model.training
        seen.append((step, model.mask_decoder.iou_token.weight.detach().clone()))

    settings = config(tmp_path, average=0.5, save_every=3)
    job = trainer(settings, validate=lambda model: {"score": 1.0}, kept=kept)
    job.train()
    assert [step for step, _ in seen] == [2, 3, 4, 6, 6, 6]
    assert torch.equal(seen[-1][1], weights(settings)["mask_decoder.iou_token.weight"])
    assert not torch.equal(seen[-1][1], job.model.mask_decoder.iou_token.weight)
    assert job.model.training


@pytest.mark.parametrize("killed_in", ["validation", "drawing"])
def test_figures_from_before_the_run_stay_in_its_log(tmp_path, killed_in):
    settings = config(tmp_path, save_every=1)

    def killed(*_):
        raise KilledError

    job = trainer(settings, validate=killed)
    with pytest.raises(KilledError):
        job.train(before={"score": 0.5})
    job = trainer(settings, validate=lambda model: {"score": 1.0})
    if killed_in == "drawing":
        job.kept = killed
        with pytest.raises(KilledError):
            job.train(resume=True)
        job = trainer(settings, validate=lambda model: {"score": 1.0})
    job.train(resume=True)
    found = [(record["step"], record["validation"]["score"]) for record in log(settings) if "validation" in record]
    assert found == [(0, 0.5), (2, 1.0), (4, 1.0), (6, 1.0)]


def test_the_loss_on_held_out_clips_is_measured_with_the_same_prompts(tmp_path):
    settings = config(tmp_path, epochs=2)
    held = build_sources(config(tmp_path, "held"))
    job = trainer(settings, validation=held)
    job.train()
    found = [record["validation"]["loss_per_step"] for record in log(settings) if "validation" in record]
    assert len(found) == 2
    job.model.eval()
    again = mean_loss(job.learner.module, held, settings.prompts, settings.seed)
    assert again == pytest.approx(found[-1])
    assert not job.model.training


def test_a_run_that_is_asked_to_stop_saves_and_can_go_on(tmp_path):
    whole, halted = config(tmp_path, "whole"), config(tmp_path, "halted")
    trainer(whole).train()
    job = trainer(halted, report=lambda record: record["step"] == 2 and job.stop())
    job.train()
    assert job.interrupted
    assert job.step == 2
    trainer(halted).train(resume=True)
    for one, other in zip(log(halted), log(whole), strict=True):
        assert one == pytest.approx(other, rel=2e-2, abs=1e-4)


class KilledError(Exception):
    """Stands for a kill: nothing is written after it."""


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_killed_in_validation_makes_it_when_it_is_resumed(tmp_path, epoch):
    """After the last step of an epoch, also of the last; the best model is kept as if nothing had happened."""
    scores = {2: 1.0, 4: 3.0, 6: 2.0} if epoch == 1 else {2: 1.0, 4: 2.0, 6: 3.0}
    settings = config(tmp_path, "broken", save_every=1)

    def killed(model):
        if job.step == 2 * (epoch + 1):
            raise KilledError
        return {"score": scores[job.step]}

    job = trainer(settings, validate=killed)
    with pytest.raises(KilledError):
        job.train()
    job = trainer(settings, validate=lambda model: {"score": scores[job.step]})
    job.train(resume=True)
    whole = config(tmp_path, "whole", save_every=1)
    other = trainer(whole, validate=lambda model: {"score": scores[other.step]})
    other.train()
    for one, other_record in zip(log(settings), log(whole), strict=True):
        assert one.get("validation") == other_record.get("validation")
        assert one.get("loss", 0) == pytest.approx(other_record.get("loss", 0), rel=2e-2)
    assert job.figures == other.figures
    start = micro_model(image_size=64).state_dict()
    best, expected = weights(settings, "best"), weights(whole, "best")
    assert distance(best, expected) < 0.05 * distance(expected, start)


def test_a_run_stopped_in_the_last_step_of_an_epoch_makes_its_validation_when_it_is_resumed(tmp_path):
    settings, seen = config(tmp_path), []
    job = trainer(settings, validate=lambda model: seen.append(job.step) or {"score": 1.0})
    job.report = lambda record: record["step"] == 2 and job.stop()
    job.train()
    assert (job.interrupted, job.step, seen) == (True, 2, [])
    job = trainer(settings, validate=lambda model: seen.append(job.step) or {"score": 1.0})
    job.train(resume=True)
    assert seen == [2, 4, 6]


def test_a_run_of_an_earlier_version_is_gone_on_with(tmp_path):
    """Its `run.json` has fields that are no more and did nothing."""
    settings = config(tmp_path, max_steps=1)
    trainer(settings).train()
    path = Path(settings.output) / "run.json"
    record = json.loads(path.read_text())
    record["options"]["data"][0]["scenes"] = {"size": 192}
    path.write_text(json.dumps(record))
    job = trainer(config(tmp_path, max_steps=2))
    job.train(resume=True)
    assert job.step == 2


def test_a_finished_run_is_not_trained_on_by_resuming_it(tmp_path):
    seen = []
    settings = config(tmp_path, max_steps=3)  # in the middle of an epoch
    job = trainer(settings, validate=lambda model: seen.append(job.step) or {"score": 1.0})
    job.train()
    before = weights(settings)
    job = trainer(settings, validate=lambda model: seen.append(job.step) or {"score": 1.0})
    job.train(resume=True)
    assert (job.step, seen, job.figures) == (3, [2, 3], {"score": 1.0})
    assert all(torch.equal(weights(settings)[name], value) for name, value in before.items())


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_killed_before_its_first_checkpoint_can_be_begun_again(tmp_path, resume):
    settings = config(tmp_path, epochs=1)
    job = trainer(settings)
    job._batch = lambda *arguments: (_ for _ in ()).throw(KilledError)
    with pytest.raises(KilledError):
        job.train()
    assert not (Path(settings.output) / STATE).exists()
    job = trainer(settings)
    job.train(resume=resume)
    assert job.step == 2 and len(log(settings)) == 2


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(tmp_path):
    settings = config(tmp_path, epochs=1)
    trainer(settings, validate=lambda model: {"score": 1.0}).train()
    (Path(settings.output) / "notes.txt").write_text("mine")
    other = config(tmp_path, epochs=1, seed=7)
    trainer(other).train(overwrite=True)
    found = {path.name for path in Path(settings.output).iterdir()}
    assert found == {"checkpoint.pt", "config.json", "log.jsonl", "model", "notes.txt", "run.json"}  # no "best"
    assert len(log(other)) == 2


@pytest.mark.parametrize("name", ["model/model.safetensors", "checkpoint.pt", "log.jsonl", "best/config.json"])
def test_files_of_the_user_are_not_touched(tmp_path, name):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="exists already"):
            trainer(config(tmp_path)).train(overwrite=overwrite)
    assert path.read_text() == "mine"
    assert [entry for entry in (tmp_path / "run").rglob("*") if entry.is_file()] == [path]


def test_data_and_first_model_of_a_run_are_never_removed_by_it(tmp_path):
    settings = config(tmp_path, epochs=1)
    trainer(settings).train()
    again = config(tmp_path, epochs=1, model=f"{settings.output}/model")
    with pytest.raises(OutputExistsError, match="is read by this run"):
        trainer(again).train(overwrite=True)
    assert weights(settings)


def test_a_second_run_in_one_folder_is_refused_while_the_first_goes_on(tmp_path):
    settings, refused = config(tmp_path, epochs=1), []

    def validate(model):
        folder = TrainingFolder(settings)
        with pytest.raises(OutputExistsError, match="another run is writing there") as error, folder.opened(True, True):
            pass
        refused.append(error)
        return {"score": 1.0}

    trainer(settings, validate=validate).train()
    assert len(refused) == 1


def test_a_run_that_was_begun_before_runs_had_a_record_is_gone_on_with(tmp_path):
    settings = config(tmp_path, epochs=2)
    job = trainer(settings, report=lambda record: record["step"] == 2 and job.stop())
    job.train()
    folder = Path(settings.output)
    (folder / "run.json").unlink()
    state = torch.load(folder / STATE, weights_only=True)
    torch.save({name: value for name, value in state.items() if name not in ("validated", "figures")}, folder / STATE)
    with pytest.raises(ConfigChangedError, match="was made with seed=123, now 7"):
        trainer(config(tmp_path, epochs=2, seed=7)).train(resume=True)
    job = trainer(settings)
    job.train(resume=True)
    assert job.step == 4


def test_a_full_disk_is_named_and_keeps_the_checkpoint_before(tmp_path):
    settings = config(tmp_path, save_every=1)
    job = trainer(settings)
    original, before = job.folder.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(state):
        if job.step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            original(state)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    job.folder.save = save
    with pytest.raises(OSError, match=r"checkpoint\.pt"):
        job.train()
    assert torch.load(f"{settings.output}/{STATE}", weights_only=True)["step"] == 1
    assert not [path for path in Path(settings.output).rglob("*") if ".part" in path.name]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    settings = config(tmp_path, save_every=1, max_steps=6)
    job = trainer(settings)
    original = job._batch

    def poisoned(*arguments):
        if job.step == 3:
            with torch.no_grad():
                job.model.mask_decoder.iou_token.weight.fill_(float("nan"))
        return original(*arguments)

    job._batch = poisoned
    with pytest.raises(TrainingError, match=r"step 3: the loss is nan .* on p\d, p\d; lower the learning rate"):
        job.train()
    state = torch.load(f"{settings.output}/{STATE}", weights_only=True)
    assert state["step"] == 3
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_folders_with_another_run_are_refused(tmp_path):
    settings = config(tmp_path, epochs=1)
    with pytest.raises(OutputExistsError, match="no run to resume"):
        trainer(settings).train(resume=True)
    trainer(settings).train()
    with pytest.raises(OutputExistsError, match="holds a run already"):
        trainer(settings).train()
    other = config(tmp_path, epochs=1, seed=7)
    with pytest.raises(ConfigChangedError, match="was made with seed=123, now 7"):
        trainer(other).train(resume=True)


def test_pictures_without_objects_stop_the_run_with_their_name(tmp_path):
    from PIL import Image

    root = masks_folder(tmp_path / "pictures", 2)
    Image.new("L", (56, 40)).save(root / "masks" / "p1.png")
    with pytest.raises(SourceError, match="p1: no object is visible"):
        trainer(config(tmp_path)).train()
