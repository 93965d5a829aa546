"""autovid list: what there is."""

import argparse
import json

Groups = dict[str, dict[str, str]]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=list(KINDS), help="only these")
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    found = {kind: groups() for kind, groups in KINDS.items() if args.what in (None, kind)}
    if args.json:
        print(json.dumps({kind: _flat(groups) for kind, groups in found.items()}, indent=2))
        return 0
    for kind, groups in found.items():
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
    """By the file that makes them: deep analysis, slowfast, ..."""
    from autovid.models import NETWORKS

    groups: Groups = {}
    for name, entry in NETWORKS.items():
        make = getattr(entry.make, "func", entry.make)
        group = make.__module__.rpartition(".")[2].replace("_", " ")
        groups.setdefault(group, {})[name] = entry.about
    return groups


def _modules() -> Groups:
    from autovid.models import MODULES

    return {"": {name: module.about for name, module in MODULES.items()}}


def _experiments() -> Groups:
    """By the command that they are for."""
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


KINDS = {
    "spaces": _spaces,
    "blocks": _blocks,
    "fusions": _fusions,
    "attentions": _attentions,
    "models": _models,
    "modules": _modules,
    "experiments": _experiments,
}
