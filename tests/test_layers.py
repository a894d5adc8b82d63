"""Who may import whom: runners -> pipelines -> transforms -> schemas, never back; and rules are without Beam."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("schemas", "transforms", "pipelines", "runners")  # each may import those before it
BEAM = "apache_beam"

# What holds rules: to be read and tested without Beam, directly and through what it imports.
RULES = (
    "pipelines.audit",
    "pipelines.compact",
    "pipelines.doctor.server",
    "pipelines.doctor.tables",
    "pipelines.letters",
    "pipelines.retain",
    "pipelines.squash",
    "pipelines.warnings",
    "transforms.breaker.breaker",
    "transforms.breaker.history",
    "transforms.breaker.rules",
    "transforms.breaker.window",
    "transforms.dedupe.filter",
    "transforms.dedupe.ids",
    "transforms.io.clickhouse",
    "transforms.io.letters.pages",
    "transforms.io.letters.selection",
    "transforms.io.migrate",
    "transforms.retentions",
    "transforms.limits.quotas",
    "transforms.limits.rules",
    "transforms.limits.usage",
    "transforms.pace",
    "transforms.parse.body",
    "transforms.parse.decode",
    "transforms.parse.fields",
    "transforms.parse.rules",
    "transforms.parse.timestamps",
    "transforms.persons.apply",
    "transforms.persons.facts",
    "transforms.persons.known",
    "transforms.persons.registers",
    "transforms.persons.resolve",
    "transforms.persons.stored",
    "transforms.persons.warn",
    "transforms.receipts.accounts",
    "transforms.receipts.completed",
    "transforms.receipts.ledger",
    "transforms.runs",
    "transforms.sink.debounce",
    "transforms.sink.event_ids",
    "transforms.sink.rows",
    "transforms.sink.writer",
    "transforms.state.key_table",
    "transforms.state.shard_log",
)


def files(root: Path, layer: str) -> list[Path]:
    return sorted((root / layer).rglob("*.py"))


def imported(root: Path, path: Path) -> set[str]:
    """Return the modules that a file imports anywhere in it: of `from a import b` it is `a.b` if that is one of ours, else `a`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(root, path, node)
            found |= {name if file_of(root, name := f"{base}.{alias.name}") else base for alias in node.names}
    return found


def _absolute(root: Path, path: Path, node: ast.ImportFrom) -> str:
    """Return the module that a `from` names."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(root).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def file_of(root: Path, name: str) -> Path | None:
    """Return the file of one of our modules, None for any other name."""
    base = root.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if name.split(".")[0] in LAYERS and path.is_file()), None)


def backward_imports(root: Path) -> list[str]:
    """Return `file imports name` for each import of a layer that comes after the file's own."""
    found = []
    for place, layer in enumerate(LAYERS):
        for path in files(root, layer):
            names = sorted({name for name in imported(root, path) if name.split(".")[0] in LAYERS[place + 1 :]})
            found += [f"{path.relative_to(root)} imports {name}" for name in names]
    return found


def reaches_beam(root: Path, module: str) -> list[str]:
    """Return the chain of modules by which a module imports Beam; empty if it does not.

    The `__init__` of a package counts where something is imported of it, and not where only a module in it is: it offers the
    transforms that stand beside the rules.
    """
    pending, seen = [[module]], {module}
    while pending:
        chain = pending.pop()
        path = file_of(root, chain[-1])
        for name in sorted(imported(root, path)) if path else ():
            if name.split(".")[0] == BEAM:
                return [*chain, name]
            if name not in seen:
                seen.add(name)
                pending.append([*chain, name])
    return []


def test_imports_go_one_way() -> None:
    assert backward_imports(ROOT) == []


def test_schemas_know_nothing_of_beam() -> None:
    assert [path.name for path in files(ROOT, "schemas") if any(name.split(".")[0] == BEAM for name in imported(ROOT, path))] == []


@pytest.mark.parametrize("module", RULES)
def test_rules_are_without_beam(module: str) -> None:
    assert file_of(ROOT, module) is not None, "moved? then move it in the list too"
    assert reaches_beam(ROOT, module) == []


def test_hints_that_beam_reads_are_no_texts() -> None:
    """`from __future__ import annotations` turns them into Any."""
    found = [path for layer in LAYERS for path in files(ROOT, layer) if "__future__" in imported(ROOT, path)]
    assert found == []


def test_every_layer_has_files() -> None:
    """Or the checks above would check nothing."""
    assert all(len(files(ROOT, layer)) > 3 for layer in LAYERS)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a house in which everything is wrong."""
    texts = {
        "schemas/a.py": "import transforms.b",
        "schemas/tables/__init__.py": "def f():\n    from pipelines import job",
        "transforms/__init__.py": "",
        "transforms/b.py": "from schemas import a\nfrom transforms.steps import rules\nfrom .steps.pure import x",
        "transforms/steps/__init__.py": "from transforms.steps.step import Step",
        "transforms/steps/step.py": "import apache_beam as beam\nif beam:\n    import runners.cli as cli",
        "transforms/steps/rules.py": "from transforms.steps.pure import x",
        "transforms/steps/pure.py": "import json, os.path\nfrom transforms.metrics import count",
        "transforms/metrics.py": "def f():\n    from apache_beam.metrics import Metrics",
        "transforms/quiet.py": "import json\nfrom transforms.steps import harmless",
        "transforms/steps/harmless.py": "import schemasque, pipelines_of_others, apache_beamish",
        "transforms/loud.py": "from transforms.steps import Step",
        "transforms/steps/deep/__init__.py": "from .. import harmless\nfrom ... import quiet",
        "transforms/steps/deep/down.py": "from ...steps.step import Step",
        "pipelines/job.py": "from transforms.b import y\nfrom runners import cli",
        "runners/cli.py": "import pipelines.job, transforms.b, schemas.a",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_check_finds_imports_that_go_back(house: Path) -> None:
    assert backward_imports(house) == [
        "schemas/a.py imports transforms.b",
        "schemas/tables/__init__.py imports pipelines.job",
        "transforms/steps/step.py imports runners.cli",
        "pipelines/job.py imports runners.cli",
    ]


def test_the_check_finds_beam_through_other_modules(house: Path) -> None:
    way = ["transforms.steps.pure", "transforms.metrics", "apache_beam.metrics"]
    assert reaches_beam(house, "transforms.steps.rules") == ["transforms.steps.rules", *way]
    assert reaches_beam(house, "transforms.loud") == ["transforms.loud", "transforms.steps", "transforms.steps.step", "apache_beam"]
    assert reaches_beam(house, "transforms.quiet") == []
    assert reaches_beam(house, "transforms.steps.deep") == []
    assert reaches_beam(house, "transforms.steps.deep.down") == ["transforms.steps.deep.down", "transforms.steps.step", "apache_beam"]
    assert reaches_beam(house, "transforms.b")[-1] == "apache_beam.metrics"
