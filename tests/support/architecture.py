"""Reads the imports of a package from its source, for tests to judge."""

import ast
import dataclasses
import graphlib
import pathlib


@dataclasses.dataclass(frozen=True)
class Import:
    """One import of the module `target` or of a name in it."""

    importer: str
    target: str
    line: int

    def __str__(self):
        return f"{self.importer}:{self.line} imports {self.target}"


def modules_of(folder):
    """The modules of a package, a dict from dotted name to file."""
    folder = pathlib.Path(folder)
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


def imports_of(modules):
    """All imports of these modules, also those inside functions."""
    found = []
    for importer, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            found += [
                Import(importer, target, node.lineno)
                for target in _targets(node, modules)
            ]
    return found


def _targets(node, modules):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["." * node.level + (node.module or "")]
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        if node.module not in modules:
            return names
        # `from package import module` reaches the module, and
        # `from package import name` the package.
        return [name if name in modules else node.module for name in names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        # `keras.src` exists without an import of its own.
        return ["keras.src"] if _dotted(node) == "keras.src" else []
    return []


def _dotted(attribute):
    return f"{attribute.value.id}.{attribute.attr}"


def component_of(module, rows):
    """The component of a module, with the index of its row.

    Args:
        module: Dotted name.
        rows: Tuples of packages and modules. The component is the longest of
            them that is the module or contains it.
    """
    found = [
        (name, index)
        for index, row in enumerate(rows)
        for name in row
        if _is_in(module, {name})
    ]
    return max(found, key=lambda each: len(each[0]), default=(None, None))


def row_violations(imports, modules, rows):
    """Modules without a component, and imports from one that is not above."""
    homeless = [
        f"{module} has no component"
        for module in modules
        if component_of(module, rows)[0] is None
    ]
    wrong = []
    for an_import in imports:
        component, row = component_of(an_import.importer, rows)
        other, further = component_of(an_import.target, rows)
        known = an_import.target in modules and None not in (component, other)
        if known and component != other and not further < row:
            wrong.append(str(an_import))
    return homeless + wrong


def circle(imports, modules):
    """Modules that import each other in a circle, in order."""
    graph = {module: set() for module in modules}
    for an_import in imports:
        if an_import.target in modules:
            graph[an_import.importer].add(an_import.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def foreign_violations(imports, package, allowed):
    """Imports from outside the package that are not allowed.

    Args:
        imports: As `imports_of` returns them.
        package: Name of the package.
        allowed: Function of an importer that returns the names of the modules
            and packages that it may import. A package includes its contents.
    """
    return [
        str(an_import)
        for an_import in imports
        if not _is_in(an_import.target, {package, *allowed(an_import.importer)})
        or _is_in(an_import.target, {"keras.src"})
    ]


def _is_in(target, names):
    return any(
        target == name or target.startswith(f"{name}.") for name in names
    )


def unannotated(modules):
    """Arguments and returns of functions that have no annotation."""
    return [
        f"{module}:{node.lineno} {node.name}, {name}"
        for module, path in modules.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        for name in _unannotated_in(node)
    ]


def functions_of(path):
    """The functions of a module, a dict from name to parameters.

    Parameters are strings, each with its default if there is one.
    """
    return {
        node.name: _parameters(node.args)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def _parameters(given):
    names = [each.arg for each in [*given.posonlyargs, *given.args]]
    required = len(names) - len(given.defaults)
    defaults = map(ast.unparse, given.defaults)
    others = [f"*{each.arg}" for each in (given.vararg,) if each]
    return [
        *names[:required],
        *map("=".join, zip(names[required:], defaults)),
        *others,
    ]


def with_parameter(parameter, modules):
    """Functions that have a parameter of this name."""
    return [
        f"{module}:{node.lineno} {node.name}"
        for module, path in modules.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(each.arg == parameter for each in _named(node.args))
    ]


def _named(given):
    return [*given.posonlyargs, *given.args, *given.kwonlyargs]


def _unannotated_in(function):
    given = function.args
    named = _named(given)
    named += [each for each in (given.vararg, given.kwarg) if each]
    missing = [
        each.arg
        for each in named
        if each.annotation is None and each.arg not in ("self", "cls")
    ]
    return missing + ["return"] * (function.returns is None)
