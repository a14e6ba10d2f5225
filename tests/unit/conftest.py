"""What unit tests share."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from repairlab.spool.disk import remove_tree

sys.path.insert(0, str(Path(__file__).parent))  # strangers.py, beside this file
from strangers import SERVICE


@pytest.fixture
def top():
    """A directory that everybody may write to and whose owner, the service, may rename what is in it."""
    path = Path(tempfile.mkdtemp())
    os.chown(path, SERVICE, SERVICE)
    path.chmod(0o1777)
    yield path
    path.chmod(0o700)
    remove_tree(str(path))
