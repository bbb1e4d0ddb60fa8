"""A run's folder: its lock, the files that a run writes, and those of earlier runs, which are kept."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from utils import files, lock, parallel
from utils.environment import environment
from utils.errors import DivergedError, UsageError, one_line
from utils.words import expanded

if TYPE_CHECKING:
    from utils.result import Result

SHARED = ("result.json", "log.jsonl", "command.txt", "trigger.png", "split.npz", "outputs.npz")


class RunFolder:
    """The folder of a run, ``--save_dir``. Several runs may share it if they have different labels.

    A run is identified by its label ("FT" or "imp" for example) and by the fingerprint of everything that decides its
    numbers. Files of an earlier run that this run would overwrite are moved to ``earlier/``.

    Args:
        path: the folder; made if absent, and locked until the script ends.
        label: the start of the names of the run's own files.
        fingerprint: 16 hex digits, see ``fingerprint``.
        outputs: glob patterns of the run's own files.
        keep: whether to leave files of unknown origin in place, to go on from them.
        parts: stages that other runs in this folder can share, such as a training: fingerprint and outputs by label.
    Raises:
        UsageError: the path is a file, or another run is at work in the folder.
        RunError: the folder cannot be made.
    """

    def __init__(
        self,
        path: Path,
        label: str,
        fingerprint: str,
        outputs: list[str],
        keep: bool = False,
        parts: Mapping[str, tuple[str, list[str]]] = MappingProxyType({}),
    ):
        self.path, self.label, self.fingerprint = path, label, fingerprint
        self._parts = {label: (fingerprint, outputs), **parts}
        if path.exists() and not path.is_dir():
            raise UsageError(f"--save_dir {path}: is a file, not a folder")
        files.make_folder(path)
        if parallel.is_main():
            self._keep_others_out()
        self._runs = _known_runs(self.path)
        if parallel.is_main():
            self._make_room(keep)
        parallel.wait()

    def _keep_others_out(self) -> None:
        other = lock.take(self.path)
        if other is not None:
            hint = "wait for its end or give another folder"
            raise UsageError(f"--save_dir {self.path}: another run is at work there ({other}); {hint}")
        own = [pattern for _, outputs in self._parts.values() for pattern in outputs]
        files.remove_unfinished(self.path, [*own, *SHARED, "environment.json"])

    def result(self) -> dict[str, Any] | None:
        """The finished result with this run's fingerprint, in the folder or in ``earlier/``; None if there is none."""
        finished = _finished(self.path, self.label, self.fingerprint)
        return None if finished is None else files.read_json(finished, str(finished))

    @property
    def home(self) -> Path:
        """Where the run's result is or will be: the folder itself, or a folder in ``earlier/``."""
        finished = _finished(self.path, self.label, self.fingerprint)
        return self.path if finished is None else finished.parent

    def begin(self, script: str, argv: list[str] | None) -> None:
        """Write ``command.txt`` and ``environment.json``."""
        words, _ = expanded(sys.argv[1:] if argv is None else argv, script)  # a file of arguments may change or vanish
        files.write_text(self.path / "command.txt", shlex.join(["python", script, *words]) + "\n")
        runs = self._runs | {label: fingerprint for label, (fingerprint, _) in self._parts.items()}
        files.write_json(self.path / "environment.json", {"runs": runs, **environment()})

    def finish(self, result: Result) -> None:
        """Write ``result.json`` with the current time (UTC) and a seal. From then on the run counts as done."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        content = {"fingerprint": self.fingerprint, "finished": now, **result.plain()}
        files.write_json(self.path / "result.json", content | {files.SEAL: files.seal(content)})

    def add(self, entries: dict[str, Any]) -> None:
        """Add entries to the finished ``result.json``, replacing those with the same names."""
        place = self.home / "result.json"
        content = {**files.read_json(place, str(place)), **entries}
        content.pop(files.SEAL)
        files.write_json(place, content | {files.SEAL: files.seal(content)})

    def remove(self, names: Iterable[str]) -> None:
        """Delete the files of these names in the folder, if they exist."""
        for name in names:
            files.remove(self.path / name)

    @contextmanager
    def failing(self, facts: Result) -> Iterator[None]:
        """If numbers inside become NaN or infinite, write a ``result.json`` of a failed run. Checkpoints are kept.

        Args:
            facts: the record of the run without scores.
        Raises:
            DivergedError: the error from inside.
        """
        try:
            yield
        except DivergedError as error:
            self.finish(facts.failed(one_line(str(error))))
            raise

    def _make_room(self, keep: bool) -> None:
        for label, (fingerprint, outputs) in self._parts.items():
            before = self._runs.get(label)
            if before != fingerprint and not keep:
                self._move([p for pattern in outputs for p in self.path.glob(pattern)], label, before)
        owner = self._last_result()
        if owner != (self.label, self.fingerprint) and self.result() is None:
            self._move([self.path / name for name in SHARED if (self.path / name).exists()], *owner)

    def _last_result(self) -> tuple[str, str | None]:
        try:
            result = files.read_json(self.path / "result.json", "")
            return str(result["label"]), str(result["fingerprint"])
        except (UsageError, KeyError, TypeError):
            same = self._runs.get(self.label) == self.fingerprint
            return (self.label, self.fingerprint) if same else ("unfinished", None)

    def _move(self, paths: list[Path], label: str, fingerprint: str | None) -> None:
        target = _shelf(self.path, label, fingerprint)
        if any((target / path.name).exists() for path in paths):
            places = (target.with_name(f"{target.name}-{number}") for number in itertools.count(2))
            aside = next(place for place in places if not place.exists())
            with files.named(target, f"move to {aside}"):
                target.rename(aside)
        for path in paths:
            files.make_folder(target)
            with files.named(path, f"move to {target}"):
                shutil.move(path, target / path.name)


def _finished(path: Path, label: str, fingerprint: str) -> Path | None:
    """The path of a run's finished result, in a folder or its ``earlier/``; None if there is none."""
    for place in (path / "result.json", _shelf(path, label, fingerprint) / "result.json"):
        try:
            result = files.read_json(place, str(place))
        except UsageError:  # a damaged result counts as missing: the run goes on from its checkpoints
            continue
        if (
            isinstance(result, dict)
            and result.get("fingerprint") == fingerprint
            and files.SEAL in result
            and result.get("status") == "done"
        ):
            return place
    return None


