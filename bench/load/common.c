#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t errors[E_KINDS];
static const char *error_names[E_KINDS] = {"connect", "reset", "closed", "unanswered", "wrong"};

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns) {
    if (ns < (1u << SUB_BITS)) return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)((ns >> shift) & ((1u << SUB_BITS) - 1));
}

void record(struct histogram *h, uint64_t ns) {
    h->counts[bucket_of(ns)]++;
    h->total++;
}

double quantile_us(const struct histogram *h, double q) {
    uint64_t rank = (uint64_t)(q * (double)h->total), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->counts[i];
        if (seen <= rank || !h->counts[i]) continue;
        if (i < (1u << SUB_BITS)) return i / 1000.0;
        unsigned shift = (i >> SUB_BITS) - 1;
        uint64_t low = ((uint64_t)((i & ((1u << SUB_BITS) - 1)) + (1u << SUB_BITS))) << shift;
        return ((double)low + (double)(1ull << shift) / 2) / 1000.0; /* the middle of the bucket */
    }
    return 0.0;
}

const char *text(int argc, char **argv, const char *name, const char *otherwise) {
    size_t length = strlen(name);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], name, length) && argv[i][length] == '=') return argv[i] + length + 1;
    return otherwise;
}

long number(int argc, char **argv, const char *name, long otherwise) {
    const char *found = text(argc, argv, name, NULL);
    return found ? strtol(found, NULL, 10) : otherwise;
}

_Noreturn void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

void *need(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) fail("calloc");
    return memory;
}

void begin(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LIFETIME);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

int dial(int port) { return dial_from(INADDR_ANY, port); }

int dial_from(uint32_t address, int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (address != INADDR_ANY) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one); /* ip(7) */
        if (bind(fd, (struct sockaddr *)&from, sizeof from)) {
            close(fd);
            return -1;
        }
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

int open_all(int port, int *fds, int count) {
    int opened = 0;
    for (int at = 0; at < count; at += OPENING) {
        struct pollfd opening[OPENING];
        int several = count - at < OPENING ? count - at : OPENING;
        for (int i = 0; i < several; i++)
            opening[i] = (struct pollfd){.fd = dial(port), .events = POLLOUT};
        for (int i = 0; i < several; i++) {
            int error = 0;
            socklen_t size = sizeof error;
            if (opening[i].fd < 0 || poll(&opening[i], 1, 10000) < 1 ||
                getsockopt(opening[i].fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
                errors[E_CONNECT]++;
                if (opening[i].fd >= 0) close(opening[i].fd);
                continue;
            }
            fds[opened++] = opening[i].fd;
        }
    }
    return opened;
}

void blocking_exchange(int fd, const char *data, size_t size, char *answer) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) fail("first exchange");
    for (size_t got = 0; got < size;) {
        if (poll(&p, 1, 10000) < 1) fail("first exchange: no answer within 10 s");
        ssize_t n = recv(fd, answer + got, size - got, 0);
        if (n <= 0) fail("first exchange");
        got += (size_t)n;
    }
}

int listening(int backlog) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, size) || listen(fd, backlog)) fail("listen");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* what is accepted inherits it */
    getsockname(fd, (struct sockaddr *)&here, &size);
    printf("port %d\n", ntohs(here.sin_port));
    return fd;
}

bool order(double *seconds) {
    char line[64];
    return fgets(line, sizeof line, stdin) && sscanf(line, "go %lf", seconds) == 1;
}

static void print_errors(void) {
    printf("\"errors\": {");
    const char *comma = "";
    for (int i = 0; i < E_KINDS; i++)
        if (errors[i]) {
            printf("%s\"%s\": %llu", comma, error_names[i], (unsigned long long)errors[i]);
            comma = ", ";
        }
    printf("}}\n");
    memset(errors, 0, sizeof errors);
}

void print_ready(int opened) {
    printf("{\"opened\": %d, ", opened);
    print_errors();
}

void print_result(uint64_t operations, uint64_t bytes, double seconds, const struct histogram *h) {
    printf("{\"operations\": %llu, \"bytes\": %llu, \"seconds\": %.9f, \"p50_us\": %.3f, "
           "\"p99_us\": %.3f, \"p999_us\": %.3f, ",
           (unsigned long long)operations, (unsigned long long)bytes, seconds,
           quantile_us(h, 0.5), quantile_us(h, 0.99), quantile_us(h, 0.999));
    print_errors();
}

void count_error(int error) {
    bool refused = error == ECONNREFUSED || error == ETIMEDOUT;
    errors[error == 0 ? E_CLOSED : refused ? E_CONNECT : E_RESET]++;
}
