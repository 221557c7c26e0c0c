"""`python -m sam2_hf` is `sam2-hf`."""

from sam2_hf.cli.main import run

if __name__ == "__main__":
    run()
