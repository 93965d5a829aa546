"""A block of another kind, registered here: its choices are in YAML, its costs in tables, its label in pictures."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import autovid
from autovid.blocks.block import Candidates, Choice, Kernel
from autovid.blocks.elastic import ElasticBatchNorm, ElasticDepthwise, ElasticPointwise, map_bytes
from autovid.blocks.registry import BLOCKS
from autovid.blocks.site import BlockSite
from autovid.cli import main
from autovid.errors import ConfigError
from autovid.models import inherit
from autovid.report.drawing import draw_file
from autovid.report.outline import architecture_outline
from autovid.space import load_architecture, load_space


class TimeFirst(nn.Module):
    """t x 1 x 1 depthwise, 1x1x1, BN, ReLU."""

    def __init__(self, width_in: int, width: int, frames: int, stride: int) -> None:
        super().__init__()
        self.time = ElasticDepthwise(width_in, frames, 1, stride)
        self.project, self.norm = ElasticPointwise(width_in, width), ElasticBatchNorm(width)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        return torch.relu(self.norm(self.project(self.time(x, choice["frames"], 1), choice["width"])))


class TimeFirstBlock:
    """Its one choice is a kernel over time called `frames`."""

    choices: ClassVar[dict[str, Any]] = {"frames": Kernel}

    def build(self, site: BlockSite, candidates: Candidates) -> nn.Module:
        widths = max(candidates["width_in"]), max(candidates["width"])
        return TimeFirst(*widths, max(candidates["frames"]), site.stride)

    def macs(self, site: BlockSite, choice: Choice) -> int:
        time = ElasticDepthwise.macs(choice["width_in"], choice["frames"], 1, site.size)
        return time + ElasticPointwise.macs(choice["width_in"], choice["width"], site.size)

    def params(self, site: BlockSite, choice: Choice) -> int:
        time = ElasticDepthwise.params(choice["width_in"], choice["frames"], 1)
        project = ElasticPointwise.params(choice["width_in"], choice["width"])
        return time + project + ElasticBatchNorm.params(choice["width"])

    def activation_bytes(self, site: BlockSite, choice: Choice) -> int:
        norm = ElasticBatchNorm.activation_bytes(choice["width"], site.size)
        return norm + map_bytes(choice["width_in"], site.size) + map_bytes(choice["width"], site.size)

    def key(self, site: BlockSite, choice: Choice) -> str:
        return f"time_first {choice['width_in']}>{choice['width']} {choice['frames']} {site.stride} on {site.size_in}"

    def label(self, site: BlockSite, choice: Choice) -> tuple[str, ...]:
        return (f"{choice['frames']}×1²",)


@pytest.fixture
def space_file(tmp_path: Path) -> Iterator[Path]:
    """`tiny` with the second stage of its dense stream made of another block."""
    BLOCKS.register("time_first", "a convolution over time, then a pointwise one")(TimeFirstBlock)
    text = load_space("tiny").text
    before, dense, after = re.split(r"(    dense:\n.*?head: 32\n)", text, maxsplit=1, flags=re.DOTALL)
    dense = dense.replace("{depth: 2}", "{depth: 2, block: time_first}")
    text = before + dense + after.replace("    width: [[8, 12]", "    frames: [1, 3, 5]\n    width: [[8, 12]")
    (tmp_path / "mixed.yaml").write_text(text.replace("name: tiny", "name: mixed"))
    yield tmp_path / "mixed.yaml"
    del BLOCKS._registered["time_first"]


@pytest.mark.slow
def test_a_stage_may_be_of_another_block_with_choices_of_its_own(space_file: Path, tmp_path: Path) -> None:
    space = load_space(space_file)
    own = [name for name in space.candidates if name.startswith("dense.stage2.block")]
    assert own == ["dense.stage2.block1.frames", "dense.stage2.block2.frames"]
    assert space.candidates[own[0]] == (1, 3, 5)
    supernet, x = autovid.build(space, classes=5), torch.randn(2, 3, 16, 32, 32)
    with torch.no_grad():
        for arch in space.sample(4, seed=2):
            supernet.train()(x, arch)
        supernet.eval()
        for arch in space.sample(4, seed=2):
            arch.save(tmp_path / "a.yaml")
            assert load_architecture(tmp_path / "a.yaml") == arch
            net = autovid.build(arch, classes=5)
            assert autovid.count(net).macs == space.cost_table(classes=5).macs([arch])[0]
            inherit(net, supernet)
            assert torch.equal(net.eval()(x), supernet(x, arch))  # to the bit, as for our own block


def test_it_is_shown_and_drawn_by_its_own_label(space_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch = load_space(space_file).sample(1, seed=2)[0]
    arch.save(space_file.with_name("a.yaml"))
    label = f"{arch.choices['dense.stage2.block2.frames']}×1²"
    assert main(["describe", str(space_file.with_name("a.yaml"))]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "dense.stage2.block2" in line)
    assert label in row
    assert label in draw_file(architecture_outline(arch))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("block: time_first", "block: time_frist", r"stages\[1\].block: no block is called 'time_frist'; did you mean"),
        ("    frames: [1, 3, 5]\n", "", r"candidates.dense: the key 'frames' is missing"),
        ("frames: [1, 3, 5]", "frames: [1, 4]", r"candidates.dense.frames\[1\]: a kernel of 4 has no middle"),
        ("frames: [1, 3, 5]", "frames: [1, 3]\n    frame: [1]", "candidates.dense.frame: unknown key; did you mean"),
        ("frames: [1, 3, 5]", "frames: 3", "candidates.dense.frames: expected a list, found the number 3"),
    ],
)
def test_mistakes_about_a_block_are_told_by_line_and_key(old: str, new: str, says: str, space_file: Path) -> None:
    text = space_file.read_text()
    assert old in text
    space_file.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=r"mixed.yaml:\d+: .*" + says):
        load_space(space_file)
