"""Our own weights on a GPU that is at hand for a quarter of an hour. Every minute counts.

    python docs/models/train_on_a_gpu.py pack --data DIR --weights DIR --to KIT
    python docs/models/train_on_a_gpu.py train KIT... --out OUT --minutes 12

``pack``, run beforehand, gathers what has to travel: the photographs of bcrn.srcli-photos.txt as
they are (AVIF), in parts of at most 50 MiB, and the weights of the networks that make the targets
and of those, in a folder ``features``, that perceptual losses look through.

``train`` needs nothing else, and no network connection. It runs the tests of the training step that
are marked gpu, makes the targets, trains each scale of --plan with the preset ``gpu`` for its share
of the time, each from the body of the one before, and copies the newest weights and checkpoint to
OUT every minute. Should training fail, it goes on from its last checkpoint without the CUDA graph,
then without the compiler, then in fp32.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PHOTOS = HERE / "bcrn.srcli-photos.txt"
FEATURES = "features"  # folder of the networks that perceptual losses look through
BUNDLED = ROOT / "srcli" / "weights" / "bundled"
PART_BYTES = 50 << 20
PLAN = "bcrn-x4:0.45 bcrn-x2:0.35 bcrn-x3:0.2"  # recipe and share of the time
CAREFULLY = (  # what to do without, one more after each failure
    [],
    ["--set", "cuda_graph=off"],
    ["--set", "cuda_graph=off", "--set", "compile=off"],
    ["--set", "cuda_graph=off", "--set", "compile=off", "--precision", "fp32"],
)
KEEP_S = 60.0


def pack(
    data: Path, weights: Path, to: Path, photos: Path, recipes: Sequence[str], preset: str
) -> None:
    """Fill TO/photos1, TO/photos2, ... and TO/weights."""
    names = [line.strip() for line in photos.read_text("utf-8").splitlines() if line.strip()]
    part, size = 1, 0
    for name in names:
        source = data / name
        if size and size + source.stat().st_size > PART_BYTES:
            part, size = part + 1, 0
        target = to / f"photos{part}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        size += source.stat().st_size
    kept = _teachers(recipes, preset)
    for source in sorted(weights.rglob("*.pth")):
        # by name wherever it lies; what losses look through is told by its folder
        looks = source.parent.name == FEATURES
        if looks or any(source.name.startswith(f"{name}-x") for name in kept):
            target = to / "weights" / (FEATURES if looks else ".") / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    print(f"{len(names)} photographs in {part} parts under {to}")


def _teachers(recipes: Sequence[str], preset: str) -> set[str]:
    """Full names of the networks that the recipes' targets name."""
    from srcli import catalog
    from srcli.training.config import load
    from srcli.training.teachers import model_name

    configs = [load(recipe, preset=preset) for recipe in recipes]
    return {catalog.resolve(model_name(t), c.scale).name for c in configs for t in c.targets}


def train(args: argparse.Namespace) -> int:
    """Everything, within ``args.minutes``; the number of recipes that came to no result."""
    end = time.monotonic() + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    weights = [kit / "weights" for kit in args.kit if (kit / "weights").is_dir()]
    if weights:
        os.environ["SRCLI_MIRROR"] = str(weights[0].resolve())
    os.environ["SRCLI_OFFLINE"] = "1"
    os.environ.setdefault("SRCLI_CACHE_DIR", str((args.work / "cache").resolve()))
    if not args.no_tests:
        tests = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-m", "gpu", "tests/training"]
        said = _run(tests, args.out / "tests.log", limit_s=min(90.0, 6 * args.minutes))
        print(
            "gpu tests of the training step:", "passed" if said == 0 else f"exit {said}", flush=True
        )
    steps = [item.split(":") for item in args.plan.split()]
    left = sum(float(share) for _, share in steps)
    before: Path | None = None
    failed = 0
    for recipe, share in steps:
        minutes = (end - time.monotonic()) / 60 * float(share) / left
        left -= float(share)
        result = _one(args, recipe, minutes, before)
        failed += result is None
        before = result or before
    return failed


