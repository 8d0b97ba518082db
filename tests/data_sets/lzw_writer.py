"""A writer of .Z files for the tests: LZW as Unix ``compress`` does it."""


def compress(content: bytes, widest: int = 16, clear_after: int | None = None) -> bytes:
    """Pack bytes; with ``clear_after``, empty the table each time that so many codes were written."""
    groups, table, string = _Groups(widest), {bytes([byte]): byte for byte in range(256)}, b""
    for byte in content:
        longer = string + bytes([byte])
        if longer in table:
            string = longer
            continue
        groups.add(table[string])
        if len(table) + 1 < 1 << widest:  # code 256 empties the table
            table[longer] = len(table) + 1
        string = longer[-1:]
        if groups.count == clear_after:
            groups.add(256)
            groups.flush()
            groups.bits, groups.count = 9, 0
            table = {bytes([byte]): byte for byte in range(256)}
    if string:
        groups.add(table[string])
    groups.flush(len(groups.codes))
    return bytes([0x1F, 0x9D, 0x80 | widest]) + groups.out


class _Groups:
    """Codes in groups of eight; a group that a change of width cuts short is filled up with zeros."""

    def __init__(self, widest: int) -> None:
        self.widest, self.bits, self.out = widest, 9, b""
        self.codes: list[int] = []
        self.count = 0  # codes since the start, or since the table was emptied

    def add(self, code: int) -> None:
        if 257 + max(0, self.count - 1) >= 1 << self.bits and self.bits < self.widest:  # what the reader knows by now
            self.flush()
            self.bits += 1
        self.codes.append(code)
        self.count += 1
        if len(self.codes) == 8:
            self.flush()

    def flush(self, n_codes: int = 8) -> None:
        word = sum(code << self.bits * place for place, code in enumerate(self.codes))
        if self.codes:
            self.out += word.to_bytes(-(-n_codes * self.bits // 8), "little")
        self.codes = []
