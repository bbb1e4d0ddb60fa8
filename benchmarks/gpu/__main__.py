"""Use a short visit to a GPU well: checks, then times, then one seed of Table 1.

    python -m benchmarks.gpu --archive cifar10-jpeg.npz.xz             # nine minutes on one GPU
    python -m benchmarks.gpu --archive ... --minutes 30                # more epochs in the table
    python -m benchmarks.gpu --device cpu --tiny                       # a rehearsal of all parts in a minute or two

Every finding is written at once, below --out and the device's name; the same command goes on from there. What does not
fit into the time, or fails, is named with its reason, and the rest goes on. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.errors import UsageError, leave, script

PARTS = ("checks", "epochs", "table")


@script
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without it")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="CIFAR-10 as JPEG files in one .npz.xz")
    parser.add_argument("--minutes", type=float, default=9.0, help="how long it may take (9)")
    parser.add_argument("--device", default="auto", help="auto, cuda:N or cpu (auto)")
    parser.add_argument("--tiny", action="store_true", help="everything at the size of a rehearsal")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), metavar="DIR", help="what is kept")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), metavar="DIR", help="models, which are not")
    typed = parser.parse_args(argv)
    check(typed)
    from benchmarks.gpu import checks, epochs, table, visit
    from utils import environment, files
    from utils.device import resolve

    device = resolve(typed.device)
    if device.type == "cpu" and not typed.tiny:
        raise UsageError("--device cpu: takes days at full size; add --tiny, or use a machine with a GPU")
    name = visit.folder_name(device) + ("-tiny" if typed.tiny else "")
    out, work = typed.out / name, typed.work / name
    for folder in (out, work):
        files.make_folder(folder)
    here = visit.Visit(device, 60 * typed.minutes, typed.tiny, typed.archive, out, work)
    files.write_json(out / "environment.json", environment.environment())
    work_of = {"checks": checks.check, "epochs": epochs.measure, "table": table.make}
    for part in typed.parts or PARTS:
        work_of[part](here)
    here.say(f"all of it is in {out}")
    return 0


def check(typed: argparse.Namespace) -> None:
    """Raise a ``UsageError`` for an unknown part, a time out of range, or an archive that does not exist."""
    strange = [part for part in typed.parts if part not in PARTS]
    if strange:
        raise UsageError(f"{strange[0]}: no part; there are {', '.join(PARTS)}")
    if not 0 < typed.minutes < 10_000:
        raise UsageError(f"--minutes {typed.minutes:g}: must be above 0 and below 10000")
    if typed.archive is not None and not typed.archive.is_file():
        raise UsageError(f"--archive {typed.archive}: no such file")


if __name__ == "__main__":
    leave(main())
