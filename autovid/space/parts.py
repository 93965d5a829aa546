"""The parts of a search, its recipe and its proxy: what the types of a space's file cannot say of them."""

import fnmatch
import re

from autovid.config import Document
from autovid.space.decisions import decision_types, is_searched_in, with_streams
from autovid.space.schema import JOINT, Part, SpaceFile
from autovid.space.space import SearchSpace


def check_name(document: Document, name: str, *key: str | int) -> None:
    """Check a name that goes into paths and into --flops PART=MIN:MAX."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
        message = f"{name[:80]!r} is no name; use letters, digits, - _ and . (not first), at most 80"
        raise document.error(message, *key)


def check_parts(document: Document, content: SpaceFile, space: SearchSpace) -> None:
    """Check that parts decide everything once, each what it holds, and have proxies; that jitter fits the crops."""
    if not content.parts:
        raise document.error("a search needs at least one part", "parts")
    decided: dict[str, str] = {}
    for number, part in enumerate(content.parts):
        _check_part(document, content, number)
        _check_search(document, part, number, space, decided)
    left = [d.name for d in space.decisions if d.name not in decided and len(d.candidates) > 1]
    if left:
        raise document.error(
            f"no part searches {left[0]}" + (f" and {len(left) - 1} more" if left[1:] else ""), "parts"
        )
    last = len(content.parts) - 1
    if set(content.parts[last].streams) != set(content.network.streams):
        raise document.error("the last part must hold every stream", "parts", last, "streams")
    if content.parts[last].cost_fraction != 1:
        message = "the last part's cost_fraction is 1: the range is that of the whole network"
        raise document.error(message, "parts", last, "cost_fraction")
    _check_proxy(document, content)


def _check_part(document: Document, content: SpaceFile, number: int) -> None:
    part, before = content.parts[number], content.parts[:number]
    check_name(document, part.name, "parts", number, "name")
    if part.name == JOINT:
        raise document.error("the phase behind the parts is called joint; choose another name", "parts", number, "name")
    if part.name in [other.name for other in before]:
        raise document.error(f"two parts are called {part.name}: it stands twice", "parts", number, "name")
    if not part.streams:
        raise document.error("an empty list: a part needs a stream", "parts", number, "streams")
    for index, stream in enumerate(part.streams):
        if stream not in content.network.streams:
            raise document.error(f"no stream is called {stream}", "parts", number, "streams", index)
        if stream in part.streams[:index]:
            raise document.error(f"{stream} stands twice", "parts", number, "streams", index)
    first = list(content.network.streams)[: len(part.streams)]
    if set(part.streams) != set(first):  # the classifier's leading columns are theirs
        message = f"a part has the first streams of network.streams, here {', '.join(first)}; order them by the parts"
        raise document.error(message, "parts", number, "streams")
    if before and part.cost_fraction <= before[-1].cost_fraction:
        message = "fractions are cumulative: each is larger than the one before"
        raise document.error(message, "parts", number, "cost_fraction")


def _check_search(document: Document, part: Part, number: int, space: SearchSpace, decided: dict[str, str]) -> None:
    """Check that a part's patterns fit decisions of its own streams that nobody has made; add them to `decided`."""
    own = decision_types(with_streams(space.network, part.streams), space.reference)
    for index, pattern in enumerate(part.search):
        fitting = fnmatch.filter([d.name for d in space.decisions], pattern)
        if not fitting:
            raise document.error(f"{pattern} fits no decision", "parts", number, "search", index)
        for name in fitting:
            if name not in own:
                message = f"{name} is not in this part, whose streams are {', '.join(part.streams)}; add the stream"
                raise document.error(message, "parts", number, "search", index)
    for decision in space.decisions:
        if is_searched_in(part, decision.name):
            if decision.name in decided:
                message = f"{decision.name} is already searched by {decided[decision.name]}"
                raise document.error(message, "parts", number, "search")
            decided[decision.name] = part.name


def _check_proxy(document: Document, content: SpaceFile) -> None:
    names = [part.name for part in content.parts]
    for name in names:
        if name not in content.proxy.parts:
            raise document.error(f"the part {name} is missing", "proxy", "parts")
    for name in content.proxy.parts:
        if name not in names:
            raise document.error(f"no part is called {name}; there are {', '.join(names)}", "proxy", "parts", name)
    for name, stream in content.network.streams.items():
        if content.proxy.frames % stream.frame_stride:
            message = (
                f"{content.proxy.frames} frames are not a multiple of {name}'s frame_stride, {stream.frame_stride}"
            )
            raise document.error(message, "proxy", "frames")
    crops = {
        "recipe": (content.recipe.jitter, content.reference.crop),
        "proxy": (content.proxy.jitter, content.proxy.crop),
    }
    for key, ((low, high), crop) in crops.items():
        if not crop <= low <= high:
            raise document.error(f"{low} to {high} must rise and not be smaller than the crop, {crop}", key, "jitter")
