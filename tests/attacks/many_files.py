"""Create empty files: they take no space that a size bound would count, but kernel memory each."""
import time


def create():
    for number in range(parameters["files"]):
        os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
    time.sleep(parameters["settle_s"])  # some bounds are looked at, not hit


attempt("files", create)
answer()
