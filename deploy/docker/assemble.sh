#!/usr/bin/env bash
# Lays out the files of the image: Debian's libraries, LibTorch, ours. Runs in the Dockerfile.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/docker/assemble.sh --device cpu|cuda --tree DIR --into DIR [--help]

Reads an installed tree (deploy/build.sh) and the Debian system it was built on, and
writes three folders, each to be laid over an empty root:

  INTO/system     Debian's packages that the programs need, whole but for documentation,
                  as they are installed here; their records in /var/lib/dpkg/status.d,
                  where vulnerability scanners look; users, certificates, /tmp, /models
  INTO/torch      LibTorch's and CUDA's libraries
  INTO/longwave   our programs and the default model; the SBOM

  --device   cpu or cuda
  --tree     the installed tree; it lies at the same path in the image
  --into     where to
USAGE
}

device="" tree="" into=""
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device="${2:?assemble: --device needs cpu or cuda}"; shift 2 ;;
    --tree) tree="${2:?assemble: --tree needs a folder}"; shift 2 ;;
    --into) into="${2:?assemble: --into needs a folder}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "assemble: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
case "$device" in
  cpu) venv=.venv ;;
  cuda) venv=.venv-torch ;;
  *) echo "assemble: --device is cpu or cuda, not '$device'" >&2; exit 2 ;;
esac
if [ ! -d "$tree/bin" ] || [ -z "$into" ]; then
  echo "assemble: --tree must be an installed tree, and --into be given" >&2
  exit 2
fi
say() { printf 'assemble: %s\n' "$*" >&2; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
system="$into/system"
rm -rf "$into"
# Debian's links of the merged /usr, before anything is laid through them.
mkdir -p "$system"/{etc/ssl/certs,usr/{bin,sbin,lib,lib64},var/lib/dpkg/status.d,models,mnt/models}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$system/$name"; done
install -d -m 1777 "$system/tmp"

# Those that own a library which a program or library of the tree names, by whatever way.
needed_libraries() {
  local file
  for file in "$tree"/bin/* "$tree"/lib/*; do
    ldd "$file" || say "not a program or library: $file"
  done | awk -v tree="$tree/" '
    # The driver is the host'\''s: the container runtime brings it.
    /=> not found/ && $1 !~ /^lib(cuda|nvidia-)/ { print "missing: " $1 > "/dev/stderr"; bad = 1 }
    /=> \// && index($3, tree) != 1 { print $3 }
    $1 ~ /^\/.*ld-linux/ { print $1 }
    END { exit bad }' | sort -u
}
# owner <path>: the package; its record may have the path with or without /usr.
owner() {
  local path
  for path in "$1" "/usr$1" "${1#/usr}"; do
    if dpkg -S "$path" 2>/dev/null; then return; fi
  done | cut -d: -f1 | grep . || { say "no package owns $1"; return 1; }
}
libraries="$(needed_libraries)"
# Beside them: what names the distribution (scanners ask for it), roots of certificates, and the
# package that holds libgcc's and libstdc++'s copyright.
packages="$({
  echo base-files ca-certificates gcc-12-base | tr ' ' '\n'
  for library in $libraries; do owner "$library" || exit 1; done  # here `set -e` is off
} | sort -u)"

for package in $packages; do
  record="$system/var/lib/dpkg/status.d/$package"
  dpkg-query -s "$package" | sed '/^Status: /d' >"$record"
  sums="$(dpkg-query --control-path "$package" md5sums)"
  if [ -n "$sums" ]; then cp "$sums" "$record.md5sums"; fi
  dpkg-query -L "$package" | while read -r path; do
    case "$path" in
      /usr/share/doc/*/copyright) ;;
      /usr/share/doc/* | /usr/share/man/* | /usr/share/locale/* | /usr/share/lintian/* | /usr/share/bug/*)
        # A link stays: where one package's copyright is another's.
        [ -L "$path" ] || continue ;;
      # Scripts of a system with a shell; this one has none.
      *bin/* | /etc/profile* | /etc/update-motd.d/*) continue ;;
    esac
    if [ -L "$path" ] || [ -f "$path" ]; then printf '%s\n' "${path#/}"; fi
  done
done | sort -u | tar -C / --create --no-recursion --files-from - \
  | tar -C "$system" --extract --keep-directory-symlink --no-same-owner
say "Debian: $(echo "$packages" | wc -l) packages"

# Debian's roots, and none that this machine has beside them.
cat "$system"/usr/share/ca-certificates/mozilla/*.crt >"$system/etc/ssl/certs/ca-certificates.crt"
cat >"$system/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/usr/sbin/nologin
longwave:x:65532:65532:Longwave:/nonexistent:/usr/sbin/nologin
PASSWD
printf 'root:x:0:\nlongwave:x:65532:\n' >"$system/etc/group"
echo 'hosts: files dns' >"$system/etc/nsswitch.conf"

mkdir -p "$into/torch$tree/lib" "$into/longwave$tree/lib" "$into/longwave/usr/share/longwave"
for library in "$tree"/lib/*; do
  case "$(basename "$library")" in
    liblongwave*) cp -P "$library" "$into/longwave$tree/lib/" ;;
    *) cp -P "$library" "$into/torch$tree/lib/" ;;
  esac
done
cp -r "$tree/bin" "$tree/share" "$into/longwave$tree/"
install -D -m 644 "$root/LICENSE" "$into/longwave/usr/share/doc/longwave/copyright"

# The one place that says the version.
version="$(sed -n 's/^project(longwave VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")"
/opt/sbom/bin/python "$root/deploy/docker/sbom.py" --version "$version" --image "$into" --tree "$tree" \
  --environment "$root/$venv" --environment "$root/.venv" \
  --out "$into/longwave/usr/share/longwave/sbom.cdx.json"
# The same files are the same layer, whenever they were laid out: an upgrade fetches ours alone.
find "$system" "$into/torch" -print0 | xargs -0 touch --no-dereference --date=@0
du -sh "$system" "$into/torch" "$into/longwave" >&2
