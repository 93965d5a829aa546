"""autovid describe: a network or an architecture stage by stage, or a space."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autovid.cli import options
from autovid.errors import ConfigError, RunError, did_you_mean

if TYPE_CHECKING:
    from autovid.models import Model, NetworkSpec
    from autovid.space import Architecture, SearchSpace


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="a network, a search space, a YAML file of either or of an architecture, or a run directory",
    )
    parser.add_argument("--crop", type=options.positive, help="count at this crop (default: the reference input)")
    parser.add_argument("--frames", type=options.positive, help="count at this many frames")
    parser.add_argument("--classes", type=options.positive, help="count with this many classes")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="also count a pass on the CPU by fvcore and by torch's counter, and explain the differences",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options.network(parser)


def run(args: argparse.Namespace) -> int:
    """Print the description."""
    from autovid.models import NetworkSpec
    from autovid.space import Architecture

    model = options.with_network_options(args, _find(args.what))
    counted = {"crop": args.crop, "frames": args.frames, "classes": args.classes}
    if isinstance(model, NetworkSpec):
        model = model.changed(**counted)
        content = describe_network(model)
        show = show_network
    elif isinstance(model, Architecture):
        content = _architecture(model, counted)
        show = _show_architecture
    elif args.verify:
        raise ConfigError(f"{args.what} is a space: --verify runs one network; give an architecture of it, or a run")
    else:
        content = _space(model, counted)
        show = _show_space
    if args.verify:
        content["verify"] = verify_count(model, content)
    if evaluations := _accuracies(Path(args.what)):
        content["evaluations"] = evaluations
    if args.json:
        print(json.dumps(content, indent=2))
        return 0
    show(content)
    for one in content.get("evaluations", ()):
        metric, value = ("top-1", one["top1"]) if one.get("mean_ap") is None else ("mAP", one["mean_ap"])
        print(f"{metric} {value:.2f} % of {one['decoded']} videos of {one['data']}, {one['split']}, {one['views']}")
    if args.verify:
        show_verification(content["verify"])
    return 0


def _find(what: str) -> "Model | SearchSpace":
    from autovid.config import read_yaml
    from autovid.models import NETWORKS, load_model
    from autovid.space import list_spaces, load_space
    from autovid.train import as_trained, find_model

    path, spaces = Path(what), list_spaces()
    if what in spaces:
        return load_space(what)
    if what in NETWORKS:
        return load_model(what)
    if path.is_dir():
        file = path / "architecture.yaml"
        if not file.is_file():
            return find_model(path)  # says why there is none
        return as_trained(path) if _is_training(path) else load_model(file)
    if path.suffix in (".yaml", ".yml"):
        content = read_yaml(path).as_type(dict[str, Any])
        is_model = "choices" in content or isinstance(content.get("network"), str)
        return load_model(path) if is_model else load_space(path)
    hint = did_you_mean(what, [*NETWORKS, *spaces])
    raise ConfigError(f"no network, space or file is called {what!r}; {hint}autovid list shows what there is")


def _is_training(path: Path) -> bool:
    """Tell whether a folder is the run directory of a training, which has clips and classes of its own."""
    from autovid.run import RunDirectory
    from autovid.train.trained import KIND

    try:
        return RunDirectory.open(path).kind == KIND
    except RunError:
        return False


def _accuracies(path: Path) -> list[dict[str, Any]]:
    """Return the evaluations of a run directory."""
    files = sorted(path.glob("evaluation-*.json")) if path.is_dir() else []
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _architecture(arch: "Architecture", counted: dict[str, int | None]) -> dict[str, Any]:
    """Describe an architecture, site by site."""
    import torch

    from autovid.costs import Memory, convention
    from autovid.costs.count import count, step_peak
    from autovid.models import build

    table = arch.as_space().cost_table(**counted)
    reference = table.reference
    with torch.device("meta"):
        net = build(arch, reference.classes)
    clip = type(net.clip)(reference.frames, reference.crop, net.clip.stride)
    figures = count(net, clip)
    rows: list[dict[str, Any]] = []
    for site, factor in table.sites:
        choice = site.choice(arch.choices)
        costs = {"macs": int(factor.table.sum()), "params": site.block.params(site, choice)}
        costs["memory_bytes"] = site.block.activation_bytes(site, choice)
        rows.append({"site": site.name, "is": site.summary(choice), **costs})
    memory = Memory().of(arch, reference)
    return {
        "hash": arch.hash,
        "space": arch.space,
        "params": figures.params,
        "macs": figures.macs,
        "gflops": figures.macs / 1e9,
        "macs_by_kind": figures.macs_by_kind,
        "convention": convention(reference),
        "memory_bytes": memory,
        "memory_convention": Memory().convention(reference),
        "step_peak_bytes": step_peak(build(arch, reference.classes), clip, memory),
        "input": {"frames": reference.frames, "crop": reference.crop, "classes": reference.classes},
        "provenance": dict(arch.provenance),
        "choices": dict(arch.choices),
        "stages": _stages(rows),
        "sites": rows,
    }


def _stages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum up stages, whose blocks are the sites `stream.stageN.blockM`; other sites as they are."""
    sums: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["site"].rpartition(".block")[0] or row["site"]
        entry = sums.setdefault(name, {"stage": name, "blocks": 0, "macs": 0, "params": 0, "memory_bytes": 0})
        entry["blocks"] += name != row["site"]
        for cost in ("macs", "params", "memory_bytes"):
            entry[cost] += row[cost]
    return list(sums.values())


