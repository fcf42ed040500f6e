/* A disk without room, for one process: preloaded into it, and while the file FULL_DISK exists, no write comes to
 * its end in files whose names hold ".sqlite": a part of it is taken, as by a disk with a little room left, and then
 * nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);

static int is_full(int fd) {
    const char *flag = getenv("FULL_DISK");
    if (flag == NULL || access(flag, F_OK) != 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, ".sqlite") != NULL;
}

#define TAKES(name)                                                             \
    ssize_t name(int fd, const void *bytes, size_t size, off_t offset) {        \
        if (is_full(fd)) {                                                      \
            size /= 2;                                                          \
            if (size == 0) {                                                    \
                errno = ENOSPC;                                                 \
                return -1;                                                      \
            }                                                                   \
        }                                                                       \
        return ((pwrite_fn)dlsym(RTLD_NEXT, #name))(fd, bytes, size, offset);   \
    }

TAKES(pwrite)
TAKES(pwrite64)
