/* Loaded before the C library of a node under test: it delays what syncs, and moves the wall clock.
 *
 * Both figures stand in a file that the test writes while the node runs, mapped here: two 64-bit numbers, the delay of
 * a sync in microseconds and the clock's offset in seconds. The monotonic clocks are left alone, as a machine's are when
 * an administrator or a bad NTP server sets the time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t calm[2];
static const volatile int64_t *control = calm;

/* A first part of the life of the process goes by before it is there; it is short, and calm. */
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MAILROOK_TEST_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof calm, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        control = at;
    close(fd);
}

static void slow(void)
{
    if (control[0] > 0)
        usleep((useconds_t)control[0]);
}

int fsync(int fd)
{
    slow();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    slow();
    return (int)syscall(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
    slow();
    return (int)syscall(SYS_sync_file_range, fd, offset, count, flags);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += control[1];
    return result;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
