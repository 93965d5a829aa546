"""Options and modules of hand-designed networks on the command line."""

import argparse
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovid.models import Model
    from autovid.space import SearchSpace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --option, --temporal-pooling and --with."""
    group = parser.add_argument_group("hand-designed networks")
    group.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the network; may be repeated"
    )
    group.add_argument("--temporal-pooling", action="store_true", help="short for --option temporal_pooling=true")
    group.add_argument(
        "--with",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE[:KEY=VALUE,...]",
        help="a module of `autovid list modules`, with its options; may be repeated",
    )


def apply(args: argparse.Namespace, what: "Model | SearchSpace") -> Any:
    """Change a network by options and modules. Raises ConfigError where it takes none."""
    from autovid.errors import ConfigError
    from autovid.models import NetworkSpec

    options = _options(args.option, "--option")
    if args.temporal_pooling:
        options["temporal_pooling"] = True
    modules: dict[str, dict[str, Any]] = {}
    for name, module_options in map(_module, args.modules):
        if name in modules:
            raise ConfigError(f"--with {name} is given twice; give its options together, as --with {name}:A=1,B=2")
        modules[name] = module_options
    if isinstance(what, NetworkSpec):
        return what.changed(options=options, modules=modules)
    if options or modules:
        raise ConfigError("--option, --temporal-pooling and --with are for hand-designed networks; this is none")
    return what


def _module(text: str) -> tuple[str, dict[str, Any]]:
    """Read `rms` or `rms:kernel=3,stages=[1,3]`."""
    name, _, options = text.partition(":")
    pieces = re.split(r",(?=\w+=)", options) if options else []  # no comma inside of a list
    return name, _options(pieces, f"--with {text}")


def _options(pairs: list[str], where: str) -> dict[str, Any]:
    """Read `KEY=VALUE` texts, with values in YAML."""
    from autovid.config import parse_yaml
    from autovid.errors import ConfigError
    from autovid.models.factory import Option

    values: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not key.isidentifier() or not value or key in values:
            raise ConfigError(f"{where}: {pair!r} is not KEY=VALUE, or is given twice")
        values |= parse_yaml(f"{key}: {value}", dict[str, Option], where)
    return values
