"""Telemetry in a Jupyter notebook: how it is used, never what is in it.

Open it cell by cell in JupyterLab (with jupytext), VS Code or Spyder; as a script it runs all cells. Prints what may
leave and why, and the receipt of each event.

Without a sink nothing is collected: set ACME_LAB_TELEMETRY_ENDPOINT, for example to what ``python -m telemetry_sdk
receive`` prints. Keeps its state in the user data directory (ACME_LAB_TELEMETRY_DIR).
"""

# %%
# One object for the kernel, however often this cell is run. In the background mode no cell waits for the network.
from telemetry_sdk import Telemetry

if "telemetry" not in globals():
    telemetry = Telemetry("acme-lab", version="0.4.0", delivery="background")
    telemetry.start()
status = telemetry.status()
print(f"telemetry: {status.level.name}, because {status.reason}")

# %%
# For the user to decide: run one of these once. The answer holds for every notebook, also after a restart.
# telemetry.opt_in()
# telemetry.opt_out()
if telemetry.should_ask():
    print("May this notebook report which tables are loaded? Run telemetry.opt_in() or telemetry.opt_out() once.")


# %%
# Counts and kinds, not content. It may be called from any cell, from a coroutine and from a thread.
def load(rows: int) -> None:
    """Load a table."""
    receipt = telemetry.track_event("table.loaded", {"rows": rows, "kind": "csv"})
    print(f"table.loaded: {receipt.outcome.name} {receipt.reason}".rstrip())


load(1200)


# %%
# A cell with ``await`` runs in a context of its own, so what identify_user binds there does not hold in later cells:
# name the user in the call instead.
async def load_slowly(rows: int) -> None:
    """Load a table within the kernel's own event loop."""
    telemetry.track_event("table.loaded", {"rows": rows, "kind": "parquet"}, user_id="analyst-7")


# %%
# Nothing to clean up: what could not be sent when the kernel is closed, restarted or killed is stored, and leaves
# when a notebook starts again.
