"""Scores of masks in folders against true masks in folders. No model is needed.

Evaluated are the frames that have a truth file, without the first and the last, as semi-supervised benchmarks do it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2_hf.datasets.mask_folders import ObjectMasks, PaletteMasks, read_masks
from sam2_hf.errors import SourceError
from sam2_hf.evaluation.scores import ObjectTally, VideoScore, video_results, video_score


@dataclass(frozen=True, kw_only=True)
class ScoringRules:
    """What counts.

    Attributes:
        skip_first_and_last: leave out the first and the last frame with a truth.
        void: value 255 of palette files is neither object nor background; False: it is an object.
        curves: keep the scores of single frames.
    """

    skip_first_and_last: bool = True
    void: bool = True
    curves: bool = False

    def evaluated(self, frames: list[str]) -> list[str]:
        """Frames that count, of those that have a truth."""
        return frames[1:-1] if self.skip_first_and_last else frames


def score_video(name: str, truth: Path, predicted: Path | None, rules: ScoringRules, baseline=None) -> VideoScore:
    """Scores one video.

    Args:
        truth: folder of masks, in either layout.
        predicted: folder of masks in the layout of the truth.
        baseline: takes the place of `predicted`: a function from the masks of the truth to masks of a prediction.

    Raises:
        SourceError: a file that is missing or has another size than its truth.
    """
    true_masks = read_masks(truth, rules.void)
    layout = PaletteMasks if isinstance(true_masks, PaletteMasks) else ObjectMasks
    if baseline is not None:
        masks = baseline(true_masks)
    else:
        masks = PaletteMasks(predicted, void=False) if layout is PaletteMasks else ObjectMasks(predicted)
    return (_score_palette if layout is PaletteMasks else _score_objects)(name, true_masks, masks, rules)


def score_folders(
    truth: Mapping[str, Path],
    predicted: Mapping[str, Path],
    rules: ScoringRules | None = None,
    *,
    allow_missing: bool = False,
    workers: int = 1,
) -> dict:
    """Scores a data set.

    Args:
        truth: folder of masks by name of the video, as `truth_folders` finds them.
        predicted: the same for predictions.
        allow_missing: leave videos out that have no prediction or an incomplete one, and list them in the results.
        workers: processes that share the videos.

    Returns:
        As `video_results`.

    Raises:
        SourceError: predictions are missing, unless that is allowed.
    """
    rules = ScoringRules() if rules is None else rules
    absent = [name for name in truth if name not in predicted]
    if absent and not allow_missing:
        raise SourceError(f"no prediction for {len(absent)} of {len(truth)} videos: {', '.join(absent)}")
    jobs = [(name, truth[name], predicted[name], rules) for name in truth if name in predicted]
    missing = [{"name": name, "reason": "no prediction"} for name in absent]
    scores = []
    for job, answer in zip(jobs, _in_processes(jobs, workers), strict=True):
        if isinstance(answer, VideoScore):
            scores.append(answer.to_dict())
        elif allow_missing:
            missing.append({"name": job[0], "reason": str(answer)})
        else:
            raise answer
    return video_results(scores, missing)


def _in_processes(jobs: list[tuple], workers: int):
    """Answers in the order of the jobs."""
    if workers <= 1 or len(jobs) < 2:
        yield from map(_score_or_error, jobs)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_score_or_error, jobs)


def _score_or_error(job: tuple) -> VideoScore | SourceError:
    try:
        return score_video(*job)
    except SourceError as error:
        return error


def _score_palette(name: str, truth: PaletteMasks, predicted, rules: ScoringRules) -> VideoScore:
    """An object counts from the first evaluated frame on which the truth or the prediction shows it."""
    frames = rules.evaluated(truth.frames)
    known = set().union(*(truth.object_ids(frame) for frame in {*truth.frames[:1], *truth.frames[-1:], *frames}))
    tallies = {object_id: ObjectTally(object_id) for object_id in sorted(known)}
    unknown: dict[int, int] = {}
    seen: set[int] = set()
    for frame in frames:
        found = predicted.object_ids(frame)
        for object_id in found - known:
            unknown[object_id] = unknown.get(object_id, 0) + 1
        seen |= (found & known) | truth.object_ids(frame)
        for object_id in sorted(seen):
            _add(tallies[object_id], frame, truth, predicted, truth.void(frame))
    return _result(name, tallies, len(frames), rules, unknown_ids=unknown)


def _score_objects(name: str, truth: ObjectMasks, predicted, rules: ScoringRules) -> VideoScore:
    """Every object counts on the frames that it has a file for."""
    tallies, evaluated = {}, set()
    for object_id in truth.objects:
        tallies[object_id] = ObjectTally(object_id)
        for frame in rules.evaluated(truth.frames_of(object_id)):
            evaluated.add(frame)
            _add(tallies[object_id], frame, truth, predicted, None)
    unknown = {key: len(predicted.frames_of(key)) for key in _extra(predicted.objects, truth.objects)}
    return _result(name, tallies, len(evaluated), rules, unknown_ids=unknown)


def _extra(found: Collection[int], known: Collection[int]) -> list[int]:
    return sorted(set(found) - set(known))


def _add(tally: ObjectTally, frame: str, truth, predicted, void: np.ndarray | None) -> None:
    found, wanted = predicted.mask(frame, tally.object_id), truth.mask(frame, tally.object_id)
    if found.shape != wanted.shape:
        raise SourceError(
            f"{truth.folder}, frame {frame}: the prediction is (height, width) {found.shape}, the truth "
            f"{wanted.shape}; write predictions at the size of the video"
        )
    if void is not None:
        found, wanted = found & ~void, wanted & ~void
    tally.add(frame, found, wanted)


def _result(name: str, tallies: dict[int, ObjectTally], frames: int, rules: ScoringRules, **more) -> VideoScore:
    if rules.curves:
        more["curves"] = {key: tally.curve() for key, tally in tallies.items() if tally.is_seen}
    return video_score(name, list(tallies.values()), frames, **more)
