"""Raise the hard limits of this process."""
import resource


def higher(which):
    soft, hard = resource.getrlimit(which)
    if parameters["soft"]:  # the control: limits that were lowered, and can be raised again
        resource.setrlimit(which, (soft - 1 if 0 < soft < hard else 0, hard))
        return resource.setrlimit(which, (soft if 0 <= soft else 1 << 20, hard))
    return resource.setrlimit(which, (soft, hard + 1))


for name in parameters["limits"]:
    attempt(name, lambda: higher(getattr(resource, f"RLIMIT_{name}")), apart=True)
answer()
