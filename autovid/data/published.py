"""A data set as a paper has it: for plans of trainings whose data is not there yet."""

import msgspec


class DataSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many classes, and videos to train on and to validate."""

    name: str
    classes: int
    train: int
    val: int

    def __str__(self) -> str:
        return f"{self.name}: {self.classes} classes, {self.train:,} videos, {self.val:,} in val"
