"""Where the ranks of a run are: what GPUS and HOSTFILE ask for, and the launcher's command."""

import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rl.errors import UserError

HOST = re.compile(r"(\S+)\s+slots=(\d{1,4})\s*(?:#.*)?")


@dataclass(frozen=True)
class Launch:
    """Where the ranks of a run are: how many on each host, the first of which is this machine."""

    slots: Mapping[str, int]
    hostfile: Path | None = None
    devices: str | None = None  # what CUDA_VISIBLE_DEVICES says here, "" and "-1" too

    @property
    def world(self) -> int:
        """How many in all."""
        return sum(self.slots.values())

    @property
    def here(self) -> int:
        """How many on this machine."""
        return next(iter(self.slots.values()))

    def command(self, address: str, port: int) -> list[str]:
        """What starts them; `address` is the runner's socket, `port` where rank 0 is met."""
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--quiet"]
        launcher += [f"--master_port={port}", "--no_local_rank", f"--num_gpus={self.here}"]
        # Without one it would look for /job/hostfile.
        launcher.append(f"--hostfile={self.hostfile or os.devnull}")
        if self.hostfile is not None and len(self.slots) == 1:
            launcher += ["--no_ssh_check", "--master_addr=127.0.0.1"]
        elif self.hostfile is not None:
            launcher.append(f"--master_addr={next(iter(self.slots))}")
        worker = ["--module", "rl.runner.rank_worker", address]
        # The launcher numbers the GPUs from 0, whatever is hidden: each rank puts that right.
        hidden = [] if self.devices is None else [f"--devices={self.devices}"]
        return [*launcher, *worker, *hidden]


def find_ranks(gpus: str, hostfile: str) -> Launch | None:
    """What GPUS and HOSTFILE ask for; None where both are empty.

    Without a GPU the ranks are processes on the CPU.

    Raises:
        UserError: not a number, more than there are, or a hostfile that cannot be used.
    """
    if not gpus and not hostfile:
        return None
    count = int(gpus) if gpus.isdecimal() else 0
    if gpus and count < 1:
        raise UserError(f"GPUS: expected a whole number from 1 up, got {gpus!r}")
    if hostfile:
        slots = read_hostfile(Path(hostfile))
        few = {host: slot for host, slot in slots.items() if gpus and slot < count}
        if few:
            raise UserError(
                f"GPUS: expected at most the slots of each host of {hostfile}, got {count}; "
                f"{', '.join(f'{host} has {slot}' for host, slot in few.items())}"
            )
        if not gpus and len(set(slots.values())) > 1:
            raise UserError(
                f"{hostfile}: expected as many slots on every host, got "
                f"{', '.join(f'{host} slots={slot}' for host, slot in slots.items())}; choose "
                "how many ranks each has with GPUS"
            )
        if gpus:
            slots = dict.fromkeys(slots, count)
    else:
        slots = {"localhost": count}
    found = Launch(
        slots,
        hostfile=Path(hostfile).resolve() if hostfile else None,
        devices=os.environ.get("CUDA_VISIBLE_DEVICES") if len(slots) == 1 else None,
    )
    if len(slots) > 1 and shutil.which("pdsh") is None:
        raise UserError("HOSTFILE: DeepSpeed starts the ranks of other hosts by pdsh; install it")
    import torch  # seconds of imports, for those who ask for ranks

    there = torch.cuda.device_count()
    if 0 < there < found.here:
        raise UserError(f"GPUS: expected at most {there}, which this machine has, got {found.here}")
    return found


def read_hostfile(path: Path) -> dict[str, int]:
    """Slots by host of a file with lines `host slots=N`; this machine comes first.

    Raises:
        UserError: no such file, no text, another form, a host twice, or the first is another
            machine.
    """
    wanted = "HOSTFILE: expected a file with lines `host slots=N`"
    try:
        if not path.is_file():
            raise UserError(f"{wanted}; there is no {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{wanted}; {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{wanted}; {path} is no text in UTF-8") from None
    slots: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = HOST.fullmatch(text)
        if match is None or not int(match[2]):
            raise UserError(f"{path}: line {number}: expected `host slots=N`, got {text!r}")
        if match[1] in slots:
            raise UserError(f"{path}: line {number}: host {match[1]} is there already")
        slots[match[1]] = int(match[2])
    if not slots:
        raise UserError(f"{path}: expected lines `host slots=N`, got none")
    first = next(iter(slots))
    if not _is_here(first, alone=len(slots) == 1):
        alone = "" if len(slots) == 1 else ", by the name that the other hosts know it by"
        raise UserError(
            f"{path}: the first host must be this machine, where rank 0 writes the runs{alone}; "
            f"got {first}"
        )
    return slots


def _is_here(host: str, *, alone: bool) -> bool:
    """Whether `host` is this machine: an address of it can be listened on. That of the loopback
    serves no other host."""
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # the latter of a name that cannot be one
        return False
    for address in addresses:
        if str(address).startswith(("127.", "::1")) and not alone:
            continue
        family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
        with socket.socket(family) as tried, suppress(OSError):
            tried.bind((address, 0))
            return True
    return False
