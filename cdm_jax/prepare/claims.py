"""Whose results lie already where a run would write?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.downloads import target
from cdm_jax.errors import UsageError
from cdm_jax.prepare import manifest


def check_claims(source: Path, data: Path, layout: str, raws: Sequence[Raw]) -> None:
    """Nothing that was made from other raw files is overwritten; a raw folder that moved is the same one.

    Raises:
      UsageError: a file to be written belongs to another layout, or to another raw folder that is still there.
    """
    claimed = {file: path for path, facts in _manifests(data) for file in facts["outputs"]}
    for raw in raws:
        for kind in (*raw.images, "mask", "seg"):
            file = target(layout, raw.id, kind)
            if file in claimed and (owner := _owner(claimed[file], source, data, layout, raw)):
                raise UsageError(f"{data / file}: already there {owner}; give another folder to -o")


def gone(source: Path, data: Path, layout: str, raws: Sequence[Raw]) -> list[str]:
    """The ids of prepared subjects that the raw folder no longer holds; those of other raw folders not counted."""
    here, folder = {raw.id for raw in raws}, data / manifest.FOLDER / layout
    ids = {
        path.relative_to(folder).as_posix().removesuffix(".json")
        for path, facts in _manifests(data)
        if path.is_relative_to(folder) and _other_root(facts, source) is None
    }
    return sorted(ids - here)


def raw_files(raw: Raw, source: Path) -> list[str]:
    """How a subject's raw files are named."""
    return [below(path, source) for path in (*raw.images.values(), raw.mask, raw.seg) if path is not None]


def below(path: Path, source: Path) -> str:
    """How a raw file is named: from the raw folder on, so that this may move."""
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else str(path)


def _owner(path: Path, source: Path, data: Path, layout: str, raw: Raw) -> str:
    """Whose manifest that is, in words, "" where it is the subject's own."""
    facts, folder = manifest.read(path) or {}, data / manifest.FOLDER / layout
    if not path.is_relative_to(folder):
        return f"from the layout '{path.relative_to(data / manifest.FOLDER).parts[0]}'"
    root = _other_root(facts, source)
    if root is None or _same_files(facts["inputs"], raw, source):
        return ""
    return f"from other files in {root}"


def _other_root(facts: dict, source: Path) -> str | None:
    """The raw folder that a manifest names, where it is another one than `source` that is still there."""
    root = facts.get("raw_root")
    return root if root and root != str(source.resolve()) and Path(root).is_dir() else None


def _same_files(inputs: dict[str, str], raw: Raw, source: Path) -> bool:
    names = raw_files(raw, source)
    return set(names) == inputs.keys() and all(manifest.file_hash(source / n) == inputs[n] for n in names)


def _manifests(data: Path) -> Iterator[tuple[Path, dict]]:
    for path in sorted((data / manifest.FOLDER).rglob("*.json")):
        facts = manifest.read(path)
        if facts is not None:
            yield path, facts
