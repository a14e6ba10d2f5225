"""trial: bundles, and how their tests come out in sandboxes: what repair, tournament and makers of tools share.

bundle       the files of a bundle in memory: what is a test, what may be edited
source       one Python file as text with byte-exact edits
options      what a bundle's own configuration asks of pytest
validation   the host's end of the server in the sandbox, which keeps the collected tests warm
server/      the sandbox's end of it: one program, standard library only
testrun      what one test did there
probes       what patches do on inputs that the tests never gave
overfitting  patches that answer the tests and not the question
runs         one fresh process in one fresh sandbox a run: outcomes, time, memory
inside       the sandbox's end of that
"""
