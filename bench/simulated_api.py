"""The API with engines that are not there: ``uvicorn bench.simulated_api:create_app --factory``."""

from __future__ import annotations

from fastapi import FastAPI

from api import main

from .simulated_engine import install


def create_app() -> FastAPI:
    install()
    return main.create_app()
