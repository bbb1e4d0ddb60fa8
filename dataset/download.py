"""Download a named data set over TLS; a file of an unexpected size or SHA-256 is not kept."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from utils import files, parallel
from utils.errors import UsageError

CHUNK, SILENCE = 1 << 20, 60  # bytes to read at a time; seconds to wait for a silent server


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        url: its address, which begins with https://.
        size: bytes.
        sha256: 64 hex digits.
        folder: the folder in the file, if this is a tar archive to unpack; None for a file that is used as it is.
    """

    url: str
    size: int
    sha256: str
    folder: str | None = None

    @property
    def name(self) -> str:
        """Name of what ``fetch`` leaves on disk: the unpacked folder, or the file."""
        return self.folder or self.file

    @property
    def file(self) -> str:
        """The published file's own name."""
        return self.url.rsplit("/", 1)[1]


def _four(folder: str, *known: tuple[int, str]) -> list[Remote]:
    """The four IDX files of a data set in MNIST's format, from the size and SHA-256 of each."""
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    return [Remote(f"{folder}/{name}", *facts) for name, facts in zip(names, known)]


FILES = {
    "CIFAR10": [
        Remote(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            "cifar-10-batches-py",
        )
    ],
    "CIFAR100": [
        Remote(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            "cifar-100-python",
        )
    ],
    "MNIST": _four(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "FashionMNIST": _four(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "SVHN": [
        Remote(
            "https://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            182_040_794,
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        Remote(
            "https://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            64_275_384,
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    ],
}


def fetch(remote: Remote, root: Path) -> None:
    """Make sure that ``root`` holds ``remote.name``: unpack the archive if it lies there, else download; prints a line.

    Of several processes the main one downloads, and the others wait.

    Raises:
        UsageError: no network, no TLS, or a file of another size or checksum.
        RunError: the file cannot be written.
    """
    archive = root / remote.file
    packed = remote.folder is not None and archive.is_file()
    if parallel.is_main() and not (root / remote.name).exists():
        if packed and (archive.stat().st_size != remote.size or files.sha256(archive) != remote.sha256):
            reason = f"is not the published file (another size or SHA-256); unpack it to {root / str(remote.folder)}"
            raise UsageError(f"{archive}: {reason}, or delete it")
        fetched = f"downloading {remote.url} ({remote.size / 1e6:,.0f} MB) to {root}"
        print(f"unpacking {archive}" if packed else fetched, flush=True)
        files.make_folder(root)
        with files.named(root / remote.name):
            place = Path(tempfile.mkdtemp(prefix=f".{remote.name}.", suffix=files.UNFINISHED, dir=root))
            try:
                if not packed:
                    receive(remote, place / "file")
                if remote.folder is not None:
                    unpack(archive if packed else place / "file", place, remote.folder)
                _put(place / (remote.folder or "file"), root / remote.name)
            finally:
                shutil.rmtree(place, ignore_errors=True)
    parallel.wait()


def _put(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError:
        if not target.exists():  # else another run was faster
            raise


class _Encrypted(urllib.request.HTTPRedirectHandler):
    """Follows no redirect away from TLS."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001, ANN201
        if not newurl.startswith("https://"):
            raise urllib.error.URLError(f"it sends to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def receive(remote: Remote, path: Path) -> None:
    """Download the file to ``path``. Raises UsageError: no network, no TLS, or another size or checksum."""
    if not remote.url.startswith("https://"):
        raise UsageError(f"{remote.url}: is not encrypted; nothing is downloaded from there")
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(secure, _Encrypted())
    digest, left = hashlib.sha256(), remote.size
    try:
        with opener.open(remote.url, timeout=SILENCE) as answer, path.open("wb") as file:
            while block := answer.read(min(CHUNK, left + 1)):
                left -= len(block)
                if left < 0:
                    break
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        raise UsageError(f"{remote.url}: cannot be downloaded ({getattr(error, 'reason', error)})") from error
    if left or digest.hexdigest() != remote.sha256:
        length = f"is {'longer' if left < 0 else 'shorter'} than it should be"
        wrong = length if left else "has another SHA-256 than it should"
        raise UsageError(f"{remote.url}: what came {wrong}; nothing of it is kept")


def unpack(archive: Path, target: Path, folder: str) -> None:
    """Extract the regular files directly in ``folder`` of a tar archive to ``target/folder``, and nothing else."""
    (target / folder).mkdir()
    with tarfile.open(archive, "r:*") as members:
        for member in members:
            parts = Path(member.name).parts
            if member.isreg() and len(parts) == 2 and parts[0] == folder:
                source = members.extractfile(member)
                assert source is not None  # tarfile returns a stream for every regular file
                with source, (target / folder / parts[1]).open("xb") as file:
                    shutil.copyfileobj(source, file)
