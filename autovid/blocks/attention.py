"""Attention blocks: GloRe (global reasoning on a graph) and non-local with a bounded number of keys.

Chen et al., "Graph-based global reasoning networks", 2019, arXiv:1811.12814; Wang et al., "Non-local neural networks",
2018, arXiv:1711.07971.

Both add their result to the input, behind a batch norm that starts at zero, and both cost time linear in the area of
the map, as the totals of Auto-TSNet ask for (docs/papers.md#auto-tsnet). Their inner widths are ours. Another operation
is one file with a module and its costs, and one line in the registry.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.block import SKIP, AttentionName, Candidates, Choice
from autovid.blocks.elastic import FLOAT, ElasticBatchNorm, ElasticPointwise, map_bytes, slice_shared
from autovid.blocks.registry import ATTENTIONS
from autovid.blocks.site import AttentionSite, Operations, Size
from autovid.layers.convolutions import he_normal


class AttentionBlock(Operations[AttentionSite]):
    """An attention operation."""

    choices: ClassVar[dict[str, Any]] = {"operation": AttentionName}
    registry = ATTENTIONS

    def build(self, site: AttentionSite, candidates: Candidates) -> "Attentions":
        return Attentions(self.modules(site, candidates))


class Attentions(nn.ModuleDict):
    """All operations that may stand at a site: a stream's map -> its next map, of the same size."""

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        if choice["operation"] == SKIP:
            return x
        out: Tensor = self[choice["operation"]](x, choice=choice)
        return out


class AttentionOperation:
    """An operation that keeps width and size; `keys` bounds the positions that are attended to."""

    choices: ClassVar[dict[str, Any]] = {}

    def key(self, site: AttentionSite, choice: Choice) -> str:
        return f"{choice['operation']} {choice['width']} keys {site.keys} on {site.size}"


class GloReAttention(AttentionOperation):
    """Global reasoning on a graph of a quarter as many nodes as channels."""

    def build(self, site: AttentionSite, candidates: Candidates) -> nn.Module:
        return GloRe(max(candidates["width"]))

    def macs(self, site: AttentionSite, choice: Choice) -> int:
        width, positions = int(choice["width"]), site.size.positions
        state, nodes = graph_sizes(width)
        return positions * (2 * width * state + width * nodes + 2 * state * nodes) + nodes * state * (nodes + state)

    def params(self, site: AttentionSite, choice: Choice) -> int:
        width = choice["width"]
        state, nodes = graph_sizes(width)
        total = 2 * ElasticPointwise.params(width, state) + ElasticPointwise.params(width, nodes)
        return total + nodes**2 + state**2 + ElasticBatchNorm.params(width)

    def activation_bytes(self, site: AttentionSite, choice: Choice) -> int:
        """State, assignment and what comes back, at all positions; the graph three times; norm and sum."""
        width = choice["width"]
        state, nodes = graph_sizes(width)
        total = map_bytes(2 * state + nodes, site.size) + 3 * FLOAT * state * nodes
        return total + ElasticBatchNorm.activation_bytes(width, site.size) + map_bytes(width, site.size)

    def label(self, site: AttentionSite, choice: Choice) -> tuple[str, ...]:
        return ("GloRe",)


class NonLocalAttention(AttentionOperation):
    """Every position attends to a map averaged to at most keys x keys positions a frame."""

    def build(self, site: AttentionSite, candidates: Candidates) -> nn.Module:
        return NonLocal(max(candidates["width"]), site.keys)

    def macs(self, site: AttentionSite, choice: Choice) -> int:
        width, positions, pooled = int(choice["width"]), site.size.positions, pooled_size(site).positions
        return width * width * 2 * (positions + pooled) + 2 * width * positions * pooled

    def params(self, site: AttentionSite, choice: Choice) -> int:
        return 4 * ElasticPointwise.params(choice["width"], choice["width"]) + ElasticBatchNorm.params(choice["width"])

    def activation_bytes(self, site: AttentionSite, choice: Choice) -> int:
        """Count bytes of queries and what they get, keys and values, the averaged map, all pairs; norm and sum."""
        width, size, pooled = choice["width"], site.size, pooled_size(site)
        averaged = map_bytes(width, pooled) if pooled != size else 0
        total = 2 * map_bytes(width, size) + 2 * map_bytes(width, pooled) + averaged
        total += map_bytes(pooled.positions, size)
        return total + ElasticBatchNorm.activation_bytes(width, size) + map_bytes(width, size)

    def label(self, site: AttentionSite, choice: Choice) -> tuple[str, ...]:
        return ("non-local",)


