"""Becomes another program that ends with the process that started it, under an unprivileged account when asked."""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def main(uid: int, gid: int, farewell: int, command: list[str]) -> None:
    """Execute `command` as (uid, gid), or as it is for uid 0; `farewell` is the signal it gets when its parent dies."""
    if uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which would clear it. A killed parent must not leave a server behind.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, farewell)
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    except OSError as error:
        sys.exit(f"{sys.argv[4]} can't be started: {error}")
