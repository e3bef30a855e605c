"""The extension as Slicer's build and its catalogue see it: lists, macros, catalogue entry, images, licence."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MODULES = ("MAPDiff", "MAPDiffLib")
TEXT = {".py", ".txt", ".json", ".ui", ".md", ".cmake"}
SCHEMA_KEYS = {  # of catalogue schema 1.0.2, with the kind of each
    "$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str, "build_dependencies": list,
    "dicom_support_rule": str, "build_subdirectory": str, "enabled": bool, "tier": int,
}  # fmt: skip
# A stand-in of Slicer's macros: the checks of slicerMacroBuildScriptedModule, and its way of installing.
MACROS = """
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)
include(CMakeParseArguments)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT DEFINED MY_NAME)
    message(FATAL_ERROR "bad arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  set(_folder ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR})
  if(MY_WITH_SUBDIR)
    get_filename_component(_name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(_folder ${_folder}/${_name})
  endif()
  foreach(_file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${_file})
      message(FATAL_ERROR "given nonexistent file or directory '${_file}'")
    endif()
    if("${_file}" MATCHES "^\\\\.\\\\.")
      message(FATAL_ERROR "'${_file}' lies outside the module and would be dropped")
    endif()
    get_filename_component(_part ${_file} DIRECTORY)
    install(FILES ${_file} DESTINATION ${_folder}/${_part})
  endforeach()
endmacro()
function(slicer_add_python_unittest)
endfunction()
"""


def cmake_text(folder):
    return (PROJECT / folder / "CMakeLists.txt").read_text(encoding="utf-8")


def listed(folder, variable):
    """The entries of set(<variable> ...) in a module's CMakeLists.txt; a GLOB is what it finds."""
    text = cmake_text(folder)
    found = re.search(rf"set\({variable}\s([^)]*)\)", text)
    if found is None:
        patterns = re.search(rf"file\(GLOB {variable} .*CONFIGURE_DEPENDS ([^)]+)\)", text).group(1).split()
        paths = (path for pattern in patterns for path in (PROJECT / folder).glob(pattern))
        return sorted(path.relative_to(PROJECT / folder).as_posix() for path in paths)
    lines = [line.partition("#")[0] for line in found.group(1).splitlines()]
    return sorted(word.replace("${MODULE_NAME}", folder) for line in lines for word in line.split())


def files_of(folder):
    """Every file of a module that is part of the project."""
    found = (path for path in (PROJECT / folder).rglob("*") if path.is_file())
    names = (path.relative_to(PROJECT / folder).as_posix() for path in found if "__pycache__" not in path.parts)
    return sorted(name for name in names if name != "CMakeLists.txt")


@pytest.mark.parametrize("folder", MODULES)
def test_every_file_of_a_module_is_listed_and_every_listed_file_is_there(folder):
    files = files_of(folder)
    assert listed(folder, "MODULE_PYTHON_SCRIPTS") == [name for name in files if name.endswith(".py")]
    assert listed(folder, "MODULE_PYTHON_RESOURCES") == [name for name in files if not name.endswith(".py")]


def test_configured_and_installed_the_extension_lies_as_slicer_finds_it_and_runs(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("not installed: cmake")
    macros = tmp_path / "Slicer"
    macros.mkdir()
    (macros / "SlicerConfig.cmake").write_text(
        f"set(Slicer_USE_FILE {macros}/use.cmake)\nset(Slicer_EXTENSION_GENERATE_CONFIG {macros}/none.cmake)\n"
        f"set(Slicer_EXTENSION_CPACK {macros}/none.cmake)\n"
    )
    (macros / "use.cmake").write_text(MACROS)
    (macros / "none.cmake").write_text("")
    build, target = tmp_path / "build", tmp_path / "installed"
    for command in (
        ["cmake", "-S", str(PROJECT), "-B", str(build), f"-DSlicer_DIR={macros}", f"-DCMAKE_INSTALL_PREFIX={target}"],
        ["cmake", "--install", str(build)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    check_installed(target / "lib" / "qt-scripted-modules")


def test_what_the_lists_install_runs_without_the_checkout(tmp_path):
    """The same, with the macro's rule followed by hand, for machines without cmake."""
    for folder in MODULES:
        inside = folder if "WITH_SUBDIR" in cmake_text(folder) else ""
        for variable in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"):
            for name in listed(folder, variable):
                (tmp_path / inside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / folder / name, tmp_path / inside / name)
    check_installed(tmp_path)


def check_installed(folder):
    assert (folder / "MAPDiff.py").is_file() and (folder / "MAPDiffPanelLib" / "run.py").is_file()
    assert (folder / "Resources" / "UI" / "MAPDiff.ui").is_file()
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "import MAPDiffLib.job, MAPDiffLib.__main__\n"
        "print(MAPDiffLib.job.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == folder / "MAPDiffLib"


def test_the_extension_says_all_that_the_catalogue_needs():
    text = (PROJECT / "CMakeLists.txt").read_text(encoding="utf-8")
    facts = dict(re.findall(r'set\((EXTENSION_\w+) "([^"]*)"\)', text))
    assert set(facts) == {
        "EXTENSION_HOMEPAGE", "EXTENSION_CONTRIBUTORS", "EXTENSION_DESCRIPTION", "EXTENSION_ICONURL",
        "EXTENSION_SCREENSHOTURLS", "EXTENSION_DEPENDS",
    }  # fmt: skip
    assert re.search(r"^project\(MAPDiff\)", text, re.M) and "EXTENSION_CATEGORY" not in text
    order = ["find_package(Slicer", "Slicer_USE_FILE", "add_subdirectory(MAPDiff)", "add_subdirectory(MAPDiffLib)",
             "Slicer_EXTENSION_GENERATE_CONFIG", "Slicer_EXTENSION_CPACK"]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    for url in [facts["EXTENSION_ICONURL"], *facts["EXTENSION_SCREENSHOTURLS"].split()]:
        repository, _, path = url.partition("/main/")
        assert repository.startswith("https://raw.githubusercontent.com/") and url.endswith((".png", ".jpg"))
        assert (PROJECT / path).is_file(), f"{path} is named in CMakeLists.txt and not there"


def test_the_catalogue_entry_is_valid_and_agrees_with_cmake():
    entry = json.loads((PROJECT / "MAPDiff.json").read_text(encoding="utf-8"))
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(SCHEMA_KEYS)
    assert all(isinstance(value, SCHEMA_KEYS[key]) for key, value in entry.items())
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == "Nuclear Medicine" and entry["tier"] in range(1, 6)
    assert entry["scm_url"].startswith("https://") and entry["scm_url"].endswith(".git")
    text = (PROJECT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert " ".join(entry["build_dependencies"]) == re.search(r'EXTENSION_DEPENDS "([^"]*)"', text).group(1)


def test_text_files_have_unix_line_ends():
    folders = [PROJECT / folder for folder in MODULES]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in TEXT]
    for path in [*files, PROJECT / "MAPDiff.json", PROJECT / "CMakeLists.txt", PROJECT / "README.md"]:
        assert b"\r" not in path.read_bytes(), path


def test_images_are_what_they_are_called_and_the_extension_is_small():
    for path in [*PROJECT.glob("Resources/**/*"), *PROJECT.glob("MAPDiff/Resources/**/*")]:
        if path.suffix == ".png":
            assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", path
        if path.suffix in (".jpg", ".jpeg"):
            assert path.read_bytes()[:3] == b"\xff\xd8\xff", path
    size = sum((PROJECT / folder / name).stat().st_size for folder in MODULES for name in files_of(folder))
    assert size < 50e6, f"{size / 1e6:.1f} MB"


def test_the_licence_is_in_the_root_and_named_in_the_readme():
    assert (PROJECT / "LICENSE.txt").is_file()
    assert "Apache" in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_what_the_catalogue_asks_for():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    tutorial = text[text.index("## In 3D Slicer") :]
    assert re.findall(r"^(\d)\. ", tutorial, re.M)[:5] == list("12345"), "a step-by-step tutorial"
    assert "Sample Data" in tutorial and "simulated" in tutorial, "where its sample data comes from"
    assert "## Cite" in text and "arXiv" in text and "Research use only" in text
    images = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
    assert images and all(words and (PROJECT / path).is_file() for words, path in images)


def panel_sources():
    return sorted((PROJECT / "MAPDiff").rglob("*.py"))


@pytest.mark.parametrize("path", panel_sources(), ids=lambda path: path.name)
def test_the_panel_imports_nothing_heavy_at_file_scope_and_runs_nothing(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    heavy = {"torch", "scipy", "SimpleITK", "matplotlib", "safetensors", "training", "PyTorchUtils", "requests"}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert path.name == "install.py" or not {name.split(".")[0] for name in names} & heavy
    for statement in tree.body:
        runs = isinstance(statement, (ast.Expr, ast.For, ast.While, ast.With)) and not (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        )
        assert not runs, f"{path.name}:{statement.lineno} runs at import"


def test_torch_is_installed_as_the_pytorch_extension_says_and_never_inside_slicer():
    for path in panel_sources():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip_install\([^)]*torch|pip_ensure\([^)]*torch|installTorch\(|importTorch", text), path
    text = (PROJECT / "MAPDiff/MAPDiffPanelLib/install.py").read_text(encoding="utf-8")
    assert "PyTorchUtilsLogic._getPipInstallArguments" in text and '"light_the_torch"' in text


def test_the_panel_reaches_no_network_by_itself():
    for path in panel_sources():
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        assert not names & {"urllib", "http", "socket", "requests", "ftplib"}, path


def test_the_order_of_the_module_is_slicers_own():
    names = [node.name for node in ast.parse((PROJECT / "MAPDiff/MAPDiff.py").read_text(encoding="utf-8")).body
             if isinstance(node, (ast.ClassDef, ast.FunctionDef))]  # fmt: skip
    wanted = ["MAPDiff", "registerSampleData", "MAPDiffParameterNode", "MAPDiffWidget", "MAPDiffLogic", "MAPDiffTest"]
    assert [name for name in names if name in wanted] == wanted
    assert len((PROJECT / "MAPDiff/MAPDiff.py").read_text(encoding="utf-8").splitlines()) <= 400
