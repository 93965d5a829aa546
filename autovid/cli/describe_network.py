"""What `autovid describe` says of a hand-designed network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovid.models import NetworkSpec


def describe_network(spec: "NetworkSpec") -> dict[str, Any]:
    """Everything that is said of it, counted at the spec's clip and classes or else the network's own."""
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
    """The same as a table."""
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
    words = [content["network"], *(f"{key}={value}" for key, value in content["options"].items())]
    return " ".join([*words, *(f"with {_module(*one)}" for one in content["with"].items())])


def _module(name: str, options: dict[str, Any]) -> str:
    given = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{name}:{given}" if given else name


def _clip(clip: dict[str, Any]) -> str:
    """ "32 frames of 224x224, at a stride of 2; RGB in 0..1, minus [...], over [...]"."""
    snippet, uniform = clip["snippet"], clip["sampling"] == "uniform"
    each = "one" if snippet == 1 else f"{snippet} in a row"
    drawn = f"{each} of each equal part of the video" if uniform else f"at a stride of {clip['stride']}"
    normal = f"RGB in 0..1, minus {list(clip['mean'])}, over {list(clip['std'])}"
    return f"{clip['frames']} frames of {clip['crop']}x{clip['crop']}, {drawn}; {normal}"
