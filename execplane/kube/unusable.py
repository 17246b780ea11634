"""Why a kubeconfig, a token or a proxy's address cannot be used, in words that hold nothing of what stands in them.

The libraries' own words quote it: the dict with the token, the header, the proxy's password. They end in logs, on pages
and in hints, so only words that are known to hold no value pass.
"""

from __future__ import annotations

import re

import yaml
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

FAILURES = (
    ConfigException,
    yaml.YAMLError,
    HTTPError,
    OSError,
    ImportError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)
"""What the libraries raise for files that are missing, malformed or half written, and for addresses that are none."""

_HARMLESS = re.compile(
    r"Expected key [\w-]{1,40}(?= in )"
    r"|Expected (?:only one )?object with name \S{1,200}(?= in )"
    r"|missing key '\w{1,40}'"
    r"|File does not exist: \S{1,200}$"
    r"|(?:Service|Token|Cert)[\w /]{1,60}$"
)
"""Names and paths. What is longer may be a key that stands where a path should."""


class Unusable(ConfigException):
    """In our own words, fit to be shown."""


def why(error: Exception) -> str:
    """The end of a sentence, without a stop."""
    if isinstance(error, Unusable):
        return str(error).rstrip(".")
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        return "it is no YAML, or only half written" + (f" (line {mark.line + 1})" if mark else "")
    if isinstance(error, ConfigException):
        known = _HARMLESS.search(str(error).rstrip("."))
        return known[0] if known else "it is no kubeconfig as Kubernetes has it"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"something in it has not the form that it must have ({type(error).__name__})"
