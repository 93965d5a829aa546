"""`autovid describe` of a hand-designed network, and --verify: our count beside those of fvcore and torch."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovid.models import Model, NetworkSpec


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
        net, ours, ours_is = build_network(model), content["macs"], "counted without data, on the meta device"
    else:
        net, ours = build(model, classes), sum(site["macs"] for site in content["sites"])
        ours_is = "in closed form, site by site"
    return {"ours_is": ours_is, **msgspec.to_builtins(verify(net, Clip(frames, crop), ours))}


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
