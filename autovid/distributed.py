"""The workers of a distributed run: their number and ranks, and sums, means and broadcasts over them.

Every worker is a process that runs the same program on its shard of each batch, or on pieces of work of its own
(`deal`, `alone`). They meet in torch.distributed's default group, which `process_group` creates from the environment of
torchrun, or Ray does. With one process all of this does nothing.

A sum has the same bits on every worker, so everything computed from it stays equal.
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from autovid.errors import AutovidError, ConfigError

T = TypeVar("T")
AnyTensor = TypeVar("AnyTensor", bound=Tensor)
PATIENCE = timedelta(minutes=30)  # with a worker that is silent; a broken connection is noticed at once
MEETING = "AUTOVID_MEETING"  # a file, in which the workers of one machine meet: nothing listens for it
BUCKET = 32 * 2**20  # bytes in one message
GRADIENTS = 4 * 2**20  # bytes of gradients in one message, sent while backward runs
_alone = False  # inside `alone`


class WorkerLostError(AutovidError):
    """Another worker has died or fallen silent; the last checkpoint is good (exit code 7)."""

    exit_code = 7


def size() -> int:
    """Return the number of workers."""
    return int(dist.get_world_size()) if dist.is_available() and dist.is_initialized() and not _alone else 1


def rank() -> int:
    """Return the rank of this worker, from 0."""
    return int(dist.get_rank()) if size() > 1 else 0


def is_rank0() -> bool:
    """Return True on rank 0, the worker that writes files and messages."""
    return rank() == 0


@contextlib.contextmanager
def alone(threads: int = 0) -> Iterator[None]:
    """Count as the only worker inside: norms, random masks and sums are this worker's own.

    `threads`: that it computes with inside; 0: as many as outside.
    """
    global _alone
    before, _alone, usual = _alone, True, torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        _alone = before
        if threads:
            torch.set_num_threads(usual)


def deal(sizes: Sequence[int]) -> list[int]:
    """Return the numbers, ascending, of the pieces of work that this worker does: dealt by their sizes.

    The largest goes first, each to the worker that has least.
    """
    loads = [0] * size()
    own = []
    for number in sorted(range(len(sizes)), key=lambda one: -sizes[one]):
        taker = loads.index(min(loads))
        loads[taker] += int(sizes[number])
        if taker == rank():
            own.append(number)
    return sorted(own)


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join $WORLD_SIZE workers, as torchrun starts them, inside the context; stay alone where that is not set.

    On CUDA the worker computes on GPU $LOCAL_RANK. Raises ConfigError for an environment that says only half.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    meeting = os.environ.get(MEETING)
    needed = ("RANK",) if meeting else ("RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise ConfigError(f"WORLD_SIZE is set but not {', '.join(missing)}; start workers with torchrun")
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with _explained():
        store: Any
        if meeting:
            rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            store = dist.FileStore(meeting, size)  # type: ignore[attr-defined]
        else:
            store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))  # type: ignore[attr-defined]
            store = dist.PrefixStore(name_of_attempt(store, rank, size), store)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield
    except BaseException as error:
        # Others that were not told may be in the middle of something; on one machine they end with their connection.
        if meeting or getattr(error, "everywhere", False):
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def local_meeting(number: int, file: Path, rank: int = 0) -> dict[str, str]:
    """Return the environment of one of `number` workers on this machine, which meet in a file.

    They exchange messages by the loopback interface, and listen nowhere else.
    """
    size = {name: str(number) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    interface = {"GLOO_SOCKET_IFNAME": loopback[0]} if loopback else {}
    return {MEETING: str(file), **size, **interface, "RANK": str(rank), "LOCAL_RANK": str(rank)}


def name_of_attempt(store: Any, rank: int, size: int) -> str:
    """Agree with the living workers on a name that no entry of earlier workers in the store (a dist.Store) has.

    The store of torchrun outlives restarts, and with it the addresses of dead workers (pytorch#135712); its count of
    restarts differs from node to node. So rank 0 draws a name, and answers to names that others draw: an entry
    under such a name is a request of a living worker. Raises DistError after PATIENCE.
    """
    name = secrets.token_hex(8)
    if rank:
        store.set(f"autovid/asked by {rank}", name)
        agreed: str = store.get(f"autovid/answer to {name}").decode()
        store.add(f"autovid/heard {agreed}", 1)
        return agreed
    requests = [f"autovid/asked by {other}" for other in range(1, size)]
    end = time.monotonic() + PATIENCE.total_seconds()
    while store.add(f"autovid/heard {name}", 0) < size - 1:
        if time.monotonic() > end:
            raise dist.DistError(f"not all of {size} workers have come")
        for key in requests:
            if store.check([key]):
                store.set(f"autovid/answer to {store.get(key).decode()}", name)
        time.sleep(0.02)
    return name


def broadcast_from_rank0(function: Callable[[], T]) -> T:
    """Call `function` on rank 0 alone and return its result on all; an AutovidError is raised on all.

    On other workers that error carries `everywhere`: rank 0 reports it.
    """
    if size() == 1:
        return function()
    answer: list[Any] = [None, None]
    if is_rank0():
        try:
            answer[0] = function()
        except AutovidError as error:
            answer[1] = error
    with _explained():
        dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        answer[1].everywhere = True
        raise answer[1]
    result: T = answer[0]
    return result


def largest(values: Sequence[int]) -> list[int]:
    """Return each value's maximum over the workers."""
    if size() == 1:
        return list(values)
    maxima = torch.tensor(values, dtype=torch.int64)
    _reduce(maxima, dist.ReduceOp.MAX)
    return [int(value) for value in maxima]


def mean(values: Sequence[float]) -> list[float]:
    """Return each value's mean over the workers, in float64."""
    if size() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    _reduce(total)
    return [float(value) for value in total / size()]


def add_(tensors: Sequence[Tensor]) -> None:
    """Sum each tensor over the workers, in place, small ones together in one message."""
    _in_buckets(tensors, dist.all_reduce)


def average_gradients(parameters: Iterator[torch.nn.Parameter]) -> None:
    """Average over the workers all gradients that exist, which must be those of the same parameters on all."""
    if size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    add_(gradients)
    if gradients:
        torch._foreach_div_(gradients, float(size()))


@contextlib.contextmanager
def averaged_gradients(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Average over the workers the gradients of a backward pass inside, in messages that are sent while it runs.

    At the end all gradients are averaged that exist, which must be those of the same parameters on all.
    """
    if size() == 1:
        yield
        return
    buckets = _GradientBuckets([parameter for parameter in parameters if parameter.requires_grad])
    try:
        yield
        buckets.finish()
    finally:
        buckets.close()


def messages(parameters: Sequence[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    """Divide parameters into messages of gradients, in the order in which backward reaches them."""
    return [*_runs(parameters[::-1], GRADIENTS)]


class _GradientBuckets:
    """Parameters by the messages that their gradients are sent in, in the order in which backward reaches them.

    A message is sent when all gradients in it and all messages before it are there: workers send them in one order.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._buckets = messages(parameters)
        self._missing = [len(bucket) for bucket in self._buckets]
        self._next = 0
        self._sent: list[tuple[list[Tensor], Tensor, Any]] = []
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, number))  # type: ignore[no-untyped-call]
            for number, bucket in enumerate(self._buckets)
            for parameter in bucket
        ]

    def finish(self) -> None:
        """Send what has not been sent, and wait for all messages."""
        while self._next < len(self._buckets):
            self._send()
        for gradients, flat, work in self._sent:
            with _explained():
                work.wait()
            _spread(flat.div_(size()), gradients)

    def close(self) -> None:
        """Let go of the parameters."""
        for hook in self._hooks:
            hook.remove()

    def _arrived(self, number: int, _: torch.nn.Parameter) -> None:
        self._missing[number] -= 1
        while self._next < len(self._buckets) and not self._missing[self._next]:
            self._send()

    def _send(self) -> None:
        gradients = [parameter.grad for parameter in self._buckets[self._next] if parameter.grad is not None]
        self._next += 1
        if gradients:
            flat = _joined(gradients)
            with _explained():
                self._sent.append((gradients, flat, dist.all_reduce(flat, async_op=True)))


