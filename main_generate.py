#!/usr/bin/env python3
"""Train a diffusion model, draw with it, make it forget classes or a prompt, and score what it draws then.

    python main_generate.py train --dataset cifar10 --save_dir runs/ddpm
    python main_generate.py sample --dataset cifar10 --model runs/ddpm/generator.pt --timesteps 50 --save_dir runs/drawn
    python main_generate.py forget --dataset cifar10 --model runs/ddpm/generator.pt --unlearn SFRon --forget class:3 \\
        --save_dir runs/SFRon
    python main_generate.py train --dataset cifar10 --forget class:3 --save_dir runs/retrain
    python main_generate.py score --dataset cifar10 --model runs/SFRon/generator.pt --forget class:3 \\
        --retrained runs/retrain/generator.pt --save_dir runs/SFRon-scores

The model is a DDPM, a diffusion transformer (DiT) or Stable Diffusion: docs/generation.md. convert reads Facebook's
weights of DiT, encode makes latents of a data set, saliency finds the weights that matter.

The methods are those of main_forget.py that need losses alone. A killed run goes on when the same command is given
again.
"""

from __future__ import annotations

import sys

import arg_parser
from trainer.pipeline import Script
from utils.errors import UsageError, leave, script

SCRIPTS = {
    work: Script("main_generate", parse, f"generation.{module}")
    for work, (parse, module) in arg_parser.GENERATION.items()
}


def main(argv: list[str] | None = None) -> int:
    """Do what the first word says; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in SCRIPTS:
        return SCRIPTS[words[0]].main(argv)
    return script(refuse)(words)


def refuse(words: list[str] | None) -> int:
    """Say what the first word can be."""
    if words and words[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    problem = f"{words[0]}: unknown" if words else "a first word is needed"
    raise UsageError(f"{problem}; known: {', '.join(SCRIPTS)} (main_generate.py train --help shows its flags)")


if __name__ == "__main__":
    leave(main())
