"""The package as it is installed: what can be imported, and who imports whom."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mbert
from support.export_cache import ExportCache

ROOT = Path(__file__).parent.parent
FOLDERS = ("model", "export", "runtime", "plugins", "bench")

# Whom each folder may import, beside itself and mbert.errors.
MAY_IMPORT = {
    # The table of operators.
    "model": {"plugins"},
    "plugins": set(),
    "runtime": {"plugins"},
    "export": {"model", "runtime", "plugins"},
    "bench": {"model", "export", "runtime", "plugins"},
}
# Beside the standard library: what a serving machine has.
SERVING = {"numpy", "onnxruntime", "tokenizers", "click"}
# What the adapters stand in for, or are asked to give: each is imported by whoever has it.
ADAPTED = {"langchain_core", "torch"}


def python(folder: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter, in a folder that is not the repository."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)


# ---- names


@pytest.mark.parametrize("name", FOLDERS)
def test_no_folder_is_a_package_of_its_own(tmp_path: Path, name: str) -> None:
    done = python(tmp_path, f"import {name}")
    assert done.returncode == 1
    assert f"ModuleNotFoundError: No module named '{name}'" in done.stderr


@pytest.mark.parametrize("name", FOLDERS)
def test_every_folder_is_a_subpackage(name: str) -> None:
    assert (ROOT / name / "__init__.py").is_file()
    found = __import__(f"mbert.{name}", fromlist=["__file__"])
    assert Path(found.__file__).parts[-3:] == ("mbert", name, "__init__.py")


def test_the_tests_run_against_the_installed_package() -> None:
    assert mbert.__file__ is not None
    assert not Path(mbert.__file__).is_relative_to(ROOT / "mbert")


@pytest.mark.parametrize("name", mbert.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(mbert, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"mbert.*nothing"):
        _ = mbert.nothing


# ---- what running a bundle imports

LIST_MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"

FORBIDDEN = (
    "torch",
    "transformers",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "safetensors",
    "huggingface_hub",
    "rich",
    "mbert.model",
    "mbert.export",
    "mbert.bench",
)


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_mbert_imports_nothing_else(tmp_path: Path) -> None:
    modules = imported(python(tmp_path, f"import mbert\n{LIST_MODULES}"))
    assert "mbert" in modules
    assert not modules & {*FORBIDDEN, "numpy", "onnxruntime", "tokenizers", "mbert.runtime"}


USE_EVERYTHING = """
import sys
import mbert, mbert.runtime
with mbert.load(sys.argv[1]) as model:
    model.warm_up()
    print(model.run([[1, 3, 2]])[0].shape)
    print(len(model.fill_mask("The [MASK] rose.")))
with mbert.load(sys.argv[1], kernels=False) as model:
    print(model.run_packed([1, 3, 2], [0, 3]).shape)
"""


@pytest.fixture(scope="module")
def bundle(text_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(text_checkpoint)


def test_running_a_bundle_imports_nothing_of_the_export(bundle: Path, tmp_path: Path) -> None:
    done = python(tmp_path, USE_EVERYTHING + LIST_MODULES, bundle)
    modules = imported(done)
    assert done.stdout.splitlines()[:3] == ["(1, 500)", "1", "(1, 500)"]
    assert "onnxruntime" in modules
    assert not modules & set(FORBIDDEN)


BLOCK_AND_RUN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2].split(",") or name in sys.argv[2].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from mbert.cli import main
main(["run", sys.argv[1], "--text", "The [MASK] rose."], prog_name="mbert")
"""


def test_a_machine_without_the_extras_runs_a_bundle(bundle: Path, tmp_path: Path) -> None:
    done = python(tmp_path, BLOCK_AND_RUN, bundle, ",".join(FORBIDDEN))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The [MASK] rose.\n")


# ---- who imports whom


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


