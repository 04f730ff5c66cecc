"""The command `xai models`."""

from __future__ import annotations

import json
from typing import Any

import click

from xai.base.wording import one_line, size_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def models(as_json: bool) -> None:
    """List the models that xai pull knows, and what else was pulled: whether it is here, its size, licence, head, resolution."""
    rows = describe_models()
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{'model':<24} {'here':<5} {'size':>10}  {'licence':<11} {'head':<20} {'px':>4}  family")
    for row in rows:
        size = size_text(row["bytes"]) if row["bytes"] is not None else row["published_size"] or "-"
        licence, head, resolution, family = (row[name] or "-" for name in ("licence", "head", "resolution", "family"))
        here = "yes" if row["cached"] else "no"
        click.echo(f"{one_line(row['name']):<24} {here:<5} {size:>10}  {licence:<11} {head:<20} {resolution:>4}  {family}")
    click.echo("\nSizes that nobody published are recorded at the first download. xai pull NAME fetches a model.")


def describe_models() -> list[dict[str, Any]]:
    """What is known of each model of the catalogue, and of whatever else was pulled."""
    from xai.pull.cache import check_sizes, other_records, read_record
    from xai.pull.catalogue import known

    rows = []
    for entry in known().values():
        records = [read_record(source) for source in entry.sources]
        model = records[0]
        rows.append(
            {
                "name": entry.name,
                "cached": all(record is not None and check_sizes(record) is None for record in records),
                "bytes": model.bytes if model else None,
                "published_size": entry.size,
                "licence": entry.licence,
                "head": entry.head,
                "resolution": entry.resolution,
                "family": entry.family,
                "source": str(entry.model),
                "commit": model.commit if model else None,
                "sha256": {name: kept.sha256 for name, kept in model.files.items()} if model else {},
            }
        )
    unknown = dict.fromkeys(("published_size", "licence", "head", "resolution", "family"))
    for record in other_records(source for entry in known().values() for source in entry.sources):
        rows.append(
            {
                "name": record.source,
                "cached": check_sizes(record) is None,
                "bytes": record.bytes,
                **unknown,
                "source": record.source,
                "commit": record.commit,
                "sha256": {name: kept.sha256 for name, kept in record.files.items()},
            }
        )
    return rows
