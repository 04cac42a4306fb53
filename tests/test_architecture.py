"""The order of the modules, what they may import, and what is documented."""

import ast
import importlib
import inspect
import pathlib
import re
import sys

import pytest

import kerasdrop
from tests.support import architecture
from tests.support import helpers

# A module imports only from its own component and from components in rows
# above. So no component depends on one that depends on it, and pure functions
# stay pure. A new module is in a component that has its row.
ROWS = (
    ("kerasdrop._keras_version", "kerasdrop._types"),
    ("kerasdrop._refusals",),
    ("kerasdrop._backend", "kerasdrop._checks"),
    ("kerasdrop.masks", "kerasdrop.predictive"),
    ("kerasdrop._formulas", "kerasdrop.functional", "kerasdrop.schedules"),
    ("kerasdrop.layers", "kerasdrop.measures"),
    (
        "kerasdrop._structure",
        "kerasdrop.acquisition",
        "kerasdrop.calibration",
    ),
    ("kerasdrop._adapters", "kerasdrop.metrics"),
    ("kerasdrop.conversion",),
    ("kerasdrop.rates",),
    ("kerasdrop.callbacks", "kerasdrop.rate_fit", "kerasdrop.sobol_indices"),
    ("kerasdrop.plots",),
    (
        "kerasdrop.montecarlo.choice",
        "kerasdrop.montecarlo.splitting",
        "kerasdrop.montecarlo.statistics",
    ),
    ("kerasdrop.montecarlo.sampling", "kerasdrop.montecarlo.settings"),
    ("kerasdrop.montecarlo.verification",),
    ("kerasdrop.montecarlo.engine",),
    ("kerasdrop.montecarlo.export", "kerasdrop.montecarlo.inspection"),
    ("kerasdrop.montecarlo",),
    ("kerasdrop",),
)

# Besides the package's own modules.
EVERYWHERE = {"keras", "numpy", *sys.stdlib_module_names}
ELSEWHERE = {
    "kerasdrop._backend.jax": {"jax"},
    "kerasdrop._backend.peaks": {"jax", "tensorflow", "torch"},
    "kerasdrop._backend.tensorflow": {"tensorflow"},
    "kerasdrop._backend.torch": {"torch"},
    "kerasdrop._backend.torch_kernel": {"torch"},
    "kerasdrop._backend.torch_recipe": {"torch"},
    "kerasdrop._backend.triton_kernel": {"triton"},
    "kerasdrop._backend.triton_launch": {"torch"},
    "kerasdrop._backend.triton_trial": {"torch"},
    "kerasdrop._backend.torch_ops": {"torch"},
    "kerasdrop._backend.torch_states": {"torch"},
    "kerasdrop.predictive": {"pandas"},  # optional, in one method
    "kerasdrop.plots.drawing": {"matplotlib"},  # optional, in one function
    # What writes and runs the files of a format.
    "kerasdrop.montecarlo.export.formats.litert": {"ai_edge_litert"},
    "kerasdrop.montecarlo.export.formats.onnx": {"onnxruntime", "torch"},
    "kerasdrop.montecarlo.export.formats.openvino": {"openvino", "torch"},
    "kerasdrop.montecarlo.export.formats.saved_model": {"tensorflow"},
    "kerasdrop.montecarlo.export.formats.traced": {"torch"},
}

FOLDER = pathlib.Path(kerasdrop.__file__).parent
MODULES = architecture.modules_of(FOLDER)
IMPORTS = architecture.imports_of(MODULES)


TOP = [name for name in MODULES if name.count(".") == 1]


def allowed_imports(importer):
    return EVERYWHERE | ELSEWHERE.get(importer, set())


def public_objects():
    """All that a namespace's `__all__` names, by its dotted name."""
    return {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module in MODULES
        if not any(part.startswith("_") for part in module.split("."))
        for name in getattr(importlib.import_module(module), "__all__", ())
    }


PUBLIC = public_objects()
PUBLIC_CLASSES = {
    name: value for name, value in PUBLIC.items() if inspect.isclass(value)
}
PUBLIC_CALLABLES = {
    name: value for name, value in PUBLIC.items() if callable(value)
}


