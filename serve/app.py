"""The application: routes, errors of one shape, and the models' queues from start to end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from xai.base.errors import XaiError
from xai.base.versions import XAI_VERSION
from xai.runtime.description import Boxes
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.prepare import THREADS
from xai.serve.asking import Models
from xai.serve.edge import Edge
from xai.serve.errors import Refusal
from xai.serve.gauges import CONTENT_TYPE, Gauges
from xai.serve.lifecycle import Life
from xai.serve.routes import describe, documentation, kserve, oip, page, v1
from xai.serve.served import Served, Threads, refusal
from xai.serve.settings import Settings

STATUS: dict[str, Any] = {
    "application/json": {"schema": {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}}
}


def build(explainers: Mapping[str, Explainer], settings: Settings, life: Life) -> FastAPI:
    """The application that serves these models under their names. Raises `XaiError` for one that looks at boxes: no request has any."""
    for name, explainer in explainers.items():
        if isinstance(explainer.session.description.picture, Boxes):
            raise XaiError(f"model {name} looks at boxes with features, which no request can bring: explain it with xai explain --boxes")
    gauges = Gauges()
    threads = Threads(ThreadPoolExecutor(THREADS, thread_name_prefix="decode"), ThreadPoolExecutor(1, thread_name_prefix="draw"))
    served = {name: Served(name, explainer, settings, gauges, threads) for name, explainer in explainers.items()}
    models = Models(served, settings, life)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for model in served.values():
            model.batcher.start()
        warming = asyncio.create_task(_warm_up(models))
        yield
        warming.cancel()
        for model in served.values():
            await model.batcher.stop()

    app = FastAPI(
        title="xai",
        version=XAI_VERSION,
        summary="Why a vision-and-language model gave its answer.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    for protocol in (v1, kserve, oip):
        app.include_router(protocol.routes(models))
    _add_health(app, models, gauges)
    _add_errors(app)
    _describe(app, list(served), bool(settings.keys))
    if settings.page:
        _add_pages(app, list(served), settings)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    app.add_middleware(Edge, settings=settings, gauges=gauges, life=life)
    return app


async def _warm_up(models: Models) -> None:
    """Ready once every model has explained something; a model that cannot ends the server."""
    try:
        for model in models.served.values():
            await model.warm_up()
    except XaiError as error:
        models.life.failure = XaiError(f"model {model.name} cannot explain: {error}")
    except Exception as error:
        models.life.failure = XaiError(f"model {model.name} cannot explain: {type(error).__name__}: {error}")
        raise
    else:
        models.life.ready = True


def _add_health(app: FastAPI, models: Models, gauges: Gauges) -> None:
    well: dict[int | str, dict[str, Any]] = {200: {"description": "Yes.", "content": STATUS}}

    @app.get("/healthz", tags=["health"], summary="Whether the process lives", responses=well)
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", tags=["health"], summary="Whether to send requests here", responses={**well, **describe.down()})
    async def readyz() -> JSONResponse:
        models.life.check_ready()
        return JSONResponse({"status": "ready"})

    text: dict[int | str, dict[str, Any]] = {
        200: {"description": "The metrics, as Prometheus reads them.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }

    @app.get("/metrics", tags=["health"], summary="Metrics", response_class=Response, responses={**text, **describe.problems()})
    async def metrics() -> Response:
        return Response(gauges.text(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI, names: list[str], settings: Settings) -> None:
    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        content = page.page(names, settings, request.scope.get("root_path", ""))
        return HTMLResponse(content, headers={"Content-Security-Policy": page.PAGE_POLICY})

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        content = documentation.page(app.openapi(), str(request.base_url).rstrip("/"))
        return HTMLResponse(content, headers={"Content-Security-Policy": documentation.PAGE_STYLE_POLICY})


def _add_errors(app: FastAPI) -> None:
    def answer(request: Request, refused: Refusal) -> Response:
        request.scope["state"]["reason"] = refused.reason
        return refused.response()

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return answer(request, error)

    @app.exception_handler(XaiError)
    async def failed(request: Request, error: XaiError) -> Response:
        return answer(request, refusal(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        sentences = {404: "there is no such route: see /docs", 405: f"this route does not take {request.method}"}
        sentence = sentences.get(error.status_code, str(error.detail))
        return answer(request, Refusal(error.status_code, "route", sentence, dict(error.headers or {})))


def _describe(app: FastAPI, names: list[str], locked: bool) -> None:
    """Add our schemas, the models' names and the key to what FastAPI knows."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            describe.name_models(schema, names)
            parts = schema.setdefault("components", {})
            parts["schemas"] = {**parts.get("schemas", {}), **describe.components()}
            if locked:
                parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"key": []}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