def _one(args: argparse.Namespace, recipe: str, minutes: float, before: Path | None) -> Path | None:
    """One recipe; its weights, if it came to any."""
    run, log = args.work / recipe, args.out / f"{recipe}.log"
    arch, _, scale = recipe.rpartition("-x")
    made = "photo" if args.preset.startswith("photo") else "srcli"
    bundled = BUNDLED / f"{arch}.{made}-x{scale}.safetensors"
    init = before or args.init or (bundled if bundled.is_file() else None)
    end = time.monotonic() + 60 * minutes
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(run, args.out, done), daemon=True)
    keeper.start()
    try:
        for number, without in enumerate(CAREFULLY):
            left = (end - time.monotonic()) / 60
            if number and left < minutes / 4:
                break
            resumed = any(run.glob("checkpoint-*.pt"))
            command = [
                sys.executable, "-m", "srcli", "train", recipe, "--preset", args.preset,
                "--out", str(run), "--device", args.device, "--time-budget", f"{left:.2f}",
                *(x for kit in args.kit for x in ("--data", str(kit))),
                *(x for file in _features(args.kit) for x in ("--features", str(file))),
                *(x for folder in args.validate for x in ("--validate", str(folder))),
                *(x for item in args.set for x in ("--set", item)),
                *(["--resume"] if resumed else ["--init", str(init)] if init else []),
                *without,
            ]  # fmt: skip
            # a minute more than it plans for: packing, targets and compiling are in no plan
            code = _run(command, log, limit_s=60 * left + 60)
            print(f"{recipe} {' '.join(without) or 'as the preset says'}: exit {code}", flush=True)
            if code == 0:
                break
    finally:
        done.set()
        keeper.join()
    found = [run / f"{recipe}{end}" for end in (".safetensors", ".best.safetensors")]
    return next((path for path in found if path.is_file()), None)


def _features(kits: Sequence[Path]) -> list[Path]:
    return sorted(file for kit in kits for file in (kit / "weights" / FEATURES).glob("*.pth"))


def _run(command: Sequence[str], log: Path, limit_s: float) -> int:
    """The command's exit code; 124 if it took too long."""
    with log.open("a", encoding="utf-8") as file:
        print("$", *command, file=file, flush=True)
        child = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT)
        try:
            return child.wait(limit_s)
        except subprocess.TimeoutExpired:
            child.terminate()  # it finishes its step and writes a checkpoint
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
            return 124


def _keep(run: Path, out: Path, done: threading.Event) -> None:
    """Copy the newest weights and the newest checkpoint of a run, every minute and at the end."""
    ended = False
    while not ended:
        ended = done.wait(KEEP_S)
        wanted = [*run.glob("*.safetensors")]
        newest = sorted(run.glob("checkpoint-*.pt"))[-1:]
        for path in wanted:
            _copy(path, out / path.name)
        for path in newest:
            _copy(path, out / f"{run.name}.checkpoint.pt")


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    partial = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as exc:  # the run has just replaced it by a newer one
        print(f"{source} was not copied: {exc}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    packing.add_argument("--weights", type=Path, required=True, help="folder of weights")
    packing.add_argument("--to", type=Path, required=True)
    packing.add_argument("--photos", type=Path, default=PHOTOS, help="list of photographs to take")
    packing.add_argument("--plan", default=PLAN, help="as for train")
    packing.add_argument("--preset", default="gpu")
    training = commands.add_parser("train")
    training.add_argument("kit", type=Path, nargs="+", help="folders that pack has filled")
    training.add_argument("--out", type=Path, required=True, help="what comes back")
    training.add_argument("--minutes", type=float, default=12.0)
    training.add_argument("--plan", default=PLAN, help="RECIPE:SHARE ...")
    training.add_argument("--preset", default="gpu")
    training.add_argument("--init", type=Path, help="weights that the first recipe begins with")
    training.add_argument("--validate", type=Path, action="append", default=[])
    training.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    training.add_argument("--device", default="cuda")
    training.add_argument("--work", type=Path, default=Path("gpu-run"), help="folder to work in")
    training.add_argument("--no-tests", action="store_true")
    args = parser.parse_args()
    if args.command == "pack":
        recipes = [item.partition(":")[0] for item in args.plan.split()]
        pack(args.data, args.weights, args.to, args.photos, recipes, args.preset)
        return 0
    return train(args)


if __name__ == "__main__":
    raise SystemExit(main())
