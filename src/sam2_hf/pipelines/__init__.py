"""Whole jobs on pictures and videos, and their results. Importing it registers our tasks with transformers."""

from sam2_hf.pipelines.registry import register_tasks

register_tasks()
