"""The wheel and the source archive: what is in them, and that they work."""

import email
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata

import keras
import pytest

import kerasdrop
from kerasdrop import _keras_version
from tests.support import snippets

ROOT = pathlib.Path(__file__).parents[2]
VERSION = kerasdrop.__version__
BACKEND = keras.backend.backend()
# What a user of each backend adds to the wheel, as the extras name it.
PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _result(*command, **settings):
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        **settings,
    )


def _run(*command, **settings):
    result = _result(*command, **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "build", "--no-isolation")
    _run(*command, "--outdir", folder, ROOT)
    (source,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def fields(archives):
    """The metadata of the wheel."""
    with zipfile.ZipFile(archives[1]) as wheel:
        content = wheel.read(f"kerasdrop-{VERSION}.dist-info/METADATA")
    return email.message_from_bytes(content)


def _files(folder, pattern="*"):
    """The files below a folder of the tree that are no leftovers of a run."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_their_names_tell_the_version(archives):
    assert [path.name for path in archives] == [
        f"kerasdrop-{VERSION}.tar.gz",
        f"kerasdrop-{VERSION}-py3-none-any.whl",
    ]


def test_the_wheel_has_the_package_and_nothing_else(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        names = set(wheel.namelist())
    information = {name for name in names if ".dist-info/" in name}

    assert names - information == _files("kerasdrop")
    assert "kerasdrop/py.typed" in names
    folder = f"kerasdrop-{VERSION}.dist-info"
    assert information == {
        f"{folder}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")
    }


def test_the_source_archive_has_what_the_tests_need(archives):
    with tarfile.open(archives[0]) as source:
        names = {
            member.name.partition("/")[2]
            for member in source.getmembers()
            if member.isfile()
        }
    for folder in ("kerasdrop", "tests", "docs", "examples", ".github"):
        assert _files(folder) <= names, folder
    at_the_top = {name for name in names if "/" not in name}
    assert {
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "PKG-INFO",
        "README.md",
        "RELEASING.md",
        "SECURITY.md",
        "pyproject.toml",
    } <= at_the_top
    leftovers = r"(^|/)(\.venv|dist|output|__pycache__|\.\w+_cache)/"
    assert not [name for name in names if re.search(leftovers, name)]


def test_the_metadata_say_what_is_needed(fields):
    oldest = ".".join(map(str, _keras_version.OLDEST))

    assert fields["Name"] == "kerasdrop"
    assert fields["Version"] == VERSION
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields.get_all("License-File") == ["LICENSE"]
    needed = fields.get_all("Requires-Dist")
    assert {text for text in needed if ";" not in text} == {
        f"keras>={oldest}",
        "numpy",
    }
    assert set(PACKAGES) <= set(fields.get_all("Provides-Extra"))


def test_the_metadata_name_authors_and_no_address(fields):
    assert fields["Author"] == "The kerasdrop authors"
    assert fields["Author-email"] is None
    assert fields["Maintainer-email"] is None


def test_the_description_is_the_readme(fields):
    assert fields["Description-Content-Type"] == "text/markdown"
    assert fields.get_payload(decode=True).decode().strip() == (
        (ROOT / "README.md").read_text().strip()
    )


def test_the_classifiers_exist(fields):
    trove_classifiers = pytest.importorskip("trove_classifiers")
    given = set(fields.get_all("Classifier"))

    assert given <= trove_classifiers.classifiers
    assert not given & set(trove_classifiers.deprecated_classifiers)


@pytest.fixture(scope="module")
def bare_python(archives, tmp_path_factory):
    """Python of an environment with the wheel, a backend and what they need.

    In the versions that the tests run with.
    """
    folder = tmp_path_factory.mktemp("bare")
    versions = folder / "versions.txt"
    versions.write_text(
        "".join(
            f"{name}=={_installed(name)}\n"
            for name in ("keras", "numpy", PACKAGES[BACKEND])
            if _installed(name)
        )
    )
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    # What PYTHONPATH has would pass for installed.
    pip = (python, "-I", "-m", "pip")
    install = (*pip, "install", "--constraint", versions)
    result = _result(*install, f"{archives[1]}[{BACKEND}]")
    if result.returncode:
        # If the others cannot be installed alone, it is not for the wheel.
        alone = _result(*install, "keras", PACKAGES[BACKEND])
        assert alone.returncode, result.stderr
        pytest.skip(f"pip installs nothing here: {alone.stderr[-300:]}")
    _run(*pip, "check")
    return python


def _installed(name):
    """The version of a package, without that of its build; None if none."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _run_bare(python, script, folder):
    # `-I`: neither the folder, nor PYTHONPATH, nor what the user installed.
    return _run(
        *(python, "-I", script),
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": BACKEND},
    )


def test_the_wheel_is_what_is_imported(bare_python, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import keras, kerasdrop\n"
        "print(kerasdrop.__file__)\n"
        "print(kerasdrop.__version__, keras.backend.backend())\n"
    )

    file, said = _run_bare(bare_python, script, tmp_path).splitlines()[-2:]

    assert pathlib.Path(file).is_relative_to(bare_python.parents[1])
    assert said == f"{VERSION} {BACKEND}"


def test_the_code_of_the_readme_runs_with_the_wheel_alone(
    bare_python, tmp_path
):
    blocks = snippets.blocks_of((ROOT / "README.md").read_text())
    assert blocks
    script = tmp_path / "readme.py"
    script.write_text(
        "\n".join([*(code for _, code in blocks), "print('to the end')"])
    )

    output = _run_bare(bare_python, script, tmp_path)

    assert output.splitlines()[-1] == "to the end"
