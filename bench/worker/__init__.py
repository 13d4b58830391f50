"""`bench worker`: what a worker does beside a query's path: overload, starts, hand-overs, memory, and what it takes when idle."""
