"""Architectures of `two_stream` with the totals of Auto-TSNet-S, -M and -L, by solving.

Paper: Gong et al., "Searching for two-stream models in multivariate space for video recognition" (2021),
    arXiv:2108.12957, supplement, Table 4; docs/papers.md#auto-tsnet
Command: python experiments/auto_tsnet.py        (writes autovid/models/auto_tsnet_*.yaml)
Hardware: 1 core, AVX-512; torch 2.13
Time: 26 seconds of processor time
Result: totals within 3 % of the paper's, see the table

The authors' architectures are not published. These are not theirs: among all architectures with the widths below, those
nearest to X3D's block (kernels of 3, expansion 2.25; strided convolution as fusion) that have at least the parameters
and at most the MACs asked for. Nearest is the least of distance + a * MACs - b * parameters, a sum over sites that the
cost tables minimise exactly; a and b are bisected. MACs count at 32 frames and the crop of LeftCenterRight views.

What came out, and the paper's figures beside it:

| network | crop | GFLOPs | paper | parameters (M) | paper |
|---|---|---|---|---|---|
| S, without attention | 182 | 2.821 | 2.8 | 7.574 | 7.7 |
| M, without attention | 256 | 5.104 | 5.2 | 7.574 | 7.7 |
| S | 182 | 3.432 | 3.4 | 8.374 | 8.6 |
| M | 256 | 6.247 | 6.1 | 8.374 | 8.6 |
| L, without attention | 356 | 18.366 | 18.1 | 12.040 | 12.2 |
| L | 356 | 20.169 | 19.9 | 13.377 | 13.2 |

Why the rows without attention are not the other rows less attention: between 3 % above 7.7 M and 3 % below 8.6 M lie
0.411 M, and the largest attention of the space, non-local at its three points at the largest widths, has 0.305 M. S and
M leave little choice: so many parameters for so few MACs stand in the last stage, where maps are small, or nowhere.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from autovid.blocks.block import Choice
from autovid.blocks.site import Site
from autovid.costs.count import count
from autovid.models import build
from autovid.solver import CostTable, Factor
from autovid.space import Architecture, Decision, SearchSpace, load_space
from autovid.space.space import SiteTable

X3D = {"temporal_kernel": 3, "spatial_kernel": 3, "expansion": 2.25, "fusion": "strided_conv"}
TO = Path(__file__).resolve().parents[1] / "autovid" / "models"


class Target(NamedTuple):
    """What to look for: fixed choices, and the two totals to stay inside of."""

    depth_factor: float
    sparse: tuple[int, ...]
    dense: tuple[int, ...]
    attention: tuple[str, ...]
    crop: int  # of a network's own clips
    seen: int  # crop at which the MACs count
    macs: float
    params: float


WITH, WITHOUT = ("glore", "glore", "nonlocal"), ("skip", "skip", "skip")
TARGETS = {
    "auto_tsnet_s": Target(2.2, (16, 40, 120, 240), (8, 12, 24, 80), WITH, 160, 256, 6.28e9, 8.36e6),
    "auto_tsnet_s_noattention": Target(2.2, (16, 40, 120, 240), (8, 12, 24, 80), WITHOUT, 160, 182, 2.88e9, 7.5e6),
    "auto_tsnet_l": Target(5.0, (24, 48, 96, 240), (8, 12, 24, 64), WITH, 312, 356, 20.2e9, 13.0e6),
    "auto_tsnet_l_noattention": Target(5.0, (24, 48, 96, 240), (8, 12, 24, 64), WITHOUT, 312, 356, 18.4e9, 12.0e6),
}


def find(target: Target) -> Architecture:
    """The architecture nearest to X3D's block with at most `macs` and at least `params`."""
    space = narrowed(target)
    solver = Solver(space, target)
    low, high = 2.0, 7.0  # powers of ten of b
    for _ in range(14):
        middle = (low + high) / 2
        choice = solver.within_macs(10**middle)
        low, high = (low, middle) if solver.params.total(choice[None])[0] >= target.params else (middle, high)
    return space.architecture(solver.within_macs(10**high)).scaled(crop=target.crop)


