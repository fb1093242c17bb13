#!/usr/bin/env python3
"""Writes the image's software bill of materials: CycloneDX 1.6 in JSON, checked against its schema.

Listed is what is in the image: Debian's packages by the records in status.d, Python's packages by the
libraries that came from them, what is compiled in, our programs and the model. A library of the tree
that no package owns is an error, not a gap.
"""

import argparse
import hashlib
import importlib.metadata
import pathlib
import subprocess
import sys

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

SCHEMA = SchemaVersion.V1_6
# Compiled into the programs: headers of Debian, and the protos that a Python package carries.
HEADERS_OF_DEBIAN = ["nlohmann-json3-dev", "libhwy-dev", "libabsl-dev"]
PROTOS_OF_PYTHON = ["googleapis-common-protos"]
HOW = "longwave:how"


def read_record(text):
    """The fields of one record of dpkg; lines that go on are joined."""
    fields = {}
    name = None
    for line in text.splitlines():
        if line[:1].isspace():
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            fields[name] = value.strip()
    return fields


def debian_component(fields, how, release):
    name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
    purl = PackageURL("deb", "debian", name, version,
                      {"arch": architecture, "distro": f"debian-{release}"})
    return Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl,
                     bom_ref=str(purl), properties=[Property(name=HOW, value=how)])


def python_component(distribution, how):
    metadata = distribution.metadata
    name, version = metadata["Name"], metadata["Version"]
    purl = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
    # What the package calls its licence; not always an SPDX expression, so it is kept as a name.
    text = metadata.get("License-Expression") or metadata.get("License") or ""
    licenses = [DisjunctiveLicense(name=text.splitlines()[0][:200])] if text.strip() else []
    return Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl,
                     bom_ref=str(purl), licenses=licenses,
                     properties=[Property(name=HOW, value=how)])


def sha256(path):
    with path.open("rb") as file:
        return HashType(alg=HashAlgorithm.SHA_256,
                        content=hashlib.file_digest(file, "sha256").hexdigest())


def site_packages(environment):
    folders = sorted(pathlib.Path(environment).glob("lib/python3*/site-packages"))
    if not folders:
        sys.exit(f"sbom: no Python packages in {environment}")
    return folders[0]


def owners_of_libraries(environments):
    """Name of a shared library → the distributions that have one of that name."""
    owners = {}
    for environment in environments:
        for distribution in importlib.metadata.distributions(path=[str(site_packages(environment))]):
            for file in distribution.files or []:
                if ".so" in file.name:
                    owners.setdefault(file.name, []).append(distribution)
    return owners


def python_components(libraries, environments):
    owners = owners_of_libraries(environments)
    found = {}
    for library in libraries:
        candidates = owners.get(library.name)
        if not candidates:
            sys.exit(f"sbom: no Python package owns {library.name}")
        # One environment may have the same package as another: the first one named counts.
        component = python_component(candidates[0], "libraries")
        found[str(component.purl)] = component
    return list(found.values())


def compiled_in(environments, release):
    for package in HEADERS_OF_DEBIAN:
        record = subprocess.run(["dpkg-query", "-s", package], check=True, capture_output=True,
                                text=True).stdout
        yield debian_component(read_record(record), "headers, compiled in", release)
    for name in PROTOS_OF_PYTHON:
        for environment in environments:
            path = [str(site_packages(environment))]
            distributions = list(importlib.metadata.distributions(name=name, path=path))
            if distributions:
                yield python_component(distributions[0], "protos, compiled in")
                break
        else:
            sys.exit(f"sbom: {name} is in no environment")


def model_component(folder):
    name = folder.name
    return Component(type=ComponentType.MACHINE_LEARNING_MODEL, name=f"longwave-model-{name}",
                     bom_ref=f"model:{name}", hashes=[sha256(folder / "model.safetensors")],
                     licenses=[DisjunctiveLicense(id="Apache-2.0")])


def make_bom(options):
    image = pathlib.Path(options.image)
    tree = options.tree.lstrip("/")
    system = image / "system"
    release = dict(line.split("=", 1) for line in
                   (system / "etc/os-release").read_text(encoding="utf-8").splitlines()
                   if "=" in line)["VERSION_ID"].strip('"')
    records = sorted(path for path in (system / "var/lib/dpkg/status.d").iterdir()
                     if path.suffix != ".md5sums")
    components = [debian_component(read_record(path.read_text(encoding="utf-8")), "package", release)
                  for path in records]
    components += python_components(sorted((image / "torch" / tree / "lib").iterdir()),
                                    options.environment)
    components += compiled_in(options.environment, release)
    ours = image / "longwave" / tree
    components += [model_component(path.parent)
                   for path in sorted((ours / "share/longwave/models").glob("*/model.safetensors"))]
    components += [Component(type=ComponentType.APPLICATION, name=path.name, version=options.version,
                             bom_ref=f"program:{path.name}", hashes=[sha256(path)],
                             licenses=[DisjunctiveLicense(id="Apache-2.0")])
                   for path in sorted((ours / "bin").iterdir())]

    bom = Bom()
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER, name="longwave", version=options.version, bom_ref="image",
        licenses=[DisjunctiveLicense(id="Apache-2.0")])
    for component in components:
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, components)
    return bom


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", required=True, help="of Longwave")
    parser.add_argument("--image", required=True, help="the folders of assemble.sh")
    parser.add_argument("--tree", required=True, help="where our tree lies in the image")
    parser.add_argument("--environment", action="append", required=True,
                        help="Python environment whose libraries are in the tree; may be repeated")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    bom = make_bom(options)
    text = make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=1)
    error = JsonStrictValidator(SCHEMA).validate_str(text)
    if error is not None:
        sys.exit(f"sbom: not valid by the schema of CycloneDX {SCHEMA.to_version()}: {error}")
    pathlib.Path(options.out).write_text(text + "\n", encoding="utf-8")
    print(f"sbom: {len(bom.components)} components, valid CycloneDX {SCHEMA.to_version()}",
          file=sys.stderr)


if __name__ == "__main__":
    main()
