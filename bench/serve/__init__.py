"""What a server gives under load: throughput, latency, and what it refuses."""
