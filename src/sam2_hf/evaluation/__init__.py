"""Evaluation: how good masks are, on data sets, by the protocols of the field."""