def undocumented_members(cls):
    """Public members, defined by the package, that no docstring explains."""
    return [
        name
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_")
        and (callable(member) or isinstance(member, property))
        and is_ours(member)
        # `getdoc` finds what an overridden method of Keras says, too.
        and not inspect.getdoc(getattr(cls, name))
        and not overrides_keras(cls, name)
    ]


def is_ours(member):
    function = member.fget if isinstance(member, property) else member
    return getattr(function, "__module__", "").startswith("kerasdrop")


def overrides_keras(cls, name):
    return any(
        name in vars(base)
        for base in cls.__mro__
        if not base.__module__.startswith("kerasdrop")
    )


def undocumented_parameters(function):
    """Parameters that neither the docstring nor one that it names explains."""
    text = explanation(function)
    return [
        name
        for name in inspect.signature(function).parameters
        if not name.startswith("_")
        and not re.search(rf"(^|[\s`*]){name}(`|:|,| \()", text, re.MULTILINE)
    ]


def explanation(function):
    text = inspect.getdoc(function) or ""
    others = {value.__name__: value for value in PUBLIC_CALLABLES.values()}
    for name in re.findall(r"As `(?:kerasdrop\.)?(\w+)`", text):
        if name in others and others[name] is not function:
            text += "\n" + (inspect.getdoc(others[name]) or "")
    return text


def test_components_import_only_from_rows_above_their_own():
    assert not architecture.row_violations(IMPORTS, MODULES, ROWS)


def test_every_component_is_there():
    named = [name for row in ROWS for name in row]

    assert sorted(set(named) - set(MODULES)) == []


def test_no_imports_go_in_a_circle():
    assert architecture.circle(IMPORTS, MODULES) == []


def test_the_way_from_montecarlo_leads_to_the_facade_alone():
    others = {
        an_import.importer
        for an_import in IMPORTS
        if an_import.target.startswith("kerasdrop.montecarlo")
        and not an_import.importer.startswith("kerasdrop.montecarlo")
    }
    assert others == {"kerasdrop"}


def test_what_has_no_underscore_is_public():
    for name in TOP:
        has_all = hasattr(importlib.import_module(name), "__all__")
        assert has_all != name.split(".")[1].startswith("_"), name


def test_no_component_is_crowded():
    files = {name: 0 for name in MODULES}
    for name, path in MODULES.items():
        is_file = path.name != "__init__.py"
        files[name.rpartition(".")[0] if is_file else name] += 1
    assert files["kerasdrop.montecarlo"] <= 8
    assert files["kerasdrop"] <= 12


def test_few_functions_take_the_name_of_who_refuses():
    # The others raise a `Refusal`, and the public boundary names itself.
    assert len(architecture.with_parameter("owner", MODULES)) <= 25


def test_all_functions_are_annotated():
    assert not architecture.unannotated(MODULES)


def test_any_stands_for_tensors_alone():
    importers = {
        an_import.importer
        for an_import in IMPORTS
        if an_import.target == "typing.Any"
    }
    assert importers == {"kerasdrop._types"}


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_a_backend_defines_functions_with_the_documented_arguments(backend):
    folder = pathlib.Path(kerasdrop.__file__).parent / "_backend"
    documented = architecture.functions_of(folder / "__init__.py")
    found = architecture.functions_of(folder / f"{backend}.py")
    if backend == "torch":
        found |= architecture.functions_of(folder / "torch_kernel.py")
    both = documented.keys() & found.keys()
    assert len(both) > 10
    for name in both:
        known, own = documented[name], found[name]
        # Further arguments, with defaults, are for other functions there.
        assert own[: len(known)] == known, name
        assert all("=" in each for each in own[len(known) :]), name


def test_only_keras_numpy_and_python_are_imported():
    assert not architecture.foreign_violations(
        IMPORTS, "kerasdrop", allowed_imports
    )


def test_importing_the_package_leaves_matplotlib_unloaded():
    # Keras itself loads it where it is installed: None makes that fail, which
    # Keras allows for.
    output = helpers.run_python(
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "import keras, kerasdrop\n"
        "print(sys.modules['matplotlib'])",
        is_new=True,
    )

    assert output == "None\n"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    assert vars(PUBLIC[name]).get("__doc__") or PUBLIC[name].__doc__


@pytest.mark.parametrize("name", PUBLIC_CLASSES)
def test_every_public_member_is_documented(name):
    assert undocumented_members(PUBLIC_CLASSES[name]) == []


