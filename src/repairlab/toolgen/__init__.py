"""toolgen: from a spec to a bundle: code, tests, a page for people.

main         the program `repairlab-toolgen`
wishes       a spec as the function that it asks for: name, parameters, examples
retrieval    functions that won before, adapted
enumeration  expressions, bottom up, the smallest first
operations   what expressions are made of
conditions   two expressions and what tells them apart
model        a model is asked, where that is configured
answers      its text, as the body of a function
bundle       what is written, and where it goes
specder      the program `repairlab-auto-specder`
signs        that the tournament stands still
variations   new specs of one that is stuck
"""