class _Running(ast.NodeTransformer):
    """Drops what only a type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def imports(path: Path, *, running: bool = False) -> Iterator[str]:
    """The absolute names of all modules that a file imports, wherever in it.

    ``running``: without those that only a type checker imports.
    """
    package = ("mbert", *path.relative_to(ROOT).parts[:-1])
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(_Running().visit(tree) if running else tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else ())))
            # `from mbert import model` imports mbert.model.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_imports_are_resolved() -> None:
    """A test of the next tests: what they look for, they would find."""
    found = set(imports(ROOT / "runtime" / "tasks" / "fill_mask.py"))
    assert {"numpy", "mbert.runtime.engine.Rows", "dataclasses.dataclass"} <= found
    running = set(imports(ROOT / "runtime" / "tasks" / "fill_mask.py", running=True))
    assert found - running == {"typing_extensions.Unpack"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_whom_it_may(folder: str) -> None:
    # `import mbert` alone gives the face, whose names are looked up when they are used.
    allowed = {folder, "errors", "__version__", *MAY_IMPORT[folder]}
    if folder in ("export", "bench"):
        allowed |= {"signals", "steps", *mbert.__all__}  # of mbert itself
    files = sources(folder)
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if (name == "mbert" and folder not in ("export", "bench"))
        or (name.startswith("mbert.") and name.split(".")[1] not in allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["mbert", "runtime", "plugins"])
def test_what_serves_imports_only_what_a_serving_machine_has(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for typed in [set(imports(path)) - set(imports(path, running=True))]
        for name in imports(path)
        if not (name.startswith("typing_extensions.") and name in typed)
        and (top := name.partition(".")[0])
        not in SERVING | {"mbert"} | (ADAPTED if path.parent.name == "adapters" else set())
        and top not in sys.stdlib_module_names
    ]
    assert wrong == []


# ---- files


def test_no_source_file_is_over_700_lines() -> None:
    kinds = {".py", ".cc", ".h", ".cu", ".cuh", ".hpp", ".c", ".cpp", ".sh", ".onnxtxt"}
    folders = ("mbert", *FOLDERS, "examples", "tests")
    lines = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds
    }
    assert len(lines) > 50
    assert {path: count for path, count in lines.items() if count > 700} == {}


def test_the_installed_files_are_those_of_the_repository() -> None:
    """Files that a package reads at run time travel with it."""
    installed = Path(mbert.__file__).parent
    for folder in ("export", "runtime", "model", "plugins"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".onnxtxt"):
                assert (installed / folder / path.relative_to(ROOT / folder)).is_file()
    assert (installed / "py.typed").is_file()


# ---- the command group

MAIN = "import sys; from mbert.cli import main; main(sys.argv[1:], prog_name='mbert')"


def test_version(tmp_path: Path) -> None:
    done = python(tmp_path, MAIN, "--version")
    assert done.returncode == 0
    assert done.stdout.strip() == f"mbert, version {mbert.__version__}"
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert declared is not None
    assert declared[1] == mbert.__version__


def test_help_names_the_subcommands(tmp_path: Path) -> None:
    done = python(tmp_path, MAIN, "--help")
    assert done.returncode == 0
    for name in ("bench", "export", "inspect", "run", "verify"):
        assert re.search(rf"^  {name} ", done.stdout, re.M)


def test_a_missing_extra_says_how_to_install_it(tmp_path: Path) -> None:
    code = BLOCK_AND_RUN.replace('["run", sys.argv[1], "--text", "The [MASK] rose."]', "['export']")
    done = python(tmp_path, code, "", "torch,onnx_ir,rich")
    assert done.returncode == 1
    assert "pip install 'mbert[export]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_subcommand_is_refused(tmp_path: Path) -> None:
    done = python(tmp_path, MAIN, "serve")
    assert done.returncode == 2
    assert "No such command 'serve'" in done.stderr


def test_every_script_names_a_command_that_exists() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.scripts]")[1].split("\n[")[0]
    scripts = dict(re.findall(r'^([\w-]+) = "(.+)"$', section, re.M))
    assert set(scripts) == {"mbert", "mbert-export", "mbert-bench"}
    for target in scripts.values():
        module, attribute = target.split(":")
        assert callable(getattr(__import__(module, fromlist=[attribute]), attribute))
