"""One program on several workers, as torchrun would run it, by Ray Train: it starts them, and starts them anew."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from autovid.cluster.connect import ClusterError, connected, wait_for_room
from autovid.distributed import WorkerLostError

LOST = WorkerLostError.exit_code


@dataclass(frozen=True)
class Workers:
    """How many there are and what each gets."""

    number: int
    cpus: int
    gpus: float = 0.0


def run_workers(program: Callable[[], int], workers: Workers, *, address: str | None, retries: int) -> int:
    """Runs `program`, which returns an exit code, on every worker at once; returns that of the first worker.

    Workers meet in torch.distributed's default group, and see the environment variables of torchrun. Where one of them
    dies, or its node, all are started anew, at most `retries` times, with a higher $TORCHELASTIC_RESTART_COUNT: the
    program goes on from its last checkpoint. What it prints is printed here. SIGINT and SIGTERM here stop its loop, as
    they would there. Raises ClusterError when the last retry has failed, or the cluster is too small.
    """
    with connected(address, workers.number * workers.cpus, workers.number * workers.gpus) as storage:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        from autovid.cluster.driver_channel import Mailbox, attend

        wait_for_room(workers.number, workers.cpus, workers.gpus)
        mailbox, folder = Mailbox(), os.getcwd()
        trainer = TorchTrainer(
            _Loop(program, mailbox, folder, retries),
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
            for kind, content in attend(mailbox, trainer.fit):
                if kind == "code":
                    code = content
        except Exception as error:  # whatever Ray makes of it
            raise ClusterError(
                f"the workers were lost {retries + 1} times ({_cause(error)}); go on with --resume"
            ) from error
    return code


@dataclass(frozen=True)
class _Loop:
    """What Ray calls on every worker, in a thread."""

    program: Callable[[], int]
    mailbox: "object"
    folder: str
    retries: int

    def __call__(self) -> None:
        import ray.train
        import torch

        from autovid.cluster.driver_channel import Mailbox, stay_in

        assert isinstance(self.mailbox, Mailbox)
        stay_in(self.folder)
        rank = ray.train.get_context().get_world_rank()
        if torch.cuda.is_available():
            torch.cuda.set_device(ray.train.torch.get_device())
        count = self.mailbox.begin(f"worker {rank}")
        os.environ["TORCHELASTIC_MAX_RESTARTS"] = str(self.retries)
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(count)
        with self.mailbox.serving():
            code = self.program()
        if code == LOST:  # for Ray to start all anew
            raise WorkerLostError("another worker has gone")
        if rank == 0:
            self.mailbox.post("code", code)


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:160]
