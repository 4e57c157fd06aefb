"""An interrupt at any line of some files."""

import linecache
import signal


class Interrupt:
    """Interrupts at one of the lines of files that end in `places`, counted from 1.

    Python itself never interrupts between a lock and its ``with``, a tracer would: those are left
    out. `signals`: as Ctrl-C does it; else the exception is raised at the line itself.
    """

    def __init__(self, at, places, *, signals=True):
        self.at, self.places, self.signals, self.place = at, places, signals, ""

    def __call__(self, frame, _event, _arg):
        return self.line if frame.f_code.co_filename.endswith(self.places) else None

    def line(self, frame, event, _arg):
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not self.place and not source.startswith("with "):
            self.at -= 1
            if self.at == 0:
                self.place = f"{frame.f_code.co_name}: {source}"
                if not self.signals:
                    raise KeyboardInterrupt
                signal.raise_signal(signal.SIGINT)
        return self.line
