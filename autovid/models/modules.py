"""The modules that combine with networks, by name: one file in `autovid/layers`, one line here.

A module puts itself into a network that is built already: into the places of its residual blocks (`Network.blocks`),
or at its input.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from autovid.errors import ConfigError
from autovid.models import regularisers
from autovid.models.dnr import attach_dnr
from autovid.models.network import DoesNotFit, Network
from autovid.models.options import check_options


class Module(NamedTuple):
    """`attach(net, **options)` changes the network in place and raises DoesNotFit where it cannot."""

    attach: Callable[..., None]
    about: str


MODULES: dict[str, Module] = {
    "dropout": Module(regularisers.attach_dropout, "another rate of the dropout before the classifier"),
    "rms": Module(regularisers.attach_rms, "random mean scaling of the last stages' residual branches"),
    "random_drop": Module(regularisers.attach_random_drop, "stochastic depth: residual branches left out at random"),
    "shake_drop": Module(regularisers.attach_shake_drop, "residual branches left out, their gradient scaled at random"),
    "dnr": Module(attach_dnr, "batch norm made dynamic, relayed through time and layers, in networks over frames"),
    "cutmix": Module(regularisers.attach_cutmix, "clips with a box of another clip, labels blended"),
}


def attach(net: Network, modules: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Puts `modules` (name -> options) into the network called `name`, in the order given. Raises ConfigError."""
    for module, options in modules.items():
        if module not in MODULES:
            raise ConfigError(f"there is no module {module!r}; choose among {', '.join(MODULES)}")
        check_options(f"module {module}", MODULES[module].attach, options, skip=1)
        try:
            MODULES[module].attach(net, **options)
        except DoesNotFit as error:
            raise DoesNotFit(f"{module} does not fit {name}: {error}") from None
