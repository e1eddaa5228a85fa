"""The plan of the house: who may import whom, what an import costs, how long a file or a function may be."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "diffexp"
FILES = sorted(SRC.rglob("*.py"))
ORDER = (  # a room or file of the package imports those of the lines above its own
    {"redact"},
    {"errors", "randomness", "condition", "untyped"},
    {"escape", "files", "notice"},
    {"archive", "locks", "pictures", "progress"},
    {"hub", "comparison"},
    {"config", "conditioning", "codecs", "networks"},
    {"diffusion"},
    {"model"},
    {"adapters"},
    {"samplers"},
    {"data"},
    {"metrics"},
    {"training"},
    {"run"},
    {"report"},
    {"doctor"},
    {"tasks"},
    {"sweep"},
    {"listing"},
    {"completion"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES_ALONE = {
    "__main__", "archive", "cli", "completion", "condition", "errors", "escape", "files", "hub", "listing",
    "locks", "notice",
    "pictures",
    "progress",
    "randomness",
    "redact",
    "untyped",
}  # fmt: skip
BESIDE_TORCH = {
    "samplers": {"scipy"},
    "diffusion": {"scipy"},
    "conditioning": {"transformers"},
    "codecs": {"diffusers"},
}  # when it is used
NO_SUBJECT = {
    "of", "from", "what", "whether", "where", "when", "how", "which", "to", "as", "after", "before", "in",
    "with", "without", "told", "for", "at", "by", "on", "such", "that", "who",
}  # fmt: skip
HEAVY = ("lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torch_fidelity")


def names(file):
    """The full names that a file imports, but for those that a type checker alone reads."""
    package = ["diffexp", *file.relative_to(SRC).parts[:-1]]
    todo = list(ast.iter_child_nodes(ast.parse(file.read_text())))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            todo += ast.iter_child_nodes(node)


def room(name):
    parts = name.split(".")
    return parts[1] if parts[0] == "diffexp" and len(parts) > 1 else None


def imports():
    """Of each file the files that it imports, by their names with dots."""
    known = {".".join(("diffexp", *f.relative_to(SRC).with_suffix("").parts)): f for f in FILES}
    return {
        name: {n for i in names(file) for n in (i, i.rpartition(".")[0]) if n in known and n != name}
        for name, file in known.items()
    }


def where(file):
    return file.relative_to(SRC).as_posix()


def test_every_room_has_a_rank():
    here = {path.stem for path in SRC.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert here - {"__init__"} <= set(RANK)


@pytest.mark.parametrize("file", FILES, ids=where)
def test_a_room_imports_lower_rooms_only(file):
    own = room(f"diffexp.{where(file).removesuffix('.py').replace('/', '.')}")
    if own == "__init__":
        return
    others = {room(name) for name in names(file)} - {None, own}
    allowed = {other for other, rank in RANK.items() if rank < RANK[own]}
    assert others - allowed == set()


def test_no_file_imports_itself_by_way_of_others():
    left = imports()
    while free := {name for name, others in left.items() if not others & set(left)}:
        left = {name: others for name, others in left.items() if name not in free}
    assert set(left) == set()


@pytest.mark.parametrize(
    "name",
    [
        *("diffusion", "networks", "samplers", "conditioning", "codecs"),
        *("condition", "errors", "randomness", "untyped"),
    ],
)
def test_the_core_needs_torch_alone(name):
    files = [file for file in FILES if where(file).split("/")[0].removesuffix(".py") == name]
    roots = {imported.split(".")[0] for file in files for imported in names(file)}
    allowed = {"torch", "diffexp"} | BESIDE_TORCH.get(name, set())
    assert files and roots - set(sys.stdlib_module_names) <= allowed


def loaded_after(line):
    show = f"import sys; {line}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_core_loads_no_framework():
    found = loaded_after("import diffexp.diffusion, diffexp.samplers, diffexp.networks, diffexp.model.model")
    assert "torch" in found and found.isdisjoint({*HEAVY, "scipy"})


def test_measuring_a_checkpoint_loads_no_framework_of_training():
    """Each process of a sweep would wait seconds for it."""
    found = loaded_after("import diffexp.tasks.evaluate, diffexp.run.job, diffexp.sweep.launcher")
    assert "torch" in found and found.isdisjoint({"lightning", "torchmetrics", "torchvision", "scipy"})


def test_importing_the_package_loads_nothing_until_a_room_is_named():
    assert loaded_after("import diffexp; diffexp.__version__").isdisjoint({"torch", *HEAVY})
    assert "torch" in loaded_after("import diffexp; diffexp.diffusion.cosine")


def test_the_package_offers_its_rooms_and_its_version():
    package = importlib.import_module("diffexp")
    assert set(package.__all__) == {*RANK, "__version__", "load", "sample", "grid"} - FILES_ALONE
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", package.__version__)
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="diffexp has no typo"):
        package.typo  # noqa: B018


@pytest.mark.parametrize("file", FILES, ids=where)
def test_files_and_functions_are_short(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 250
    functions = (
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = [f"{f.name}: {f.end_lineno - f.lineno + 1}" for f in functions if f.end_lineno - f.lineno >= 45]
    assert long == []


@pytest.mark.parametrize("file", FILES, ids=where)
def test_what_is_public_says_what_it_is(file):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree) or not tree.body
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    assert [n.name for n in public if not ast.get_docstring(n)] == []


@pytest.mark.parametrize("file", FILES, ids=where)
def test_a_docstring_begins_with_a_sentence(file):
    """`Return ...`, `Run ...`, or a noun phrase: a reader is not to rebuild the subject."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    parts = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, kinds)]
    begun = [(n.name, re.match(r"\W*(\w+)?", ast.get_docstring(n) or "")) for n in parts]
    assert [name for name, match in begun if match and (match[1] or "").lower() in NO_SUBJECT] == []


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    machine = re.compile(r"(?<![\w.~$}*])/(work|root|home|tmp|Users)/")
    kinds = {".py", ".yaml", ".yml", ".toml", ".md", ".txt", ".lock", ".cfg", ".cff", ""}
    folders = ["src", "tests", "conf", "sweeps", "docs", "benchmarks", "tools", ".ci", ".github"]
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.suffix in kinds]
    files += [file for file in ROOT.iterdir() if file.suffix in kinds and file.name != ".git"]
    found = [f"{f.relative_to(ROOT)}" for f in files if f.is_file() and machine.search(f.read_text())]
    assert files and found == []