def _known_runs(path: Path) -> dict[str, str]:
    try:
        return dict(files.read_json(path / "environment.json", "")["runs"])
    except (UsageError, ValueError, KeyError, TypeError):
        return {}


def _shelf(path: Path, label: str, fingerprint: str | None) -> Path:
    name = f"{label}-{str(fingerprint or 'unknown')[:8]}"
    return path / "earlier" / re.sub(r"[^\w.+-]", "_", name)  # a damaged file may hold any label


def state(path: Path, label: str, config: dict[str, Any], outputs: list[str]) -> str:
    """What a run would find in its folder, in words, for ``--dry_run``. Nothing is made or moved.

    Args:
        path: the folder, which need not exist.
        label: of the run.
        config: everything that decides the run's numbers, as plain data.
        outputs: glob patterns of the run's own files.
    """
    mark = fingerprint(config)
    if not path.is_dir():
        return "new"
    done = _finished(path, label, mark)
    if done is not None:
        return f"this run is done already: {done}"
    own = sorted(file.name for pattern in outputs for file in path.glob(pattern))
    if own and _known_runs(path).get(label) == mark:
        return f"this run was begun and goes on: {', '.join(own)}"
    return f"what another run left moves to earlier/: {', '.join(own)}" if own else "nothing of this run yet"


def fingerprint(content: dict[str, Any]) -> str:
    """16 hex digits of SHA-256 over plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
