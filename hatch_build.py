"""Builds: the links of editable installs, and the compiled modules of wheels and editable installs.

hatchling refuses a prefix rewrite in editable installs, so `.dev/infaas/<folder>` are links to the folders at the root.

What runs once a query is compiled (`hatch_compile.py`): in a wheel the libraries stand beside the files, in an editable install they
are in `.dev/compiled`, and are used only for the files they were made from (`infaas_compiled_finder.py`). Without a C compiler, or
with INFAAS_COMPILE=0, the same files run as Python.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = ["mypy==2.4.1", "pydantic>=2.10", "setuptools>=65"]
FINDER = "infaas_compiled_finder"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes links and libraries before a wheel or an editable install is built; does nothing for an sdist."""

    def dependencies(self) -> list[str]:
        """What compiling takes."""
        return COMPILER if self.target_name == "wheel" and not _hindrance() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Makes them; of an editable install it is told where they are."""
        if self.target_name != "wheel":
            return
        dev = Path(self.root) / ".dev"
        self._link(dev / "infaas")
        compiled = dev / "compiled"
        libraries = self._compile(dev, compiled)
        if version == "editable":
            pth = dev / f"{FINDER}.pth"
            pth.write_text(f"import {FINDER}; {FINDER}.install({str(compiled)!r})\n")
            build_data["force_include_editable"] = {str(pth): pth.name, f"{self.root}/{FINDER}.py": f"{FINDER}.py"}
        elif libraries:
            build_data["pure_python"], build_data["infer_tag"] = False, True
            build_data["force_include"] |= {str(compiled / library): library for library in libraries}

    def _link(self, package: Path) -> None:
        """Relative, so that the folder can be moved."""
        package.mkdir(parents=True, exist_ok=True)
        for folder in self.build_config.target_config["packages"]:
            link = package / folder
            if link.is_symlink():
                link.unlink()
            link.symlink_to(Path("..") / ".." / folder, target_is_directory=True)

    def _compile(self, dev: Path, target: Path) -> list[str]:
        """The libraries, made unless they are there; none where they can't be made, which is said in a line."""
        hindrance = _hindrance()
        if not hindrance:
            command = [sys.executable, f"{self.root}/hatch_compile.py", str(dev), str(target)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode == 0:
                return list(json.loads((target / "sources.json").read_bytes())["libraries"].values())
            hindrance = f"mypyc or the C compiler failed: {(done.stdout.strip() or 'without a word').splitlines()[-1]}"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        (target / "why_not").write_text(hindrance)  # pip shows no warning of a build
        self.app.display_warning(f"infaas is not compiled and runs as Python, slower: {hindrance}")
        return []


def _hindrance() -> str:
    """Why nothing can be compiled; empty = it can."""
    if os.environ.get("INFAAS_COMPILE") == "0":
        return "INFAAS_COMPILE=0"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return "" if header.exists() else f"there is no {header}, which is in a package such as python3-dev"
