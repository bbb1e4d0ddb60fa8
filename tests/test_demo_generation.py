"""The demo of generation, end to end, with a network that learns nothing in the time it is given."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from experiments import demo_generation

SETTINGS = {
    "seed": 4,
    "forget": "class:3",
    "data": "--dataset digits --input_size 8",
    "network": "--width 8 --multipliers 1,2 --blocks 1 --attention 4 --norm_groups 4 --dropout 0",
    "training": "--steps 4 --batch_size 64",
    "drawing": "--timesteps 3 --eta 0 --cond_scale 0.5 --n_samples_per_class 12",
    "judging": "--judge_epochs 1",
    "methods": {"FT": "--batch_size 64 --iterations 2", "SalUn": "--batch_size 64 --iterations 2"},
}


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return path


def test_the_demo_leaves_a_line_and_a_row_of_pictures_for_each_model(settings, tmp_path, capsys):
    folder = tmp_path / "demo"
    assert demo_generation.main([str(folder), "--settings", str(settings), "--methods", "FT"]) == 0
    head, *lines, floor = (folder / "table.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["before", "Retrain", "FT"] and head.split()[:2] == ["UA", "RA"]
    assert floor.startswith("floor of FD(judge): ") and floor in capsys.readouterr().out
    drawn = np.asarray(Image.open(folder / "pictures.png").convert("RGB"))
    assert drawn.shape[1] > 500 and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50
    assert demo_generation.main([str(folder), "--settings", str(settings), "--methods", "FT"]) == 0
    assert "done already" in capsys.readouterr().out


def test_a_method_that_the_settings_lack_is_refused(settings, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        demo_generation.main([str(tmp_path / "demo"), "--settings", str(settings), "--methods", "GA"])
    assert stopped.value.code == 2 and "has FT, SalUn" in capsys.readouterr().err
