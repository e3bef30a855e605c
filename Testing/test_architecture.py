"""Who may import whom, and that no weights are ever a pickle: read from the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from Testing import tiny

PROJECT = Path(__file__).parent.parent
LIBRARY = {"numpy", "scipy", "SimpleITK", "torch", "safetensors"}
COMMAND_LINE = {"tqdm", "matplotlib", "skimage", "pydicom", "distributed", "shtab"}  # inside a function only
IN_SLICER = {"slicer", "qt", "ctk", "vtk"}


def sources(folder):
    return sorted((PROJECT / folder).rglob("*.py"))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path, everywhere=True):
    """Full names of what a file imports, relative ones resolved; only at file scope when not `everywhere`."""
    tree = tree_of(path)
    package = path.relative_to(PROJECT).parent.parts
    for node in ast.walk(tree) if everywhere else at_file_scope(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def at_file_scope(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_file_scope(child)


def roots(names):
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", sources("MAPDiffLib"), ids=lambda path: path.name)
def test_the_library_imports_its_five_packages_and_neither_slicer_nor_training(path):
    ours = {"MAPDiffLib", *LIBRARY, *sys.stdlib_module_names}
    assert roots(imports(path)) <= ours | COMMAND_LINE
    assert roots(imports(path, everywhere=False)) <= ours


def test_training_never_imports_slicer():
    for path in sources("training"):
        assert not roots(imports(path)) & IN_SLICER, path


def test_the_panel_takes_only_job_and_errors_from_the_library_and_never_torch_or_training():
    for path in sources("MAPDiff"):
        names = set(imports(path))
        assert not roots(names) & {"torch", "training", "safetensors"}, path
        ours = {name for name in names if name.split(".")[0] == "MAPDiffLib"}
        assert all(name.startswith(("MAPDiffLib.job", "MAPDiffLib.errors")) for name in ours), path


@pytest.mark.parametrize("name", ["job", "errors", "__init__"])
def test_what_the_panel_loads_is_standard_library_only(name):
    names = set(imports(PROJECT / "MAPDiffLib" / f"{name}.py"))
    inside = {imported for imported in names if imported.startswith("MAPDiffLib")}
    assert roots(names - inside) <= sys.stdlib_module_names
    assert all(imported.startswith("MAPDiffLib.errors") for imported in inside)


LAYERS = ("errors", "job", "files", "scan model", "restoration", "jobs", "report", "__main__")
MOST_AT_THE_TOP, MOST_LINES = 10, 50


def module_of(path):
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts)


FOLDERS = ("MAPDiffLib", "training", "bench", "Testing/slicer/standin")
MODULES = {module_of(path): path for folder in FOLDERS for path in sources(folder)}


def ours(path):
    """The modules of this project that a file imports, also inside functions."""
    found = set()
    for name in imports(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found |= {name} - {"", module_of(path)}
    return found


def circles(graph):
    """What can be reached from itself: {node: the way back}."""
    found = {}
    for start in graph:
        ways = [(start,)]
        seen = set()
        while ways:
            way = ways.pop()
            for after in graph.get(way[-1], ()):
                if after == start:
                    found[start] = way
                elif after not in seen:
                    seen.add(after)
                    ways.append((*way, after))
    return found


def test_the_library_imports_downwards_only_also_inside_functions():
    height = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
    for path in sources("MAPDiffLib"):
        layer = path.relative_to(PROJECT / "MAPDiffLib").parts[0].removesuffix(".py")
        for name in ours(path) - {"MAPDiffLib"}:
            other = name.split(".")[1] if "." in name else name
            below = other == layer or height[other] < height[layer]
            assert layer == "__init__" or name.endswith("__init__") or below, f"{path} imports {name}"


def test_no_import_goes_in_a_circle_also_none_inside_a_function():
    modules = {name: ours(path) for name, path in MODULES.items()}
    assert circles(modules) == {}
    folders: dict[str, set] = {}
    for name, imported in modules.items():
        own = ".".join(name.split(".")[:2])
        folders.setdefault(own, set()).update({".".join(other.split(".")[:2]) for other in imported} - {own})
    assert circles({name: found - {"MAPDiffLib.__init__"} for name, found in folders.items()}) == {}


def test_the_library_has_few_things_at_its_top_and_no_function_is_long():
    top = {path.name for path in (PROJECT / "MAPDiffLib").iterdir() if not path.name.startswith(("__pycache__", "."))}
    assert len(top - {"bundles", "CMakeLists.txt"}) <= MOST_AT_THE_TOP, top
    for folder in ("MAPDiffLib", "training", "bench", "MAPDiff", "Testing"):
        for path in sources(folder):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    lines = node.end_lineno - node.lineno + 1
                    assert lines <= MOST_LINES, f"{path}: {node.name} has {lines} lines"


def test_everything_public_says_what_it_is():
    for path in [*sources("MAPDiffLib"), *sources("training"), *sources("bench")]:
        for scope in (tree_of(path), *(node for node in tree_of(path).body if isinstance(node, ast.ClassDef))):
            for node in scope.body if not getattr(scope, "name", "").startswith("_") else ():
                named = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
                assert not named or ast.get_docstring(node), f"{path}: {node.name}"


def test_what_tests_share_lies_in_no_test():
    for path in sources("Testing"):
        assert not [name for name in imports(path) if ".test_" in name], path


def test_no_file_holds_more_than_four_hundred_lines():
    for folder in ("MAPDiffLib", "training", "bench", "MAPDiff", "Testing"):
        for path in sources(folder):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_a_scan_on_its_way_changes_folder_at_most_six_times(tmp_path):
    """Counted: pairs of folders between which a restoration calls, from restore(volume) to its last dose."""
    from MAPDiffLib import RestoreOptions, load_bundle, read_volume, restore

    library, ways = str(PROJECT / "MAPDiffLib"), set()

    def folder(frame):
        inside = frame.f_code.co_filename.removeprefix(library)
        return inside.split("/")[1] if inside != frame.f_code.co_filename else None

    def note(frame, event, _):
        if event == "call" and (here := folder(frame)) and frame.f_back and (before := folder(frame.f_back)):
            ways.add((before, here))

    scan = read_volume(tiny.tiny_scan(tmp_path / "scan.nrrd"))
    bundle = load_bundle(tiny.tiny_bundle(tmp_path / "tiny"))
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        list(restore(scan, bundle, RestoreOptions(samples=1, doses=(1.0,))))
    finally:
        sys.setprofile(before)
    assert 1 <= sum(before != here for before, here in ways) <= 6, ways


def test_network_and_diffusion_do_not_know_each_other():
    assert not any("diffusion" in name for name in imports(PROJECT / "MAPDiffLib/model/network.py"))
    assert not any("network" in name for name in imports(PROJECT / "MAPDiffLib/model/diffusion.py"))


@pytest.mark.parametrize("folder", ["MAPDiffLib", "training", "MAPDiff"])
def test_nothing_reads_a_pickle_or_runs_what_it_reads(folder):
    for path in sources(folder):
        assert not roots(imports(path)) & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}, path
        for call in (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)):
            given = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
            name = ast.unparse(call.func)
            assert name not in ("eval", "exec", "torch.jit.load"), f"{path}:{call.lineno}"
            assert name != "torch.load" or given.get("weights_only") is True, f"{path}:{call.lineno}"
            assert not given.get("allow_pickle"), f"{path}:{call.lineno}"


def test_only_the_workers_top_catches_everything():
    broad = []
    for path in sources("MAPDiffLib"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            ):
                broad.append(path.name)
    assert broad == ["worker.py"]


def test_files_are_renamed_in_one_place_only():
    """What appears whole or not at all does so by files.written_whole."""
    for path in [*sources("MAPDiffLib"), *sources("training"), *sources("bench")]:
        if path != PROJECT / "MAPDiffLib" / "files.py":
            used = re.search(r"os\.(replace|rename)\(|\.rename\(|shutil\.move\(", path.read_text(encoding="utf-8"))
            assert not used, f"{path}: {used}"


def test_the_library_prints_only_where_a_person_reads():
    printing = {
        path.name
        for path in sources("MAPDiffLib")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    }
    assert printing <= {"__main__.py", "console.py", "checkout.py", "command_line.py"}


@pytest.mark.parametrize("module", ["__main__", "job", "jobs.worker", "jobs.run_job"])
def test_importing_it_loads_nothing_heavy(module):
    heavy = LIBRARY | COMMAND_LINE
    code = f"import sys, MAPDiffLib.{module}; sys.exit(sorted({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_packages_short_names_are_the_functions_themselves_and_cost_nothing_until_used():
    code = (
        "import sys, MAPDiffLib; before = set(sys.modules); names = dir(MAPDiffLib)\n"
        "from MAPDiffLib import load_bundle, read_volume, restore, write_volume, RestoreOptions\n"
        "from MAPDiffLib.restoration.restore import restore as itself\n"
        f"assert not {LIBRARY!r} & before and {{'restore', 'load_bundle'}} <= set(names)\n"
        "assert restore is itself and not hasattr(MAPDiffLib, 'denoise')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
