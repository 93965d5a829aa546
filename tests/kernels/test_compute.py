"""What is fastest on a machine is measured once."""

import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from autovid.kernels import compute
from autovid.kernels.chosen import Kernels, current_kernels, use_kernels
from autovid.kernels.compute import Compute, Precision, measured


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mock:
    """Every measurement finds something else; the kernels in use are as before afterwards."""
    monkeypatch.setenv("AUTOVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compute, "choose_precision", lambda device, precision="auto": Precision("bf16", "fp32"))
    choose = Mock(side_effect=[Kernels(wide_kernels="whole"), Kernels(weight_gradient="torch")])
    monkeypatch.setattr(compute, "choose_kernels", choose)
    return choose


@pytest.fixture(autouse=True)
def _kernels() -> object:
    before = current_kernels()
    yield
    use_kernels(before)


def test_two_runs_of_a_machine_compute_alike(counted: Mock, tmp_path: Path) -> None:
    first = Compute("cpu").record()
    use_kernels(Kernels())
    assert Compute("cpu").record() == first
    assert counted.call_count == 1
    assert first["kernels"]["wide_kernels"] == "whole"
    assert first["precision"] == {"forward": "bf16", "train": "fp32"}


@pytest.mark.parametrize("change", [{"kernels": {"wide_kernels": "guess"}}, {"precision": None}, None])
def test_what_cannot_be_read_is_measured_again(change: object, counted: Mock, tmp_path: Path) -> None:
    measured()
    [file] = (tmp_path / "cache").iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}) if isinstance(change, dict) else "{")
    assert measured().kernels == Kernels(weight_gradient="torch")
    assert measured().kernels == Kernels(weight_gradient="torch")


def test_another_torch_is_measured_anew(counted: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    measured()
    monkeypatch.setattr(compute.torch, "__version__", "99.0")
    assert measured().kernels == Kernels(weight_gradient="torch")


def test_a_cache_that_cannot_be_written_stops_nothing(counted: Mock, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert measured().kernels == Kernels(wide_kernels="whole")
    assert os.listdir(tmp_path) == ["cache"]
