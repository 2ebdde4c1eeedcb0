"""The model store: content-addressed, crash-proof, an OCI image layout on disk."""
