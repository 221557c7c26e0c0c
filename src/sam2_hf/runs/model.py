"""The model of a run, and what is written down of it, so that a run is never gone on with by another one."""

from dataclasses import dataclass
from typing import Any

from sam2_hf.checkpoints.loading import load, resolve
from sam2_hf.disk.run_folder import RunFolder
from sam2_hf.evaluation.run_record import model_facts
from sam2_hf.runs.settings import RunSettings

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class RunModel:
    """A model that is ready.

    Attributes:
        network, processor: as `load` gives them.
        line: that says which it is and where it runs, for people.
        facts: for `run.json`: its name, weights, size, dtype, device.
    """

    network: Any
    processor: Any
    line: str
    facts: dict

    @property
    def size(self) -> str | None:
        """Which release it is as large as; None for other sizes."""
        from sam2_hf.checkpoints.recognise import recognise

        return recognise(self.network.state_dict()).size


def load_model(settings: RunSettings, folder: RunFolder, *, keep: bool, **changed: str) -> RunModel:
    """Loads the model that the settings name.

    Args:
        folder: of the run.
        keep: the run that is there is gone on with: "auto" is what it was then, and the weights must be the same.
        changed: other values for `device` or `dtype`.

    Raises:
        CheckpointError: there is no such model, or it cannot be read.
        ConfigChangedError: the weights are others than those the run was begun with.
    """
    earlier = folder.earlier.get("model") if keep else None
    earlier = earlier if isinstance(earlier, dict) else {}
    name, why = resolve(settings.model, settings.offline)
    if settings.model == AUTO and "name" in earlier:
        name, why = earlier["name"], " (as the run was begun)"
    where: dict = {"revision": settings.revision, "device": settings.device, "dtype": settings.dtype, **changed}
    network, processor, line = load(name, offline=settings.offline, **where)
    line = line.replace(";", f"{why};", 1)
    facts = {"name": name, **model_facts(network, line.removeprefix("model: "))}
    if "weights_sha256" in earlier:
        folder.require_same(earlier["weights_sha256"], facts["weights_sha256"], "weights_sha256")
    return RunModel(network=network, processor=processor, line=line, facts=facts)
