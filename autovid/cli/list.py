"""autovid list: spaces, blocks, networks, modules and experiments."""

import argparse
import json

Groups = dict[str, dict[str, str]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", nargs="?", choices=list(KINDS), help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the lists."""
    listed = {kind: groups() for kind, groups in KINDS.items() if args.what in (None, kind)}
    if args.json:
        print(json.dumps({kind: _flat(groups) for kind, groups in listed.items()}, indent=2))
        return 0
    for kind, groups in listed.items():
        print(f"{kind}:")
        width = max(map(len, _flat(groups)), default=0)
        for group, entries in groups.items():
            indent = "    " if group else "  "
            if group:
                print(f"  {group}")
            for name, about in entries.items():
                print(f"{indent}{name:<{width}}  {about}")
    return 0


def _flat(groups: Groups) -> dict[str, str]:
    return {name: about for group in groups.values() for name, about in group.items()}


def _spaces() -> Groups:
    from autovid.space import list_spaces

    return {"": list_spaces()}


def _models() -> Groups:
    """Return the networks by the file of their maker: deep analysis, slowfast, ..."""
    from autovid.models.registry import FILES, NETWORKS

    others = {name: about for name, about in NETWORKS.about().items() if all(name not in own for own in FILES.values())}
    groups = {file.replace("_", " "): own for file, own in FILES.items()}
    return {**groups, "others": others} if others else groups


def _modules() -> Groups:
    from autovid.models import MODULES

    return {"": MODULES.about()}


def _layouts() -> Groups:
    from autovid.data.layouts import LAYOUTS

    return {"": LAYOUTS.about()}


def _experiments() -> Groups:
    """Group experiments by their command."""
    from autovid.config import list_experiments

    return {f"autovid {command}": names for command, names in list_experiments().items()}


def _blocks() -> Groups:
    from autovid.blocks.registry import BLOCKS

    return {"": BLOCKS.about()}


def _fusions() -> Groups:
    from autovid.blocks.registry import FUSIONS

    return {"": FUSIONS.about()}


def _attentions() -> Groups:
    from autovid.blocks.registry import ATTENTIONS

    return {"": ATTENTIONS.about()}


def _strategies() -> Groups:
    from autovid.search.strategies import STRATEGIES

    return {"": STRATEGIES.about()}


def _costs() -> Groups:
    """List costs by name; the option is the name, but --flops for the MACs."""
    from autovid.costs import COSTS

    return {"": COSTS.about()}


KINDS = {
    "spaces": _spaces,
    "strategies": _strategies,
    "blocks": _blocks,
    "fusions": _fusions,
    "attentions": _attentions,
    "costs": _costs,
    "models": _models,
    "modules": _modules,
    "layouts": _layouts,
    "experiments": _experiments,
}
