"""Refuses a Keras that is too old, as the first thing at the import.

It imports nothing of the package, whose other modules may not even load there.
"""

import keras

# The same as in `dependencies` of pyproject.toml; docs/stability.md says what
# breaks before it.
OLDEST = (3, 12)


def require(installed: str) -> None:
    """Refuses a version of Keras that the package cannot be used with.

    Args:
        installed: String, e.g. `"3.15.1"` or `"3.16.0.dev2026"`.

    Raises:
        ImportError: If it is older than `OLDEST`.
    """
    major, minor = (int(part) for part in installed.split(".")[:2])
    if (major, minor) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(
            f"kerasdrop needs Keras {oldest} or newer. Received: Keras "
            f"{installed}, from '{keras.__file__}'. Update it by: "
            f'python -m pip install --upgrade "keras>={oldest}"'
        )


require(keras.__version__)
