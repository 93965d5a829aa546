"""One program on several workers, as torchrun would run it, by Ray Train, which starts and restarts them."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autovid.cluster.connect import ClusterError, connected, wait_for_capacity
from autovid.distributed import WorkerLostError

LOST = WorkerLostError.exit_code


@dataclass(frozen=True)
class WorkerGroup:
    """The number of workers and the resources of each."""

    number: int
    cpus: int
    gpus: float = 0.0


def run_workers(program: Callable[[], int], workers: WorkerGroup, *, address: str | None, retries: int) -> int:
    """Run `program`, which returns an exit code, on every worker at once; return that of rank 0.

    Workers meet in torch.distributed's default group, and see the environment variables of torchrun. Where one of them
    dies, or its node, all are restarted, at most `retries` times, with a higher $TORCHELASTIC_RESTART_COUNT: the
    program goes on from its last checkpoint. Its output is printed here. SIGINT and SIGTERM here stop its loop, as
    they would there. Raises ClusterError when the last retry has failed, or the cluster is too small.
    """
    with connected(address, workers.number * workers.cpus, workers.number * workers.gpus) as storage:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        from autovid.cluster.driver_channel import DriverChannel, relay

        wait_for_capacity(workers.number, workers.cpus, workers.gpus)
        channel = DriverChannel()
        trainer = TorchTrainer(
            _WorkerProgram(program, channel, os.getcwd(), retries),
            scaling_config=ScalingConfig(
                num_workers=workers.number,
                use_gpu=workers.gpus > 0,
                resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
            ),
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if workers.gpus else "gloo"),
            run_config=RunConfig(
                name=f"autovid-{secrets.token_hex(4)}",
                storage_path=storage,
                failure_config=FailureConfig(max_failures=retries),
            ),
        )
        code = LOST
        try:
            for kind, content in relay(channel, trainer.fit):
                if kind == "code":
                    code = content
        except Exception as error:  # whatever Ray makes of it
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            cause = (lines[-1] if lines else type(error).__name__)[:160]
            raise ClusterError(f"the workers were lost {retries + 1} times ({cause}); go on with --resume") from error
    return code


@dataclass(frozen=True)
class _WorkerProgram:
    """The function that Ray calls on every worker, in a thread."""

    program: Callable[[], int]
    channel: Any  # a DriverChannel, whose module imports ray
    folder: str
    retries: int

    def __call__(self) -> None:
        import ray.train
        import torch

        from autovid.cluster.driver_channel import enter_folder

        enter_folder(self.folder)
        rank = ray.train.get_context().get_world_rank()
        if torch.cuda.is_available():
            torch.cuda.set_device(ray.train.torch.get_device())
        count = self.channel.begin(f"worker {rank}")
        os.environ["TORCHELASTIC_MAX_RESTARTS"] = str(self.retries)
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(count)
        with self.channel.serving():
            code = self.program()
        if code == LOST:  # for Ray to start all anew
            raise WorkerLostError("another worker has gone")
        if rank == 0:
            self.channel.post("code", code)
