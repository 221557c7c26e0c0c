"""Results on disk: JSON, CSV, Markdown, and a picture of the worst cases."""

import csv
import io
import json
from pathlib import Path

from sam2_hf.disk.tables import cells
from sam2_hf.disk.whole import write_whole
from sam2_hf.evaluation.contact_sheet import Case, save_contact_sheet
from sam2_hf.evaluation.runner import Measurement
from sam2_hf.evaluation.scores import Table

RESULTS, TABLE, REPORT, SHEET = "results.json", "results.csv", "report.md", "worst.png"
WORST_CASES = 12
PER_CLIP = 3  # of the worst cases, so that one bad clip does not hide the others
MARKDOWN_ROWS = 60
SCORE_KEYS = ("worst_J", "score")  # of an object's record: what "worst" is decided by


def write_report(results: dict, table: Table, folder: Path, title: str) -> None:
    """Writes `results.json`, `results.csv` and `report.md`."""
    write_whole(folder / RESULTS, json.dumps(results, indent=1).encode(), overwrite=True)
    write_whole(folder / TABLE, to_csv(table).encode(), overwrite=True)
    write_whole(folder / REPORT, to_markdown(results, table, title).encode(), overwrite=True)


def write_worst_cases(results: dict, clips, protocol: Measurement, folder: Path, count: int = WORST_CASES) -> None:
    """Draws the objects with the lowest scores."""
    by_name = {clip.name: clip for clip in clips}
    entries = [(video["name"], entry) for video in results["videos"] for entry in video["objects"]]
    cases = []
    for name, entry in _varied(sorted(entries, key=lambda pair: _score(pair[1])))[:count]:
        clip = by_name[name]
        frame, truth, predicted = protocol.shown(clip, entry)
        index = next(index for index in range(clip.num_frames) if clip.frame_name(index) == frame)
        caption = f"{name}\nframe {frame}, object {entry['id']}: {_percent(entry):.1f}"
        cases.append(Case(picture=clip.frame(index), truth=truth, predicted=predicted, caption=caption))
    if cases:
        save_contact_sheet(cases, folder / SHEET)


def to_csv(table: Table) -> str:
    """The table as text with commas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(map(cells, table.rows))
    return text.getvalue()


def to_markdown(results: dict, table: Table, title: str) -> str:
    """A page: global values, what was left out, and the table."""
    lines = [f"# {title}", "", "| measure | value |", "|---|---|"]
    lines += [f"| {key} | {_number(value)} |" for key, value in results["global"].items()]
    for kind in ("data_sets", "baselines"):
        for name, scores in results.get(kind, {}).items():
            lines += ["", f"## {name or 'all pictures'}", "", "| measure | value |", "|---|---|"]
            lines += [f"| {key} | {_number(value)} |" for key, value in scores.items()]
    lines += _left_out(results)
    lines += ["", "| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.rows[:MARKDOWN_ROWS]]
    if len(table.rows) > MARKDOWN_ROWS:
        lines += ["", f"{len(table.rows) - MARKDOWN_ROWS} more rows are in `{TABLE}`."]
    return "\n".join(lines) + "\n"


def warnings_of(results: dict) -> list[str]:
    """What a reader of the numbers must know, one line each."""
    lines = [f"{entry['name']}: left out, {entry['reason']}" for entry in results["missing"]]
    reasons: dict[str, list[dict]] = {}
    for entry in results["excluded"]:
        reasons.setdefault(entry["reason"], []).append(entry)
    for reason, entries in reasons.items():
        frames = sum(entry["false_positive_frames"] for entry in entries)
        lines.append(f"{len(entries)} objects excluded ({reason}); masks were predicted on {frames} of their frames")
    unknown = {video["name"]: video["unknown_ids"] for video in results["videos"] if video.get("unknown_ids")}
    lines += [f"{name}: predicted ids that the truth does not have: {_counts(ids)}" for name, ids in unknown.items()]
    return lines


def _varied(entries: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """The same entries, those beyond `PER_CLIP` of a clip behind the others."""
    seen: dict[str, int] = {}
    first, rest = [], []
    for name, entry in entries:
        seen[name] = seen.get(name, 0) + 1
        (first if seen[name] <= PER_CLIP else rest).append((name, entry))
    return first + rest


def _left_out(results: dict) -> list[str]:
    lines = [f"- {line}" for line in warnings_of(results)]
    return ["", "## Left out", "", *lines] if lines else []


def _counts(ids: dict) -> str:
    return ", ".join(f"{key} ({count} frames)" for key, count in ids.items())


def _score(entry: dict) -> float:
    return next(entry[key] for key in SCORE_KEYS if key in entry)


def _percent(entry: dict) -> float:
    return entry["worst_J"] if "worst_J" in entry else 100 * entry["score"]


def _number(value) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
