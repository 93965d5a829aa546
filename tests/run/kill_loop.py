"""Runs the toy task in forked children that are killed at random moments until it is finished.

    python kill_loop.py DIRECTORY SEED

Prints how many children were killed, and how many of them while they wrote a checkpoint. Every second child is killed
as soon as it begins to write one, a random moment later.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch._dynamo  # noqa: F401 - what an optimizer imports when first used: once here instead of in every child
from toy import Toy, slow, start

from autovid.run import Progress, run_task

STEPS = 24


def attempt(path: Path) -> None:
    with start(path, resume=path.exists()) as run, open(os.devnull, "w") as nowhere:
        toy = Toy(STEPS, ballast=500_000, hooks=dict.fromkeys(range(STEPS), slow))
        run_task(toy, run, seed=1, checkpoint_every=1, progress=Progress("", nowhere))


def writing(path: Path) -> bool:
    return any(path.glob("checkpoints/.tmp-0*"))


def saved(path: Path) -> int:
    return max((int(folder.name[5:]) for folder in path.glob("checkpoints/step-*")), default=0)


def wait_and_kill(child: int, path: Path, dice: random.Random, in_save: bool) -> int | None:
    """The exit status of a child that was faster, or None if it was killed. Waits for steps, not for a time: on a busy
    machine a child may need seconds to begin."""
    enough = saved(path) + dice.randrange(8)
    while saved(path) < enough or (in_save and not writing(path)):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    time.sleep(dice.uniform(0.0, 0.008 if in_save else 0.1))
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == -signal.SIGKILL else code


def main(path: Path, seed: int) -> None:
    dice = random.Random(seed)
    killed = in_saves = 0
    code = None
    while code is None:
        child = os.fork()
        if child == 0:
            attempt(path)
            os._exit(0)
        code = wait_and_kill(child, path, dice, in_save=killed % 2 == 1)
        killed += code is None
        in_saves += code is None and writing(path)
    print(killed, in_saves)
    sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
