"""Names and addresses that servers give, made safe for a folder and for a message."""

import hashlib
import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

UNSAFE = re.compile(r"[^\w.()+-]+")
LONGEST = 200
"""Bytes of a file's name; file systems allow 255."""
SECRET = re.compile(r"(?i)token|secret|passw|signature|credential|auth|api[-_]?key|^(?:key|sig|sid)$")
HIDDEN = "***"


def safe_name(name: str) -> str:
    """A file's name made from a server's: without folders, signs or leading points; a hash keeps it unique."""
    safe = UNSAFE.sub("_", name).lstrip(".")
    if safe == name and 0 < len(safe.encode()) <= LONGEST:
        return safe
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, dot, ending = safe.rpartition(".")
    begin = (stem or safe).encode()[: LONGEST - 60].decode(errors="ignore")
    return f"{begin}-{mark}{dot + ending[:10] if stem else ''}"


def safe_path(name: str) -> str:
    """A relative path made of a server's, each of its parts as `safe_name` makes it."""
    return "/".join(safe_name(part) for part in name.split("/") if part not in ("", "."))


def name_of(url: str) -> str:
    """A file's name from its address."""
    return safe_name(unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] or "index")


def shown(url: str) -> str:
    """An address for messages and the journal: without a user's name, a password, or the values of secret keys."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = parts.query
    if any(SECRET.search(name) for name, _ in pairs):
        query = urlencode([(name, HIDDEN if SECRET.search(name) else value) for name, value in pairs], safe="*")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
