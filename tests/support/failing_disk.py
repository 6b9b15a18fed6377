"""A disk that turns read-only under the files that are open on it, which no mount can be made to do while they are.

A library between the gateway and the system has every change of a file in one directory fail, for as long as a file
called ``read-only`` lies there: as it is when a file system met an error, or a volume was taken away for writing.
"""

import shutil
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int fd) {
    char link[64], path[4096], flag[4096];
    struct stat found;
    const char *directory = getenv("TEST_DISK");
    if (!directory) return 0;
    snprintf(flag, sizeof flag, "%s/read-only", directory);
    if (stat(flag, &found)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, directory, strlen(directory))) return 0;
    errno = EROFS;
    return 1;
}

#define CHANGE(type, name, given, passed) \
    type name given { \
        static type (*real) given; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return fails(fd) ? -1 : real passed; \
    }
CHANGE(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
CHANGE(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
CHANGE(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
CHANGE(int, ftruncate, (int fd, off_t size), (fd, size))
CHANGE(int, ftruncate64, (int fd, off64_t size), (fd, size))
CHANGE(int, fsync, (int fd), (fd))
CHANGE(int, fdatasync, (int fd), (fd))
"""


class FailingDisk:
    """The directory of a journal that can be made read-only. Whatever is started from now on feels it."""

    def __init__(self, directory, monkeypatch):
        directory.mkdir()
        self.directory = directory
        source, library = directory.parent / "failing.c", directory.parent / "failing.so"
        source.write_text(SOURCE)
        subprocess.run([shutil.which("cc"), "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("TEST_DISK", str(directory))

    def turn_read_only(self):
        (self.directory / "read-only").touch()

    def turn_writable(self):
        (self.directory / "read-only").unlink()
