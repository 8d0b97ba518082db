"""A writer of .Z files for the tests: LZW as Unix ``compress`` does it."""


def compress(content: bytes, widest: int = 16, clear_after: int | None = None) -> bytes:
    """Pack bytes; with ``clear_after``, empty the table each time that so many codes were written."""
    groups = _Groups(widest)
    table = {bytes([byte]): byte for byte in range(256)}
    string = b""
    for byte in content:
        longer = string + bytes([byte])
        if longer in table:
            string = longer
            continue
        groups.add(table[string])
        if 257 + len(table) - 256 < 1 << widest:
            table[longer] = 257 + len(table) - 256
        string = longer[-1:]
        if groups.count == clear_after:
            groups.clear()
            table = {bytes([byte]): byte for byte in range(256)}
    if string:
        groups.add(table[string])
    return bytes([0x1F, 0x9D, 0x80 | widest]) + groups.finish()


class _Groups:
    """Codes in groups of eight; a group that a change of width cuts short is filled up with zeros."""

    def __init__(self, widest: int) -> None:
        self.widest = widest
        self.out = b""
        self.codes: list[int] = []
        self.bits = 9
        self.count = 0  # codes since the start, or since the table was emptied

    def add(self, code: int) -> None:
        known_to_the_reader = 257 + max(0, self.count - 1)
        if known_to_the_reader >= 1 << self.bits and self.bits < self.widest:
            self._flush(8)
            self.bits += 1
        self.codes.append(code)
        self.count += 1
        if len(self.codes) == 8:
            self._flush(8)

    def clear(self) -> None:
        self.add(256)
        self._flush(8)
        self.bits, self.count = 9, 0

    def finish(self) -> bytes:
        self._flush(len(self.codes))
        return self.out

    def _flush(self, n_codes: int) -> None:
        word = sum(code << self.bits * place for place, code in enumerate(self.codes))
        if self.codes:
            self.out += word.to_bytes(-(-n_codes * self.bits // 8), "little")
        self.codes = []
