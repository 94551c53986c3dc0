"""What a model family reads, built per bucket, the same way for training, evaluation and prediction."""
