"""Npz files: their bytes depend on the arrays alone, and a file that was tampered with is rejected."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_net.npz import NpzError, content_sha256, npz_bytes, read_npz

W = np.arange(18, dtype=np.float32).reshape(6, 3)
ARRAYS: dict[str, np.ndarray] = {
    "layer.W": W, "columns": np.asfortranarray(W), "big endian": np.array([1, 2, 3], ">i4"),
    "number": np.array(7, np.uint8), "none": np.zeros((0, 3), np.float64), "text": np.array(["a", "bcd", "é"]),
    "truth": np.array([True, False]),
}  # fmt: skip


# Writing
def test_what_is_written_can_be_read() -> None:
    content = npz_bytes(ARRAYS)
    with np.load(io.BytesIO(content)) as loaded:
        for read in (read_npz(content), dict(loaded)):
            assert list(read) == list(ARRAYS)
            for name, array in ARRAYS.items():
                assert np.array_equal(read[name], array)
                assert read[name].shape == array.shape
                assert read[name].dtype == array.dtype.newbyteorder("<")


def test_the_bytes_and_the_checksum_are_those_of_every_python() -> None:
    golden = {"layer.W": W, "b": np.array([1, -2, 3], np.int64)}
    written = hashlib.sha256(npz_bytes(golden)).hexdigest()
    assert written == "80d5f32f1d63c1c97cf1bbd810aebcb706eaef5a634bb448e9d66bec85fbc6ae"
    assert content_sha256(golden) == "9ff2b8492b7ad4ddb046b11eff13580bca9fbf20206398504052dc23a729fcbb"
    assert content_sha256(ARRAYS) == "8e75d9ab94319675198c13d0dc43e9b6b164511766aa23d5b03b76a7eea525d1"


def test_bytes_and_checksum_see_the_content_alone() -> None:
    for other in (np.asfortranarray(W), W.astype(">f4"), np.repeat(W, 2, axis=1)[:, ::2]):
        assert npz_bytes({"a": other}) == npz_bytes({"a": W})
        assert content_sha256({"a": other}) == content_sha256({"a": W})
    a, b = np.array([1, 2], np.int32), np.array([[1], [2]], np.int32)
    same = [content_sha256({"a": a, "b": b}), content_sha256({"b": b, "a": a})]
    others = [{"a": b, "b": a}, {"a": a}, {"a": a, "c": b}, {"a": a.astype("i8"), "b": b}, {"a": a + 1, "b": b}, {}]
    assert same[0] == same[1]
    assert len({same[0], *map(content_sha256, others)}) == 7


@pytest.mark.parametrize("write", [npz_bytes, content_sha256])
def test_python_objects_are_not_written(write: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="an array of Python objects cannot be written"):
        write({"a": np.array([{}, None])})


# Reading
def npy(array: np.ndarray, **header: Any) -> bytes:
    """An array as a member of an npz file, with another header if one is given."""
    stream = io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array) | header)
        stream.write(array.tobytes())
    else:
        np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize("data", [
    npy(W)[:-1], b"", pickle.dumps(W), npy(W).replace(b"}", b"("), b"\x93NUMPY\x09\x00" + npy(W)[8:],
    npy(W, shape=(10**12, 10**6)), npy(W, shape=(-6, -3)), npy(W, descr="|O"), npy(W, descr="__import__('os')"),
    b"\x93NUMPY\x01\x00\xff\xff",
])  # fmt: skip
def test_a_damaged_array_is_rejected(data: bytes) -> None:
    with pytest.raises(NpzError, match="it is not a whole npz file"):
        read_npz(packed({"b.npy": npy(W), "layer.W.npy": data}))


@pytest.mark.parametrize("rest", [0, 1, 100, -1, -30])
def test_a_truncated_file_is_rejected(rest: int) -> None:
    with pytest.raises(NpzError, match="it is not a whole npz file"):
        read_npz(npz_bytes(ARRAYS)[:rest])


def test_a_compressed_file_is_rejected_before_it_is_unpacked() -> None:
    with pytest.raises(NpzError, match="ours are not compressed"):
        read_npz(packed({"W.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED))


CONTENT = npz_bytes(ARRAYS)


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(1, 255)), min_size=1, max_size=3))
def test_any_damage_is_either_rejected_or_harmless(flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(CONTENT)
    for place, bits in flips:
        damaged[place] ^= bits
    try:
        read = read_npz(bytes(damaged))
    except NpzError:
        return
    for name in ARRAYS.keys() & read.keys():
        assert np.array_equal(read[name], ARRAYS[name])
