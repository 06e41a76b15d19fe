"""The gRPC front: TF Serving's services on the outside, `serving.inference` on the inside."""
