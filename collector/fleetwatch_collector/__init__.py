"""The collector: takes samples from agents, stores them in batches, acknowledges what is durable."""
