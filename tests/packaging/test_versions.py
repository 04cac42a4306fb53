"""What is said of versions is run; a Keras that is too old is refused."""

import pathlib
import re
import tomllib

import keras
import pytest

from kerasdrop import _keras_version
from tests.support import helpers

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OLDEST = ".".join(map(str, _keras_version.OLDEST))


def _versions(file, pattern):
    found = re.findall(pattern, (ROOT / file).read_text())
    assert found, f"{file} does not name a version of Keras"
    return set(found)


def test_the_metadata_ask_for_it():
    assert f"keras>={OLDEST}" in PROJECT["dependencies"]


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", "RELEASING.md"])
def test_its_last_patch_is_run(file):
    (ran,) = _versions(file, r"keras==(\S+?)\"")
    assert ran.rpartition(".")[0] == OLDEST
    table = (ROOT / "docs" / "stability.md").read_text()
    assert re.search(rf"^\| {re.escape(ran)} \|", table, re.MULTILINE)


def test_ci_runs_each_python_that_is_named():
    (ran,) = _versions(".github/workflows/ci.yml", r"python: \[(.*)\]")
    prefix = "Programming Language :: Python :: 3."
    named = [
        name.removeprefix(prefix)
        for name in PROJECT["classifiers"]
        if name.startswith(prefix)
    ]
    assert [f'"3.{name}"' for name in named] == ran.split(", ")
    assert PROJECT["requires-python"] == f">=3.{named[0]}"


@pytest.mark.parametrize(
    "file", ["README.md", "docs/project.md", "docs/stability.md"]
)
def test_the_documents_name_it(file):
    assert _versions(file, r"Keras (\d+\.\d+) or newer") == {OLDEST}


@pytest.mark.parametrize(
    "installed", ["2.15.0", "3.0.5", "3.11.3", "3.11.0.dev2025"]
)
def test_an_older_one_is_refused(installed):
    needed = re.escape(f'pip install --upgrade "keras>={OLDEST}"')
    with pytest.raises(ImportError, match=f"Keras {installed}.*{needed}"):
        _keras_version.require(installed)


@pytest.mark.parametrize(
    "installed", [f"{OLDEST}.0", keras.__version__, "3.16.0.dev2026", "4.0.0"]
)
def test_it_and_newer_ones_are_not_refused(installed):
    _keras_version.require(installed)


def test_the_import_refuses_before_anything_else_is_imported():
    output = helpers.run_python(
        "import sys\n"
        "import keras\n"
        "keras.__version__ = '3.7.0'\n"
        "try:\n"
        "    import kerasdrop\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "print(sorted(name for name in sys.modules if 'kerasdrop' in name))\n"
    )
    message, modules = output.splitlines()
    assert message.startswith(f"kerasdrop needs Keras {OLDEST} or newer.")
    assert modules in ("[]", "['kerasdrop._keras_version']")
