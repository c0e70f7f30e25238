"""A script that runs another program and makes it die when its parent does.

    python -IS die_with_parent.py PARENT_PID PROGRAM ARGUMENTS...

It asks the kernel for SIGKILL at the parent's death and becomes PROGRAM by exec, so the pid stays
the same. It is a script because `preexec_fn` may deadlock in a process with threads. Only Linux
has the request (prctl(2), PR_SET_PDEATHSIG); other systems run PROGRAM without it.

Caveat of that call: the "parent" is the *thread* that started the child. Start a child from a
thread that lives as long as the child is wanted, in practice the main one.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def guarded(command: list[str]) -> list[str]:
    """Prefix `command` so that it dies with the process that runs it."""
    return [sys.executable, "-IS", os.path.abspath(__file__), str(os.getpid()), *command]


def _ask_kernel() -> None:
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    _ask_kernel()
    if os.getppid() != int(sys.argv[1]):  # the parent died before the kernel was asked
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])
