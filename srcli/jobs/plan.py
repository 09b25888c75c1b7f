"""From what was typed to the jobs of a command. Everything that can be refused is refused here.

Names come first, all of them: what exists, and which two inputs would become one output, is told by
names alone. Headers are read of the first inputs before work begins, and of the others as it goes
on. No torch; Pillow only once every name has proved to exist.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from srcli import catalog
from srcli.errors import ResourceError, UsageError
from srcli.jobs.events import Listener
from srcli.jobs.existing import ExistingFiles
from srcli.jobs.failures import failure_of
from srcli.jobs.inputs import STREAM, STREAM_NAME, Found, RealNames, find, real_path
from srcli.jobs.inspect import NamedInput, inspect_input, previewed, target_name, target_of
from srcli.jobs.job import Job, Options, output_bytes
from srcli.jobs.names import split
from srcli.jobs.outputs import naming
from srcli.media.remote import UrlPath, check_writable, is_url, path_of, shown
from srcli.sizes import sizes_apart

FIRST = 256  # inputs whose headers are read before work begins
FIRST_S = 5.0  # and no more of them after that, where reading is slow


class TargetError(UsageError):
    """An output's name is taken: by an input, or by another input's output."""


class Plan:
    """What is to be done with each input, in order.

    Args:
        inputs: files, folders, glob patterns, and ``-``, as typed.
        options: what to make of them.
        stdin: gives the picture that ``-`` stands for.
        tell: called with what was left out, and of folders without a picture.
        first: inputs whose headers are read at once.

    Raises:
        UsageError: the only name does not exist, an output exists, options contradict ...
        ResourceError: the disk is too full for what would be written.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        options: Options,
        stdin: Callable[[], bytes] | None = None,
        tell: Listener = lambda _: None,
        first: int = FIRST,
    ) -> None:
        meant = find(inputs, recursive=options.recursive)
        for event in meant.events:
            tell(event)
        found = meant.found
        self._options, self._stdin = options, stdin
        self._names = naming(
            options.output,
            list(found.values()),
            meant.one_file,
            options.format,
            options.film.container,
        )
        if self._names.folder is not None and options.recursive:
            found = _outside(found, self._names.folder)
        if not found:
            raise UsageError(
                f"there are no pictures or films in {', '.join(map(shown, inputs))}",
                None if options.recursive else "to look into its subfolders too, add --recursive",
            )
        self._found = list(found.values())
        self._skipped: set[int] = set()
        self._known: dict[int, Job] = {}  # by index: what was looked at, or cannot be done
        self._existing = ExistingFiles()
        self._real = RealNames()
        # of outputs that are named by their size, as these are known one after the other
        self._taken: dict[str, Path] = {}
        self._sources: frozenset[str] = frozenset()
        targets, existing = self._name_all()
        self._inspect_the_first(first, targets)
        self._set_apart(targets, found)
        if len(self._found) == 1 and 0 in self._known:
            failure = self._known[0].failure
            if isinstance(failure, TargetError):
                raise failure
        if not options.overwrite:
            self._refuse_existing(targets, existing)
        _check_disk(job for k, job in self._known.items() if not self._is_over(k))
        self._existing = ExistingFiles()  # the listings, which may be long, have served
        self._total = sum(not self._is_over(k) for k in range(len(self._found)))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def total(self) -> int:
        """Inputs that are to be done, as far as is known."""
        return self._total

    @property
    def to_stdout(self) -> bool:
        """Whether a picture goes to standard output."""
        return self._names.file == STREAM and self.total > 0

    @property
    def is_absolute(self) -> bool:
        """Whether all names are whole ones, which mean the same from every folder."""
        out = self._names.file or self._names.folder or path_of(self._names.template or "/")
        return out.is_absolute() and all(
            os.path.isabs(found.name) or is_url(found.name)  # noqa: PTH117
            for found in self._found
        )

    @property
    def inspected(self) -> list[Job] | None:
        """What is to be done, if all of it has been looked at."""
        known = [job for k, job in self._known.items() if not self._is_over(k)]
        return known if len(known) == self.total else None

    @property
    def n_failures(self) -> int:
        """Inputs that cannot be done, as far as is known."""
        return sum(job.failure is not None for job in self._known.values())

    @property
    def n_films(self) -> int:
        """Films among what is to be done."""
        return sum(f.is_film for k, f in enumerate(self._found) if not self._is_over(k))

    @property
    def scales(self) -> list[int]:
        """Native scales that are known to be needed."""
        scales = {s for k, job in self._known.items() if not self._is_over(k) for s in job.passes}
        if self.inspected is None and self._options.scale is not None:
            scales |= set(catalog.chain(self._options.model, self._options.scale))
        return sorted(scales)

    def __iter__(self) -> Iterator[Job]:
        """Every job in the order of the inputs; headers are read on the way."""
        for k in range(len(self._found)):
            yield self._job_over(k) if self._is_over(k) else self.inspect(self._item(k))

    def over(self) -> Iterator[Job]:
        """Of what need not be done, or cannot, as far as that is known."""
        for k in range(len(self._found)):
            if self._is_over(k):
                yield self._job_over(k)

    def todo(self) -> Iterator[Job | NamedInput]:
        """The others, to be looked at in their turn."""
        for k in range(len(self._found)):
            if not self._is_over(k):
                yield self._item(k)

    def inspect(self, item: Job | NamedInput) -> Job:
        """An input's job; one after the other if their outputs are named by their size."""
        if isinstance(item, Job):
            return item
        job = inspect_input(item, self._options, stdin=self._stdin, existing=self._existing)
        if item.target is None and job.failure is None:
            job = self._claimed(job)
        return job

    def is_for_us(self, item: Job | NamedInput) -> bool:
        """Whether an input has to be looked at by this process, and by no worker elsewhere."""
        return isinstance(item, NamedInput) and (
            item.target is None or item.found.is_pipe or item.is_film
        )

    def n_there(self) -> int:
        """How many outputs exist by now of what was to be done."""
        existing = ExistingFiles()
        todo = [self._item(k) for k in range(len(self._found)) if not self._is_over(k)]
        targets = {item.target for item in todo} | set(self._taken.values())
        return sum(target is not None and existing.has(str(target)) for target in targets)

    def _item(self, k: int) -> Job | NamedInput:
        if k in self._known:
            return self._known[k]
        target = target_of(self._found[k], self._names, self._options)
        return NamedInput(self._found[k], self._names, target)

    def _is_over(self, k: int) -> bool:
        if k in self._skipped:
            return True
        job = self._known.get(k)
        return job is not None and (job.skip or job.failure is not None)

    def _job_over(self, k: int) -> Job:
        if k in self._known:
            return self._known[k]
        target = target_of(self._found[k], self._names, self._options)
        assert target is not None, "it was skipped by its name"
        return Job(self._found[k].path, target, skip=True)

    def _name_all(self) -> tuple[list[str | None], set[int]]:
        """What each output is called, if names alone tell it; and which of them exist."""
        targets: list[str | None] = []
        existing: set[int] = set()
        skips = self._options.skip_existing
        previews = self._options.film.preview is not None
        for k, found in enumerate(self._found):
            targets.append(None)
            try:
                if found.failure is not None:
                    raise found.failure
                target = target_name(found, self._names, self._options)
                if target is None:
                    continue
                if is_url(target):
                    check_writable(path_of(target))
                # asked in any case: it raises if there never can be such a file
                is_there = self._existing.has(target)
                made = target
                if previews and found.is_film:
                    made = str(previewed(path_of(target), self._options))
                targets[k] = made
                if is_there and skips:
                    self._skipped.add(k)
                elif is_there and made == target:
                    existing.add(k)
            except Exception as exc:
                path = found.path
                self._known[k] = Job(path, path, failure=failure_of(exc, path))
        return targets, existing

    def _inspect_the_first(self, n: int, targets: list[str | None]) -> None:
        began = time.monotonic()
        for k in range(len(self._found)):
            if k in self._known or k in self._skipped:
                continue
            # what lies elsewhere is fetched in its turn
            if len(self._found) > 1 and is_url(self._found[k].name):
                continue
            if n <= 0 or time.monotonic() - began > FIRST_S:
                return
            n -= 1
            item = self._item(k)
            job = inspect_input(item, self._options, stdin=self._stdin, existing=self._existing)
            self._known[k] = job
            targets[k] = str(job.target)

    def _set_apart(self, targets: Sequence[str | None], inputs: Iterable[str]) -> None:
        """Those fail whose output is an input, or also another one's output."""
        sources = frozenset(inputs)
        first: dict[str, int] = {}
        failures: dict[int, TargetError] = {}
        for k, target in enumerate(targets):
            job = self._known.get(k)
            if target is None or target == STREAM_NAME or (job and job.failure):
                continue
            real = self._real.of(target)
            other = first.setdefault(real, k)
            if real in sources:
                failures[k] = _is_input(path_of(target))
            elif other != k:
                failures[k] = self._rivalry(k, other, path_of(target))
                failures.setdefault(other, self._rivalry(other, k, path_of(target)))
        for k, failure in failures.items():
            job = self._known.get(k)
            if job is None:
                path = self._found[k].path
                job = Job(path, path_of(targets[k] or ""), skip=k in self._skipped)
            self._known[k] = replace(job, failure=failure)
        if self._options.scale is None or self._names.needs_size:
            self._sources = sources
            self._taken = {
                real: path_of(targets[k] or "") for real, k in first.items() if k not in failures
            }

    def _rivalry(self, k: int, other: int, target: Path) -> TargetError:
        return _rivalry(self._found[k].path, self._found[other].path, target)

    def _claimed(self, job: Job) -> Job:
        """A job whose output's name is new, unless another one has it."""
        real = self._real.of(str(job.target))
        if real in self._sources:
            return replace(job, skip=False, failure=_is_input(job.target))
        if real in self._taken:
            return replace(job, skip=False, failure=TargetError(
                f"{job.source} would be written to {job.target}, and so would another input",
                'give them different names: -o "{stem}_{ext}_large"',
            ))  # fmt: skip
        self._taken[real] = job.target
        if not job.skip and not self._options.overwrite and self._existing.has(str(job.target)):
            return replace(job, failure=_exists(job.target, 1))
        return job

    def _refuse_existing(self, targets: Sequence[str | None], existing: set[int]) -> None:
        there = []
        for k, target in enumerate(targets):
            if target is None or self._is_over(k):
                continue
            if k in existing or (k in self._known and self._existing.has(target)):
                there.append(target)
        if there:
            raise _exists(path_of(there[0]), len(there))


