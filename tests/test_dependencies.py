"""Dependencies point one way, the runtime stays light, and every library that is imported is declared."""

import ast
import graphlib
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the bottom up. A unit may import from its own layer, without cycles, and from those below.
LAYERS = [
    {
        "audio",
        "text",
        "config",
        "files",
        "progress",
        "errors",
        "espeak",
        "phones",
        "project",
        "journal",
        "discovery",
        "integrity",
        "loopback",
        "reading",
    },
    {"model", "data", "corpora", "recognition", "quantization"},
    {"runtime", "training", "artefacts", "evaluation", "tracking", "gate", "registry", "adaptation"},
    {"stages", "commands", "server", "cli", "run"},
    {"flows"},
]
AFTERWARDS = {"adaptation", "tracking", "registry", "gate", "server", "commands", "cli", "run", "integrity"}
HEAVY = {
    "torch",
    "lhotse",
    "great_expectations",
    "mlflow",
    "prefect",
    "dvc",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "matplotlib",
    "pandas",
    "playwright",
    "tensorflow",
    "ai_edge_litert",
    "flatbuffers",
}


def imports(source: str, everywhere: bool = True) -> set[str]:
    """Dotted names of what a module imports: anywhere in it, or only when it is itself imported."""
    found = set()
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)
    return found


def modules() -> dict[str, Path]:
    """Every module of the package and of the flows: dotted name → file."""
    files = [path for package in ("velocity", "flows") for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return dict(zip(names, files, strict=True))


MODULES = modules()


def unit(name: str) -> str | None:
    """velocity.model.ssd → model, flows.pipeline → flows; None for the package itself and for other libraries."""
    parts = name.split(".")
    if parts[0] == "flows":
        return "flows"
    return parts[1] if parts[0] == "velocity" and len(parts) > 1 else None


def layer(name: str) -> int:
    return next(index for index, members in enumerate(LAYERS) if name in members)


def wrong_way(importer: str, source: str) -> set[str]:
    """The imports of a module that climb to a higher layer."""
    targets = {unit(name) for name in imports(source)} - {
        None,
        "StreamingASR",
        "VelocityASR",
        "load_audio",
        "compute_mel_spectrogram",
    }
    return {target for target in targets if layer(target) > layer(unit(importer))}


def third_party(source: str, everywhere: bool = True) -> set[str]:
    names = {name.split(".")[0] for name in imports(source, everywhere)}
    return names - sys.stdlib_module_names - {"velocity", "flows", "__future__"}


def test_every_module_has_a_layer():
    units = {unit(name) for name in MODULES} - {None}
    assert units <= set().union(*LAYERS)


@pytest.mark.parametrize("name", [name for name in MODULES if unit(name)])
def test_imports_never_climb(name):
    assert wrong_way(name, MODULES[name].read_text()) == set()


def test_stages_know_nothing_of_what_is_done_with_their_outputs():
    """A change to one of these must not invalidate a stage; `velocity.run` hands a stage's journal to MLflow."""
    for name, path in MODULES.items():
        if unit(name) == "stages":
            assert {unit(found) for found in imports(path.read_text())} & AFTERWARDS == set(), name


def test_the_fast_tests_reach_every_module():
    """Over imports, and over names such as `-m velocity.stages.fetch` in the command of a child process."""
    helpers = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "tests").rglob("*.py")}
    sources = {name: path.read_text() for name, path in (helpers | MODULES).items()}
    named = re.compile(r"\b(?:velocity|flows)(?:\.\w+)+")
    slow = re.compile(r"^pytestmark = .*pytest\.mark\.slow\b", re.MULTILINE)
    fast = [name for name, path in helpers.items() if path.match("test_*.py") and not slow.search(sources[name])]
    pending = [name for name in fast if name != "tests.test_dependencies"]
    reached = set()
    while pending:
        name = pending.pop()
        if name in sources and name not in reached:
            reached.add(name)
            found = imports(sources[name]) | set(named.findall(sources[name]))
            for package in re.findall(r'\bmodules\("([\w.]+)"', sources[name]):  # imports every module of a package
                found |= {other for other in MODULES if other.startswith(f"{package}.")}
            found |= {f"{package}.__main__" for package in re.findall(r'"-m", "(velocity\.\w+)"', sources[name])}
            pending += [prefix for other in found for prefix in (other, other.rpartition(".")[0])]
    by_path = {"velocity.tracking.pyfunc"}  # MLflow loads the file; the slow test of serving runs it
    assert set(MODULES) - reached - {"velocity", "flows"} - by_path == set()


def test_an_import_that_climbs_is_seen_even_inside_a_function():
    assert wrong_way("velocity.model.ssd", "def f():\n    from velocity.training.loop import train") == {"training"}
    assert wrong_way("velocity.stages.fetch", "import flows.pipeline") == {"flows"}
    assert wrong_way("velocity.training.loop", "from velocity.model import ssd") == set()


def test_units_depend_on_each_other_without_cycles():
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        if unit(name):
            graph.setdefault(unit(name), set()).update(
                {unit(other) for other in imports(path.read_text())} - {None, unit(name)}
            )
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, naming the cycle


@pytest.mark.parametrize("name", [name for name in MODULES if unit(name) and layer(unit(name)) in (0, 3)])
def test_heavy_libraries_are_imported_inside_the_functions_that_need_them(name):
    assert third_party(MODULES[name].read_text(), everywhere=False) & HEAVY == set()


def test_orchestration_knows_nothing_of_audio_and_tensors():
    used = set().union(*(third_party(path.read_text()) for name, path in MODULES.items() if unit(name) == "flows"))
    assert used & {"numpy", "torch", "soundfile", "lhotse", "onnx", "onnxruntime"} == set()
    assert "prefect" in used


def test_no_module_of_the_flows_hides_a_library():
    """Prefect's worker loads a flow from its file, with the folder of the flows first on Python's path."""
    assert {path.stem for path in (ROOT / "flows").glob("*.py")} & packages_distributions().keys() == set()
    assert "dvc" in packages_distributions(), "flows/dvc.py would be seen"


def test_every_imported_library_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    declared = {canonical(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}
    distributions = packages_distributions()
    for name, path in MODULES.items():
        for library in third_party(path.read_text()):
            assert {canonical(found) for found in distributions.get(library, [library])} & declared, (
                f"{name}: {library}"
            )


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
