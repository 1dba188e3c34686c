#!/bin/sh
# Installs the Debian packages named in a list (default hack/packages) that are
# missing, and only those. No service is started or enabled by it.
set -eu

list=${1:-$(dirname "$0")/packages}
missing=
for package in $(sed 's/#.*//' "$list"); do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"

# invoke-rc.d and deb-systemd-invoke ask policy-rc.d before they start a service;
# 101 forbids it (/usr/share/doc/init-system-helpers/README.policy-rc.d.gz).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends $missing; }
if ! out=$(install 2>&1); then
    # Fresh machines have no package lists, or stale ones.
    apt-get update -q >/dev/null
    out=$(install 2>&1) || { echo "$out" >&2; exit 1; }
fi

# Not started is not enough: not at the next boot either, and not by a
# policy-rc.d that was there before and allows it.
for service in nginx containerd; do
    case " $missing " in
    *" $service "*)
        update-rc.d "$service" disable >/dev/null 2>&1 || true
        service "$service" stop >/dev/null 2>&1 || true
        ;;
    esac
done
