#!/usr/bin/env python3
"""Remove source classes from a trained classifier, then carry it over to a target data set: accuracy and time of both.

    python main_transfer.py --mask runs/omp95/1model_SA_best.pth.tar --target data/pets --removed 0,1,3 --save_dir runs/pets
    python main_transfer.py --mask runs/omp95/1model_SA_best.pth.tar --target data/pets --removed 0,1,3 --unlearn retrain \\
        --save_dir runs/pets-retrain
    python main_report.py runs

The first unlearns 0, 1 and 3 classes by l1-sparse and fits a new head to each model's frozen features,
the second trains anew without these classes, which is what the first should come close to in less
time, the third puts both into one table (Jia et al. 2023, improving transfer learning by unlearning).
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

from pathlib import Path

import arg_parser
from utils import preview
from utils.errors import leave, say_last, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_transfer(argv)
    say_last(arg_parser.remarks(arguments))
    from dataset import split_file
    from transfer.job import check, read_data

    checked = check(arguments)
    if arguments.run.dry_run:
        from transfer.transfer_header import intended

        title = f"main_transfer.py: {checked.method.name}, {checked.method.summary}"
        preview.show(arguments.run.dry_run, title, intended(arguments, checked), checked.config)
        return 0
    from report.transfer_table import show
    from transfer.point import measure
    from transfer.transfer_header import OUTPUTS, header
    from utils.log import Log
    from utils.run_folder import RunFolder, environment, fingerprint

    folder = RunFolder(Path(arguments.run.save_dir), "transfer", fingerprint(checked.config), OUTPUTS)
    log = Log(folder.path)
    if folder.result() is None:
        folder.begin("main_transfer.py", argv)
        log.line(f"main_transfer.py: {arg_parser.reading(arguments)}")
        bench = read_data(arguments, checked)
        split_file.write(folder.path, bench.base.sets(len(bench.data.test_labels)), bench.base.digest)
        log.facts(
            f"main_transfer.py: {checked.method.name}, {checked.method.summary}",
            header(arguments, checked, bench, folder.path),
        )
        points = [measure(arguments, checked, bench, count, argv) for count in checked.removed]
        for found in points:
            log.record("point", **{key: found[key] for key in ("removed", "accuracy", "seconds")})
        log.line()
        show(points, folder.path)
        folder.finish(
            {
                "label": folder.label,
                "script": "main_transfer.py",
                "status": "done",
                "method": checked.method.name,
                "removal_order": checked.config["removal_order"],
                "points": points,
                "config": checked.config,
                "device": str(checked.device),
                "environment": environment(),
            }
        )
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
        log.line()
        show(folder.result()["points"], folder.path)
    return 0


if __name__ == "__main__":
    leave(main())
