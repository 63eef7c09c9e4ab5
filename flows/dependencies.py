"""The code that each stage depends on, written into dvc.yaml: ``python -m flows.dependencies``, ``--check`` to compare.

It lies here, and not in the package, because it is about the project's pipeline: no stage may depend on it. A stage
depends on every module that ``velocity.stages.<stage>`` imports, at once or later, and on the ``__init__.py`` of their
packages. ``velocity.run``, which starts a stage, changes no output and is no dependency.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path

from flows import ROOT

PIPELINE = Path("dvc.yaml")
NOTE = "# code, written by python -m flows.dependencies"
READ = {  # module → the files of the package that it reads besides
    "velocity.artefacts.web_bundle": ["velocity/web", "velocity/pretrained/prompts.txt"],
    "velocity.corpora.synthetic": ["velocity/corpora/commands.yaml"],
    "velocity.recognition.decoding.vocabulary": ["velocity/recognition/decoding/phone_search.wasm"],
    "velocity.evaluation.templates": ["velocity/evaluation/templates/*.j2"],  # not its compiled module
}
IMPORTING = {"modules", "discovery.modules", "import_module", "importlib.import_module"}
FINDS_MODULES = {"velocity", "velocity.config", "velocity.discovery"}  # import by names: followed where they are used
WIDTH = 120
STAGE = re.compile(r"^  (\w+):$", re.MULTILINE)
DEPENDENCIES = re.compile(r"^( +)deps: \[([^]]*)\]", re.MULTILINE)
ITEM = re.compile(r'"[^"]*"|[^\s,]+')


def closure(module: str, root: Path = ROOT) -> set[str]:
    """The files, relative to ``root``, that running ``module`` may import or read."""
    files: set[str] = set()
    pending, seen = [module], set()
    while pending:
        name = pending.pop()
        if name in seen or name.split(".")[0] != "velocity":
            continue
        seen.add(name)
        pending += name.rpartition(".")[:1]  # the packages that it lies in
        path = find(name, root)
        if path is None:  # an attribute of the package before it, which may be loaded on first use
            package, _, attribute = name.rpartition(".")
            pending += filter(None, [loaded_on_use(package, root).get(attribute)])
            continue
        read = (found for pattern in READ.get(name, []) for found in root.glob(pattern))
        files |= {found.relative_to(root).as_posix() for found in (path, *read)}
        pending += imports(name, root)
    return files


def find(name: str, root: Path) -> Path | None:
    """The file of a module or package; None where there is none of that name."""
    path = root.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(name: str, root: Path) -> Iterator[str]:
    """Dotted names of what a module imports, anywhere in it.

    Imports for type checkers do not count. ``modules("velocity.x")``, ``import_module("velocity.x")`` and
    ``[python, "-m", "velocity.x"]`` do. Raises ValueError for an import of a name that is computed.
    """
    path = find(name, root)
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: a relative import, which is not followed")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.List | ast.Tuple):
            for flag, started in pairwise(map(constant, node.elts)):
                if flag == "-m" and started:
                    yield from (started, f"{started}.__main__")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTING and name not in FINDS_MODULES:
            package = constant(node.args[0])
            if package is None:
                raise ValueError(f"{path}:{node.lineno}: imports a computed name: {ast.unparse(node)}")
            yield package
            if ast.unparse(node.func).endswith("modules"):
                folder = root.joinpath(*package.split("."))
                yield from (f"{package}.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__")
                yield from (f"{package}.{file.parent.name}" for file in folder.glob("*/__init__.py"))


def constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def loaded_on_use(package: str, root: Path) -> dict[str, str]:
    """The names that the ``__getattr__`` of a package finds in its table ``_MODULES``, each with its module."""
    path = find(package, root)
    for node in tree(path).body if path else []:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES":
            return ast.literal_eval(node.value)
    return {}


def stages(pipeline: str) -> list[str]:
    return STAGE.findall(pipeline)


def with_code(pipeline: str, root: Path = ROOT) -> str:
    """The text of dvc.yaml with the code of each stage after its data."""
    parts = STAGE.split(pipeline)  # text before the first stage, its name, its text, the next name…
    for number in range(1, len(parts), 2):
        files = closure(f"velocity.stages.{parts[number]}", root)
        parts[number] = f"  {parts[number]}:"
        parts[number + 1] = DEPENDENCIES.sub(lambda match: written(match, files), parts[number + 1])  # noqa: B023
    return "".join(parts)


def written(match: re.Match[str], files: Iterable[str]) -> str:
    indent, items = match.groups()
    data = [item for item in ITEM.findall(re.sub("#.*", "", items)) if not item.startswith("velocity/")]
    lines = [f"{indent}deps: [{', '.join(data)}{',' if data else ''}", f"{indent}  {NOTE}"]
    by_folder = groupby(sorted(files, key=lambda file: (file.rpartition("/")[0], file)), lambda file: Path(file).parent)
    for _, group in by_folder:
        lines.append(f"{indent} ")
        for file in group:
            if len(lines[-1]) + len(file) + 2 > WIDTH:
                lines.append(f"{indent} ")
            lines[-1] += f" {file},"
    return "\n".join(lines).rstrip(",") + "]"


def main(arguments: list[str]) -> int:
    path = ROOT / PIPELINE
    before = path.read_text(encoding="utf-8")
    after = with_code(before)
    if after == before:
        return 0
    if "--check" in arguments:
        print(f"{PIPELINE}: the code of a stage is not what it imports; run python -m flows.dependencies")
        return 1
    path.write_text(after, encoding="utf-8")
    print(f"{PIPELINE}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