def add_gradients(parameters: Iterator[torch.nn.Parameter]) -> None:
    """Sum over the workers all gradients; a worker may have some that others have not."""
    known = [*parameters]
    for parameter, exists in zip(known, largest([parameter.grad is not None for parameter in known])):
        if exists and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    add_([parameter.grad for parameter in known if parameter.grad is not None])


def broadcast_(tensors: Sequence[Tensor]) -> None:
    """Set every tensor to its value on rank 0, in place."""
    _in_buckets([tensor.detach() for tensor in tensors], lambda flat: dist.broadcast(flat, src=0))


def gather(x: Tensor) -> Tensor:
    """Return (workers, *x.shape): every worker's x, without a gradient."""
    if size() == 1:
        return x[None]
    x = x.detach().contiguous()
    everyone = [torch.empty_like(x) for _ in range(size())]
    with _explained():
        dist.all_gather(everyone, x)
    return torch.stack(everyone)


def gather_batch(x: Tensor) -> Tensor:
    """Return all workers' clips, the first dimension, laid out in memory with the second one last (channels last)."""
    if size() == 1:
        return x
    return gather(x.movedim(1, -1)).flatten(0, 1).movedim(-1, 1) if x.dim() > 1 else gather(x).flatten()


def shard(draw: Callable[[int], Tensor], batch: int) -> Tensor:
    """Return this worker's part of a random tensor that is drawn for the whole batch, as one worker alone draws it.

    `draw(n)` draws it for n clips, the first dimension; `batch` is the number of clips here. Random states are equal on
    all workers, as long as all of them draw alike.
    """
    return draw(batch) if size() == 1 else draw(batch * size()).chunk(size())[rank()]


