"""What tests of whole programs share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tracing.py and world.py, beside this file
