"""Makes an environment that has what a Python has, and wheels of a folder.

    python benchmarks/gpu/environment.py .venv-gpu WHEELS

The Python that runs this keeps its packages, among them the CUDA builds of
PyTorch or JAX, and gets no others: they are seen from the new environment, in
which what is missing is installed from the folder, without the network.
"""

import pathlib
import subprocess
import sys
import venv

# What the measurements need besides a backend.
NEEDED = ("keras>=3.12", "numpy", "pytest", "pytest-timeout")


def make(environment, wheels):
    """Makes it and installs what is missing; returns its Python."""
    venv.create(environment, with_pip=True, clear=True)
    python = environment / "bin" / "python"
    found = subprocess.run(
        [
            python,
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    folders = [path for path in sys.path if path.endswith("-packages")]
    beside = pathlib.Path(found.stdout.strip()) / "beside.pth"
    beside.write_text("\n".join(folders) + "\n")
    subprocess.run(
        [
            *(python, "-m", "pip", "install", "--quiet"),
            *("--no-index", "--find-links", wheels, *NEEDED),
        ],
        check=True,
    )
    return python


if __name__ == "__main__":
    make(*map(pathlib.Path, sys.argv[1:]))
