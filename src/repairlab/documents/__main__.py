"""Write the schemas of all documents into a directory: `python -m repairlab.documents docs/documents`."""

import sys
from pathlib import Path

from repairlab.documents import schemas

for name, text in schemas().items():
    Path(sys.argv[1], name).write_bytes(text)
