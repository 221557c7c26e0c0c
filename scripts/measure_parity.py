"""Measures the differences to the original implementation and writes the tables of docs/parity.md.

python -m scripts.measure_parity              # from the root of the repository, some minutes on two cores
"""

import tempfile
from pathlib import Path

import torch
import transformers

from tests.parity import SIZES, TAGS, component_differences, image_differences
from tests.video_parity import CASES, Replay

PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
MARK = "<!-- measured -->"


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    lines = [f"torch {torch.__version__}, transformers {transformers.__version__}, CPU, float32.", ""]
    lines += [
        "| checkpoint | features | low-res logits | mask logits | IoU score | mask area |",
        "|---|---|---|---|---|---|",
    ]
    for version in TAGS:
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                found = image_differences(version, size, Path(folder))
            lines.append(f"| {version} {size} | " + " | ".join(f"{value:.1e}" for value in found.values()) + " |")
            print(lines[-1])
    lines += [
        "",
        "| video scenario | mask logits | mask area | object score | object pointer |",
        "|---|---|---|---|---|",
    ]
    for version, size, variant in CASES:
        found = Replay(version, size, variant).run()
        name = f"{version} {size} {variant.replace('_', ' ')}".strip()
        lines.append(f"| {name} | " + " | ".join(f"{value:.1e}" for value in found.values()) + " |")
        print(lines[-1])
    components = {}
    for version in TAGS:
        with tempfile.TemporaryDirectory() as folder:
            components[version] = component_differences(version, Path(folder))
    lines += ["", "| component, micro | " + " | ".join(TAGS) + " |", "|---|---|---|"]
    for name in components["2.1"]:
        lines.append(f"| `{name}` | " + " | ".join(f"{components[version][name]:.1e}" for version in TAGS) + " |")
    head = PAGE.read_text().split(MARK)[0]
    PAGE.write_text(f"{head}{MARK}\n\n" + "\n".join(lines) + "\n")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
