"""Differences between our sessions and the original's video predictor, on the golden scenarios.

Shared by the parity tests and by `scripts/measure_parity.py`.
"""

import json
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sam2_hf import FrameMasks, Sam2InferenceSession, Sam2Model, Sam2Processor, TrackingPolicy
from sam2_hf.tracking.shown import frame_masks
from tests.golden.recipe import golden_scene
from tests.parity import GOLDEN, TAGS, Differences, converted

# The golden files keep memory in float32 and fill no holes; apart from that they are the original's defaults.
GOLDEN_POLICY = replace(TrackingPolicy.upstream(), memory_dtype=torch.float32, fill_hole_area=0)
VARIANTS = {
    "": {},
    "keep_corrections": {"keep_corrections": True},
    "non_overlap": {"non_overlap": True},
    "max_cond_2": {"max_prompted_frames": 2},
    "stride_2": {"recent_stride": 2},
    "four_prompted_frames": {},
}
TIE = 1e-4  # logits closer than this are a tie: rounding decides
CASES = [("2.1", "micro", variant) for variant in VARIANTS] + [
    ("2.0", "micro", ""),
    ("2.1", "tiny", ""),
    ("2.0", "tiny", ""),
    ("2.1", "large", ""),
]


@cache
def golden_model(version: str, size: str, reference: Path) -> tuple[Sam2Model, Sam2Processor]:
    with tempfile.TemporaryDirectory() as folder:
        path = converted(version, size, reference, Path(folder))
        return Sam2Model.from_pretrained(path), Sam2Processor.from_pretrained(path)


class Replay:
    """Runs the scenario of a golden file step by step and keeps the largest differences."""

    def __init__(self, version: str, size: str, variant: str = "", nudge: float = 0.0):
        suffix = f"_{variant}" if variant else ""
        reference = GOLDEN / f"video_{TAGS[version]}_{size}{suffix}.safetensors"
        self.golden = load_file(reference)
        with safe_open(reference, "pt") as file:
            metadata = file.metadata()
        self.scenario, log = json.loads(metadata["scenario"]), json.loads(metadata["log"])
        self.expected = {entry["key"]: entry for entry in log if "frame" in entry}
        self.seen: set[str] = set()
        self.nudge = nudge
        self.worst: Differences = {"mask logits": 0.0, "mask area": 0.0, "object score": 0.0, "object pointer": 0.0}
        clip = self.scenario["clip"]
        self.size = clip["height"], clip["width"]
        frames = [golden_scene(*self.size, frame, clip["seed"]) for frame in range(self.scenario["num_frames"])]
        model, processor = golden_model(version, size, reference)
        policy = replace(GOLDEN_POLICY, **VARIANTS[variant])
        self.session = Sam2InferenceSession(model, processor, video=frames, policy=policy)

    def run(self) -> Differences:
        for number, step in enumerate(self.scenario["steps"]):
            getattr(self, step["op"])(f"{number:02d}", step)
        assert self.seen == set(self.expected)
        return self.worst

    def add(self, key: str, step: dict) -> None:
        given = {name: step[name] for name in ("points", "labels", "box", "clear_old_points") if name in step}
        self._compare(f"{key}.00", self._prompt(step, **given))
        if self.nudge:
            self._nudge_drafts()

    def add_mask(self, key: str, step: dict) -> None:
        x0, y0, x1, y1 = step["rectangle"]
        mask = torch.zeros(self.size)
        mask[y0:y1, x0:x1] = 1
        self._compare(f"{key}.00", self._prompt(step, mask=mask))

    def propagate(self, key: str, step: dict) -> None:
        direction = "backward" if step.get("reverse") else "forward"
        limit = step.get("max_frames")  # the original yields one frame more
        span = {"start_frame": step.get("start_frame"), "max_frames": None if limit is None else limit + 1}
        for index, frame in enumerate(self.session.propagate(direction, **span)):
            self._compare(f"{key}.{index:02d}", frame)
        self._compare_state(f"{key}.state/")

    def remove(self, key: str, step: dict) -> None:
        self.session.remove_object(step["object_id"])

    def clear(self, key: str, step: dict) -> None:
        shown = self.session.clear_prompts(frame_index=step["frame"], object_id=step["object_id"])
        self._compare(f"{key}.00", shown)

    def reset(self, key: str, step: dict) -> None:
        self.session.reset()

    def _prompt(self, step: dict, **given) -> FrameMasks:
        return self.session.add_prompt(frame_index=step["frame"], object_id=step["object_id"], **given)

    def _nudge_drafts(self) -> None:
        for track in self.session.tracks.values():
            for frame, draft in track.drafts.items():
                moved = replace(draft.result, mask_logits=draft.result.mask_logits + self.nudge)
                track.drafts[frame] = replace(draft, result=moved)

    def _compare(self, key: str, frame: FrameMasks) -> None:
        self.seen.add(key)
        expected = self.expected[key]
        assert (frame.frame_index, list(frame.object_ids)) == (expected["frame"], expected["object_ids"]), key
        step = self.scenario["subsample"]
        sampled = slice(step // 2, None, step)
        found, golden = frame.mask_logits[:, sampled, sampled], self.golden[f"{key}/mask_logits"]
        contested = self._contested(frame)
        self._keep("mask logits", *_without_owners(found, golden, contested[sampled, sampled]), f"{key}/mask_logits")
        areas, golden = frame.masks.sum(dim=(-1, -2)), self.golden[f"{key}/mask_area"].flatten()
        beyond = ((areas - golden).abs() - contested.sum()).clamp(min=0)
        self.worst["mask area"] = max(self.worst["mask area"], float((beyond / golden.clamp(min=1)).max()))

    def _contested(self, frame: FrameMasks) -> Tensor:
        """Pixels (height, width) where two objects tie before the overlap is resolved: rounding says whose they are."""
        if not self.session.policy.non_overlap or len(frame) < 2:
            return torch.zeros(self.size, dtype=torch.bool)
        results = {key: self.session.tracks[key].shown(frame.frame_index) for key in frame.object_ids}
        nobody = [False] * len(frame)
        plain = frame_masks(frame.frame_index, results, nobody, self.session.model, self.size, non_overlap=False)
        first, second = plain.mask_logits.topk(2, dim=0).values
        return first - second < TIE

    def _compare_state(self, prefix: str) -> None:
        kinds = {"obj_ptr": "object pointer", "object_score_logits": "object score"}
        for name in self.golden:
            if name.startswith(prefix):
                object_id, frame, state, what = name.removeprefix(prefix).split(".")
                memory = self.session.tracks[int(object_id)].memories[int(frame)]
                assert memory.prompted == (state == "cond"), name
                result = memory.result
                found = result.object_pointer[::8] if what == "obj_ptr" else result.object_score
                self._keep(kinds[what], found, self.golden[name], name)

    def _keep(self, kind: str, found: Tensor, golden: Tensor, name: str) -> None:
        assert found.numel() == golden.numel(), name
        self.worst[kind] = max(self.worst[kind], float((found.reshape(golden.shape) - golden).abs().max()))


def _without_owners(found: Tensor, golden: Tensor, contested: Tensor) -> tuple[Tensor, Tensor]:
    """Both (objects, height, width), without whose the contested pixels are: there only the values must agree."""
    golden = golden.reshape(found.shape)
    return tuple(torch.where(contested, logits.sort(dim=0).values, logits) for logits in (found, golden))
