"""``srcli doctor``: what srcli finds on this machine. It is what a bug report asks for."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from srcli import __version__, catalog, threads
from srcli.cli.options import JsonObjectFlag
from srcli.cli.probes import PROBES
from srcli.errors import SrcliError
from srcli.weights import WeightsOptions, tuned
from srcli.weights.cache import at_hand, why_not_writable

Facts = dict[str, Any]

EXAMPLES = """
srcli doctor                  what there is, and what does not work
srcli doctor > doctor.txt     to go with a report of a bug
srcli doctor --json           the same for a script
"""
PROBE_S = 300  # a cold disk and a busy machine together take a minute
NEEDED = ("torch", "numpy", "pillow")
EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}  # library, and the extra that brings it
# of the processor's flags, those that these libraries have kernels for
INSTRUCTIONS = (
    *("sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "i8mm"),
)
VARIABLES = (
    *("SRCLI_CACHE_DIR", "SRCLI_DATA_DIR", "SRCLI_MIRROR", "SRCLI_OFFLINE", "SRCLI_TMP_DIR"),
    *("IMAGEIO_FFMPEG_EXE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
)


def doctor(
    as_json: JsonObjectFlag = False,
) -> None:
    """Show what srcli finds on this machine: processor, graphics cards, libraries, weights."""
    found = examine(os.environ)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        print(line)


def examine(environment: Mapping[str, str]) -> Facts:
    """All facts; what does not work is an ``error`` where it stands, and in ``problems``."""
    asked = {name: _ask(name, environment) for name in PROBES}
    cache, ffmpeg = _guarded(_cache), _guarded(_ffmpeg)
    weights = _guarded(_weights)
    answers = {name: _answer(process) for name, process in asked.items()}
    for name, extra in EXTRAS.items():
        if tuned.version(name) is None:
            answers[name] = {"missing": f'pip install "srcli[{extra}]"'}
    found = {
        "srcli": {"version": __version__, "folder": _short(Path(__file__).parents[1])},
        "python": {"version": platform.python_version(), "program": _short(Path(sys.executable))},
        "system": platform.platform(),
        "processor": {
            "name": tuned.processor(),
            "cores": tuned.cores(),
            "instructions": _instructions(),
        },
        "memory": _guarded(_memory),
        "waiting": _waiting(environment),
        **answers,
        "ffmpeg": ffmpeg,
        "cache": cache,
        "weights": weights,
        "environment": {n: _harmless(environment[n]) for n in VARIABLES if environment.get(n)},
    }
    found["problems"] = list(_problems(found))
    return found


# ------------------------------------------------------------------------------------ libraries


def _ask(name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """All are asked at once, each in a process that it may break."""
    return subprocess.Popen(
        [sys.executable, "-m", "srcli.cli.probes", name],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _answer(process: subprocess.Popen[bytes]) -> Facts:
    try:
        out, err = process.communicate(timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"no answer within {PROBE_S} s"}
    if process.returncode < 0:
        return {"error": f"its process was ended by {_signal(-process.returncode)}"}
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {process.returncode}"}
    try:
        facts: Facts = json.loads(out.decode().strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": "its answer cannot be read"}
    return facts


def _signal(number: int) -> str:
    names = {signal.SIGILL: "an instruction that this processor does not have"}
    try:
        return names.get(signal.Signals(number), signal.Signals(number).name)
    except ValueError:
        return f"signal {number}"


def _guarded(find: Callable[[], Facts]) -> Facts:
    """What one question finds, or why it could not."""
    try:
        return find()
    except SrcliError as exc:
        return {"error": exc.message}
    except (ImportError, OSError) as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}


# ---------------------------------------------------------------------------------- the machine


def _instructions() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []  # what PyTorch says of the CPU stands with its devices
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    flags = set(line[1].split()) if line else set()
    return [name for name in INSTRUCTIONS if name in flags]


def _memory() -> Facts:
    from srcli.engine import memory

    return {
        "available_bytes": memory.available_bytes(),
        "default_limit_bytes": memory.default_limit_bytes(),
    }


def _waiting(environment: Mapping[str, str]) -> Facts:
    """How threads wait for each other, and whether somebody wants it otherwise."""
    return {
        "as_srcli_chooses": threads.is_ours(environment),
        **{name: environment[name] for name in threads.SPOKEN_FOR if environment.get(name)},
    }


def _ffmpeg() -> Facts:
    from srcli.film.codecs import codec_named, codec_names
    from srcli.film.ffmpeg import find_ffmpeg

    ffmpeg = find_ffmpeg()
    encoders = {
        name: next((e for e in codec_named(name).encoders if e in ffmpeg.encoders), None)
        for name in codec_names()
    }
    return {
        "program": _short(Path(ffmpeg.exe)),
        "version": ffmpeg.version.removeprefix("ffmpeg version ").partition(" Copyright")[0],
        "codecs": {name: encoder for name, encoder in encoders.items() if encoder},
        "without": [name for name, encoder in encoders.items() if encoder is None],
    }


def _cache() -> Facts:
    folder = WeightsOptions.from_environment().cache_dir
    sizes: dict[str, int] = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            if path.is_file() and not path.is_symlink():
                part = path.relative_to(folder).parts[0]
                sizes[part] = sizes.get(part, 0) + path.stat().st_size
        except OSError:  # it went while we counted
            continue
    facts: Facts = {"folder": _short(folder), "bytes": sum(sizes.values()), "parts": sizes}
    if folder.exists():
        reason = why_not_writable(folder)
        if reason is not None:
            facts["error"] = f"it cannot be written: {reason}"
    return facts


def _weights() -> Facts:
    """The models that run without a download."""
    options = WeightsOptions.from_environment()
    names = []
    for model in catalog.models():
        scales = [f"x{v.scale}" for v in model.variants if at_hand(v, options)]
        if scales:
            names.append(f"{model.name} {' '.join(scales)}")
    return {"at_hand": names, "models": sum(m.trained for m in catalog.models())}


def _short(path: Path) -> str:
    """A path without the user's name, where that is the home folder's."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


