"""Every module and every script starts where there is nothing of POSIX, as on Windows."""

from __future__ import annotations

import apart
from conftest import ROOT

# Libraries have guards of their own, so they are imported before POSIX is taken away from the project's modules.
SCRIPT = """
import builtins, contextlib, importlib, io, os, pathlib, signal, sys, types
import matplotlib.pyplot, numpy, pandas, scipy.stats, sklearn.svm, submitit, torch.distributed, torchvision, tqdm, yaml
import bokeh.embed, bokeh.plotting, optuna, peft, timm
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

root, plain = str(pathlib.Path.cwd()), builtins.__import__
GONE = {"fcntl", "resource", "termios", "pwd", "grp"}

def imports(name, within=None, *more):
    if name in GONE and str((within or {}).get("__file__")).startswith(root):
        raise ImportError(f"No module named {name!r}")
    return plain(name, within, *more)

builtins.__import__ = imports
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
for module, names in {
    signal: ("SIGUSR1", "SIGUSR2", "SIGKILL", "SIGPIPE", "SIGALRM", "SIGHUP", "alarm"),
    os: ("fork", "uname", "getuid", "waitid", "P_PID", "WEXITED", "WNOHANG", "WNOWAIT", "pread", "pwrite", "O_CLOEXEC",
         "killpg", "setsid", "sched_getaffinity"),
}.items():
    for name in names:
        delattr(module, name)

mains = sorted(path.stem for path in pathlib.Path().glob("main_*.py"))
for path in sorted(pathlib.Path().glob("*/**/*.py")):
    if path.parts[0] not in ("tests", "experiments", "docs") and path.stem != "__main__" and ".venv" not in path.parts:
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
for name in mains:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            code = importlib.import_module(name).main(["--help"])
        except SystemExit as end:
            code = end.code
    assert not code and name in said.getvalue(), (name, code)
print(len(mains), {sys.modules[name].SIGNALS for name in ["utils.preempt"]})
"""


def test_every_module_and_help_without_posix(tmp_path):
    done = apart.python(["-c", SCRIPT], ROOT, tmp_path)
    assert done.code == 0, done.err[-3000:]
    assert done.out.splitlines()[-1] == f"{len(list(ROOT.glob('main_*.py')))} {{(<Signals.SIGTERM: 15>,)}}"
