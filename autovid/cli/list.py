"""autovid list: spaces, blocks, networks, modules and experiments."""

import argparse
import importlib
import json
from collections.abc import Callable

Groups = dict[str, dict[str, str]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", nargs="?", choices=list(KINDS), help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the lists."""
    listed = {kind: _groups(kind) for kind in KINDS if args.what in (None, kind)}
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


def _models() -> Groups:
    """Return the networks by the file of their maker: deep analysis, slowfast, ..."""
    from autovid.models.registry import FILES, NETWORKS

    others = {name: about for name, about in NETWORKS.about().items() if all(name not in own for own in FILES.values())}
    groups = {file.replace("_", " "): own for file, own in FILES.items()}
    return {**groups, "others": others} if others else groups


def _experiments() -> Groups:
    """Group experiments by their command."""
    from autovid.config import list_experiments

    return {f"autovid {command}": names for command, names in list_experiments().items()}


def _groups(kind: str) -> Groups:
    """Return the names of a kind with a sentence about each, by group; most kinds have one without a name."""
    listed = KINDS[kind]
    if isinstance(listed, str):
        module, _, name = listed.partition(":")
        entries = getattr(importlib.import_module(module), name)
        return {"": entries.about() if hasattr(entries, "about") else entries()}
    return listed()


KINDS: dict[str, str | Callable[[], Groups]] = {
    "spaces": "autovid.space:list_spaces",
    "strategies": "autovid.search.strategies:STRATEGIES",
    "blocks": "autovid.blocks.registry:BLOCKS",
    "fusions": "autovid.blocks.registry:FUSIONS",
    "attentions": "autovid.blocks.registry:ATTENTIONS",
    "costs": "autovid.costs:COSTS",
    "models": _models,
    "modules": "autovid.models.registry:MODULES",
    "layouts": "autovid.data.layouts:LAYOUTS",
    "experiments": _experiments,
}
"""By kind: a registry, or a function."""
