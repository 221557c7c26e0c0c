"""The README of a model on the Hub: what it is, where it comes from, and lines that run."""

import re
from collections.abc import Sequence
from pathlib import Path

from sam2_hf.assets import EMBEDDED_CHECKPOINT
from sam2_hf.modeling.configuration import Sam2Config, release_of

RELEASES = re.compile(r"facebook/sam2(\.1)?-hiera-[a-z-]+")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
LICENCE_OF_OURS = "apache-2.0"
RELEASED_LICENCE = "apache-2.0"
TAGS = ("sam2", "segment-anything", "mask-generation", "sam2_hf")
TEMPLATE = """\
---
{facts}library_name: transformers
pipeline_tag: mask-generation
tags:
{tags}
---

# {title}

{origin}

Input {image_size} x {image_size} pixels{video}.

```python
from sam2_hf import Sam2Model, Sam2Processor

model = Sam2Model.from_pretrained("{repository}")
processor = Sam2Processor.from_config(model.config)
inputs = processor(images="photo.jpg", input_points=[[500, 375]], return_tensors="pt")
masks = processor.post_process_masks(model(**inputs).pred_masks, inputs["original_sizes"])
```

The files are in the published layout and load in stock transformers as well. SAM 2 is by Ravi et al., *SAM 2: Segment
Anything in Images and Videos*, arXiv 2408.00714.

{licence}
"""
PACKAGE = "[sam2_hf](https://pypi.org/project/sam2-hf)"


def converted_card(config: Sam2Config, source: str) -> str:
    """The card of a checkpoint that was converted and not changed.

    Args:
        source: name of the file.
    """
    licence = "The licence above is that of the released weights; weights that were trained further may have another."
    origin = f"Converted by {PACKAGE} from `{source}`, without changing a number."
    return _card(config, "this repository", origin, licence, [f"license: {RELEASED_LICENCE}"])


def uploaded_card(config: Sam2Config, repository: str, source: str, tags: Sequence[str] = ()) -> str:
    """The card of a model that is uploaded.

    Args:
        repository: where it goes.
        source: Hub repository or folder that the model was loaded from; empty for a new one.
        tags: further tags of the front matter.
    """
    base, licence = origin_of(source)
    facts = [f"license: {licence}"] if licence else []
    facts += [f"base_model: {base}"] if base and base != repository else []
    origin = f"Uploaded by {PACKAGE}" + (f"; it was made from `{base}`." if base and base != repository else ".")
    told = (
        "The licence above is that of the weights it was made from; data it was trained on may ask for another."
        if licence
        else "The licence of these weights is not known; whoever uploaded them can add it above."
    )
    return _card(config, repository, origin, told, facts, tags)


def origin_of(source: str) -> tuple[str | None, str | None]:
    """Base model and licence of what was loaded from a repository or folder, as far as they are known.

    A folder is asked for the front matter of its card. Releases have the licence that Meta gave them.
    """
    folder = Path(source)
    if source == str(EMBEDDED_CHECKPOINT):
        return None, LICENCE_OF_OURS
    if source and folder.is_dir():
        card = folder / "README.md"
        return _told(card.read_text(errors="replace"), folder) if card.is_file() else (None, None)
    base = source if HUB_NAME.fullmatch(source) else None
    return base, RELEASED_LICENCE if base and RELEASES.fullmatch(base) else None


def _told(card: str, folder: Path) -> tuple[str | None, str | None]:
    """Base model and licence in the front matter of a card."""
    front = card.split("---")[1] if card.startswith("---") and card.count("---") > 1 else ""
    values = dict(re.findall(r"^(license|base_model): *([\w./-]+) *$", front, flags=re.MULTILINE))
    return values.get("base_model"), values.get("license")


def _card(
    config: Sam2Config, repository: str, origin: str, licence: str, facts: list[str], tags: Sequence[str] = ()
) -> str:
    version = "2" if config.image_only else config.version
    front = "".join(f"{fact}\n" for fact in facts)
    return TEMPLATE.format(
        facts=front,
        tags="\n".join(f"- {tag}" for tag in dict.fromkeys([*TAGS, *tags])),
        title=f"SAM {version} {release_of(config) or 'custom size'}",
        origin=origin,
        image_size=config.image_size,
        video=", pictures only" if config.image_only else ", pictures and videos",
        repository=repository,
        licence=licence,
    )