def narrowed(target: Target) -> SearchSpace:
    """The space at the depth, widths and attention that are wanted, without skipped fusions."""
    text = load_space("two_stream").text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deep.yaml")
        path.write_text(text.replace("depth_factor: 2.2", f"depth_factor: {target.depth_factor}"), encoding="utf-8")
        space = load_space(path)
    fixed = {f"attention.stage{i}": operation for i, operation in enumerate(target.attention, 2)}
    for stream in ("sparse", "dense"):
        fixed |= {f"{stream}.stage{i}.width": width for i, width in enumerate(getattr(target, stream), 1)}
    space = space.fix(fixed)
    decisions = [
        Decision(d.name, tuple(c for c in d.candidates if c != "skip")) if d.name.startswith("fusion") else d
        for d in space.decisions
    ]
    return replace(space, decisions=tuple(decisions))


class Solver:
    """Minimises distance + a * MACs - b * parameters, site by site."""

    def __init__(self, space: SearchSpace, target: Target) -> None:
        self.space, self.most = space, target.macs
        self.macs, self.params = space.cost_table(crop=target.seen), SiteTable(space, params_of)
        self.distance = dict.fromkeys((factor.scope for factor in self.macs.factors), 0)
        distances = dict(enumerate(map(distance, space.decisions, range(len(space.decisions)))))
        for factor in self.macs.factors:  # every decision's distance goes into the first table that has it
            for axis, decision in enumerate(factor.scope):
                shape = [-1 if other == axis else 1 for other in range(len(factor.scope))]
                self.distance[factor.scope] = self.distance[factor.scope] + distances.pop(
                    decision, np.zeros(1)
                ).reshape(shape)

    def best(self, a: float, b: float) -> np.ndarray:
        """Choices (D,); a is the distance that a GMAC is worth, b that a million parameters is worth."""
        params = {factor.scope: factor.table for factor in self.params.factors}
        factors = []
        for factor in self.macs.factors:
            scope = factor.scope
            total = self.distance[scope] + a * factor.table / 1e9 - b * params[scope] / 1e6
            factors.append(Factor(scope, np.rint(1e4 * total).astype(np.int64)))
        return CostTable(factors, 0, self.space.sizes).smallest()[1]

    def within_macs(self, b: float) -> np.ndarray:
        """The best with at most the MACs wanted."""
        low, high = 0.0, 9.0
        for _ in range(16):
            middle = (low + high) / 2
            fits = self.macs.total(self.best(10**middle, b)[None])[0] <= self.most
            low, high = (low, middle) if fits else (middle, high)
        return self.best(10**high, b)


def distance(decision: Decision, number: int) -> np.ndarray:
    """How far the candidates are from X3D's, in steps; equal blocks differ a little, so as to change one by one."""
    kind = "fusion" if decision.name.startswith("fusion") else decision.name.split(".")[-1]
    if kind not in X3D or X3D[kind] not in decision.candidates:
        return np.zeros(len(decision.candidates))
    mine = decision.candidates.index(X3D[kind])
    steps = [float(i != mine) if kind == "fusion" else abs(i - mine) for i in range(len(decision.candidates))]
    return np.array(steps) * (1 + number * 17 % 101 / 1000)


def params_of(site: Site, choice: Choice) -> int:
    """The parameters at a site."""
    return site.block.params(site, choice)


def figures(arch: Architecture) -> Any:
    """Counted on the network itself."""
    with torch.device("meta"):
        return count(build(arch))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, target in TARGETS.items():
        arch = find(target)
        provenance = {
            "by": "experiments/auto_tsnet.py",
            "note": "found by autovid's solver for the totals of the paper's "
            "network; not the authors' architecture, which is not published",
        }
        replace(arch, provenance=provenance).save(TO / f"{name}.yaml")
        for crop in (182, 256) if target.depth_factor < 5 else (356,):
            bare = replace(
                arch, choices={k: "skip" if k.startswith("attention") else v for k, v in arch.choices.items()}
            )
            seen, without = figures(arch.scaled(crop=crop)), figures(bare.scaled(crop=crop))
            print(
                f"{name:25} {crop}: {seen.macs / 1e9:6.3f} G {seen.params / 1e6:6.3f} M;  attention skipped "
                f"{without.macs / 1e9:6.3f} G {without.params / 1e6:6.3f} M",
                flush=True,
            )


if __name__ == "__main__":
    main()
