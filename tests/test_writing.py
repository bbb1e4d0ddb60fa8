"""Disks that are full, read-only or gone, and two runs in one folder: one line, exit code 1 or 2, nothing corrupt
behind.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import apart
import pytest
import torch
from conftest import DIGITS, ROOT, before_step

import main_forget
import main_imp
import main_report
from sweep.job import Job
from utils import files, lock
from utils.errors import RunError

IMP = [*DIGITS, "--epochs", "2", "--batch_size", "512"]
OURS = ("*.p*t*", "*.json*")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main_imp.main([*IMP, "--save_dir", str(folder)]) == 0
    return folder


def checkpoints(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.pth.tar")}


def one_line(err: str, start: str, reason: str) -> None:
    assert err.count("\n") == 1 and err.startswith(start) and reason in err, err


def can_mount(folder) -> bool:
    place = folder / "disk"
    place.mkdir(exist_ok=True)
    return apart.run(lambda: apart.small_disk(place, 4096) or 0, folder).code == 0


# --- full disks ---


@pytest.mark.parametrize(
    ("kilobytes", "file"),
    [
        (40, "command.txt"),
        pytest.param(4500, "0checkpoint.pth.tar", marks=pytest.mark.torture),
        (9500, "0checkpoint.pth.tar"),
    ],
)
def test_a_full_disk_ends_in_one_line_and_room_for_more_in_the_same_bytes(tmp_path, undisturbed, kilobytes, file):
    """The disk has room for nothing, for one of the two checkpoints, and for both but not for their next version."""
    if not can_mount(tmp_path):
        pytest.skip("no file system can be mounted here")
    place, command = tmp_path / "disk", [*IMP, "--save_dir", str(tmp_path / "disk" / "run")]

    def fills():
        apart.small_disk(place, kilobytes * 1000)
        filler = place / "filler"
        if kilobytes == 40:
            filler.write_bytes(bytes(36_000))
        code = main_imp.main(command)
        left = [path.name for path in (place / "run").iterdir() if path.name.startswith(".")]
        for path in place.glob("run/*.pth.tar"):
            torch.load(path)
        print("left:", left, "finished:", (place / "run" / "result.json").exists(), file=sys.stderr)
        apart.mount("tmpfs", place, 32, "size=100000000")  # MS_REMOUNT
        again = main_imp.main(command)
        shutil.copytree(place / "run", tmp_path / "copy")
        return 10 * code + again

    ended = apart.run(fills, tmp_path)
    assert ended.code == 10, ended.err
    said, left = ended.err.splitlines()
    one_line(said + "\n", f"main_imp.py: error: cannot write {place / 'run' / file}", "No space left on device")
    assert left == "left: [] finished: False"
    assert checkpoints(tmp_path / "copy") == checkpoints(undisturbed)


def test_a_quota_that_is_used_up_midway(tmp_path, undisturbed):
    """A limit on the size of files fails in the middle of a write, as a quota does."""
    path = tmp_path / "run" / "0model_SA_best.pth.tar"

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        return main_imp.main([*IMP, "--save_dir", str(tmp_path / "run")])

    ended = apart.run(limited, tmp_path)
    assert ended.code == 1
    one_line(ended.err, f"main_imp.py: error: cannot write {path}: ", "File too large")
    assert not list((tmp_path / "run").glob(".*")) and not path.exists()


def test_unlearning_and_tables_on_a_full_disk(tmp_path, undisturbed):
    if not can_mount(tmp_path):
        pytest.skip("no file system can be mounted here")
    mask, place = undisturbed / "0model_SA_best.pth.tar", tmp_path / "disk"

    def fills():
        apart.small_disk(place, 1 << 20)
        return main_forget.main([*DIGITS, "--mask", str(mask), "--unlearn", "raw", "--save_dir", str(place / "run")])

    ended = apart.run(fills, tmp_path)
    assert ended.code == 1
    one_line(
        ended.err,
        f"main_forget.py: error: cannot write {place / 'run' / 'rawcheckpoint.pth.tar'}: ",
        "No space left on device",
    )
    assert (
        main_forget.main([*DIGITS, "--mask", str(mask), "--unlearn", "raw", "--save_dir", str(tmp_path / "raw")]) == 0
    )

    def tables():
        apart.small_disk(place, 4096)
        return main_report.main([str(tmp_path / "raw"), "--out", str(place)])

    ended = apart.run(tables, tmp_path)
    assert ended.code == 1
    one_line(
        ended.err, f"main_report.py: error: cannot write {place}/digits-resnet20s-class-0", "No space left on device"
    )


def test_standard_output_on_a_full_disk(tmp_path):
    def speechless():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        return main_imp.main([*IMP, "--save_dir", str(tmp_path / "run")])

    ended = apart.run(speechless, tmp_path)
    assert ended.code == 1
    one_line(ended.err, "main_imp.py: error: cannot write standard output: ", "No space left on device")


# --- folders that cannot be written to, or are gone ---


def immutable(folder, on):
    """What ``chattr +i`` does: root may not write there either."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(handle, 0x80086601, flags, True)
        flags[0] = flags[0] | 0x10 if on else flags[0] & ~0x10
        fcntl.ioctl(handle, 0x40086602, flags)
    finally:
        os.close(handle)


