"""Serves ASGI apps, such as those of Starlette, FastAPI, Litestar, Quart and Django."""
