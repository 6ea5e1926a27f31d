"""A large language model behind an OpenAI-compatible server: it answers questions and judges."""
