"""An attention operation of one's own: every position attends to the positions of its row.

Named on the command line with --plugin docs/examples/my_attention.py; my_space.yaml beside it uses it.
"""

import torch
from torch import Tensor, nn

from autovid.blocks.attention import AttentionOperation
from autovid.blocks.block import Candidates, Choice
from autovid.blocks.elastic import ElasticBatchNorm, ElasticPointwise, map_bytes
from autovid.blocks.registry import ATTENTIONS
from autovid.blocks.site import AttentionSite


class Row(nn.Module):
    """Attention along W, added to the map behind a batch norm that starts at zero; (B, C, T, H, W) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = ElasticPointwise(width, width)
        self.key = ElasticPointwise(width, width)
        self.extend = ElasticPointwise(width, width)
        self.norm = ElasticBatchNorm(width, zero=True)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        width = choice["width"]
        query, key = self.query(x, width), self.key(x, width)
        out: Tensor = x + self.norm(self.extend(_attend(query, key, x), width))
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention along W: every row of every frame is a sequence. (B, C, T, H, W), three times."""
    b, c, t, h, w = query.shape
    q, k, v = (one.permute(0, 2, 3, 4, 1).reshape(b * t * h, w, c) for one in (query, key, value))
    pairs = torch.softmax(q @ k.transpose(1, 2) * c**-0.5, dim=-1)
    return (pairs @ v).reshape(b, t, h, w, c).permute(0, 4, 1, 2, 3)


@ATTENTIONS.register("row", "every position attends to the positions of its row")
class RowAttention(AttentionOperation):
    """What `Row` costs, and how it is built: large enough for all candidates of the width."""

    def build(self, site: AttentionSite, candidates: Candidates) -> nn.Module:
        return Row(max(candidates["width"]))

    def macs(self, site: AttentionSite, choice: Choice) -> int:
        width, size = int(choice["width"]), site.size
        return 3 * ElasticPointwise.macs(width, width, size) + 2 * width * size.width * size.positions

    def params(self, site: AttentionSite, choice: Choice) -> int:
        return 3 * ElasticPointwise.params(choice["width"], choice["width"]) + ElasticBatchNorm.params(choice["width"])

    def activation_bytes(self, site: AttentionSite, choice: Choice) -> int:
        """Query, key, the attended map and the sum; the pairs; and what the norm keeps."""
        width, size = int(choice["width"]), site.size
        norm = ElasticBatchNorm.activation_bytes(width, size)
        return 4 * map_bytes(width, size) + map_bytes(size.width, size) + norm

    def label(self, site: AttentionSite, choice: Choice) -> tuple[str, ...]:
        return ("row",)
