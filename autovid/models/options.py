"""Options by name: whether a function takes them, and with the right type, said in a sentence."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from autovid.errors import ConfigError


def check_options(what: str, function: Callable[..., Any], given: Mapping[str, Any], skip: int = 0) -> None:
    """Raises ConfigError for an option that `function` does not take, or of the wrong type.

    `what` is what the function makes, for the message; the first `skip` parameters are not options.
    """
    target = getattr(function, "func", function)
    bound = set(getattr(function, "keywords", {}))
    names = [name for name in list(inspect.signature(target).parameters)[skip:] if name not in bound]
    hints = get_type_hints(target)
    for name, value in given.items():
        if name not in names:
            raise ConfigError(f"{what} has no option {name!r}; it has {', '.join(names) or 'none'}")
        if get_origin(hints[name]) is Literal and value not in (choices := get_args(hints[name])):
            raise ConfigError(f"{what}, option {name}: one of {', '.join(choices)}, but it is {value!r}")
        try:
            msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise ConfigError(f"{what}, option {name}: {str(error).lower()}, but it is {value!r}") from None
