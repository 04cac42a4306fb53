"""Sets what `help` of public modules begins with, and what `dir` lists."""

import inspect
import textwrap
import types

from kerasdrop._types import Given


def list_public_names(package: types.ModuleType) -> None:
    """Adds the public names after the first line of each docstring.

    `dir`, and so the completion of a shell or notebook, lists only these names,
    and not the modules in which they are implemented.

    Args:
        package: The package; the modules in its `__all__` get one as well.
    """
    public = {name: getattr(package, name) for name in package.__all__}
    modules = {
        name: value
        for name, value in public.items()
        if isinstance(value, types.ModuleType)
    }
    lines = {name: _first_sentence(value) for name, value in public.items()}
    for module in modules.values():
        own = {name: getattr(module, name) for name in module.__all__}
        _insert(module, {n: _first_sentence(value) for n, value in own.items()})
        _hide_the_rest(module)
    _insert(package, lines)
    _hide_the_rest(package)


def _hide_the_rest(module: types.ModuleType) -> None:
    def names() -> list[str]:
        dunder = [name for name in vars(module) if name.startswith("__")]
        return [*module.__all__, *dunder]

    vars(module)["__dir__"] = names


def _first_sentence(value: Given) -> str:
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _insert(module: types.ModuleType, lines: dict[str, str]) -> None:
    if module.__doc__ is None:  # python -OO
        return
    head, _, rest = module.__doc__.partition("\n")
    table = "\n".join(
        textwrap.fill(
            f"- `{name}`: {line}",
            79,
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
        for name, line in lines.items()
    )
    module.__doc__ = f"{head}\n\nContents:\n\n{table}\n{rest.rstrip()}\n"
