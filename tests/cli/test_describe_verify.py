"""`autovid describe WHAT --verify`: three counts whose differences add up, and what does not is said.

All figures are whole numbers: nothing here is rounded.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autovid.blocks.elastic import ElasticLinear
from autovid.cli import main
from autovid.clip import Clip
from autovid.costs.count import Row, verify
from autovid.space import load_space


def compared(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What is said for machines, of which the columns add up."""
    assert main(["describe", *words, "--verify", "--json"]) == 0
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()  # none of the tracers' warnings
    assert "takes seconds" in line
    content: dict[str, Any] = json.loads(shown.out)
    counts = content["verify"]
    for who in ("fvcore", "torch"):
        rows = [*counts["rows"], counts["unexplained"]]
        assert counts[who] + sum(row[who] for row in rows) == counts["ours"] == content["macs"]
    return counts


def explained(counts: dict[str, Any]) -> dict[str, tuple[int, int]]:
    assert (counts["unexplained"]["fvcore"], counts["unexplained"]["torch"]) == (0, 0)
    return {row["what"]: (row["fvcore"], row["torch"]) for row in counts["rows"]}


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A folder with an architecture that has attention, squeeze-excitation and fusions."""
    load_space("tiny").sample(1, seed=2)[0].save(tmp_path / "architecture.yaml")
    return str(tmp_path)


def test_a_closed_form_is_what_both_count_but_for_batch_norm(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    counts = compared([tiny, "--crop", "32"], capsys)
    rows = explained(counts)
    assert set(rows) == {"2 FLOPs are 1 MAC", "batch norm, not in ours"}
    norms, _ = rows["batch norm, not in ours"]
    assert norms == counts["ours"] - counts["fvcore"] < 0
    assert counts["torch"] == 2 * counts["ours"]
    assert "closed form" in counts["ours_is"]
    assert counts["no_formula"]["mean"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["tsn_resnet50"], ["batch norm"]),
        (["tsn_resnet18", "--with", "dnr"], ["batch norm"]),  # one cell for several blocks, functions of ours
        (["nln_resnet18"], ["batch norm"]),  # attention
        (["s2dnet", "--frames", "12"], ["batch norm", "resizing"]),  # its sampler multiplies matrices
    ],
    ids=lambda value: value[0],
)
def test_networks_are_explained_to_the_last_mac(
    words: list[str], rows: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [] if "--frames" in words else ["--frames", "2"]
    counts = compared([*words, *frames, "--crop", "48", "--classes", "7"], capsys)
    assert set(explained(counts)) == {"2 FLOPs are 1 MAC", *(f"{row}, not in ours" for row in rows)}


@pytest.mark.slow
def test_what_torchs_counter_does_not_see_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU, TANet's convolution over time is products in place: three for each value of every block's map."""
    rows = explained(compared(["tanet_resnet50", "--frames", "2", "--crop", "32"], capsys))
    sides = [8] * 3 + [8] + [4] * 3 + [4] + [2] * 5 + [2] + [1] * 2  # of the maps before each block's stride
    widths = [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3
    macs = sum(3 * 2 * width * side**2 for width, side in zip(widths, sides))
    assert rows["16 TemporalAdaptive, by addcmul_, mul: unseen by torch"] == (0, macs)


def test_a_wrong_closed_form_is_unexplained(
    tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ElasticLinear.macs
    monkeypatch.setattr(ElasticLinear, "macs", staticmethod(lambda *widths: right(*widths) + 3))
    assert main(["describe", tiny, "--crop", "32", "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "unexplained: 6 MACs against fvcore, 6 against torch's counter" in shown  # two linear layers


def test_the_screen_says_that_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "tsn_resnet18", "--frames", "1", "--crop", "32", "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "batch norm, not in ours" in shown
    assert shown.endswith("unexplained: 0\n")


class Twice(nn.Module):
    """A layer that stands in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3, bias=False)
        self.again = nn.Sequential(self.inner)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.again(self.inner(x.mean((2, 3, 4))))
        return out * 2


class Einsum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bct,dc->bdt", x.mean((3, 4)), torch.ones(6, 3))


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Product.apply(x.mean((2, 3, 4)), torch.ones(3, 6))  # type: ignore[no-untyped-call]
        return out


def test_a_layer_in_two_places_an_einsum_and_a_function_that_fvcore_does_not_look_into() -> None:
    for net, macs, hidden in [(Twice(), 2 * 3 * 3, 0), (Einsum(), 5 * 3 * 6, 0), (Custom(), 3 * 6, 3 * 6)]:
        verification = verify(net, Clip(5, 4), macs)
        assert (verification.fvcore, verification.torch) == (macs - hidden, 2 * macs)
        assert (verification.unexplained.fvcore, verification.unexplained.torch) == (0, 0)
        unseen = [Row("1 Custom, by prim::PythonOp.Product: unseen by fvcore", fvcore=hidden)] if hidden else []
        assert verification.rows == [Row("2 FLOPs are 1 MAC", torch=-macs), *unseen]


def test_a_space_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "tiny", "--verify"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tiny is a space: --verify runs one network; give an architecture of it, or a run" in line


def test_fvcore_is_loaded_when_it_is_used() -> None:
    code = "import sys, autovid.costs; print('fvcore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
