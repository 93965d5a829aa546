"""The networks of "Deep Analysis" at small size: which of them mix time, what they start from, what they refuse.

Networks are compared in float64, where rounding is below DEEP.
"""

import pytest
import torch
from tolerance import DEEP
from torch import Tensor, nn

import autovid
from autovid.errors import ConfigError
from autovid.layers.convolutions import Residual
from autovid.layers.temporal_modules import NonLocalBlock
from autovid.models import Network, NetworkSpec, build_network
from autovid.models.frame_networks import PaddedShortcut
from autovid.models.registry import BACKBONES, STRATEGIES

# A ResNet-50 has the places of a ResNet-18 and wider ones.
NAMES = [
    pytest.param(f"{strategy}_{backbone}", marks=[pytest.mark.thorough] if backbone == "resnet50" else [])
    for strategy in STRATEGIES
    for backbone in BACKBONES
]


def clip(frames: int = 4, crop: int = 32, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 3, frames, crop, crop, generator=generator)
    return x.contiguous(memory_format=torch.channels_last_3d)


def small(name: str, **options: bool) -> Network:
    """In evaluation mode, with the norms at the statistics of a batch, and every non-local block at work."""
    torch.manual_seed(0)
    net = autovid.build(name, classes=5, frames=4, crop=32, **options).train()
    for module in net.modules():
        if isinstance(module, NonLocalBlock):
            nn.init.ones_(module.norm.weight)
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        net(clip(batch=8))
    return net.eval()


def distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_but_tsn_mix_frames_and_all_but_attention_see_their_order(name: str) -> None:
    """Attention knows no order: the frames' places are in no weight of a non-local block."""
    net, x = small(name).double(), clip().double()
    pieces = x.split(2 if name in ("i3d_inception_v1", "s3d_inception_v1") else 1, 2)  # two cannot see single frames
    with torch.no_grad():
        together = net(x)
        apart = torch.cat([net(piece) for piece in pieces]).mean(0, keepdim=True)
        shuffled = net(x[:, :, [2, 0, 3, 1]])
    mixes, orders = not name.startswith("tsn"), not name.startswith(("tsn", "nln"))
    assert distance(apart, together) > 1e-2 if mixes else distance(apart, together) < DEEP
    assert distance(shuffled, together) > 1e-2 if orders else distance(shuffled, together) < DEEP


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_temporal_pooling_halves_the_frames_three_times(name: str) -> None:
    options = {"temporal_pooling": True}
    net = build_network(NetworkSpec(network=name, frames=16, crop=32, options=options), device="meta")
    shapes: list[int] = []
    net.get_submodule("classifier").register_forward_hook(lambda _, x, y: shapes.append(y.shape[1]))
    net(clip(16).to("meta"))
    assert shapes == [2]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns_and_the_layout_is_kept(name: str) -> None:
    net = autovid.build(name, classes=5, frames=4, crop=32).train()
    lost: list[str] = []

    def look(module: nn.Module, _: object, out: Tensor) -> None:
        if out.dim() == 5 and not out.is_contiguous(memory_format=torch.channels_last_3d):
            lost.append(type(module).__name__)

    for module in net.modules():
        module.register_forward_hook(look)
    loss, logits = net.training_loss(clip(4, 32, 2), torch.tensor([1, 2]))
    loss.backward()
    assert logits.shape == (2, 5)
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []
    assert lost == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_i3d_with_2d_weights_in_the_middle_of_its_kernels_is_tsn(name: str) -> None:
    tsn, x = small(f"tsn_{name}").double(), clip().double()
    i3d = autovid.build(f"i3d_{name}", classes=5, frames=4, crop=32).double().eval()
    weights = i3d.state_dict()
    for key, weight in tsn.state_dict().items():
        if weights[key].dim() == 5:
            weights[key].zero_()[:, :, 1] = weight
        else:
            weights[key].copy_(weight)
    with torch.no_grad():
        assert distance(i3d(x), tsn(x)) < DEEP


