"""The user's pixels to the model's pixels and back. Knows no weights."""
