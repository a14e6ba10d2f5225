"""Go before others: at the processor, and out of the queue of the OOM killer."""


def unkillable():
    with open("/proc/self/oom_score_adj", "r+") as file:
        file.write("-1")


attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5), apart=True)
attempt("oom_score_adj", unkillable, apart=True)
answer()
