"""llm: ask a model by way of a spool, where that is configured; the agent itself has no network.

exchange  the question in llm/requests/, the answer in llm/responses/<id>.json
answers   unified diffs of untrusted origin, as edits of editable files
"""

from repairlab.repair.llm.answers import BadAnswer, edits_of_diff
from repairlab.repair.llm.exchange import Exchange

__all__ = ["BadAnswer", "Exchange", "edits_of_diff"]
