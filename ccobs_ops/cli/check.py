"""`ccobs-ops check`: is this inventory one that can be used?"""

from __future__ import annotations

import typer

from ccobs_ops.cli.options import Json, options

app = typer.Typer(rich_markup_mode=None)


@app.command()
def check(ctx: typer.Context, json: Json = False) -> int:
    """Check the inventory: every problem as file:line: key: what, then a HINT.

    Opens no connection and reads no secret. Exit status 0: no problem; 2: problems.
    """
    from ccobs_ops.cli.output import print_json
    from ccobs_ops.inventory_load import load
    from ccobs_ops.inventory_problems import InventoryError

    path = options(ctx).path()
    try:
        inventory = load(path)
    except InventoryError as error:
        if not json:
            raise
        problems = [
            {
                "file": str(problem.file),
                "line": problem.line or None,
                "key": problem.key,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
        print_json({"inventory": str(path), "valid": False, "problems": problems})
        return error.exit_status
    targets = [f"postgres/{name}" for name in inventory.postgres]
    targets += [f"terraform/{name}" for name in inventory.terraform]
    targets += [f"etcd/{name}" for name in inventory.etcd]
    targets += [f"replication/{name}" for name in inventory.replication]
    if json:
        print_json({"inventory": str(path), "valid": True, "problems": [], "targets": targets})
    else:
        print(f"{path}: no problem; {len(inventory.stores)} stores, {len(targets)} targets")
    return 0
