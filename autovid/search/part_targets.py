"""The FLOPs range as the user gives it, and each part's share of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autovid.errors import ConfigError
from autovid.solver import CostRange, parse_gflops
from autovid.space import SearchSpace


@dataclass(frozen=True)
class Target:
    """The range of the whole network, and ranges of parts that have their own; None and {} for no constraint."""

    whole: CostRange | None = None
    own: Mapping[str, CostRange] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str], space: SearchSpace) -> "Target":
        """Reads `1.37:1.43` and `PART=1.37:1.43`. Raises ConfigError for a part that is not there, or two ranges."""
        whole: CostRange | None = None
        own: dict[str, CostRange] = {}
        names = [part.name for part in space.parts]
        for text in (piece for given in texts for piece in given.split(",")):
            name, equals, numbers = text.rpartition("=")
            if not equals:
                if whole is not None:
                    raise ConfigError(f"--flops gives two ranges for the whole network; {text} is the second")
                whole = parse_gflops(numbers)
            elif name not in names:
                raise ConfigError(f"--flops {text}: no part is called {name}; there are {', '.join(names)}")
            elif name in own:
                raise ConfigError(f"--flops gives two ranges for part {name}; {text} is the second")
            else:
                own[name] = parse_gflops(numbers)
        if whole is not None and names[-1] in own:
            raise ConfigError(
                f"--flops gives {whole} and {names[-1]}={own[names[-1]]}, but the last part's range is the whole "
                "network's; leave one of them out"
            )
        return cls(whole, own)

    def of(self, space: SearchSpace, number: int) -> CostRange | None:
        """The range of the network as it stands at the end of part `number`."""
        part = space.parts[number]
        if part.name in self.own:
            return self.own[part.name]
        return self.whole.share(part.cost_fraction) if self.whole else None

    def final(self, space: SearchSpace) -> CostRange | None:
        """The range of the finished network."""
        return self.of(space, len(space.parts) - 1)

    def texts(self) -> list[str]:
        """As it would be typed."""
        ranges = ([("", self.whole)] if self.whole else []) + [(f"{name}=", r) for name, r in self.own.items()]
        return [f"{name}{r.low / 1e9:.15g}:{r.high / 1e9:.15g}" for name, r in ranges]
