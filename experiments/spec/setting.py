"""A setting: the neck, detector, backbone and schedule of a row."""

import hashlib
import re
from math import isfinite
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from experiments.paths import RUN_ID
from experiments.spec.neck_catalog import known_necks, neck_choices, neck_options, neck_types_of_options
from experiments.spec.yaml_models import StrictModel

SCALE_GIVES = ("in_channels", "out_channels", "num_outs")


class Setting(StrictModel):
    """What is trained, independent of the scale: neck with its options, detector, backbone, schedule.

    Attributes
    ----------
    neck : dict or list of dict
        Registered name as `type`, and options; a list is a chain, each neck reading the levels of the one before it.
    load_from : Setting, str or None
        Whose trained backbone it begins with: a setting, trained at the same scale with the same seed, or the id of a
        finished run of any scale. In a study, the name of another of its settings, or an id.
    """

    neck: dict[str, Any] | list[dict[str, Any]]
    detector: str
    backbone: str
    schedule: str
    load_from: "Setting | str | None" = Field(None, union_mode="left_to_right")

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """So that settings without `load_from` look as they did before there was one."""
        content: dict[str, Any] = serialise(self)
        return {key: value for key, value in content.items() if key != "load_from" or value is not None}

    @field_validator("load_from", mode="after")
    @classmethod
    def _is_an_id(cls, load_from: "Setting | str | None") -> "Setting | str | None":
        if isinstance(load_from, str) and not re.fullmatch(RUN_ID, load_from):
            raise ValueError(f"{load_from!r} is no run; allowed: a setting of the study, or a run's id, 12 hexadecimal digits")
        return load_from

    @field_validator("neck", mode="before")
    @classmethod
    def _necks_exist(cls, neck: Any) -> dict[str, Any] | list[dict[str, Any]]:
        links = neck_links(neck)
        if not links or not all(isinstance(link, dict) for link in links):
            raise ValueError("expected a neck, {type: ...}, or a list of necks")
        for link in links:
            _check_neck(link)
        return links[0] if len(links) == 1 else links

    @property
    def key(self) -> str:
        """Hash of the setting, 12 hexadecimal digits; the key of its costs, which do not depend on weights."""
        return hashlib.sha256(self.model_dump_json(exclude={"load_from"}).encode()).hexdigest()[:12]

    @property
    def neck_types(self) -> list[str]:
        """Registered names of the neck, or of the necks of the chain."""
        return neck_types(self.neck)


def neck_types(neck: dict[str, Any] | list[dict[str, Any]]) -> list[str]:
    """Registered names of a neck, or of the necks of a chain.

    Parameters
    ----------
    neck : dict or list of dict
        The neck of a `Setting`.
    """
    return [link["type"] for link in neck_links(neck)]


def neck_links(neck: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The necks of a chain; a neck alone is a chain of one.

    Parameters
    ----------
    neck : dict or list of dict
        The neck of a `Setting`.
    """
    return neck if isinstance(neck, list) else [neck]


def _check_neck(neck: dict[str, Any]) -> None:
    if "type" not in neck:
        raise ValueError("the key 'type' is missing")
    name, necks = neck["type"], known_necks()
    if name not in necks:
        raise ValueError(f"unknown neck {name!r}; allowed: {', '.join(necks)}")
    options = neck_options(name)
    if options is None:
        return
    for option in neck.keys() - {"type"}:
        allowed = [allowed for allowed in options if allowed not in SCALE_GIVES]
        if option not in allowed:
            raise ValueError(f"neck {name} has no option {option!r}; allowed: {', '.join(allowed)}")
        _check_value(name, option, neck[option])


# Types of options that YAML can get wrong, and the words for them.
CHECKED_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number; YAML takes 5e-1 for text, and 0.5 or 5.0e-1 for a number"),
    "str": ((str,), "text"),
}


def _check_value(neck: str, option: str, value: Any) -> None:
    """Refuse a value that the neck's own source text refuses; what depends on more, the neck refuses when it is built."""
    place, choices = f"neck {neck}: {option} is {value!r}", neck_choices(neck).get(option)
    if choices and value not in choices:
        raise ValueError(f"{place}; allowed: {', '.join(map(str, choices))}")
    annotation, _, optional = neck_types_of_options(neck).get(option, "").partition(" | None")
    if annotation not in CHECKED_TYPES or optional or value is None:
        return
    types, words = CHECKED_TYPES[annotation]
    is_right = isinstance(value, types) and (isinstance(value, bool) == (annotation == "bool"))
    if not is_right or (isinstance(value, float) and not isfinite(value)):
        raise ValueError(f"{place}; allowed: {words}")
