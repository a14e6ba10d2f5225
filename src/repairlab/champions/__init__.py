"""champions: who stands at the head of each lineage, and who stood there before.

    <root>/champions/LINEAGE/current            a symlink to the champion's directory; none: there is no champion
    <root>/champions/LINEAGE/ID/champion.json   what it is (`Champion`); never changes
    <root>/champions/LINEAGE/ID/patch.diff      its patch, as bytes
    <root>/champions/LINEAGE/ID/demoted.json    there where an operator has taken it back: the evaluation that made it
                                                champion makes it so never again, a later one may; where it still
                                                stands, `repairlab demote` died and, given again, goes on
    <root>/champions/LINEAGE/history.jsonl      who was promoted and demoted, when; for people

The symlink is the state: a promotion is one rename of it, made while the lineage's lock is held and only if the
champion is still the one that was beaten. Everything else is there before, or can be made again after.
"""

from repairlab.champions.store import Champions, Lost, Mark

__all__ = ["Champions", "Lost", "Mark"]