def _harmless(value: str) -> str:
    """A variable's value without a password in an address, and without the user's name."""
    value = re.sub(r"(?<=://)[^/@]*@", "...@", value)
    return _short(Path(value)) if Path(value).is_absolute() else value


# -------------------------------------------------------------------------------------- telling


def _problems(found: Facts) -> Iterator[str]:
    for name, facts in found.items():
        if not isinstance(facts, dict) or "error" not in facts:
            continue
        if name in NEEDED:
            yield f"{name} does not work, and srcli needs it: {facts['error']}"
        elif name != "auto" or not any("error" in found[n] for n in NEEDED):
            yield f"{name}: {facts['error']}"


def _lines(found: Facts) -> Iterator[str]:
    rows = list(_rows(found))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"{name:<{width}}  {text}".rstrip()
    if found["problems"]:
        yield ""
        yield from (f"problem: {problem}" for problem in found["problems"])


def _rows(found: Facts) -> Iterator[tuple[str, str]]:
    yield "srcli", f"{found['srcli']['version']}, {found['srcli']['folder']}"
    yield "Python", f"{found['python']['version']}, {found['python']['program']}"
    yield "system", found["system"]
    cpu = found["processor"]
    yield "processor", f"{cpu['name']}, {_count(cpu['cores'], 'core')}"
    yield "instructions", " ".join(cpu["instructions"]) or "unknown"
    yield "memory", _or_error(found["memory"], _memory_text)
    yield "threads", _waiting_text(found["waiting"])
    yield "PyTorch", _or_error(found["torch"], _torch_text)
    for device in found["torch"].get("devices", ()):
        yield "", _device_text(device)
    yield "OpenVINO", _or_error(found["openvino"], _version_text("devices"))
    yield "ONNX Runtime", _or_error(found["onnxruntime"], _version_text("providers"))
    yield "numpy", _or_error(found["numpy"], _version_text(""))
    yield "Pillow", _or_error(found["pillow"], _version_text("features"))
    yield "ffmpeg", _or_error(found["ffmpeg"], lambda f: f"{f['version']}, {f['program']}")
    if "codecs" in found["ffmpeg"]:
        codecs = found["ffmpeg"]["codecs"].items()
        yield "encoders", ", ".join(n if n == e else f"{n} ({e})" for n, e in codecs)
    cache = found["cache"]
    if "folder" in cache:
        parts = ", ".join(f"{n} {_size(b)}" for n, b in sorted(cache["parts"].items()))
        yield "cache", f"{cache['folder']}, {_size(cache['bytes'])}" + (f": {parts}" * bool(parts))
    if "at_hand" in found["weights"]:
        weights = found["weights"]
        yield "at hand", f"{len(weights['at_hand'])} of {weights['models']} models with weights"
        for line in weights["at_hand"]:
            yield "", line
    for name, value in found["environment"].items():
        yield "environment", f"{name}={value}"
    auto = found["auto"]
    yield "auto", _or_error(auto, _auto_text)
    for what, why in auto.get("why", {}).items():
        yield "", f"{what}: {why}"


def _or_error(facts: Facts, tell: Callable[[Facts], str]) -> str:
    if "error" in facts:
        return f"does not work: {facts['error']}"
    if "missing" in facts:
        return f"not installed; to install it: {facts['missing']}"
    return tell(facts)


def _version_text(more: str) -> Callable[[Facts], str]:
    return lambda facts: ", ".join([facts["version"], *facts.get(more, ())])


def _memory_text(facts: Facts) -> str:
    limit, available = facts["default_limit_bytes"], facts["available_bytes"]
    return (
        f"{_size(available)} available; srcli takes up to {_size(limit)} "
        "unless --memory says otherwise"
    )


def _waiting_text(facts: Facts) -> str:
    said = ", ".join(f"{k}={v}" for k, v in facts.items() if k != "as_srcli_chooses")
    return f"{said} ({'as srcli chooses' if facts['as_srcli_chooses'] else 'your setting'})"


def _torch_text(facts: Facts) -> str:
    if facts["cuda"]:
        built = f"CUDA {facts['cuda']}"
    elif facts["hip"]:
        built = f"ROCm {facts['hip']}"
    else:
        built = "no CUDA"
    return f"{facts['version']}, built with {built}, {_count(facts['threads'], 'thread')}"


def _device_text(facts: Facts) -> str:
    more = [facts[k] for k in ("card", "capability") if facts.get(k)]
    if "memory_bytes" in facts:
        more.append(_size(facts["memory_bytes"]))
    return ", ".join([facts["name"], *more])


def _auto_text(facts: Facts) -> str:
    text = f"{facts['model']} runs on {facts['device']} in {facts['precision']} by "
    text += {"torch": "PyTorch", "openvino": "OpenVINO"}[facts["backend"]]
    if facts["threads"]:
        text += f", {_count(facts['threads'], 'thread')}"
    return text


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _size(n_bytes: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.1f} {name}"
    return f"{n_bytes} bytes"