def test_a_folder_that_becomes_read_only_keeps_what_it_has(tmp_path, undisturbed, monkeypatch, capsys):
    folder = tmp_path / "run"
    try:
        immutable(tmp_path, True)
        immutable(tmp_path, False)
    except OSError:
        pytest.skip("folders cannot be made read-only here")
    command = [*IMP, "--save_dir", str(folder)]
    with monkeypatch.context() as patched:
        before_step(5, patched, lambda: immutable(folder, True))  # the second epoch of 3 steps
        try:
            assert main_imp.main(command) == 1
        finally:
            immutable(folder, False)
    one_line(capsys.readouterr().err, f"main_imp.py: error: cannot write {folder}/0", "Operation not permitted")
    assert torch.load(folder / "0checkpoint.pth.tar")["epoch"] == 1 and not (folder / "result.json").exists()
    assert main_imp.main(command) == 0
    assert checkpoints(folder) == checkpoints(undisturbed)


def test_a_read_only_disk(tmp_path, undisturbed):
    if not can_mount(tmp_path):
        pytest.skip("no file system can be mounted here")
    place = tmp_path / "disk"

    def read_only():
        apart.small_disk(place, 1 << 25)
        shutil.copytree(undisturbed, place / "run")
        apart.mount("tmpfs", place, 33)  # MS_REMOUNT | MS_RDONLY
        commands = [
            [*IMP, "--save_dir", str(place / "run")],
            [*IMP, "--lr", "0.2", "--save_dir", str(place / "run")],
            [*IMP, "--save_dir", str(place / "new")],
        ]
        return sum(10**power * main_imp.main(command) for power, command in enumerate(commands))

    ended = apart.run(read_only, tmp_path)
    assert ended.code == 110, "what is finished there can be shown, nothing else"
    moving, making = ended.err.splitlines(keepends=True)
    one_line(moving, f"main_imp.py: error: cannot make folder {place}/run/earlier", "Read-only file system")
    one_line(making, f"main_imp.py: error: cannot make folder {place}/new", "Read-only file system")


@pytest.mark.parametrize("script", ["imp", "forget"])
def test_a_folder_that_vanishes_is_not_made_anew(tmp_path, undisturbed, monkeypatch, capsys, script):
    folder = tmp_path / "run"
    before_step(5, monkeypatch, lambda: shutil.move(folder, tmp_path / "moved"))
    if script == "imp":
        assert main_imp.main([*IMP, "--save_dir", str(folder)]) == 1
        assert torch.load(tmp_path / "moved" / "0checkpoint.pth.tar")["epoch"] == 1
    else:
        command = [
            *DIGITS,
            "--mask",
            str(undisturbed / "0model_SA_best.pth.tar"),
            "--unlearn",
            "FT",
            "--unlearn_epochs",
            "3",
            "--batch_size",
            "512",
        ]
        assert main_forget.main([*command, "--save_dir", str(folder)]) == 1
    one_line(capsys.readouterr().err, f"main_{script}.py: error: cannot write {folder}/", "No such file or directory")
    assert not folder.exists()


def test_a_cut_line_of_the_log_spoils_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    files.append_line(path, '{"a": 1}')
    with path.open("a") as file:
        file.write('{"b": ')
    files.append_line(path, '{"c": 3}')
    assert path.read_text().splitlines() == ['{"a": 1}', '{"b": ', '{"c": 3}']


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path, undisturbed):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "result.json").unlink()
    for name in (
        ".0checkpoint.pth.tar.x1.unfinished",
        ".result.json.x2.unfinished",
        ".status.json.x3.unfinished",
        ".mine",
    ):
        (folder / name).write_text("half")
    assert main_imp.main([*IMP, "--save_dir", str(folder)]) == 0
    assert {path.name for path in folder.glob(".*")} == {".status.json.x3.unfinished", ".mine"}


