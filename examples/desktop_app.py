"""A desktop timer (Tk) that asks its user about analytics once, and takes no answer for a no.

    python desktop_app.py [--auto]        --auto answers yes, starts the timer once and closes the window

Prints ``skipped: ...`` and exits with 0 where there is no display or no tkinter. It sends in the background, so the
window never waits for the sink. The answer can be changed at any time, in the box that takes the question's place.

Without a sink nothing is collected and nothing is asked: set ACME_TIMER_TELEMETRY_ENDPOINT, for example to what
``python -m telemetry_sdk receive`` prints. Keeps its state in the user data directory (ACME_TIMER_TELEMETRY_DIR).
"""

import sys

from telemetry_sdk import Telemetry

try:
    import tkinter as tk
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)


class Window:
    """A button for the timer, and below it the question or, once it is answered, the answer."""

    def __init__(self, root: tk.Tk, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.timer = tk.Button(root, text="Start", width=24, command=self.press)
        self.timer.pack(padx=40, pady=24)
        self.agreed = tk.BooleanVar(root, telemetry.is_detailed_analytics_enabled())
        self.box = tk.Checkbutton(root, text="Report which buttons are used", variable=self.agreed, command=self.keep)
        self.question = tk.Frame(root)
        tk.Label(self.question, text="May this program report\nwhich of its buttons are used?").pack()
        self.yes = tk.Button(self.question, text="Yes", command=lambda: self.answer(agreed=True))
        self.yes.pack(side="left", expand=True)
        tk.Button(self.question, text="No", command=lambda: self.answer(agreed=False)).pack(side="right", expand=True)
        # Asked only where the answer decides: not again, and not where a switch or the lack of a sink has decided.
        (self.question if telemetry.should_ask() else self.box).pack(padx=20, pady=12)

    def press(self) -> None:
        """Start the timer or stop it."""
        starting = self.timer["text"] == "Start"
        self.timer["text"] = "Stop" if starting else "Start"
        self.telemetry.track_event("timer.started" if starting else "timer.stopped", {"source": "button"})

    def answer(self, *, agreed: bool) -> None:
        """Keep the answer, and show the box instead of the question."""
        self.agreed.set(agreed)
        self.keep()
        self.question.pack_forget()
        self.box.pack(padx=20, pady=12)

    def keep(self) -> None:
        """Keep what the box says, and show what holds then."""
        if self.agreed.get():
            self.telemetry.opt_in()
        else:
            self.telemetry.opt_out()
        self.agreed.set(self.telemetry.is_detailed_analytics_enabled())


def main() -> None:
    """Show the window until it is closed."""
    try:
        root = tk.Tk()
    except tk.TclError as error:
        print(f"skipped: {error}")
        return
    root.title("Acme Timer")
    with Telemetry("acme-timer", version="3.0.1", delivery="background") as telemetry:
        window = Window(root, telemetry)
        if "--auto" in sys.argv[1:]:
            for step in (window.yes.invoke, window.timer.invoke, root.destroy):
                root.after_idle(step)
        root.mainloop()


if __name__ == "__main__":
    main()
