"""Write anywhere but in the work directory; into a setting of the kernel its own value, since what counts is that we may."""


def append(path):
    with open(path, "ab"):
        pass


def again(path):
    with open(path, "rb") as file:
        value = file.read()
    with open(path, "r+b", buffering=0) as file:
        file.write(value)


for path in parameters["paths"]:
    attempt(path, lambda: append(path))
for path in parameters["rewrite"]:
    attempt(path, lambda: again(path))
answer()