def graph_sizes(width: int) -> tuple[int, int]:
    """Features and nodes of GloRe's graph."""
    return width // 2, max(1, width // 4)


def pooled_size(site: AttentionSite) -> Size:
    """Size of the map that the keys of non-local attention come from."""
    return site.size.strided(pool_step(max(site.size.height, site.size.width), site.keys))


class GloRe(nn.Module):
    """Projects C / 2 features onto C / 4 nodes, reasons between the nodes, and projects back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        state, nodes = graph_sizes(width)
        self.reduce = ElasticPointwise(width, state)
        self.assign = ElasticPointwise(width, nodes)
        self.adjacency = nn.Parameter(he_normal(torch.empty(nodes, nodes)))
        self.update = nn.Parameter(he_normal(torch.empty(state, state)))
        self.extend = ElasticPointwise(state, width)
        self.norm = ElasticBatchNorm(width, zero=True)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        c = x.shape[1]
        state, nodes = graph_sizes(c)
        assign_BLN = self.assign(x, nodes).flatten(2).transpose(1, 2)
        graph_BSN = self.reduce(x, state).flatten(2) @ assign_BLN / assign_BLN.shape[1]
        graph_BSN = F.relu(_times(graph_BSN, slice_shared(self.adjacency, nodes, nodes)) + graph_BSN)
        graph_BNS = _times(graph_BSN.transpose(1, 2), slice_shared(self.update, state, state))
        back_BLS = assign_BLN @ graph_BNS
        y = back_BLS.transpose(1, 2).reshape(-1, state, *x.shape[2:])
        out: Tensor = x + self.norm(self.extend(y, c))
        return out


def _times(x_BMN: Tensor, weight_NK: Tensor) -> Tensor:
    """x @ weight as one product of two matrices.

    torch's own of three with two dimensions is that or a batch of products, as `weight.requires_grad` says, which is
    true of a parameter and false of its slice where no gradient is recorded; the two round differently.
    """
    return (x_BMN.flatten(0, 1) @ weight_NK).view(*x_BMN.shape[:2], weight_NK.shape[1])


class NonLocal(nn.Module):
    """Every position attends to the map averaged to at most keys x keys positions a frame (embedded Gaussian)."""

    def __init__(self, width: int, keys: int) -> None:
        super().__init__()
        self.keys = keys
        self.query = ElasticPointwise(width, width)
        self.key = ElasticPointwise(width, width)
        self.value = ElasticPointwise(width, width)
        self.extend = ElasticPointwise(width, width)
        self.norm = ElasticBatchNorm(width, zero=True)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        c = x.shape[1]
        pooled = self._pool(x)
        query_BLC = self.query(x, c).flatten(2).transpose(1, 2)
        key_BCK = self.key(pooled, c).flatten(2)
        value_BKC = self.value(pooled, c).flatten(2).transpose(1, 2)
        weights_BLK = torch.softmax(query_BLC @ key_BCK * c**-0.5, dim=-1)
        y = (weights_BLK @ value_BKC).transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.norm(self.extend(y, c))
        return out

    def _pool(self, x: Tensor) -> Tensor:
        """Average space, frame by frame; in two dimensions, for which every precision has a kernel."""
        step = pool_step(max(x.shape[3], x.shape[4]), self.keys)
        if step == 1:
            return x
        frames = x.transpose(1, 2).flatten(0, 1)
        pooled = F.avg_pool2d(frames, step, ceil_mode=True, count_include_pad=False)
        return pooled.reshape(x.shape[0], x.shape[2], *pooled.shape[1:]).transpose(1, 2)


def pool_step(length: int, keys: int) -> int:
    """Return the smallest pooling window that leaves at most `keys` positions along a side."""
    return -(-length // keys)
