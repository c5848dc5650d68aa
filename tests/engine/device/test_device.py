import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import SlotRun, count_slots, parse_slot_mapping
from engine.device import KVCacheSpec, PagedKVCache, SlotOutOfBounds, checksum, split_runs

DATA = Path(__file__).resolve().parents[2] / "data"
VECTORS = json.loads((DATA / "kvcache_checksums.json").read_text("utf-8"))["vectors"]
CPU = torch.device("cpu")
NUM_SLOTS = 24
DTYPES = [torch.float16, torch.bfloat16, torch.float32]

RUNS = st.lists(
    st.tuples(st.integers(0, NUM_SLOTS - 1), st.integers(0, NUM_SLOTS - 1)).map(
        lambda ends: SlotRun(min(ends), max(ends))
    ),
    min_size=1,
    max_size=6,
)


def paged(dtype: torch.dtype = torch.float32, layout: str = "mha") -> PagedKVCache:
    """3 layers, 6 blocks of 4 slots."""
    is_mla = layout == "mla"
    heads = 1 if is_mla else 2
    cache = PagedKVCache(KVCacheSpec(3, heads, 8, dtype, 4, 6, is_mla), CPU)
    cache.fill_pattern()
    return cache


def slots_of(runs: list[SlotRun]) -> list[int]:
    return [slot for run in runs for slot in range(run.first, run.last + 1)]


