"""Become root by a program with the set-user-ID bit.

With the bit in force the loader runs in secure mode and does not show the auxiliary vector (ld.so(8), LD_SHOW_AUXV).
"""
import subprocess

if os.getuid() == 0:  # the control: somebody who gains by it
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def elevated():
    shown = subprocess.run(
        ["/usr/bin/su", "--help"], env={"LD_SHOW_AUXV": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout
    if b"AT_EUID" not in shown:
        return None
    return "no_new_privs" if libc.prctl(39, 0, 0, 0, 0) == 1 else "nosuid"


attempt("su", elevated)
answer()
