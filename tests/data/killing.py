"""Sweeps that are really killed once they have got some way, and work that kills its process.

As a script: python killing.py INDEX JOURNAL check, or ... resize OUT or jpeg OUT.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from autovid.data import open_videos
from autovid.data.tools.check import check
from autovid.data.tools.process_videos import Journal, VideoResult, VideoTask
from autovid.data.tools.resize import CopySettings, resize
from autovid.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class Silent:
    """Shows nothing."""

    def start(self, total: int, done: int, status: str = "") -> None: ...
    def update(self, done: int, status: str, metrics: dict[str, float]) -> None: ...
    def close(self) -> None: ...


def run_and_kill(lines: int, index: Path, journal: Path, what: str, *out: Path) -> int:
    """Starts a sweep with two workers, and kills it once the journal has so many lines; how many it got to."""
    command = [sys.executable, __file__, str(index), str(journal), what, *map(str, out)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert process.stderr is not None
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    return journal.read_bytes().count(b"\n")


def dies(task: VideoTask) -> VideoResult:
    """What a decoder with a bug may do to its process."""
    if task.path == "deadly":
        os.abort()
    return VideoResult(task, "")


def loses_connection(task: VideoTask) -> VideoResult:
    """What a server may do in the middle."""
    if task.path == "far":
        raise DataError("no connection in 7 tries")
    return VideoResult(task, "")


def main(index: str, journal: str, what: str, *out: str) -> None:
    """The sweep that is to be killed."""
    videos = open_videos(index)
    if what == "check":
        check(videos, Journal(Path(journal), {"check of": str(videos.root.resolve())}), 2, Silent())
    else:
        small = CopySettings(48, None if what == "jpeg" else 12)
        Path(out[0]).mkdir(exist_ok=True)
        resize(videos, Path(out[0]), small, lambda settings: Journal(Path(journal), settings), 2, Silent())


if __name__ == "__main__":
    main(*sys.argv[1:])
