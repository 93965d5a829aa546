"""A score of a network that nobody has trained: its synaptic flow.

Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic flow"
(2020, arXiv 2006.05467); as a score of architectures in Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-cost proxies for
lightweight NAS" (2021, arXiv 2101.08134). It needs no videos and one forward and backward pass. What ranks networks
better than MACs, parameters and this score has learned something.
"""

import math

import torch

from autovid.models import build
from autovid.space import Architecture

CROP = 32  # pixels of the clip of ones: more change the scale alone, not the parameters


def synaptic_flow(arch: Architecture, seed: int = 0) -> float:
    """Return log10 of the sum over parameters of |p * dR/dp|, with R the sum of the logits for a clip of ones.

    All parameters are replaced by their absolute values, those of norms by 1; `seed` draws the others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(arch, classes=arch.reference.classes).double().eval()
    norms = {name.rpartition(".")[0] for name, _ in net.named_buffers() if name.endswith("running_mean")}
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            module, _, kind = name.rpartition(".")
            parameter.fill_(float(kind == "weight")) if module in norms else parameter.abs_()
    crop = min(CROP, arch.reference.crop)
    net(torch.ones(1, 3, arch.reference.frames, crop, crop, dtype=torch.float64)).sum().backward()
    flows = [(p.detach() * p.grad).abs().sum() for p in net.parameters() if p.grad is not None]
    return math.log10(float(torch.stack(flows).sum()))
