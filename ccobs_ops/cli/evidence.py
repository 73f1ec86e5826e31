"""`ccobs-ops evidence`: verify the ledger and what was signed of it, make a key, export exercises as signed statements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ccobs_ops.cli.options import Json, answering, exercising, parsed
from ccobs_ops.core.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Verify that the ledger is as it was written; sign what it says for others.",
)


@app.command("verify")
def verify(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Evidence: documents or their envelopes (.dsse.json)."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="PUB", help="The public key (PEM). Default: that of the inventory's own key."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only the files: no inventory and no ledger are needed.")
    ] = False,
    json: Json = False,
) -> int:
    """Verify every row of the ledger against its hash chain, the chain against what was signed of it, and FILEs.

    What was changed, removed, reordered or slipped in is named. Changes nothing.
    """
    from ccobs_ops.cli import output
    from ccobs_ops.core.evidence import files as files_of_evidence
    from ccobs_ops.core.evidence import keys
    from ccobs_ops.core.evidence.verify import verify as run
    from ccobs_ops.core.evidence.verify import verify_files

    paths = files or []
    with answering(json):
        if absent := [str(path) for path in paths if not files_of_evidence.known(path)]:
            raise UsageError(
                f"no such file: {', '.join(absent)}",
                hint="name documents of evidence or their envelopes (.dsse.json)",
            )
        public = keys.read_public(key) if key is not None else None
        if offline:
            if public is None or not paths:
                raise UsageError(
                    "--offline checks files with a public key, and one of the two is missing",
                    hint="ccobs-ops evidence verify --offline --key evidence.pem.pub report.html",
                )
            exercise = verify_files(paths, public)
        else:
            with exercising(ctx) as context:
                exercise = run(context, paths, key=public)
    output.print_exercise(exercise, None, json=json)
    return exercise.verdict.exit_status


@app.command("keygen")
def keygen(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; must not exist.")],
    json: Json = False,
) -> int:
    """Make an ed25519 key to sign with: FILE (mode 0600), and FILE.pub for whoever checks."""
    from ccobs_ops.cli import output
    from ccobs_ops.core.evidence import keys

    with answering(json):
        made = keys.generate(file)
    if json:
        output.print_json({"private": str(file), "public": f"{file}.pub", "keyid": made.id})
        return 0
    out = output.console()
    out.print(f"private key  {file} (mode 0600; keep it off the ledger's host if you can)", soft_wrap=True)
    out.print(f"public key   {file}.pub, for auditors", soft_wrap=True)
    out.print(f"key id       {made.id}", soft_wrap=True)
    out.print("\n  next: name it in the inventory")
    out.print(f"  evidence: {{key: file:{file}}}", soft_wrap=True)
    return 0


@app.command("export")
def export(
    ctx: typer.Context,
    identifier: Annotated[
        str | None, typer.Argument(metavar="[EXERCISE]", help="The exercise's id, or its beginning.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Instead: every drill and validation within this time (7d), or since this moment."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Default: evidence/ below the state folder."),
    ] = None,
    json: Json = False,
) -> int:
    """Write exercises as signed evidence: the document, and its in-toto statement in a DSSE envelope beside it."""
    from ccobs_ops.cli import output
    from ccobs_ops.cli.ledger import since_moment
    from ccobs_ops.core.evidence import export as core
    from ccobs_ops.core.evidence import files

    with answering(json):
        if (identifier is None) == (since is None):
            raise UsageError("name an exercise, or --since, one of the two", hint="--since 7d, for example")
        earliest = parsed("--since", since, since_moment)
        with exercising(ctx) as context:
            if earliest is not None:
                chosen = core.since(context, earliest)
            else:
                found = context.ledger.find(identifier or "")
                if len(found) != 1:
                    told = "more than one exercise begins with" if found else "the ledger has no exercise"
                    raise UsageError(f"{told} {identifier!r}", hint="ccobs-ops ledger list shows the ids")
                chosen = [found[0].id]
            made = core.export(context, chosen, output_dir or files.folder(context.inventory))
    if json:
        output.print_json(
            {
                "exported": [
                    {
                        "document": str(each.document),
                        "envelope": str(each.envelope),
                        "sha256": each.sha256,
                        "copied": each.copied or None,
                    }
                    for each in made
                ]
            }
        )
        return 0
    out = output.console()
    for each in made:
        out.print(f"{each.document}", soft_wrap=True)
    out.print(f"{len(made)} exported and signed" if made else "nothing to export in that time")
    return 0
