"""Auto-TSNet against the published totals, divided by their 30 views: within 3 %.

Gong et al., "Searching for two-stream models in multivariate space for video recognition", 2021,
arXiv:2108.12957, supplement, Table 4.

Counts are integers, the same on every machine; 3 % is how near our reading of the paper comes.
"""

import pytest
import torch

import autovid
from autovid.models import NetworkSpec, build_network
from autovid.models.searched import FILES, auto_tsnet_architecture
from autovid.space import load_space

ROWS = [
    ("auto_tsnet_s", 182, 102 / 30, 8.6),
    ("auto_tsnet_s_noattention", 182, 84 / 30, 7.7),
    ("auto_tsnet_m", 256, 183 / 30, 8.6),
    ("auto_tsnet_m_noattention", 256, 156 / 30, 7.7),
    ("auto_tsnet_l", 356, 597 / 30, 13.2),
    ("auto_tsnet_l_noattention", 356, 543 / 30, 12.2),
]
EVERY = [(size, attention) for size in FILES for attention in (True, False)]


@pytest.mark.parametrize(("name", "crop", "gflops", "millions"), ROWS)
def test_totals_of_the_paper(name: str, crop: int, gflops: float, millions: float) -> None:
    counted = autovid.count(build_network(NetworkSpec(network=name, crop=crop), device="meta"))
    assert counted.macs / 1e9 == pytest.approx(gflops, rel=0.03)
    assert counted.params / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize(("size", "attention"), EVERY)
def test_they_are_architectures_of_the_space(size: str, attention: bool) -> None:
    arch, candidates = auto_tsnet_architecture(size, attention), load_space("two_stream").candidates
    alike = {"block": "block1"}  # what every block may be, the deeper ones of L too
    for name, value in arch.choices.items():
        known = ".".join(alike.get(part.rstrip("0123456789"), part) for part in name.split("."))
        assert value in candidates[known], name
    assert any(value != "skip" for name, value in arch.choices.items() if name.startswith("fusion."))
    assert all((value != "skip") is attention for name, value in arch.choices.items() if name.startswith("attention."))
    assert "not the authors'" in str(arch.provenance["note"])


def test_s_and_m_are_one_network_and_l_is_deeper() -> None:
    nets = {size: build_network(NetworkSpec(network=f"auto_tsnet_{size}"), device="meta") for size in FILES}
    shapes = {size: {name: t.shape for name, t in net.state_dict().items()} for size, net in nets.items()}
    assert shapes["s"] == shapes["m"]
    assert [nets[size].clip.crop for size in FILES] == [160, 224, 312]
    assert [len(nets[size].blocks()) for size in FILES] == [2 * 26, 2 * 26, 2 * 55]


def test_no_network_of_the_space_keeps_both_totals_with_its_attention_and_without() -> None:
    """Why the networks without attention are architectures of their own: the largest attention is too small."""
    space = load_space("two_stream")
    widest = {d.name: max(d.candidates) for d in space.decisions if d.name.endswith("width")}

    def params(attention: str) -> int:
        fixed = {name: attention for name in space.candidates if name.startswith("attention.")}
        with torch.device("meta"):
            net = autovid.build(space.fix(widest | fixed).sample(1, seed=0)[0])
        return sum(parameter.numel() for parameter in net.parameters())

    assert params("nonlocal") - params("skip") == 305_232
    assert max(params("nonlocal"), params("glore")) - params("skip") < 8.6e6 * 0.97 - 7.7e6 * 1.03
