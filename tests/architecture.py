"""Reads a package's imports from its source; judges nothing by itself."""

import ast
import dataclasses
import fnmatch
import pathlib


@dataclasses.dataclass(frozen=True)
class Import:
    """One import: of the module `target` or of something in it."""

    importer: str
    target: str
    line: int

    def __str__(self):
        return f"{self.importer}:{self.line} imports {self.target}"


def modules_of(folder):
    """The modules of a package: dotted name to file."""
    folder = pathlib.Path(folder)
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


def imports_of(modules):
    """All imports of these modules, those inside functions too."""
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
        # `keras.src` is there without an import of its own.
        return ["keras.src"] if _dotted(node) == "keras.src" else []
    return []


def _dotted(attribute):
    return f"{attribute.value.id}.{attribute.attr}"


def row_of(module, rows):
    """The index of a module's row; a full name goes before a pattern."""
    for matches in (str.__eq__, fnmatch.fnmatchcase):
        for index, row in enumerate(rows):
            if any(matches(module, name) for name in row):
                return index
    return None


def row_violations(imports, modules, rows):
    """Modules without a row, and imports of the same or a later row."""
    homeless = [
        f"{module} has no row"
        for module in modules
        if row_of(module, rows) is None
    ]
    wrong = [
        str(an_import)
        for an_import in imports
        if an_import.target in modules
        and row_of(an_import.importer, rows) is not None
        and not _is_below(an_import, rows)
    ]
    return homeless + wrong


def _is_below(an_import, rows):
    target = row_of(an_import.target, rows)
    return target is not None and target < row_of(an_import.importer, rows)


def foreign_violations(imports, package, allowed):
    """Imports of what is neither the package's own nor allowed.

    Args:
        imports: As `imports_of` returns them.
        package: Name of the package.
        allowed: Function of an importer that returns the names, of modules or
            of packages with all that is in them, that it may import.
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
