"""What one server process is made of, beside the parts: their order, the local agent, vitals, machine endpoints."""
