"""Data sets on disk: pictures and clips with the masks of their objects.

from sam2_hf.datasets.registry import open_dataset

open_dataset("masks", "cells")
"""
