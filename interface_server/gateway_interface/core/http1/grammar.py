"""The character classes of RFC 9110 and 9112, as arguments for `bytes.translate`.

`data.translate(None, CLASS)` deletes the octets of a class and leaves the offenders: one pass in C.
"""

_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

HEX_DIGITS = b"0123456789ABCDEFabcdef"

TOKEN = b"!#$%&'*+-.^_`|~" + _ALPHANUMERIC
"""RFC 9110 5.6.2 tchar: methods and field names."""

NOT_CONTROL = bytes(octet for octet in range(256) if octet == 9 or (octet >= 32 and octet != 127))
"""RFC 9110 5.5: what a field value may hold (HTAB, SP, VCHAR, obs-text)."""

REG_NAME = b"-._~%!$&'()*+,;=" + _ALPHANUMERIC
"""RFC 3986 3.2.2 reg-name, which includes every IPv4 address; "%" needs a further look."""


def comma_list(value: bytes) -> list[bytes]:
    """The elements of a list-valued field, lower-cased, without white space or empty ones."""
    return [item for part in value.lower().split(b",") if (item := part.strip(b" \t"))]
