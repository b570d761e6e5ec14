"""A study on machines that keep nothing: turns, parcels, and what comes home."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from rcm_bench.canonical import bytes_digest
from rcm_bench.method_study import parcels, relay, steps
from rcm_bench.method_study.study import check_digest
from rcm_bench.method_study.trainings import Training
from rcm_bench.method_study.turns import TooLateError, turn

STUDY = Path(__file__).parents[3] / "suites" / "recipes" / "search" / "methods.yaml"


def test_one_training_at_a_time_has_the_device(tmp_path):
    lock, inside, most = tmp_path / "turn", [], []

    def work():
        with turn(lock, needs=0.0, until=time.monotonic() + 60):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_training_that_cannot_end_in_time_is_not_begun(tmp_path):
    with (
        pytest.raises(TooLateError, match="needs 60 s"),
        turn(tmp_path / "turn", needs=60.0, until=time.monotonic() + 50),
    ):
        pass
    with turn(tmp_path / "turn", needs=40.0, until=time.monotonic() + 50):
        pass


def training(name, stage="final"):
    return Training(name, "m", stage, {}, 1)


def settle(out, name, weights=0, failed=False, study="a study"):
    check_digest(study, out)
    folder = out / "trainings" / name
    folder.mkdir(parents=True)
    (folder / "validation.jsonl").write_text(f'{{"step": 1, "of": "{name}"}}\n')
    record = '{"steps": 1, "steps_planned": 1}\n'
    (folder / ("diverged.txt" if failed else "done.json")).write_text(record)
    for tail in ("", "-9-updates"):
        (folder / f"{name}{tail}.safetensors").write_bytes(os.urandom(weights))
    (folder / "state.safetensors").write_bytes(os.urandom(10_000))
    return folder


def test_a_parcel_brings_weights_and_curves_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parcels, "PART_BYTES", 30_000)
    away, home, light = tmp_path / "away", tmp_path / "home", tmp_path / "light"
    names = ["a", "b", "c"]
    for name in names:
        settle(away, name, weights=20_000)
    settle(away, "trial", weights=20_000)
    settle(away, "broken", failed=True)
    (away / "trainings" / "running").mkdir()
    order = [training("trial", "search"), training("running"), training("broken")]
    order += [training(name) for name in names]
    # Two of three pairs of 40,000 random bytes fit; the third goes with the next parcel.
    assert parcels.pack(away, order, tmp_path / "one", most=100_000) == 1
    sizes = [path.stat().st_size for path in (tmp_path / "one").glob("parcel.0*")]
    assert max(sizes) <= 30_000
    assert sum(sizes) <= 100_000
    assert parcels.pack(away, order, tmp_path / "lost", most=100_000) == 1, "not yet at home"
    assert parcels.unpack(tmp_path / "lost", tmp_path / "no") == ["trial", "broken", "a", "b"]
    assert parcels.unpack(tmp_path / "one", home) == ["trial", "broken", "a", "b"]
    parcels.lighten(home, light)
    shutil.copytree(light, away, dirs_exist_ok=True)
    assert parcels.pack(away, order, tmp_path / "two", most=100_000) == 0
    assert parcels.unpack(tmp_path / "two", home) == ["c"]
    for name in names:
        for own in (f"{name}.safetensors", f"{name}-9-updates.safetensors", "done.json"):
            sent = (away / "trainings" / name / own).read_bytes()
            assert (home / "trainings" / name / own).read_bytes() == sent
    kept = {path.name for path in (home / "trainings" / "trial").iterdir()}
    assert kept == {"done.json", "validation.jsonl"}, "of a trial no weights"
    assert not (home / "trainings" / "running").exists()
    parcels.lighten(home, light)
    assert {path.name for path in (light / "trainings" / "a").iterdir()} == {
        *("done.json", "validation.jsonl", "at-home")
    }
    assert parcels.pack(light, order, tmp_path / "three") == 0
    assert parcels.unpack(tmp_path / "three", tmp_path / "none") == [], "nothing is sent twice"


def test_what_is_deleted_at_home_is_trained_again_elsewhere(tmp_path):
    """A diverged training to be tried again, and a lost one: the light copy forgets them."""
    home, light, away, box = (tmp_path / name for name in ("home", "light", "away", "box"))
    again, lost = settle(home, "again", failed=True), settle(home, "lost", weights=100)
    settle(home, "kept", weights=100)
    parcels.lighten(home, light)
    assert (light / "trainings" / "again" / "diverged.txt").exists()
    (again / "diverged.txt").unlink()
    shutil.rmtree(lost)
    own = light / "trainings" / "new"  # what the copy has of its own, where a machine trains in it
    own.mkdir()
    (own / "done.json").touch()
    parcels.lighten(home, light)
    trainings = light / "trainings"
    names = {path.relative_to(trainings).as_posix() for path in trainings.rglob("*.*")}
    assert names >= {"kept/done.json", "kept/validation.jsonl", "new/done.json"}
    assert not any(name.startswith(("again/", "lost/")) for name in names)
    assert (light / "trainings" / "kept" / "at-home").exists()
    shutil.copytree(light, away)
    for name in ("again", "lost"):
        assert not any((away / "trainings" / name).iterdir())
        (away / "trainings" / name).rmdir()
        settle(away, name, weights=100)
    assert parcels.pack(away, [training("again"), training("lost"), training("kept")], box) == 0
    assert parcels.unpack(box, home) == ["again", "lost"]
    assert {path.name for path in again.iterdir()} == {
        *("again.safetensors", "again-9-updates.safetensors", "done.json", "validation.jsonl")
    }


def test_both_ends_of_a_training_are_not_kept_side_by_side(tmp_path):
    """It diverged, was tried again at home, and ended well."""
    home, light = tmp_path / "home", tmp_path / "light"
    own = settle(home, "a", failed=True)
    parcels.lighten(home, light)
    (own / "diverged.txt").rename(own / "done.json")
    parcels.lighten(home, light)
    assert {path.name for path in (light / "trainings" / "a").iterdir()} == {
        *("done.json", "validation.jsonl", "at-home")
    }


def test_a_taking_that_was_cut_off_is_made_good(tmp_path):
    """A training is at home whole or not at all; taking the parcel again mends what is missing."""
    away, box, home = tmp_path / "away", tmp_path / "box", tmp_path / "home"
    settle(away, "a", weights=5_000)
    parcels.pack(away, [training("a")], box)
    torn = home / "trainings" / "a"
    torn.mkdir(parents=True)
    (torn / "done.json").write_text("{}")
    parcels.unpack(box, home)
    assert {path.name for path in torn.iterdir()} == {
        *("a.safetensors", "a-9-updates.safetensors", "done.json", "validation.jsonl")
    }
    (torn / "a.safetensors").write_bytes(b"at home")
    parcels.unpack(box, home)
    assert (torn / "a.safetensors").read_bytes() == b"at home", "what is whole is left alone"


@pytest.mark.parametrize(
    ("outer", "inner", "kind"),
    [
        ("../a", "a/done.json", tarfile.REGTYPE),
        ("a", "../../stray.json", tarfile.REGTYPE),
        ("a", "b/done.json", tarfile.REGTYPE),
        ("a", "a/done.json", tarfile.SYMTYPE),
    ],
)
def test_a_parcel_writes_nowhere_but_into_its_trainings(tmp_path, outer, inner, kind):
    """With whatever Python: the filter of tarfile is not in every 3.11."""
    away, box, home = tmp_path / "away", tmp_path / "box", tmp_path / "home"
    settle(away, "a")
    parcels.pack(away, [training("a")], box)
    one, whole = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=one, mode="w:gz") as tar:
        member = tarfile.TarInfo(inner)
        member.type, member.linkname, member.size = kind, "/etc/hostname", 2
        tar.addfile(member, io.BytesIO(b"{}"))
    with tarfile.open(fileobj=whole, mode="w") as tar:
        member = tarfile.TarInfo(f"{outer}.tar.gz")
        member.size = len(one.getvalue())
        tar.addfile(member, io.BytesIO(one.getvalue()))
    (box / "parcel.00").write_bytes(whole.getvalue())
    manifest = json.loads((box / "parcel.json").read_text())
    manifest |= {"parts": 1, "sha256": bytes_digest(whole.getvalue())}
    (box / "parcel.json").write_text(json.dumps(manifest))
    settle(home, "kept")
    before = {path for path in tmp_path.rglob("*") if "taking" not in path.parts}
    with pytest.raises(ValueError, match=r"expected the name of a training|holds files of its"):
        parcels.unpack(box, home)
    assert {path for path in tmp_path.rglob("*") if "taking" not in path.parts} == before


def test_a_parcel_of_another_study_is_refused(tmp_path, capsys):
    """Changed budgets between two machines must not meet in one folder."""
    home, light, box = (tmp_path / name for name in ("home", "light", "box"))
    settle(home, "a", weights=100)
    parcels.lighten(home, light)
    assert (light / "study.sha256").read_text() == "a study\n"
    settle(tmp_path / "away", "b", weights=100, study="another study")
    parcels.pack(tmp_path / "away", [training("b")], box)
    assert relay.main(["take", str(box), str(home), "--light", str(light)]) == 2
    assert "holds trainings of another study" in capsys.readouterr().err
    assert not (home / "trainings" / "b").exists()


@pytest.mark.parametrize("end", [SystemExit(143), ValueError("a wrong recipe")])
def test_whatever_ends_a_call_what_is_finished_is_packed(tmp_path, monkeypatch, end):
    away, box = tmp_path / "away", tmp_path / "box"

    def train(study, out, machine):
        settle(out, "rcm-trial0", study=(out / "study.sha256").read_text().strip())
        raise end

    monkeypatch.setattr(steps, "train", train)
    run = ["run", str(STUDY), str(away), "--seconds", "60", "--into", str(box)]
    with contextlib.suppress(SystemExit):
        assert relay.main(run) == 2
    assert parcels.unpack(box, tmp_path / "home") == ["rcm-trial0"]


def test_sigterm_ends_a_call_by_its_end_of_session(tmp_path):
    """What was started is stopped too, and the parcel is written."""
    away, box = tmp_path / "away", tmp_path / "box"
    code = (
        "import sys, time; from rcm_bench.method_study import relay, steps; "
        "from rcm_bench.method_study.ending import run_command; "
        "steps.train = lambda *_: (print('training', flush=True), time.sleep(60)); "
        "run_command(relay.main)"
    )
    run = ["run", str(STUDY), str(away), "--seconds", "60", "--into", str(box)]
    call = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *run], stdout=subprocess.PIPE, text=True
    )
    with call:
        assert call.stdout.readline() == "training\n"
        call.terminate()
        assert call.wait(30) == 128 + signal.SIGTERM
    assert parcels.unpack(box, tmp_path / "home") == []


def test_a_damaged_parcel_is_refused(tmp_path, capsys):
    away, box = tmp_path / "away", tmp_path / "box"
    settle(away, "a", weights=5_000)
    parcels.pack(away, [training("a")], box)
    take = ["take", str(box), str(tmp_path / "home"), "--light", str(tmp_path / "light")]
    part = box / "parcel.00"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert relay.main(take) == 2
    assert "damaged" in capsys.readouterr().err
    part.unlink()
    assert relay.main(take) == 2
    assert "parts of the parcel are missing: parcel.00" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
    part.write_bytes(whole)
    assert relay.main(take) == 0
    assert "taken: a" in capsys.readouterr().out
    (box / "parcel.json").unlink()
    assert relay.main(take) == 2
    assert "no parcel" in capsys.readouterr().err


def test_a_borrowed_machine_needs_numpy_pandas_and_torch_only():
    """What reads suites is not installed there."""
    modules = ["method_study.relay", "method_study.steps", "method_study.parcels"]
    modules += ["method_study.turns", "environment", "validation", "weights_files"]
    imports = "; ".join(f"import rcm_bench.{name}" for name in modules)
    absent = "pydantic", "typer", "rich"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); {imports}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
