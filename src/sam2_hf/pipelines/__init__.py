"""Whole jobs: from a picture and prompts to a result that can be looked at and saved."""
