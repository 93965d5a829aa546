"""The processes that compute one run together: which of them this is, and what they agree on.

Every process (a worker) runs the same program on its share of each batch. They meet in torch.distributed's default
group, whoever has made it: `joined` from the environment of torchrun, or Ray. With one process all of this is nothing.

What is summed here has the same bits on every worker afterwards, so what is computed from it stays equal.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from autovid.errors import AutovidError, ConfigError

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # with a worker that does not come; one whose connection breaks is noticed at once
BUCKET = 32 * 2**20  # bytes of gradients in one message


class WorkerLostError(AutovidError):
    """Another worker has died or fallen silent; the last checkpoint is good (exit code 7)."""

    exit_code = 7


def size() -> int:
    """How many workers there are."""
    return int(dist.get_world_size()) if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return int(dist.get_rank()) if size() > 1 else 0


def is_first() -> bool:
    """Whether this is the worker that writes, and speaks to the user."""
    return rank() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Inside, this process is one of $WORLD_SIZE workers, as torchrun starts them; alone where that is not set.

    On CUDA the worker computes on GPU $LOCAL_RANK. Raises ConfigError for an environment that says only half.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ConfigError(f"WORLD_SIZE is set but not {', '.join(missing)}; start workers with torchrun")
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with _meeting():
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))  # type: ignore[attr-defined]
        store = dist.PrefixStore(name_of_attempt(store, rank, size), store)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield
    except BaseException as error:
        if getattr(error, "everywhere", False):  # else the others may be in the middle of something
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def name_of_attempt(store: Any, rank: int, size: int) -> str:
    """A name on which the living workers agree, and under which nothing of earlier ones is in the store (a dist.Store).

    The store of torchrun outlives restarts, and with it the addresses of dead workers (pytorch#135712); its count of
    restarts differs from node to node. So the first worker makes up a name, and answers to names that others make up:
    what is written under such a name, a living worker has asked for. Raises DistError after PATIENCE.
    """
    name = secrets.token_hex(8)
    if rank:
        store.set(f"autovid/asked by {rank}", name)
        given: str = store.get(f"autovid/answer to {name}").decode()
        store.add(f"autovid/heard {given}", 1)
        return given
    asked = [f"autovid/asked by {other}" for other in range(1, size)]
    end = time.monotonic() + PATIENCE.total_seconds()
    while store.add(f"autovid/heard {name}", 0) < size - 1:
        if time.monotonic() > end:
            raise dist.DistError(f"not all of {size} workers have come")
        for key in asked:
            if store.check([key]):
                store.set(f"autovid/answer to {store.get(key).decode()}", name)
        time.sleep(0.02)
    return name


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives on the first worker, which alone calls it; the AutovidError that it raises is raised on all.

    On other workers that error carries `everywhere`: the first one reports it.
    """
    if size() == 1:
        return make()
    answer: list[Any] = [None, None]
    if is_first():
        try:
            answer[0] = make()
        except AutovidError as error:
            answer[1] = error
    with _meeting():
        dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        answer[1].everywhere = True
        raise answer[1]
    made: T = answer[0]
    return made


def largest(values: Sequence[int]) -> list[int]:
    """Each value's maximum over the workers."""
    if size() == 1:
        return list(values)
    found = torch.tensor(values, dtype=torch.int64)
    _reduce(found, dist.ReduceOp.MAX)
    return [int(value) for value in found]


def mean(values: Sequence[float]) -> list[float]:
    """Each value's mean over the workers, in float64."""
    if size() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    _reduce(total)
    return [float(value) for value in total / size()]


def add_(tensors: Sequence[Tensor]) -> None:
    """Sums each tensor over the workers, in place, small ones together in one message."""
    if size() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        _reduce(flat)
        for tensor, part in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def average_gradients(parameters: Iterator[torch.nn.Parameter]) -> None:
    """Averages over the workers the gradients there are, which must be those of the same parameters on all."""
    if size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    add_(gradients)
    if gradients:
        torch._foreach_div_(gradients, float(size()))


def copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Every tensor becomes what it is on the first worker, in place."""
    if size() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in bucket])
        with _meeting():
            dist.broadcast(flat, src=0)
        for tensor, part in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))


def gather(x: Tensor) -> Tensor:
    """(workers, *x.shape): everybody's x, without a gradient."""
    if size() == 1:
        return x[None]
    x = x.detach().contiguous()
    found = [torch.empty_like(x) for _ in range(size())]
    with _meeting():
        dist.all_gather(found, x)
    return torch.stack(found)


def share(draw: Callable[[int], Tensor], batch: int) -> Tensor:
    """This worker's part of a random tensor that is drawn for the whole batch, as one worker alone would draw it.

    `draw(n)` makes it for n clips, the first dimension; `batch` is the number of clips here. Random states are equal on
    all workers, as long as all of them draw alike.
    """
    return draw(batch) if size() == 1 else draw(batch * size()).chunk(size())[rank()]


def average(x: Tensor) -> Tensor:
    """The mean of x over the workers, with a gradient: of a loss that is in turn the mean of the workers' losses."""
    if size() == 1:
        return x
    out: Tensor = _Average.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Average(torch.autograd.Function):
    """Its own adjoint: d(mean_s L_s) / dx_r = sum_s (dL_s / dy) / n^2, of which the last 1 / n comes at the end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _averaged(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _averaged(grad)


def _averaged(x: Tensor) -> Tensor:
    total = x.detach().clone(memory_format=torch.contiguous_format)
    _reduce(total)
    return total.div_(size())


def _reduce(tensor: Tensor, how: Any = dist.ReduceOp.SUM) -> None:
    with _meeting():
        dist.all_reduce(tensor, how)


@contextlib.contextmanager
def _meeting() -> Iterator[None]:
    """Turns a broken connection into one line."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        why = str(error).splitlines()[0][:120]
        raise WorkerLostError(f"another worker has gone ({why}); go on with --resume") from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of tensors of one type and at most BUCKET bytes (a larger one goes alone)."""
    bucket: list[Tensor] = []
    room = BUCKET
    for tensor in tensors:
        room -= tensor.nbytes
        if bucket and (room < 0 or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, room = [], BUCKET - tensor.nbytes
        bucket.append(tensor)
    if bucket:
        yield bucket
