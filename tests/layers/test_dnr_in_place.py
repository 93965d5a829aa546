"""In test without gradients a dynamic norm writes over its input, and says the same as with them."""

import torch

from autovid.layers.dnr import DynamicNorm, TemporalRelay


def test_without_gradients_the_input_becomes_the_output_and_is_the_same() -> None:
    torch.manual_seed(0)
    norm = DynamicNorm(8, 1, TemporalRelay(8)).eval()
    norm.running_mean.normal_()
    x = torch.randn(2, 8, 4, 5, 5).contiguous(memory_format=torch.channels_last_3d)
    expected = norm(x.clone())
    with torch.no_grad():
        output = norm(x)
    assert torch.equal(output, expected)  # to the bit: the same operations, of which the last writes elsewhere
    assert output.data_ptr() == x.data_ptr()
