"""The items of a map: what they are called, which of them are this shard's, and which are done already."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from anaheadless.batch.inputs import Inputs


@dataclass(frozen=True)
class Item:
    """One run of the program.

    :param number: its place among all inputs, from 1 on.
    :param id: what it is called in a journal: the same for the same input, whatever else there is.
    """

    number: int
    values: tuple[str, ...]
    id: str


def number(inputs: Inputs) -> list[Item]:
    """Make the items; where an input comes again, its ID says which time that is."""
    seen: Counter[str] = Counter()
    items = []
    for place, values in enumerate(inputs.rows, 1):
        digest = hashlib.sha256(b"\0".join(map(os.fsencode, values))).hexdigest()[:16]
        seen[digest] += 1
        again = f"-{seen[digest]}" if seen[digest] > 1 else ""
        items.append(Item(place, values, digest + again))
    return items


@dataclass(frozen=True)
class Shard:
    """One of *count* parts of all items, from 1 on."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def select(self, items: Sequence[Item]) -> list[Item]:
        """Take every *count*-th item, so that all shards get their part of what is slow."""
        return list(items[self.index - 1 :: self.count])


def parse_shard(text: str) -> Shard:
    """Parse ``I/N``; :raises ValueError: with a sentence that says what would do."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"{text!r} is not I/N, such as 3/10: shard 3 of 10.")
    return Shard(int(match[1]), int(match[2]))


# What batch systems tell the tasks of an array: the index, the first and the last one, and the step between two.
_ARRAYS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
)
# Those that tell the index only, or not where the array begins: what there is to say instead.
_INDEX_ONLY = {
    "PBS_ARRAY_INDEX": ("PBS does not say how many tasks there are", "$PBS_ARRAY_INDEX/N"),
    "PBS_ARRAYID": ("Torque does not say how many tasks there are", "$PBS_ARRAYID/N"),
    "LSB_JOBINDEX": ("LSF does not say where the array begins", "$LSB_JOBINDEX/$LSB_JOBINDEX_END if it begins at 1"),
}


def shard_from(environ: Mapping[str, str]) -> Shard:
    """Find the shard of a task in a batch system's array job; :raises ValueError: it is none, or says too little."""
    for names in _ARRAYS:
        values = [environ.get(name, "") for name in names]
        if all(re.fullmatch(r"\d{1,9}", value, re.ASCII) for value in values):
            index, first, last, step = map(int, values)
            if first <= index <= last and step > 0:
                shard = Shard((index - first) // step + 1, (last - first) // step + 1)
                # Of --array=1,3,9, Slurm says that it goes from 1 to 9 by 1: most shards would be nobody's.
                if environ.get("SLURM_ARRAY_TASK_COUNT", str(shard.count)) != str(shard.count):
                    raise ValueError("The tasks of this array have gaps: give --shard $SLURM_ARRAY_TASK_ID/N.")
                return shard
    for name, (lack, instead) in _INDEX_ONLY.items():
        if environ.get(name, "0") not in ("", "0"):  # LSF gives 0 to a job that is no array
            raise ValueError(f"{lack}: give --shard {instead}.")
    raise ValueError("This is no task of an array job: neither SLURM_ARRAY_TASK_ID nor SGE_TASK_ID says which one.")


def remaining(items: Sequence[Item], done: Collection[str]) -> list[Item]:
    """Leave out the items whose IDs are *done*."""
    return [item for item in items if item.id not in done]
