"""The layouts that data sets are distributed in, one file each: what their own lists say, as rows."""

from autovid.data.layouts import (
    cifar100,
    classes,
    hmdb51,
    ibm,
    imagenet,
    kinetics200,
    kinetics400,
    moments,
    something_v1,
    something_v2,
    table,
    ucf101,
)
from autovid.data.layouts.layout import Layout, Reader, Row

LAYOUTS: dict[str, Reader] = {
    "kinetics400": kinetics400.read,
    "kinetics200": kinetics200.read,
    "ssv1": something_v1.read,
    "ssv2": something_v2.read,
    "moments": moments.read,
    "ucf101": ucf101.read,
    "hmdb51": hmdb51.read,
    "ibm": ibm.read,
    "cifar100": cifar100.read,
    "imagenet": imagenet.read,
    "folders": classes.read,
    "csv": table.read,
}

__all__ = ["LAYOUTS", "Layout", "Row"]
