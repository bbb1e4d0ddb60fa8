"""Masks and Fisher information of generators as files: made, used, kept, refused; and what they cost."""

from __future__ import annotations

import pytest
import torch
from conftest import killed_at
from test_main_generate import NETWORK, base, equal, run, weights  # noqa: F401  (base is a fixture)

from generation import saved
from unlearn import saliency
from utils import files

QUICK = "--forget class:3 --iterations 2 --batch_size 32".split()


@pytest.fixture(scope="module")
def found(base, tmp_path_factory):  # noqa: F811
    """Folders of both kinds of masks of the same generator."""
    folder = tmp_path_factory.mktemp("masks")
    for kind in ("gradient", "fisher"):
        told = ["--model", base / "generator.pt", "--forget", "class:3", "--saliency", kind, "--batch_size", "32"]
        assert run("saliency", *told, "--save_dir", folder / kind) == 0
    return folder


def forget(base, folder, *words) -> dict:  # noqa: F811
    assert run("forget", "--model", base / "generator.pt", *QUICK, *words, "--save_dir", folder) == 0
    return files.read_json(folder / "result.json", "")


def test_masks_are_plain_and_nested_and_fishers_make_the_masks(base, found):  # noqa: F811
    model = saved.read(base / "generator.pt", "--model", 8).network()
    half, most = (torch.load(found / "gradient" / f"with_{density}.pt") for density in (0.5, 0.9))
    total = sum(parameter.numel() for parameter in model.parameters())
    assert list(half) == [name for name, _ in model.named_parameters()]
    assert all(value.dtype == torch.bool for value in half.values())
    assert sum(int(value.sum()) for value in half.values()) == total // 2
    assert all(bool((most[name] | ~value).all()) for name, value in half.items())
    above, below = (torch.load(found / "fisher" / name) for name in ("forget_fisher.pt", "remain_fisher.pt"))
    for ratio in (0.5, 3.0):
        mask = torch.load(found / "fisher" / f"fisher_{ratio}.pt")
        assert all(torch.equal(mask[name], (above[name] + 1e-15) / (below[name] + 1e-15) >= ratio) for name in mask)
    assert float(above["conv_out.bias"].min()) > 0 and above["conv_out.bias"].dtype == torch.float32


def test_a_run_that_finds_its_mask_keeps_it_and_a_given_file_is_used(base, found, tmp_path):  # noqa: F811
    own = forget(base, tmp_path / "own", "--unlearn", "SalUn")
    given = forget(base, tmp_path / "given", "--unlearn", "SalUn", "--saliency_mask", tmp_path / "own" / "with_0.5.pt")
    one, other = (weights(tmp_path / name)["state_dict"] for name in ("own", "given"))
    kept, made = torch.load(tmp_path / "own" / "with_0.5.pt"), torch.load(found / "gradient" / "with_0.5.pt")
    assert equal(one, other) and equal(kept, made)
    few = forget(base, tmp_path / "few", "--unlearn", "SalUn", "--saliency_mask", found / "gradient" / "with_0.1.pt")
    assert not equal(weights(tmp_path / "few")["state_dict"], one)
    assert 0 < own["seconds"]["mask"] < own["seconds"]["unlearning"]
    assert given["seconds"]["mask"] is None and few["seconds"]["mask"] is None


def test_weights_outside_of_a_file_s_mask_are_those_of_the_start(base, found, tmp_path):  # noqa: F811
    mask, start = found / "gradient" / "with_0.3.pt", weights(base)["average"]
    forget(base, tmp_path, "--unlearn", "SalUn", "--saliency_mask", mask, "--ema_decay", "0")
    moved = weights(tmp_path)["state_dict"]
    free = torch.load(mask)
    assert all(torch.equal(moved[name][~free[name]], start[name][~free[name]]) for name in free)
    assert any(not torch.equal(moved[name], start[name]) for name in free)


@pytest.mark.torture
def test_fisher_information_is_kept_and_a_given_folder_used_at_any_ratio(base, found, tmp_path):  # noqa: F811
    told = ("--unlearn", "SFRon", "--no_adaptive", "--fisher_ratio", "3")
    own = forget(base, tmp_path / "own", *told)
    given = forget(base, tmp_path / "given", *told, "--fisher_dir", tmp_path / "own")
    one, other = (weights(tmp_path / name)["state_dict"] for name in ("own", "given"))
    assert equal(one, other) and own["seconds"]["mask"] > 0 and given["seconds"]["mask"] is None
    for name in ("forget_fisher.pt", "remain_fisher.pt", "fisher_3.0.pt"):
        assert equal(torch.load(tmp_path / "own" / name), torch.load(found / "fisher" / name)), name
    forget(base, tmp_path / "other", *told[:-1], "10", "--fisher_dir", found / "fisher")
    assert not equal(weights(tmp_path / "other")["state_dict"], one)


