#!/bin/bash
# Process 1 of the rig: prepares a machine with four vdpa devices, runs one command, powers off.
# Beside it are NUL-separated lists written by boot.mjs: settings (directory of the command, PATH), argv, env, keep.
# The root is the host's own tree, read-only; nothing here can write to the host.
# Consoles: tty0 kernel and diagnostics, tty1 the command's stdout, tty2 its stderr, tty3 status lines for boot.mjs.
exec </dev/null
lists=${0%/*}
mapfile -d '' -t argv <"$lists/argv"
mapfile -d '' -t environment <"$lists/env"
mapfile -d '' -t keep <"$lists/keep"
mapfile -d '' -t settings <"$lists/settings"
directory=${settings[0]}
export PATH=${settings[1]}

power_off() {
  echo o >/proc/sysrq-trigger
  while :; do sleep 1; done
}

fail() {
  echo "failed $*" >/dev/tty3
  power_off
}

mount_all() {
  mount -t proc proc /proc &&
    mount -t sysfs sysfs /sys &&
    ln -s /proc/self/fd /dev/fd &&
    ln -s fd/0 /dev/stdin &&
    ln -s fd/1 /dev/stdout &&
    ln -s fd/2 /dev/stderr &&
    mkdir /dev/shm &&
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm &&
    mount -t tmpfs -o mode=0755 tmpfs /run &&
    mkdir -p /run/host &&
    mount --bind / /run/host &&
    mount -t tmpfs -o mode=1777 tmpfs /tmp &&
    mkdir -p "$HOME"
}

# tmpfs on /tmp, /run and /dev/shm hides what the command may need from there: the checkout, node, the cache.
bring_back() {
  local path
  for path in "${keep[@]}"; do
    mkdir -p "$path" && mount --bind "/run/host$path" "$path" || return
  done
}

# Without autoprobe no virtio driver ever touches the device before vhost_vdpa has it.
add_device() {
  local name=$1
  shift
  vdpa dev add name "$name" "$@" &&
    echo vhost_vdpa >"/sys/bus/vdpa/devices/$name/driver_override" &&
    echo "$name" >/sys/bus/vdpa/drivers/vhost_vdpa/bind &&
    echo "rig: $name is /dev/$(cd "/sys/bus/vdpa/devices/$name" && echo vhost-vdpa-*)" >/dev/tty0
}

add_devices() {
  echo 0 >/sys/bus/vdpa/drivers_autoprobe &&
    add_device vnet0 mgmtdev vdpasim_net mac 02:00:00:00:00:01 &&
    add_device vnet1 mgmtdev vdpasim_net mac 02:00:00:00:00:02 &&
    add_device vblk0 mgmtdev vdpasim_blk &&
    add_device vblk1 mgmtdev vdpasim_blk &&
    echo 1 >/sys/bus/vdpa/drivers_autoprobe
}

export HOME=/tmp/home
mount_all || fail "cannot mount"
exec 2>/dev/tty0
bring_back || fail "cannot bring back ${keep[*]}"
add_devices || fail "cannot create the vdpa devices"
ip link set lo up
cd "$directory" || fail "cannot enter $directory"

exec 3>/dev/tty1 4>/dev/tty2
stty raw -echo <&3 && stty raw -echo <&4 || fail "cannot set the consoles raw"

mkfifo /run/stdout /run/stderr
cat /run/stdout >&3 &
out=$!
cat /run/stderr >&4 &
err=$!
env -i "${environment[@]}" "${argv[@]}" >/run/stdout 2>/run/stderr 3>&- 4>&-
code=$?
for process in /proc/[0-9]*; do
  case ${process#/proc/} in
    1 | "$out" | "$err") ;;
    *) kill -KILL "${process#/proc/}" ;;
  esac
done 2>/dev/null
wait "$out" "$err"
exec 3>&- 4>&-
echo "exit $code" >/dev/tty3
power_off
