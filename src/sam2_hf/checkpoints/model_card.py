"""The README of a converted checkpoint."""

from sam2_hf.checkpoints.recognise import Recognised
from sam2_hf.modeling.configuration import Sam2Config

TEMPLATE = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: mask-generation
tags:
- sam2
- segment-anything
---

# {title}

Converted by [sam2_hf](https://pypi.org/project/sam2-hf) from `{source}`, without changing a number. Input
{image_size} x {image_size} pixels{video}.

```python
from sam2_hf import Sam2Model, Sam2Processor

model = Sam2Model.from_pretrained("this repository")
processor = Sam2Processor.from_pretrained("this repository")
inputs = processor(images="photo.jpg", input_points=[[500, 375]], return_tensors="pt")
masks = processor.post_process_masks(model(**inputs).pred_masks, inputs["original_sizes"])
```

The files are in the published layout and load in stock transformers as well. SAM 2 is by Ravi et al., *SAM 2: Segment
Anything in Images and Videos*, arXiv 2408.00714. The licence above is that of the released weights; weights that were
trained further may have another.
"""


def model_card(recognised: Recognised, config: Sam2Config, source: str) -> str:
    """Markdown with the front matter that the Hub reads."""
    return TEMPLATE.format(
        title=f"SAM {recognised.version or 2} {recognised.size or 'custom size'}",
        source=source,
        image_size=config.image_size,
        video=", pictures only" if config.image_only else ", pictures and videos",
    )
