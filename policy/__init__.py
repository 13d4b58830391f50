"""Pure maths that router, scaler and simulator share: what a variant can take, and what it costs."""