@pytest.mark.parametrize(
    "strategy",
    [pytest.param(name, marks=[] if name in ("s3d", "tam") else [pytest.mark.thorough]) for name in STRATEGIES],
)
def test_bf16_autocast_agrees_roughly(strategy: str) -> None:
    net, x = small(f"{strategy}_resnet18"), clip(batch=8)
    with torch.no_grad():
        exact = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(x)
    # bf16 rounds by 2**-9. Errors of layers add up: at most 37 (S3D) * 2**-9 * 2, of input and output, = 0.14, if no
    # layer enlarges them; seen with four sets of kernels: 0.02 to 0.14. 0.3 is twice that; logits that have nothing in
    # common differ by 1.4.
    assert distance(rough.float(), exact) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["tsm", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("tam", "nln"))]
)
def test_compilers_see_one_graph(strategy: str) -> None:
    net, x = autovid.build(f"{strategy}_resnet18", classes=5, frames=2, crop=32).double().eval(), clip(2, 32).double()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert distance(compiled(x), net(x)) < DEEP


def test_where_things_are_put() -> None:
    def positions(name: str, place: str, **options: bool) -> list[tuple[int, int]]:
        blocks = build_network(NetworkSpec(network=name, options=options), device="meta").blocks()
        return [(b.stage, b.index) for b in blocks if not isinstance(getattr(b, place), nn.Identity)]

    non_local = [(3, 0), (3, 2), (4, 0), (4, 2), (4, 4)]
    assert positions("nln_resnet50", "after") == positions("tsm_resnet50", "after", non_local=True) == non_local
    assert positions("nln_resnet18", "after") == [(3, 0), (4, 0)]
    everywhere = [(stage, index) for stage, depth in zip((2, 3, 4, 5), (3, 4, 6, 3)) for index in range(depth)]
    assert positions("tsm_resnet50", "enter") == positions("tam_resnet50", "enter") == everywhere
    assert positions("tsn_resnet50", "enter") == []


def test_what_each_backbone_wants_to_see() -> None:
    inception, resnet = autovid.build("tam_inception_v1").clip, autovid.build("tam_resnet18").clip
    assert (inception.mean, inception.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (resnet.mean, resnet.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert inception.sampling == resnet.sampling == "uniform"
    assert {m.eps for m in autovid.build("s3d_inception_v1").modules() if isinstance(m, nn.BatchNorm3d)} == {1e-3}


@pytest.mark.parametrize(("name", "frames", "pooling"), [("i3d", 1, False), ("s3d", 1, False), ("s3d", 4, True)])
def test_too_few_frames_for_the_last_pool(name: str, frames: int, pooling: bool) -> None:
    with pytest.raises(ConfigError, match="needs frames="):
        autovid.build(f"{name}_inception_v1", frames=frames, temporal_pooling=pooling)
    net = autovid.build(f"{name}_inception_v1", frames=5 if pooling else 2, temporal_pooling=pooling).eval()
    assert net(clip(net.clip.frames, 32)).shape == (1, 400)


def test_only_tsm_resnet50_has_the_option_of_non_local_blocks() -> None:
    with pytest.raises(ConfigError, match="non_local"):
        autovid.build("tsm_resnet18", non_local=True)


def test_resnet110_has_three_stages_and_shortcuts_without_weights() -> None:
    net = autovid.build("resnet110_cifar")
    stages = [[block for block in net.blocks() if block.stage == stage] for stage in (2, 3, 4)]
    assert [len(stage) for stage in stages] == [18, 18, 18]
    padded: list[Residual] = [block for block in net.blocks() if block.shortcut is not None]
    assert [(block.stage, block.index) for block in padded] == [(3, 0), (4, 0)]
    x = clip(1, 6)[:, :2]
    y = PaddedShortcut(4)(x)
    assert torch.equal(y[:, 1:3], x[..., ::2, ::2])  # copied, and zeros beside it
    assert y[:, 0].abs().max() == y[:, 3].abs().max() == 0
    assert net(clip(1, 32)).shape == (1, 100)
