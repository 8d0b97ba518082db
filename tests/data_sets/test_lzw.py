"""Reading .Z files: what `compress` wrote comes out, anything else is refused, and nothing grows without bound."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data_sets.lzw_writer import compress

from data_sets import lzw

# The first 64 bytes of the archive's pendigits-orig.tra.Z, which the data set's authors packed.
START_OF_THE_INK = bytes.fromhex(
    "1f9d902e923819c2a40a912220122a4c48a68c9b322ec8bc19a340810b26"
    "45b02419f2c409081130447c8c2152848c92334ad22859a3a48d92374ae228994384"
)


def test_start_of_the_real_file() -> None:
    content = lzw.decompress(START_OF_THE_INK, limit=1000)
    assert content == b'.INCLUDE        dene.doc\n\n.LEXICON "0" "1" "2" "3" "4" "5" "6" "7" "8" "9"'
    assert lzw.decompress(b"\x1f\x9d\x90", limit=0) == b""


def test_codes_by_hand() -> None:
    # "A", "B", then 257 = "AB", 258 would be "BA", 259 = the code just being added = "ABA"
    assert compress(b"ABABABA") == lzw_file(ord("A"), ord("B"), 257, 259)
    assert lzw.decompress(lzw_file(ord("A"), ord("B"), 257, 259), limit=7) == b"ABABABA"


def lzw_file(*codes: int) -> bytes:
    """A .Z file of codes 9 bits wide."""
    bits = "".join(f"{code:09b}" for code in reversed(codes))
    return b"\x1f\x9d\x90" + int(bits, 2).to_bytes(-(-len(bits) // 8), "little")


@given(
    content=st.one_of(st.binary(max_size=3000), st.text("ab", max_size=9000).map(str.encode)),
    widest=st.integers(10, 16),
    clear_after=st.sampled_from([None, 1, 7, 8, 300]),
)
def test_round_trip(content: bytes, widest: int, clear_after: int | None) -> None:
    packed = compress(content, widest, clear_after)
    assert lzw.decompress(packed, limit=len(content)) == content


@pytest.mark.parametrize("widest", [10, 12, 16])
def test_all_widths_of_codes(widest: int) -> None:
    content = b"".join(b"%d," % (number * number) for number in range(40_000))
    assert lzw.decompress(compress(content, widest), limit=len(content)) == content


@pytest.mark.parametrize(("data", "fault"), [
    (b"", "is not a .Z file"), (b"\x1f\x8b\x08 a gzip file", "is not a .Z file"),
    (b"\x1f\x9d\xf0 unknown flags", "unknown settings"), (b"\x1f\x9d\x88 codes of 8 bits", "unknown settings"),
    (lzw_file(300), "means nothing"), (lzw_file(65, 66, 259), "means nothing"),
])  # fmt: skip
def test_what_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(lzw.LzwError, match=fault):
        lzw.decompress(data, limit=1000)


def test_a_bomb_stops_at_the_limit() -> None:
    # Each code stands for the string before it and one more: 60,000 codes unpack to 1.8 gigabytes.
    bomb = compress(b"A" * 300_000)
    bomb += bomb[-1000:] * 100
    start = time.monotonic()
    with pytest.raises(lzw.LzwError, match="more than 100,000 bytes"):
        lzw.decompress(bomb, limit=100_000)
    assert time.monotonic() - start < 1
