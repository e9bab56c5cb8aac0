"""How long a signed URL is good for, as the URL itself states.

Two forms are in use before the Hub's files: Amazon's signature version 4, and Google's which copies
it (a date of signing and a number of seconds:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html), and CloudFront's (the
second of its end: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PrivateContent.html).

The clock that counts is the signer's, so the caller gives that one where it knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, urlsplit

__all__ = ["lifetime", "signers_clock"]

# Digits that a second of this millennium has; more would only make arithmetic overflow.
_MAX_DIGITS = 11


def lifetime(url: str, now: float) -> float | None:
    """Return the seconds until `url` expires; `None` when it does not say, or is expired at birth.

    A fresh URL that seems to have expired tells of clocks that disagree, and of nothing else.

    Args:
        url: As it came from the Hub.
        now: Seconds since the epoch, by the clock of who signed it.
    """
    fields = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    end = _end_of(fields)
    return end - now if end is not None and end > now else None


def signers_clock(headers: Mapping[str, str], now: float) -> float:
    """Return the time of the server that sent `headers` (RFC 9110 section 6.6.1), or `now`."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return now


def _end_of(fields: Mapping[str, str]) -> float | None:
    for vendor in ("amz", "goog"):
        seconds = _number(fields.get(f"x-{vendor}-expires", ""))
        if seconds is not None:
            return _signed_at(fields.get(f"x-{vendor}-date", ""), seconds)
    return _number(fields.get("expires", ""))


def _signed_at(text: str, seconds: float) -> float | None:
    try:
        signed = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return signed.timestamp() + seconds


def _number(text: str) -> float | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return float(text) if is_number else None
