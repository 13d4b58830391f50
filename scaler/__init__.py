"""The scaler: one leader starts, moves and stops instances, at the lowest cost that keeps every objective."""
