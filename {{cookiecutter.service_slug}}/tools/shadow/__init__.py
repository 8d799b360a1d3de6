"""Shadow traffic, judged: reads what the live service logged, reports it, and decides by it."""
