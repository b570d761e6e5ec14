"""Taking equal samples from other runs: same key, same file, no sampling."""

from collections.abc import Sequence
from pathlib import Path

from rcm_bench.errors import UserError
from rcm_bench.planning import Plan
from rcm_bench.progress import progress
from rcm_bench.store import RunStore
from rcm_bench.store_blobs import CorruptBlobError

_CHUNK = 64
_KEPT = ("nfe", "flags", "seconds", "device")


def adopt(plan: Plan, store: RunStore, folders: Sequence[Path]) -> int:
    """Copy what other runs have of a plan into its store.

    Args:
        plan: The plan.
        store: Where the samples are missing.
        folders: Folders of other runs.

    Returns:
        How many samples were taken.

    Raises:
        UserError: A folder is no run.
    """
    present = set(store.index().samples)
    taken = 0
    for folder in folders:
        source = RunStore.open(folder)
        if source.root.resolve() == store.root.resolve():
            raise UserError(f"{folder}: reuse: a run cannot take samples from itself")
        records = source.index().samples
        wanted = {
            item.sample_key: item
            for item in plan.items
            if item.sample_key in records and item.sample_key not in present
        }
        items = list(wanted.values())
        with progress(f"Reusing {folder}", len(items), "samples") as advance:
            for start in range(0, len(items), _CHUNK):
                rows, contents = [], []
                for item in items[start : start + _CHUNK]:
                    record = records[item.sample_key or ""]
                    try:
                        contents.append(source.blobs.read(record["blob"]))
                    except CorruptBlobError:
                        continue  # it is sampled anew here; the other run is not ours to mend
                    kept = {name: record[name] for name in _KEPT}
                    origin = {"key": item.sample_key, "item_id": item.item_id, "from": str(folder)}
                    rows.append(origin | kept)
                store.add_samples(rows, contents)
                taken += len(rows)
                present.update(str(row["key"]) for row in rows)
                advance(len(items[start : start + _CHUNK]))
    return taken