def average(x: Tensor) -> Tensor:
    """Return the mean of x over the workers; its gradient is of a loss that is the mean of the workers' losses."""
    if size() == 1:
        return x
    out: Tensor = _Average.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Average(torch.autograd.Function):
    """The mean, its own adjoint: d(mean_s L_s) / dx_r = sum_s (dL_s / dy) / n^2; the last 1 / n comes at the end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        _reduce(total)
        return total.div_(size())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Average.forward(ctx, grad)


def _reduce(tensor: Tensor, how: Any = dist.ReduceOp.SUM) -> None:
    with _explained():
        dist.all_reduce(tensor, how)


def _in_buckets(tensors: Sequence[Tensor], communicate: Callable[[Tensor], Any]) -> None:
    """Communicate tensors in messages of at most BUCKET bytes (a larger one goes alone)."""
    for bucket in _runs(tensors, BUCKET) if size() > 1 else ():
        flat = _joined(bucket)
        with _explained():
            communicate(flat)
        _spread(flat, bucket)


def _runs(tensors: Sequence[AnyTensor], most: int) -> Iterator[list[AnyTensor]]:
    """Divide tensors into runs of one type and of at most `most` bytes; a larger one is a run of its own."""
    bucket: list[AnyTensor] = []
    nbytes = 0
    for tensor in tensors:
        nbytes += tensor.nbytes
        if bucket and (tensor.dtype != bucket[0].dtype or nbytes > most):
            yield bucket
            bucket, nbytes = [], tensor.nbytes
        bucket.append(tensor)
    if bucket:
        yield bucket


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Copy tensors into one message, each as it lies in memory: in channels_last another order takes far longer."""
    return torch.cat([_as_in_memory(tensor).reshape(-1) for tensor in tensors])


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy one message into the tensors that it was made of."""
    views = [_as_in_memory(tensor) for tensor in tensors]
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(views, [part.view(view.shape) for view, part in zip(views, parts, strict=True)])


def _as_in_memory(tensor: Tensor) -> Tensor:
    """Return a view of a tensor with its dimensions in the order of memory.

    All workers have the same strides: autograd gives a gradient its parameter's, and those are as the network is built.
    """
    if tensor.is_contiguous():
        return tensor
    return tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn a broken connection into WorkerLostError."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        why = str(error).splitlines()[0][:120]
        raise WorkerLostError(f"another worker has gone ({why}); go on with --resume") from error