def test_an_error_names_the_file(tmp_path):
    with pytest.raises(RunError, match=f"cannot write {tmp_path}/gone/x: No such file or directory"):
        files.write_text(tmp_path / "gone" / "x", "content")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=f"cannot write {tmp_path}/folder: Is a directory"):
        files.write_text(tmp_path / "folder", "content")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# --- two runs in one folder ---

OWNER = (
    "import sys, time; from pathlib import Path; from utils import lock; print(lock.take(Path(sys.argv[1])), "
    "flush=True); time.sleep(60)"
)


def test_a_second_run_is_refused_until_the_first_is_gone_however_it_went(tmp_path, undisturbed, capsys):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "None\n"
        another = [*IMP, "--lr", "0.2", "--save_dir", str(folder)]
        assert main_imp.main(another) == 2
        who = f"process {owner.pid} on {platform.node()}"
        said = f"--save_dir {folder}: another run is at work there ({who}); wait for its end or give another folder"
        assert capsys.readouterr().err == f"main_imp.py: error: {said}\n"
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != lock.RUN} == before
        assert main_imp.main([*another, "--dry_run"]) == 0
    finally:
        owner.kill()
        owner.wait()
    assert main_imp.main([*IMP, "--save_dir", str(folder)]) == 0 and not (folder / lock.RUN).exists()


def test_a_process_forked_off_the_owner_does_not_keep_the_lock(tmp_path):
    """As the processes that read images do, for some seconds after a kill."""
    script = OWNER.replace(
        "time.sleep(60)", "import os; child = os.fork(); print(child, flush=True) if child else None; time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "None\n"
    child = int(owner.stdout.readline())
    try:
        with lock.scope():
            assert lock.take(tmp_path).startswith(f"process {owner.pid} ")
        owner.kill()
        owner.wait()
        os.kill(child, 0)
        with lock.scope():
            assert lock.take(tmp_path) is None and lock.take(tmp_path) is None
            assert (tmp_path / lock.RUN).read_text() == f"process {os.getpid()} on {platform.node()}\n"
    finally:
        os.kill(child, 9)
    assert not (tmp_path / lock.RUN).exists()


def test_of_many_that_come_at_once_one_at_a_time_is_let_in(tmp_path):
    """Each writes its number into the folder, waits, and reads it back."""

    def contender(number):
        entered, tried, started = 0, 0, time.monotonic()
        while tried < 60 or (not entered and time.monotonic() < started + 30):
            tried += 1
            with lock.scope():
                if lock.take(tmp_path) is None:
                    (tmp_path / "who").write_text(str(number))
                    time.sleep(0.002)
                    entered += 1
                    if (tmp_path / "who").read_text() != str(number):
                        return 50
            time.sleep(0.001)
        return 0 if entered else 51

    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            os._exit(contender(number))
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["who"]


def test_on_windows_a_byte_behind_the_owners_name_is_locked(tmp_path, monkeypatch):
    """There another process's lock is a PermissionError, and a locked byte cannot be read."""
    taken = set()

    def locking(file, mode, count):
        place = (os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR))
        if mode != 2 or count != 1 or place in taken:
            raise PermissionError(errno.EACCES, "Permission denied")
        taken.add(place)

    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking), raising=False)
    with lock.scope():
        assert lock.take(tmp_path) is None
        said = f"process {os.getpid()} on {platform.node()}"
        assert (tmp_path / lock.RUN).read_text() == said + "\n" and {place for _, place in taken} == {lock.PLACE}
        monkeypatch.setattr(lock, "_open", {})  # as another process sees it
        assert lock.take(tmp_path) == said
        monkeypatch.undo()


def test_the_lock_of_a_sweeps_job_is_another(tmp_path):
    """The job keeps other jobs out of its cell's folder while its command runs there."""
    take = OWNER.replace(
        "print(lock.take(Path(sys.argv[1])), flush=True); time.sleep(60)", "sys.exit(lock.take(Path(sys.argv[1])))"
    )
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {take}", str(tmp_path)]
    assert Job(words, tmp_path, [], {})() == 0
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "done"
