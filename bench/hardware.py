"""One line that names the machine a figure was measured on, for the scripts beside this one."""

from autovid.measure import hardware

__all__ = ["hardware"]
