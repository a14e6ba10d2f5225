"""patterns: repairs made of what earlier repairs taught, `<root>/patterns/*.json`, and of how functions are called.

library     the pattern files, read within bounds
match       generalised edits, applied where the bundle looks like their first half
transplant  whole verified functions in the place of suspicious ones
mapping     which parameter of one function is which of another
adapter     functions whose signature is not what they are called with
renaming    other names in a piece of Python, its layout kept
"""

from repairlab.repair.patterns.adapter import adapted, blamed
from repairlab.repair.patterns.library import Library
from repairlab.repair.patterns.match import applied
from repairlab.repair.patterns.transplant import Transplants

__all__ = ["Library", "Transplants", "adapted", "applied", "blamed"]
