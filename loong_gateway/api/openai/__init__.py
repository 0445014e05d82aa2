"""The HTTP API of OpenAI over the runs of this gateway: models, chat completions, responses, embeddings."""

from .routes import openai_routes

__all__ = ["openai_routes"]
