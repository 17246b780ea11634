"""A bundle's manifest: its files by path and SHA-256. The digest of the manifest's bytes names the bundle."""

from __future__ import annotations

import hashlib

import msgspec

PLAIN_MODE = 0o644
EXECUTABLE_MODE = 0o755


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    """From the bundle's root, forward slashes."""
    sha256: str
    size_bytes: int
    mode: int = PLAIN_MODE
    """PLAIN_MODE or EXECUTABLE_MODE: other bits depend on who checked the folder out."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Files sorted by path, so that equal folders give equal bytes."""

    schema: int = 1
    files: tuple[ManifestFile, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def by_path(self) -> dict[str, ManifestFile]:
        return {file.path: file for file in self.files}


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Manifest)


def make_manifest(files: dict[str, ManifestFile]) -> Manifest:
    return Manifest(files=tuple(files[path] for path in sorted(files)))


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: also the blob that is kept, under the bundle's digest."""
    return _encoder.encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    return _decoder.decode(data)


def bundle_digest(manifest: Manifest) -> str:
    return hashlib.sha256(encode_manifest(manifest)).hexdigest()
