"""Which image a server runs from: given, the official one, or one built here from Debian.

The official image is taken where it is here or can be pulled. Else one is built from
``compose/images/NAME`` on a Debian base image, which, where no registry can be reached,
is made with debootstrap.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import conformance
from conformance.backends.engine import EngineFailed, Say, cache_directory, docker, run, turn

__all__ = ["base_image", "compose_directory", "find_image", "variable"]

_BASE = "debian:trixie-slim"
_SUITE = "trixie"

_PULL_SECONDS = 600.0
_BUILD_SECONDS = 1200.0

_CERTIFICATES = Path("/usr/local/share/ca-certificates")
"""Where Debian keeps a machine's own certificate authorities: update-ca-certificates(8)."""

_SOURCE_LABEL = "coordination-conformance.source"
"""The label of a built image that tells from what it was built."""


def compose_directory() -> Path:
    """Return the directory of the compose projects: in a wheel, or beside the package."""
    package = Path(conformance.__file__).parent
    inside = package / "compose"
    return inside if inside.is_dir() else package.parent / "compose"


def variable(name: str) -> str:
    """Return the environment variable that says which image a server is to run from."""
    return f"CONFORMANCE_IMAGE_{name.upper().replace('-', '_').replace('.', '_')}"


def find_image(name: str, official: str, given: str | None, say: Say) -> str:
    """Return the image of a server, pulled or built if it must be.

    :param name: the server's, as its directory's in ``compose/images``
    :param official: the image to take where it can be had
    :param given: the one that the user wants instead
    :raises EngineFailed: there is none to be had
    """
    wanted = given or os.environ.get(variable(name))
    if wanted:
        if not _is_here(wanted):
            say(f"{name}: pulling {wanted}")
            docker("pull", "--quiet", wanted, seconds=_PULL_SECONDS)
        return wanted
    if _is_here(official):
        return official
    source = compose_directory() / "images" / name
    built, stamp = f"coordination-conformance/{name}", _stamp(source)
    if _label(built) == stamp:
        return built
    try:
        docker("pull", "--quiet", official, seconds=_PULL_SECONDS)
    except EngineFailed as error:
        say(f"{name}: {official} is not here and cannot be pulled, so building {built}")
        _build(source, built, stamp, say, error)
        return built
    return official


def base_image(say: Say) -> str:
    """Return a Debian 13 image, pulled or made if it must be.

    :raises EngineFailed: it cannot be had
    """
    with turn("base"):
        if not _is_here(_BASE):
            try:
                docker("pull", "--quiet", _BASE, seconds=_PULL_SECONDS)
            except EngineFailed:
                _bootstrap(say)
    return _BASE


def _build(source: Path, tag: str, stamp: str, say: Say, why: EngineFailed) -> None:
    if not source.is_dir():
        raise EngineFailed(f"{why}; and there is nothing to build it from: {source} is missing")
    base = base_image(say)
    with turn(source.name):
        if _label(tag) != stamp:  # another run may have built it meanwhile
            docker(
                *("build", "--quiet", "--tag", tag, "--build-arg", f"BASE={base}"),
                *("--label", f"{_SOURCE_LABEL}={stamp}", str(source)),
                seconds=_BUILD_SECONDS,
            )
            say(f"{source.name}: built {tag}")


def _bootstrap(say: Say) -> None:
    """Make the base image from Debian's packages; takes root, about half a minute."""
    if os.getuid() != 0:
        raise EngineFailed(
            f"{_BASE} is not here and cannot be pulled, and only root can make it (debootstrap): "
            "run as root once, or `docker load` it"
        )
    if shutil.which("debootstrap") is None:
        say("installing debootstrap")
        run(["apt-get", "update", "-q"], seconds=_PULL_SECONDS)
        run(["apt-get", "install", "-y", "-q", "debootstrap"], seconds=_PULL_SECONDS)
    say(f"making {_BASE} with debootstrap, as it is not here and cannot be pulled")
    with tempfile.TemporaryDirectory(dir=cache_directory()) as directory:
        root = Path(directory) / "root"
        run(
            ["debootstrap", "--variant=minbase", _SUITE, str(root)],
            seconds=_BUILD_SECONDS,
        )
        if _CERTIFICATES.is_dir():  # where outbound TLS is inspected, builds need them too
            shutil.copytree(
                _CERTIFICATES, root / _CERTIFICATES.relative_to("/"), dirs_exist_ok=True
            )
        archive = Path(directory) / "root.tar"
        run(["tar", "-C", str(root), "-cf", str(archive), "."], seconds=_BUILD_SECONDS)
        docker("import", str(archive), _BASE, seconds=_BUILD_SECONDS)


def _is_here(image: str) -> bool:
    return _inspected(image, "{{.Id}}") is not None


def _label(image: str) -> str | None:
    return _inspected(image, f'{{{{index .Config.Labels "{_SOURCE_LABEL}"}}}}')


def _inspected(image: str, template: str) -> str | None:
    """Return what the engine knows of an image, None when it has no such image."""
    try:
        return docker("image", "inspect", "--format", template, image)
    except EngineFailed as error:
        if "No such image" in str(error):
            return None
        raise


def _stamp(source: Path) -> str:
    """Return what changes with any file of a build's directory."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]
