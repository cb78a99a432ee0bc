"""Items: what they are called, and which are left for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.batch import items
from anaheadless.batch.inputs import Inputs, from_values
from anaheadless.batch.items import Shard

VALUES = st.lists(st.sampled_from(["a", "b", "c", "d e", "\udcff"]))


@given(VALUES)
def test_ids_differ_and_outlast_other_inputs(values: list[str]) -> None:
    found = items.number(from_values(values))
    assert [item.number for item in found] == list(range(1, len(values) + 1))
    assert len({item.id for item in found}) == len(values)
    again = items.number(from_values([*values, "another"]))
    assert [item.id for item in again[:-1]] == [item.id for item in found]


def test_ids_tell_columns_apart() -> None:
    first, second = items.number(Inputs(("a", "b"), (("x", "yz"), ("xy", "z"))))
    assert first.id != second.id


@given(VALUES, st.integers(1, 5))
def test_shards_have_each_item_once(values: list[str], count: int) -> None:
    everything = items.number(from_values(values))
    parts = [item for index in range(1, count + 1) for item in Shard(index, count).select(everything)]
    assert sorted(parts, key=lambda item: item.number) == everything


@given(VALUES, st.sets(st.integers(0, 9)))
def test_only_what_is_not_done_remains(values: list[str], places: set[int]) -> None:
    everything = items.number(from_values(values))
    done = {item.id for place, item in enumerate(everything) if place in places}
    left = items.remaining(everything, done)
    assert [item.number - 1 for item in left] == [place for place in range(len(values)) if place not in places]


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "1/", "a/b", "1/0", "-1/3", "1/2/3", "٣/٤"])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not I/N"):
        items.parse_shard(text)


def test_array_jobs_say_which_shard_it_is() -> None:
    assert items.parse_shard("3/10") == Shard(3, 10)
    slurm = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "9"}
    assert items.shard_from({**slurm, "SLURM_ARRAY_TASK_STEP": "2"}) == Shard(4, 5)
    assert items.shard_from({**slurm, "SLURM_ARRAY_TASK_STEP": "1"}) == Shard(7, 9)
    grid = {"SGE_TASK_ID": "10", "SGE_TASK_FIRST": "10", "SGE_TASK_LAST": "12", "SGE_TASK_STEPSIZE": "1"}
    assert items.shard_from(grid) == Shard(1, 3)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PBS_ARRAY_INDEX": "3"}, "PBS_ARRAY_INDEX/N"),
        ({"PBS_ARRAYID": "3"}, "PBS_ARRAYID/N"),
        ({"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "9"}, "LSB_JOBINDEX/.LSB_JOBINDEX_END"),
        ({"LSB_JOBINDEX": "0"}, "no task of an array job"),
        ({"SGE_TASK_ID": "undefined"}, "no task of an array job"),
        # As Slurm says of --array=3,7,8.
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "3",
                "SLURM_ARRAY_TASK_MAX": "8",
                "SLURM_ARRAY_TASK_STEP": "1",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            "have gaps: give --shard .SLURM_ARRAY_TASK_ID/N",
        ),
    ],
)
def test_an_array_job_that_does_not_say_which_shards_there_are_is_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        items.shard_from(environ)
