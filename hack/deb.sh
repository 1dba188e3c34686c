#!/bin/sh
# Builds tare_VERSION_ARCH.deb of what "make install" installs:
#
#   deb.sh [BIN [DIR]]      of the programs in BIN (bin), in DIR (BIN)
set -eu
cd "$(dirname "$0")/.."
bin=${1:-bin}
dir=${2:-$bin}
version=$("$bin/tare" version | sed -n '1s/[^0-9]*\([0-9][^ ,]*\).*/\1/p')
arch=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

make -s install-files BIN="$bin" DESTDIR="$stage" PREFIX=/usr
mkdir "$stage/DEBIAN"
size=$(du -sk "$stage" | cut -f1)
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/" packaging/deb/control >"$stage/DEBIAN/control"
echo /etc/tare/config.toml >"$stage/DEBIAN/conffiles"
install -m 755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$stage/DEBIAN/"
dpkg-deb -Zgzip --root-owner-group --build "$stage" "$dir/tare_${version}_$arch.deb"
