"""Frames, objects and what is remembered of them. Speaks to the model through its verbs only."""
