"""Nothing from the network but a download over TLS with a checksum, and nothing imported from the current folder."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading

import apart
import pytest
import torture
from conftest import ROOT

import main_backdoor
import main_forget
import main_imp
import main_report
import main_saliency
import main_synflow
import main_transfer
from dataset import download
from dataset.download import Remote, fetch
from report.plots import figure
from sweep import worker
from utils.errors import UsageError

# --- no network ---


def test_every_script_does_its_work_with_the_network_unreachable(tmp_path):
    """In a network of its own that has no way out, not even to itself."""
    if apart.run(lambda: apart.no_network() or 0, tmp_path).code != 0:
        pytest.skip("no network can be taken away here")
    data, imp, mask = (
        torture.tree(tmp_path / "data"),
        str(tmp_path / "imp"),
        str(tmp_path / "imp" / "0model_SA_best.pth.tar"),
    )
    once = ["--batch_size", "27", "--save_dir"]
    commands = [
        (main_imp, ["--epochs", "1", *once, imp]),
        (main_synflow, ["--epochs", "1", "--steps", "2", *once, str(tmp_path / "synflow")]),
        (main_forget, ["--mask", mask, "--unlearn", "FT", "--unlearn_epochs", "1", *once, str(tmp_path / "FT")]),
        (main_saliency, ["--mask", mask, *once, str(tmp_path / "saliency")]),
        (
            main_backdoor,
            [
                "--epochs",
                "1",
                "--prune",
                "none",
                "--unlearn",
                "FT",
                "--unlearn_epochs",
                "1",
                "--trigger_size",
                "2",
                *once,
                str(tmp_path / "trojan"),
            ],
        ),
        (main_transfer, ["--mask", mask, "--target", str(data), "--removed", "0", *once, str(tmp_path / "transfer")]),
    ]

    def works() -> int:
        apart.no_network()
        return max(
            main_report.main([str(tmp_path)]) if module is None else module.main(torture.small(data, *words))
            for module, words in [*commands, (None, [])]
        )

    ended = apart.run(works, tmp_path)
    assert ended.code == 0, ended.err


def test_without_a_network_a_data_set_that_is_not_there_is_one_line(tmp_path):
    if apart.run(lambda: apart.no_network() or 0, tmp_path).code != 0:
        pytest.skip("no network can be taken away here")

    def asks() -> int:
        apart.no_network()
        return main_imp.main(
            [
                "--dataset",
                "svhn",
                "--data",
                str(tmp_path / "data"),
                "--arch",
                "resnet20s",
                "--save_dir",
                str(tmp_path / "run"),
            ]
        )

    ended = apart.run(asks, tmp_path)
    assert (
        ended.code == 2
        and ended.err.count("\n") == 1
        and "holds no SVHN and it cannot be downloaded (https://ufldl.stanford.edu/housenumbers/train_32x32.mat"
        in ended.err
    )
    assert not list((tmp_path / "data").iterdir())


def test_the_tests_themselves_reach_no_network():
    import socket

    with pytest.raises(PermissionError, match="no test may use the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(PermissionError, match="no test may use the network"):
        socket.getaddrinfo("example.org", 443)


# --- downloads ---


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An HTTPS server of one's own on this machine, which this process trusts; yields its address and what it
    answers by path.
    """
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("server")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(folder / "key"),
            "-out",
            str(folder / "certificate"),
        ],
        check=True,
        capture_output=True,
    )
    answers: dict[str, bytes] = {}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            target = answers.get(f"to {self.path}")
            self.send_response(302 if target else 200 if self.path in answers else 404)
            if target:
                self.send_header("Location", target.decode())
            self.end_headers()
            self.wfile.write(b"" if target else answers.get(self.path, b""))

        def log_message(self, *arguments):
            pass

    listening = http.server.ThreadingHTTPServer(("localhost", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(folder / "certificate"))
        yield f"https://localhost:{listening.server_port}", answers
    listening.shutdown()


def archive(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (("set/link", "/etc/passwd"), ("set/other", "../../x")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()


def remote(address: str, path: str, content: bytes, folder: str | None = None) -> Remote:
    return Remote(f"{address}{path}", len(content), hashlib.sha256(content).hexdigest(), folder)


def test_a_download_is_there_whole_and_announced(server, tmp_path, capsys):
    address, answers = server
    answers["/a.mat"] = b"numbers" * 1000
    answers["/b.tar.gz"] = archive(
        **{
            "set/one": b"1",
            "set/two": b"22",
            "../evil": b"x",
            "/evil": b"x",
            "set/deep/three": b"3",
            "elsewhere/four": b"4",
        }
    )
    found = remote(address, "/a.mat", answers["/a.mat"])
    fetch(found, tmp_path / "data")
    assert (tmp_path / "data" / "a.mat").read_bytes() == answers["/a.mat"]
    assert capsys.readouterr().out == f"downloading {address}/a.mat (0 MB) to {tmp_path / 'data'}\n"
    fetch(found, tmp_path / "data")
    assert capsys.readouterr().out == ""
    fetch(remote(address, "/b.tar.gz", answers["/b.tar.gz"], "set"), tmp_path / "data")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data" / "set").iterdir()} == {
        "one": b"1",
        "two": b"22",
    }
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.mat", "data", "one", "set", "two"]


def test_what_is_not_what_it_should_be_is_not_kept(server, tmp_path):
    address, answers = server
    good = b"numbers" * 1000
    answers.update(
        {
            "/short": good[:-1],
            "/long": good + b"x" * 10**6,
            "/other": good[:-1] + b"x",
            "/moved": b"",
            "to /moved": b"http://localhost:1/file",
        }
    )
    expected = {
        "/short": "is shorter than it should be",
        "/long": "is longer than it should be",
        "/other": "has another SHA-256 than it should",
        "/moved": "it sends to http://localhost:1/file, which is not encrypted",
        "/nowhere": "cannot be downloaded (Not Found)",
    }
    for path, words in expected.items():
        with pytest.raises(UsageError, match=words.replace("(", r"\(").replace(")", r"\)")) as refused:
            fetch(remote(address, path, good), tmp_path)
        assert str(refused.value).startswith(f"{address}{path}: ")
    with pytest.raises(UsageError, match="is not encrypted; nothing is downloaded from there"):
        fetch(remote(address.replace("https", "http"), "/a", good), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_nobody_vouches_for_is_refused(server, tmp_path, monkeypatch):
    address, answers = server
    answers["/a"] = b"numbers"
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UsageError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(remote(address, "/a", answers["/a"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_published_file_has_tls_a_size_and_a_checksum():
    listed = [one for several in download.FILES.values() for one in several]
    assert len(listed) == 12 and all(
        one.url.startswith("https://") and len(one.sha256) == 64 and one.size > 4000 for one in listed
    )
    for name, folder in (("CIFAR10", "cifar-10-batches-py"), ("CIFAR100", "cifar-100-python")):
        import torchvision.datasets

        assert getattr(torchvision.datasets, name).base_folder == folder == download.FILES[name][0].folder
    for name in ("MNIST", "FashionMNIST"):
        expected = [file for file, _ in getattr(torchvision.datasets, name).resources]
        assert [one.name for one in download.FILES[name]] == expected
    assert [one.name for one in download.FILES["SVHN"]] == ["train_32x32.mat", "test_32x32.mat"]


def test_nothing_else_of_the_sources_opens_connections():
    """By what they import; timm and torchvision are told to download nothing."""
    allowed = {"dataset/download.py"}
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] in (".venv", "tests") or name in allowed:
            continue
        text = path.read_text()
        assert not any(
            word in text
            for word in (
                "urllib",
                "http.client",
                "requests",
                "socket",
                "download=True",
                "pretrained=True",
                "torch.hub",
                "load_state_dict_from_url",
            )
        ), name
    assert "download=True" not in (ROOT / "dataset" / "torchvision_files.py").read_text()


# --- the current folder ---

HOSTILE = "import os, pathlib\npathlib.Path(os.environ['TRACE']).touch()\nraise SystemExit(99)\n"
NAMES = (
    "torch",
    "random",
    "numpy",
    "json",
    "yaml",
    "sklearn",
    "matplotlib",
    "submitit",
    "utils",
    "models",
    "sitecustomize",
    "usercustomize",
    "PIL",
    "tqdm",
    "pickle",
    "sweep",
    "trainer",
    "dataset",
)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A current folder with modules by the names of those that are imported, and settings of matplotlib."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(HOSTILE)
    (folder / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: red\nlines.linewidth: 9\n")
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return folder


def started(folder, *words):
    return subprocess.run([sys.executable, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300)


def test_scripts_import_nothing_from_the_current_folder(hostile, tmp_path):
    train = torture.small(torture.tree(tmp_path / "data"), "--epochs", "1", "--batch_size", "27")
    done = started(hostile, ROOT / "main_imp.py", *train, "--save_dir", "run")
    assert done.returncode == 0, done.stderr
    for name in (
        "main_forget",
        "main_synflow",
        "main_backdoor",
        "main_transfer",
        "main_saliency",
        "main_sweep",
        "main_report",
        "main_attack",
    ):
        assert started(hostile, ROOT / f"{name}.py", "--help").returncode == 0
    assert not (tmp_path / "trace").exists()
    assert main_imp.main([*train, "--save_dir", str(tmp_path / "run")]) == 0
    name = "0net_train.png"
    assert (hostile / "run" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_the_payloads_would_be_seen(hostile, tmp_path):
    assert started(hostile, "-c", "import random").returncode == 99 and (tmp_path / "trace").exists()


@pytest.mark.torture
@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="python -m cannot be kept from the current folder before Python 3.11"
)
def test_a_sweeps_processes_import_nothing_from_there_either(hostile, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"folder: {tmp_path / 'runs'}\nseeds: [1]\nflags: {{dataset: digits, input_size: 8, arch: "
        f"resnet20s, device: cpu, epochs: 0}}\ntrain: {{dense: {{script: main_imp.py}}}}\n"
    )
    done = started(hostile, ROOT / "main_sweep.py", file)
    assert done.returncode == 0 and "done     1 of 1" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "trace").exists()
    given = worker.environment({"OMP_NUM_THREADS": "3"})
    assert given["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT) and given["OMP_NUM_THREADS"] == "3"


def test_pictures_look_the_same_whatever_matplotlib_was_told(monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "figure.facecolor", "red")
    assert figure(1, 1)[0].get_facecolor() == (1, 1, 1, 1)
