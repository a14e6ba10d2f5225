"""warm: what the parent of many agents does once for all: import the agent, compile what runs in its sandboxes."""

from repairlab.repair import agent, attempt, report
from repairlab.sandbox.api import compiled
from repairlab.trial import server
from repairlab.trial.validation import PROGRAM

__all__ = ["agent", "attempt", "report"]

compiled(server.program(), PROGRAM)
