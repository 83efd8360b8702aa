/*
 * Faults of the disk, made between a program and libc (Linux, glibc, 64 bit): LD_PRELOAD this, and calls on files whose
 * path begins with DISKFAULT_PREFIX are counted, delayed, cut short or failed as the file DISKFAULT_CONTROL says.
 * Pipes and sockets have no such path and always pass.
 *
 * The control file is mapped by the test and by every process under test. One 64 bit word is one whole rule, so the
 * test replaces it in one store and a call takes its turn in one compare-and-swap: no lock, no half-read rule.
 *
 * Not covered: stdio, pwritev, sendfile and copy_file_range (shutil.copyfile), truncate by path, fallocate, mapped
 * memory (of SQLite only its -shm file), and programs that make system calls without libc (Go).
 */
#undef _FILE_OFFSET_BITS /* with it pwrite and pwrite64 would be one symbol */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "64 bit Linux only");

#define MAGIC UINT64_C(0x31746c7561466b44) /* "DkFault1" */
#define FOREVER 0xffff

enum op { WRITE, FSYNC, FDATASYNC, RENAME, FTRUNCATE, OPS };

/* A rule, from the lowest bit: delay in ms (16), errno (8), short (8), calls to pass first (16), faults left (16). */
#define DELAY_MS(rule) ((rule) & 0xffff)
#define ERRNO(rule) ((int)((rule) >> 16 & 0xff))
#define SHORT(rule) (((rule) >> 24 & 0xff) != 0)
#define PASS(rule) ((rule) >> 32 & 0xffff)
#define LEFT(rule) ((rule) >> 48)
#define ONE_PASS (UINT64_C(1) << 32)
#define ONE_LEFT (UINT64_C(1) << 48)

struct control {
    uint64_t magic;
    _Atomic uint64_t processes;
    struct {
        _Atomic uint64_t rule, calls, faults;
    } op[OPS];
};

struct fault {
    int error; /* 0: the call succeeds */
    bool half; /* half of the bytes are really written */
};

static const struct fault none = {0, false};
static struct control *control;
static const char *prefix;
static size_t prefix_length;

/* Every function taken over, and where its next definition (libc's) is kept. */
#define FUNCTIONS(X) \
    X(write) X(pwrite) X(pwrite64) X(writev) X(fsync) X(fdatasync) \
    X(rename) X(renameat) X(renameat2) X(ftruncate) X(ftruncate64)
#define SLOT(name) static void *_Atomic real_##name;
FUNCTIONS(SLOT)
#define REAL(name) ((__typeof__(&name))next_definition(&real_##name, #name))

static void *next_definition(void *_Atomic *slot, const char *name) {
    void *found = atomic_load(slot);
    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        if (!found)
            abort();
        atomic_store(slot, found);
    }
    return found;
}

/* A library that quietly did nothing would make every test of a fault pass. */
static void die(const char *why) {
    fprintf(stderr, "diskfault: %s\n", why);
    _exit(97);
}

__attribute__((constructor)) static void start(void) {
    /* dlsym may not be called in a signal handler: look all of them up before one can run. */
#define LOOK_UP(name) (void)REAL(name);
    FUNCTIONS(LOOK_UP)

    const char *path = getenv("DISKFAULT_CONTROL");
    if (!path)
        return;
    prefix = getenv("DISKFAULT_PREFIX");
    if (!prefix || prefix[0] != '/')
        die("DISKFAULT_PREFIX must be an absolute path");
    prefix_length = strlen(prefix);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || (size_t)status.st_size != sizeof *control)
        die("DISKFAULT_CONTROL names no control file");
    struct control *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED || mapped->magic != MAGIC)
        die("DISKFAULT_CONTROL names a control file of another version");
    close(fd);
    atomic_fetch_add(&mapped->processes, 1);
    control = mapped;
}

/* The path is asked for at each call: a cache could not see a descriptor closed and given to another file. */
static bool fd_chosen(int fd) {
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length >= (ssize_t)prefix_length && memcmp(path, prefix, prefix_length) == 0;
}

