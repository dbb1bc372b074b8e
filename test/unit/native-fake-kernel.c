// Stands where the C library calls the kernel (LD_PRELOAD), and answers for a vhost-vdpa file where /dev/null is open.
// What it was asked stands on standard error: one line per call, "ioctl NUMBER ARGUMENT" or "write BYTES", in hex.
#define _GNU_SOURCE
#include <linux/ioctl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { GET_STATUS = 0x8001af71, SET_STATUS = 0x4001af72, GET_VRING_BASE = 0xc008af12, SUSPEND = 0xaf7d };
enum { FEATURES_OK = 8, MESSAGE_BYTES = 72 };

static uint8_t status;

static int is_device(int fd) {
  struct stat file;
  return fstat(fd, &file) == 0 && S_ISCHR(file.st_mode) && file.st_rdev == makedev(1, 3);
}

static void record(const char* call, const void* bytes, size_t length) {
  char line[512];
  int at = snprintf(line, sizeof(line), "%s ", call);
  for (size_t i = 0; i < length; i++) at += sprintf(line + at, "%02x", ((const uint8_t*)bytes)[i]);
  line[at++] = '\n';
  syscall(SYS_write, STDERR_FILENO, line, at);
}

// Makes the directory FAKE_KERNEL_GATE, to say that it is here, and waits until somebody removes it.
static void wait_at_gate(void) {
  const char* gate = getenv("FAKE_KERNEL_GATE");
  if (gate == NULL || mkdir(gate, 0700) != 0) return;
  for (int ms = 0; ms < 10000 && access(gate, F_OK) == 0; ms++) usleep(1000);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  if (_IOC_TYPE(request) != 0xaf || !is_device(fd)) return syscall(SYS_ioctl, fd, request, argument);
  char name[32];
  snprintf(name, sizeof(name), "ioctl %lx", request);
  // Readable even where the request has no argument, as a queue's index is expected there by a kernel that lacks it.
  record(name, argument, _IOC_SIZE(request) > 0 ? _IOC_SIZE(request) : 8);
  if (request == SUSPEND) wait_at_gate();
  if (request == SET_STATUS) status = *(uint8_t*)argument & ~FEATURES_OK;  // refuses the features in silence
  if (request == GET_STATUS) *(uint8_t*)argument = status;
  if (request == GET_VRING_BASE) ((uint32_t*)argument)[1] = 0x1234;
  return 0;
}

// Takes all of a message but of those for address space 7.
ssize_t write(int fd, const void* bytes, size_t length) {
  if (length != MESSAGE_BYTES || !is_device(fd)) return syscall(SYS_write, fd, bytes, length);
  record("write", bytes, length);
  return ((const uint32_t*)bytes)[1] == 7 ? 40 : MESSAGE_BYTES;
}
