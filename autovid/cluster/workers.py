"""Workers of a run as actors of Ray, and the connection to Ray."""

import contextlib
import logging
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autovid.distributed import WorkerLostError
from autovid.errors import AutovidError, ConfigError

LOCAL = "local"
WITH_TOKENS = (2, 52)  # Ray before it ignores RAY_AUTH_MODE
PATIENCE = 10.0  # seconds
JOINING = 120.0  # seconds to wait for nodes that are still to join


class ClusterError(AutovidError):
    """A cluster that does not answer, or lacks the resources that are asked for (exit code 7)."""

    exit_code = 7


@contextlib.contextmanager
def connected(address: str | None, cpus: int, gpus: float) -> Iterator[str | None]:
    """Connect Ray to `address` inside the context: a cluster's, `ray://HOST:PORT`, `auto`, or `local` for our own.

    None: $RAY_ADDRESS, else local. A local one has at least `cpus` CPUs, even where the machine has fewer.
    Yields the folder for Ray's own files: a temporary one where the cluster is our own, or None, which is Ray's default
    on a cluster's head. Raises ConfigError where `gpus` are more than a local machine has,
    ClusterError where there is no cluster at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"  # else what is printed to stderr comes twice
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # else Tune prints a banner at any verbosity
    with _locally() if address == LOCAL else contextlib.nullcontext() as folder:
        import ray

        _start(address, cpus, gpus)
        try:
            yield folder
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _locally() -> Iterator[str]:
    """Set the environment of a cluster of our own, which Ray reads when it is imported and when it starts."""
    # the switch that keeps Ray on loopback, by default on macOS and Windows alone
    variables = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with tempfile.TemporaryDirectory(prefix="autovid-ray-", ignore_cleanup_errors=True) as folder:
            yield folder
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _start(address: str, cpus: int, gpus: float) -> None:
    import ray

    if ray.is_initialized():
        raise ConfigError("this process is connected to Ray already; call ray.shutdown() first")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address != LOCAL:
        _check_listening(address)
        try:
            ray.init(address=address, **quiet)
        except Exception as error:  # grpc's, Ray's and the operating system's
            raise ClusterError(f"no Ray cluster answers at {address}: {_first_line(error)}") from error
        return
    if tuple(int(part) for part in ray.__version__.split(".")[:2]) < WITH_TOKENS:
        raise ClusterError(f"Ray {ray.__version__} lets in whoever finds its ports: pip install 'ray[tune]>=2.52'")
    if " " in sys.prefix:
        raise ClusterError(f"Ray starts no processes from a path with a space, {sys.prefix}: install autovid elsewhere")
    import torch

    available = torch.cuda.device_count()
    if gpus > available:
        raise ConfigError(
            f"{gpus:g} GPUs are asked for, and this machine has {available}; ask for fewer, or give --address"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        ray.init(address=LOCAL, num_cpus=max(cpus, cores), num_gpus=available, include_dashboard=False, **quiet)
    except Exception as error:
        raise ClusterError(f"Ray does not start on this machine: {_first_line(error)}") from error


def wait_for_capacity(number: int, cpus: int, gpus: float) -> None:
    """Wait until the nodes are large enough for `number` processes of `cpus` and `gpus` each, be they busy or not.

    Raises ClusterError where they are not after JOINING seconds: Ray itself would wait for ever.
    """
    import ray

    started, said = time.monotonic(), False
    while True:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        if (fitting := capacity(nodes, cpus, gpus)) >= number:
            return
        shortage = f"room for {fitting} of {number} processes of {cpus} CPUs and {gpus:g} GPUs each"
        if time.monotonic() - started >= JOINING:
            sizes = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes[:4])
            more = ", ..." if len(nodes) > 4 else ""
            raise ClusterError(f"the cluster has {shortage}: its nodes have {sizes}{more}; ask for fewer, or add nodes")
        if not said:
            print(f"the cluster has {shortage}; waiting for more nodes, {JOINING:g} s at most", flush=True)
            said = True
        time.sleep(1)


def capacity(nodes: Sequence[dict[str, float]], cpus: int, gpus: float) -> int:
    """Return the number of processes that fit on these nodes; a fraction of a GPU is always of one GPU."""
    places = 0
    for node in nodes:
        node_gpus = node.get("GPU", 0.0)
        by_cpu = int(node.get("CPU", 0.0) // cpus)
        by_gpu = by_cpu if not gpus else int(node_gpus) * int(1 / gpus + 1e-9) if gpus < 1 else int(node_gpus // gpus)
        places += min(by_cpu, by_gpu)
    return places


def _check_listening(address: str) -> None:
    """Raise ClusterError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # `auto`, or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster answers at {address}: {error}; `ray status` says where one is") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


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