def plan(
    inputs: Sequence[str],
    options: Options,
    stdin: Callable[[], bytes] | None = None,
    tell: Listener = lambda _: None,
) -> list[Job]:
    """All jobs for these inputs, in order, each of them looked at; as Plan."""
    return list(Plan(inputs, options, stdin, tell))


def _outside(found: dict[str, Found], out: Path) -> dict[str, Found]:
    """Without what lies in the output folder, which lies in an input folder."""
    real_out = real_path(out)
    inside: dict[tuple[Path, str], bool] = {}
    kept = {}
    for real, one in found.items():
        if one.root is not None:
            key = one.root, split(one.name)[0]
            if key not in inside:
                inside[key] = real_out != real_path(one.root) and (
                    real_out in real_path(one.path).parents
                )
            if inside[key]:
                continue
        kept[real] = one
    return kept


def _is_input(target: Path) -> TargetError:
    return TargetError(f"the output {target} is also an input", "name another output with -o")


def _exists(target: Path, n: int) -> UsageError:
    more = f" and {n - 1} more outputs exist" if n > 1 else " exists"
    other = "folder" if n > 1 else "name"
    return UsageError(
        f"{target}{more}", f"add --overwrite or --skip-existing, or choose another {other} with -o"
    )


def _rivalry(source: Path, other: Path, target: Path) -> TargetError:
    """Two inputs with one output; a name with a field tells them apart."""
    same_folder = source.parent == other.parent
    name = "{stem}_{ext}" if same_folder else "{dir}/{stem}"
    if same_folder or not source.is_absolute():
        name = (target.parent / name).as_posix()
    return TargetError(
        f"{source} and {other} would both be written to {target}",
        f'give them different names: -o "{name}_large{target.suffix}"',
    )


