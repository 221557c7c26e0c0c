"""Whole jobs on disk: over pictures, videos and data sets. The command line fills their settings, and so may you.

```python
from sam2_hf.runs.predict import predict
from sam2_hf.runs.predict_settings import PredictSettings

outcome = predict(PredictSettings(sources=("photos",), everything=True, output="out"))
```
"""
