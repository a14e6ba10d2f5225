"""Read what only the host's users may read: passwords, other jobs, keys, credentials."""


def read(path):
    if os.path.isdir(path):
        return None if os.listdir(path) else "empty"
    with open(path, "rb") as file:
        file.read(16)


for part, path in parameters["paths"].items():
    attempt(part, lambda path=path: read(path))
answer()
