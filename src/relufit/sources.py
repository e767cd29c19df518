"""The source files that each stage of the workflow depends on, found by their imports, and their digest."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from relufit.interrupts import shielded

if TYPE_CHECKING:
    from grimp import ImportGraph

_PACKAGE = Path(__file__).parent
_ROOT = __name__.partition(".")[0]

#: The modules that make the output of a stage. The stage depends on them and on all that they import.
#: What makes a part of a stage is named with `code_digest`: an experiment, its figures, the kind of its cluster.
ENTRIES = {
    "dataset": ("planted.dataset",),
    "training": ("training",),
    "trials": ("experiments.framework.trials",),
    "judge": ("experiments.framework.judging",),
    "claims": ("claims.report",),
    "figures": ("figures",),
    "report": ("report",),
    "manifest": ("pipeline.manifest",),
    "crate": ("pipeline.crate",),
}

#: Modules that import others by computed names or in programs of their own, and which of these count with them. None do
#: where the caller of `code_digest` names the one that is used, or where nothing of the package depends on them; a star
#: stands for all modules of a package.
ON_FIRST_USE: dict[str, tuple[str, ...]] = {
    "": (),
    "cli": (),
    "clusters": (),
    "clusters.emulated": ("clusters.emulated.findings", "clusters.emulated.kind"),
    "clusters.local": ("clusters.local_processes",),
    "experiments": (),
    "experiments.framework.procedures": (),
    "figures": (),
    "training.exchanges": ("training.exchanges.*",),
}
#: A module that a string names is started as a process.
_NAMED = re.compile(rf'(?:"|-m )({_ROOT}(?:\.\w+)+)[" ]')


@cache
def code_digest(stage: str, *modules: str) -> str:
    """Return the SHA-256 of the source files that a stage depends on, as they are when a process first asks.

    Parameters
    ----------
    stage : str
        A key of `ENTRIES`.
    *modules : str
        Further modules that the output depends on, below the package, or packages with all of their modules, such as
        ``experiments.link_speed``.
    """
    total = hashlib.sha256()
    for path in sources(stage, *modules):
        content = path.read_bytes()
        total.update(f"{path.relative_to(_PACKAGE).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def sources(stage: str, *modules: str) -> list[Path]:
    """Return the source files that a stage depends on, sorted.

    A module depends on the modules that it imports anywhere, inside functions too, unless only a type checker does; on
    those that it starts as processes; and on the data files in its folder. It does not depend on the ``__init__`` of
    the packages that it is in: these list what there is, and change nothing for who asks for one module.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    graph = _graph()
    named = [*map(_module, (*ENTRIES[stage], *modules))]
    if missing := set(named) - graph.modules:
        raise ValueError(f"no modules {', '.join(sorted(missing))}")
    within = [inner for module in map(_module, modules) for inner in graph.find_descendants(module)]
    waiting, files = [*named, *within], set[Path]()
    reached = set(waiting)
    while waiting:
        module = waiting.pop()
        path = _file(module)
        files |= {path, *_data_files(path.parent)}
        used = graph.find_modules_directly_imported_by(module)
        for name in map(_module, ON_FIRST_USE.get(module.partition(".")[2], ())):
            package = name.removesuffix(".*")
            used |= {name} if package == name else graph.find_descendants(package)
        used |= set(_NAMED.findall(path.read_text(encoding="utf-8"))) & graph.modules
        waiting += used - reached
        reached |= used
    return sorted(files)


@cache
def _graph() -> ImportGraph:
    """Return the imports inside the package, but for those of type checkers."""
    import grimp

    # Its compiled part does not expect an interrupt, and prints a stack of its own.
    return shielded(lambda: grimp.build_graph(_ROOT, exclude_type_checking_imports=True, cache_dir=None))


def _module(name: str) -> str:
    return f"{_ROOT}.{name}"


def _file(module: str) -> Path:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _data_files(folder: Path) -> list[Path]:
    """Return the files in a folder of the package that are data of its modules, such as templates."""
    files = (path for path in folder.iterdir() if path.is_file())
    return [path for path in files if path.suffix not in {".py", ".pyc", ".typed"} and not path.name.startswith(".")]
