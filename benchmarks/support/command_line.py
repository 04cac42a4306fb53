"""Arguments of the scripts, checked before anything is trained."""

import argparse


def count(text):
    """An integer of at least 1, as `type=` of an argument.

    Raises:
        argparse.ArgumentTypeError: If `text` is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"must be an integer of at least 1. Received: {text}"
        )
    return number
