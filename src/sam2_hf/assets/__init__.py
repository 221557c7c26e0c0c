"""Files that travel with the package; LICENCES.md says where each is from."""

from pathlib import Path

EMBEDDED_CHECKPOINT = str(Path(__file__).parent / "embedded")  # a small model, trained from scratch on open data
