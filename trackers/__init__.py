"""Ways to find an object in the next frame. Each is a `vos.tracking.Tracker`, found by entry point."""
