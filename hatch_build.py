"""Editable installs: hatchling refuses a prefix rewrite there, so `.dev/infaas/<folder>` are links to the folders at the root."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the links before an editable install is built; does nothing for a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface
        """Makes the links, relative, so that the folder can be moved."""
        if version != "editable":
            return
        root = Path(self.root)
        package = root / ".dev" / "infaas"
        package.mkdir(parents=True, exist_ok=True)
        for folder in self.build_config.target_config["packages"]:
            link = package / folder
            if link.is_symlink():
                link.unlink()
            link.symlink_to(Path("..") / ".." / folder, target_is_directory=True)
