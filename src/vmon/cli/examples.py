"""Examples of every command, as --help and the manual show them; the tests parse each line by the command itself.

Pure data. A line, and what it is for.
"""

from __future__ import annotations

import click

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "guests": (
        ("vmon guests", "every QEMU of this host, and what can be done to it"),
        ("vmon guests -o json", "for a program"),
    ),
    "info": (
        ("vmon info web1", "a lab guest"),
        ("vmon info qmp:/run/web1.qmp", "any QEMU with a free QMP socket"),
        ("vmon info dump:web1.elf", "a file that vmon dump, virsh or LiME wrote"),
    ),
    "ps": (
        ("vmon ps web1 --user-only", "without the kernel's own threads"),
        ("vmon ps web1 --pid 1 -o json", "every field of one process"),
        ("vmon ps web1 --hash", "with the sha256 of each program"),
        ("vmon ps web1 --watch 1", "again every second"),
    ),
    "top": (
        ("vmon top web1", "like htop, from outside"),
        ("vmon top web1 --tree --filter httpd", "one service and what it started"),
        ("vmon top web1 --events", "with what processes do; changes the guest"),
        ("vmon top web1 --read-only", "for a guest that must not be touched"),
    ),
    "tree": (("vmon tree web1", "who started whom"), ("vmon tree web1 --kernel-threads", "kthreadd's too")),
    "files": (("vmon files web1 113", "what process 113 has open"),),
    "sockets": (
        ("vmon sockets web1", "those that processes hold"),
        ("vmon sockets web1 113", "of one process"),
        ("vmon sockets web1 --all", "of the whole kernel"),
    ),
    "maps": (
        ("vmon maps web1 113", "its memory areas"),
        ("vmon maps web1 113 --hash", "with the files' sha256"),
    ),
    "env": (("vmon env web1 113", "its environment, as it was at exec"),),
    "auxv": (("vmon auxv web1 113", "what the kernel told it at exec"),),
    "stack": (("vmon stack web1 113", "registers and kernel stack of each thread"),),
    "memory": (
        ("vmon memory web1 113 0x7ffe0000 256", "as a hexdump"),
        ("vmon memory web1 113 0x7ffe0000 65536 -o part.bin", "to a file"),
    ),
    "strings": (
        ("vmon strings web1 113", "texts in its memory"),
        ("vmon strings web1 113 -n 12", "longer ones"),
    ),
    "core": (("vmon core web1 113 -o httpd.core", "and then: gdb -c httpd.core"),),
    "containers": (("vmon containers web1", "docker, podman, containerd, LXC"),),
    "cgroups": (("vmon cgroups web1", "and what each may use"),),
    "locks": (("vmon locks web1", "who holds, who waits"),),
    "who": (("vmon who web1", "who sits at a terminal"),),
    "modules": (("vmon modules web1", "as lsmod, with where each lies"),),
    "dmesg": (
        ("vmon dmesg web1", "the kernel's log"),
        ("vmon dmesg web1 --follow", "and what comes"),
        ("vmon dmesg web1 --level err", "errors and worse"),
    ),
    "sysctl": (
        ("vmon sysctl web1", "every setting that is read"),
        ("vmon sysctl web1 kernel.yama.ptrace_scope", "one of them"),
    ),
    "lsm": (("vmon lsm web1", "AppArmor, SELinux, yama..."),),
    "bpf": (("vmon bpf web1", "programs"), ("vmon bpf web1 --maps", "their maps")),
    "hooks": (("vmon hooks web1", "kprobes, and who uses ftrace"),),
    "keys": (("vmon keys web1", "descriptions, no secrets"),),
    "timers": (("vmon timers web1", "with the functions that they call"),),
    "workqueues": (("vmon workqueues web1", "queues"), ("vmon workqueues web1 --pools", "their workers")),
    "meminfo": (("vmon meminfo web1", "as /proc/meminfo"),),
    "cpus": (("vmon cpus web1", "what they are and where their time went"),),
    "mounts": (
        ("vmon mounts web1", "of the first namespace"),
        ("vmon mounts web1 --pid 113", "as one sees them"),
    ),
    "ports": (("vmon ports web1", "who listens, and what no process holds"),),
    "interfaces": (("vmon interfaces web1", "with their addresses"),),
    "routes": (("vmon routes web1 --all-namespaces", "of containers too"),),
    "neighbours": (("vmon neighbours web1", "ARP and NDP"),),
    "cat": (
        ("vmon cat web1 /etc/passwd", "out of the page cache"),
        ("vmon cat web1 113:4 -o log", "what process 113 has open as 4"),
    ),
    "exe": (("vmon exe web1 113 -o httpd.bin", "also where it was deleted"),),
    "scan": (("vmon scan web1 examples/shells.yar", "YARA over processes and their files"),),
    "doctor": (("vmon doctor web1", "what could be watched and refused; changes nothing"),),
    "check": (
        ("vmon check web1", "exit code 40 where something differs"),
        ("vmon check web1 --least medium -o json", "for a program"),
    ),
    "watch": (
        ("vmon watch web1 --on process.exec,net.connect", "until Ctrl-C"),
        ("vmon watch web1 --tree 113 --seconds 10", "one process and its descendants"),
        ("vmon watch web1 --persist -o jsonl", "also after a reboot"),
        ("vmon watch web1 --sigma examples/sigma", "what Sigma rules find"),
        ("vmon watch web1 --to ecs=file:web1.ecs --journal web1.journal", "for a SIEM, and for the record"),
    ),
    "kill": (
        ("vmon kill web1 116", "SIGKILL, by the guest's own kernel"),
        ("vmon kill web1 116 --signal TERM --tree", "with its descendants"),
        ("vmon kill web1 116 --key 116@2663831180", "only if it is still this one"),
    ),
    "suspend": (("vmon suspend web1 116", "vmon resume lets it go on"),),
    "resume": (("vmon resume web1 116", "SIGCONT"),),
    "quarantine": (("vmon quarantine web1 113", "may compute and read, and do nothing else"),),
    "release": (("vmon release web1 113", "out of its quarantine"),),
    "deny": (
        ("vmon deny web1 file.open /etc/shadow --unless-exe /usr/bin/passwd", "EPERM, from now on"),
        ("vmon deny web1 process.exec '**/nc' --dry-run", "show what it would refuse"),
        ("vmon deny web1 net.connect --address 10.0.0.0/8 --uid 33", "one user, one network"),
    ),
    "guard": (
        ("vmon guard web1 examples/policy.yaml", "and show what it decides"),
        ("vmon guard web1 examples/policy.yaml --dry-run", "refuse nothing"),
    ),
    "rules": (
        ("vmon rules web1", "with how often each fitted"),
        ("vmon rules web1 --drop 3", "out of force"),
        ("vmon rules web1 --observe", "tell only"),
    ),
    "remove": (("vmon remove web1", "every changed instruction is as it was"),),
    "isf": (("vmon isf web1 -o web1.json", "and then: vol -s . -f web1.elf linux.pslist.PsList"),),
    "drgn": (
        ("vmon drgn web1 -c 'print(find_task(1).comm)'", "one line"),
        ("vmon drgn web1", "a prompt"),
    ),
    "dump": (
        ("vmon dump web1 -o web1.elf", "and later: vmon ps dump:web1.elf"),
        ("vmon dump web1 -o web1.elf --paused", "one moment of the machine"),
    ),
    "lab up": (
        ("vmon lab up web1", "Debian's 6.1 on busybox"),
        ("vmon lab up web2 --kernel 7.2 --rootfs debian --nic", "a whole Debian"),
    ),
    "lab down": (("vmon lab down web1", "ends it"), ("vmon lab down --all", "ends all")),
    "lab list": (("vmon lab list", "what runs"),),
    "lab run": (("vmon lab run web1 -- ps", "as root, in the guest"),),
    "lab host up": (("vmon lab host up", "a host with KVM, in the emulator"),),
    "lab host down": (("vmon lab host down", "ends it"),),
    "lab host run": (("vmon lab host run -- vmon lab up a", "a guest in it"),),
    "lab host status": (("vmon lab host status", "whether it runs"),),
    "policy check": (
        ("vmon policy check examples/policy.yaml", "with line numbers, and where each rule runs"),
    ),
    "policy list": (("vmon policy list", "the ready sets"),),
    "policy show": (("vmon policy show linux-server", "a file to begin with"),),
    "policy schema": (("vmon policy schema", "for an editor"),),
    "policy fields": (("vmon policy fields", "what a rule can compare"),),
    "sigma": (("vmon sigma examples/sigma", "which rules of a folder can't be judged, and why"),),
    "journal verify": (("vmon journal verify web1.journal", "whether it was changed"),),
    "journal show": (("vmon journal show web1.journal", "what was watched"),),
    "schema": (("vmon schema event", "of what -o jsonl writes"),),
    "serve": (
        ("vmon serve web1", "HTTP and a page, on a unix socket"),
        ("vmon serve --listen 127.0.0.1:8643 --token-file tokens", "for a browser"),
    ),
    "help": (("vmon help exit-codes", "what a script can rely on"), ("vmon help ps", "as vmon ps --help")),
    "completion": (
        ('eval "$(vmon completion bash)"', "in ~/.bashrc"),
        ("vmon completion fish > ~/.config/fish/completions/vmon.fish", "for fish"),
    ),
    "man": (("vmon man -o ~/.local/share/man/man1", "and then: man vmon-ps"),),
}


def teach(command: click.Command, path: str) -> None:
    """Give a command, and those below it, their examples as the end of their help."""
    if path in EXAMPLES:
        command.epilog = epilog(EXAMPLES[path])
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            teach(below, f"{path} {name}")


def epilog(examples: tuple[tuple[str, str], ...]) -> str:
    """As click shows it without breaking its lines anew."""
    room = max(len(line) for line, _ in examples)
    if room > 44:
        lines = [f"  {line}\n      {text}" for line, text in examples]
    else:
        lines = [f"  {line.ljust(room)}   {text}" for line, text in examples]
    return "\b\nExamples:\n" + "\n".join(lines)
