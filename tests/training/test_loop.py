import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from srcli.cli import application
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.media import figure
from srcli.training import checkpoint, loop
from srcli.training.config import load
from srcli.training.loop import train
from srcli.training.measure import measure
from srcli.training.prepare import Run
from srcli.training.session import NotFiniteError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(recipe, folder, cache, benchmark, tmp_path):
    def make(name: str = "out", *sets: str, **more) -> Run:
        return Run(
            config=load(str(recipe), sets=sets),
            data=(folder,),
            out=tmp_path / name,
            cache=cache,
            validate=(benchmark,),
            device="cpu",
            **more,
        )

    return make


def events(run: Run, stop_at: int | None = None) -> list[dict]:
    stop, got = threading.Event(), []
    for event in train(run, stop):
        got.append(event)
        if stop_at is not None and event["event"] == "step" and event["step"] >= stop_at:
            stop.set()
    return got


@pytest.mark.parametrize("there", [True, False])
def test_curves_that_cannot_be_drawn_are_said_at_the_end(recipe, tmp_path, monkeypatch, there):
    done = {"event": "done", "result": "out/x.safetensors", "psnr_y": {"a": 30.0}, "seconds": 60}
    monkeypatch.setattr(loop, "train", lambda run, stop: iter([done]))
    monkeypatch.setattr(figure, "is_installed", lambda: there)
    call = ["train", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(application(call), call)
    assert result.exit_code == 0, result.output
    first, *more = result.stderr.splitlines()
    assert first == "out/x.safetensors  a 30.000  1.0 min"
    assert [line.partition(";")[0] for line in more] == (
        [] if there else ["There is no curves.png, which matplotlib draws"]
    )
    assert there or more[0].endswith('pip install "srcli[plots]"')


def vectors(out: Path) -> list[torch.Tensor]:
    return checkpoint.load_newest(out)["vectors"]


def assert_same_run(a: Path, b: Path) -> None:
    for x, y in zip(vectors(a)[:4], vectors(b)[:4], strict=True):
        assert torch.equal(x, y)
    mine, theirs = (load_file(out / "bcrn-x2.safetensors") for out in (a, b))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_whole_run(run):
    got = events(run("out", "samples=true", "half=true"))
    kinds = [e["event"] for e in got]
    assert kinds[:4] == ["data", "start", "validation", "stage"]
    assert kinds.count("stage") == 2
    assert kinds[-1] == "done"
    steps = [e for e in got if e["event"] == "step"]
    assert [e["step"] for e in steps] == [2, 4, 6, 8, 10, 12]
    assert min(got[-1]["psnr_y"].values()) > 15
    out = run().out
    assert {p.suffix for p in out.glob("bcrn-x2*")} == {".safetensors", ".md"}
    assert (out / "bcrn-x2.best.safetensors").is_file()
    assert (out / "curves.png").is_file()
    assert list((out / "samples").iterdir())
    assert len(checkpoint.found(out)) == 2
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in logged if e["event"] == "step"] == [2, 4, 6, 8, 10, 12]
    assert load_file(out / "bcrn-x2.safetensors")["conv1.pw.weight"].dtype == torch.float16


@pytest.mark.parametrize("stop_at", [2, 8, 10])
def test_resumed_equals_uninterrupted(run, stop_at):
    events(run("whole"))
    assert events(run("parts"), stop_at)[-1]["event"] == "interrupted"
    assert events(run("parts", resume=True))[-1]["event"] == "done"
    assert_same_run(run("parts").out, run("whole").out)
    lines = (run("parts").out / "log.jsonl").read_text().splitlines()
    steps = [e["step"] for e in map(json.loads, lines) if e["event"] == "step"]
    assert steps == sorted(set(steps))


