"""The toy task as a command: python stop_me.py DIRECTORY STEPS [step that hangs]. Exits as the command line would."""

import signal
import sys
import time
from pathlib import Path

from toy import Toy, slow, start

from autovid.errors import AutovidError
from autovid.run import run_task


def main(path: Path, steps: int, *hanging: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts us with it ignored
    hooks = {**dict.fromkeys(range(steps), slow), **{step: lambda: time.sleep(600) for step in hanging}}
    try:
        with start(path) as run:
            run_task(Toy(steps, hooks=hooks), run, seed=1, checkpoint_every=5, resume_command="python stop_me.py")
    except AutovidError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
