"""The `sam2-hf` command: thin layers over public Python calls, no arithmetic."""
