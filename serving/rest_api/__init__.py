"""The REST front: HTTP and JSON on the outside, `serving.inference` on the inside."""
