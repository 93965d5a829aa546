"""What all tests share: a cache of their own, and a handful of small videos."""

import contextlib
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autovid.cli import launch
from autovid.plugins import forget_plugins

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background commands ignore Ctrl-C
# One thread: small operations, and programs beside other tests, would spend their time waiting for a second one. Every
# program that a test starts has as many. MKL's own setting would go before it.
threads = int(os.environ.get("AUTOVID_TEST_THREADS", "1"))
os.environ.pop("MKL_NUM_THREADS", None)
os.environ["OMP_NUM_THREADS"] = str(threads)
torch.set_num_threads(threads)


# Files that take half a minute and more by few tests: begun last, they would leave all processes but one idle.
LONG = (
    "test_search_on_two_workers.py", "test_training_on_two_workers.py", "test_sync_batch.py", "test_budget.py",
    "test_programs.py", "test_packaging.py", "test_export_predict.py", "test_search.py", "test_builder.py",
    "test_page.py", "test_bench.py", "test_random_baseline_study.py", "test_rank.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; pytest-xdist keeps this order with --no-loadscope-reorder."""
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))


def pytest_collection_finish() -> None:
    """Torch and the tests stay until the end: looking through them for garbage takes a tenth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or written to the cache of whoever runs the tests; commands started by tests inherit it.

    The processes of one pytest share it: the embedded videos are written once.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["AUTOVID_CACHE"] = str(shared / "cache-of-all")


@pytest.fixture(scope="session", autouse=True)
def _one_process() -> Iterator[None]:
    """A budget of a command that is called in the process of the tests is measured there, whatever threads it has.

    A second process would know nothing of what a test has changed.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "second_process", lambda args: contextlib.nullcontext(0))
        yield


@pytest.fixture
def without_plugins() -> Iterator[None]:
    """What a test loads is forgotten after it, so that the next begins like a new process."""
    forget_plugins()
    yield
    forget_plugins()


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/CLASS/*.mp4 and val/CLASS/*.mp4: 12 classes, 2 and 1 videos each, 16 frames of 40x40."""
    from autovid.data.synthetic import SyntheticRecipe, write_synthetic

    folder = tmp_path_factory.mktemp("tiny_videos")
    write_synthetic(folder, SyntheticRecipe(train=2, val=1, frames=16, side=40))
    return folder