@pytest.mark.parametrize("name", PUBLIC_CALLABLES)
def test_every_public_parameter_is_documented(name):
    assert undocumented_parameters(PUBLIC_CALLABLES[name]) == []


@pytest.fixture
def package(tmp_path):
    """Returns a function that writes a package; its modules and imports."""

    def write(**sources):
        folder = tmp_path / "house"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(source)
        modules = architecture.modules_of(folder)
        return modules, architecture.imports_of(modules)

    return write


@pytest.mark.parametrize(
    "source",
    [
        "from house import roof",
        "import house.roof",
        "from house.roof import tile",
        "def late():\n    from house import roof",
    ],
)
def test_an_import_from_a_later_row_would_be_noticed(package, source):
    modules, imports = package(wall=source, roof="tile = 1")
    rows = (("house.wall",), ("house.roof",), ("house",))

    violations = architecture.row_violations(imports, modules, rows)

    assert len(violations) == 1
    assert "imports house.roof" in violations[0]


def test_an_import_from_another_component_of_the_row_would_be_noticed(package):
    modules, imports = package(wall="from house import roof", roof="")
    rows = (("house.wall", "house.roof"), ("house",))

    assert architecture.row_violations(imports, modules, rows) == [
        "house.wall:1 imports house.roof"
    ]


def test_an_import_from_an_earlier_row_is_none(package):
    modules, imports = package(wall="", roof="from house import wall")
    rows = (("house.wall",), ("house.roof",), ("house",))

    assert architecture.row_violations(imports, modules, rows) == []


def test_an_import_from_the_own_component_is_none(package):
    modules, imports = package(wall="", roof="from house import wall")

    assert architecture.row_violations(imports, modules, (("house",),)) == []
    assert architecture.circle(imports, modules) == []


def test_a_circle_would_be_noticed(package):
    modules, imports = package(
        wall="from house import roof",
        roof="def late():\n    from house.wall import brick",
    )
    assert set(architecture.circle(imports, modules)) == {
        "house.wall",
        "house.roof",
    }


def test_a_module_without_a_component_would_be_noticed(package):
    modules, imports = package(cellar="")

    assert architecture.row_violations(
        imports, modules, (("house.roof",),)
    ) == ["house has no component", "house.cellar has no component"]


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import jax.numpy as jnp",
        "from tensorflow import function",
        "from keras.src import backend",
        "from keras import src",
        "import keras\nkeras.src.backend",
        "from . import wall",
    ],
)
def test_a_forbidden_import_would_be_noticed(package, source):
    _, imports = package(door=source)

    assert architecture.foreign_violations(
        imports, "house", lambda importer: {"keras", "math"}
    )


def test_an_allowed_import_is_none(package):
    _, imports = package(door="import keras.ops\nfrom math import pi")

    assert not architecture.foreign_violations(
        imports, "house", lambda importer: {"keras", "math"}
    )


@pytest.mark.parametrize(
    "source",
    [
        "def draw(rate) -> None: ...",
        "def draw(*, rate: float, seed) -> None: ...",
        "def draw(*rates) -> None: ...",
        "def draw(rate: float): ...",
        "class Layer:\n    def call(self, x) -> None: ...",
    ],
)
def test_a_missing_annotation_would_be_noticed(package, source):
    modules, _ = package(wall=source)

    assert len(architecture.unannotated(modules)) == 1


def test_a_parameter_would_be_noticed(package):
    modules, _ = package(
        wall="def draw(rate, *, owner): ...",
        roof="class Layer:\n    def call(self, owner): owner()",
    )

    assert architecture.with_parameter("owner", modules) == [
        "house.roof:2 call",
        "house.wall:1 draw",
    ]


def test_self_needs_no_annotation(package):
    modules, _ = package(wall="class Layer:\n    def call(self) -> None: ...")

    assert architecture.unannotated(modules) == []


def test_an_undocumented_member_would_be_noticed():
    class Undocumented:
        def explain(self):
            pass

    Undocumented.__module__ = "kerasdrop.example"
    Undocumented.explain.__module__ = "kerasdrop.example"

    assert undocumented_members(Undocumented) == ["explain"]


def test_an_undocumented_parameter_would_be_noticed():
    def draw(rate, seed):
        """Draws. The rate of it is below.

        Args:
            seed: Integer.
        """

    assert undocumented_parameters(draw) == ["rate"]
