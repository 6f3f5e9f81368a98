#!/bin/bash
# Random trees and changes against libbld: tests/e2e/oracle.py says how. CASES=10000 for a long run, SEED=N and
# CASE=N to run one again; ORACLE_DRIVER the program that asks the library.
driver=${ORACLE_DRIVER:-$(dirname "${BLD:-$(dirname "$0")/../../build/dev/bld}")/tests/e2e/oracle_driver}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.sh"
if [ ! -x "$driver" ]; then
	echo "Bail out! $driver is not there; run make check-e2e, or make $driver"
	exit 1
fi

oracle() {
	[ "$(id -u)" = 0 ] || skip "owners and devices need root"
	PYTHONDONTWRITEBYTECODE=1 python3 "$TOP/tests/e2e/oracle.py" "$driver" "$D"
}

t "trees, changes, patches" oracle
t_end
