"""Tensors in, tensors out: the network of SAM 2 and its configuration. Knows no time, no files, no user pixels."""
