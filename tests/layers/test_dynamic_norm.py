"""Dynamic normalization and relay: the cell, what is relayed, the statistics, and where it goes."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from rounding import BF16
from safetensors.torch import save_file
from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.layers.convolutions import Residual
from autovid.layers.dnr import DynamicNorm, LayerRelay, RelayCell, TemporalRelay, moments, scale_shift
from autovid.layers.temporal_modules import TemporalShift
from autovid.models import Network, build
from autovid.models.modules import attach_dnr
from autovid.models.network import DoesNotFit

C = 8


def clip(frames: int = 8, width: int = C, batch: int = 3, side: int = 3, seed: int = 0) -> Tensor:
    x = torch.randn(batch, width, frames, side, side, generator=torch.Generator().manual_seed(seed)).double()
    return (2 * x + 1).contiguous(memory_format=torch.channels_last_3d)


def norm(group: int | None = 4, direction: str = "forward", width: int = C) -> DynamicNorm:
    torch.manual_seed(1)
    return DynamicNorm(width, group, TemporalRelay(width, 4, direction)).double()  # type: ignore[arg-type]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def linear(layer: nn.Module, x: list[float]) -> list[float]:
    assert isinstance(layer, nn.Linear)
    rows = zip(layer.weight.tolist(), layer.bias.tolist())
    return [sum(w * v for w, v in zip(row, x)) + b for row, b in rows]


def squeezed(layers: nn.Sequential, x: list[float]) -> list[float]:
    return linear(layers[2], [max(0.0, v) for v in linear(layers[0], x)])


def by_hand(cell: RelayCell, x: list[float], h: list[float], c: list[float]) -> tuple[list[float], list[float]]:
    """One step, number by number."""
    gates, width = [a + b for a, b in zip(squeezed(cell.read, x), squeezed(cell.recall, h))], len(x)
    i, f, g, o = (gates[k * width : (k + 1) * width] for k in range(4))
    c = [sigmoid(f[k]) * c[k] + sigmoid(i[k]) * math.tanh(g[k]) for k in range(width)]
    return [sigmoid(o[k]) * sigmoid(c[k]) for k in range(width)], c


def test_cell_is_the_reference_cell() -> None:
    torch.manual_seed(2)
    cell, x = RelayCell(C).double(), torch.randn(2, 3, C).double()
    state = cell.begin(cell.read(x[:, 0]))
    expected = [([0.0] * C, [0.0] * C)] * 2
    for step in range(3):
        state = cell(cell.read(x[:, step]), state)
        expected = [by_hand(cell, x[b, step].tolist(), *expected[b]) for b in range(2)]
        # float64: sums of 8 numbers of size 1, a few hundred roundings of 2^-53
        assert torch.allclose(state[0], torch.tensor([h for h, _ in expected]).double(), atol=1e-12)
        assert torch.allclose(state[1], torch.tensor([c for _, c in expected]).double(), atol=1e-12)


@pytest.mark.parametrize("width", [64, 512])
def test_cell_has_the_seeds_parameters(width: int) -> None:
    sizes = [p.numel() for p in RelayCell(width).parameters()]
    weights = [p.numel() for p in RelayCell(width).parameters() if p.dim() == 2]
    assert (2 * sum(weights), 2 * sum(sizes)) == (5 * width**2, 5 * width**2 + 17 * width)


def test_directions_of_the_temporal_relay() -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 3, C)
    relay = TemporalRelay(C)
    state, expected = relay.cell.begin(relay.cell.read(x[:, 0])), []
    for group in range(3):
        state = relay.cell(relay.cell.read(x[:, group]), state)
        expected.append(state)
    forward = relay(x)
    for k in range(2):
        # 1e-6: at most 16 roundings a sum of 8 numbers below 1, of 2^-24 each, which a sigmoid's slope quarters
        assert torch.allclose(forward[k], torch.stack([s[k] for s in expected], 1), atol=1e-6)
    relay.direction = "backward"
    backward = relay(x)
    relay.direction = "forward"
    reversed_order = relay(x.flip(1))
    relay.direction = "both"
    both = relay(x)
    for k in range(2):  # as above
        assert torch.allclose(backward[k], reversed_order[k].flip(1), atol=1e-6)
        assert torch.allclose(both[k], (forward[k] + backward[k]) / 2, atol=1e-6)
        # Random states, of size 0.1 to 1, differ by a thousand times what rounding does and more.
        assert not torch.allclose(both[k], forward[k], atol=1e-3)


def reference(layer: DynamicNorm, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """As the authors': torch's batch norm of every group in turn, times gamma, plus beta."""
    groups = x.split(layer.group or x.shape[2], 2)
    gamma, beta = layer.relay(torch.stack([group.mean((2, 3, 4)) for group in groups], 1))
    out = []
    for number, group in enumerate(groups):
        y = F.batch_norm(group, mean, var, None, None, layer.training, 0.1, 1e-5)
        out.append(y * gamma[:, number, :, None, None, None] + beta[:, number, :, None, None, None])
    return torch.cat(out, 2)


@pytest.mark.parametrize(
    ("frames", "group"), [(8, 4), (8, 2), (8, 1), (8, None), (2, 4), (7, 3), (6, 4), (10, 4), (1, 4)], ids=str
)
def test_equals_batch_norm_of_every_group(frames: int, group: int | None) -> None:
    layer, x = norm(group), clip(frames).requires_grad_()
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    inputs = [x, *layer.parameters()]
    for step in range(3):
        grad = clip(frames, seed=step + 10)
        ours, theirs = layer(x), reference(layer, x, mean, var)
        # float64: moments of 108 pixels and sums of as many gradients round by less than 1e-12
        assert torch.allclose(ours, theirs, atol=1e-10)
        assert torch.allclose(layer.running_mean, mean)
        assert torch.allclose(layer.running_var, var)
        pairs = zip(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad))
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in pairs)
    assert (layer.running_mean - 1).abs().max() < 1
    layer.eval()
    ours, theirs = layer(x), reference(layer, x, mean, var)  # bounds as above, with fewer sums
    assert torch.allclose(ours, theirs, atol=1e-10)
    assert torch.allclose(layer.running_mean, mean)
    pairs = zip(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in pairs)


def test_gradcheck() -> None:
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    s, t = (torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(moments, x)
    assert torch.autograd.gradcheck(scale_shift, (x, s, t))
    layer = norm(2, "both", width=4)
    whole = clip(4, 4, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x), whole)


def test_statistics_are_the_groups_and_the_state_goes_on() -> None:
    """Other frames change a group by the relay alone, and only in its direction."""
    for direction, changed in (("forward", 0), ("backward", 1)):
        layer = norm(4, direction).train()
        x = clip()
        other = x.clone()
        other[:, :, 4 * changed : 4 * changed + 4] += 1  # same variance, other mean
        y, z = layer(x).split(4, 2), layer(other).split(4, 2)
        untouched = 1 - changed
        # Through h and c, by a share of the 1 that was added; float64 rounds by 1e-12 (see above).
        assert not torch.allclose(y[untouched], z[untouched], atol=1e-4)
        other = x.clone()
        other[:, :, 4 * untouched : 4 * untouched + 4] += 1
        # to the bit: what its numbers go through does not depend on the other group's
        assert torch.equal(layer(other).split(4, 2)[changed], y[changed])


def test_clips_meet_in_training_and_not_in_test() -> None:
    layer, x = norm(), clip()
    other = x.clone()
    other[1] *= 3
    # A clip of three times the size changes the common variance by a factor: no rounding of 1e-5 of the size.
    assert not torch.allclose(layer(x)[0], layer(other)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(other)[0])  # to the bit: clip by clip, whatever the others hold


def test_bf16_autocast_and_layout() -> None:
    layer = DynamicNorm(C, 4, TemporalRelay(C))
    twin = copy.deepcopy(layer)
    x = clip().float()
    low = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(low)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    # one rounding to bfloat16 of what is computed in fp32
    assert torch.allclose(y.float(), twin(low.detach().float()), rtol=BF16, atol=1e-5)
    assert torch.equal(layer.running_mean, twin.running_mean)  # to the bit: sums in fp32 of numbers equal in fp32
    (grad,) = torch.autograd.grad(y.float().square().sum(), low)
    assert grad.dtype == torch.bfloat16
    assert grad.isfinite().all()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer.eval()(low).dtype == torch.bfloat16


def small(network: str = "tsn_resnet50", frames: int = 4, **options: object) -> Network:
    torch.manual_seed(5)
    return build(network, 3, frames=frames, crop=32, modules={"dnr": options})


def kinds(block: Residual) -> list[str]:
    return [type(module).__name__ for name, module in block.named_children() if name.startswith("norm")]


def test_layers_relay_their_state_and_begin_anew() -> None:
    torch.manual_seed(4)
    relay, x = LayerRelay(C), torch.randn(2, 3, 1, C)
    blocks = [partial(relay, first=k == 0, last=k == 2) for k in range(3)]
    state, first = relay.cell.begin(relay.cell.read(x[:, 0, 0])), []
    for k in range(3):
        gamma, beta = blocks[k](x[:, k])
        state = relay.cell(relay.cell.read(x[:, k, 0]), state)
        # 1e-6: as for groups, the layers round sums of 8 numbers
        assert torch.allclose(gamma[:, 0], state[0], atol=1e-6)
        assert torch.allclose(beta[:, 0], state[1], atol=1e-6)
        first.append(gamma)
    assert relay.state is None
    blocks[0](5 * x[:, 1])  # a pass that is broken off
    assert relay.state is not None
    # to the bit: the same pass again
    assert torch.equal(blocks[0](x[:, 0])[0], first[0])
    assert torch.equal(blocks[1](x[:, 1])[0], first[1])


def test_passes_do_not_touch_each_other() -> None:
    net = small().eval()
    x = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        logits = net(x)
        net(torch.randn(1, 3, 4, 32, 32))
        assert torch.equal(net(x), logits)  # to the bit: the same pass again
    assert all(m.state is None for m in net.modules() if isinstance(m, LayerRelay))


def test_every_gradient_is_there_and_twice_the_same() -> None:
    net, x, grads = small(), torch.randn(2, 3, 4, 32, 32), []
    for _ in range(2):
        net.zero_grad()
        torch.manual_seed(6)  # of dropout
        net.train()(x).square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert len(grads[0]) == len(list(net.parameters()))
    for a, b in zip(*grads):
        assert torch.equal(a, b)  # to the bit: torch's kernels on CPUs add in an order that is fixed


def test_which_norms_are_dynamic() -> None:
    dynamic, plain = "DynamicNorm", "BatchNorm3d"
    for relay, expected in (
        ("temporal", [plain, dynamic, plain]),
        ("layer", [dynamic, plain, plain]),
        ("both", [dynamic, dynamic, plain]),
    ):
        net = small(relay=relay)
        assert all(kinds(block) == expected for block in net.blocks())
    assert all(kinds(block) == [dynamic, dynamic] for block in small("tsn_resnet18").blocks())
    groups = {m.group for m in small(relay="temporal", group=2).modules() if isinstance(m, DynamicNorm)}
    assert groups == {2}
    inner = next(m for m in small(reduction=8).modules() if isinstance(m, RelayCell)).read[0]
    assert isinstance(inner, nn.Linear)
    assert inner.out_features == inner.in_features // 8


def test_interlacing_moves_one_eighth_each_way_and_is_not_done_twice() -> None:
    for network in ("tsn_resnet50", "tsm_resnet50"):
        assert all(isinstance(block.enter, TemporalShift) for block in small(network).blocks())
    x = torch.arange(1.0, 5).view(1, 1, 4, 1, 1).expand(1, 16, 4, 1, 1)
    y = small().blocks()[0].enter(x)[0, :, :, 0, 0]
    assert y[:2].tolist() == [[2, 3, 4, 0]] * 2
    assert y[2:4].tolist() == [[0, 1, 2, 3]] * 2
    assert y[4:].tolist() == [[1, 2, 3, 4]] * 12


def test_weights_are_saved_once_and_copies_stand_alone(tmp_path: Path) -> None:
    net = small().eval()
    tensors = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")  # which refuses tensors that share memory
    twin, x = copy.deepcopy(net), torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        assert net(x).abs().max() == 0
        assert twin(x).abs().max() > 0


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("slowonly_r50_8x8", "convolve over time"),
        ("i3d_resnet18", "convolve over time"),
        ("csn_r50", "convolve over time"),
        ("tsn_inception_v1", "not made of bottleneck or basic blocks"),
        ("x3d_xs", "not made of bottleneck or basic blocks"),
        ("resnet50_imagenet", "a single frame"),
    ],
)
def test_refused_with_a_reason(network: str, reason: str) -> None:
    with pytest.raises(DoesNotFit, match=f"dnr does not fit {network}: .*{reason}"):
        build(network, modules=["dnr"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 0}, "option group: at least 1"),
        ({"reduction": 0}, "option reduction: at least 1"),
        ({"relay": "layer", "direction": "both"}, "only the forward one"),
        ({"relay": "depth"}, "option relay"),
        ({"direction": "up"}, "option direction"),
    ],
)
def test_errors_say_what_to_do(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**options)


def test_attached_once() -> None:
    net = small("tsn_resnet18", 2)
    with pytest.raises(DoesNotFit, match="norms of another kind"):
        attach_dnr(net)
