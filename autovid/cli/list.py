"""autovid list: what there is."""

import argparse
import json


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=["spaces", "models"], help="only these")
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    from autovid.space import list_spaces

    kinds = {"spaces": list_spaces, "models": _models}
    found = {kind: names() for kind, names in kinds.items() if args.what in (None, kind)}
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for kind, entries in found.items():
        print(f"{kind}:")
        for name, about in entries.items():
            print(f"  {name:<12} {about}")
    return 0


def _models() -> dict[str, str]:
    return {
        "FILE.yaml": "an architecture that was derived or drawn; hand-designed networks are not in this version yet"
    }