def _show_architecture(content: dict[str, Any]) -> None:
    from autovid.cli.console import table

    rows = [[r["site"], r["is"], *_costs(r)] for r in content["sites"]]
    for stage in content["stages"]:
        if stage["blocks"]:
            name = f"{stage['stage']}, {stage['blocks']} {'block' if stage['blocks'] == 1 else 'blocks'}"
            rows.append([name, "", *_costs(stage)])
    rows.append(["all", "", *_costs(content)])
    figures = f"{content['macs'] / 1e9:.4f} GFLOPs, {content['params'] / 1e6:.2f} M parameters"
    title = f"architecture {content['hash']} of {content['space']}: {figures}"
    table(title, ["site", "is", "MMACs", "parameters", "memory (MB)"], rows)
    print(f"{content['convention']}\n{content['memory_convention']}")
    if content["step_peak_bytes"] is not None:
        peak = f"{content['step_peak_bytes'] / 1e6:,.1f} MB"
        print(f"measured: a training step of one clip takes {peak} at its peak, with weights and gradients (CPU, fp32)")
    for key, value in content["provenance"].items():
        print(f"  {key}: {value}")


def _costs(figures: dict[str, Any]) -> list[str]:
    """MMACs, parameters and MB of activations, of a site, a stage or all."""
    return [f"{figures['macs'] / 1e6:,.2f}", f"{figures['params']:,}", f"{figures['memory_bytes'] / 1e6:,.2f}"]


def _space(space: "SearchSpace", counted: dict[str, int | None]) -> dict[str, Any]:
    """Describe a space, part by part."""
    from autovid.space.layout import is_searched_in

    table = space.cost_table(**counted)
    parts = []
    for number, part in enumerate(space.parts):
        part_table = space.part_space(number, {}).cost_table(**counted)
        names = [d.name for d in space.decisions if is_searched_in(part, d.name)]
        costs = [part_table.smallest()[0], part_table.largest()[0]]
        parts.append(
            {
                "name": part.name,
                "decisions": len(names),
                "cost_fraction": part.cost_fraction,
                "macs": costs,
                "epochs": part.epochs,
            }
        )
    return {
        "space": space.name,
        "size": space.size,
        "decisions": {d.name: list(d.candidates) for d in space.decisions},
        "smallest_macs": table.smallest()[0],
        "largest_macs": table.largest()[0],
        "convention": table.convention,
        "parts": parts,
    }


def _show_space(content: dict[str, Any]) -> None:
    from autovid.cli.console import table
    from autovid.space.space import rough

    print(
        f"space {content['space']}: {len(content['decisions'])} decisions, {rough(content['size'])} architectures "
        f"of {content['smallest_macs'] / 1e9:.4g} to {content['largest_macs'] / 1e9:.4g} GFLOPs"
    )
    rows = [
        [
            p["name"],
            str(p["decisions"]),
            f"{p['macs'][0] / 1e9:.4g} to {p['macs'][1] / 1e9:.4g}",
            f"{p['cost_fraction']:g}",
            f"{p['epochs']:g}",
        ]
        for p in content["parts"]
    ]
    table("search parts", ["part", "decisions", "GFLOPs with it", "fraction of the range", "epochs"], rows)
    print("decisions")
    for names, candidates in _grouped(content["decisions"]).items():
        print(f"  {names}: {candidates}")
    print(content["convention"])


