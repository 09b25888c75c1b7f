"""The command's main(), called in a folder of the test's own."""

import json
import signal
import sys
from types import SimpleNamespace

import pytest

import srcli.cli


@pytest.fixture
def here(tmp_path, monkeypatch, alone):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def upscale(monkeypatch, capsys, here):
    """Function of arguments -> exit code, out, err, events: the command's main(), in here."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["srcli", "upscale", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            srcli.cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return SimpleNamespace(code=ended.value.code or 0, out=out, err=err, events=events)

    yield call
    signal.signal(signal.SIGTERM, before)