/* A name to be renamed: its folder is resolved as the kernel does it (relative, by descriptor, through links). */
static bool name_chosen(int folder, const char *name) {
    char parent[PATH_MAX], link[32], path[2 * PATH_MAX];
    const char *slash = strrchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    size_t length = (size_t)(last - name);
    if (length >= sizeof parent || strlen(last) >= PATH_MAX)
        return false;
    memcpy(parent, name, length);
    parent[length] = 0;
    int fd = openat(folder, length ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t resolved = readlink(link, path, PATH_MAX - 1);
    close(fd);
    if (resolved < 0)
        return false;
    snprintf(path + resolved, sizeof path - (size_t)resolved, "/%s", last);
    return strncmp(path, prefix, prefix_length) == 0;
}

/* Counts the call and takes its turn under the rule as it stands now; then waits. */
static struct fault turn(enum op op) {
    struct fault fault = none;
    atomic_fetch_add(&control->op[op].calls, 1);
    uint64_t rule = atomic_load(&control->op[op].rule), after;
    do {
        after = rule;
        fault = none;
        if (!ERRNO(rule) && !SHORT(rule))
            break;
        if (PASS(rule)) {
            after = rule - ONE_PASS;
        } else if (LEFT(rule)) {
            after = LEFT(rule) == FOREVER ? rule : rule - ONE_LEFT;
            fault = (struct fault){ERRNO(rule), SHORT(rule)};
        }
    } while (!atomic_compare_exchange_weak(&control->op[op].rule, &rule, after));
    if (fault.error || fault.half)
        atomic_fetch_add(&control->op[op].faults, 1);
    struct timespec left = {(time_t)(DELAY_MS(rule) / 1000), (long)(DELAY_MS(rule) % 1000) * 1000000};
    while (DELAY_MS(rule) && nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    return fault;
}

static struct fault fault_at_fd(enum op op, int fd) {
    int saved = errno;
    struct fault fault = control && fd_chosen(fd) ? turn(op) : none;
    errno = saved;
    return fault;
}

static struct fault fault_at_names(int from_folder, const char *from, int to_folder, const char *to) {
    int saved = errno;
    bool chosen = control && (name_chosen(from_folder, from) || name_chosen(to_folder, to));
    struct fault fault = chosen ? turn(RENAME) : none;
    errno = saved;
    return fault;
}

static int failed(int error) {
    errno = error;
    return -1;
}

/* Short: half of the bytes (of a writev: of its first part) are written and reported; with an errno: a torn write. */
#define BYTES(name, parameters, whole, half_of) \
    ssize_t name parameters { \
        struct fault fault = fault_at_fd(WRITE, fd); \
        ssize_t done = fault.half ? half_of : fault.error ? 0 : whole; \
        return fault.error ? failed(fault.error) : done; \
    }
#define HALF(size) (((size) + 1) / 2)

BYTES(write, (int fd, const void *data, size_t size),
      REAL(write)(fd, data, size), REAL(write)(fd, data, HALF(size)))
BYTES(pwrite, (int fd, const void *data, size_t size, off_t at),
      REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, HALF(size), at))
BYTES(pwrite64, (int fd, const void *data, size_t size, off64_t at),
      REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, HALF(size), at))
BYTES(writev, (int fd, const struct iovec *parts, int count),
      REAL(writev)(fd, parts, count), REAL(write)(fd, parts[0].iov_base, HALF(parts[0].iov_len)))

#define ON_FD(name, op, parameters, arguments) \
    int name parameters { \
        struct fault fault = fault_at_fd(op, fd); \
        return fault.error ? failed(fault.error) : REAL(name) arguments; \
    }

ON_FD(fsync, FSYNC, (int fd), (fd))
ON_FD(fdatasync, FDATASYNC, (int fd), (fd))
ON_FD(ftruncate, FTRUNCATE, (int fd, off_t size), (fd, size))
ON_FD(ftruncate64, FTRUNCATE, (int fd, off64_t size), (fd, size))

#define ON_NAMES(name, from_folder, to_folder, parameters, arguments) \
    int name parameters { \
        struct fault fault = fault_at_names(from_folder, from, to_folder, to); \
        return fault.error ? failed(fault.error) : REAL(name) arguments; \
    }

ON_NAMES(rename, AT_FDCWD, AT_FDCWD, (const char *from, const char *to), (from, to))
ON_NAMES(renameat, a, b, (int a, const char *from, int b, const char *to), (a, from, b, to))
ON_NAMES(renameat2, a, b, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags))
