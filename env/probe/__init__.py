"""Collects every fact of an Ascend host that matters, without torch, without root: live, or from a captured tree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from env import npu_emulator
from env.language import Message
from env.probe import cann, driver, packages
from env.probe.host import Host
from env.probe.snapshot import CAPTURE, MANIFEST, Commands, LiveCommands, Snapshot, captured, live
from env.probe.system import system
from env.probe.tree import Tree
from env.runner import Runner, run

__all__ = ["Host", "probe"]

PATH_VARIABLES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH", "ATB_HOME_PATH")


def probe(
    root: Path | str = "/",
    runner: Runner = run,
    environ: Mapping[str, str] | None = None,
    *,
    sites: Sequence[str] | None = None,
) -> Host:
    """The facts of this machine, or of a captured one when `root` is not "/". Never raises: see `Host.unread`.

    `sites` names the site-packages to look into; by default those of the built environment, else of the base
    interpreter. A captured machine answers for itself: `runner` and `environ` are then not used.
    """
    tree = Tree(root)
    if str(root) != "/":
        snapshot, commands, problem = captured(Path(root))
        if problem:
            tree.note(f"{CAPTURE}/{MANIFEST}", problem)
        for each in snapshot.unread:
            tree.note(each.where, Message(each.why))
        host = collect(tree, snapshot, commands, sites=sites)
        return replace(host, captured=True, answered=problem is None)
    environ = npu_emulator.off_the_path(os.environ if environ is None else environ)
    return collect(tree, live(environ, sites), LiveCommands(runner, environ))


def collect(
    tree: Tree,
    snapshot: Snapshot,
    commands: Commands,
    *,
    sites: Sequence[str] | None = None,
) -> Host:
    """Put the facts of one machine together: from its files, its answers and its commands."""
    environ = snapshot.environ
    sites = tuple(sites or snapshot.sites)
    install = driver.install(tree)
    places = driver.roots(install)
    installed = driver.driver(tree, places)
    smi = driver.run_npu_smi(tree, places, commands)
    facts = Host(
        root=str(tree.root),
        system=system(tree, snapshot),
        python=snapshot.python,
        user=snapshot.user,
        environ=dict(environ),
        leads_to={name: tree.real(environ[name]) for name in PATH_VARIABLES if environ.get(name, "").startswith("/")},
        install=install,
        driver=installed,
        firmware=driver.firmware(tree, places, commands),
        toolkits=cann.toolkits(tree, places, environ, snapshot.home),
        nnal=cann.nnal(tree, places, environ, snapshot.home),
        nodes=snapshot.nodes,
        modules=driver.kernel_modules(tree),
        pci=driver.pci(tree),
        npu_smi=smi,
        dcmi=tree.exists(driver.DCMI),
        holders=driver.holders(tree, smi),
        hal=driver.count_by_hal(installed, commands),
        libraries=cann.libraries(tree, environ),
        sites=sites,
        distributions=packages.distributions(tree, sites),
        packages=packages.modules(tree, snapshot.folder, environ.get("PYTHONPATH", ""), sites),
        leftovers=packages.leftovers(tree, sites),
    )
    return replace(facts, unread=tree.notes())
