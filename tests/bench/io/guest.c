/*
 * Throughput as a guest sees it: direct I/O on a block device, TCP to the host and back. Prints a
 * line "io NAME VALUE" for each measurement, in MB/s.
 *
 *   io-guest DEVICE HOST PORT     PORT swallows what is sent, PORT + 1 sends
 * (tests/bench/io/host.c)
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECONDS     2.0
#define LARGE       (1u << 20)
#define SMALL       4096u
#define SOCKET_STEP 65536u

static uint8_t *buffer;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void report(const char *name, double bytes, double seconds)
{
    printf("io %s %.2f\n", name, bytes / seconds / 1e6);
    fflush(stdout);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* xorshift64*: the same offsets on every system. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 2685821657736338717ull;
}

static void measure_disk(const char *name, int device, uint64_t size, size_t step, int writing,
                         int random)
{
    uint64_t seed = 1, offset = 0;
    double start = now(), bytes = 0;
    while (now() - start < SECONDS) {
        if (random)
            offset = next_random(&seed) % (size / step) * step;
        ssize_t done = writing ? pwrite(device, buffer, step, (off_t)offset)
                               : pread(device, buffer, step, (off_t)offset);
        if (done != (ssize_t)step)
            fail(name);
        bytes += (double)step;
        offset = (offset + step) % size;
    }
    report(name, bytes, now() - start);
}

static int connect_to(const char *host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, host, &address.sin_addr);
    if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    return s;
}

/* Until the host says that it has all of it. */
static void measure_send(const char *host, int port)
{
    int s = connect_to(host, port);
    double start = now(), bytes = 0;
    while (now() - start < SECONDS) {
        ssize_t done = write(s, buffer, SOCKET_STEP);
        if (done < 0)
            fail("write");
        bytes += (double)done;
    }
    shutdown(s, SHUT_WR);
    if (read(s, buffer, 1) < 0)
        fail("read");
    report("tcp-send", bytes, now() - start);
    close(s);
}

static void measure_receive(const char *host, int port)
{
    int s = connect_to(host, port);
    double start = now(), bytes = 0;
    while (now() - start < SECONDS) {
        ssize_t done = read(s, buffer, SOCKET_STEP);
        if (done <= 0)
            fail("read");
        bytes += (double)done;
    }
    report("tcp-receive", bytes, now() - start);
    close(s);
}

int main(int argc, char **argv)
{
    uint64_t size = 0;
    if (argc != 4)
        return 1;
    if (posix_memalign((void **)&buffer, 4096, LARGE) != 0)
        return 1;
    memset(buffer, 0x5a, LARGE);
    int device = open(argv[1], O_RDWR | O_DIRECT);
    if (device < 0 || ioctl(device, BLKGETSIZE64, &size) != 0)
        fail(argv[1]);
    measure_disk("sequential-read", device, size, LARGE, 0, 0);
    measure_disk("sequential-write", device, size, LARGE, 1, 0);
    measure_disk("random-read", device, size, SMALL, 0, 1);
    measure_disk("random-write", device, size, SMALL, 1, 1);
    measure_send(argv[2], atoi(argv[3]));
    measure_receive(argv[2], atoi(argv[3]) + 1);
    puts("io end");
    return 0;
}
