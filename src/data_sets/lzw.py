"""Read .Z files: the LZW compression of Unix ``compress``, which the data set's authors used in 1998.

Written for a file that may come from anywhere: what it may unpack to is bounded beforehand. (The decoders on PyPI have
no bound, and a .Z file of one megabyte can ask for 30 gigabytes.)

Source: T. A. Welch (1984), A Technique for High-Performance Data Compression, IEEE Computer 17(6); the layout of the
bits is that of ``compress`` 4.0.
"""

MAGIC = b"\x1f\x9d"
_CLEAR = 256  # in block mode, the code that empties the table
_WIDEST = 16


class LzwError(ValueError):
    """The bytes are not a .Z file, or unpack to more than the limit."""


def decompress(data: bytes, limit: int) -> bytes:
    """Unpack a .Z file.

    The stream is a sequence of codes. A code stands for a string: 0..255 for themselves, and each code read adds one,
    the string before it plus the first byte of its own. Codes are 9 bits wide at first and grow with the table.

    A file that was cut short gives the content up to there: compare size and checksum of what comes out.

    Args:
        data: the whole file.
        limit: the largest content, in bytes, that is accepted. Memory stays within a small multiple of it.

    Raises:
        LzwError: on a wrong header, an impossible code, or more than ``limit`` bytes.
    """
    if len(data) < 3 or data[:2] != MAGIC:
        raise LzwError("is not a .Z file")
    widest, block_mode = data[2] & 0x1F, bool(data[2] & 0x80)
    if data[2] & 0x60 or not 9 <= widest <= _WIDEST:
        raise LzwError("has a .Z header with unknown settings")
    widest = max(widest, 10)  # `compress -b 9` says 9 and writes 10
    empty_table = [bytes([byte]) for byte in range(256)] + [b""] * block_mode

    table, bits, previous = list(empty_table), 9, b""
    out, size, at = [], 0, 3
    while at < len(data):
        # Codes come in groups of eight, `bits` bytes. What is left of a group when the width changes is padding.
        group = data[at : at + bits]
        at += bits
        word, mask = int.from_bytes(group, "little"), (1 << bits) - 1
        for _ in range(len(group) * 8 // bits):
            code = word & mask
            word >>= bits
            if code == _CLEAR and block_mode:
                table, bits, previous = list(empty_table), 9, b""
                break
            if code < len(table):
                entry = table[code]
            elif code == len(table) and previous:  # the string that this very code is about to add
                entry = previous + previous[:1]
            else:
                raise LzwError("holds a code that means nothing: the file is damaged")
            out.append(entry)
            size += len(entry)
            if size > limit:
                raise LzwError(f"unpacks to more than {limit:,} bytes")
            if previous and len(table) < 1 << widest:
                table.append(previous + entry[:1])
            previous = entry
            if len(table) > mask and bits < widest:
                bits += 1
                break
    return b"".join(out)