def expected_chunk(cache: PagedKVCache, slots: list[int]) -> torch.Tensor:
    """The chunk by the definition of its layout, one slot at a time."""
    size = cache.spec.block_size
    rows = [
        torch.stack(
            [
                (
                    layer[slot // size, slot % size]
                    if cache.spec.use_mla
                    else layer[:, slot // size, slot % size]
                )
                for slot in slots
            ],
            dim=-2 if cache.spec.use_mla else 1,
        )
        for layer in cache.layers.values()
    ]
    if cache.spec.use_mla:
        return torch.stack(rows)
    return torch.stack([row.flatten(2) for row in rows], dim=1)


def cache_of(vector: dict[str, object]) -> PagedKVCache:
    shape = vector["shape"]
    is_mla = len(shape) == 3  # type: ignore[arg-type]
    blocks, block_size = (shape[0], shape[1]) if is_mla else (shape[1], shape[2])  # type: ignore[index]
    heads, head_size = (1, shape[2]) if is_mla else (shape[3], shape[4])  # type: ignore[index]
    dtype = getattr(torch, str(vector["dtype"]))
    spec = KVCacheSpec(vector["num_layers"], heads, head_size, dtype, block_size, blocks, is_mla)  # type: ignore[arg-type]
    cache = PagedKVCache(spec, CPU)
    cache.fill_pattern()
    assert list(cache.layers["model.layers.0"].shape) == shape
    return cache


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("piece_bytes", [1, 200, 8 << 20])
def test_checksums__known_kv__gives_what_lmcache_gave(
    vector: dict[str, object], piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum, "_PIECE_BYTES", piece_bytes)
    cache = cache_of(vector)
    runs = parse_slot_mapping(str(vector["slot_mapping"]))
    of = cache.layerwise_checksums if vector["layerwise"] else cache.checksums
    assert of(runs, vector["chunk_size"]) == vector["expected_chunk_checksums"]  # type: ignore[arg-type]


def test_checksums__eleven_layers__are_combined_in_lexicographic_order() -> None:
    cache = PagedKVCache(KVCacheSpec(11, 1, 4, torch.float32, 4, 2, False), CPU)
    cache.fill_random(seed=3)
    runs = [SlotRun(0, 7)]
    by_layer = cache.layerwise_checksums(runs, 8)
    names = [f"model.layers.{index}" for index in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)]
    joined = "".join(by_layer[name][0] for name in names)
    assert cache.checksums(runs, 8) == [hashlib.md5(joined.encode()).hexdigest()]


def test_checksums__slot_does_not_exist__is_refused_with_slot_and_limit() -> None:
    with pytest.raises(SlotOutOfBounds) as caught:
        paged().checksums([SlotRun(0, 3), SlotRun(20, 30)], 4)
    assert (caught.value.slot, caught.value.num_slots) == (24, 24)


def test_checksums__no_slots__gives_none() -> None:
    assert paged().checksums([], 4) == []


@pytest.mark.parametrize("layout", ["mha", "mla"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(deadline=None)
@given(runs=RUNS)
def test_gather__any_slots__gives_the_chunk_of_the_documented_layout(
    dtype: torch.dtype, layout: str, runs: list[SlotRun]
) -> None:
    cache = paged(dtype, layout)
    chunk = torch.empty(cache.spec.chunk_shape(count_slots(runs)), dtype=dtype)
    cache.gather(runs, chunk)
    assert torch.equal(chunk, expected_chunk(cache, slots_of(runs)))


@pytest.mark.parametrize("layout", ["mha", "mla"])
@settings(deadline=None)
@given(slots=st.permutations(range(NUM_SLOTS)), num_tokens=st.integers(1, NUM_SLOTS))
def test_scatter__any_slots__writes_them_and_no_others(
    layout: str, slots: list[int], num_tokens: int
) -> None:
    cache = paged(torch.float32, layout)
    kept = [SlotRun(slot, slot) for slot in slots[num_tokens:]]
    runs = [SlotRun(slot, slot) for slot in slots[:num_tokens]]
    before = cache.layerwise_checksums(kept, 1)
    chunk = torch.randn(cache.spec.chunk_shape(num_tokens))
    cache.scatter(chunk, runs)
    read_back = torch.empty_like(chunk)
    cache.gather(runs, read_back)
    assert torch.equal(read_back, chunk)
    assert cache.layerwise_checksums(kept, 1) == before


@pytest.mark.parametrize("direction", ["gather", "scatter"])
def test_transfer__slot_does_not_exist__moves_nothing(direction: str) -> None:
    cache = paged()
    runs = [SlotRun(0, 3), SlotRun(24, 24)]
    chunk = torch.full(cache.spec.chunk_shape(5), 7.0)
    before = cache.checksums([SlotRun(0, 23)], 24)
    with pytest.raises(SlotOutOfBounds, match=r"slot 24 is out of bounds; .* 0 to 23"):
        cache.gather(runs, chunk) if direction == "gather" else cache.scatter(chunk, runs)
    assert cache.checksums([SlotRun(0, 23)], 24) == before
    assert bool((chunk == 7.0).all())


def test_gather__chunk_of_another_shape_or_type__is_refused() -> None:
    cache = paged()
    with pytest.raises(ValueError, match="A chunk of 4 tokens"):
        cache.gather([SlotRun(0, 3)], torch.empty(cache.spec.chunk_shape(5)))
    with pytest.raises(ValueError, match="A chunk of 4 tokens"):
        cache.gather([SlotRun(0, 3)], torch.empty(cache.spec.chunk_shape(4), dtype=torch.float16))


@settings(deadline=None)
@given(runs=RUNS, chunk_size=st.integers(1, 30))
def test_split_runs__any_slots__keeps_order_and_fills_every_chunk_but_the_last(
    runs: list[SlotRun], chunk_size: int
) -> None:
    parts = list(split_runs(runs, chunk_size))
    assert [slot for part in parts for slot in slots_of(part)] == slots_of(runs)
    assert all(count_slots(part) == chunk_size for part in parts[:-1])
    assert 0 < count_slots(parts[-1]) <= chunk_size


def test_info__mha__shows_names_shapes_dtype_and_device() -> None:
    info = paged(torch.bfloat16).info()
    assert list(info) == ["model.layers.0", "model.layers.1", "model.layers.2"]
    assert info["model.layers.0"] == {
        "shape": [2, 6, 4, 2, 8],
        "dtype": "torch.bfloat16",
        "device": "cpu",
    }


def test_info__mla__has_three_dimensions() -> None:
    assert paged(layout="mla").info()["model.layers.2"]["shape"] == [6, 4, 8]


def test_fill_random__seed__decides_the_kv() -> None:
    caches = [paged(), paged(), paged()]
    for cache, seed in zip(caches, (1, 1, 2), strict=True):
        cache.fill_random(seed)
    sums = [cache.checksums([SlotRun(0, 23)], 24) for cache in caches]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize(
    ("field", "value"), [("num_layers", 0), ("block_size", -1), ("num_blocks", 0)]
)
def test_spec__field_below_one__is_refused_naming_it(field: str, value: int) -> None:
    fields: dict[str, object] = {
        "num_layers": 1,
        "num_kv_heads": 1,
        "head_size": 1,
        "dtype": torch.float32,
        "block_size": 1,
        "num_blocks": 1,
        "use_mla": False,
        field: value,
    }
    with pytest.raises(ValueError, match=field):
        KVCacheSpec(**fields)  # type: ignore[arg-type]


def test_spec__mla_with_several_heads__is_refused() -> None:
    with pytest.raises(ValueError, match="num_kv_heads"):
        KVCacheSpec(1, 2, 8, torch.float32, 4, 4, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", ["mha", "mla"])
def test_transfer__cuda__equals_the_cpu(layout: str) -> None:
    host = paged(torch.float16, layout)
    device = PagedKVCache(host.spec, torch.device("cuda"))
    device.fill_pattern()
    runs = [SlotRun(9, 14), SlotRun(3, 3), SlotRun(16, 23)]
    everything = [SlotRun(0, NUM_SLOTS - 1)]
    assert device.checksums(everything, 5) == host.checksums(everything, 5)
    chunk = torch.empty(host.spec.chunk_shape(15), dtype=torch.float16).pin_memory()
    device.gather(runs, chunk)
    assert torch.equal(chunk, expected_chunk(host, slots_of(runs)))
    shifted = [SlotRun(1, 15)]
    host.scatter(chunk, shifted)
    device.scatter(chunk, shifted)
    assert device.checksums(everything, 5) == host.checksums(everything, 5)
