"""The depthwise convolution equals torch's, forward and backward, whatever kernels it uses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from rounding import BF16, distance, room
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from autovid.kernels import depthwise, fastest
from autovid.kernels.chosen import Kernels, current_kernels, use_kernels
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.fastest import choose_kernels

KERNELS = list(itertools.product((1, 3, 5), (1, 3, 5), (1, 3, 5, 7)))
STRIDES = [(1, 1, 1), (1, 2, 2), (4, 1, 1), (2, 2, 2), (1, 3, 1)]
SHAPES = [(1, 2, 3, 9, 8), (2, 3, 4, 7, 6), (2, 8, 5, 3, 9), (1, 2, 1, 1, 1), (3, 2, 2, 8, 2)]
VARIANTS = [
    Kernels(),
    Kernels(wide_kernels="whole"),
    Kernels(input_gradient="torch", weight_gradient="torch"),
]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """One thread: thousands of small convolutions, whose threads would wait for each other on a busy machine.

    The usual kernels: another test may have chosen others, by measuring.
    """
    kernels, threads = current_kernels(), torch.get_num_threads()
    use_kernels(Kernels())
    torch.set_num_threads(1)
    yield
    use_kernels(kernels)
    torch.set_num_threads(threads)


def reference(x: Tensor, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, stride=stride, padding=padding, groups=x.shape[1])


def example(shape: tuple[int, ...], kernel: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    return [x.requires_grad_(), torch.randn(shape[1], 1, *kernel, dtype=dtype, requires_grad=True)]


def usual(name: str, stride: tuple[int, int, int]) -> bool:
    """Kernels by default at every stride; the others are the same beyond the first ones."""
    return name == "default" or stride in STRIDES[:2]


@pytest.mark.parametrize(
    ("kernels", "stride"),
    [
        pytest.param(
            kernels, stride, marks=[] if usual(name, stride) else [pytest.mark.thorough], id=f"{stride}-{name}"
        )
        for name, kernels in zip(("default", "whole", "torch"), VARIANTS)
        for stride in STRIDES
    ],
)
def test_equals_torch_in_every_shape(kernels: Kernels, stride: tuple[int, int, int]) -> None:
    use_kernels(kernels)
    for kernel, shape in itertools.product(KERNELS, SHAPES):
        x, weight = example(shape, kernel)
        out, expected = depthwise_conv3d(x, weight, stride), reference(x, weight, stride)
        # 1e-5: twice the room of 5 * 5 * 7 taps, and of the 336 products of a weight's gradient
        assert distance(out, expected) < 1e-5
        with torch.no_grad():  # to the bit: the same call of torch with the same arguments
            assert torch.equal(out, depthwise_conv3d(x, weight, stride))
        grad = torch.randn_like(out)
        ours = torch.autograd.grad(out, (x, weight), grad)
        theirs = torch.autograd.grad(expected, (x, weight), grad)
        assert max(map(distance, ours, theirs)) < 1e-5, (kernel, shape)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 5, 5), (5, 1, 1), (3, 5, 5), (3, 7, 7)], ids=str)
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 1, 1)], ids=str)
def test_gradcheck_in_double_precision(kernel: tuple[int, ...], stride: tuple[int, int, int]) -> None:
    inputs = example((2, 2, 3, 4, 5), kernel, torch.float64)
    assert torch.autograd.gradcheck(lambda x, weight: depthwise_conv3d(x, weight, stride), inputs)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 5, 5), (1, 5, 5), (5, 1, 1)], ids=str)
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)], ids=str)
def test_large_maps_round_like_torch(kernel: tuple[int, ...], stride: tuple[int, int, int]) -> None:
    x, weight = example((4, 24, 8, 20, 20), kernel)
    out = depthwise_conv3d(x, weight, stride)
    grad = torch.randn_like(out)
    ours = torch.autograd.grad(out, (x, weight), grad)
    double = [tensor.detach().double().requires_grad_() for tensor in (x, weight)]
    exact = torch.autograd.grad(reference(double[0], double[1], stride), double, grad.double())
    assert distance(ours[0], exact[0]) < room(kernel[0] * kernel[1] * kernel[2])
    assert distance(ours[1], exact[1]) < room(out[:, 0].numel())


def test_two_threads() -> None:
    torch.set_num_threads(2)
    for kernel, stride in itertools.product([(3, 5, 5), (1, 3, 3), (5, 1, 1)], [(1, 1, 1), (1, 2, 2)]):
        x, weight = example((4, 24, 8, 12, 12), kernel)
        out, expected = depthwise_conv3d(x, weight, stride), reference(x, weight, stride)
        ours = torch.autograd.grad(out.square().sum(), (x, weight))
        theirs = torch.autograd.grad(expected.square().sum(), (x, weight))
        # the gradient that comes in, 2 * out, has itself the rounding of a sum over the taps
        taps, pixels = kernel[0] * kernel[1] * kernel[2], out[:, 0].numel()
        assert distance(ours[0], theirs[0]) < 2 * room(taps)
        assert distance(ours[1], theirs[1]) < room(taps) + room(pixels)


def test_gradients_come_from_our_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, every other test passes and a search step takes several times as long."""

    planar = depthwise.torch_gradient

    def only_planar(grad: Tensor, *arguments: Any, **options: Any) -> Tensor:
        assert grad.dim() == 4, "torch's own 3-D gradient was used"
        return planar(grad, *arguments, **options)

    monkeypatch.setattr(depthwise, "torch_gradient", only_planar)
    for kernel, stride in itertools.product([(3, 3, 3), (5, 5, 5), (1, 3, 3), (5, 1, 1)], [(1, 1, 1), (1, 2, 2)]):
        x, weight = example((2, 4, 4, 6, 6), kernel)
        depthwise_conv3d(x, weight, stride).sum().backward()
        assert x.grad is not None
        assert weight.grad is not None


