"""What `make audit` does: asks the package index's advisories about every package of requirements.lock.

pip-audit calls a package that the index does not know unaudited and ends well, so the counts are what is looked at.
"""

import json
import subprocess
import sys

ROOM = 600  # seconds for all packages


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", "requirements.lock"]
    try:
        done = subprocess.run([*command, "-f", "json"], capture_output=True, text=True, check=False, timeout=ROOM)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, LookupError):
        packages = []
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        print("pip-audit: the index's advisories cannot be reached from here, so no package was checked against them")
        return
    print(f"pip-audit: {len(known)} of {len(packages)} packages checked against the index's advisories")
    found = [(package, fault) for package in known for fault in package["vulns"]]
    for package, fault in found:
        fixed = ", ".join(fault["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
