"""The search strategies by name, and those that come with autovid: one file of code, one line here."""

from typing import TYPE_CHECKING

from autovid.registry import Registry

if TYPE_CHECKING:
    from autovid.search.strategy import Strategy


STRATEGIES: "Registry[type[Strategy]]" = Registry(
    "strategy",
    "autovid.strategies",
    {
        "parsec": (
            "a prior over architectures that learns between updates; the supernet scores",
            "autovid.search.strategies.parsec:Parsec",
        ),
        "random": (
            "the best of some random architectures; each is trained alone",
            "autovid.search.strategies.random:RandomSearch",
        ),
        "evolution": (
            "regularised evolution: children of the best architectures; the supernet scores",
            "autovid.search.strategies.evolution:Evolution",
        ),
    },
)
