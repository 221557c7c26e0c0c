"""Original checkpoints to the Hub's layout and back. Installed as `sam2_hf.conversion`."""
