"""Recipes: TOML in ``recipes/``, a preset on top, ``--set key=value`` on top of that.

A recipe names an architecture and a scale and lists stages; each stage starts from the (averaged)
weights of the stage before. Keys of a stage set without a number hold for all stages:
``--set batch=32``; with one, for that stage: ``--set 2.batch=32``. ``2.steps=0`` drops stage 2.
``--set config.n_feats=32`` changes one key of a table.
Every network of the catalogue has a recipe, by the name of its result (``drrn_b1u9-x3``): where
none is written for it, a general one.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from srcli.catalog.features import features
from srcli.catalog.load import default_catalogue
from srcli.errors import UsageError
from srcli.training.schedule import Schedule

RECIPES = Path(__file__).with_name("recipes")
GENERAL = RECIPES / "_general.toml"

LOSSES = (
    "l1",  # mean |sr - hr|
    "l2",  # mean (sr - hr)^2
    "charbonnier",  # mean sqrt((sr - hr)^2 + 1e-6): L1 that is smooth at zero
    "fft",  # mean |FFT(sr) - FFT(hr)| over real and imaginary parts, orthonormal
    "tv",  # total variation of sr: mean absolute difference of neighbours
    "contrastive",  # RLFN: nearer to hr than to the bicubic picture, in random features
    "ms_ssim",  # 1 - MS-SSIM, at as many scales as a crop has room for
    "focal_frequency",  # squared differences of the spectra, the largest counting most
    "checkerboard",  # patterns that repeat with every LR pixel and that hr has not
    "ldl",  # differences to hr that are unsteady, where the averaged network has smaller ones
    "lpips",  # LPIPS on AlexNet
    "lpips_vgg",  # LPIPS on VGG-16
    "dists",  # DISTS, on VGG-16
    "adversarial",  # being told from hr by the discriminator
    "distill",  # mean |sr - the teacher's sr|
    "distill_feature",  # attention transfer: where the last features are strong
    "imitation",  # of LR, by what a teacher is given that sees hr: see privileged
    "variational",  # minus log likelihood of that teacher's features: see privileged
)
NEED_TEACHER = {"distill", "distill_feature"}
PERCEPTUAL = {"lpips", "lpips_vgg", "dists"}
DISTANCES = ("l1", "l2")  # of features

Auto = Literal["auto", "on", "off"]
Discriminator = Literal["none", "unet", "patch", "vgg", "swift"]
Rivalry = Literal["vanilla", "least_squares", "hinge", "relativistic", "probability"]


@dataclass(frozen=True)
class Stage:
    """One run from a start to the end of a schedule.

    Attributes:
        steps: how many; 0 leaves the stage out.
        batch: crops per step, over all processes.
        patch: side of a crop, LR pixels.
        learning_rate: peak, of AdamW.
        muon_rate: peak of Muon, which then trains the matrices: see ``muon``; 0: AdamW trains all.
        schedule: cosine, halving, constant or hold; see ``schedule.learning_rate``.
        warmup: steps of linear rise.
        final: learning rate at the end of the cosine, or of the fall.
        halve_every: steps, for ``halving``.
        fall: share of the steps, for ``hold``.
        loss: names and weights; see ``losses``.
        discriminator_rate: the discriminator's peak of the learning rate; 0: as ``learning_rate``.
    """

    steps: int
    batch: int = 16
    patch: int = 48
    learning_rate: float = 5e-4
    muon_rate: float = 0.0
    schedule: Schedule = "cosine"
    warmup: int = 0
    final: float = 0.0
    halve_every: int = 0
    fall: float = 0.2
    loss: Mapping[str, float] = field(default_factory=lambda: {"l1": 1.0})
    discriminator_rate: float = 0.0

    @property
    def adversarial(self) -> bool:
        """Whether the discriminator takes part."""
        return bool(self.loss.get("adversarial"))

    @property
    def teacher(self) -> bool:
        """Whether the network is given what an encoder makes of HR: see ``privileged``."""
        return bool(self.loss.get("imitation"))

    @property
    def student(self) -> bool:
        """Whether the network learns from one that was given that."""
        return bool(self.loss.get("variational"))


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights of a run, and how it is computed.

    Attributes:
        recipe: its name.
        arch: architecture of the catalogue.
        scale: factor.
        stages: at least one.
        config: the network's own keyword arguments; the catalogue's hold unless given.
        seed: of the start and of the crops.
        ema: decay of the exponential moving average of the weights per step.
        clip: largest norm of the gradient.
        beta1, beta2, eps, weight_decay: of AdamW.
        start: ``carry``: gates open, the picture carried to the output, see ``initialise``;
            ``plain``: PyTorch's own.
        merged: train a network that has an expanded form (ECBSR, SESR, PlainUSR, ...) in its
            merged one: a step costs a fraction, and Muon does what the expansion is for.
        quantise: train for eight bits, in the merged form: convolutions round their inputs and
            weights as they will then, and the ranges of their inputs are stored with the weights.
        squash: what follows the last layer, which must make up for it: nothing, or (tanh + 1) / 2.
        quiet: layers that begin at a tenth, those at the end of deep paths; * stands for anything.
        precision: of the products: bf16 or fp16 with fp32 weights (fp16 with a scaled loss), or
            fp32; auto: bf16 where it is fast.
        channels_last: memory layout.
        compile: torch.compile; auto: on CUDA.
        compile_mode: torch.compile's mode.
        depthwise: in a compiled network: shifted products that fuse, or the library's convolution.
        cuda_graph: replay the whole step as one graph; auto: on CUDA with one process.
        resident: photos on the device; auto: if they fit.
        teacher: file of weights, or model of the catalogue, for the distillation losses.
        privileged_layer: the layer whose features the loss ``variational`` is of.
        targets: files of weights or models of the catalogue (``realesr_general denoise=0.5``): what
            the network shall give is the mean of their pictures, made once, instead of the photo.
            See ``targets``.
        target_ensemble: 8: each of their pictures is the mean over the eight flips and turns.
        hr_share: how much of the photo is in what the network shall give besides, 0..1.
        crops: ``even``: every place of a photo alike; ``detail``: rather where there is detail.
        degrade: what makes LR crops of HR crops: a name or a table, see ``degradations``.
        pool: damaged crops that are made ahead; 0: each step's are damaged when their turn comes.
            See ``pool``.
        pool_patch: side of a crop of the pool, LR pixels.
        discriminator: the second network of adversarial stages; see ``adversary``.
        discriminator_config: its own keyword arguments.
        rivalry: form of the two networks' losses: ``vanilla`` (cross entropy), ``least_squares``,
            ``hinge``, ``relativistic`` (average, as ESRGAN), ``probability`` (as SwiftSRGAN).
        validate_every, log_every: steps.
        checkpoint_every: steps; 0: by time alone.
        checkpoint_minutes: minutes between two checkpoints.
        half: store the result in half precision.
        samples: write strips (LR, bicubic, now, HR) at each validation.
    """

    recipe: str
    arch: str
    scale: int
    stages: tuple[Stage, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    ema: float = 0.999
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    start: Literal["carry", "plain"] = "carry"
    merged: bool = False
    quantise: bool = False
    squash: Literal["none", "tanh"] = "none"
    quiet: tuple[str, ...] = ()
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    channels_last: bool = True
    compile: Auto = "auto"
    compile_mode: Literal[
        "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
    ] = "default"
    cuda_graph: Auto = "auto"
    depthwise: Literal["shifts", "library"] = "shifts"
    resident: Auto = "auto"
    teacher: str = ""
    privileged_layer: str = ""
    targets: tuple[str, ...] = ()
    target_ensemble: Literal[1, 8] = 1
    hr_share: float = 0.0
    crops: Literal["even", "detail"] = "even"
    degrade: str | Mapping[str, Any] = "bicubic"
    pool: int = 0
    pool_patch: int = 64
    discriminator: Discriminator = "none"
    discriminator_config: Mapping[str, Any] = field(default_factory=dict)
    rivalry: Rivalry = "vanilla"
    validate_every: int = 1000
    log_every: int = 50
    checkpoint_every: int = 0
    checkpoint_minutes: float = 5.0
    half: bool = False
    samples: bool = False

    @property
    def name(self) -> str:
        """Stem of the result's file."""
        return f"{self.arch}-x{self.scale}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        raw = json.loads(text)
        stages = tuple(Stage(**s) for s in raw.pop("stages"))
        for key in ("quiet", "targets"):
            raw[key] = tuple(raw.get(key, ()))
        return cls(stages=stages, **raw)


def is_layer(loss: str) -> bool:
    """True of ``vgg19.conv5_4`` and ``vgg19.conv5_4.l2``: features of a network's layer."""
    network, dot, rest = loss.partition(".")
    feature = features().get(network)
    layer, _, distance = rest.partition(".")
    known = feature is not None and feature.network is not None
    return bool(dot and layer and known and (not distance or distance in DISTANCES))


_STAGE = {f.name: f for f in fields(Stage)}
_CONFIG = {f.name: f for f in fields(Config) if f.name not in ("recipe", "stages")}


def recipes() -> list[str]:
    """Names of the recipes in the package, without what the general one stands in for."""
    return sorted(p.stem for p in RECIPES.glob("[!_]*.toml"))


def load(name: str, *, preset: str | None = None, sets: Sequence[str] = ()) -> Config:
    """A recipe of the package, or a .toml file, with a preset and settings applied.

    Raises:
        UsageError: no such recipe, preset or key, or a value that does not fit; names near ones.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    target: dict[str, Any] = {}
    source = path
    if not path.is_file():
        target = _target(name)
        if not target:
            raise UsageError(f"There is no recipe {name!r}.", _near(name, recipes()))
        source = GENERAL
    try:
        raw = target | tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise UsageError(f"The recipe {path} cannot be read: {exc}.") from exc
    presets = raw.pop("preset", {})
    if preset is not None:
        if preset not in presets:
            raise UsageError(f"{path.stem} has no preset {preset!r}.", _near(preset, presets))
        raw.update(presets[preset])
    stages = [dict(s) for s in raw.pop("stage", [])]
    for item in sets:
        _apply(raw, stages, item)
    for where, table, known in [("", raw, _CONFIG), *(("stage ", s, _STAGE) for s in stages)]:
        for key, value in table.items():
            if key not in known:
                raise UsageError(f"{path.name}: unknown {where}key {key!r}.", _near(key, known))
            table[key] = _typed(key, value, str(known[key].type))
    if stages and all(s.get("steps") == 0 for s in stages):
        raise UsageError(f"No stage of {path.stem} has any steps.", "Set steps above 0.")
    stages = [s for s in stages if s.get("steps") != 0]
    missing = [k for k in ("arch", "scale") if k not in raw]
    if missing or not stages or not all("steps" in s for s in stages):
        raise UsageError(f"{path.name} lacks {' and '.join(missing) or 'a stage with steps'}.")
    config = Config(recipe=path.stem, stages=tuple(Stage(**s) for s in stages), **raw)
    _check(config)
    return config


def _target(name: str) -> dict[str, Any]:
    """Architecture and scale of a name like ``drrn_b1u9-x3``; nothing if there is no such model."""
    arch, _, scale = name.rpartition("-x")
    models = default_catalogue().of_architecture(arch)
    known = {s for model in models for s in model.scales}
    if not scale.isdecimal() or int(scale) not in known:
        return {}
    return {"arch": arch, "scale": int(scale)}


def _apply(raw: dict[str, Any], stages: list[dict[str, Any]], item: str) -> None:
    """One ``key=value``."""
    key, equals, text = item.partition("=")
    key = key.strip()
    if not equals:
        raise UsageError(f"--set takes key=value, not {item!r}.")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word
    number, dot, inner = key.partition(".")
    if dot and number.isdigit():
        if not 1 <= int(number) <= len(stages):
            raise UsageError(f"--set {key}: the recipe has {len(stages)} stages.")
        if not _put(stages[int(number) - 1], inner, value, _STAGE):
            raise UsageError(f"--set: a stage has no key {inner!r}.", _near(inner, _STAGE))
    elif not any(
        [_put(stage, key, value, _STAGE) for stage in stages] + [_put(raw, key, value, _CONFIG)]
    ):
        raise UsageError(f"--set: there is no key {key!r}.", _near(key, [*_STAGE, *_CONFIG]))


def _put(table: dict[str, Any], key: str, value: Any, known: Mapping[str, Field[Any]]) -> bool:
    """Set a key, or ``table.key`` of one that holds a table; False if there is none such."""
    outer, dot, inner = key.partition(".")
    if outer not in known or (dot and not str(known[outer].type).startswith("Mapping")):
        return False
    table[outer] = {**table.get(outer, {}), inner: value} if dot else value
    return True


def _typed(key: str, value: Any, kind: str) -> Any:
    """The value as the field's type, or a UsageError that says what is wanted."""
    if kind == "float" and type(value) is int:
        value = float(value)
    if kind in ("int", "float", "bool", "str"):
        if type(value).__name__ != kind:
            raise UsageError(f"{key} must be of type {kind}, not {value!r}.")
    elif kind.startswith("str |"):
        if not isinstance(value, str | dict):
            raise UsageError(f"{key} must be a name or a table, not {value!r}.")
    elif kind.startswith("tuple"):
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise UsageError(f"{key} must be a list of names, not {value!r}.")
        value = tuple(value)
    elif kind.startswith("Mapping"):
        if not isinstance(value, dict):
            raise UsageError(f"{key} must be a table such as {{ l1 = 1.0 }}, not {value!r}.")
        if key == "loss":
            value = dict(_flat(value))
    else:
        named = {"Auto": Auto, "Schedule": Schedule, "Discriminator": Discriminator}
        choices = get_args((named | {"Rivalry": Rivalry}).get(kind))
        choices = choices or tuple(part.strip("\"' ,") for part in kind[8:-1].split(","))
        if isinstance(value, bool):
            value = "on" if value else "off"
        if str(value) not in choices:
            raise UsageError(f"{key} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """``{ vgg19 = { conv5_4 = 1 } }``, as TOML reads ``vgg19.conv5_4 = 1`` -> its dotted name."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _check(config: Config) -> None:
    positive = ["clip", "eps", "validate_every", "log_every", "checkpoint_minutes", "scale"]
    for owner, keys in [(config, positive)] + [
        (s, ["steps", "batch", "patch", "learning_rate"]) for s in config.stages
    ]:
        for key in keys:
            if not getattr(owner, key) > 0:
                raise UsageError(f"{key} must be above 0, not {getattr(owner, key)}.")
    if config.pool < 0 or config.pool_patch < 1:
        raise UsageError("pool must not be below 0, and pool_patch not below 1.")
    for key in ("ema", "beta1", "beta2"):
        if not 0 <= getattr(config, key) < 1:
            raise UsageError(f"{key} must lie in 0..1, 1 excluded, not {getattr(config, key)}.")
    if not 0 <= config.hr_share <= 1:
        raise UsageError(f"hr_share must lie in 0..1, not {config.hr_share}.")
    for k, stage in enumerate(config.stages):
        if stage.muon_rate < 0:
            raise UsageError(f"muon_rate must not be negative, as {stage.muon_rate} is.")
        if not 0 < stage.fall <= 1:
            raise UsageError(f"fall must lie in 0..1, 0 excluded, not {stage.fall}.")
        if stage.schedule == "halving" and stage.halve_every < 1:
            raise UsageError("schedule = halving needs halve_every, in steps.")
        for name, weight in stage.loss.items():
            if name not in LOSSES and not is_layer(name):
                known = [n for n, feature in features().items() if feature.network]
                raise UsageError(
                    f"There is no loss {name!r}.",
                    f"{_near(name, LOSSES)} Or a layer of {_all(known)}: vgg16.conv5_3, or "
                    "vgg16.conv5_3.l2 for squared differences.",
                )
            if not isinstance(weight, (int, float)) or isinstance(weight, bool):
                raise UsageError(f"loss: the weight of {name} must be a number, not {weight!r}.")
            if name in NEED_TEACHER and weight and not config.teacher:
                raise UsageError(f"The loss {name} needs a teacher.", "--set teacher=bcrn.authors")
        if stage.teacher and stage.student:
            raise UsageError("imitation and variational are losses of two stages, not of one.")
        if stage.student and not any(s.teacher for s in config.stages[:k]):
            raise UsageError(
                "The loss variational needs a stage with the loss imitation before it.",
                "srcli/training/recipes/fsrcnn_pi-x2.toml is an example.",
            )
        if stage.student and not config.privileged_layer:
            raise UsageError(
                "The loss variational needs privileged_layer, the layer that is compared.",
                "--set privileged_layer=expanding",
            )
        if stage.discriminator_rate < 0:
            raise UsageError("discriminator_rate must not be negative.")
        if stage.adversarial and config.discriminator == "none":
            raise UsageError(
                "The loss adversarial needs a discriminator.", "--set discriminator=unet"
            )
        if not any(stage.loss.values()):
            raise UsageError("A stage has no loss.", f"loss = {{ NAME = weight }}: {_all(LOSSES)}.")


def adversarial_side(config: Config) -> int:
    """Side of the pictures that the discriminator sees, HR pixels; 0 if there is none.

    Raises:
        UsageError: stages differ, and the discriminator is for one size.
    """
    sides = {s.patch * config.scale for s in config.stages if s.adversarial}
    if len(sides) > 1 and config.discriminator == "vgg":
        raise UsageError("The discriminator vgg is for one size: give these stages one patch.")
    return max(sides, default=0)


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), 3, 0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {_all(known)}."


def _all(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
