"""Content-addressed bytes, in files now, in object storage later; see `contract.blobs`."""