def test_keys_of_several_devices_and_numbers_in_place_of_booleans_are_read(base, found, tmp_path):  # noqa: F811
    """As the released code writes them."""
    model = saved.read(base / "generator.pt", "--model", 8).network()
    own = torch.load(found / "gradient" / "with_0.5.pt")
    torch.save({f"module.{name}": value.long() for name, value in own.items()}, tmp_path / "with_0.5.pt")
    assert equal(saliency.read(tmp_path / "with_0.5.pt", model), own)
    for name in saliency.FISHERS:
        stored = torch.load(found / "fisher" / name)
        torch.save({f"module.{key}": value for key, value in stored.items()}, tmp_path / name)
    theirs, ours = (saliency.read_fishers(folder, model) for folder in (tmp_path, found / "fisher"))
    assert equal(theirs, ours)


def test_a_run_that_goes_on_reads_its_mask_and_counts_its_cost_once(base, tmp_path, monkeypatch):  # noqa: F811
    words = ["--model", base / "generator.pt", *QUICK, "--unlearn", "SalUn", "--save_every", "1"]
    with killed_at(4):  # the mask is the first file after the split
        run("forget", *words, "--save_dir", tmp_path)
    assert (tmp_path / "forgetting_progress.pt").exists() and not (tmp_path / "generator.pt").exists()

    def refuse(*arguments):
        raise AssertionError("found the mask again")

    monkeypatch.setattr(saliency, "gradient", refuse)
    seconds = torch.load(tmp_path / "forgetting_progress.pt")["memory"]["mask_seconds"]
    assert run("forget", *words, "--save_dir", tmp_path) == 0
    assert files.read_json(tmp_path / "result.json", "")["seconds"]["mask"] == seconds


REFUSED = [
    (["--unlearn", "SalUn", "--saliency_mask", "OTHER"], "--saliency_mask OTHER: is no saliency mask of this model ("),
    (
        ["--unlearn", "SFRon", "--fisher_dir", "OTHERS"],
        "--fisher_dir OTHERS/forget_fisher.pt: is no Fisher information",
    ),
    (
        ["--unlearn", "SFRon", "--fisher_dir", "BELOW"],
        "--fisher_dir BELOW/remain_fisher.pt: holds numbers below 0 (in ",
    ),
    (["--unlearn", "SFRon", "--fisher_dir", "EMPTY"], "--fisher_dir EMPTY/forget_fisher.pt: no such file"),
    (
        ["--unlearn", "SFRon", "--fisher_dir", "EMPTY", "--no_saliency"],
        "--fisher_dir and --no_saliency: each says which weights may change; give one",
    ),
    (
        ["--unlearn", "SFRon", "--saliency_mask", "OTHER", "--fisher_dir", "EMPTY"],
        "--saliency_mask and --fisher_dir: each says which weights may change; give one",
    ),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_files_of_another_network_are_refused_in_one_line(base, found, tmp_path, capsys, words, said):  # noqa: F811
    own = torch.load(found / "gradient" / "with_0.5.pt")
    wider = {name: torch.ones(*value.shape, 2) for name, value in own.items()}
    places = {name: tmp_path / name for name in ("OTHERS", "BELOW", "EMPTY", "OTHER")}
    for name in ("OTHERS", "BELOW", "EMPTY"):
        places[name].mkdir()
    torch.save(wider, places["OTHER"])
    torch.save(wider, places["OTHERS"] / "forget_fisher.pt")
    for name, sign in zip(saliency.FISHERS, (1, -1)):
        torch.save({key: sign * torch.ones(value.shape) for key, value in own.items()}, places["BELOW"] / name)
    told = [str(places.get(word, word)) for word in words]
    code = run("forget", "--model", base / "generator.pt", *QUICK, *told, "--save_dir", tmp_path / "out")
    error = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert code == 2 and error.startswith(f"main_generate.py: error: {said}") and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()
