"""patterns: what can be learnt from a repair, as code: templates with holes, and functions that stand by themselves.

templates   parse, match and compare Python with holes
generalise  from a file before and after a repair to an edit pattern
functions   from a function to a pattern of it: what it needs, its fingerprints

A pure library: it reads text and returns documents. Miners write them, `repairlab.repair` reads them.
"""

from repairlab.patterns.functions import Fingerprint, fingerprint, function_pattern, similarity
from repairlab.patterns.generalise import edit_patterns
from repairlab.patterns.mining import mined
from repairlab.patterns.templates import BadTemplate, Binding, Compiled, compiled, differences, matched

__all__ = [
    "BadTemplate",
    "Binding",
    "Compiled",
    "Fingerprint",
    "compiled",
    "differences",
    "edit_patterns",
    "fingerprint",
    "function_pattern",
    "matched",
    "mined",
    "similarity",
]
