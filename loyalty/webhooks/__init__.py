"""Outgoing webhooks: what is told (`kinds`), read from the books (`reading`), sent (`sending`), set up (`endpoints`).

Why it is built like this: docs/decisions/webhooks.md. What a receiver has to know: docs/api/webhooks.md.
"""