def _grouped(decisions: dict[str, list[Any]]) -> dict[str, str]:
    """Group decisions of one kind with the same candidates, as `4 x sparse.*.expansion`; one alone by its name."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, candidates in decisions.items():
        pieces = name.split(".")
        kind = ".".join([pieces[0], "*", *pieces[2:][-1:]])
        kinds.setdefault(kind, {}).setdefault(", ".join(map(str, candidates)), []).append(name)
    return {
        names[0] if len(names) == 1 else f"{len(names)} x {kind}": candidates
        for kind, groups in kinds.items()
        for candidates, names in groups.items()
    }


def describe_network(spec: "NetworkSpec") -> dict[str, Any]:
    """Count a network at the spec's clip and classes, or else its own."""
    import msgspec

    from autovid.costs import convention
    from autovid.costs.count import count_stages
    from autovid.models import build_network
    from autovid.space.schema import Reference

    net = build_network(spec, device="meta")
    clip = net.clip
    figures, stages = count_stages(net)
    reference = Reference.of(clip, net.classes)
    return {
        "network": spec.network,
        "hash": spec.hash,
        "options": spec.options,
        "with": spec.modules,
        "params": figures.params,
        "macs": figures.macs,
        "macs_by_kind": figures.macs_by_kind,
        "convention": convention(reference),
        "input": {"frames": clip.frames, "crop": clip.crop, "classes": net.classes},
        "clip": msgspec.to_builtins(clip),
        "stages": msgspec.to_builtins(stages),
    }


def show_network(content: dict[str, Any]) -> None:
    """Print the content of `describe_network` as a table."""
    from autovid.cli.console import table

    rows = [[s["name"], f"{s['macs'] / 1e6:,.2f}", f"{s['params']:,}"] for s in content["stages"]]
    rows.append(["all", f"{content['macs'] / 1e6:,.2f}", f"{content['params']:,}"])
    figures = f"{content['macs'] / 1e9:.4f} GFLOPs, {content['params'] / 1e6:.2f} M parameters"
    print(f"{_title(content)}: {figures}")
    table("", ["stage", "MMACs", "parameters"], rows)
    kinds = [f"{kind} {macs:,}" for kind, macs in content["macs_by_kind"].items() if macs]
    print(f"MACs: {', '.join(kinds)}")
    print(content["convention"])
    print(f"clip: {_clip(content['clip'])}")


def _title(content: dict[str, Any]) -> str:
    parts = [content["network"], *(f"{key}={value}" for key, value in content["options"].items())]
    return " ".join([*parts, *(f"with {_module(*one)}" for one in content["with"].items())])


def _module(name: str, options: dict[str, Any]) -> str:
    pairs = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{name}:{pairs}" if pairs else name


def _clip(clip: dict[str, Any]) -> str:
    """Write "32 frames of 224x224, at a stride of 2; RGB in 0..1, minus [...], over [...]"."""
    snippet, uniform = clip["snippet"], clip["sampling"] == "uniform"
    each = "one" if snippet == 1 else f"{snippet} in a row"
    drawn = f"{each} of each equal part of the video" if uniform else f"at a stride of {clip['stride']}"
    normal = f"RGB in 0..1, minus {list(clip['mean'])}, over {list(clip['std'])}"
    return f"{clip['frames']} frames of {clip['crop']}x{clip['crop']}, {drawn}; {normal}"


def verify_count(model: "Model", content: dict[str, Any]) -> dict[str, Any]:
    """Count a model three times at the input of `content`, and explain the differences."""
    import msgspec

    from autovid.clip import Clip
    from autovid.costs.count import verify
    from autovid.models import NetworkSpec, build, build_network

    frames, crop, classes = (content["input"][key] for key in ("frames", "crop", "classes"))
    line = f"autovid describe · one pass of {frames} x {crop}² under fvcore, one under torch's counter: takes seconds"
    print(line, file=sys.stderr, flush=True)
    if isinstance(model, NetworkSpec):
        net, macs, counted = build_network(model), content["macs"], "counted without data, on the meta device"
    else:
        net, macs = build(model, classes), sum(site["macs"] for site in content["sites"])
        counted = "in closed form, site by site"
    return {"ours_is": counted, **msgspec.to_builtins(verify(net, Clip(frames, crop), macs))}


def show_verification(verified: dict[str, Any]) -> None:
    """Print the counts as a table whose columns add up to ours."""
    from autovid.cli.console import table

    rows = [["counted", *(f"{verified[who]:,}" for who in ("ours", "fvcore", "torch"))]]
    rows += [[row["what"], "", _signed(row["fvcore"]), _signed(row["torch"])] for row in verified["rows"]]
    rest = verified["unexplained"]
    rows.append(["unexplained", "", _signed(rest["fvcore"]) or "0", _signed(rest["torch"]) or "0"])
    rows.append(["MACs", *[f"{verified['ours']:,}"] * 3])
    table("", ["MACs of a clip", "ours", "fvcore", "torch (FLOPs)"], rows)
    print(f"ours: {verified['ours_is']}")
    unnamed = ", ".join(f"{name} {n}" for name, n in verified["no_formula"].items())
    if unnamed:
        print(f"not in ours, and fvcore has no formula: {unnamed}")
    differ = f"{rest['fvcore']:,} MACs against fvcore, {rest['torch']:,} against torch's counter"
    print(f"unexplained: {differ if rest['fvcore'] or rest['torch'] else 0}")


def _signed(macs: int) -> str:
    return f"{macs:+,}" if macs else ""
