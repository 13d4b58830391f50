"""Compiles what runs once a query: the same typed files, by mypyc, into one library and a stub of it for each module.

A process of its own, started by `hatch_build.py`: `python hatch_compile.py ROOT TARGET`. ROOT has the package `infaas`, as `.dev` has;
in TARGET are the libraries afterwards, and `sources.json`, which says what they were made from. Modules of one library call each
other directly, so that all of them are used or none. Types are checked by `make check`, where all that is imported is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

NAME = "infaas_compiled"
MODULES = {
    "policy": "fits",
    "schemas": "conformity names oip",
    "schemas/headers": "caller known objective reply_address travel values",
    # Not what consumes: the client gives None where its stubs say that there is a name or a number, which compiled code refuses.
    "bus": "clock outbox progress record replies unconfirmed",
    "router": "delivery demand drain half hops incoming judgement lineup live load loop open_views policy running scenes urgency",
    "workers": "answers batching held instance partition partitions replies tally work",
}
"""What is compiled, by folder."""
IMPORTED = ("bus", "engines", "host", "policy", "router", "schemas", "store", "workers")
"""Folders of which compiled code knows types: it is good for exactly these files."""
MYPY = """[mypy]
plugins = pydantic.mypy
namespace_packages = true
explicit_package_bases = true
ignore_missing_imports = true
"""


def sources(root: Path) -> dict[str, str]:
    """All files that the libraries depend on, with their digests."""
    files = [path for folder in IMPORTED for path in (root / "infaas" / folder).rglob("*.py")]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def compile_modules(root: Path, target: Path) -> None:
    """Makes the libraries in `target`, unless they are there."""
    made_from, work, told = sources(root), target / "c", target / "sources.json"
    by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    content = {"python": sys.implementation.cache_tag, "by": by, "sources": made_from}
    if told.exists() and json.loads(told.read_bytes()).items() >= content.items():
        return
    from mypyc.build import mypycify  # installed for the build, and only where there is a compiler

    target.mkdir(parents=True, exist_ok=True)
    told.unlink(missing_ok=True)
    (target / "mypy.ini").write_text(MYPY)
    os.chdir(root)  # what a traceback shows is a path from here
    files = [f"infaas/{folder}/{module}.py" for folder, modules in MODULES.items() for module in modules.split()]
    extensions = mypycify(
        [f"--config-file={target / 'mypy.ini'}", *files],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=str(work),
        group_name=NAME,
    )
    libraries = {extension.name: _build(extension, work, target) for extension in extensions}
    shutil.rmtree(work)
    told.write_text(json.dumps(content | {"libraries": libraries}, indent=1))


def _build(extension: Any, work: Path, target: Path) -> str:
    """Compiles one extension, its files side by side; returns the library's path from `target`."""
    from setuptools._distutils.ccompiler import new_compiler
    from setuptools._distutils.sysconfig import customize_compiler

    include = [*extension.include_dirs, sysconfig.get_paths()["include"]]

    def compiled(source: str) -> list[str]:
        compiler = new_compiler()
        customize_compiler(compiler)
        objects: list[str] = compiler.compile(
            [source], output_dir=str(work), include_dirs=include, extra_postargs=extension.extra_compile_args
        )
        return objects

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [one for some in pool.map(compiled, extension.sources) for one in some]
    library: str = extension.name.replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX")
    (target / library).parent.mkdir(parents=True, exist_ok=True)
    compiler = new_compiler()
    customize_compiler(compiler)
    compiler.link_shared_object(objects, str(target / library))
    return library


if __name__ == "__main__":
    compile_modules(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
