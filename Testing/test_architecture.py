"""Who may import whom, and that no weights are ever a pickle: read from the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
LIBRARY = {"numpy", "scipy", "SimpleITK", "torch", "safetensors"}
COMMAND_LINE = {"tqdm", "matplotlib", "skimage", "pydicom", "distributed", "shtab"}  # inside a function only
IN_SLICER = {"slicer", "qt", "ctk", "vtk"}
TORCH_2_2 = """
torch torch.Generator torch.Tensor torch.UntypedStorage torch.UntypedStorage.from_file torch.__version__
torch._foreach_lerp_ torch.addcmul torch.arange torch.as_tensor torch.empty torch.int8 torch.is_grad_enabled
torch.einsum torch.equal torch.maximum torch.nn.functional.conv3d torch.sparse_csr_tensor torch.uint8
torch.autocast torch.backends torch.backends.cudnn torch.backends.cudnn.benchmark torch.backends.cudnn.version
torch.bfloat16 torch.cat torch.channels_last_3d torch.compile torch.contiguous_format torch.cos torch.cpu torch.cuda
torch.cuda.CUDAGraph torch.cuda.OutOfMemoryError torch.cuda.device_count torch.cuda.empty_cache
torch.cuda.get_device_name torch.cuda.get_device_properties torch.cuda.graph torch.cuda.is_available
torch.cuda.max_memory_allocated torch.cuda.max_memory_reserved torch.cuda.mem_get_info torch.cuda.memory_allocated
torch.cuda.memory_reserved torch.cuda.reset_peak_memory_stats torch.cuda.set_per_process_memory_fraction
torch.cuda.synchronize torch.cumprod torch.device torch.dtype torch.empty_like torch.exp torch.expm1 torch.float32
torch.fft torch.fft.irfftn torch.fft.rfftn torch.float64 torch.from_numpy torch.full torch.get_num_threads
torch.inference_mode torch.isfinite torch.lerp
torch.linspace torch.load torch.log1p torch.log2 torch.manual_seed torch.memory_format torch.nn torch.nn.BatchNorm3d
torch.nn.Conv3d torch.nn.ConvTranspose3d torch.nn.Linear torch.nn.Module torch.nn.ModuleList torch.nn.ReLU
torch.nn.Sequential torch.nn.SiLU torch.nn.functional torch.nn.functional.interpolate torch.nn.functional.pad
torch.nn.functional.silu torch.nn.init torch.nn.init.kaiming_normal_ torch.nn.init.normal_ torch.nn.init.zeros_
torch.nn.utils torch.nn.utils.clip_grad_norm_ torch.no_grad torch.optim torch.optim.AdamW torch.optim.Optimizer
torch.randn torch.randn_like torch.save torch.set_num_threads torch.sign torch.stack torch.tensor
    torch.tensordot
torch.utils.data.DataLoader torch.utils.data.Dataset torch.utils.tensorboard.SummaryWriter torch.where torch.zeros
torch.zeros_like torch.frexp torch.ldexp
"""


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


def test_the_panel_takes_only_job_from_the_library_and_never_torch_or_training():
    for path in sources("MAPDiff"):
        names = set(imports(path))
        assert not roots(names) & {"torch", "training", "safetensors"}, path
        ours = {name for name in names if name.split(".")[0] == "MAPDiffLib"}
        assert all(name.startswith("MAPDiffLib.job") for name in ours), path


@pytest.mark.parametrize("name", ["job", "errors", "__init__"])
def test_what_the_panel_loads_is_standard_library_only(name):
    names = set(imports(PROJECT / "MAPDiffLib" / f"{name}.py"))
    inside = {imported for imported in names if imported.startswith("MAPDiffLib")}
    assert roots(names - inside) <= sys.stdlib_module_names
    assert all(imported.startswith("MAPDiffLib.errors") for imported in inside)


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


def torch_names(path):
    """Full names of torch that a file uses: `nn.Linear` is torch.nn.Linear."""
    tree, called = tree_of(path), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            called |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name == "torch"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            called |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)):
            first, _, rest = ast.unparse(node).partition(".")
            if first in called and re.fullmatch(r"[\w.]*", rest):
                yield f"{called[first]}.{rest}".strip(".")


def test_nothing_of_torch_is_used_that_torch_2_2_lacks():
    """A new name is looked up in the documentation of 2.2 before it joins the list."""
    used = {name for folder in ("MAPDiffLib", "training", "bench") for path in sources(folder) for name in
            torch_names(path)}  # fmt: skip
    assert used <= set(TORCH_2_2.split()), sorted(used - set(TORCH_2_2.split()))


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
