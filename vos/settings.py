"""Typed settings, and the presets that fill them.

A preset is a YAML file in `configs/`; `--set a.b=c` and `overrides` change single settings. An unknown key is an error
that lists the valid ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from vos.errors import SettingsError
from vos.installed import known_trackers, tracker_class, tracker_parts
from vos.paths import expanded
from vos.tracking import Options

DEFAULT_PRESET = "best"
# Changes to single settings, as `load_settings` takes them.
Changes = Mapping[str, Any] | Iterable[str | tuple[str, Any]]

Model = Literal["mobile_sam", "sam_vit_b", "sam_vit_l", "sam_vit_h"]
FeatureSource = Literal[
    "sam",
    "dinov2_vits14",
    "dinov2_vitb14",
    "dinov2_vitl14",
    "dinov2_vits14_reg",
    "dinov2_vitb14_reg",
    "dinov2_vitl14_reg",
]


class First(str, Enum):
    """What the first step of the cascade hands on."""

    LARGEST = "largest"
    LARGEST_MOD_256 = "largest-mod-256"
    FITTED = "fitted"
    BEST = "best"
    EVIDENCE = "evidence"


class DecoderSettings(Options):
    """The cascade of decoding steps."""

    cascade: int = Field(
        3,
        ge=1,
        le=14,
        description="steps: 1 prompts; 2 and the mask of step 1; 3 and the box of step 2; more repeat 3 on what came "
        "of it, until the mask stays the same",
    )
    first: First = Field(
        First.LARGEST,
        description="mask that step 1 hands on: largest of the three; fitted: their mix learnt on the reference "
        "(PerSAM-F); largest-mod-256: areas compared modulo 256 as in the reference program; best: highest predicted "
        "IoU; evidence: no cascade, but of several hypotheses what agrees best with the tracker's evidence "
        "(the tracker memory gives some; without any the same as best)",
    )
    second_box: bool = Field(False, description="step 2 also gets the box of step 1's mask")
    positives_first: bool = Field(
        False, description="step 1 gets the positive points alone: no negative ones, and no box beside them"
    )
    correct: bool = Field(
        False,
        description="add to the answer what it lacked on the object's references, learnt place by place; only with "
        "first=evidence and a tracker that gives evidence",
    )


class FitSettings(Options):
    """Fitting the scale weights (PerSAM-F); only with decoder.first=fitted."""

    steps: int = Field(800, ge=1, le=100_000, description="optimiser steps")
    learning_rate: float = Field(4e-4, gt=0, description="AdamW's, cosine-annealed to 0")


class ObjectSettings(Options):
    """What an object's state is called."""

    uncertain_below: float = Field(0.5, ge=0, le=1, description="score under which a mask is called uncertain")


