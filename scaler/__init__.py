"""The scaler: one leader that decides which variants run where, and who owns which partition."""
