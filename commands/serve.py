"""The command `xai serve`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from xai.base.arguments import MAX_THREADS
from xai.base.errors import XaiError
from xai.base.messages import LOG
from xai.commands.finite import Finite
from xai.commands.options import MODEL_METAVAR, memory_option
from xai.models.load import ModelOptions, default_model

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


Command = Callable[..., Any]


def _option(name: str, *declared: str, **settings: Any) -> Callable[[Command], Command]:
    """An option that is also an environment variable, XAI_SERVE_ and its name."""
    variable = f"XAI_SERVE_{name.removeprefix('--').upper().replace('-', '_')}"
    return click.option(name, *declared, envvar=variable, show_envvar=True, show_default=True, **settings)


@click.command()
@click.argument("models", nargs=-1, metavar=f"[[NAME=]{MODEL_METAVAR}]...")
@_option("--host", default="127.0.0.1", help="Address to listen on.")
@_option("--port", type=click.IntRange(0, 65535), default=8000, help="Port; 0 for any that is free.")
@_option("--max-batch", type=click.IntRange(1, 256), default=8, metavar="N", help="Requests in one pass of a model.")
@_option("--max-wait-ms", type=Finite(0, 10_000), default=5, metavar="MS", help="How long a request waits for company.")
@_option("--queue", type=click.IntRange(0, 100_000), default=16, metavar="N", help="Requests a model takes beside those in its pass.")
@_option("--deadline", type=Finite(0.001, 86_400), default=30, metavar="S", help="Seconds that a request may take.")
@_option("--max-body", type=click.IntRange(1), default=16_000_000, metavar="BYTES", help="Largest body.")
@_option("--max-pixels", type=click.IntRange(1), default=16_000_000, metavar="N", help="Largest picture.")
@_option("--image-cache", type=click.IntRange(0), default=256_000_000, metavar="BYTES", help="Encoded images that each model keeps.")
@_option("--api-key-file", type=click.Path(path_type=Path), metavar="FILE", help="Keys that open the API, one a line.")
@_option("--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN", help="Pages of this origin may call; may be repeated.")
@_option("--root-path", default="", metavar="PATH", help="Where a proxy mounts this server.")
@_option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Lines on stderr.")
@_option("--no-page", is_flag=True, help="No page at / and /docs.")
@_option("--open-metrics", is_flag=True, help="Show /metrics without a key.")
@_option("--drain-pause", type=Finite(0, 3600), default=5, metavar="S", help="Seconds from SIGTERM to the end of listening.")
@memory_option
@click.option("--provider", default="cpu", show_default=True, metavar="NAME", help="Where the models run.")
@click.option("--threads", type=click.IntRange(1, MAX_THREADS), metavar="N", help="Threads of one operator.")
@click.option("--trust", is_flag=True, help="Run bundles' TorchScript, which is code.")
def serve(
    models: tuple[str, ...],
    api_key_file: Path | None,
    no_page: bool,
    provider: str,
    threads: int | None,
    trust: bool,
    memory: int | None,
    **given: Any,
) -> None:
    """Explain over HTTP. Each model is served under the name of its folder or file, or as NAME; the demo model where none is named."""
    try:
        import fastapi
        import prometheus_client
        import python_multipart
        import uvicorn
    except ModuleNotFoundError as error:
        raise XaiError(f"xai serve needs {error.name}: pip install 'xai-vqa[serve]'") from error
    del fastapi, prometheus_client, python_multipart, uvicorn

    from xai.serve.app import build
    from xai.serve.lifecycle import Life, listen
    from xai.serve.lifecycle import serve as run
    from xai.serve.served import check_serving
    from xai.serve.settings import Settings, read_keys

    named = name_models(models)
    settings = Settings(**given, page=not no_page, keys=read_keys(api_key_file) if api_key_file else ())
    options = ModelOptions(provider=provider, threads=threads, trust=trust, lean=memory is not None)
    bound = listen(settings)
    try:
        explainers = {name: replace(options, model=model).open() for name, model in named.items()}
        if memory is not None:
            check_serving(list(explainers.values()), settings, memory)
        host, port = bound.getsockname()[:2]
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        life = Life()
        app = build(explainers, settings, life)
        if not ipaddress.ip_address(host).is_loopback and not settings.keys:
            LOG.warning("others than this machine can reach this server, and no key is asked for: see --api-key-file")
        run(app, life, settings, bound, lambda: click.echo(f"Listening on {where} for {', '.join(named)}", err=True))
    finally:
        bound.close()


def name_models(models: Sequence[str]) -> dict[str, str]:
    """Each model by the name that it is served under; the default one alone where none is given. Raises `XaiError` on a name that is
    none, or that two have."""
    found: dict[str, str] = {}
    for model in models or [default_model()]:
        name, mark, path = model.partition("=")
        if not mark:
            place = Path(model).resolve()
            name, path = (place.name if place.is_dir() else place.stem), model
        if not NAME.fullmatch(name):
            raise XaiError(f"model {model} cannot be called {name!r}: give it a name of letters and digits, as NAME={path}")
        if name in found:
            raise XaiError(f"two models are called {name}: give one another name, as NAME={path}")
        found[name] = path
    return found
