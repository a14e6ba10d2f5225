"""repair: find a small edit that makes a bundle's failing tests pass, and be honest about what it is worth.

localization      which lines the failing tests blame
transformations/  what an edit may do, a family a file
candidates        the stream of candidates for one state of the bundle, best first
strategies        what is asked for candidates before and after the search's own edits
stages            the order of strategies, and the account of each
patterns/         repairs made of what earlier repairs taught
ground            what the baseline tells the search: the order of the tests, what each may cost
search            which candidate is tried when, and what is built upon
ranking           the order of the N-best list
offering          patches that are never offered
clusters          patches that behave alike are one; the question that parts the first two
confirmation      plain pytest and held-out tests decide
diff              unified diffs that `git apply` and `patch` accept
agent             the program `repairlab-agent`
"""
