"""Command lines and files of arguments: every word is used as a shell would use it, or refused with its line."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arg_parser
import main_forget
import main_imp
import main_report
import main_sweep
from utils import words
from utils.errors import UsageError

WANTED = ["--unlearn", "GA", "--save_dir", "a b"]
READ = {  # forms of the same arguments, and what is said to be left out
    "one line": ("--unlearn GA --save_dir 'a b'\n", ""),
    "no last line end": ("--unlearn GA --save_dir 'a b'", ""),
    "byte-order mark": ("\ufeff--unlearn GA --save_dir 'a b'\n", ""),
    "one word per line": ("--unlearn\nGA\n--save_dir\n'a b'\n", ""),
    "value on its own line": ("--unlearn GA\n\n--save_dir\n   'a b'", ""),
    "one word per line, with the script": ("python\nmain_forget.py\n--unlearn\nGA\n--save_dir\na\\ b\n", ""),
    "comments and blank lines": (
        '# a run, don\'t ask\n\n  \n--unlearn GA # which one\n\t# --lr 3\n--save_dir "a b"\n',
        "",
    ),
    "Windows line ends": ("--unlearn GA\r\n--save_dir 'a b'\r\n", ""),
    "old Mac line ends": ("--unlearn GA\r--save_dir 'a b'\r", ""),
    "backslashes": ("python -u main_forget.py \\\n    --unlearn GA \\\n    --save_dir 'a b'\n", ""),
    "backslashes, Windows line ends": ("python main_forget.py \\\r\n --unlearn GA \\\r\n --save_dir 'a b' \\\r\n", ""),
    "blanks behind a backslash": ("python main_forget.py \\  \n --unlearn GA \\\t\r\n --save_dir 'a b'", ""),
    "a comment among lines that go on": (
        "python main_forget.py --unlearn GA \\\n  # --lr 3 \\\n  --save_dir 'a b'\n",
        "",
    ),
    "a word over two lines": ("--unl\\\nearn GA --save_dir 'a b'", ""),
    "last line ends in a backslash": ("--unlearn GA --save_dir 'a b' \\", ""),
    "a shell script": ("#!/usr/bin/env bash\npython3.11 ./main_forget.py --unlearn GA --save_dir 'a b'\n", ""),
    "absolute paths": ("/opt/venv/bin/python3 /home/me/project/main_forget.py --unlearn GA --save_dir 'a b'", ""),
    "the script alone": ("./main_forget.py --unlearn GA --save_dir 'a b'", ""),
    "a variable for python": ("\"${PYTHON}\" -u main_forget.py --unlearn GA --save_dir 'a b'", ""),
    "environment": (
        "CUDA_VISIBLE_DEVICES=0 OMP_NUM_THREADS=1 python -u main_forget.py --unlearn GA --save_dir 'a b'",
        "CUDA_VISIBLE_DEVICES=0 OMP_NUM_THREADS=1",
    ),
    "torchrun": (
        "torchrun --nproc_per_node 2 main_forget.py --unlearn GA --save_dir 'a b'",
        "torchrun --nproc_per_node 2",
    ),
    "torch.distributed.run": (
        "python -m torch.distributed.run --nproc_per_node=2 main_forget.py --unlearn GA --save_dir 'a b'",
        "-m torch.distributed.run --nproc_per_node=2",
    ),
    "accelerate": (
        "accelerate launch --num_processes 2 main_forget.py --unlearn GA --save_dir 'a b'",
        "accelerate launch --num_processes 2",
    ),
    "srun": (
        "srun -p gpu --gres=gpu:1 \\\n  python main_forget.py --unlearn GA --save_dir 'a b'",
        "srun -p gpu --gres=gpu:1",
    ),
}
REFUSED = {  # what of it is named, behind "@FILE, "
    "–unlearn GA": "line 1: –unlearn: begins with an en dash (U+2013); type --unlearn",
    "--seed 3\n—unlearn GA": "line 2: —unlearn: begins with an em dash (U+2014); type --unlearn",
    "--class_to_replace −1": "line 1: −1: begins with a minus sign (U+2212); type -1",
    "--unlearn “GA”": (
        "line 1: “GA”: has a typographic quote (left double quotation mark, U+201C); type ' or \" instead"
    ),
    "--save_dir=‘x’": "line 1: --save_dir=‘x’: has a typographic quote",
    "--unlearn\u00a0GA": "line 1: has an invisible character (no-break space, U+00A0); type a space, or quote it",
    "--unlearn\u200b GA": "line 1: has an invisible character (zero width space, U+200B)",
    "# mine\nunlearn: GA\nsave_dir: x\n": (
        "line 2: unlearn: GA: reads like YAML; write flags as they are typed: --flag value"
    ),
    "---\nunlearn: GA\n": "line 1: ---: reads like YAML",
    "- unlearn: GA\n": "line 1: - unlearn: GA: reads like YAML",
    '\n{\n "unlearn": "GA"}': "line 2: {: reads like JSON, TOML or INI",
    "[run]\nunlearn = GA": "line 1: [run]: reads like JSON, TOML or INI",
    "unlearn = GA": "line 1: unlearn = GA: reads like TOML or INI",
    "unlearn=GA\nsave_dir=x": "line 1: unlearn=GA: belongs to no flag; write flags as they are typed: --flag value",
    "--seed 3\nunlearn: GA": "line 2: unlearn:: belongs to no flag",
    "python main_forget.py --unlearn GA\npython main_forget.py --unlearn FT\n": (
        "line 2: python: begins a second command; a file of arguments holds one"
    ),
    "./main_forget.py --unlearn GA\n\n./main_forget.py --unlearn FT": (
        "line 3: ./main_forget.py: begins a second command"
    ),
    "--unlearn GA --save_dir a\n--unlearn FT --save_dir b\n": (
        "line 2: --unlearn: has another value in line 1; a file of arguments holds one command"
    ),
    "--unlearn GA\n--seed 3 --unlearn=FT": "line 2: --unlearn: has another value in line 1",
    "--save_dir ${save_dir} --mask m": (
        "line 1: ${save_dir}: has a variable, and no shell reads this file; write what is meant, or quote it with '"
    ),
    '--seed 3\n--save_dir "runs/$SEED"': "line 2: runs/$SEED: has a variable",
    "--save_dir x$(date)": "line 1: x$(date): has $(, which means something to a shell",
    "--save_dir `date`": "line 1: `date`: has `, which means",
    "--unlearn GA | tee log": "line 1: |: has |, which means",
    "--unlearn GA; ls": "line 1: GA;: has ;, which means",
    "--unlearn GA && ls": "line 1: &&: has &&, which means",
    "--unlearn GA > log 2>&1": "line 1: >: has >, which means",
    "--mask runs/*.tar": "line 1: runs/*.tar: has *, which means",
    "--mask {a,b}": "line 1: {a,b}: has {, which means",
    "--data C:\\data": (
        "line 1: \\d: a backslash before a letter or digit means nothing; type / in paths, or quote the word"
    ),
    "\x00\x01": "line 1: has the control character '\\x00'; a file of arguments is plain text",
    "--unlearn \\\n @more.txt": "line 2: @more.txt: a file of arguments names no other; write its words here",
    "--seed 3\n--save_dir 'x\n--unlearn GA": "line 2: the quote ' is opened and not closed",
    "python main_imp.py --epochs 3": "line 1: is a command of main_imp.py, not of main_forget.py",
    "python --unlearn GA": (
        "line 1: python: is followed by no script; write python main_forget.py and its flags, or the flags alone"
    ),
    "cd runs\npython main_forget.py --unlearn GA": "line 2: python: begins a second command",
    "source env.sh --unlearn GA": "line 1: source: belongs to no flag",
    "-u GA --save_dir x": "line 1: -u: unknown flag",
    "--seed 3\n--no-such-flag": "line 2: --no_such_flag: unknown flag",
    "--unlearn GA stray": "line 1: stray: belongs to no flag",
    "--save_dir x --unlearn_lr x": "line 1: --unlearn_lr x: must be a number",
    "--seed 3\n--seed=x": "line 2: --seed: has another value in line 1",
    "--save_dir x --unlearn GA\n  --unlearn_epochs \\\n 0.5": "line 2: --unlearn_epochs 0.5: must be a whole number",
}


def file(tmp_path, text):
    path = tmp_path / "words.txt"
    path.write_bytes(text.encode())
    return f"@{path}"


@pytest.mark.parametrize("form", READ)
def test_every_word_of_a_file_is_used(form, tmp_path):
    text, before = READ[form]
    found, left_out = words.expanded([file(tmp_path, text)], "main_forget.py")
    assert found == WANTED
    assert [line.split(": ", 1)[1] for line in left_out] == (
        [f"left out {before} before main_forget.py; set it where this command is started"] if before else []
    )


def test_what_powershell_writes_is_read(tmp_path):
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "words.txt").write_bytes("--unlearn GA\r\n--save_dir 'a b'\r\n".encode(encoding))
        assert words.expanded([f"@{tmp_path / 'words.txt'}"], "main_forget.py") == (WANTED, [])


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_used_is_refused_with_file_and_line(text, tmp_path, capsys):
    name = file(tmp_path, text)
    assert main_forget.main([name, "--mask", "m"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"main_forget.py: error: {name}, {REFUSED[text]}") and error.count("\n") == 1


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "python main_forget.py \\\n"])
def test_a_file_without_arguments_is_refused(text, tmp_path, capsys):
    assert main_forget.main([file(tmp_path, text)]) == 2
    assert ("is empty" if text == "" else "holds no arguments") in capsys.readouterr().err


def test_quotes_keep_what_means_something_to_a_shell(tmp_path):
    text = "--a '$x|;*' --b \"a\\\"b \\$c ;\" --c \\$d --e it\\'s --f x#y --g 'a'\"b\"c --i 'a'#b --h '\u00a0'"
    found, _ = words.expanded([file(tmp_path, text)], "main_forget.py")
    assert found == [
        "--a",
        "$x|;*",
        "--b",
        'a"b $c ;',
        "--c",
        "$d",
        "--e",
        "it's",
        "--f",
        "x#y",
        "--g",
        "abc",
        "--i",
        "a#b",
        "--h",
        "\u00a0",
    ]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.lists(st.text("ab -_=/.,'\"\\$|;*~é", max_size=6), min_size=1, max_size=4))
def test_any_quoted_words_come_back(listed):
    text = shlex.join(["--flag", *listed])
    assert [str(word) for word in words._words(text, "@x")] == ["--flag", *listed]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.text("ab -#=\n\t'\"\\\\", max_size=14))
def test_the_same_words_as_a_shell(text):
    """``shlex`` is the twin, where it does what a shell does: it joins no lines."""
    if (
        "\\\n" in text
        or text.rstrip(" \t").endswith("\\")
        or "\\\t" in text
        or any(f"\\{letter}" in text for letter in "ab")
        or "\\ \n" in text
    ):
        return
    try:
        expected = shlex.split(text, comments=False)
    except ValueError:
        expected = None
    if "#" in text:
        return
    try:
        found = [str(word) for word in words._words(text, "@x")]
    except UsageError:
        found = None
    assert found == expected


def test_a_command_line_with_printed_dashes_or_quotes_is_refused(capsys):
    for word, said in (
        ("–unlearn", "–unlearn: begins with an en dash (U+2013); type --unlearn"),
        ("-–lr", "-–lr: begins with an en dash (U+2013); type --lr"),
        ("−1", "−1: begins with a minus sign (U+2212); type -1"),
        ("--save_dir=“x”", "--save_dir=“x”: has a typographic quote"),
    ):
        assert main_imp.main(["--save_dir", "x", "--epochs", "1", word]) == 2
        assert capsys.readouterr().err.startswith(f"main_imp.py: error: {said}")


def test_the_home_of_nobody_is_no_such_file(capsys):
    assert main_imp.main(["@~nobody-of-this-name/words.txt"]) == 2
    assert capsys.readouterr().err == "main_imp.py: error: @~nobody-of-this-name/words.txt: no such file\n"


def test_a_tilde_is_the_home_folder_in_every_form(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "words.txt").write_text("--save_dir ~/run --data='~/data' --forget indices:~/list.txt\n")
    (tmp_path / "list.txt").write_text("3 4")
    found = arg_parser.parse_forget(["@~/words.txt", "--mask=~/m.pth.tar", "--arch", "hf:~/vit"])
    assert (found.run.save_dir, found.data.data, found.unlearn.mask) == tuple(
        str(tmp_path / name) for name in ("run", "data", "m.pth.tar")
    )
    assert found.model.arch == f"hf:{tmp_path}/vit" and found.scenario.indices == (3, 4)
    (tmp_path / "sweep.txt").write_text("python main_sweep.py ~/x.yaml --folder=~/runs --print")
    file, what, _ = main_sweep.parse(["@~/sweep.txt"])
    assert str(file) == str(tmp_path / "x.yaml") and what.folder == str(tmp_path / "runs")
    (tmp_path / "report.txt").write_text("~/runs --out=~/out")
    wanted = main_report.parse(["@~/report.txt"])
    assert (wanted.folders, wanted.out) == ([tmp_path / "runs"], tmp_path / "out")


def test_a_flag_may_be_repeated_with_the_same_value(tmp_path):
    text = "--rate=0.8 --seed 3 --no-aug --rate 0.8 --seed=3 --no_aug --lr 1"
    assert words.expanded([file(tmp_path, text)], "main_imp.py")[0] == text.split()


@pytest.mark.parametrize(
    "words",
    [["--save_dir", ""], ["--save_dir="], ["--save_dir", "x", "--data", " "], ["--save_dir", "x", "--arch", ""]],
)
def test_an_empty_value_is_refused(words, capsys):
    assert main_imp.main(words) == 2
    assert "must not be empty\n" in capsys.readouterr().err


def test_words_of_files_and_of_the_command_line_mix_and_the_last_one_counts(tmp_path):
    found = arg_parser.parse_forget([file(tmp_path, "--unlearn GA --mask m --seed 3 --save_dir x"), "--seed", "4"])
    assert (found.run.seed, found.unlearn.unlearn) == (4, "GA")
    assert {
        type(value) for value in (found.run.save_dir, found.unlearn.mask, found.unlearn.unlearn, found.data.dataset)
    } == {str}


def test_what_is_typed_later_is_not_blamed_on_the_file(tmp_path):
    with pytest.raises(UsageError, match=r"^--seed x: must be a whole number"):
        arg_parser.parse_forget([file(tmp_path, "--seed 3"), "--seed", "x"])


def test_two_values_that_may_both_be_meant_are_refused(capsys):
    """argparse takes the last value without a word: of two classes one would be forgotten."""
    twice = r"^--class_to_replace is there twice; write --class_to_replace 1,2 if both are meant$"
    with pytest.raises(UsageError, match=twice):
        arg_parser.parse_forget(
            ["--class_to_replace", "1", "--class-to-replace=2", "--save_dir", "x"], read_files=False
        )
    with pytest.raises(UsageError, match="^--mask a and --model_path b are the same flag by two names; give one$"):
        arg_parser.parse_forget(["--unlearn", "FT", "--mask", "a", "--model_path", "b"], read_files=False)
    same = ["--class_to_replace", "1", "--class_to_replace", "1", "--seed", "3", "--seed", "4", "--no_aug", "--no-aug"]
    found = arg_parser.parse_forget([*same, "--save_dir", "x"], read_files=False)
    assert found.scenario.classes == ("1",) and found.run.seed == 4 and capsys.readouterr().err == ""
