"""Random command lines: every parser answers with a configuration or with one line, and never with a traceback or a
run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import string

import pytest
import test_docs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arg_parser
import main_attack
import main_report
from generation import generation_flags
from sweep import command
from unlearn import registry
from utils import options
from utils.errors import UsageError, script

READERS = {"main_sweep": command.parse, "main_report": main_report.parse, "main_attack": main_attack.parse}
GENERATORS = {
    f"main_generate {work}": lambda words, work=work: arg_parser.parse_generate(work, [work, *words])
    for work in arg_parser.GENERATION
}
PARSERS = {name: parse for name, parse in test_docs.PARSERS.items() if name != "main_generate"} | READERS | GENERATORS
LINES = 100  # for each parser; thirty times as many in the long form

NUMBERS = st.one_of(
    st.integers(-3, 300).map(str),
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(repr),
    st.floats(0, 1).map(repr),
    st.sampled_from(
        ["0", "-0", "1e400", "-inf", "nan", "1_000", "０", "0x10", "1e-3", "+5", " 7", "1.", ".5", "1" * 5000]
    ),
)
LISTS = st.lists(NUMBERS, max_size=4).map(",".join)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(string.printable, max_size=12),
    st.sampled_from(["", "-", "--", "@", "=", ",", "\x00", "\x1b[2J", "a\nb", "\ud800", "false", "true"]),
)
WORDS = st.sampled_from(
    [
        "resnet20s",
        "vit_tiny",
        "resnet18",
        "timm:vit_tiny_patch16_224",
        "timm:",
        "digits",
        "cifar10",
        "CIFAR100",
        "folder",
        "TinyImagenet",
        "imagenet",
        "cpu",
        "cuda:0",
        "cuda:x",
        "cuda:",
        "fixed",
        "reference",
        "class:3",
        "class:1,2:5",
        "random:0.1",
        "random:7",
        "indices:1",
        "indices:/dev/null",
        "class:",
        ":",
        "0,3,7",
        "-1",
        "deepunlearn",
        "fisher",
        "cosine",
        "adamw",
        "slurm",
        "linear",
        "full",
        "none",
        "synflow",
        "rewind_lt",
        "0.5,0.9",
        "m.pth.tar",
        "/dev/null/x",
        ".",
        *registry.names(),
    ]
)


def flags_of(parse) -> list[str]:
    """All flags of a parser, the field's older ones that it does not show included."""
    seen: list[str] = []

    class Seen(options.Parser):
        def read(self, argv):
            seen.extend(flag for action in self._actions for flag in action.option_strings)
            raise UsageError("seen")

    with pytest.MonkeyPatch.context() as patched:
        for module in (arg_parser, main_attack, main_report, command):
            patched.setattr(module, "Parser", Seen)
        with contextlib.suppress(UsageError):
            parse([])
    return seen


FLAGS = {name: flags_of(parse) for name, parse in PARSERS.items()}
NEEDED = {
    "main_forget": ["--mask", "m"],
    "main_backdoor": [],
    "main_transfer": ["--mask", "m", "--target_dataset", "digits"],
    "main_saliency": ["--mask", "m"],
    "main_sweep": ["file.yaml"],
    "main_report": ["runs"],
    "main_attack": ["runs"],
} | {name: ["--model", "m"] for name in GENERATORS if name not in ("main_generate train", "main_generate encode")}
NEEDED["main_generate encode"] = ["--vae", "v"]


def sound() -> dict[str, st.SearchStrategy[list[str]]]:
    """For every flag, what can be typed behind it: nothing, or a value within its bounds."""
    configs = [
        config
        for module in (arg_parser, command, main_attack, generation_flags)
        for config in vars(module).values()
        if isinstance(config, type) and dataclasses.is_dataclass(config)
    ]
    configs += [registry.get(name).config for name in registry.names()]
    found: dict[str, st.SearchStrategy[list[str]]] = {}
    for config in configs:
        for field in dataclasses.fields(config):
            if "choices" in field.metadata:
                found.setdefault(f"--{field.name}", typed_value(field, *options._types(config, field)))
    return found


