"""patterns: repairs made of what earlier repairs taught: `<root>/patterns/*.json`.

library     the pattern files, read within bounds
match       generalised edits, applied where the bundle looks like their first half
"""

from repairlab.repair.patterns.library import Library
from repairlab.repair.patterns.match import applied

__all__ = ["Library", "applied"]