@pytest.mark.parametrize("grad", [False, True])
def test_slice_of_a_weight_equals_its_copy(grad: bool) -> None:
    whole = torch.randn(12, 1, 5, 5, 5, requires_grad=True)
    x = torch.randn(2, 8, 4, 9, 9).contiguous(memory_format=torch.channels_last_3d)
    for t, k in itertools.product((0, 1, 2), (0, 1)):
        part = whole[:8, :, t : 5 - t, k : 5 - k, k : 5 - k]
        with torch.set_grad_enabled(grad):
            sliced, copied = depthwise_conv3d(x, part), depthwise_conv3d(x, part.detach().clone().requires_grad_())
        assert torch.equal(sliced, copied)  # to the bit: a slice is copied before anything computes with it
        with torch.no_grad():
            assert torch.equal(sliced, depthwise_conv3d(x, part))


def test_gradient_reaches_only_the_slice() -> None:
    whole = torch.randn(6, 1, 5, 5, 5, requires_grad=True)
    x = torch.randn(2, 4, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    depthwise_conv3d(x, whole[:4, :, 1:4, 1:4, 1:4]).square().sum().backward()
    assert whole.grad is not None
    inside = torch.zeros_like(whole, dtype=torch.bool)
    inside[:4, :, 1:4, 1:4, 1:4] = True
    # On any machine: outside nothing is added to zeros; inside a sum of random numbers is not 0.
    assert torch.equal(whole.grad != 0, inside)


@pytest.mark.parametrize("need", [(True, False), (False, True)])
def test_only_the_gradient_asked_for(need: tuple[bool, bool]) -> None:
    inputs = [tensor.detach().requires_grad_(n) for tensor, n in zip(example((2, 3, 3, 5, 5), (3, 3, 3)), need)]
    depthwise_conv3d(inputs[0], inputs[1]).sum().backward()
    assert [tensor.grad is not None for tensor in inputs] == list(need)


def test_contiguous_and_expanded_tensors() -> None:
    x, weight = example((2, 3, 4, 6, 7), (3, 5, 5))
    plain = x.detach().contiguous().requires_grad_()
    out = depthwise_conv3d(plain, weight)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    ours = torch.autograd.grad(out.sum(), (plain, weight))  # the gradient of a sum is an expanded scalar
    theirs = torch.autograd.grad(reference(x, weight, (1, 1, 1)).sum(), (x, weight))
    # 1e-5: sums of 75 taps, or of the 2 * 4 * 6 * 7 pixels of a map, all of one sign where the gradient is 1
    assert max(map(distance, ours, theirs)) < 1e-5


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_bf16_autocast(compute: str) -> None:
    use_kernels(msgspec.convert({"autocast": compute}, Kernels))
    x, weight = example((2, 8, 4, 8, 8), (3, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        out = depthwise_conv3d(x.bfloat16(), weight)
    expected = reference(x, weight, (1, 1, 1))
    grad = torch.randn_like(expected)
    ours = torch.autograd.grad(out, (x, weight), grad.bfloat16())
    theirs = torch.autograd.grad(expected, (x, weight), grad)
    assert out.dtype == torch.bfloat16
    assert [tensor.dtype for tensor in ours] == [torch.float32, torch.float32]
    # inputs, weight or gradient, and result are rounded to bfloat16, which is most of it
    assert distance(out.float(), expected) < 4 * BF16
    assert max(map(distance, ours, theirs)) < 4 * BF16


def test_double_backward_is_refused() -> None:
    x, weight = example((1, 2, 3, 4, 4), (3, 3, 3))
    (grad,) = torch.autograd.grad(depthwise_conv3d(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_counters_and_tracers_see_an_ordinary_convolution() -> None:
    x, weight = example((2, 4, 3, 6, 6), (3, 3, 3))
    with FlopCounterMode(display=False) as counter:
        depthwise_conv3d(x, weight)
    assert counter.get_total_flops() == 2 * x.numel() * 27
    for constant in (weight.detach(), weight.detach()[..., 1:2, 1:2]):
        traced = torch.jit.trace(lambda x, w=constant: depthwise_conv3d(x, w), (x,), check_trace=False)
        assert "aten::_convolution" in str(traced.graph)
        assert "aten::flatten" not in str(traced.graph)
    fake = torch.empty_like(x, device="meta").requires_grad_()
    assert depthwise_conv3d(fake, weight.to("meta"), (1, 2, 2)).shape == (2, 4, 3, 3, 3)
    grad = torch.func.grad(lambda x: depthwise_conv3d(x, weight).sum())(x)
    assert distance(grad, torch.autograd.grad(reference(x, weight, (1, 1, 1)).sum(), x)[0]) < room(27)


def test_fake_tensors_train_as_an_ordinary_convolution() -> None:
    counts = []
    for convolution in (depthwise_conv3d, reference):
        with FakeTensorMode(), FlopCounterMode(display=False) as counter:
            x, weight = torch.empty(2, 4, 3, 6, 6, requires_grad=True), torch.empty(4, 1, 3, 3, 3, requires_grad=True)
            convolution(x, weight, (1, 1, 1)).sum().backward()
        counts.append(counter.get_flop_counts()["Global"])
    assert counts[0] == counts[1]


def test_compiles_as_an_ordinary_convolution() -> None:
    nodes: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        nodes.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    x, weight = example((2, 4, 3, 6, 6), (3, 3, 3))
    torch.compile(depthwise_conv3d, backend=backend, fullgraph=True)(x, weight)
    assert any("conv3d" in node for node in nodes)


def test_exports_as_an_ordinary_convolution() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 1, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return depthwise_conv3d(x, self.weight)

    program = torch.export.export(Layer(), (torch.randn(1, 4, 3, 6, 6),))
    assert [str(node.target) for node in program.graph.nodes if node.op == "call_function"][-1].startswith(
        "aten.conv3d"
    )


def test_recorded_kernels_survive_json() -> None:
    kernels = Kernels(input_gradient="torch", wide_kernels="whole")
    assert msgspec.json.decode(msgspec.json.encode(kernels), type=Kernels) == kernels
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"input_gradient": "guess"}, Kernels)


def test_choosing_measures_without_side_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "is_faster", lambda new, old: (new(), old(), True)[-1])
    torch.manual_seed(1)
    before, threads, expected = current_kernels(), torch.get_num_threads(), torch.rand(1)
    torch.manual_seed(1)
    autocast = "bf16" if fastest.cpu_has_bf16() else "fp32"
    pointwise = "images" if torch.backends.mkldnn.is_available() else "product"  # type: ignore[no-untyped-call]
    assert choose_kernels() == msgspec.convert(
        {
            "input_gradient": "torch",
            "weight_gradient": "torch",
            "wide_kernels": "whole",
            "autocast": autocast,
            "pointwise": pointwise,
        },
        Kernels,
    )
    assert torch.equal(torch.rand(1), expected)  # to the bit: the same state of the same generator
    assert torch.get_num_threads() == threads
    assert current_kernels() == before  # of the process: tests before may have begun with others


def test_split_kernel_covers_every_column_once() -> None:
    """The groups of columns of a 7-wide kernel overlap: each column must still be the right one."""
    x, weight = (tensor.detach() for tensor in example((1, 1, 1, 1, 7), (1, 1, 7)))
    grad = torch.zeros_like(x)
    grad[..., 3] = 1
    out = depthwise.frames_weight_gradient(grad, x, weight, (1, 1, 1), columns=3)
    assert torch.allclose(out.flatten(), x.flatten())  # one product with 1 and zeros: exact in any order


@pytest.mark.parametrize("side", [1, 2, 4, 5])
def test_maps_smaller_than_the_kernel_take_pairs(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN has no fast weight gradient there; on larger maps pairs would be the slower."""
    taken: list[Tensor] = []
    by_pairs = depthwise.pairs_weight_gradient

    def spy(grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
        taken.append(x)
        return by_pairs(grad, x, weight, stride)

    monkeypatch.setattr(depthwise, "pairs_weight_gradient", spy)
    x, weight = example((2, 4, 3, side, side), (3, 5, 5))
    out, expected = depthwise_conv3d(x, weight), reference(x, weight, (1, 1, 1))
    grad = torch.randn_like(out)
    (ours,), (theirs,) = (torch.autograd.grad(y, weight, grad) for y in (out, expected))
    assert distance(ours, theirs) < room(2 * 3 * side * side)
    assert bool(taken) == (side < 5)