def _check_disk(jobs: Iterable[Job]) -> None:
    """Room for all outputs that are known, by file system."""
    needed: dict[int, tuple[Path, float]] = {}
    for job in jobs:
        if job.info is None or job.failure is not None or job.target == STREAM:
            continue
        if isinstance(job.target, UrlPath):
            continue  # nobody says how much room there is
        folder = job.target.parent
        try:
            while not folder.exists():
                folder = folder.parent
            device = folder.stat().st_dev
        except OSError:
            continue  # the job's own failure, when it comes to writing
        n_bytes = output_bytes(job)
        needed[device] = folder, needed.get(device, (folder, 0.0))[1] + n_bytes
    for folder, n_bytes in needed.values():
        try:
            space = shutil.disk_usage(folder)
        except OSError:
            continue
        free = space.free
        if space.total == 0:  # a disk of no size, as /proc: only trying tells
            try:
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as exc:
                raise ResourceError(
                    f"no file can be written in {folder.resolve()}: {exc.strerror or exc}",
                    "choose another place with -o",
                ) from exc
            continue
        if n_bytes > free:
            takes, there = sizes_apart(n_bytes, free)
            raise ResourceError(
                f"the results may take {takes}, but {folder.resolve()} has only {there} free",
                "choose another place with -o, or a format with smaller files (.webp, .jpg)",
            )
