"""Attention blocks: GloRe (global reasoning on a graph) and non-local with a bounded number of keys.

Both add their result to the input, behind a batch norm that starts at zero, and both cost time linear in the area of
the map, as the seed's totals ask for (systems.md, section 2). Their inner widths are ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.elastic import Norm, Pointwise, part
from autovid.blocks.site import Size
from autovid.layers.tensors import he_normal


class GloRe(nn.Module):
    """Projects C / 2 features onto C / 4 nodes, reasons between the nodes, and projects back."""

    def __init__(self, width: int, keys: int) -> None:
        super().__init__()
        state, nodes = width // 2, max(1, width // 4)
        self.reduce = Pointwise(width, state)
        self.assign = Pointwise(width, nodes)
        self.adjacency = nn.Parameter(he_normal(torch.empty(nodes, nodes)))
        self.update = nn.Parameter(he_normal(torch.empty(state, state)))
        self.extend = Pointwise(state, width)
        self.norm = Norm(width, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        state, nodes = c // 2, max(1, c // 4)
        assign_BLN = self.assign(x, nodes).flatten(2).transpose(1, 2)
        graph_BSN = self.reduce(x, state).flatten(2) @ assign_BLN / assign_BLN.shape[1]
        graph_BSN = F.relu(_times(graph_BSN, part(self.adjacency, nodes, nodes)) + graph_BSN)
        graph_BNS = _times(graph_BSN.transpose(1, 2), part(self.update, state, state))
        back_BLS = assign_BLN @ graph_BNS
        y = back_BLS.transpose(1, 2).reshape(-1, state, *x.shape[2:])
        out: Tensor = x + self.norm(self.extend(y, c))
        return out

    @staticmethod
    def macs(width: int, keys: int, size: Size) -> int:
        state, nodes, positions = width // 2, max(1, width // 4), size.positions
        return positions * (2 * width * state + width * nodes + 2 * state * nodes) + nodes * state * (nodes + state)


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
        self.query = Pointwise(width, width)
        self.key = Pointwise(width, width)
        self.value = Pointwise(width, width)
        self.extend = Pointwise(width, width)
        self.norm = Norm(width, zero=True)

    def forward(self, x: Tensor) -> Tensor:
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
        """Averages space, frame by frame; in two dimensions, for which every precision has a kernel."""
        step = pool_step(max(x.shape[3], x.shape[4]), self.keys)
        if step == 1:
            return x
        frames = x.transpose(1, 2).flatten(0, 1)
        pooled = F.avg_pool2d(frames, step, ceil_mode=True, count_include_pad=False)
        return pooled.reshape(x.shape[0], x.shape[2], *pooled.shape[1:]).transpose(1, 2)

    @staticmethod
    def macs(width: int, keys: int, size: Size) -> int:
        step = pool_step(max(size.height, size.width), keys)
        pooled = size.strided(step).positions
        return width * width * 2 * (size.positions + pooled) + 2 * width * size.positions * pooled


def pool_step(length: int, keys: int) -> int:
    """The smallest pooling window that leaves at most `keys` positions along a side."""
    return -(-length // keys)


ATTENTIONS: dict[str, type[GloRe] | type[NonLocal]] = {"glore": GloRe, "nonlocal": NonLocal}