class TrackerSettings(BaseModel):
    """Which tracker, or several joined with +, and the options of each by its own name: tracker.matching.points."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("matching", description="how objects are found in the next frame; + joins several: matching+klt")

    @model_validator(mode="before")
    @classmethod
    def _read_options(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        read = dict(data)
        if isinstance(read.get("name", ""), str):
            tracker_parts(read.get("name", "matching"))
        for key in read:
            if key == "name":
                continue
            if key not in known_trackers():
                raise SettingsError(
                    f"unknown setting 'tracker.{key}'; valid in tracker: {_listed(['name', *known_trackers()])}"
                )
            given, options = {} if read[key] is None else read[key], tracker_class(key).Settings
            _check_known(options, given, f"tracker.{key}")
            read[key] = _validated(options, given, f"tracker.{key}")
        return read

    def __eq__(self, other: object) -> bool:
        """By what would run: options may be left out, or spelled out with their defaults."""
        return isinstance(other, TrackerSettings) and (self.name, self.parts) == (other.name, other.parts)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def parts(self) -> dict[str, BaseModel]:
        """The options of each tracker that the name joins, by its own name and in that order."""
        extra = self.model_extra or {}
        return {
            part: extra.get(part) or _validated(tracker_class(part).Settings, {}, f"tracker.{part}")
            for part in tracker_parts(self.name)
        }


class Settings(Options):
    """Everything that decides what a run gives."""

    model: Model = Field("mobile_sam", description="the segmenter")
    features: FeatureSource = Field(
        "sam", description="where the location prior comes from: the segmenter's own features or DINOv2's"
    )
    weights: Path | None = Field(None, description="the segmenter's checkpoint on disk, instead of the cache")
    features_weights: Path | None = Field(None, description="DINOv2's checkpoint on disk, instead of the cache")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    half_embeddings: bool = Field(
        False, description="round embeddings to half precision, as a cached embedding would be"
    )
    channels_last: bool = Field(
        True,
        description="faster memory layout of the encoder, norms folded into convolutions, and float32 through oneDNN; "
        "off: sums in the reference program's order",
    )
    pad: bool = Field(
        True,
        description="encode a padded square, as SAM does; off: only the frame's own rectangle, which is faster (a 16:9 "
        "frame is 44 % padding) and moves the features a little",
    )
    input_size: int = Field(
        1024,
        ge=256,
        le=2048,
        multiple_of=16,
        description="pixels of the frame's longer side in the encoder; SAM was trained at 1024, and with more than "
        "that small and thin objects are found better",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32",
        description="of the models; bfloat16 is faster on GPUs and on CPUs that have it (avx512_bf16, amx_bf16), and "
        "slower on others; auto takes it where it is there; float16 is for GPUs",
    )
    compile: bool = Field(
        False, description="compile the encoder on the first frame of each size: minutes once, for long videos"
    )
    stages: bool = Field(
        False,
        description="keep what the earlier stages of mobile_sam's encoder see, for trackers that look at it (memory)",
    )
    keyframe_every: int = Field(
        1,
        ge=1,
        le=100,
        description="look at every k-th frame, and where a reference is given or a shot begins; to the frames between, "
        "optical flow carries the masks, which is faster and less exact",
    )
    cache_embeddings: Path | None = Field(
        None, description="folder that keeps the segmenter's embeddings, rounded to half precision, for repeated runs"
    )
    cache_limit_gb: float = Field(
        20.0, gt=0, le=1e6, description="size of that folder past which the oldest embeddings go"
    )
    decoder: DecoderSettings = DecoderSettings()
    fit: FitSettings = FitSettings()
    objects: ObjectSettings = ObjectSettings()
    tracker: TrackerSettings = Field(default_factory=TrackerSettings)  # made when needed: it loads a tracker

    @field_validator("weights", "features_weights", "cache_embeddings")
    @classmethod
    def _at_home(cls, path: Path | None) -> Path | None:
        if path is not None and "\0" in str(path):
            raise ValueError("a path has no NUL in it")
        return None if path is None else expanded(path)

    @field_serializer("tracker")
    def _with_options(self, tracker: TrackerSettings) -> dict[str, Any]:
        parts = {name: options.model_dump(mode="json") for name, options in tracker.parts.items()}
        return {"name": tracker.name, **parts}


def preset_names() -> tuple[str, ...]:
    """Presets that ship with the package, sorted."""
    return tuple(
        sorted(p.name.removesuffix(".yaml") for p in files("vos.configs").iterdir() if p.name.endswith(".yaml"))
    )


def preset_description(name: str) -> str:
    """One line on what a preset is."""
    return str(_read_preset(name).get("description", ""))


def load_settings(preset: str | Path = DEFAULT_PRESET, overrides: Changes = ()) -> Settings:
    """Settings of a preset with single settings changed.

    Args:
        preset: a name from `preset_names()`, or the path of a YAML file.
        overrides: {"decoder.cascade": 2}, or a list of "decoder.cascade=2" and ("decoder.cascade", 2); later ones win.

    Raises:
        SettingsError: unknown preset, unknown setting, or a value that does not fit.
    """
    if not isinstance(preset, (str, Path)):
        raise SettingsError(f"a preset is a name or the path of a YAML file, found {type(preset).__name__}")
    tree = {key: value for key, value in _read_preset(str(preset)).items() if key != "description"}
    for key, value in _pairs(overrides):
        if not isinstance(key, str):
            raise SettingsError(f"a setting's name is text such as decoder.cascade, found {key!r}")
        _put(tree, key, value)
    return _validated(Settings, tree, "")


def _pairs(overrides: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(overrides, Mapping):
        yield from overrides.items()
        return
    if isinstance(overrides, str):
        overrides = [overrides]
    if not isinstance(overrides, Iterable):
        raise SettingsError(f"overrides are a dict or a list of KEY=VALUE, found {type(overrides).__name__}")
    for change in overrides:
        if isinstance(change, str):
            yield _split(change)
        elif isinstance(change, tuple | list) and len(change) == 2:
            yield change[0], change[1]
        else:
            raise SettingsError(f"an override is KEY=VALUE or a pair of both, found {change!r}")


def describe_settings() -> Iterator[tuple[str, str, str, str]]:
    """Every setting as (key, type or choices, default, meaning), options of trackers that can be loaded included."""
    yield from _describe(Settings, "")
    for name in known_trackers():
        try:
            options = tracker_class(name).Settings
        except SettingsError:
            continue
        yield from _describe(options, f"tracker.{name}.")


def _describe(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for key, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _describe(kind, f"{prefix}{key}.")
            continue
        default = "(required)" if field.is_required() else field.get_default(call_default_factory=True)
        default = default.value if isinstance(default, Enum) else default
        yield (
            f"{prefix}{key}",
            _kind(kind),
            str(default).lower() if default in (None, True, False) else str(default),
            (field.description or ""),
        )


def _kind(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(str(choice.value) for choice in kind)
    if isinstance(kind, type):
        return {"Path": "path", "str": "text"}.get(kind.__name__, kind.__name__)
    if get_origin(kind) not in (Literal, Union, UnionType):
        return str(kind)
    return " | ".join(
        _kind(arg)
        if isinstance(arg, type) and arg is not type(None)
        else str(arg).replace("<class 'NoneType'>", "none")
        for arg in get_args(kind)
    )


def _read_preset(name: str) -> dict[str, Any]:
    if name in preset_names():
        text, where = files("vos.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"preset {name}"
    elif name.endswith((".yaml", ".yml")) and expanded(name).is_file():
        try:
            text, where = expanded(name).read_text(encoding="utf-8"), name
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise SettingsError(f"{name}: cannot be read: {reason}") from error
    elif name.endswith((".yaml", ".yml")):
        raise SettingsError(f"preset {name}: no such file; presets: {', '.join(preset_names())}")
    else:
        raise SettingsError(
            f"unknown preset '{name}'; presets: {', '.join(preset_names())}, or the path of a YAML file"
        )
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        reason = "too many levels" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SettingsError(f"{where}: not valid YAML ({reason})") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{where}: expected settings as 'key: value' lines, found {type(tree).__name__}")
    return tree


def _split(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"setting '{text}': expected KEY=VALUE, for example decoder.cascade=2")
    if value.strip().lower() == "none":
        return key.strip(), None
    try:
        return key.strip(), yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError):
        return key.strip(), value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        below = tree.get(part, {})
        if not isinstance(below, dict):
            raise SettingsError(f"unknown setting '{key}'; '{part}' is a single value, not a section")
        # A section may be the caller's own, or another section's as well (YAML's aliases).
        tree[part] = dict(below)
        tree = tree[part]
    tree[last] = value


def _validated(model: type[BaseModel], tree: Any, prefix: str) -> Any:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(_explain(model, error, prefix)) from error


def _check_known(options: type[BaseModel], given: Any, prefix: str) -> None:
    """SettingsError for a setting that a tracker does not have, which pydantic passes over unless it is told not to."""
    if not isinstance(given, Mapping) or options.model_config.get("extra") == "allow":
        return
    fields = options.model_fields.items()
    known = [name for key, field in fields for name in (key, field.alias, field.validation_alias)]
    for name in given:
        if name not in known:
            raise SettingsError(
                f"unknown setting '{prefix}.{name}'; valid in {prefix}: {_listed(options.model_fields)}"
            )


def _explain(model: type[BaseModel], error: ValidationError, prefix: str) -> str:
    """The first problem as one line."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(filter(None, [prefix, *path]))
    if first["type"] == "extra_forbidden":
        section, fields = ".".join(filter(None, [prefix, *path[:-1]])), model
        for part in path[:-1]:
            fields = fields.model_fields[part].annotation  # type: ignore[assignment]
        inside = f" in {section}" if section else ""
        return f"unknown setting '{key}'; valid{inside}: {_listed(fields.model_fields)}"
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"'{key}' is a section of settings, not one value; set one of its own, as in {key}.NAME=VALUE"
    if first["type"] == "path_type":
        return f"setting '{key}': expected a path; found {first['input']!r}"
    value = first["input"]
    shown = "none" if value is None else repr(value) if isinstance(value, str) else str(value)
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"setting '{key}': {message}; found {shown[:80]}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
