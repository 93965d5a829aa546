"""Class activation maps: which places of which frames speak for a class, and the networks that they are made of.

A feature map A (C, t, h, w), the last before it is averaged, is summed over its channels with weights that follow from
the gradient g of the class's logit S at every position, and negative values of the sum become zero.
gradcam    w_c = mean of g_c: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
           localization" (2017)
gradcam++  w_c = sum of alpha_c relu(g_c), alpha = g^2 / (2 g^2 + g^3 sum of A_c): Chattopadhay et al., "Grad-CAM++:
           generalized gradient-based visual explanations for deep convolutional networks" (2018), equation 19 for
           Y = exp(S); the factor exp(S) of every weight is left out, as the map is scaled to its peak

Both are defined on images; here positions are those of all time steps together, and the peak is that of the whole clip
(ours), so that frames can be compared.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError, did_you_mean
from autovid.kernels.compute import Compute
from autovid.models import Network, build, load_model, load_weights
from autovid.train import Trained, open_trained
from autovid.train.trained import title_of


class ActivationMap(NamedTuple):
    """The evidence for class `target` in the t frames that a network looks at.

    `heat` is in 0 ... 1, the clip's peak being 1, or zero throughout where nothing speaks for the class. `places` are
    those of the frames in the clip; they may lie between two, where a network blends frames.
    """

    pixels: NDArray[np.uint8]  # (t, H, W, 3)
    places: NDArray[np.float64]  # (t,)
    heat: NDArray[np.float32]  # (t, H, W)
    probabilities: NDArray[np.float32]  # (classes,)
    target: int


@dataclass(frozen=True)
class LabelledNetwork:
    """A network with its weights on `device`, the clips it was trained for, and its classes' names, if known.

    `weights` says which checkpoint of a training it is.
    """

    name: str
    net: Network
    clip: Clip
    classes: tuple[str, ...]
    device: torch.device
    weights: str = ""

    def class_name(self, number: int) -> str:
        """Return the name of a class."""
        return self.classes[number] if self.classes else f"class {number}"

    def class_number(self, name: str) -> int:
        """Return the class of a name, or of a number from 0. Raises ConfigError."""
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and int(name) < self.net.classes:
            return int(name)
        numbers = f"numbers 0 to {self.net.classes - 1}"
        if not self.classes:
            raise ConfigError(f"{self.name} has no class {name!r}; its names are not known; give {numbers}")
        few = ", ".join(self.classes[:4]) + (", …" if len(self.classes) > 4 else "")
        guess = did_you_mean(name, self.classes)
        raise ConfigError(f"{self.name} has no class {name!r}; {guess}its names are {few}, or {numbers}")


def open_run(path: Path, device: str = "auto") -> LabelledNetwork:
    """Open the network of a training at its best checkpoint, or of a search. Raises DataError and RunError."""
    return labelled(open_trained(path, device))


def labelled(trained: Trained) -> LabelledNetwork:
    """Name the network of a training or of an exported folder."""
    of = ", weights of the supernet" if trained.recalibrated else ""
    name = f"{trained.path.resolve().name} ({title_of(trained.model)}{of})"
    clip = trained.recipe.clip(trained.net.clip)
    return LabelledNetwork(name, trained.net, clip, trained.classes, trained.compute.device, trained.weights)


def open_files(model: str, weights: Path, device: str = "auto") -> LabelledNetwork:
    """Open a network by its name, or of its YAML file or an architecture's, with weights from a safetensors file.

    Raises ConfigError where a file cannot be read, or the weights are another network's.
    """
    loaded = load_model(model)
    net = build(loaded)
    load_weights(net, weights)
    target = Compute(device, "fp32").device
    return LabelledNetwork(f"{weights.stem} ({title_of(loaded)})", net.to(target), net.clip, (), target)


def gradcam(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the weights (C,) of the channels of a map (C, t, h, w)."""
    return gradient.mean((1, 2, 3))


def gradcam_pp(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the weights (C,) of the channels of a map (C, t, h, w) that is not negative."""
    rising = F.relu(gradient)  # where g > 0, alpha g = g / (2 + g sum of A), which has no 0 / 0
    total = features.sum((1, 2, 3), keepdim=True)
    return (rising / (2 + rising * total)).sum((1, 2, 3))


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"gradcam": gradcam, "gradcam++": gradcam_pp}


def activation_map(
    net: Network, x: Tensor, clip: Clip, target: int | None = None, method: str = "gradcam++"
) -> ActivationMap:
    """Compute the map of one clip x (1, 3, T, H, W), normalised as `clip` says, for a class, or the likeliest.

    The network computes as in evaluation, in the precision of x. The map is upsampled in space and time to the frames
    that the network looks at. Raises ConfigError for a method, class or network that there are no maps for.
    """
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: choose one of {', '.join(METHODS)}")
    if target is not None and not 0 <= target < net.classes:
        raise ConfigError(f"there is no class {target}: the network has {net.classes}, from 0 on")
    with _evaluating(net):
        features, logits = _forward(net, x)
        chosen = int(logits.argmax()) if target is None else target
        (gradient,) = torch.autograd.grad(logits[0, chosen], features)
        with torch.no_grad():
            frames, places = net.cam_frames(x)
            weights = METHODS[method](features[0].float(), gradient[0].float())
            heat = F.relu(torch.einsum("c,cthw->thw", weights, features[0].float()))
            heat = F.interpolate(heat[None, None], size=frames.shape[2:], mode="trilinear")[0, 0]
            heat = heat / heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
            one = logits[0].float()
            probabilities = torch.sigmoid(one) if net.multi_label else torch.softmax(one, 0)
    return ActivationMap(
        _pixels(frames[0], clip),
        places[0].double().cpu().numpy(),
        heat.cpu().numpy(),
        probabilities.cpu().numpy(),
        chosen,
    )


def _forward(net: Network, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last feature map, of which gradients can be taken, and the logits."""
    maps: list[Tensor] = []

    def catch(module: nn.Module, args: object, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # from here on only: what comes before keeps nothing for a backward pass
        maps.append(output.detach().requires_grad_())
        return maps[-1]

    handle = net.cam_layer().register_forward_hook(catch)
    try:
        with torch.no_grad():
            logits = net(x)
    finally:
        handle.remove()
    return maps[-1], logits


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


def _pixels(frames: Tensor, clip: Clip) -> NDArray[np.uint8]:
    """Undo the normalisation of frames (3, t, H, W); returns pixels (t, H, W, 3)."""
    mean, std = (torch.tensor(values, device=frames.device) for values in (clip.mean, clip.std))
    colours = frames.permute(1, 2, 3, 0).float() * std + mean
    pixels: NDArray[np.uint8] = (colours * 255).round().clamp(0, 255).byte().cpu().numpy()
    return pixels