def typed_value(field, kind, member) -> st.SearchStrategy[list[str]]:
    if kind is bool:
        return st.just([])
    if field.metadata["choices"]:
        return st.sampled_from(field.metadata["choices"]).map(lambda word: [word])
    if member not in (int, float):
        return st.sampled_from(
            {
                "save_dir": ["x"],
                "device": ["cpu", "cuda:1"],
                "arch": ["resnet18", "vit_tiny"],
                "unlearn": registry.names(),
                "dataset": ["digits", "svhn"],
            }.get(field.name, ["m"])
        ).map(lambda word: [word])
    low = next((field.metadata[key] for key in ("low", "above") if field.metadata[key] is not None), 0)
    high = next((field.metadata[key] for key in ("high", "below") if field.metadata[key] is not None), low + 50)
    number = (
        st.integers(int(low), int(high))
        if member is int
        else st.floats(
            low, high, exclude_min=field.metadata["above"] is not None, exclude_max=field.metadata["below"] is not None
        )
    )
    text = number.map(repr)
    return (st.lists(text, min_size=1, max_size=3, unique=True).map(",".join) if kind is tuple else text).map(
        lambda word: [word]
    )


SOUND = sound()


def lines(name: str) -> st.SearchStrategy[list[str]]:
    """Command lines: known flags with plausible and implausible values, misspelt flags, words from nowhere, in any
    order.
    """
    known = st.sampled_from(FLAGS[name])
    flag = st.one_of(
        known,
        known,
        known.map(lambda word: word.replace("_", "-")),
        known.map(lambda word: word[:-1]),
        TEXTS.map(lambda text: f"--{text}"),
    )
    value = st.one_of(NUMBERS, LISTS, WORDS, TEXTS)
    part = st.one_of(
        flag.map(lambda word: [word]),
        st.tuples(flag, value).map(list),
        st.tuples(flag, value).map(list),
        st.tuples(flag, value).map(lambda pair: ["=".join(pair)]),
        value.map(lambda word: [word]),
        st.tuples(st.just("--unlearn"), st.sampled_from(registry.names())).map(list),
    )
    right = (
        st.sampled_from([word for word in FLAGS[name] if word in SOUND]).flatmap(
            lambda word: SOUND[word].map(lambda value: [word, *value])
        )
        if set(FLAGS[name]) & set(SOUND)
        else st.just([])
    )
    parts = st.one_of(st.lists(right, max_size=4), st.lists(right, max_size=4), st.lists(part, max_size=6))
    given_right = NEEDED.get(name, []) + ([] if name in READERS else ["--save_dir", "x"])
    return st.tuples(st.sampled_from([[], given_right, given_right]), parts).map(
        lambda both: [*both[0], *(word for words in both[1] for word in words)]
    )


def answer(parse, argv) -> str:
    """What came of it: "parsed", "refused" or "helped"; anything else fails."""
    out, err = io.StringIO(), io.StringIO()
    found = []

    @script
    def main(words):
        found.append(parse(words))
        return 0

    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as stopped:
            assert stopped.code == 0 and {"-h", "--help"} & set(argv) and out.getvalue().startswith("usage: ")
            return "helped"
    if code == 0:
        assert found and (dataclasses.is_dataclass(found[0]) or isinstance(found[0], tuple)) and err.getvalue() == ""
        return "parsed"
    said = err.getvalue()
    assert (
        code == 2
        and said.count("\n") == 1
        and ": error: " in said
        and len(said) > len("main.py: error: \n")
        and said[:-1].isprintable()
    ), (code, said)
    return "refused"


def check(name: str, number: int) -> None:
    counts = {"parsed": 0, "refused": 0, "helped": 0}

    @settings(
        max_examples=number, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(lines(name))
    def every_line_is_answered(argv):
        counts[answer(PARSERS[name], argv)] += 1

    every_line_is_answered()
    assert sum(counts.values()) >= number and counts["refused"] >= number // 20 and counts["parsed"] >= number // 20, (
        counts
    )
    print(f"\n{name}: {counts}")


@pytest.mark.parametrize("name", PARSERS)
def test_random_command_lines(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check(name, LINES)
    assert not list(tmp_path.iterdir())


@pytest.mark.torture
@pytest.mark.parametrize("name", PARSERS)
def test_more_random_command_lines(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check(name, 30 * LINES)
    assert not list(tmp_path.iterdir())


def test_a_parser_that_lets_an_error_through_would_be_seen(monkeypatch):
    monkeypatch.setitem(PARSERS, "main_imp", lambda argv: int("".join(argv)) and arg_parser.parse_imp(argv))
    with pytest.raises(ValueError):
        check("main_imp", 20)
