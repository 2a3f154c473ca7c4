"""Who waits for what: each process with its state, the kernel function it sleeps in, its command line.

vmon drgn TARGET examples/drgn_tasks.py
"""

from drgn import FaultError, stack_trace
from drgn.helpers.common import escape_ascii_string
from drgn.helpers.linux import cmdline, for_each_task, task_state_to_char, thread_group_leader

SCHEDULER = {"__schedule", "schedule", "schedule_timeout", "schedule_hrtimeout_range_clock"}


def waits_in(task):
    """The first function of its stack that is not the scheduler's."""
    try:
        frames = [frame.name for frame in stack_trace(task)]
    except (FaultError, ValueError):  # it runs, or has just ended
        return "-"
    return next((name for name in frames if name not in SCHEDULER), "-")


print(f"{'PID':>7} S {'WAITS IN':32} COMMAND")
for task in filter(thread_group_leader, for_each_task()):
    words = cmdline(task)
    command = escape_ascii_string(b" ".join(words) if words else b"[%s]" % task.comm.string_())
    print(f"{task.pid.value_():7} {task_state_to_char(task)} {waits_in(task):32.32} {command}")
