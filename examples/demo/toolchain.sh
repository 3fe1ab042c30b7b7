#!/usr/bin/env bash
# Makes the files of a base image with a C compiler, from the Debian packages installed on this machine: gcc, make and
# what they depend on, with busybox as the shell and the usual small programs.
#   toolchain.sh OUTPUT.tar
set -euo pipefail
output=$1
export LC_ALL=C

# The packages with all they depend on, as far as they are installed.
declare -A taken=()
queue=(gcc libc6-dev make)
while [ ${#queue[@]} -gt 0 ]; do
    package=${queue[0]}
    queue=("${queue[@]:1}")
    [ -z "${taken[$package]:-}" ] || continue
    depends=$(dpkg-query -W -f '${db:Status-Status},${Pre-Depends},${Depends}\n' "$package" 2>/dev/null | head -1) || continue
    [[ "$depends" == installed,* ]] || continue
    taken[$package]=yes
    while read -r name _; do
        [ -z "$name" ] || queue+=("${name%%:*}")
    done < <(tr ',|' '\n\n' <<<"${depends#installed,}")
done
for package in gcc libc6-dev make; do
    [ -n "${taken[$package]:-}" ] || { echo "the Debian package $package is not installed" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What is no package's file: the merged /usr, the shell, one user, a place for temporary files.
root=$work/root
mkdir -p "$root"/{etc,root,tmp,usr/bin,usr/sbin,usr/lib,usr/lib64}
chmod 1777 "$root/tmp"
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
cp /bin/busybox "$root/usr/bin/busybox"
for applet in $(/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/usr/bin/$applet"
done

# The packages' files and links, without manuals and translations. Paths are told beneath the merged /usr.
dpkg -L "${!taken[@]}" |
    sed -nE -e 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,' -e '\,^/usr/share/(doc|man|info|locale|lintian)/,d' -e '/^\//p' |
    sort -u |
    while read -r path; do
        if [ -L "$path" ] || [ -f "$path" ]; then echo "${path#/}"; fi
    done >"$work/files"
# A package's program replaces busybox' program of the same name.
while read -r path; do rm -f "${root:?}/$path"; done < <(grep '^usr/bin/' "$work/files")

tar -C "$root" --owner=0 --group=0 --numeric-owner --sort=name -cf "$output" .
tar -C / --owner=0 --group=0 --numeric-owner --no-recursion -rf "$output" -T "$work/files"
