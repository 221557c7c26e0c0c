"""The kinds of data sets, one file each; `registry.py` finds them."""
