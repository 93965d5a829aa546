"""The figures of a plan: memory against tensors that exist, the plot against the schedule."""

import pytest
import torch
from small import ARCH, recipe

from autovid.models import Network, build
from autovid.train.plan import HEIGHT, WIDTH, count_memory, plot


def kept(net: Network, clips: int) -> int:
    """Bytes of the different pieces of memory that autograd keeps of a real pass, but the network's own."""
    own = {tensor.data_ptr() for tensor in [*net.parameters(), *net.buffers()]}
    storages: dict[int, torch.UntypedStorage] = {}

    def see(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor

    clip = net.clip
    x = torch.randn(clips, 3, clip.frames, clip.crop, clip.crop).contiguous(memory_format=torch.channels_last_3d)
    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        net.train()(x)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize(("name", "over"), [("tsn_resnet18", 1.01), ("i3d_resnet18", 1.01), ("tam_resnet18", 1.15)])
def test_what_autograd_keeps_is_counted_without_a_pass(name: str, over: float) -> None:
    """Never too little; `over` is how much too much it may be. Bytes are integers, whatever kernels compute them."""
    net = build(name, 12, frames=4, crop=32)
    memory = count_memory(net, net.clip)
    assert 0.999 <= memory.kept_per_clip / (kept(net, 8) / 8) <= over
    assert memory.of_weights == sum(tensor.nbytes for tensor in [*net.parameters(), *net.buffers()])


def test_a_step_holds_weights_gradients_momentum_and_clips() -> None:
    memory, plain = count_memory(build(ARCH, 12), build(ARCH, 12).clip), recipe()
    one, two = (memory.step(clips, plain, half=False) for clips in (1, 2))
    assert two - one == memory.kept_per_clip
    assert 2 * one - two == 3 * memory.of_weights
    for more in (recipe(ema=0.9), recipe(optimizer="adamw")):
        assert memory.step(2, more, half=False) - two == memory.of_weights
    assert memory.step(2, plain, half=True) == two - memory.kept_per_clip


def test_the_plot_has_the_shape_of_the_schedule() -> None:
    chosen = recipe(epochs=40, schedule="multi_step", milestones=(20,), factor=0.5, warmup=0, lr=0.4)
    lines = plot(chosen, 4000)
    assert len(lines) == HEIGHT + 2
    assert lines[0] == f"{'0.4':>9}│" + "█" * (WIDTH // 2) + " " * (WIDTH // 2)
    assert lines[HEIGHT - 1].endswith("│" + "█" * WIDTH)
    assert "".join(line[10:][0] for line in lines[:HEIGHT]) == "█" * HEIGHT
    assert [line[-1] for line in lines[:HEIGHT]] == [" "] * (HEIGHT // 2) + ["█"] * (HEIGHT // 2)
