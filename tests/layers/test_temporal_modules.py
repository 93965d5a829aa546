"""What the temporal modules of TANet and TDN do to a clip, against their definitions.

`assert_close` allows 1e-5 + 1.3e-6 of the value in float32: 16 roundings (2^-24 each) of numbers up to 10. Sums here
have 4 numbers at most, but for the gates, where it is said.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.layers.temporal_modules import (
    LearnableShift,
    LongTermDifference,
    TemporalAdaptive,
    aggregate,
    differences,
    middle_frames,
    shift,
)


def clip(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator).contiguous(memory_format=torch.channels_last_3d)


class Aggregate(nn.Module):
    def forward(self, x: Tensor, kernels: Tensor, gates: Tensor) -> Tensor:
        return aggregate(x, kernels, gates)


def test_every_adaptive_kernel_sums_to_one_and_is_the_clips_own() -> None:
    module = TemporalAdaptive(16, 4).eval()
    for layer in (module.kernel[0], module.kernel[3]):
        nn.init.normal_(layer.weight)
    kernels = module.weights(clip(2, 16, 4, 3, 3).mean((3, 4)))
    assert kernels.shape == (2, 16, 3)
    torch.testing.assert_close(kernels.sum(-1), torch.ones(2, 16))
    assert (kernels[0] - kernels[1]).abs().max() > 0.01


def test_aggregation_is_a_convolution_over_time_of_the_gated_clip_and_keeps_the_layout() -> None:
    x, kernels, gates = clip(2, 5, 4, 3, 3), torch.rand(2, 5, 3), torch.rand(2, 5, 4)
    expected = torch.stack(
        [
            F.conv3d(
                (x * gates[..., None, None])[b, None], kernels[b].view(5, 1, 3, 1, 1), padding=(1, 0, 0), groups=5
            )[0]
            for b in range(2)
        ]
    )
    out = aggregate(x, kernels, gates)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    exported = torch.export.export(Aggregate(), (x, kernels, gates)).module()
    torch.testing.assert_close(exported(x, kernels, gates), expected)


def test_aggregation_has_the_gradients_of_the_convolution() -> None:
    inputs = [t.double().requires_grad_() for t in (clip(2, 3, 3, 2, 2), torch.rand(2, 3, 3), torch.rand(2, 3, 3))]
    assert torch.autograd.gradcheck(aggregate, inputs)


def test_differences_are_those_of_neighbouring_frames_and_vanish_where_nothing_moves() -> None:
    x = clip(2, 3, 10, 4, 4)
    changes = differences(x)
    assert changes.shape == (2, 12, 2, 2, 2)
    assert changes.is_contiguous(memory_format=torch.channels_last_3d)
    frames = F.avg_pool2d(x[1].transpose(0, 1), 2)  # (T, 3, 2, 2)
    torch.testing.assert_close(changes[1, 3:6, 1], frames[7] - frames[6])
    still = middle_frames(x).repeat_interleave(5, dim=2)
    assert differences(still).abs().max() == 0
    assert torch.equal(middle_frames(still), middle_frames(x))  # nothing is computed


def test_the_long_term_module_gates_by_half_at_most_and_sees_the_neighbours() -> None:
    module = LongTermDifference(32).eval()
    x = clip(1, 32, 3, 4, 4)
    y = module(x)
    assert ((y - x).abs() <= 0.5 * x.abs() + 1e-6).all()  # 1e-6: two roundings of numbers below 6
    moved = x.clone()
    moved[:, :, 2] += 1
    assert (module(moved)[:, :, 1] - y[:, :, 1]).abs().max() > 1e-6
    assert torch.equal(module(moved)[:, :, 0], y[:, :, 0])  # to the bit: frame by frame, whatever the others hold


def test_the_long_term_module_follows_its_definition_frame_by_frame() -> None:
    torch.manual_seed(0)
    module = LongTermDifference(32).eval()
    x = clip(1, 32, 3, 6, 6)
    frames = [module.squeeze(x[:, :, t : t + 1]) for t in range(3)]
    smooth = [module.smooth(frame) for frame in frames]

    def gate(change: Tensor) -> Tensor:
        coarse = module.coarse(F.avg_pool3d(change, (1, 2, 2))).repeat_interleave(2, 3).repeat_interleave(2, 4)
        return torch.sigmoid(module.excite((change + coarse + module.fine(change)) / 3)) - 0.5

    nothing = torch.zeros_like(frames[0])
    forwards = [smooth[1] - frames[0], smooth[2] - frames[1], nothing]
    backwards = [nothing, smooth[0] - frames[1], smooth[1] - frames[2]]
    gates = [(gate(forth) + gate(back)) / 2 for forth, back in zip(forwards, backwards)]
    # five convolutions, each a sum of up to 32 numbers: less than 5 * 32 roundings, 1e-5, of a gate below a half
    torch.testing.assert_close(module(x), x * (1 + torch.cat(gates, 2)), rtol=1e-4, atol=1e-5)


def test_the_learnable_shift_starts_as_the_shift_and_learns() -> None:
    x = clip(2, 16, 4, 3, 3)
    module = LearnableShift(16)
    torch.testing.assert_close(module(x), shift(x, 2))
    module(x).square().sum().backward()
    assert module.weight.grad is not None
    assert (module.weight.grad != 0).all()
