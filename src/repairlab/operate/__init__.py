"""operate: what a person at a terminal, or a script, does with RepairLab: the operator's command line and the cleanup.

`main` is the command `repairlab`; every command is a module of this package and is imported only when it is called.
`app` holds what all commands share, `output` how they speak, `cleanup` is the program repairlab-cleanup.
"""
