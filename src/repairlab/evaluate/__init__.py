"""evaluate: the tournament: a challenger against the champion of its lineage.

main           the program `repairlab-evaluator`
consumer       which challenger is next, and how its evaluation ends for the queue
contest        one challenger measured beside its champion, all of it in sandboxes
fitness        what the measurements come to
comparison     which differences are more than noise
safety         what code could do that its parent did not, by syntax tree
documentation  docstrings: there, and true
letter         a patch for a person: mail format, and a page that says why
"""
