"""`sam2-hf convert` from a checkout: original SAM 2 / 2.1 checkpoints to the Hub's layout, and back.

python conversion/convert_checkpoint.py sam2.1_hiera_tiny.pt --output sam2.1-hiera-tiny
python conversion/convert_checkpoint.py sam2.1_hiera_tiny.pt --output sam2.1-hiera-tiny --push-to-hub me/sam2
python conversion/convert_checkpoint.py sam2.1-hiera-tiny --output sam2.1_hiera_tiny.pt --reverse
"""

import sys

from sam2_hf.cli.main import run

if __name__ == "__main__":
    sys.argv.insert(1, "convert")
    run()
