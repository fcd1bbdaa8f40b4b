"""Backbones that come from the papers of the necks, registered with mmengine so that mmdet and mmseg both find them."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
