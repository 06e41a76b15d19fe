"""What people look at: figures, pages, the model card, and the events that TensorBoard reads."""
