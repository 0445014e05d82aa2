"""A clean virtual environment with loong in it, as an operator gets it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ("setup.py", "loong.py", "README.md", "MANIFEST.in", "LICENSE", "loong_channels", "loong_gateway")
TOOLS = ("pip", "setuptools", "wheel", "_distutils_hack", "pkg_resources", "distutils-precedence.pth")


def make_environment(directory: str) -> str:
    """Build the environment below `directory`; the path of its console script."""
    source = os.path.join(directory, "source")
    os.makedirs(source)
    # A copy, so that the build leaves nothing in the checkout and takes nothing stale from it.
    for name in SOURCES:
        origin = os.path.join(ROOT, name)
        if os.path.isdir(origin):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin, os.path.join(source, name), ignore=ignore)
        elif os.path.exists(origin):
            shutil.copy(origin, source)
    environment = os.path.join(directory, "venv")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [os.path.join(environment, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check"]
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([*pip, source], check=True, env=bare, cwd=directory)
    return os.path.join(environment, "bin", "loong")


def python_of(script: str) -> str:
    """The interpreter that a console script runs with."""
    with open(script, "rb") as file:
        first = file.readline().decode("utf-8", "replace").strip()
    candidate = first[2:].split()[0] if first.startswith("#!") else ""
    return candidate if os.path.basename(candidate).startswith("python") else sys.executable


def installed(script: str) -> dict[str, float]:
    """Megabytes and packages that the installation added to an empty environment."""
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    done = subprocess.run([python_of(script), "-c", code], capture_output=True, text=True, check=True)
    packages, size = set(), 0
    site = done.stdout.strip()
    for name in os.listdir(site):
        if name.startswith(TOOLS) or name == "__pycache__":
            continue
        if name.endswith(".dist-info"):
            packages.add(name)
        size += _tree_bytes(os.path.join(site, name))
    return {"installed_mb": round(size / 1e6, 2), "packages": len(packages)}


def _tree_bytes(path: str) -> int:
    if not os.path.isdir(path):
        return os.path.getsize(path)
    total = 0
    for folder, _, names in os.walk(path):
        total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return total
