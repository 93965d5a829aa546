"""Errors for people: what happened, where, and what to do. The command line prints one line and exits with the code."""

import difflib
from collections.abc import Iterable


class AutovidError(Exception):
    """A mistake of the user's or of the machine's that one line explains. Never a bug of ours."""

    exit_code = 2
    everywhere = False  # whether all workers of a run raise it at once, so that one alone has to say it

    def __str__(self) -> str:
        """One line, whatever names are in it."""
        return printable(super().__str__())


class ConfigError(AutovidError):
    """A wrong value on the command line, in a YAML file or in a call (exit code 2)."""


class CostRangeError(AutovidError):
    """A cost range that the space, or what is left of it, cannot meet (exit code 3)."""

    exit_code = 3


class DataError(AutovidError):
    """Missing data, or too many broken videos (exit code 4)."""

    exit_code = 4


class RunError(AutovidError):
    """A run directory in use, made with another configuration, or damaged (exit code 5)."""

    exit_code = 5


class DivergedError(AutovidError):
    """A loss that is not finite; the last checkpoint is good (exit code 6)."""

    exit_code = 6
    everywhere = True  # losses are means over the workers


def printable(text: str) -> str:
    """Text that stays on its line and in its order: what would break either is written as its escape.

    So are bytes of a file name that are no UTF-8 (PEP 383).
    """
    return "".join(c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02x}" if foreign(c) else repr(c)[1:-1] for c in text)


def foreign(text: str) -> bool:
    """Return True for text with bytes of a file name that are no UTF-8."""
    return any("\udc80" <= c <= "\udcff" for c in text)


def not_utf8(name: object) -> DataError:
    """Say that a file or folder is to be renamed."""
    return DataError(
        f"{name}: the name is not UTF-8; rename it, or all in its folder: convmv -r -f CP1252 -t UTF-8 --notest FOLDER"
    )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ "did you mean tsn_resnet50? ", or nothing where no name is close."""
    close = difflib.get_close_matches(name, list(names), 3)
    return f"did you mean {' or '.join(close)}? " if close else ""
