"""A CycloneDX bill of materials of the environment that a run was in: packages with hashes and licences, model, device.

The lock gives the hashes (of every wheel that is this pin), the environment, where it is on this machine, the licences.
cyclonedx-python-lib makes and checks the document; `nox -s export` brings it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from packaging.utils import canonicalize_name

from env.errors import InstallError
from env.language import _
from env.lock import locked
from env.stack import REQUIREMENTS
from verify.report.export.run import Exported

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

LOCKS = REQUIREMENTS / "locks"
HOST_PARTS = (("driver", "device-driver"), ("firmware", "firmware"), ("cann", "platform"))


def text(run: Exported, site_packages: Path | None = None) -> str:
    """The document's JSON (CycloneDX 1.6), the same for the same run, lock and environment.

    Raises:
        InstallError: the library is not here.
    """
    try:
        from cyclonedx.model import Property
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
    except ImportError as error:
        raise InstallError(
            _("{package} is not installed", package="cyclonedx-python-lib"), next="nox -s export -- --format sbom"
        ) from error
    bom = Bom(components=[*_packages(run, site_packages), *_model(run), *_host(run)])
    bom.serial_number = uuid5(NAMESPACE_URL, f"granite-speech/{run.name}/{sorted(run.digests.items())}")
    bom.metadata.timestamp = _moment(run.started)
    whole = Component(
        type=ComponentType.APPLICATION, name="granite-speech on Ascend NPU", version=run.name, bom_ref=f"run:{run.name}"
    )
    bom.metadata.component = whole
    bom.register_dependency(whole, list(bom.components))
    bom.metadata.properties.add(Property(name="granite-speech:verdict", value=run.verdict.line()))
    made: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    return made.rstrip() + "\n"


def _moment(started: str | None) -> datetime:
    try:
        return datetime.fromisoformat((started or "").replace("Z", "+00:00"))
    except ValueError:
        return datetime(1970, 1, 1, tzinfo=timezone.utc)


def _packages(run: Exported, site_packages: Path | None) -> Iterator[Component]:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    licences, hashes, make = _licences(site_packages), _hashes(run), LicenseFactory()
    listed = {str(name): str(version) for name, version in run.facts.figures("setup", "packages")}
    for pin in run.facts.rows("setup", "apart"):
        name, sha256 = str(pin.get("name")), pin.get("sha256")
        listed[name] = str(pin.get("found"))
        if isinstance(sha256, str) and len(sha256) == 64:
            hashes[canonicalize_name(name)] = [sha256]
    for name, version in sorted(listed.items()):
        purl = PackageURL("pypi", name=canonicalize_name(name), version=version)
        licence = licences.get(canonicalize_name(name))
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=purl,
            bom_ref=str(purl),
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=one)
                for one in sorted(hashes.get(canonicalize_name(name), []))
            ],
            licenses=[make.make_from_string(licence)] if licence else [],
        )


def _hashes(run: Exported) -> dict[str, list[str]]:
    """The sha256 of every wheel that a package's pin may be, from the lock that setup names, where it is here."""
    lock = LOCKS / Path(str(run.facts.of("setup", "lock"))).name
    if not lock.is_file():
        return {}
    python = str(run.facts.of("setup", "python") or "3.11")
    environment = {
        "platform_machine": str(run.facts.of("setup", "machine")),
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": "linux",
    }
    return {canonicalize_name(pin.name): sorted(pin.hashes) for pin in locked(lock, environment)}


def _licences(site_packages: Path | None) -> dict[str, str]:
    """Licences by package, as the installed environment states them."""
    found: dict[str, str] = {}
    if site_packages is None:
        return found
    for distribution in importlib.metadata.distributions(path=[str(site_packages)]):
        fields = distribution.metadata.json
        stated, name = str(fields.get("license_expression") or fields.get("license") or ""), str(fields.get("name", ""))
        if name and stated and len(stated) < 100:
            found[canonicalize_name(name)] = " ".join(stated.split())
    return found


def _model(run: Exported) -> Iterator[Component]:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    figures = run.facts.of("checkpoint")
    sha256 = run.facts.of("checkpoint", "sha256")
    if not isinstance(figures, Mapping) or not isinstance(sha256, str):
        return
    yield Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=str(run.evidence.run.model_dir if run.evidence.run else "weights"),
        version=sha256[:12],
        bom_ref=f"weights:{sha256}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if len(sha256) == 64 else [],
        properties=[
            Property(name=f"granite-speech:{name}", value=str(figures.get(name)))
            for name in ("kind", "parameters", "dtype")
            if figures.get(name) is not None
        ],
    )


def _host(run: Exported) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType

    name = run.facts.of("device", "name")
    if name:
        yield Component(type=ComponentType.DEVICE, name=str(name), bom_ref=f"device:{name}")
    for key, kind in HOST_PARTS:
        for inner, version in run.facts.figures("machine", "host", key):
            part = f"{key}.{inner}" if inner else key
            yield Component(type=ComponentType(kind), name=part, version=str(version), bom_ref=f"{part}:{version}")
