"""Secrets guard for sandboxes of AI agents: ssh keys, .env files, cloud credentials and tokens stay shut.

    python examples/secrets_guard.py TARGET [--tree PID | --container ID] [--allow /usr/bin/ssh]... [--ask]

All in the VM are kept from them, or only a process with all that it starts, or a container; but the programs of
--allow are not. --ask asks you each time. The rules end with this program, and stay in force when it is killed.
"""

import argparse
import contextlib
import sys

import vmon
from vmon import printable

SECRETS = """
    **/.ssh/id_rsa **/.ssh/id_dsa **/.ssh/id_ecdsa **/.ssh/id_ed25519 **/.env **/.env.local **/.env.production
    **/.aws/credentials **/.azure/msal_token_cache.json **/.kube/config **/.docker/config.json **/.terraformrc
    **/gcloud/credentials.db **/gcloud/application_default_credentials.json **/.vault-token **/.config/gh/hosts.yml
    **/.netrc **/.git-credentials **/.npmrc **/.pypirc /etc/shadow /run/secrets/**
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--tree", type=int, metavar="PID")
    parser.add_argument("--container", metavar="ID")
    parser.add_argument("--allow", action="append", default=[], metavar="EXE")
    parser.add_argument("--ask", action="store_true")
    parser.add_argument("--seconds", type=float)
    wanted = parser.parse_args()
    whose = {name: value for name in ("tree", "container") if (value := getattr(wanted, name)) is not None}
    with vmon.attach(wanted.target, needs=("file.open",)) as vm, contextlib.ExitStack() as rules:
        events = vm.events("file.open", timeout_s=wanted.seconds)
        for exe in wanted.allow:
            rules.enter_context(vm.allow("file.open", path=SECRETS.split(), exe=exe, **whose))
        if wanted.ask:

            @vm.on("file.open", path=SECRETS.split(), errno="EACCES", timeout_ms=60_000, **whose)
            def ask(event: vmon.Event) -> vmon.Decision:
                who = f"{event.pid} {printable(event.exe or event.name)}"
                said = input(f"may {who} open {printable(event.path or '?')}? [y/N] ")
                return vmon.ALLOW if said.lower().startswith("y") else vmon.DENY
        else:
            rules.enter_context(vm.deny("file.open", path=SECRETS.split(), errno="EACCES", **whose))
        print(f"{len(vm.rules())} rules guard the secrets of {wanted.target}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            for event in events:
                if event.rule and (event.verdict != "allowed" or event.ask):
                    who = f"{event.pid} {printable(event.exe or event.name)}"
                    print(f"{event.verdict.upper()} {printable(event.path or '?')} to {who}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except vmon.VmonError as error:
        sys.exit(f"{error}\n{error.hint}")
