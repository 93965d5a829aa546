"""`autovid describe WHAT --verify`: our count of a network beside fvcore's and that of torch's counter."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovid.models import Model


def verified(subject: "Model", content: dict[str, Any]) -> dict[str, Any]:
    """The three counts of what `content` describes, at its input, and what makes the difference."""
    import msgspec

    from autovid.clip import Clip
    from autovid.costs.verify import verify
    from autovid.models import NetworkSpec, build, build_network

    frames, crop, classes = (content["input"][key] for key in ("frames", "crop", "classes"))
    line = f"autovid describe · one pass of {frames} x {crop}² under fvcore, one under torch's counter: takes seconds"
    print(line, file=sys.stderr, flush=True)
    if isinstance(subject, NetworkSpec):
        net, ours, ours_is = build_network(subject), content["macs"], "counted without data, on the meta device"
    else:
        net, ours = build(subject, classes), sum(site["macs"] for site in content["sites"])
        ours_is = "in closed form, site by site"
    return {"ours_is": ours_is, **msgspec.to_builtins(verify(net, Clip(frames, crop), ours))}


def show_verified(found: dict[str, Any]) -> None:
    """The same as a table whose columns add up to ours."""
    from autovid.cli.console import table

    rows = [["counted", *(f"{found[who]:,}" for who in ("ours", "fvcore", "torch"))]]
    rows += [[row["what"], "", _signed(row["fvcore"]), _signed(row["torch"])] for row in found["rows"]]
    rest = found["unexplained"]
    rows.append(["unexplained", "", _signed(rest["fvcore"]) or "0", _signed(rest["torch"]) or "0"])
    rows.append(["MACs", *[f"{found['ours']:,}"] * 3])
    table("", ["MACs of a clip", "ours", "fvcore", "torch (FLOPs)"], rows)
    print(f"ours: {found['ours_is']}")
    unnamed = ", ".join(f"{name} {n}" for name, n in found["no_formula"].items())
    if unnamed:
        print(f"not in ours, and fvcore has no formula: {unnamed}")
    differ = f"{rest['fvcore']:,} MACs against fvcore, {rest['torch']:,} against torch's counter"
    print(f"unexplained: {differ if rest['fvcore'] or rest['torch'] else 0}")


def _signed(macs: int) -> str:
    return f"{macs:+,}" if macs else ""
