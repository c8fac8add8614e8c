"""What is in a package: a bill of materials (CycloneDX 1.5, JSON) and a list of licences."""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

from lock import from_debian


class Component(NamedTuple):
    """A wheel. licence: as its metadata states it. files: the paths of its licence files in the environment."""

    name: str
    version: str
    digest: str
    licence: str
    files: tuple[str, ...]

    @classmethod
    def of_wheel(cls, wheel: Path) -> Component:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            (path,) = (n for n in names if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
            meta = Parser().parsestr(archive.read(path).decode())
        info = path.rpartition("/")[0] + "/"
        words = ("licen", "copying", "notice", "authors")
        files = tuple(
            sorted(n for n in names if n.startswith(info) and any(w in n.lower() for w in words) and n[-1] != "/")
        )
        classified = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier", []) if c.startswith("License :: ")]
        licence = (
            meta["License-Expression"] or "; ".join(classified) or (meta["License"] or "not stated").splitlines()[0]
        )
        return cls(meta["Name"], meta["Version"], hashlib.sha256(wheel.read_bytes()).hexdigest(), licence, files)


def licences(components: list[Component]) -> str:
    """One line for each package, and one for each of its licence files."""
    text = []
    for c in sorted(components, key=lambda c: c.name.lower()):
        text.append(f"{c.name} {c.version}: {c.licence}\n")
        text += [f"    {file}\n" for file in c.files]
    return "".join(text)


def bom(version: str, release: str, architecture: str, components: list[Component], tree: Path, epoch: int) -> str:
    """tree: the checkout, for the models. The same input gives the same bytes."""
    parts = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{c.name.lower()}@{c.version}",
            "name": c.name,
            "version": c.version,
            "purl": f"pkg:pypi/{c.name.lower()}@{c.version}",
            "hashes": [{"alg": "SHA-256", "content": c.digest}],
            "licenses": [{"license": {"name": c.licence}}],
        }
        for c in sorted(components, key=lambda c: c.name.lower())
    ]
    for package, minimum in sorted(from_debian(release).values()):
        purl = f"pkg:deb/debian/{package}?distro={release}"
        parts.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": package,
                "version": f">={minimum}",
                "purl": purl,
                "scope": "required",
            }
        )
    for model in sorted((tree / "edge_oneshot/models").glob("*.tflite")):
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        hashes = [{"alg": "SHA-256", "content": digest}]
        parts.append(
            {
                "type": "machine-learning-model",
                "bom-ref": model.name,
                "name": model.stem,
                "version": digest[:12],
                "hashes": hashes,
            }
        )
    ref = f"pkg:deb/edge-oneshot@{version}?arch={architecture}&distro={release}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ref + json.dumps(parts, sort_keys=True))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "application",
                "bom-ref": ref,
                "name": "edge-oneshot",
                "version": version,
                "purl": ref,
            },
        },
        "components": parts,
        "dependencies": [{"ref": ref, "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