def test_a_damaged_checkpoint_falls_back(run, caplog):
    events(run("whole"))
    events(run("parts"), 6)
    newest = checkpoint.found(run("parts").out)[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    events(run("parts", resume=True))
    assert "damaged" in caplog.text
    assert_same_run(run("parts").out, run("whole").out)


def test_what_cannot_be_resumed(run, tmp_path):
    with pytest.raises(SrcliError, match="no checkpoint"):
        events(run("none", resume=True))
    events(run("out"), 2)
    with pytest.raises(UsageError, match="holds a run"):
        events(run("out"))
    with pytest.raises(UsageError, match=r"ema: 0\.9 then"):
        events(run("out", "ema=0.5", resume=True))


def test_not_finite_stops_and_names_the_step(run):
    with pytest.raises(NotFiniteError) as caught:
        events(run("out", "1.learning_rate=1e30", "clip=1e30", "log_every=8", "1.warmup=0"))
    assert "step 2." in caught.value.message
    assert ".png at LR" in caught.value.hint
    saved = checkpoint.found(run().out)
    assert all(torch.isfinite(v).all() for p in saved for v in torch.load(p)["vectors"])


def test_disk_full(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    generator = train(run())
    next(generator)
    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(SrcliError, match="No space left"):
        list(generator)
    assert not list(run().out.glob(".checkpoint*"))


@pytest.mark.parametrize("degrade", ["bicubic", "photo"])  # threads gather what is damaged
def test_time_budget_sets_the_steps(run, monkeypatch, degrade):
    monkeypatch.setattr("srcli.training.session.MEASURE_S", 0.1)
    settings = ["log_every=5", f'degrade="{degrade}"']
    got = events(run("out", *settings, minutes=1.5 / 60))
    steps = [e["steps"] for e in got if e["event"] == "stage"]
    assert all(n >= 10 for n in steps)
    assert got[-1]["event"] == "done"
    # a step takes milliseconds, so the budget holds far more than the least number of them
    assert sum(steps) > 20 or got[-1]["seconds"] > 1.5


def test_memory_mapped_equals_resident(run, photos, monkeypatch):
    """The path for data that does not fit the device, with the CPU playing the device."""
    events(run("resident"))
    from srcli.training import data

    real = data.Photos.__init__

    def on_disk(self, *args, **more):
        real(self, *args, **more)
        self.resident = False

    monkeypatch.setattr(data.Photos, "__init__", on_disk)
    events(run("mapped"))
    assert_same_run(run("mapped").out, run("resident").out)


def test_init(run, benchmark):
    events(run("first"))
    got = events(run("second", init=run("first").out / "bcrn-x2.safetensors"))
    assert got[1]["weights"] == "given"
    assert got[2]["psnr_y"] == events_done(run("first").out)


def test_init_by_a_models_name(run, benchmark):
    got = events(run("named", "2.steps=0", "1.steps=1", "config={}", init="bcrn"))
    assert got[1]["weights"] == "given"
    with pytest.raises(UsageError, match="no model 'bcrm'"):
        events(run("misspelt", init="bcrm"))
    with pytest.raises(WeightsError, match=r"weights missing\.safetensors cannot be read"):
        events(run("missing", init="missing.safetensors"))


def events_done(out: Path) -> dict:
    return json.loads((out / "log.jsonl").read_text().splitlines()[-1])["psnr_y"]


def test_distillation(run, tmp_path):
    events(run("teacher", "2.steps=0", "steps=2"))
    teacher = run("teacher").out / "bcrn-x2.safetensors"
    got = events(
        run("student", "loss={l1=1, distill=1, distill_feature=1}", f"teacher={teacher}", "steps=2")
    )
    assert got[-1]["event"] == "done"


@pytest.mark.shared
def test_a_teacher_of_the_catalogue(run, shared):
    from srcli.weights import WeightsOptions

    options = WeightsOptions(run().cache, mirror=str(shared / "weights"), offline=True)
    sets = ["loss={l1=1, distill=1, distill_feature=1}", "teacher=rlfn.authors", "steps=2"]
    got = events(run("out", *sets, weights=options))
    assert got[-1]["event"] == "done"
    with pytest.raises(UsageError, match="does not enlarge by 3"):
        events(run("x3", *sets, "scale=3", weights=options))


def test_scores_are_those_of_eval(run, benchmark):
    """The number in the log is what the file scores when loaded as users load it."""
    from srcli.engine.open import open_engine
    from srcli.engine.pytorch.upscaler import Settings
    from srcli.quality.benchmarks import read_folder
    from srcli.quality.evaluate import evaluate
    from srcli.weights import load_file as load_model

    got = events(run("out", "2.steps=0"))
    model, _, state = load_model(run().out / "bcrn-x2.safetensors", None, 2)
    engine = open_engine(model, Settings(device="cpu"), state=state)
    result = evaluate(engine, read_folder(benchmark, 2).pairs, 2)
    assert got[-1]["psnr_y"] == {benchmark.name: round(result.psnr_y, 4)}


def test_tensorboard(run, benchmark, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, *scalar):
            written.append(scalar)

        def flush(self):
            pass

        def close(self):
            written.append("closed")

    with pytest.raises(SrcliError, match="not installed") as caught:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        events(run("without", tensorboard=True))
    assert "pip install" in caught.value.hint
    assert not run("without").out.exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    events(run("out", "2.steps=0", tensorboard=True))
    assert written[0] == (str(run().out / "tensorboard"), 1)
    assert any(s[0] == f"psnr_y/{benchmark.name}" for s in written[1:-1])
    assert [s[2] for s in written[1:-1] if s[0] == "loss"] == [2, 4, 6, 8]
    assert written[-1] == "closed"


def test_batch_norm_wants_one_process(run, monkeypatch):
    monkeypatch.setattr("srcli.training.loop.join", lambda _: (torch.device("cpu"), 0, 2))
    with pytest.raises(UsageError, match="BatchNorm"):
        events(run("out", "arch=swift_srgan", "quiet=[]", "config={n_blocks=1}"))
    assert not run().out.exists()


def test_live_table_shows_what_one_watches():
    from rich.console import Console

    from srcli.cli.train import _table

    event = {
        "event": "step", "step": 500, "of": 1000, "stage": 1, "loss": 0.02, "learning_rate": 1e-3,
        "images_per_s": 31.4, "seconds": 90.0,
    }  # fmt: skip
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(_table(event, {"Set5": 30.1}, {"Set5": 30.2}))
    text = capture.get()
    for part in ("500 of 1,000", "0.02000", "1.00e-03", "31.4", "0:01:30 left", "30.100 dB"):
        assert part in text


def test_measure(run):
    got = list(measure(run("out", "2.steps=0")))
    assert got[-1]["loader_images_per_s"] > got[-1]["train_images_per_s"] > 0


def command(run: Run, recipe: Path, *more: str) -> list[str]:
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    code += (
        "import typer, torch; torch.set_num_threads(1)\n"
        "from srcli.cli.train import train\n"
        "app = typer.Typer(pretty_exceptions_enable=False); app.command()(train); app()\n"
    )
    return [
        sys.executable, "-c", code, str(recipe), "--data", str(run.data[0]), "--out", str(run.out),
        "--cache", str(run.cache), "--device", "cpu", "--set", "steps=40", *more,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_stopped_while_a_pool_is_made(run, recipe, number):
    """At once, also the processes that make it; what is made stays."""
    pool = ("degrade=photo", "pool=100000", "pool_patch=16", "patch=16")
    _, _, _, *arguments = command(run(), recipe, *(x for item in pool for x in ("--set", item)))
    process = subprocess.Popen(
        [sys.executable, "-m", "srcli", "train", *arguments], cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert "of 100000 damaged crops" in process.stderr.readline()
    workers = children(process.pid)
    assert workers
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)  # who holds stderr is gone
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert "is kept; the same command continues" in errors
        assert "Traceback" not in errors
    ends = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def test_interrupted_by_a_signal(run, recipe):
    process = subprocess.Popen(
        [*command(run(), recipe, "--set", "steps=100000"), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if '"step"' in line:
            process.send_signal(signal.SIGTERM)
            break
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert json.loads(rest.splitlines()[-1])["event"] == "interrupted"
    assert checkpoint.found(run().out)


@pytest.mark.long
def test_killed_again_and_again_equals_uninterrupted(run, recipe):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(run("whole"), recipe), check=True, env=environment)
    for k in range(10):
        started = checkpoint.found(run("parts").out)
        process = subprocess.Popen(
            command(run("parts"), recipe, *(["--resume"] if started else [])),
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while checkpoint.found(run("parts").out) == started and time.monotonic() < deadline:
            time.sleep(0.02 + 0.011 * k)
            if process.poll() is not None:
                break
        process.kill()
        process.wait()
        if (run("parts").out / "bcrn-x2.safetensors").exists():
            break
    if not (run("parts").out / "bcrn-x2.safetensors").exists():
        subprocess.run(command(run("parts"), recipe, "--resume"), check=True, env=environment)
    assert_same_run(run("parts").out, run("whole").out)


@pytest.mark.slow
def test_two_processes_equal_one(run, recipe):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    more = ["--set", "steps=12", "--set", "log_every=1"]
    subprocess.run(command(run("one"), recipe, *more), check=True, env=environment)
    processes = []
    for rank in range(2):
        world = {
            "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29731",
        }  # fmt: skip
        processes.append(
            subprocess.Popen(command(run("two"), recipe, *more), env={**environment, **world})
        )
    assert [p.wait(120) for p in processes] == [0, 0]
    curves = []
    for name in ("one", "two"):
        lines = (run(name).out / "log.jsonl").read_text().splitlines()
        curves.append([e["loss"] for e in map(json.loads, lines) if e["event"] == "step"])
    assert len(curves[0]) == 24
    # the same sums in another order, through 24 steps
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


@pytest.mark.long
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without distributed")
def test_two_machines_meet_through_torchrun(run, recipe):
    """One torchrun on each of two machines, as docs/training.md has it; both are this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    more = ["--set", "steps=6", "--set", "log_every=1"]
    subprocess.run(command(run("one"), recipe, *more), check=True, env=environment)
    python, *rest = command(run("two"), recipe, *more)
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "7"]
    nodes = ["--nnodes", "2", "--nproc-per-node", "1", "--local-addr", "127.0.0.1"]
    torchrun = [python, "-m", "torch.distributed.run", *nodes, *meeting]
    both = [
        subprocess.Popen([*torchrun, "--no-python", python, *rest], env=environment)
        for _ in range(2)
    ]
    try:
        assert [process.wait(200) for process in both] == [0, 0]
    finally:
        for process in both:
            if process.poll() is None:
                process.kill()
    curves = []
    for name in ("one", "two"):
        lines = (run(name).out / "log.jsonl").read_text().splitlines()
        curves.append([e["loss"] for e in map(json.loads, lines) if e["event"] == "step"])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["1.patch=1"], "Crops of 1 LR pixels are too small for bcrn"),
        (["steps=0"], "No stage of .* has any steps"),
    ],
)
def test_what_cannot_be_trained_is_said_before_any_work(run, sets, said):
    with pytest.raises(UsageError, match=said):
        next(train(run("out", *sets)))
    assert not run("out").out.exists()


def test_weights_of_another_network_are_no_start(run, tmp_path):
    """Of two networks alike in a few small tensors the one is no beginning for the other."""
    events(run("first", "2.steps=0", "1.steps=1"))
    wider = run("wider", "config.n_feats=24", init=run("first").out / "bcrn-x2.safetensors")
    with pytest.raises(SrcliError, match=r"only \d+ of \d+ tensors fit"):
        events(wider)


def test_what_differs_from_the_run_that_is_resumed_is_named(run):
    events(run("out", "2.steps=0"))
    with pytest.raises(UsageError, match=r"1\.batch: 4 then, 2 now"):
        next(train(run("out", "2.steps=0", "1.batch=2", resume=True)))
