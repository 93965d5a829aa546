"""The precision follows the user, the GPU's generation or the measurement; memory is kept where glibc allows it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from autovid.errors import ConfigError
from autovid.kernels import compute as module
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Precision, autocast, choose_precision
from autovid.kernels.depthwise import depthwise_conv3d

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_cpu_without_bf16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(module, "is_faster", None)
    assert choose_precision(CPU) == Precision("fp32", "fp32")


@pytest.mark.parametrize(("answers", "expected"), [
    ([True, False], Precision("bf16", "fp32")),
    ([False, True], Precision("fp32", "bf16")),
])  # fmt: skip
def test_cpu_chooses_for_each_kind_of_pass(
    answers: list[bool], expected: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[bool, torch.dtype]] = []

    def measured(new: Callable[[], object], old: Callable[[], object], seconds: float) -> bool:
        modes.clear()
        new()
        old()
        assert {dtype for _, dtype in modes} == {torch.bfloat16, torch.float32}
        assert {grad for grad, _ in modes} == {len(answers) == 1}  # first without gradient, then training
        return answers.pop(0)

    def spy(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        modes.append((torch.is_grad_enabled(), x.dtype))
        return depthwise_conv3d(x, weight)

    monkeypatch.setattr(module, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(module, "is_faster", measured)
    monkeypatch.setattr(module, "depthwise_conv3d", spy)
    assert choose_precision(CPU) == expected


@pytest.mark.parametrize(("native", "name"), [(True, "bf16"), (False, "fp16")])
def test_gpu_takes_bf16_where_it_is_native(native: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert choose_precision(CUDA) == Precision(name, name)  # type: ignore[arg-type]
    assert choose_precision(CUDA, "bf16") == Precision("bf16", "bf16")


def test_a_precision_asked_for_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert choose_precision(CPU, "fp32") == Precision("fp32", "fp32")
    assert choose_precision(CPU, "bf16") == Precision("bf16", "bf16")
    assert choose_precision(CUDA, "fp16") == Precision("fp16", "fp16")
    for device, precision, message in [(CPU, "fp16", "CUDA"), (CUDA, "bf16", "bf16"), (CPU, "fp8", "choose one of")]:
        with pytest.raises(ConfigError, match=message):
            choose_precision(device, precision)


def test_autocast_follows_the_kind_of_pass() -> None:
    precision = Precision(forward="bf16", train="fp32")
    x = torch.randn(2, 2)
    with autocast(precision, "forward", CPU):
        assert (x @ x).dtype == torch.bfloat16
        with autocast(precision, "train", CPU):
            assert (x @ x).dtype == torch.float32


def test_keep_memory_can_be_called_again() -> None:
    glibc = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
    assert keep_memory() is glibc
    assert keep_memory() is glibc


KEPT = """
import torch
from autovid.kernels.allocator import keep_memory

def in_heap(address):
    (low, high), = [line.split()[0].split("-") for line in open("/proc/self/maps") if line.endswith("[heap]\\n")]
    return int(low, 16) <= address < int(high, 16)

assert keep_memory()
tensor = torch.ones(2**24)
address = tensor.data_ptr()
assert in_heap(address), "mapped"
del tensor
assert in_heap(address), "given back"
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_large_tensors_stay_with_the_process() -> None:
    run = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_keep_memory_leaves_other_systems_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert keep_memory() is False
